"""Containers x codecs x timing: every frame at its time by both decoders, or refused with a true reason."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.pyav_reader import VideoReader, open_video
from tests.generated_videos import number_of
from tests.pipeline.video.kinds import (
    FRAME_SECONDS,
    Kind,
    RefusedError,
    Written,
    keeps_durations,
    kinds,
    write_kind,
)

SPEC = ClipSpec(num_frames=1, size=96)
TRUE_REASONS = ("has no video stream", "there is no decoder for its video stream", "a frame has no timestamp")
FEWEST_READ = 510
"""Of all kinds; what encoders and muxers make may differ a little from one release to the next."""


def middles(written: Written) -> list[float]:
    ends = [*written.starts[1:], written.end_seconds]
    return [(start + end) / 2 for start, end in zip(written.starts, ends, strict=True)]


def numbers_at(reader: VideoReader, seconds: Sequence[float]) -> list[int]:
    preprocess = FramePreprocessor(SPEC, reader.pixel_aspect)
    return [number_of(preprocess(shown.frame)) for shown in reader.frames_at(np.array(seconds))]


def check(folder: Path, kind: Kind) -> str:
    """Return `made`, `read` or `refused`; fail where a frame or the end is wrong."""
    try:
        written = write_kind(folder, kind)
    except RefusedError:
        return "not made"
    try:
        with open_video(written.path) as reader:
            assert numbers_at(reader, middles(written)) == written.numbers, kind
            end_seconds = reader.duration_seconds
    except DecodeError as error:
        assert any(reason in str(error) for reason in TRUE_REASONS), (kind, error)
        assert kind.container in ("mpg", "vob", "ts", "flv"), (kind, error)
        return "refused"
    if keeps_durations(kind):
        assert end_seconds == pytest.approx(written.end_seconds, abs=0.01), kind
    else:
        assert written.starts[-1] < end_seconds < written.starts[-1] + 4.1 * FRAME_SECONDS, kind
    try:
        with open_video(written.path, decoder="decord") as reader:
            assert numbers_at(reader, middles(written)) == written.numbers, kind
    except DecodeError as error:
        assert "decord" in str(error) or "cut off" in str(error), (kind, error)  # it says that it cannot, or pyav can
    return "read"


def test_forty_kinds_are_read_right_or_refused_with_a_reason(tmp_path: Path) -> None:
    chosen = random.Random(18).sample(sorted(kinds()), 130)
    found = [check(tmp_path, kind) for kind in chosen]
    assert found.count("read") >= 40 and found.count("refused") >= 1


@pytest.mark.slow
def test_all_kinds_are_read_right_or_refused_with_a_reason(tmp_path: Path) -> None:
    found = [check(tmp_path, kind) for kind in kinds()]
    assert found.count("read") >= FEWEST_READ
