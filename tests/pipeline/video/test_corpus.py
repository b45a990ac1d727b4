"""Real files that break video readers, against what a full decode by FFmpeg gave.

They are no part of this repository: `SIGNPREP_VIDEO_CORPUS` names their folder, which holds `truth.json`. Once it is
set, whatever is missing is a failure.
"""

import json
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.preprocess import display_matrix
from signprep.pipeline.video.pyav_reader import open_video
from tests.conftest import peak_mib_of_clips

FOLDER = os.environ.get("SIGNPREP_VIDEO_CORPUS")
TRUTH: dict[str, dict[str, Any]] = (
    json.loads((Path(FOLDER) / "truth.json").read_text(encoding="utf-8")) if FOLDER else {}
)
NUM_FILES = 72
MAX_MEMORY_MIB = 950
MANY_FRAMES = 1000

DECORD_FAILS = {
    "media3/hdr10-av1.mp4": "does not open",
    "media3/sample_av1.mp4": "does not open",
    "torchcodec/av1_video.mkv": "does not open",
    "torchcodec/testsrc2_av1_10bit.mp4": "does not open",
    "media3/sample_h264.ts": "finds wrong frames in mpegts",
    "media3/sample_h265.ts": "finds wrong frames in mpegts",
    "media3/sample_rotate_and_reflect.mp4": "does not mirror",
    "torchcodec/discard_first_keyframe.mp4": "counts 30 frames, but 25 are presented",
    "torchcodec/nasa_13013.mp4": "counts 390 frames, but 325 are presented",  # it takes another video stream
}
"""Files of which decord 0.6.0 gives no frame, or would give other ones than are shown, and what is said about them."""

MEAN_DIFFERENCE = 1.5
"""Between the readers, of 255, at 96 x 96. decord's frames go through RGB24, whose chroma is rounded at edges."""

pytestmark = pytest.mark.skipif(FOLDER is None, reason="SIGNPREP_VIDEO_CORPUS names no folder")


def path_of(name: str) -> Path:
    assert FOLDER is not None
    path = Path(FOLDER) / name
    assert path.is_file(), f"the corpus lacks {name}"
    return path


def presented_seconds(path: Path) -> np.ndarray:
    """Return when frames start, from the container's packets, ascending."""
    attached = av.stream.Disposition.attached_pic
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = next(stream for stream in container.streams.video if not stream.disposition & attached)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        return np.sort([float(packet.pts * packet.time_base) for packet in packets])


def rotation_of(frame: av.VideoFrame) -> int:
    """Return the counter-clockwise turn that the display matrix asks for, as FFmpeg tells it."""
    matrix = display_matrix(frame)
    return 0 if matrix is None else round(np.degrees(-np.arctan2(matrix[1], matrix[0])))


def test_the_corpus_is_whole() -> None:
    assert len(TRUTH) == NUM_FILES
    for name in TRUTH:
        path_of(name)


@pytest.mark.parametrize("name", TRUTH)
def test_frames_times_and_orientation_are_those_of_a_full_decode(name: str) -> None:
    path, truth = path_of(name), TRUTH[name]
    if truth.get("frames", 0) == 0:
        [failure] = extract_clips(path, [Span(0.0, 0.5)], ClipSpec(num_frames=4, size=32))
        assert isinstance(failure, DecodeError)
        assert str(path) in str(failure) and len(str(failure)) > len(str(path)) + 20
        return
    seconds = presented_seconds(path)
    assert len(seconds) == truth["frames"]
    assert seconds[[0, -1]].tolist() == pytest.approx([truth["first"], truth["last"]], abs=1e-6)
    seconds = seconds - seconds[0]
    asked = seconds if len(seconds) < MANY_FRAMES else seconds[:: len(seconds) // 60]
    times = asked + 1e-6
    with open_video(path) as reader:
        shown = []
        for answer in reader.frames_at(times):
            shown.append(answer.timestamp_seconds)
            if len(shown) == 1:
                assert [answer.frame.width, answer.frame.height] == truth["size"]
                assert abs(rotation_of(answer.frame)) == abs(truth["rotation"])
        assert reader.duration_seconds >= shown[-1]
    assert shown == pytest.approx(asked.tolist(), abs=1e-6)


@pytest.mark.parametrize("name", [name for name, truth in TRUTH.items() if 0 < truth.get("frames", 0) < MANY_FRAMES])
def test_decord_gives_the_same_frames_or_is_known_to_fail(name: str) -> None:
    pytest.importorskip("decord", exc_type=ImportError)
    path, truth = path_of(name), TRUTH[name]
    span = Span(0.0, max(0.02, truth["last"] - truth["first"]))
    spec = ClipSpec(num_frames=4, size=96, crop="full")
    [clip] = extract_clips(path, [span], spec)
    [other] = extract_clips(path, [span], spec, decoder="decord")
    assert isinstance(clip, Clip)
    if name in DECORD_FAILS:
        assert isinstance(other, DecodeError) and DECORD_FAILS[name] in str(other)
        return
    assert isinstance(other, Clip), other
    assert np.array_equal(clip.sampled_seconds, other.sampled_seconds)
    assert np.abs(clip.frames.astype(int) - other.frames).mean() < MEAN_DIFFERENCE


def test_memory_stays_bounded() -> None:
    """Every file, one after the other, in a process of its own."""
    paths = [path_of(name) for name in TRUTH]
    assert peak_mib_of_clips(paths, [Span(0.0, 1.5), Span(0.2, 400.0)]) < MAX_MEMORY_MIB
