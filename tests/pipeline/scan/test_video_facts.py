"""What a scan says of videos whose containers tell little, or what is not true."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.scan.videos import VideoFacts, video_facts
from tests.generated_videos import write_video

NO_B_FRAMES = {"x264-params": "bframes=0", "crf": "18"}


def facts_of(path: Path, *, deep: bool = False) -> VideoFacts:
    return video_facts(DataRoots.single(path.parent), path.name, path.stat().st_size, deep)


def problems_of(path: Path, *, deep: bool = False) -> dict[str, str]:
    return dict(facts_of(path, deep=deep).problems)


def claiming(path: Path, marker: bytes, claim: bytes) -> Path:
    data = path.read_bytes()
    place = data.index(marker) + len(marker)
    path.write_bytes(data[:place] + claim + data[place + len(claim) :])
    return path


def mkv(folder: Path) -> Path:
    return claiming(write_video(folder / "a.mkv", 108), b"\x44\x89\x88", struct.pack(">d", 1_349_000))


def webm(folder: Path) -> Path:
    path = write_video(folder / "a.webm", 108, codec="libvpx", options={"deadline": "realtime", "b": "1M"})
    return claiming(path, b"\x44\x89\x88", struct.pack(">d", 1_349_000))


def flv(folder: Path) -> Path:
    return claiming(write_video(folder / "a.flv", 108), b"duration\x00", struct.pack(">d", 1349))


def mp4(folder: Path) -> Path:
    path = write_video(folder / "a.mp4", 108)
    for box, place in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        data = path.read_bytes()
        claiming(path, data[data.index(box) : data.index(box) + 4 + place], struct.pack(">I", 10**9))
    return path


@pytest.mark.parametrize("claim", [mkv, webm, flv, mp4])
@pytest.mark.parametrize("deep", [False, True])
def test_a_length_that_is_only_declared_is_named_and_the_frames_count(
    tmp_path: Path, claim: Callable[[Path], Path], deep: bool
) -> None:
    facts = facts_of(claim(tmp_path), deep=deep)
    assert facts.seconds == pytest.approx(3.6, abs=0.04)
    told = {kind: message for kind, message in facts.problems if kind != "edit-list"}
    if claim is mp4:  # FFmpeg counts the frames in its index
        assert told == {}
    else:
        assert list(told) == ["declared-length"]
        assert told["declared-length"].startswith("declares 1,34") and "its frames last 3.6" in told["declared-length"]


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "libx264"), (".mts", "mpeg2video"), (".mpg", "mpeg2video")])
@pytest.mark.parametrize("deep", [False, True])
def test_recordings_that_were_joined_are_named_with_the_place(
    tmp_path: Path, suffix: str, codec: str, deep: bool
) -> None:
    form = "mpeg" if suffix == ".mpg" else "mpegts"
    options = {"b": "2M", "bf": "2"} if codec == "mpeg2video" else None
    for second, told in ((75, "joined-recordings"), (0, None)):
        parts = [write_video(tmp_path / f"{n}{suffix}", n, codec=codec, options=options, container_format=form)
                 for n in (60, second) if n]  # fmt: skip
        path = tmp_path / f"joined{suffix}"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        facts = facts_of(path, deep=deep)
        found = {kind: message for kind, message in facts.problems if kind != "edit-list"}
        assert list(found) == ([told] if told else [])
        assert facts.seconds == pytest.approx(2.0, abs=0.2)
        if told:
            assert "its clock starts again at 1.9" in found[told] or "its clock starts again at 2.0" in found[told]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_video_track_without_a_frame_is_named(tmp_path: Path, suffix: str, deep: bool) -> None:
    options = {"movflags": "empty_moov+frag_keyframe"} if suffix in (".mp4", ".mov") else {}
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = write_video(tmp_path / f"a{suffix}", 9, codec=codec, options={"b": "1M"}, container_options=options)
    data = path.read_bytes()
    end = data.index(b"moof") - 4 if options else data.index(b"\x1f\x43\xb6\x75")
    path.write_bytes(data[:end])
    [(kind, message)] = facts_of(path, deep=deep).problems
    assert kind == "video-unreadable" and ("its video stream holds no frame" in message or "End of file" in message)


@pytest.mark.parametrize(("rate", "even"), [(1000, True), (1000, False), (30, True)])
def test_a_rate_that_a_header_makes_up_is_not_believed(tmp_path: Path, rate: int, even: bool) -> None:
    seconds = [number / 30 + (0.0 if even or number < 40 else 1.0) for number in range(90)]
    path = tmp_path / "a.mkv"
    write_video(path, 90, rate=rate, options=NO_B_FRAMES, timestamps=seconds)
    facts = facts_of(path)
    assert (facts.variable_rate is None) == even
    if rate == 1000:
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 1000
        assert facts.rate == pytest.approx(30, abs=1)


def test_a_transport_stream_tells_cuts_lengths_and_uneven_frames(tmp_path: Path) -> None:
    seconds = list(np.cumsum([(1 + number * 7 % 5) / 30 for number in range(60)]))
    path = write_video(tmp_path / "a.ts", 60, timestamps=seconds)
    facts = facts_of(path)
    assert facts.num_frames == 60 and facts.seconds == pytest.approx(seconds[-1] - seconds[0], abs=0.2)
    assert list(problems_of(path)) == ["edit-list", "variable-rate"]
    data, told = path.read_bytes(), []
    for percent in range(40, 90, 5):
        path.write_bytes(data[: len(data) * percent // 100 // 188 * 188])
        told.append(problems_of(path).get("video-truncated", ""))
    assert any("is cut off at" in message for message in told)


def test_a_recording_without_a_declared_length_is_measured(tmp_path: Path) -> None:
    path = write_video(tmp_path / "live.webm", 60, codec="libvpx", options={"b": "1M"}, container_options={"live": "1"})
    facts = facts_of(path)
    assert facts.seconds == pytest.approx(2.0, abs=0.01) and facts.num_frames == 60 and not facts.problems


@pytest.mark.parametrize("size", [b"\x00\x00\x00\x01", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"])
def test_a_box_that_claims_an_impossible_size_is_no_crash(tmp_path: Path, size: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(size + b"free" + b"\xff" * 8 + bytes(200))
    assert list(problems_of(path)) in (["video-truncated"], ["video-unreadable"])
