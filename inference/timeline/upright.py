"""Decoded frames to whole upright pictures of their own size, for people to look at.

In: a frame as decoded. Out: the I420 picture that a player would show, its colours untouched. What
`pipeline/video/preprocess.py` does for a model's square clips is not done here: nothing is cropped or scaled, but odd
sides become even, as H.264 wants.
"""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from av.filter import Graph
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.preprocess import display_matrix, orientation_filters


class Upright:
    """Callable that turns frames upright; keeps a filter graph for each kind of frame it met."""

    def __init__(self, name: str) -> None:
        """`name`: of the video, for errors."""
        self._name = name
        self._graphs: dict[tuple[object, ...], Graph | None] = {}

    def __call__(self, frame: VideoFrame) -> tuple[NDArray[np.uint8], bool]:
        """Return the picture, uint8 I420 [3H/2, W] with H and W even, and whether width and height changed places."""
        try:
            steps = orientation_filters(display_matrix(frame))
        except DecodeError as error:
            raise DecodeError(f"{self._name}: {error}") from error
        turned = any(step.startswith("transpose") for step in steps)
        kind = (frame.width, frame.height, frame.colorspace, frame.color_range, *steps)
        if frame.width % 2 or frame.height % 2:
            steps.append("pad=ceil(iw/2)*2:ceil(ih/2)*2")
        try:
            plain = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
            if kind not in self._graphs:
                self._graphs[kind] = _graph(plain, steps) if steps else None
            graph = self._graphs[kind]
            if graph is not None:
                graph.push(plain)
                plain = graph.vpull()
        except (FFmpegError, ValueError, OSError) as error:
            raise DecodeError(
                f"{self._name}: a frame of {frame.width}x{frame.height} {frame.format.name} cannot be drawn ({error})"
            ) from error
        return np.asarray(plain.to_ndarray(), np.uint8), turned


def _graph(frame: VideoFrame, steps: list[str]) -> Graph:
    graph = Graph()
    # No filter looks at times.
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))]
    for step in steps:
        name, _, arguments = step.partition("=")
        nodes.append(graph.add(name, arguments))
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph
