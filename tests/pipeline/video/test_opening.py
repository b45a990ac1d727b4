"""Files that do not open, and those that must not be opened."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.scan.videos import video_facts
from signprep.pipeline.video.pyav_reader import DECODERS, open_video
from tests.conftest import peak_mib_of_clips
from tests.generated_videos import numbered_frame, write_video

SPEC = ClipSpec(num_frames=8, size=96)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty; get the file again"),
        (b"<html>404</html>" * 20, r"does not open as a video \(.*\); get the file again"),
        (None, r"is cut off: no index \(moov\) in its 1,500 bytes; get the file again"),
    ],
)
def test_what_is_no_video_is_told_with_what_to_do(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(DecodeError, match=f"a.mp4: {told}"):
            open_video(source, name="a.mp4")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile 'other.ts'\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nother.ts\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, name: str, content: str) -> None:
    with av.open(str(tmp_path / "other.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=30)
        stream.width, stream.height = 160, 96
        for number in [*range(30), None]:
            frame = (
                None if number is None else av.VideoFrame.from_ndarray(numbered_frame(number, 160), format="yuv420p")
            )
            container.mux(stream.encode(frame))
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with av.open(str(path)) as container:
        assert container.streams.video, "FFmpeg itself opens it"
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(DecodeError, match=f"{name}: is a playlist, which names other files; make it one file"):
            open_video(source, name=name)
    [(kind, reason)] = video_facts(DataRoots.single(tmp_path), name, path.stat().st_size, deep=False).problems
    assert kind == "video-unreadable" and "is a playlist" in reason


def test_too_large_frames_are_refused_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    monkeypatch.setattr("signprep.pipeline.video.demux.MAX_FRAME_PIXELS", 160 * 90)
    with pytest.raises(DecodeError, match=r"a\.mp4.*(160x96.*limit|does not open)"):
        open_video(video)


def test_frames_that_grow_too_large_midway_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "both.ts"
    options = {"x264-params": "keyint=10:bframes=0:repeat-headers=1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        larger = av.CodecContext.create("libx264", "w")
        larger.options, larger.pix_fmt = options, "yuv420p"
        for encoder, width, first in ((stream, 160, 0), (larger, 640, 30)):
            encoder.width, encoder.height, encoder.time_base, encoder.framerate = width, 96, Fraction(1, 30), 30
            for number in [*range(first, first + 30), None]:
                frame = None
                if number is not None:
                    frame = av.VideoFrame.from_ndarray(numbered_frame(number, width), format="yuv420p")
                    frame.pts, frame.time_base = number, Fraction(1, 30)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    small, large = extract_clips(path, [Span(0.1, 0.6), Span(1.3, 1.8)], SPEC)
    assert isinstance(small, Clip) and isinstance(large, Clip)
    monkeypatch.setattr("signprep.pipeline.video.demux.MAX_FRAME_PIXELS", 200 * 96)
    small, large = extract_clips(path, [Span(0.1, 0.6), Span(1.3, 1.8)], SPEC)
    assert isinstance(small, Clip) and isinstance(large, DecodeError)
    assert "both.ts" in str(large)


def test_a_picture_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    """The container says 160 x 96, the JPEG pictures in it 60,000 x 60,000."""
    path = tmp_path / "bomb.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="yuv420p").reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sizes = (96).to_bytes(2, "big") + (160).to_bytes(2, "big")
    data = path.read_bytes()
    assert data.count(b"\x08" + sizes) == 5
    path.write_bytes(data.replace(b"\x08" + sizes, b"\x08" + (60_000).to_bytes(2, "big") * 2))
    span = Span(0.0, 0.1)
    [clip] = extract_clips(path, [span], SPEC)
    assert isinstance(clip, DecodeError) and "bomb.avi" in str(clip)
    assert peak_mib_of_clips([path], [span]) < 250


@pytest.mark.parametrize("name", ["12:30 clip.mp4", "a:b.mp4", "file:x.mp4", "-i.mp4", "http:x", "clip %03d.mp4"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_relative_name_is_a_name_whatever_ffmpeg_would_make_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoder: str
) -> None:
    if decoder == "decord":
        pytest.importorskip("decord", exc_type=ImportError)
    write_video(tmp_path / "plain.mp4", 20).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    [clip] = extract_clips(Path(name), [Span(0.0, 0.5)], SPEC, decoder=decoder)
    assert isinstance(clip, Clip)
    assert video_facts(DataRoots.single(Path()), name, Path(name).stat().st_size, deep=True).problems == []


def test_spans_may_be_any_pairs_of_numbers(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 30)
    spec = ClipSpec(num_frames=2, size=32)
    [true] = extract_clips(video, [Span(0.2, 0.8)], spec)
    assert isinstance(true, Clip)
    pairs = ((0.2, 0.8), [0.2, 0.8], np.array([0.2, 0.8]), (np.float64(0.2), np.float64(0.8)))
    for clip in extract_clips(video, pairs, spec):
        assert isinstance(clip, Clip) and np.array_equal(clip.frames, true.frames) and clip.span == true.span
    [whole] = extract_clips(video, [(0, 1)], spec)
    assert isinstance(whole, Clip) and whole.span == Span(0.0, 1.0)


@pytest.mark.parametrize(
    "spans", [(0.2, 0.8), [0.2], ["ab"], ["0.2"], [None], [(0.2,)], [(0.2, 0.5, 0.8)], [(0.2, None)]]
)
def test_what_are_no_spans_is_told_what_is_wanted(tmp_path: Path, spans: Any) -> None:
    for video in (write_video(tmp_path / "a.mp4", 30), tmp_path / "none.mp4"):
        with pytest.raises(TypeError, match=r"is no span; expected \(start_seconds, end_seconds\)"):
            extract_clips(video, spans, ClipSpec(num_frames=2, size=32))


def test_spans_that_are_no_times_fail_alone(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    spans = [
        (nan, 0.8),
        (0.2, nan),
        (nan, nan),
        (0.8, 0.2),
        (0.2, 0.2),
        (inf, inf),
        (-inf, inf),
        (0.2, inf),
        (0.2, 0.8),
    ]
    clips = extract_clips(write_video(tmp_path / "a.mp4", 30), spans, ClipSpec(num_frames=2, size=32))
    assert [isinstance(clip, Clip) for clip in clips] == [False] * 6 + [True] * 3
    assert all("lies outside the video" in str(clip) for clip in clips[:6])
