"""One decoded frame to one stored frame: upright, cropped, area-scaled, in the cache's pixel layout.

Rotation and reflection by the display matrix come first, then the crop, then the resize, so that only the square is
scaled. One FFmpeg filter graph for each kind of frame does all of it, and makes pixels square that are not. Colour
matrices other than BT.601 are converted behind it, in integers: FFmpeg's own conversion darkens greys by up to 3 of
255. `bitexact` and `accurate_rnd` make the result the same on every processor, for about 0.4 ms more a 1080p frame,
so that colleagues' caches of the same videos are equal byte for byte.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from av import VideoFrame
from av.buffer import Buffer
from av.error import FFmpegError
from av.filter import Graph
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.clean_start import begins_with_a_key_frame, stands_alone
from signprep.pipeline.video.demux import SQUARE, open_stream, pixel_aspect_of
from signprep.pipeline.video.packets import READ_ERRORS, PacketQueue

_FULL_RANGE = 2
_RGB_MATRIX = 0
_MATRICES = {1: "bt709", 4: "fcc", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""FFmpeg's colour matrix numbers to the scale filter's names. All others, untagged too, are taken as BT.601."""
_WEIGHTS = {
    "bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "fcc": (0.30, 0.11), "smpte240m": (0.212, 0.087),
    "bt2020": (0.2627, 0.0593),
}  # fmt: skip
"""Weights of red and blue in luma. Source: ITU-T H.273, table 4."""
_RESERVED_TAGS = (0, 3)
"""Primaries and transfers with these numbers, or unknown ones, mean nothing. Source: ITU-T H.273, tables 2 and 3."""
_LAST_TAG, _UNSPECIFIED = 22, 2
_FIXED_POINT = 14
_SCALING = "flags=area+accurate_rnd+bitexact"


class FramePreprocessor:
    """Callable that turns decoded frames into stored ones; keeps a filter graph for each kind of frame it met."""

    def __init__(self, spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> None:
        """Prepare for the frames of one video.

        Args:
            spec: how to crop and scale.
            pixel_aspect: width of a pixel, as stored, in parts of its height.
        """
        self._spec = spec
        self._pixel_aspect = pixel_aspect
        self._graphs: dict[tuple[object, ...], Graph] = {}
        self._display_matrices = DisplayMatrices()

    def with_spec(self, spec: ClipSpec) -> "FramePreprocessor":
        """Return one for other clips of the same video, which has looked at its frames' matrices already."""
        other = FramePreprocessor(spec, self._pixel_aspect)
        other._display_matrices = self._display_matrices
        return other

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the stored frame, uint8 of shape `ClipSpec.frame_shape`.

        Raises:
            DecodeError: the display matrix turns the picture by other than quarter turns, or the pixel format
                cannot be converted.
        """
        clear_unknown_tags(frame)
        matrix = self._display_matrices(frame)
        kind = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range, matrix)
        graph = self._graphs.get(kind)
        if graph is None:
            graph = self._graphs[kind] = build_graph(frame, orientation_filters(matrix), self._spec, self._pixel_aspect)
        try:
            # The graph's clock plays no part: every frame goes in and comes out by itself.
            graph.push(frame)
            stored = graph.pull()
        except (FFmpegError, ValueError, OSError) as error:
            raise DecodeError(
                f"a frame of {frame.width}x{frame.height} {frame.format.name} cannot be cropped and scaled ({error})"
            ) from error
        assert isinstance(stored, VideoFrame)
        pixels = np.asarray(stored.to_ndarray(), np.uint8)
        name = _matrix_name(frame)
        return pixels if name == "bt601" or self._spec.pixels != "yuv420p" else to_bt601(pixels, name)

    def without_bars(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the stored frame of a decoded one without its black bars, of pixels rgb24: uint8 [H, W, 3]."""
        stored, upright = self(frame), self.upright_size(frame)
        _, (width, height) = crop_and_fit(*upright[:2], self._spec, upright[2])
        left, top = _bars(self._spec, width, height)
        return stored[top : top + height, left : left + width]

    def upright_size(self, frame: VideoFrame) -> tuple[int, int, Fraction]:
        """Return width, height and a pixel's aspect of a decoded frame once it is upright."""
        return _upright_size(frame, self.orientation(frame), self._pixel_aspect)

    def orientation(self, frame: VideoFrame) -> list[str]:
        """Return the FFmpeg filters that turn a decoded frame upright."""
        return orientation_filters(self._display_matrices(frame))


class DisplayMatrices:
    """Callable that gives a frame's display matrix, looked up once for each angle of a video's frames."""

    def __init__(self) -> None:
        self._by_rotation: dict[int, tuple[int, int, int, int] | None] = {}

    def __call__(self, frame: VideoFrame) -> tuple[int, int, int, int] | None:
        """Return the same as `display_matrix`."""
        if frame.rotation not in self._by_rotation:
            self._by_rotation[frame.rotation] = display_matrix(frame)
        return self._by_rotation[frame.rotation]


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return a, b, c, d of the frame's display matrix in 16.16 fixed point, or None without one.

    A pixel at (x, y) is shown at (a x + c y, b x + d y). Source: ISO/IEC 14496-12, track header box.

    PyAV ties a frame and its side data in a circle, so that 12 MB of a 4K frame live on until Python's collector of
    circles comes by. So the side data are those of a copy of 2x2 pixels.
    """
    try:
        side_data = _smallest_copy(frame).side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV does not know all kinds of side data (3D views, for one) and then gives none: turns are still known.
        return _quarter_turn(frame.rotation)
    if side_data is None:
        return None
    numbers = np.frombuffer(bytes(cast(Buffer, side_data)), dtype=np.int32)
    return int(numbers[0]), int(numbers[1]), int(numbers[3]), int(numbers[4])


def _smallest_copy(frame: VideoFrame) -> VideoFrame:
    """Return the frame in 2x2 pixels, with its side data."""
    try:
        graph = filter_graph(frame, ["scale=2:2:flags=neighbor"])
        graph.push(frame)
        copy = graph.pull()
    except (FFmpegError, ValueError, OSError):
        return frame  # a format that cannot be scaled: the reason is told where it is cropped and scaled
    assert isinstance(copy, VideoFrame)
    return copy


def _quarter_turn(degrees: int) -> tuple[int, int, int, int]:
    """Return the display matrix of a counter-clockwise turn."""
    cosine, sine = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    return cosine << 16, -sine << 16, sine << 16, cosine << 16


def orientation_filters(matrix: tuple[int, int, int, int] | None) -> list[str]:
    """Return the FFmpeg filters that show a frame as its display matrix asks.

    >>> orientation_filters((0, 65536, -65536, 0))  # a quarter turn clockwise
    ['transpose=cclock_flip', 'hflip']
    """
    if matrix is None or matrix == (0, 0, 0, 0):
        return []
    a, b, c, d = matrix
    if b == c == 0:
        return ["hflip"] * (a < 0) + ["vflip"] * (d < 0)
    if a == d == 0:
        return ["transpose=cclock_flip"] + ["hflip"] * (c < 0) + ["vflip"] * (b < 0)
    raise DecodeError(f"the display matrix {matrix} is no quarter turn or reflection")


def crop_and_fit(
    width: int, height: int, spec: ClipSpec, pixel_aspect: Fraction = SQUARE
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Return the crop (x, y, width, height) of an upright frame and the size (width, height) it is scaled to.

    The crop is in stored pixels, the size in square ones, so that a circle stays a circle.

    The scaled size is the square itself, or smaller on one side, to be centred between black bars; always even. The
    corner is even too: FFmpeg can cut subsampled chroma nowhere else, and RGB frames must show the same part.

    >>> crop_and_fit(1920, 1080, ClipSpec(size=256))
    ((420, 0, 1080, 1080), (256, 256))
    >>> crop_and_fit(1920, 1080, ClipSpec(size=256, crop="full"))
    ((0, 0, 1920, 1080), (256, 144))
    >>> crop_and_fit(720, 576, ClipSpec(size=256), Fraction(64, 45))  # shown as 1024x576
    ((156, 0, 405, 576), (256, 256))
    """
    box = spec.crop_box()
    if box is None:
        side = min(width * pixel_aspect, Fraction(height))
        crop_width, crop_height = max(1, min(width, round(side / pixel_aspect))), max(1, round(side))
        corner = ((width - crop_width) // 4 * 2, (height - crop_height) // 4 * 2)
        return (*corner, crop_width, crop_height), (spec.size, spec.size)
    x0, y0, x1, y1 = box
    left, top = round(x0 * width), round(y0 * height)
    crop_width, crop_height = max(1, round(x1 * width) - left), max(1, round(y1 * height) - top)
    left, top = left // 2 * 2, top // 2 * 2
    shown = crop_width * pixel_aspect, Fraction(crop_height)
    fit = [max(2, round(spec.size * side / max(shown) / 2) * 2) for side in shown]
    return (left, top, crop_width, crop_height), (fit[0], fit[1])


def build_graph(frame: VideoFrame, orientation: list[str], spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> Graph:
    """Return a configured filter graph from frames like this one to stored frames."""
    width, height, upright_aspect = _upright_size(frame, orientation, pixel_aspect)
    (x, y, crop_width, crop_height), (fit_width, fit_height) = crop_and_fit(width, height, spec, upright_aspect)
    steps = [*orientation]
    if (crop_width, crop_height) != (width, height):
        steps.append(f"crop={crop_width}:{crop_height}:{x}:{y}")
    in_range = "full" if frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj") else "limited"
    in_matrix = _matrix_name(frame)
    out = f"out_range=limited:out_color_matrix={in_matrix}" if spec.pixels == "yuv420p" else "out_range=full"
    if frame.format.is_rgb or frame.colorspace == _RGB_MATRIX:
        steps.append(f"scale={fit_width}:{fit_height}:{_SCALING}:{out}")
    else:
        steps.append(f"scale={fit_width}:{fit_height}:{_SCALING}:in_range={in_range}:in_color_matrix={in_matrix}:{out}")
    steps.append(f"format={spec.pixels}")
    if (fit_width, fit_height) != (spec.size, spec.size):
        left, top = _bars(spec, fit_width, fit_height)
        steps.append(f"pad={spec.size}:{spec.size}:{left}:{top}:black")
    try:
        return filter_graph(frame, steps)
    except (ValueError, OSError) as error:
        raise DecodeError(
            f"frames of {frame.width}x{frame.height} {frame.format.name} cannot be cropped and scaled ({error})"
        ) from error


def _upright_size(frame: VideoFrame, orientation: list[str], pixel_aspect: Fraction) -> tuple[int, int, Fraction]:
    """Return width, height and a pixel's aspect of a frame once it is upright."""
    if any(step.startswith("transpose") for step in orientation):
        return frame.height, frame.width, 1 / pixel_aspect
    return frame.width, frame.height, pixel_aspect


def _bars(spec: ClipSpec, width: int, height: int) -> tuple[int, int]:
    """Return the widths of the bars left of a picture and above it; even ones keep chroma where it belongs."""
    return (spec.size - width) // 4 * 2, (spec.size - height) // 4 * 2


def filter_graph(frame: VideoFrame, steps: Sequence[str]) -> Graph:
    """Return a configured FFmpeg graph that puts frames like this one through filters, such as "crop=64:64:0:0"."""
    graph = Graph()
    graph.threads = 1  # builds have a process a core, and threads take longer to start than one small picture does
    # No filter looks at times, and a damaged file's frames may have no time base.
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))]
    for step in steps:
        name, _, arguments = step.partition("=")
        nodes.append(graph.add(name, arguments))
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph


def preprocessing_version_of(source: Path | BinaryIO, name: str) -> int | None:
    """Return the first version of the preprocessing that cuts a video's clips as the present one does.

    Version 2 made pixels square, kept greys of all colour matrices, shows reordered frames at their times where packets
    are only numbered, as in AVI, or have times of decoding alone, and nothing from before the first clean frame; all
    other videos are cut as by version 1. None for a video that gives no frame.

    Args:
        source: the video.
        name: what errors call it.
    """
    try:
        container, stream = open_stream(source, name)
        with container:
            packets = PacketQueue(container, stream, source, name)
            if packets.is_start_in_doubt or packets.hides_unknown_frames:
                return 2
            first = None
            while packets and first is None:
                first = next(iter(stream.codec_context.decode(packets.popleft())), None)
            first = first or next(iter(stream.codec_context.decode(None)), None)
            if first is None:
                return None
            as_before = (
                packets.tells_presentation
                and stands_alone(first, stream.codec_context)
                and pixel_aspect_of(stream) == SQUARE
                and _matrix_name(first) == "bt601"
                and begins_with_a_key_frame(partial(open_stream, source, name), container, stream.codec_context.name)
            )
    except (DecodeError, *READ_ERRORS):
        return None
    return 1 if as_before else 2


def _matrix_name(frame: VideoFrame) -> str:
    """Return the scale filter's name of a frame's colour matrix; RGB frames become BT.601."""
    return "bt601" if frame.format.is_rgb else _MATRICES.get(frame.colorspace, "bt601")


def clear_unknown_tags(frame: VideoFrame) -> None:
    """Take away colour tags of a frame that mean nothing: FFmpeg's scaling refuses them."""
    if _is_unknown(frame.color_primaries):
        frame.color_primaries = _UNSPECIFIED
    if _is_unknown(frame.color_trc):
        frame.color_trc = _UNSPECIFIED


def _is_unknown(tag: int) -> bool:
    return tag in _RESERVED_TAGS or tag > _LAST_TAG


def to_bt601(i420: NDArray[np.uint8], matrix: str) -> NDArray[np.uint8]:
    """Return a limited-range I420 frame [3S/2, S] of another colour matrix in BT.601; greys keep their luma exactly.

    Each 2x2 block has one chroma sample, so its four lumas change alike. In fixed point of 14 bits, so that every
    processor gives the same bytes.
    """
    to_luma, to_chroma = _conversion(matrix)
    size = i420.shape[1]
    half = size // 2
    chroma = i420[size:].reshape(2, half, half).astype(np.int32) - 128
    steps = _rounded(to_luma, chroma).astype(np.int16).repeat(2, axis=1).repeat(2, axis=0)
    out = np.empty_like(i420)
    steps += i420[:size]
    out[:size] = steps.clip(0, 255, out=steps)
    for plane, weights in zip(out[size:].reshape(2, half, half), to_chroma, strict=True):
        plane[:] = (_rounded(weights, chroma) + 128).clip(0, 255)
    return out


def _rounded(weights: tuple[int, int], chroma: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the weighted sum of Cb and Cr, int32 [S/2, S/2], rounded from fixed point."""
    return (weights[0] * chroma[0] + weights[1] * chroma[1] + (1 << (_FIXED_POINT - 1))) >> _FIXED_POINT


@cache
def _conversion(matrix: str) -> tuple[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]:
    """Return what Cb and Cr add to luma, and make of Cb and Cr, on the way to BT.601, in fixed point.

    Y'CbCr to R'G'B' by one pair of weights and back by the other (ITU-T H.273, equations 38 to 43).
    """
    rows = []
    for blue, red in ((1.0, 0.0), (0.0, 1.0)):  # of luma 0, chroma in -0.5..0.5, scaled by 224 below
        weight_red, weight_blue = _WEIGHTS[matrix]
        r, b = 2 * (1 - weight_red) * red, 2 * (1 - weight_blue) * blue
        g = -(weight_red * r + weight_blue * b) / (1 - weight_red - weight_blue)
        weight_red, weight_blue = _WEIGHTS["bt601"]
        luma = weight_red * r + (1 - weight_red - weight_blue) * g + weight_blue * b
        chroma = (b - luma) / (2 * (1 - weight_blue)), (r - luma) / (2 * (1 - weight_red))
        rows.append((luma * 219 / 224, *chroma))
    fixed = [[round(value * (1 << _FIXED_POINT)) for value in row] for row in rows]
    (luma_u, u_u, v_u), (luma_v, u_v, v_v) = fixed
    return (luma_u, luma_v), ((u_u, u_v), (v_u, v_v))
