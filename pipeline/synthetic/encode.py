"""Rendered frames to an MP4 like AIHub's: H.264 High, 30 fps, one keyframe, B-pyramid, moov last, no audio.

In: a take as one view sees it. Out: the file's bytes, the same in every run because there is one thread and no date.
The trade-off is x264's preset: superfast needs half the time of veryfast at the same size, and keeps B-frames and the
8 x 8 transform.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.synthetic.motion import FRAMES_PER_SECOND, Performance
from signprep.pipeline.synthetic.person import Canvas, Plane, draw_figure, noise_field, studio
from signprep.pipeline.synthetic.signers import Signer
from signprep.pipeline.synthetic.skeleton import film

# 8 Mbit/s at 1920x1080 as in AIHub. Small pictures need more bits a pixel, hence the least rate.
_BITS_PER_PIXEL = 8e6 / (1920 * 1080)
_LEAST_BITS_PER_SECOND = 150_000
_X264 = (
    "keyint=250:min-keyint=250:scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal:weightp=0"
    ":threads=1:lookahead-threads=1:sliced-threads=0"
)


def render_video(
    path: Path,
    performance: Performance,
    signer: Signer,
    view: str,
    frame_size: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """Write one view of a performance to `path`, whatever its suffix."""
    width, height = frame_size
    with av.open(str(path), "w", format="mp4") as container:
        try:
            stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        except ValueError as error:  # PyAV's UnknownCodecError is one
            raise AnnotationError(
                f"{path}: cannot be encoded: this FFmpeg has no libx264; PyAV's own wheels do: "
                "pip install --force-reinstall --only-binary av av"
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = max(_LEAST_BITS_PER_SECOND, round(_BITS_PER_PIXEL * width * height))
        stream.thread_count = 1
        stream.options = {"preset": "superfast", "profile": "high", "x264-params": _X264}
        for number, picture in enumerate(_pictures(performance, signer, view, frame_size, rng)):
            picture.pts, picture.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _pictures(
    performance: Performance,
    signer: Signer,
    view: str,
    frame_size: tuple[int, int],
    rng: np.random.Generator,
) -> Iterator[av.VideoFrame]:
    width, height = frame_size
    joints = film(performance, signer, view)
    backdrop = studio(signer.background, frame_size, rng)
    noise = _noise_field(frame_size)
    luma = np.empty_like(backdrop.y)
    for number in range(performance.num_frames):
        picture = av.VideoFrame(width, height, "yuv420p")
        y, u, v = (_plane(picture, index) for index in range(3))
        luma[...], u[...], v[...] = backdrop.y, backdrop.u, backdrop.v
        draw_figure(Canvas(y=luma, u=u, v=v), joints, number, signer)
        # Noise is the sensor's, so it lies over figure and background alike; chroma's would be denoised by a camera.
        down, right = rng.integers(0, 64, 2)
        np.add(luma, noise[down : down + height, right : right + width], out=y)
        yield picture


@lru_cache(maxsize=1)
def _noise_field(frame_size: tuple[int, int]) -> Plane:
    return noise_field(frame_size, seed=0)


def _plane(picture: av.VideoFrame, index: int) -> Plane:
    """Return a writable view of a frame's plane, without the padding of its lines."""
    plane = picture.planes[index]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
