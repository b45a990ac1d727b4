from pathlib import Path

import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips, read_clips
from signprep.pipeline.decode import open_video
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.sampling import sample_times, shown_frames
from tests.generated_videos import number_of, write_video

SPEC = ClipSpec(num_frames=8, size=96)


def numbers(clip: Clip | DecodeError) -> list[int]:
    assert isinstance(clip, Clip)
    return [number_of(frame) for frame in clip.frames]


def expected(timestamps: list[float], span: Span, num_frames: int = 8) -> list[int]:
    return shown_frames(timestamps, sample_times(*span, num_frames)).tolist()


def test_the_frames_shown_at_the_times_are_taken(tmp_path: Path) -> None:
    video = write_video(tmp_path / "한글 이름 &=.mp4", 60)
    span = Span(0.5, 1.5)
    [clip] = extract_clips(video, [span], SPEC)
    assert numbers(clip) == expected([k / 30 for k in range(60)], span)
    assert isinstance(clip, Clip)
    assert clip.sampled_seconds.tolist() == pytest.approx([number / 30 for number in numbers(clip)])


def test_variable_frame_rate_goes_by_timestamps(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).choice([1, 2, 3, 10], 59)
    timestamps = np.concatenate([[0], np.cumsum(gaps)]) / 60
    video = write_video(tmp_path / "vfr.mp4", 60, timestamps=timestamps.tolist())
    span = Span(0.3, float(timestamps[-1]))
    [clip] = extract_clips(video, [span], SPEC)
    assert numbers(clip) == expected(timestamps.tolist(), span)


def test_time_zero_is_the_first_presented_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "late.mkv", 30, timestamps=[5 + k / 30 for k in range(30)])
    [clip] = extract_clips(video, [Span(0.0, 1.0)], SPEC)
    assert numbers(clip) == expected([k / 30 for k in range(30)], Span(0.0, 1.0))


def test_overlapping_spans_are_answered_from_one_pass(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 90)
    spans = [Span(1.0, 2.0), Span(0.2, 1.2), Span(1.0, 2.0), Span(0.0, 3.0)]
    with open_video(video) as reader:
        clips = read_clips(reader, spans, SPEC)
        assert reader.counts.frames_decoded <= 90
        assert reader.counts.packets_read <= 90
    assert [numbers(clip) for clip in clips] == [expected([k / 30 for k in range(90)], span) for span in spans]


def test_reading_stops_after_the_last_wanted_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 240, options={"x264-params": "keyint=250:bframes=3:b-pyramid=normal"})
    with open_video(video) as reader:
        read_clips(reader, [Span(0.5, 1.0)], SPEC)
        assert reader.counts.packets_read <= 30 + 24  # the wanted second, the lookahead, and reordering
        assert reader.counts.frames_decoded <= 34


def test_a_span_past_the_end_is_clipped_and_says_so(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    [clip] = extract_clips(video, [Span(0.5, 9.0)], SPEC)
    assert isinstance(clip, Clip)
    assert clip.span == Span(0.5, 1.0)
    assert numbers(clip) == expected([k / 30 for k in range(30)], Span(0.5, 1.0))


def test_a_span_outside_fails_alone(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    outside, inside = extract_clips(video, [Span(5.0, 6.0), Span(0.0, 1.0)], SPEC)
    assert isinstance(inside, Clip)
    assert isinstance(outside, DecodeError)
    assert "a.mp4" in str(outside) and "5.000" in str(outside) and "1.000" in str(outside)


def test_a_truncated_file_gives_what_lies_before_the_cut_and_never_repeats(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    video = write_video(tmp_path / "a.mp4", 90, container_options=options)
    whole = extract_clips(video, [Span(0.0, 0.4), Span(2.0, 3.0)], SPEC)
    assert all(isinstance(clip, Clip) for clip in whole)
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 6 // 10])
    before, behind = extract_clips(video, [Span(0.0, 0.4), Span(2.0, 3.0)], SPEC)
    assert isinstance(before, Clip) and isinstance(whole[0], Clip)
    assert np.array_equal(before.frames, whole[0].frames)
    assert isinstance(behind, DecodeError)
    assert "a.mp4" in str(behind)


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\0" * 5000])
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        open_video(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"gone\.mp4.*no such video"):
        open_video(tmp_path / "gone.mp4")
