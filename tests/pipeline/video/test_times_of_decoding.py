"""Videos whose writer copied the times of decoding to those of presentation, though B-frames reorder the frames.

Each frame tells its number: the n-th one is shown at the n-th of the times, or refused with the reason.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.scan.videos import video_facts
from signprep.pipeline.video.frame_times import TIMES_OF_DECODING, MissingFrame
from signprep.pipeline.video.preprocess import FramePreprocessor, preprocessing_version_of
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import number_of, numbered_frame
from tests.pipeline.video.field_coded import h264_pictures

RATE, NUM_FRAMES = 30, 42
GLOBAL_HEADER = 1 << 22
CODECS = {
    "h264 pyramid": ("libx264", {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "18"}),
    "h264 two B": ("libx264", {"x264-params": "keyint=250:bframes=2:b-pyramid=none:scenecut=0", "crf": "18"}),
    "h264 open": ("libx264", {"x264-params": "keyint=12:bframes=2:open-gop=1:scenecut=0", "crf": "18"}),
    "h264 slices": ("libx264", {"x264-params": "keyint=20:bframes=8:slices=4:scenecut=0", "crf": "18"}),
    "hevc": ("libx265", {"x265-params": "log-level=none:keyint=250:bframes=3", "crf": "18"}),
    "hevc open": ("libx265", {"x265-params": "log-level=none:keyint=10:open-gop=1:bframes=3", "crf": "18"}),
    "mpeg1": ("mpeg1video", {"bf": "2", "g": "12", "b": "2M"}),
    "mpeg2": ("mpeg2video", {"bf": "2", "g": "12", "b": "2M"}),
    "mpeg4": ("mpeg4", {"bf": "2", "g": "12", "b": "2M"}),
}
FORMATS = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "mpegts": ".ts", "nut": ".nut", "flv": ".flv"}
STEPS = (1, 2, 5)
"""How many frames lie between two asked times; with some steps every B-frame is one that might be skipped."""


class Coded(NamedTuple):
    extradata: bytes | None
    packets: list[tuple[bytes, bool]]
    """In decode order, with whether each is a key frame."""


@cache
def coded(codec: str, *, global_header: bool, first_b_frame: int) -> Coded:
    encoder, options = CODECS[codec]
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    context.options, context.thread_count = options, 1
    if global_header:
        context.flags |= GLOBAL_HEADER
    packets = []
    for number in range(NUM_FRAMES):
        frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        if 0 < number < first_b_frame:
            frame.pict_type = PictureType.P
        packets += context.encode(frame)
    packets += context.encode()
    return Coded(context.extradata, [(bytes(packet), packet.is_keyframe) for packet in packets])


def write(
    path: Path,
    codec: str,
    form: str,
    *,
    first_b_frame: int = 0,
    lengths: Sequence[int] = (1,) * NUM_FRAMES,
    begins: int = 0,
) -> Path:
    """Write the packets with their places in decode order for times, in frames; `lengths` are those of the frames."""
    encoder, options = CODECS[codec]
    extradata, packets = coded(codec, global_header=form != "mpegts", first_b_frame=first_b_frame)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(encoder, rate=RATE, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.thread_count = Fraction(1, RATE), 1
        container.start_encoding()
        if extradata:
            stream.codec_context.extradata = extradata
        for place, (data, is_keyframe) in enumerate(packets):
            packet = av.Packet(data)
            packet.is_keyframe = is_keyframe
            packet.pts = packet.dts = begins + sum(lengths[:place])
            packet.stream, packet.time_base, packet.duration = stream, Fraction(1, RATE), lengths[place]
            container.mux(packet)
    return path


def copied(path: Path, out: Path, options: Mapping[str, str] | None = None) -> Path:
    with av.open(str(path), options=dict(options or {})) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return out


def answers(path: Path, numbers: Sequence[int], decoder: str = "pyav") -> list[int | DecodeError]:
    with open_video(path, decoder=decoder) as reader:
        preprocess = FramePreprocessor(ClipSpec(size=96))
        times = np.array([(number + 0.5) / RATE for number in numbers])
        return [
            answer.error if isinstance(answer, MissingFrame) else number_of(preprocess(answer.frame))
            for answer in reader.answers_at(times)
        ]


@pytest.mark.parametrize(
    ("codec", "form"), [(codec, form) for codec in CODECS for form in FORMATS if form != "flv" or codec.startswith("h")]
)
def test_the_nth_frame_is_shown_at_the_nth_time(tmp_path: Path, codec: str, form: str) -> None:
    path = write(tmp_path / f"a{FORMATS[form]}", codec, form)
    for step in STEPS:
        asked = range(step // 2, NUM_FRAMES, step)
        assert answers(path, asked) == list(asked), step
    with open_video(path) as reader:
        assert reader.duration_seconds == pytest.approx(NUM_FRAMES / RATE, abs=0.002)
    with path.open("rb") as file:
        assert preprocessing_version_of(file, path.name) == 2


@pytest.mark.parametrize("codec", ["h264 pyramid", "h264 open", "h264 slices", "hevc open", "mpeg2", "mpeg4"])
@pytest.mark.parametrize("form", ["mp4", "nut"])
def test_decord_shows_them_too(tmp_path: Path, codec: str, form: str) -> None:
    pytest.importorskip("decord", exc_type=ImportError)
    path = write(tmp_path / f"a{FORMATS[form]}", codec, form)
    for step in STEPS:
        asked = range(step // 2, NUM_FRAMES, step)
        try:
            assert answers(path, asked, "decord") == list(asked), step
        except DecodeError as error:
            assert "decord" in str(error)


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_frames_of_other_lengths_and_a_held_last_one_keep_their_times(tmp_path: Path, form: str) -> None:
    lengths = [1 + number * 7 % 4 for number in range(NUM_FRAMES - 1)] + [15]
    path = write(tmp_path / f"a{FORMATS[form]}", "h264 pyramid", form, lengths=lengths, begins=6)
    starts = np.cumsum([0, *lengths])
    shown = answers(path, starts[:-1].tolist())
    assert shown == list(range(NUM_FRAMES))
    with open_video(path) as reader:
        assert reader.duration_seconds == pytest.approx(starts[-1] / RATE, abs=0.002)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", ["mp4", "mpegts"])
def test_where_b_frames_begin_late_what_follows_the_first_is_refused(tmp_path: Path, codec: str, form: str) -> None:
    path = write(tmp_path / f"a{FORMATS[form]}", codec, form, first_b_frame=28)
    for first, step in ((0, 1), (0, 2), (1, 2), (3, 5)):
        asked = range(first, NUM_FRAMES, step)
        for number, answer in zip(asked, answers(path, asked), strict=True):
            if number < 26:
                assert answer == number
            else:
                assert answer == number or TIMES_OF_DECODING in str(answer), (step, number, answer)
        assert TIMES_OF_DECODING in str(answer)
    for number in range(24, NUM_FRAMES):  # alone: decoding stops behind it
        [answer] = answers(path, [number])
        assert answer == number or TIMES_OF_DECODING in str(answer), number


@pytest.mark.parametrize("codec", ["h264 pyramid", "hevc", "mpeg4"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_edit_list_that_hides_frames_is_refused_with_the_way_to_copy_the_file(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    """As `ffmpeg -c copy -bsf:v setts=pts=DTS` writes: decode times begin before 0, which the list then hides."""
    path = write(tmp_path / f"a{suffix}", codec, suffix[1:], begins=-2)
    with path.open("rb") as file:
        assert preprocessing_version_of(file, path.name) == 2
    for decoder in ("pyav", "decord"):
        if decoder == "decord":
            pytest.importorskip("decord", exc_type=ImportError)
        with pytest.raises(DecodeError, match=f"its edit list hides frames, but {TIMES_OF_DECODING}"):
            answers(path, range(10), decoder)
    facts = video_facts(DataRoots.single(tmp_path), path.name, path.stat().st_size, deep=True)
    assert any(TIMES_OF_DECODING in message for _, message in facts.problems)


def test_the_way_that_the_refusal_names_gives_a_file_that_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "h264 pyramid", "mp4", begins=-2)
    out = tmp_path / "new.mp4"
    copied(path, out, {"ignore_editlist": "1"})
    assert answers(out, range(NUM_FRAMES)) == list(range(NUM_FRAMES))


@pytest.mark.parametrize("form", ["mpegts", "matroska", "mp4"])
def test_fields_that_are_coded_one_by_one_are_shown_in_their_order(tmp_path: Path, form: str) -> None:
    fields = [field for _, frame in h264_pictures(31, reordered=True) for field in frame]
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for place, field in enumerate(fields):
            packet = av.Packet(field)
            packet.pts = packet.dts = place
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 2 * RATE), stream, not place
            container.mux(packet)
    if form != "mpegts":
        path = copied(path, tmp_path / f"a{FORMATS[form]}")
    for step in STEPS:
        asked = range(step // 2, 31, step)
        assert answers(path, asked) == list(asked), step
    with open_video(path) as reader:
        assert reader.duration_seconds == pytest.approx(31 / RATE, abs=0.002)
