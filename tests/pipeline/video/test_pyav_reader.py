import io
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips, iterate_clips, read_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.frame_times import sample_times, shown_frames
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import GOPS, number_of, numbered_frame, write_video

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


def test_clips_of_several_specs_come_from_one_pass_and_are_those_of_each_alone(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 90)
    spans = [Span(1.0, 2.0), Span(0.2, 1.2), Span(1.0, 2.0), Span(3.5, 4.0)]
    specs = [SPEC, ClipSpec(num_frames=3, size=32, pixels="rgb24"), ClipSpec(num_frames=5, size=64, crop="full"), SPEC]
    with open_video(video) as reader:
        found = dict(iterate_clips(reader, spans, specs))
        assert reader.counts.frames_decoded <= 60
    for number, (span, spec) in enumerate(zip(spans[:3], specs[:3], strict=True)):
        [alone], clip = extract_clips(video, [span], spec), found[number]
        assert isinstance(alone, Clip) and isinstance(clip, Clip)
        assert np.array_equal(clip.frames, alone.frames)
        assert np.array_equal(clip.sampled_seconds, alone.sampled_seconds)
    assert isinstance(found[3], DecodeError)


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


def test_a_sentence_of_eight_signs_is_decoded_once(tmp_path: Path) -> None:
    video = write_video(tmp_path / "NIA_SL_SEN0001_REAL01_F.mp4", 270)
    spans = [Span(0.5 + k, 1.3 + k) for k in range(8)]
    with open_video(video) as reader:
        clips = read_clips(reader, spans, SPEC)
        needed = 8.3 * 30  # to the end of the last sign
        assert reader.counts.packets_read <= needed + 20
        assert reader.counts.frames_decoded + reader.counts.packets_unwanted <= needed + 5
    assert [numbers(clip) for clip in clips] == [expected([k / 30 for k in range(270)], span) for span in spans]


def test_a_reader_may_be_asked_again(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", 60)) as reader:
        for _ in range(2):
            [clip] = read_clips(reader, [Span(0.2, 1.2)], SPEC)
            assert numbers(clip) == expected([k / 30 for k in range(60)], Span(0.2, 1.2))


def test_a_member_of_a_zip_file_gives_the_same_clips(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 60)
    spans = [Span(0.2, 1.2), Span(1.5, 9.0)]
    with zipfile.ZipFile(tmp_path / "[원천]01.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(video, "01-1/a.mp4")
    with zipfile.ZipFile(tmp_path / "[원천]01.zip") as archive, archive.open("01-1/a.mp4") as member:
        member.seek(7)
        clips = extract_clips(member, spans, SPEC, name="[원천]01.zip!01-1/a.mp4")
        assert member.tell() == 0
    for clip, of_path in zip(clips, extract_clips(video, spans, SPEC), strict=True):
        assert isinstance(clip, Clip) and isinstance(of_path, Clip)
        assert np.array_equal(clip.frames, of_path.frames) and clip.span == of_path.span


def test_a_damaged_zip_member_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(write_video(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"}), "a.mp4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive, archive.open("a.mp4") as member:
        [clip] = extract_clips(member, [Span(0.5, 2.0)], SPEC, name="a.zip!a.mp4")
    assert isinstance(clip, DecodeError) and "a.zip!a.mp4" in str(clip)


def test_matroska_under_an_mp4_name_is_read(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30, container_format="matroska")
    [clip] = extract_clips(video, [Span(0.0, 1.0)], SPEC)
    assert numbers(clip) == expected([k / 30 for k in range(30)], Span(0.0, 1.0))


def test_metadata_in_another_encoding_does_no_harm(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mkv", 30)
    data = video.read_bytes()
    assert b"Lavf" in data
    video.write_bytes(data.replace(b"Lavf", b"\xc8\xad\xb1\xe6"))
    [clip] = extract_clips(video, [Span(0.0, 1.0)], SPEC)
    assert numbers(clip) == expected([k / 30 for k in range(30)], Span(0.0, 1.0))


def two_streams(path: Path, *, first_is_picture: bool) -> Path:
    with av.open(str(path), "w") as container:
        first = container.add_stream("mjpeg" if first_is_picture else "libx264", rate=30)
        first.pix_fmt = "yuvj420p" if first_is_picture else "yuv420p"
        if first_is_picture:
            first.disposition = av.stream.Disposition.attached_pic
        second = container.add_stream("libx264", rate=30)
        second.pix_fmt = "yuv420p"
        for stream in (first, second):
            stream.width, stream.height = 160, 96
            stream.codec_context.time_base = Fraction(1, 30)
        for stream, offset in ((first, 0), (second, 100)):
            for number in range(1 if stream is first and first_is_picture else 30):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number + offset), format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                if stream.pix_fmt == "yuvj420p":
                    frame = frame.reformat(format="yuvj420p")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("first_is_picture", "offset"), [(False, 0), (True, 100)])
def test_the_first_stream_that_is_no_cover_picture_is_read(tmp_path: Path, first_is_picture: bool, offset: int) -> None:
    video = two_streams(tmp_path / "two.mp4", first_is_picture=first_is_picture)
    [clip] = extract_clips(video, [Span(0.0, 0.9)], SPEC)
    assert [number - offset for number in numbers(clip)] == expected([k / 30 for k in range(30)], Span(0.0, 0.9))


@pytest.mark.parametrize(
    ("pixel_format", "width", "height"),
    [("yuv444p", 161, 97), ("yuv420p10le", 160, 96), ("yuv422p", 160, 97), ("yuvj420p", 160, 96)],
)
def test_odd_sizes_and_other_pixel_formats_are_read(tmp_path: Path, pixel_format: str, width: int, height: int) -> None:
    frame = av.VideoFrame.from_ndarray(numbered_frame(5), format="yuv420p").reformat(width, height, pixel_format)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        for number in range(6):
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    [clip] = extract_clips(path, [Span(0.0, 0.2)], SPEC)
    assert numbers(clip) == [5] * 8


@pytest.mark.parametrize("shape", ["h264 B-pyramid", "h264 closed GOPs", "hevc B-pyramid", "mpeg4 B", "vp9"])
def test_a_file_cut_anywhere_never_gives_a_repeated_or_altered_frame(tmp_path: Path, shape: str) -> None:
    codec, options, suffix = GOPS[shape]
    video = write_video(
        tmp_path / f"a{suffix}",
        40,
        codec=codec,
        options=options,
        container_options={"movflags": "faststart"} if suffix == ".mp4" else None,
    )
    data = video.read_bytes()
    times = (np.arange(40) + 0.4) / 30
    with open_video(video) as reader:
        whole = [(shown.timestamp_seconds, shown.frame.to_ndarray().tobytes()) for shown in reader.frames_at(times)]
    num_given = []
    for cut in range(len(data) // 3, len(data) - 8, len(data) // 40):
        given: list[tuple[float, bytes]] = []
        with (
            pytest.raises(DecodeError, match="cut video"),
            open_video(io.BytesIO(data[:cut]), name="cut video") as reader,
        ):
            for shown in reader.frames_at(times):
                given.append((shown.timestamp_seconds, shown.frame.to_ndarray().tobytes()))
        assert given == whole[: len(given)]
        num_given.append(len(given))
    assert max(num_given) > 20 or shape == "mpeg4 B"


def test_concealed_damage_in_h264_is_found_and_what_lies_before_it_is_kept(tmp_path: Path) -> None:
    """Noise, so that every byte matters: FFmpeg conceals most of these damages and goes on."""
    video = write_video(tmp_path / "a.mp4", 60, options={**GOPS["h264 B-pyramid"][1], "crf": "8"})
    data = video.read_bytes()
    times = (np.arange(60) + 0.4) / 30
    with open_video(video) as reader:
        whole = [shown.frame.to_ndarray() for shown in reader.frames_at(times)]
    start, end = data.index(b"mdat") + 900, data.index(b"moov") - 400
    found, wrong = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        position = int(rng.integers(start, end))
        damaged = data[:position] + rng.bytes(200) + data[position + 200 :]
        given = []
        try:
            with open_video(io.BytesIO(damaged), name="damaged") as reader:
                for shown in reader.frames_at(times):
                    given.append(shown.frame.to_ndarray())
        except DecodeError as error:
            found += 1
            assert "damaged" in str(error)
        wrong += any(not np.array_equal(a, b) for a, b in zip(given, whole, strict=False))
    assert found >= 27 and wrong <= 3
