"""Both readers against a full sequential decode, for every shape of a group of pictures."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.frame_times import sample_times, shown_frames
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.pyav_reader import NONREF_SKIP_IS_EXACT, PyAVReader
from tests.generated_videos import GOPS, write_gop

SPEC = ClipSpec(num_frames=5, size=96)
SPANS = [Span(0.0, 0.3), Span(0.41, 1.13), Span(0.5, 1.9), Span(1.2, 1.4)]

DECORD_FAILS = {
    "av1": "does not open",
}
"""What decord 0.6.0 does not do, by shape, with what its DecodeError says."""

MEAN_DIFFERENCE, PARTS_OVER_40 = 2.5, 0.01
"""decord converts to RGB24 before the frame is scaled, and the frame is converted back: chroma is rounded at edges."""


def oracle(video: Path) -> tuple[list[float], list[av.VideoFrame]]:
    """Return timestamps from the first frame, and all frames, decoded one after the other."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = list(container.decode(stream))
    seconds = [float(frame.pts * frame.time_base) for frame in frames]
    return [second - seconds[0] for second in seconds], frames


def expected_frames(video: Path, span: Span) -> np.ndarray:
    timestamps, frames = oracle(video)
    preprocess = FramePreprocessor(SPEC)
    return np.stack([preprocess(frames[k]) for k in shown_frames(timestamps, sample_times(*span, SPEC.num_frames))])


@pytest.mark.parametrize("shape", GOPS)
def test_both_readers_give_the_frames_of_a_full_decode(tmp_path: Path, shape: str) -> None:
    video = write_gop(tmp_path, shape)
    clips = extract_clips(video, SPANS, SPEC)
    decord_clips = extract_clips(video, SPANS, SPEC, decoder="decord")
    for span, clip, decord_clip in zip(SPANS, clips, decord_clips, strict=True):
        expected = expected_frames(video, span)
        assert isinstance(clip, Clip), clip
        assert np.array_equal(clip.frames, expected)
        if shape in DECORD_FAILS:
            assert isinstance(decord_clip, DecodeError) and DECORD_FAILS[shape] in str(decord_clip)
            continue
        assert isinstance(decord_clip, Clip), decord_clip
        assert np.array_equal(decord_clip.sampled_seconds, clip.sampled_seconds)
        difference = np.abs(decord_clip.frames.astype(int) - expected)
        assert difference.mean() < MEAN_DIFFERENCE and (difference > 40).mean() < PARTS_OVER_40


@pytest.mark.parametrize("shape", GOPS)
def test_frames_are_skipped_only_where_that_is_exact(tmp_path: Path, shape: str) -> None:
    video = write_gop(tmp_path, shape)
    _, frames = oracle(video)
    with PyAVReader(video) as reader:
        answers = list(reader.frames_at([0.2, 1.0, 1.7]))
        skipped, codec = reader.counts.packets_unwanted, GOPS[shape][0].removeprefix("lib")
    for answer in answers:
        full = frames[round(answer.timestamp_seconds * 30)]
        assert np.array_equal(answer.frame.to_ndarray(), full.to_ndarray())
    assert not skipped or codec.replace("x264", "h264") in NONREF_SKIP_IS_EXACT
    if shape in ("h264 B-pyramid", "h264 plain B"):
        assert skipped >= 8


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no such priorities")
def test_writing_av1_leaves_other_programs_their_turns(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    write_gop(tmp_path, "av1", num_frames=4)
    assert os.sched_getscheduler(0) == before
