"""Recordings that begin anywhere in a group of pictures: what follows the first clean frame is served."""

from pathlib import Path

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.scan.videos import video_facts
from signprep.pipeline.video.demux import open_stream
from signprep.pipeline.video.frame_times import MissingFrame
from signprep.pipeline.video.packets import PacketQueue
from signprep.pipeline.video.preprocess import FramePreprocessor, preprocessing_version_of
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import number_of, write_video

X264 = "keyint=30:min-keyint=30:scenecut=0:"
CODECS: dict[str, tuple[str, dict[str, str], int]] = {
    "h264": ("libx264", {"x264-params": X264 + "bframes=3:b-pyramid=normal", "crf": "18"}, 30),
    "h264 open": ("libx264", {"x264-params": X264 + "bframes=2:open-gop=1", "crf": "18"}, 30),
    "h264 interlaced": ("libx264", {"x264-params": X264 + "bframes=2:interlaced=1", "crf": "18"}, 30),
    "hevc": ("libx265", {"x265-params": "log-level=none:" + X264 + "bframes=4", "crf": "18"}, 30),
    "hevc open": ("libx265", {"x265-params": "log-level=none:" + X264 + "bframes=4:open-gop=1", "crf": "18"}, 30),
    "mpeg2": ("mpeg2video", {"bf": "2", "g": "15", "b": "2M"}, 15),
    "mpeg4": ("mpeg4", {"bf": "2", "g": "15", "b": "2M"}, 15),
}
"""Encoder, options, and the frames of a group of pictures."""

MADE = [
    (container, codec)
    for container in (".ts", ".mkv", ".mp4", ".avi", ".flv")
    for codec in CODECS
    if not (container == ".avi" and codec.startswith("hevc"))
    and not (container == ".flv" and codec != "h264")
    and not (container == ".mkv" and codec.startswith("h264"))  # the muxer wants its parameters first
]


def without_first_packets(path: Path, out: Path, num_packets: int, *, flagged: frozenset[int] | None = None) -> Path:
    """Leave packets out at the start; with `flagged` say that those of these numbers are key frames, and no others."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size and number >= num_packets:
                packet.stream = stream
                if flagged is not None:
                    packet.is_keyframe = number in flagged
                target.mux(packet)
    return out


def shown_numbers(path: Path) -> list[int]:
    with open_video(path) as reader:
        preprocess = FramePreprocessor(ClipSpec(size=96), reader.pixel_aspect)
        times = (np.arange(round(reader.duration_seconds * 30)) + 0.5) / 30
        return [number_of(preprocess(shown.frame)) for shown in reader.frames_at(times)]


@pytest.mark.parametrize(("container", "codec"), MADE)
def test_what_follows_the_first_key_frame_is_served_and_nothing_else(
    tmp_path: Path, container: str, codec: str
) -> None:
    encoder, options, group = CODECS[codec]
    whole = write_video(tmp_path / f"whole{container}", 90, codec=encoder, options=options)
    for num_packets in (2, 3, 7, 12):
        path = without_first_packets(whole, tmp_path / f"cut{container}", num_packets)
        assert shown_numbers(path) == list(range(group, 90)), num_packets
    with path.open("rb") as file:
        assert preprocessing_version_of(file, "cut") == 2
    [clip] = extract_clips(path, [Span(0.0, 86_400.0)], ClipSpec(num_frames=8, size=64))
    assert isinstance(clip, Clip) and clip.span.end_seconds == pytest.approx((90 - group) / 30, abs=0.01)


@pytest.mark.parametrize("codec", CODECS)
def test_a_transport_stream_may_begin_at_any_of_its_packets(tmp_path: Path, codec: str) -> None:
    encoder, options, group = CODECS[codec]
    data = write_video(tmp_path / "whole.ts", 90, codec=encoder, options=options).read_bytes()
    path = tmp_path / "cut.ts"
    for percent in range(5, 62, 8):
        path.write_bytes(data[len(data) * percent // 100 // 188 * 188 :])
        shown = shown_numbers(path)
        assert shown and shown == list(range(shown[0], 90)) and shown[0] % group == 0
    found = dict(video_facts(DataRoots.single(tmp_path), "cut.ts", path.stat().st_size, deep=True).problems)
    assert list(found) == ["edit-list"]


def test_scan_tells_how_many_frames_are_lost_at_the_start(tmp_path: Path) -> None:
    encoder, options, _ = CODECS["mpeg2"]
    whole = write_video(tmp_path / "whole.ts", 60, codec=encoder, options=options)
    path = without_first_packets(whole, tmp_path / "cut.ts", 6)
    told = [
        message
        for _, message in video_facts(DataRoots.single(tmp_path), path.name, path.stat().st_size, deep=False).problems
    ]
    assert "its first 9 frames cannot be decoded: time 0 is the first that can" in told


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_video_is_looked_at_once(tmp_path: Path, codec: str) -> None:
    encoder, options, _ = CODECS[codec]
    container, stream = open_stream(write_video(tmp_path / "a.mp4", 40, codec=encoder, options=options), "a.mp4")
    with container:
        assert not PacketQueue(container, stream, tmp_path / "a.mp4", "a.mp4").is_start_in_doubt


def test_a_first_frame_that_a_file_forgot_to_call_a_key_frame_is_shown(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 40, codec="msmpeg4v2", options={"b": "2M", "g": "20"})
    data = bytearray(path.read_bytes())
    flags = data.index(b"idx1") + 12
    data[flags : flags + 4] = bytes(4)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert not next(container.demux(video=0)).is_keyframe
    assert shown_numbers(path) == list(range(40))


PREDICT_FROM_GREY = [
    (".avi", "mpeg4", {}),
    (".mkv", "mpeg4", {"bf": "2"}),
    (".mp4", "mpeg4", {}),
    (".avi", "msmpeg4v2", {}),
    (".asf", "wmv2", {}),
    (".flv", "flv", {}),
]
"""Containers and encoders whose decoders predict frames that are missing from grey, without an error."""


@pytest.mark.parametrize(("container", "codec", "options"), PREDICT_FROM_GREY)
def test_nothing_is_predicted_from_grey_whatever_the_file_calls_a_key_frame(
    tmp_path: Path, container: str, codec: str, options: dict[str, str]
) -> None:
    for group in (300, 15):
        whole = write_video(
            tmp_path / f"whole{container}", 60, codec=codec, options={"b": "2M"} | options | {"g": f"{group}"}
        )
        for flagged in (None, frozenset({5}), frozenset[int]()):
            path = without_first_packets(whole, tmp_path / f"cut{container}", 5, flagged=flagged)
            with open_video(path) as reader:
                preprocess = FramePreprocessor(ClipSpec(size=96), reader.pixel_aspect)
                shown = reader.frames_at((np.arange(35) + 0.5) / 30)
                if group == 15:
                    assert [number_of(preprocess(frame.frame)) for frame in shown] == list(range(15, 50)), flagged
                    continue
                with pytest.raises(DecodeError, match="has no key frame to begin with"):
                    next(shown)


def test_a_picture_that_is_renewed_bit_by_bit_is_served_once_it_is_whole(tmp_path: Path) -> None:
    options = {"x264-params": "intra-refresh=1:keyint=20:bframes=0", "crf": "18"}
    path = write_video(tmp_path / "whole.ts", 60, options=options)
    assert shown_numbers(path) == list(range(60))
    shown = shown_numbers(without_first_packets(path, tmp_path / "cut.ts", 5))
    assert shown[0] <= 40 and shown == list(range(shown[0], 60))


def test_damage_behind_the_first_key_frame_is_not_taken_for_frames_that_lead_it(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 60, codec="mpeg4", options={"b": "2M", "g": "20"})
    path = without_first_packets(whole, tmp_path / "cut.avi", 5)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        key = next(number for number, packet in enumerate(packets) if packet.is_keyframe)
        hit = packets[key + 4]
    assert hit.pos is not None
    data[hit.pos + 8 : hit.pos + hit.size] = bytes(hit.size - 8)
    path.write_bytes(data)
    with open_video(path) as reader:
        answers = list(reader.answers_at((np.arange(30) + 0.5) / 30))
    assert [isinstance(answer, MissingFrame) for answer in answers] == [False] * 4 + [True] * 26


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        (".mp4", "mpeg4"),
        (".avi", "mpeg4"),
        (".mp4", "mpeg2video"),
        (".avi", "wmv2"),
        (".mkv", "msmpeg4"),
        (".flv", "flv"),
    ],
)
def test_the_length_of_a_video_does_not_count_what_a_wrong_key_frame_begins(
    tmp_path: Path, container: str, codec: str
) -> None:
    options = {"b": "2M", "g": "15"} | ({"bf": "2"} if codec.startswith("mpeg") and container == ".mp4" else {})
    whole = write_video(tmp_path / f"whole{container}", 60, codec=codec, options=options)
    for num_packets in (1, 2, 7):
        flagged = frozenset({num_packets, 15, 30, 45})
        path = without_first_packets(whole, tmp_path / f"cut{container}", num_packets, flagged=flagged)
        assert shown_numbers(path) == list(range(15, 60))
        [clip] = extract_clips(path, [Span(0.0, 86_400.0)], ClipSpec(num_frames=5, size=96))
        assert isinstance(clip, Clip) and [number_of(frame) for frame in clip.frames] == [19, 28, 37, 46, 55]
        with path.open("rb") as file:
            assert preprocessing_version_of(file, path.name) == 2
