"""Kinds of files that were refused, or whose pictures were wrong, and what a player shows of them."""

import gc
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.scan.videos import video_facts
from signprep.pipeline.video import decord_reader
from signprep.pipeline.video.bitstreams import has_whole_frames_only
from signprep.pipeline.video.frame_times import LOOKAHEAD_PACKETS
from signprep.pipeline.video.preprocess import FramePreprocessor, preprocessing_version_of
from signprep.pipeline.video.pyav_reader import DECODERS, PyAVReader, open_video
from tests.generated_videos import number_of, numbered_frame, write_video
from tests.pipeline.video.field_coded import h264_pictures, write_fields

SPEC = ClipSpec(num_frames=8, size=64)
EACH_SECOND_A_KEY_FRAME = {"x264-params": "keyint=30:min-keyint=30:scenecut=0:bframes=2", "crf": "18"}


def numbers(path: Path, seconds: list[float]) -> list[int]:
    with open_video(path) as reader:
        preprocess = FramePreprocessor(ClipSpec(size=96), reader.pixel_aspect)
        return [number_of(preprocess(shown.frame)) for shown in reader.frames_at(np.array(seconds))]


def every_number(path: Path, num_frames: int, rate: int = 30) -> list[int]:
    return numbers(path, [(number + 0.5) / rate for number in range(num_frames)])


def remuxed(path: Path, out: Path, changed: Callable[[int, av.Packet], Iterator[av.Packet]]) -> Path:
    """Write each packet of a file as what a function makes of it."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size:
                for new in changed(number, packet):
                    new.stream = stream
                    target.mux(new)
    return out


def test_a_packed_bitstream_shows_its_frames_in_order(tmp_path: Path) -> None:
    """DivX and XviD put a P frame and the B frame before it into one packet, and a placeholder behind it."""
    plain = write_video(tmp_path / "plain.avi", 40, codec="mpeg4", options={"bf": "1", "g": "250", "b": "2M"})
    not_coded = b"\x00\x00\x01\xb6\x57\x00\x00"
    with av.open(str(plain)) as source:
        stream = source.streams.video[0]
        packets = [bytes(packet) for packet in source.demux(stream) if packet.size]
        extradata = bytes(stream.codec_context.extradata or b"") + b"\x00\x00\x01\xb2DivX503b1393p"
    packed = [packets[0]]
    for pair in itertools.batched(packets[1:], 2) if hasattr(itertools, "batched") else _pairs(packets[1:]):
        packed += [b"".join(pair), not_coded] if len(pair) == 2 else list(pair)
    path = tmp_path / "packed.avi"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.extradata = extradata
        target.start_encoding()
        for number, data in enumerate(packed):
            packet = av.Packet(extradata + data if not number else data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 30), stream
            target.mux(packet)
    assert every_number(path, 39) == list(range(39))
    with path.open("rb") as file:
        assert preprocessing_version_of(file, "packed.avi") == 2


def _pairs(packets: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    return (tuple(packets[start : start + 2]) for start in range(0, len(packets), 2))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_reordered_frames_of_an_avi_are_shown_in_order(tmp_path: Path, codec: str) -> None:
    options = {"bf": "2", "b": "2M"} if codec == "mpeg4" else {"x264-params": "bframes=3:keyint=250", "crf": "18"}
    assert every_number(write_video(tmp_path / "a.avi", 45, codec=codec, options=options), 45) == list(range(45))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("b_frames", ["1", "2"])
def test_reordered_frames_that_were_copied_from_an_avi_are_shown_in_order(
    tmp_path: Path, suffix: str, b_frames: str
) -> None:
    """Whoever copies the packets takes their numbers for times of presentation."""

    def numbered(_: int, packet: av.Packet) -> Iterator[av.Packet]:
        packet.pts = packet.dts
        yield packet

    plain = write_video(tmp_path / "a.avi", 40, codec="mpeg4", options={"bf": b_frames, "b": "2M"})
    path = remuxed(plain, tmp_path / f"a{suffix}", numbered)
    assert every_number(path, 40) == list(range(40))
    with path.open("rb") as file:
        assert preprocessing_version_of(file, path.name) == 2


@pytest.mark.parametrize("suffix", [".mpg", ".vob", ".flv", ".ts", ".mts"])
def test_a_container_without_a_list_of_streams_is_read(tmp_path: Path, suffix: str) -> None:
    codec, form = {".mpg": ("mpeg2video", "mpeg"), ".vob": ("mpeg2video", "vob"), ".flv": ("libx264", "flv")}.get(
        suffix, ("libx264", "mpegts")
    )
    options = {"bf": "2", "g": "12", "b": "2M"} if codec == "mpeg2video" else None
    path = write_video(tmp_path / f"a{suffix}", 40, codec=codec, options=options, container_format=form)
    assert every_number(path, 40) == list(range(40))
    renamed = path.rename(tmp_path / "named.mp4")
    assert every_number(renamed, 40) == list(range(40))


def test_of_two_frames_at_one_time_the_later_one_is_shown(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "a.mkv", 20, options={"x264-params": "bframes=0", "crf": "18"})

    def doubled(number: int, packet: av.Packet) -> Iterator[av.Packet]:
        assert packet.pts is not None
        packet.pts = packet.dts = number // 2 * 67
        yield packet

    path = remuxed(plain, tmp_path / "same.mkv", doubled)
    assert numbers(path, [0.03 + 0.067 * step for step in range(10)]) == list(range(1, 20, 2))


def test_damage_hides_what_lies_before_the_next_key_frame_and_nothing_else(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", 150, options=EACH_SECOND_A_KEY_FRAME)
    damaged = tmp_path / "hole.mp4"
    with av.open(str(whole)) as source:
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        within = (packet for packet in packets if packet.pts is not None and 1.2 < packet.pts * packet.time_base < 1.4)
        hit = max(within, key=lambda packet: packet.size)
        data = bytearray(whole.read_bytes())
        assert hit.pos is not None
        data[hit.pos + 12 : hit.pos + hit.size - 4] = bytes(hit.size - 16)
    damaged.write_bytes(data)
    spans = [Span(2.2, 3.0), Span(1.1, 1.9), Span(4.1, 4.9), Span(0.1, 0.9)]
    expected = extract_clips(whole, spans, SPEC)
    found = extract_clips(damaged, spans, SPEC)
    for clip, truth in zip(found, expected, strict=True):
        assert isinstance(truth, Clip)
        if truth.span == spans[1]:
            assert isinstance(clip, DecodeError) and "until the key frame at 2.000 s" in str(clip)
        else:
            assert isinstance(clip, Clip) and (clip.frames == truth.frames).all()


def test_a_recording_that_begins_within_a_group_of_pictures_is_served_from_its_first_key_frame(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.ts", 90, options=EACH_SECOND_A_KEY_FRAME)

    def late(number: int, packet: av.Packet) -> Iterator[av.Packet]:
        if number >= 12:
            yield packet

    path = remuxed(whole, tmp_path / "late.ts", late)
    clips = extract_clips(path, [Span(0.2, 0.9)], SPEC)
    assert isinstance(clips[0], Clip)
    shown = [number_of(frame) for frame in clips[0].frames]
    assert shown == sorted(shown) and shown[0] >= 30


TRANSPORT_STREAMS = {
    "h264": ("libx264", {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "18"}),
    "h264 open": ("libx264", {"x264-params": "keyint=12:bframes=2:open-gop=1:scenecut=0", "crf": "18"}),
    "h264 interlaced": ("libx264", {"x264-params": "keyint=30:bframes=2:interlaced=1", "crf": "18"}),
    "hevc open": ("libx265", {"x265-params": "log-level=none:keyint=10:open-gop=1", "crf": "18"}),
    "mpeg2": ("mpeg2video", {"bf": "2", "g": "12", "b": "2M"}),
}


@pytest.mark.parametrize("codec", TRANSPORT_STREAMS)
def test_in_a_transport_stream_a_last_frame_that_comes_late_is_no_cut(tmp_path: Path, codec: str) -> None:
    encoder, options = TRANSPORT_STREAMS[codec]
    for num_frames in (8, 23, 40):
        for late in (1, 2, 3, 9, 17, 40):
            seconds = [number / 30 for number in range(num_frames - 1)]
            seconds.append(seconds[-1] + late / 30)
            path = write_video(tmp_path / "a.ts", num_frames, codec=encoder, options=options, timestamps=seconds)
            with open_video(path) as reader:
                assert reader.duration_seconds >= seconds[-1], (num_frames, late)
    assert every_number(path, num_frames - 1) == list(range(num_frames - 1))


@pytest.mark.parametrize("codec", TRANSPORT_STREAMS)
def test_a_transport_stream_that_is_cut_between_packets_ends_where_a_frame_is_missing(
    tmp_path: Path, codec: str
) -> None:
    encoder, options = TRANSPORT_STREAMS[codec]
    whole = write_video(tmp_path / "whole.ts", 40, codec=encoder, options=options)
    with av.open(str(whole)) as container:
        starts = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    for num_packets in range(5, 40):
        path = remuxed(whole, tmp_path / "cut.ts", lambda number, packet: iter([packet] * (number < num_packets)))  # noqa: B023
        first_missing = next(n for n, start in enumerate(sorted(starts)) if start not in starts[:num_packets])
        with open_video(path) as reader:
            if first_missing < num_packets:
                with pytest.raises(DecodeError, match="frames are missing before its end"):
                    _ = reader.duration_seconds
            else:
                assert reader.duration_seconds == pytest.approx(num_packets / 30, abs=0.04)


@pytest.mark.parametrize("b_frames", [1, 2, 3])
def test_mpeg4_in_a_transport_stream_is_cut_where_b_frames_may_be_missing(tmp_path: Path, b_frames: int) -> None:
    """Its pictures have no numbers: behind as many B-frames as ever before, no other can have been cut off."""
    options = {"bf": f"{b_frames}", "g": "12", "b": "2M"}
    whole = write_video(tmp_path / "whole.ts", 40, codec="mpeg4", options=options)
    with av.open(str(whole)) as container:
        starts = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    for num_packets in range(5, 40):
        path = remuxed(whole, tmp_path / "cut.ts", lambda number, packet: iter([packet] * (number < num_packets)))  # noqa: B023
        first_missing = next(n for n, start in enumerate(sorted(starts)) if start not in starts[:num_packets])
        with open_video(path) as reader:
            if first_missing < num_packets:
                with pytest.raises(DecodeError, match="frames are missing before its end"):
                    _ = reader.duration_seconds
            else:
                assert reader.duration_seconds == pytest.approx(num_packets / 30, abs=0.04)
    num_frames = 12 + 1 + (b_frames + 1) * 2  # the last of them all have their B-frames
    for late in range(1, 8):
        seconds = [number / 30 for number in range(num_frames - 1)]
        seconds.append(seconds[-1] + late / 30)
        path = write_video(tmp_path / "a.ts", num_frames, codec="mpeg4", options=options, timestamps=seconds)
        with open_video(path) as reader:
            assert reader.duration_seconds >= seconds[-1], late


def test_of_two_recordings_joined_the_first_is_served_and_the_rest_is_named(tmp_path: Path) -> None:
    first, second = (write_video(tmp_path / f"{n}.ts", 60, first_number=100 * n) for n in (1, 2))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert every_number(joined, 60) == list(range(100, 160))
    with open_video(joined) as reader:
        assert reader.duration_seconds == pytest.approx(2.0, abs=0.04)
    clips = extract_clips(joined, [Span(0.0, 2.0), Span(2.5, 3.0)], SPEC)
    assert isinstance(clips[0], Clip) and isinstance(clips[1], DecodeError)


def test_a_declared_length_is_a_claim(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 60)
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88")  # Duration, a float64 in milliseconds
    path.write_bytes(data[: place + 3] + np.array(1_349_000.0, ">f8").tobytes() + data[place + 11 :])
    clips = extract_clips(path, [Span(0.0, 1.9)], SPEC)
    assert isinstance(clips[0], Clip)
    with open_video(path) as reader:
        assert reader.duration_seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(16, 15), Fraction(8, 9), Fraction(4, 3), Fraction(1)])
@pytest.mark.parametrize("degrees", [0, 90])
@pytest.mark.parametrize("crop", ["center", "full"])
def test_a_circle_stays_a_circle(tmp_path: Path, aspect: Fraction, degrees: int, crop: str) -> None:
    height, width = 288, 360
    y, x = np.mgrid[:height, :width]
    disc = ((x - width / 2) * float(aspect)) ** 2 + (y - height / 2) ** 2 < 90**2
    image = np.full((height * 3 // 2, width), 128, np.uint8)
    image[:height] = np.where(disc, 235, 40)
    path = tmp_path / "disc.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if degrees:
            stream.set_display_rotation(degrees)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    [clip] = extract_clips(path, [Span(0.0, 0.3)], ClipSpec(num_frames=2, size=256, crop=crop))
    assert isinstance(clip, Clip)
    bright = clip.frames[0][:256] > 138
    assert np.ptp(bright.any(0).nonzero()[0]) == pytest.approx(np.ptp(bright.any(1).nonzero()[0]), abs=2)
    with path.open("rb") as file:
        assert preprocessing_version_of(file, "disc.mp4") == (1 if aspect == 1 else 2)


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("luma", [16, 128, 180, 235])
def test_grey_keeps_its_luma_in_every_colour_matrix(matrix: int, luma: int) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((144, 96), 128, np.uint8), format="yuv420p")
    image = np.full((144, 96), 128, np.uint8)
    image[:96] = luma
    frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
    frame.colorspace, frame.color_range = matrix, 1
    stored = FramePreprocessor(SPEC)(frame)
    assert (stored[:64] == luma).all() and (stored[64:] == 128).all()


def test_colours_of_other_matrices_are_within_one_of_255() -> None:
    rng = np.random.default_rng(0)
    weights = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
    for matrix, (red, blue) in weights.items():
        for r, g, b in rng.random((40, 3)):
            luma = red * r + (1 - red - blue) * g + blue * b
            coded = 219 * luma + 16, 112 * (b - luma) / (1 - blue) + 128, 112 * (r - luma) / (1 - red) + 128
            y, u, v = np.rint(coded).astype(np.uint8)
            image = np.empty((144, 96), np.uint8)
            image[:96], image[96:120], image[120:] = y, u, v
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.colorspace, frame.color_range = matrix, 1
            stored = FramePreprocessor(SPEC)(frame)
            luma = 0.299 * r + 0.587 * g + 0.114 * b
            true = 219 * luma + 16, 112 * (b - luma) / 0.886 + 128, 112 * (r - luma) / 0.701 + 128
            assert np.abs(np.array([stored[0, 0], stored[64, 0], stored[80, 0]]) - true).max() < 2.1


def test_colour_tags_that_mean_nothing_are_taken_as_none() -> None:
    frame = av.VideoFrame.from_ndarray(numbered_frame(5), format="yuv420p").reformat(format="yuv422p10le")
    plain = FramePreprocessor(SPEC)(frame)
    frame.color_primaries, frame.color_trc = 3, 3
    np.testing.assert_array_equal(FramePreprocessor(SPEC)(frame), plain)


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_frame_stays_alive_once_it_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str) -> None:
    """Without the collector of circles, so that a circle through a frame shows; for turned, wide and damaged videos."""
    if decoder == "decord":
        pytest.importorskip("decord", exc_type=ImportError)
    paths = [
        write_video(tmp_path / "plain.mp4", 90),
        write_video(tmp_path / "turned.mp4", 90, display_degrees=90),
        write_video(tmp_path / "wide.mp4", 90, pixel_aspect=Fraction(4, 3)),
        write_video(tmp_path / "cut.ts", 90),
        write_video(tmp_path / "deep.mp4", 90, pixel_format="yuv420p10le"),
    ]
    data = paths[3].read_bytes()
    paths[3].write_bytes(data[len(data) // 9 // 188 * 188 : -2000])

    def num_alive() -> int:
        frames = [held for held in gc.get_objects() if isinstance(held, av.VideoFrame)]
        return sum(frame.width > 2 for frame in frames)  # copies of 2x2 pixels tell how a video is turned

    alive: list[int] = []
    calls = itertools.count()
    preprocess = FramePreprocessor.__call__

    def counted(self: FramePreprocessor, frame: av.VideoFrame) -> np.ndarray:
        if next(calls) % 16 == 0:
            alive.append(num_alive())
        return preprocess(self, frame)

    monkeypatch.setattr(FramePreprocessor, "__call__", counted)
    gc.collect()
    gc.freeze()  # what was there before is not looked through again and again
    gc.disable()
    try:
        for path in paths:
            extract_clips(path, [Span(0.2 * number, 0.2 * number + 0.3) for number in range(14)], SPEC, decoder=decoder)
            assert num_alive() == 0, path
    finally:
        gc.enable()
        gc.unfreeze()
    assert len(alive) >= 15 and max(alive) <= 2 * LOOKAHEAD_PACKETS + 3


@pytest.mark.parametrize("at_frame", [-1, 0, 4])
def test_decords_odd_errors_fail_the_clips_that_they_reach_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_frame: int
) -> None:
    decord = pytest.importorskip("decord")
    path = write_video(tmp_path / "a.mp4", 30)
    real = decord_reader._import_decord().VideoReader

    class Failing(real):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: object, **named: object) -> None:
            self.num_given, self._handle = 0, None
            if at_frame < 0:
                raise decord.DECORDLimitReachedError("too many packets were skipped")
            super().__init__(*arguments, **named)

        def next(self) -> object:
            self.num_given += 1
            if self.num_given > at_frame:
                raise decord.DECORDLimitReachedError("too many packets were skipped")
            return super().next()

    monkeypatch.setattr(decord_reader._import_decord(), "VideoReader", Failing)
    first, last = extract_clips(path, [Span(0.0, 0.1), Span(0.0, 0.9)], SPEC, decoder="decord")
    assert isinstance(last, DecodeError) and "too many packets" in str(last) and "decord" in str(last)
    assert isinstance(first, Clip if at_frame == 4 else DecodeError)


def test_only_streams_without_single_fields_skip_frames(tmp_path: Path) -> None:
    interlaced = {"x264-params": "interlaced=1:bframes=2:keyint=30", "crf": "18"}
    for options, whole in ((None, True), (interlaced, False)):
        path = write_video(tmp_path / f"{whole}.mp4", 40, options=options)
        with av.open(str(path)) as container:
            assert has_whole_frames_only(container.streams.video[0].codec_context.extradata) == whole
        with PyAVReader(path) as reader:
            list(reader.frames_at(np.arange(0.1, 1.3, 0.4)))
            assert (reader.counts.packets_unwanted > 0) == whole
    assert not has_whole_frames_only(b"") and not has_whole_frames_only(b"\x01" * 12)


@pytest.mark.parametrize("form", ["mpegts", "matroska", "mp4"])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("reordered", [False, True])
def test_frames_whose_fields_are_coded_one_by_one_are_shown_whole(
    tmp_path: Path, form: str, joined: bool, reordered: bool
) -> None:
    """As cameras of the AVCHD kind write them: two packets a frame, or one."""
    pictures = h264_pictures(31, reordered=reordered)
    path = write_fields(tmp_path / f"a.{form}", "libx264", pictures, joined=joined, form=form)
    with av.open(str(path)) as container:
        num_packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert num_packets == (31 if joined and form != "mpegts" else 62)
    assert every_number(path, 31) == list(range(31))
    facts = video_facts(DataRoots.single(tmp_path), path.name, path.stat().st_size, deep=True)
    assert (facts.num_frames, facts.variable_rate) == (31, None)
    assert facts.seconds == pytest.approx(31 / 30, abs=0.002)
    assert not [kind for kind, _ in facts.problems if kind != "edit-list"]


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("rate", [30, 60])
def test_fields_that_take_a_place_of_an_avi_each_are_shown_from_the_first_of_both(
    tmp_path: Path, reordered: bool, rate: int
) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        fields = [field for _, frame in h264_pictures(31, reordered=reordered) for field in frame]
        for place, field in enumerate(fields):
            packet = av.Packet(field)
            packet.pts = packet.dts = place
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, rate), stream, not place
            container.mux(packet)
    for within in (0.05, 0.95):  # of each frame
        assert numbers(path, [(number + within) * 2 / rate for number in range(31)]) == list(range(31))
    with open_video(path) as reader:
        assert reader.duration_seconds == pytest.approx(31 * 2 / rate, abs=0.001)
