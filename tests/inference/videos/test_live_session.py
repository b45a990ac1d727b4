"""`signprep live`: the signs of `infer --timeline`, from files, streams and devices; what goes wrong with those."""

import errno
import http.client
import json
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av import VideoFrame
from click.testing import CliRunner

from signprep.inference.cli.live import _stopped_by_key
from signprep.inference.open_model import open_models
from signprep.inference.options import InferOptions, TimelineOptions, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.segments import SignFinder, TimelineSegment, timeline
from signprep.inference.timeline.subtitles import write_subtitles
from signprep.inference.videos.live import LiveAnswer
from signprep.inference.videos.live import sources as live_sources
from signprep.inference.videos.live.buffer import MOST_FRAMES, FrameBuffer
from signprep.inference.videos.live.outputs import growing_subtitles
from signprep.inference.videos.live.preview import served_preview
from signprep.inference.videos.live.session import Listener, LiveOptions, Statistics, run_live
from signprep.inference.videos.live.sources import LiveFrame, Source, opened_source
from signprep.inference.videos.run import video_timeline
from signprep.inference.videos.window_predictions import Video, VideoPredictions, predict_videos
from signprep.pipeline.cli import cli
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.landmarks import maker
from tests.generated_videos import write_video
from tests.waiting import HANG_SECONDS, until

SIGNS = TimelineOptions(min_confidence=0, min_duration_seconds=0)


class Tracker:
    """In place of MediaPipe's models: what it finds depends on all pictures that were looked at before."""

    def __init__(self) -> None:
        self.mean = 0.0

    def follow(self, picture: np.ndarray, track: object) -> np.ndarray:
        self.mean = 0.7 * getattr(track, "mean", 0.0) + 0.3 * float(picture.mean()) / 255
        track.mean = self.mean  # type: ignore[attr-defined]
        spread = np.linspace(0.1, 1, 75)
        return np.stack([self.mean * spread, self.mean * spread[::-1], np.ones(75)], axis=1).astype(np.float32)


class Heard(Listener):
    def __init__(self) -> None:
        self.windows: list[LiveAnswer] = []
        self.signs: list[TimelineSegment] = []
        self.ended: Statistics | None = None

    def window(self, answer: LiveAnswer, latency_seconds: float) -> None:
        assert latency_seconds >= 0
        self.windows.append(answer)

    def sign(self, sign: TimelineSegment) -> None:
        self.signs.append(sign)

    def end(self, statistics: Statistics) -> None:
        self.ended = statistics


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "_extractor", Tracker)
    monkeypatch.setattr(maker, "Track", SimpleNamespace)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("live") / "수어 영상.mp4", 58)


@pytest.fixture(scope="module")
def pixels(pixel_checkpoint: Path) -> Recognizer:
    return open_models([pixel_checkpoint])


def windows(**others: object) -> WindowOptions:
    return WindowOptions(clip_duration=0.4, stride=0.1, landmark_tracking="video", **others)  # type: ignore[arg-type]


def inferred(recognizer: Recognizer, video: Path) -> tuple[VideoPredictions, list[TimelineSegment]]:
    options = InferOptions(windows=windows(), timeline=SIGNS, batch_size=1)
    [found] = predict_videos(recognizer, [Video.at(video)], options)
    return found, video_timeline(recognizer.glosses, found, SIGNS)


def watched(recognizer: Recognizer, named: str, **options: object) -> Heard:
    heard = Heard()
    with opened_source(named, windows()) as source:
        asked = LiveOptions(windows=windows(), timeline=SIGNS, **options)  # type: ignore[arg-type]
        run_live(recognizer, source, asked, [heard])
    return heard


def same(heard: Heard, found: VideoPredictions, signs: list[TimelineSegment], but: int = 0) -> None:
    count = len(found.predictions) - but
    assert len(heard.windows) == len(found.predictions) > 10
    assert [tuple(one.span) for one in heard.windows] == [(p.start_seconds, p.end_seconds) for p in found.predictions]
    for one, row in zip(heard.windows[:count], found.probabilities[:count], strict=True):
        assert np.array_equal(one.probabilities, row)
    if not but:
        assert heard.signs == signs and signs


def test_a_file_is_answered_to_the_bit_as_by_infer(pixels: Recognizer, video: Path) -> None:
    heard = watched(pixels, str(video))
    same(heard, *inferred(pixels, video))
    assert heard.ended is not None and heard.ended.frames == 58 and not heard.ended.dropped_frames


def test_landmarks_that_are_followed_are_those_of_infer_to_the_end(
    landmark_checkpoint: Path, pixel_checkpoint: Path, video: Path, tracked: None
) -> None:
    both = open_models([pixel_checkpoint, landmark_checkpoint], weights=(1, 2))
    found, signs = inferred(both, video)
    assert len({row.tobytes() for row in found.probabilities}) > 10
    same(watched(both, str(video)), found, signs)


def test_damage_costs_the_windows_that_show_it_as_in_infer(pixels: Recognizer, tmp_path: Path) -> None:
    path = write_video(tmp_path / "whole.mp4", 90, options={"x264-params": "keyint=15:scenecut=0"})
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[middle : middle + 40] = bytes(b ^ 0x55 for b in data[middle : middle + 40])
    path.write_bytes(data)
    found, signs = inferred(pixels, path)
    assert found.missing and found.predictions
    same(watched(pixels, str(path)), found, signs)


def test_a_stream_on_standard_input_is_answered_as_the_file_of_it(
    pixels: Recognizer, video: Path, tmp_path: Path
) -> None:
    stream = tmp_path / "a.ts"
    with av.open(str(video)) as reader, av.open(str(stream), "w", format="mpegts") as writer:
        source = reader.streams.video[0]
        out = writer.add_stream_from_template(source)
        for packet in reader.demux(source):
            if packet.dts is not None:
                packet.stream = out
                writer.mux(packet)
    before, descriptor = os.dup(0), os.open(stream, os.O_RDONLY)
    try:
        os.dup2(descriptor, 0)
        heard = watched(pixels, "-")
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(descriptor)
    found, _ = inferred(pixels, stream)
    same(heard, found, [], but=1)
    assert heard.signs and heard.ended is not None and heard.ended.frames == 58


def test_a_device_of_ffmpeg_is_watched_until_it_ends(pixels: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.inference.videos.live.buffer.MOST_LATE_SECONDS", HANG_SECONDS)  # on a slow machine
    heard = watched(pixels, "lavfi:testsrc2=size=160x120:rate=30:duration=1")
    assert heard.ended is not None and heard.ended.frames + heard.ended.dropped_frames == 30
    assert heard.windows and heard.ended.windows == len(heard.windows)


def test_signs_are_told_while_the_stream_goes_on(pixels: Recognizer) -> None:
    rows = np.repeat(np.eye(2, dtype=np.float32)[[0, 1, 0, 1]] * 0.8 + 0.1, 12, axis=0)
    spans = [Span(round(0.1 * k, 9), round(0.1 * k + 0.8, 9)) for k in range(len(rows))]
    finder, told = SignFinder(["가", "나"], TimelineOptions()), []
    for span, row in zip(spans, rows, strict=True):
        told += [(sign.gloss, span.end_seconds - sign.end_seconds) for sign in finder.add(span, row)]
    assert [gloss for gloss, _ in told] == ["가", "나", "가"] and all(late < 1.5 for _, late in told)
    assert len(told) + len(finder.finish()) == len(timeline(spans, rows, ["가", "나"], TimelineOptions()))


def test_a_stream_that_is_never_sure_takes_no_more_memory() -> None:
    finder = SignFinder(["가", "나"], TimelineOptions(switch_cost=1), most_undecided=20)
    for k in range(300):
        finder.add(Span(0.1 * k, 0.1 * k + 0.8), np.array([0.5, 0.5], np.float32))
        assert len(finder._steps) <= 21


def made_up(count: int, *, step: float = 0.05, error: Exception | None = None) -> Source:
    def frames() -> Generator[LiveFrame]:
        for number in range(count):
            picture = np.full((48, 64, 3), number % 200, np.uint8)
            yield LiveFrame(VideoFrame.from_ndarray(picture, format="rgb24"), number * step)
        if error is not None:
            raise error

    return Source(
        name="camera", is_camera=False, pixel_aspect=Fraction(1), frame_seconds=step, frames=frames(), windows=None
    )


def test_frames_that_nobody_takes_are_dropped_and_counted_or_waited_with() -> None:
    dropping = FrameBuffer(replace(made_up(100), is_camera=True), plays=False, drops=True)
    dropping._thread.join(HANG_SECONDS)
    seen = []
    while (arrived := dropping.take(0)) is not None:
        seen.append(round(arrived.shown.seconds / 0.05))
    assert dropping.dropped + len(seen) == 100 and len(seen) <= MOST_FRAMES and seen == list(range(100))[-len(seen) :]
    waiting = FrameBuffer(made_up(100), plays=False, drops=False)
    kept = []
    while not waiting.has_ended:
        if (arrived := waiting.take(HANG_SECONDS)) is not None:
            kept.append(round(arrived.shown.seconds / 0.05))
    waiting.close()
    assert kept == list(range(100)) and not waiting.dropped


def test_what_a_camera_showed_before_it_was_unplugged_is_told(pixels: Recognizer, tmp_path: Path) -> None:
    heard = Heard()
    source = made_up(40, error=DecodeError("camera: gives no more pictures (No such device)"))
    with (
        pytest.raises(DecodeError, match="no more pictures"),
        growing_subtitles(tmp_path / "a.srt", overwrite=False) as srt,
    ):
        run_live(pixels, source, LiveOptions(windows=windows(), timeline=SIGNS), [heard, srt])
    assert heard.signs and heard.ended is not None and heard.ended.frames == 40
    write_subtitles(tmp_path / "whole.srt", heard.signs, "camera")
    assert (tmp_path / "a.srt").read_bytes() == (tmp_path / "whole.srt").read_bytes()


def test_a_session_that_is_stopped_tells_what_it_has_begun(pixels: Recognizer) -> None:
    heard = Heard()
    options = LiveOptions(windows=windows(), timeline=SIGNS)
    run_live(pixels, made_up(10_000), options, [heard], is_stopped=lambda: len(heard.windows) >= 5)
    assert heard.ended is not None and 5 <= len(heard.windows) <= 7 and heard.signs


def test_a_stream_that_stalls_is_said_to(pixels: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    goes_on = threading.Event()

    def frames() -> Generator[LiveFrame]:
        yield from made_up(3).frames
        goes_on.wait(HANG_SECONDS)
        picture = VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        yield LiveFrame(picture, 9.0)

    def say(line: str) -> None:
        said.append(line)
        goes_on.set()

    monkeypatch.setattr("signprep.inference.videos.live.session.STALL_SECONDS", 0.0)
    monkeypatch.setattr("signprep.inference.videos.live.session._POLL_SECONDS", 0.01)
    source = replace(made_up(0), frames=frames())
    run_live(pixels, source, LiveOptions(windows=windows(), timeline=SIGNS), [], say=say)
    assert said[0].startswith("camera: no picture for 0 s; waiting") and "pictures come again" in said


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_subtitles_are_whole_after_each_sign(suffix: str, tmp_path: Path) -> None:
    signs = [
        TimelineSegment(start_seconds=k, end_seconds=k + 0.5, label=0, gloss=f"위 <{k}>", confidence=0.9)
        for k in range(4)
    ]
    path, whole = tmp_path / f"자막{suffix}", tmp_path / f"whole{suffix}"
    with growing_subtitles(path, overwrite=False) as growing:
        for number in range(5):
            write_subtitles(whole, signs[:number], "a.mp4")
            assert path.read_bytes() == whole.read_bytes()
            if number < 4:
                growing.sign(signs[number])
    with pytest.raises(SignprepError, match="is there already"), growing_subtitles(path, overwrite=False):
        pass
    with growing_subtitles(path, overwrite=True):
        assert path.stat().st_size < whole.stat().st_size


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), "there is no such camera; this machine shows no camera"),
        (PermissionError(errno.EACCES, "x"), "may not be read; add yourself to the group video"),
        (OSError(errno.EBUSY, "x"), "another program uses it"),
        (ValueError("no container format"), "this PyAV has no v4l2; pipe the camera in"),
        (OSError(errno.EIO, "broken"), "cannot be opened as a camera"),
    ],
)
def test_a_camera_that_does_not_open_says_why(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(live_sources.av, "open", refuses)
    monkeypatch.setattr(live_sources, "cameras_here", lambda format_: [])
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SignprepError, match=f"^0: {message}"), opened_source("0", windows()):
        pass


@pytest.mark.parametrize(
    ("platform", "named", "device"),
    [
        ("linux", "2", ("v4l2", "/dev/video2")),
        ("linux", "/dev/video1", ("v4l2", "/dev/video1")),
        ("darwin", "1", ("avfoundation", "1")),
        ("win32", "0", ("dshow", "video=카메라")),
        ("win32", "dshow:video=Other", ("dshow", "video=Other")),
        ("linux", "talk.mp4", (None, "talk.mp4")),
        ("linux", "C:/talk.mp4", (None, "C:/talk.mp4")),
    ],
)
def test_a_camera_is_named_by_its_number_or_its_device(
    platform: str, named: str, device: tuple[str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(live_sources, "cameras_here", lambda format_: ["카메라"])
    assert live_sources._device_of(named) == device


def test_a_camera_is_asked_for_a_size_and_a_rate(
    pixel_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opens(name: str, **options: object) -> None:
        asked.append((name, options["format"], options["options"]))
        raise OSError(errno.EBUSY, "x")

    monkeypatch.setattr(live_sources.av, "open", opens)
    words = ["--source", "v4l2:/dev/video2", "--camera-size", "640x480", "--camera-fps", "30"]
    result = CliRunner().invoke(
        cli, ["live", "--checkpoint", str(pixel_checkpoint), *words, "--vtt", f"{tmp_path}/a.vtt"]
    )
    assert "another program uses it" in str(result.exception) and not list(tmp_path.iterdir())
    assert asked == [("/dev/video2", "v4l2", {"video_size": "640x480", "framerate": "30"})]


def test_sources_that_give_no_video_are_refused(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    for named, message in (
        (str(tmp_path / "gone.mp4"), "there is no such video file"),
        (str(tmp_path), "is a folder; --source is one video"),
        (str(tmp_path / "a.mp4"), "a.mp4"),
        ("-", "standard input is a terminal"),
        ("lavfi:anullsrc", "has no video stream"),
        ("lavfi:nonsense", "cannot be opened as a camera"),
        ("lavfi:", "cannot be opened as a camera"),
    ):
        with pytest.raises(SignprepError, match=message), opened_source(named, windows()):
            pass
    with (
        pytest.raises(DecodeError, match=r"too short for a window of 9.000 s; choose a smaller --clip-duration$"),
        opened_source(str(video), replace(windows(), clip_duration=9.0)),
    ):
        pass


def test_the_first_interrupt_ends_and_the_second_one_stops() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _stopped_by_key() as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def events_of(response: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, object]]]:
    kind = ""
    for line in response:
        name, _, value = line.decode("utf-8").rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_the_page_shows_pictures_and_signs_to_this_machine_and_to_who_knows_its_address() -> None:
    with served_preview(0) as preview:
        _, _, place, secret, _ = preview.url.split("/")
        assert place.startswith("127.0.0.1:") and len(secret) >= 16

        def answer(path: str, **headers: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection(place, timeout=HANG_SECONDS)
            connection.request("GET", path, headers=headers)
            return connection.getresponse()

        page = answer(f"/{secret}/").read().decode("utf-8")
        assert "connect-src" in page and "EventSource" in page and "http" not in page.partition("<body>")[2]
        assert [answer(path).status for path in ("/", "/events", f"/{secret}/other")] == [404] * 3
        assert answer(f"/{secret}/", Host="example.org:80").status == 403
        sign = TimelineSegment(start_seconds=0.5, end_seconds=1.0, label=0, gloss="<b>위\n\nevent: x", confidence=0.9)
        preview.sign(sign)
        events = events_of(answer(f"/{secret}/events"))
        assert next(events) == ("sign", {"start": 0.5, "end": 1.0, "gloss": sign.gloss, "confidence": 0.9})
        until(lambda: preview._events.readers == 1)
        preview.picture(VideoFrame.from_ndarray(np.zeros((90, 1000, 3), np.uint8), format="rgb24"), 0.0)
        kind, data = next(events)
        assert kind == "picture" and str(data["source"]).startswith("data:image/jpeg;base64,/9j/")
        preview.end(Statistics(frames=3))
        assert {kind for kind, _ in (next(events), next(events))} == {"statistics", "end"}


def test_the_command_tells_signs_and_windows_and_writes_subtitles(
    pixel_checkpoint: Path, video: Path, tmp_path: Path
) -> None:
    asked = ["--clip-duration", "0.4", "--stride", "0.1", "--min-confidence", "0", "--min-duration-seconds", "0"]
    common = ["--checkpoint", str(pixel_checkpoint), *asked]

    def run(*words: str | Path) -> str:
        result = CliRunner().invoke(cli, [*map(str, words)])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    infer = json.loads(run("infer", video, *common, "--subtitles", tmp_path / "infer.srt", "--batch-size", "1"))
    files = ["--srt", tmp_path / "live.srt", "--vtt", tmp_path / "live.vtt"]
    lines = [json.loads(line) for line in run("live", "--source", video, *common, "--json", *files).splitlines()]
    assert [line for line in lines if line["type"] == "sign"] == [{"type": "sign"} | sign for sign in infer["timeline"]]
    keys = ("start_time", "end_time", "predicted_class_name", "confidence")
    assert [[line[key] for key in keys] for line in lines if line["type"] == "window"] == [
        [clip[key] for key in keys] for clip in infer["clips"]
    ]
    assert lines[-1]["type"] == "end" and lines[-1]["dropped_frames"] == 0
    assert (tmp_path / "live.srt").read_bytes() == (tmp_path / "infer.srt").read_bytes()
    told = run("live", "--source", video, *common, "--real-time", "--preview")
    assert all(" - " in line for line in told.splitlines())


def test_options_that_do_not_go_together_are_refused() -> None:
    for words, message in (
        (["--port", "80"], "--port goes with --preview"),
        (["--overwrite"], "--overwrite goes with --srt or --vtt"),
        (["--srt", "a.vtt"], "a.vtt: the name of such subtitles must end in .srt"),
    ):
        result = CliRunner().invoke(cli, ["live", "--checkpoint", "best.ckpt", *words])
        assert result.exit_code == 2 and message in result.output
