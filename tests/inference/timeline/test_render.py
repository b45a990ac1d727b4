import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.inference.timeline import render, strip
from signprep.inference.timeline.render import render_timeline
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.strip import TimelineStrip, colour_of, find_font, fitted, missing_characters
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.demux import packet_times
from tests.generated_videos import numbered_frame, write_gop, write_video


def segment(start: float, end: float, gloss: str, label: int = 0) -> TimelineSegment:
    return TimelineSegment(start_seconds=start, end_seconds=end, label=label, gloss=gloss, confidence=0.87)


SIGNS = [segment(0.1, 0.4, "left"), segment(0.5, 0.9, "up", 1)]


@pytest.fixture
def no_korean_font(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with Pillow's own font only, so that pictures are the same on every one."""
    monkeypatch.setattr(strip, "KOREAN_FONTS", ())


pytestmark = pytest.mark.usefixtures("no_korean_font")


def lumas(path: Path) -> Iterator[np.ndarray]:
    """Yield the luma of each frame as stored, int [H, W]."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
            yield rows[:, : frame.width].astype(int)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def test_frames_and_their_times_stay_and_a_strip_is_added_below(tmp_path: Path) -> None:
    video, out = write_video(tmp_path / "수어.mp4", 30), tmp_path / "out.mp4"
    done: list[tuple[int, int]] = []
    rendered = render_timeline(video, SIGNS, out, progress=lambda *counts: done.append(counts))
    assert (rendered.num_frames, rendered.sound_was_dropped) == (30, False)
    assert done[0] == (1, 30) and done[-1] == (30, 30)
    before, after = packet_times(video, "video"), packet_times(out, "out")
    np.testing.assert_array_equal(before.starts_ns, after.starts_ns)
    assert after.duration_seconds == pytest.approx(before.duration_seconds)
    pictures = list(lumas(out))
    assert len(pictures) == 30
    for source, picture in zip(lumas(video), pictures, strict=True):
        assert picture.shape[1] == 160 and picture.shape[0] > 96
        assert difference(source, picture[:96]) < 4
    strips = [picture[96:] for picture in pictures]
    assert difference(strips[1], strips[6]) > 2  # silence, and a gloss
    assert difference(strips[20], strips[21]) < difference(strips[1], strips[6])  # the cursor alone moved
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out.mp4", "수어.mp4"]


def test_variable_frame_times_stay(tmp_path: Path) -> None:
    timestamps = [0.0, 0.02, 0.3, 0.31, 0.55, 0.9, 1.0, 1.04]
    video = write_video(tmp_path / "vfr.mp4", len(timestamps), timestamps=timestamps)
    render_timeline(video, SIGNS, tmp_path / "out.mp4")
    times = packet_times(tmp_path / "out.mp4", "out")
    np.testing.assert_array_equal(times.starts_ns, packet_times(video, "video").starts_ns)
    assert times.starts_ns / 1e9 == pytest.approx(timestamps, abs=1e-4)


@pytest.mark.parametrize("shape", ["vp9 alternate references", "mpeg4 in AVI", "hevc open GOP"])
def test_other_codecs_and_containers_are_rendered_whole(shape: str, tmp_path: Path) -> None:
    video = write_gop(tmp_path, shape, 24)
    assert render_timeline(video, SIGNS, tmp_path / "out.mp4").num_frames == 24
    starts = packet_times(tmp_path / "out.mp4", "out").starts_ns
    with av.open(str(video)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert starts / 1e9 == pytest.approx([time - shown[0] for time in shown], abs=1e-5)


@pytest.mark.parametrize(("degrees", "quarters"), [(90, 1), (180, 2), (270, 3)])
def test_a_turned_video_is_rendered_upright(degrees: int, quarters: int, tmp_path: Path) -> None:
    video = write_video(tmp_path / "turned.mp4", 3, display_degrees=degrees)
    render_timeline(video, SIGNS, tmp_path / "out.mp4")
    upright = np.rot90(numbered_frame(0)[:96].astype(int), quarters)
    picture = next(lumas(tmp_path / "out.mp4"))
    assert picture.shape[1] == upright.shape[1]
    assert difference(picture[: upright.shape[0]], upright) < 6
    assert difference(picture[: upright.shape[0]], upright[::-1, ::-1]) > 6
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_odd_sides_become_even(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 151, 95, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.full((95, 151, 3), 130, np.uint8), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv444p")))
        container.mux(stream.encode())
    render_timeline(path, [], tmp_path / "out.mp4")
    picture = next(lumas(tmp_path / "out.mp4"))
    assert picture.shape[0] % 2 == 0 and picture.shape[1] == 152
    assert difference(picture[:94, :150], next(lumas(path))[:94, :150]) < 3


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_colours_mean_what_they_meant(pixel_format: str, color_range: int, tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, pixel_format
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = color_range  # limited, full
        frame = av.VideoFrame.from_ndarray(numbered_frame(5), format="yuv420p")
        frame.colorspace, frame.color_range = 1, color_range
        container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    render_timeline(path, SIGNS, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, color_range)
    assert difference(next(lumas(tmp_path / "out.mp4"))[:96], numbered_frame(5)[:96].astype(int)) < 3


def test_sound_is_dropped_and_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "loud.mp4"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=30), container.add_stream("aac", rate=48_000)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for number in range(4):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="yuv420p")))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48_000
        container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    with path.open("rb") as stream:  # as a member of a zip is given
        rendered = render_timeline(stream, SIGNS, tmp_path / "out.mp4", name="a.zip!/loud.mp4")
    assert rendered.sound_was_dropped and rendered.num_frames == 4
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_without_x264_the_times_are_as_near_as_the_other_encoder_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "codecs_available", {"mpeg4"})
    video = write_video(tmp_path / "video.mp4", 10, timestamps=[0.0371 * k for k in range(10)])
    render_timeline(video, SIGNS, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    starts = packet_times(tmp_path / "out.mp4", "out").starts_ns / 1e9
    assert starts == pytest.approx([0.0371 * k for k in range(10)], abs=2e-5)


def test_a_damaged_video_leaves_nothing(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", 30)
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 4
    for position in range(start + 600, start + (len(content) - start) // 2, 40):
        content[position] ^= 0xFF
    video.write_bytes(content)
    with pytest.raises(DecodeError, match=r"video\.mp4"):
        render_timeline(video, SIGNS, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_paths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", 3)
    with pytest.raises(SignprepError, match=r"ends in \.mp4"):
        render_timeline(video, SIGNS, tmp_path / "out.avi")
    with pytest.raises(SignprepError, match="is the video itself"):
        render_timeline(video, SIGNS, tmp_path / ".." / tmp_path.name / "video.mp4")
    with pytest.raises(SignprepError, match="cannot be written"):
        render_timeline(video, SIGNS, tmp_path / "gone" / "out.mp4")
    with pytest.raises(DecodeError, match="no such video"):
        render_timeline(tmp_path / "gone.mp4", SIGNS, tmp_path / "out.mp4")


def strip_of(segments: list[TimelineSegment], width: int = 640) -> TimelineStrip:
    return TimelineStrip(segments, duration_seconds=2.0, width=width, picture_height=360)


def test_the_strip_shows_each_sign_in_its_colour_where_it_is() -> None:
    strip = strip_of([segment(0.0, 1.0, "left", 3), segment(1.5, 2.0, "up", 4)])
    y, u, v = strip.planes(1.2)
    assert y.shape == (strip.height, 640) and u.shape == v.shape == (strip.height // 2, 320)
    row = strip.height - strip.height // 4

    def colour_at(seconds: float) -> np.ndarray:
        x = strip.x_of(seconds)
        planes = np.full((6, 2), 128, np.uint8)
        planes[:4], planes[4:5], planes[5:] = y[row, x], u[row // 2, x // 2], v[row // 2, x // 2]
        return av.VideoFrame.from_ndarray(planes, format="yuv420p").to_ndarray(format="rgb24")[0, 0].astype(int)

    assert np.abs(colour_at(0.1) - colour_of(3)).max() < 12
    assert np.abs(colour_at(1.9) - colour_of(4)).max() < 12
    assert colour_at(1.4).max() < 80
    assert len({colour_of(label) for label in range(100)}) == 100


def test_the_cursor_is_at_the_time() -> None:
    strip = strip_of([])
    for seconds in (0.0, 0.7, 2.0, 9.0):
        y, _, _ = strip.planes(seconds)
        assert abs(int(y[strip.height * 3 // 4].argmax()) - strip.x_of(seconds)) <= 2
    assert strip.x_of(0.0) < strip.x_of(0.7) < strip.x_of(2.0) == strip.x_of(9.0) < 640


def test_segments_are_half_open() -> None:
    strip = strip_of([segment(0.5, 1.0, "a"), segment(1.0, 1.5, "b")])
    assert [strip.segment_at(seconds) for seconds in (0.0, 0.5, 0.99, 1.0, 1.5)] == [None, 0, 0, 1, None]


def test_a_long_gloss_becomes_smaller_then_shorter() -> None:
    font = find_font("")
    assert fitted("left", font, 40, 500)[0] == "left"
    text, smaller = fitted("a rather long gloss", font, 40, 300)
    assert text == "a rather long gloss" and 20 <= smaller.size < 40
    text, smallest = fitted("long " * 40, font, 40, 300)
    assert text.endswith("...") and text.startswith("long long") and smallest.getlength(text) <= 300
    y, _, _ = strip_of([segment(0, 2, "long\n" * 40)], width=160).planes(1.0)
    assert y[: y.shape[0] // 2].max() > 180


def test_without_a_korean_font_korean_is_an_error_that_says_how_to_give_one(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", 3)
    with pytest.raises(SignprepError, match=r"no font on this machine can write 왼쪽; .*--font"):
        render_timeline(video, [segment(0, 1, "왼쪽")], tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_given_font_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(SignprepError, match="no such font file"):
        find_font("a", tmp_path / "gone.ttf")
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(SignprepError, match=r"text\.ttf: is no font"):
        find_font("a", tmp_path / "text.ttf")


def test_korean_is_written_where_a_font_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    try:
        font = find_font("왼쪽 오른쪽 힣")
    except SignprepError:
        assert not os.environ.get("CI"), "CI has a Korean font"
        pytest.skip("no Korean font on this machine")
    assert not missing_characters("왼쪽", font) and missing_characters("왼\U0010fffe쪽", font) == "\U0010fffe"
    masks = {bytes(font.font_variant(size=32).getmask(character)) for character in "왼쪽오른위"}
    assert len(masks) == 5
    assert strip_of([segment(0, 2, "왼쪽")]).planes(1.0)[0][:20].max() > 200


def test_a_video_of_one_frame_lasts_as_long(tmp_path: Path) -> None:
    video = write_video(tmp_path / "one.mp4", 1)
    render_timeline(video, SIGNS, tmp_path / "out.mp4")
    times = packet_times(tmp_path / "out.mp4", "out")
    assert len(times.starts_ns) == 1
    assert Fraction(times.duration_seconds).limit_denominator(1000) == Fraction(1, 30)


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9), Fraction(1, 4)])
@pytest.mark.parametrize("degrees", [0, 90])
@pytest.mark.parametrize("matrix", [1, 6])
def test_pixels_become_square_and_colours_stay(tmp_path: Path, aspect: Fraction, degrees: int, matrix: int) -> None:
    height, width = 288, 360
    y, x = np.mgrid[:height, :width]
    image = np.full((height * 3 // 2, width), 90, np.uint8)
    image[:height] = np.where(((x - 180) * float(aspect)) ** 2 + (y - 144) ** 2 < 40**2, 235, 40)
    path = tmp_path / "disc.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.sample_aspect_ratio, context.colorspace, context.color_range = aspect, matrix, 2
        if degrees:
            stream.set_display_rotation(degrees)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts, frame.colorspace, frame.color_range = number, matrix, 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    render_timeline(path, SIGNS, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        drawn = next(container.decode(video=0))
        assert container.streams.video[0].sample_aspect_ratio in (None, 1) and drawn.colorspace == matrix
    shown = (width * max(aspect, 1), height * max(1 / aspect, 1))
    upright = [round(side) for side in (shown[::-1] if degrees else shown)]
    picture = next(lumas(tmp_path / "out.mp4"))[: upright[1]]
    assert picture.shape == (upright[1], upright[0])
    bright = picture > 138
    assert np.ptp(bright.any(0).nonzero()[0]) == pytest.approx(np.ptp(bright.any(1).nonzero()[0]), abs=3)
    assert (picture[20, 20], picture[upright[1] // 2, upright[0] // 2]) == pytest.approx((40, 235), abs=2)


def test_colour_tags_that_mean_nothing_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv422p10le"
        stream.codec_context.color_primaries = stream.codec_context.color_trc = 3
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(numbered_frame(5), format="yuv420p").reformat(format="yuv422p10le")
            frame.pts, frame.color_primaries, frame.color_trc = number, 3, 3
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert render_timeline(path, SIGNS, tmp_path / "out.mp4").num_frames == 3
