"""Many requests at a time: batches, the queue's end, clients that go, processes that die; and nothing that is left."""

import asyncio
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.applications import Starlette

from signprep.inference.options import WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve import decoders
from signprep.inference.serve.batches import Batches
from signprep.inference.serve.decoders import Decoder, Job, LeftError, TooSlowError
from signprep.inference.serve.http import guard
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.metrics import Metrics
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import DecodeError
from tests.generated_videos import write_video
from tests.inference.serve import decoding_processes
from tests.inference.serve.asgi import LEFT, Answer, ask, whole
from tests.waiting import HANG_SECONDS


def left_over(folder: Path) -> list[str]:
    """What is in a folder, and files of it that this process has open though they have no name."""
    found = [path.name for path in folder.iterdir()]
    if sys.platform == "linux":
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        found += [str(link.readlink()) for link in links if link.is_symlink() and str(folder) in str(link.readlink())]
    return found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class NotedRecognizer:
    """Notes the sizes of batches, and waits in the first one."""

    glosses = ("왼쪽", "오른쪽")
    device, clip_specs = torch.device("cpu"), (ClipSpec(),)

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def window_probabilities(self, windows: Sequence[Any]) -> Any:
        self.sizes.append(len(windows))
        self.has_begun.set()
        self.may_go_on.wait()
        return np.array([clips[0] for clips in windows], np.float32)


def test_clips_of_several_requests_meet_in_one_call_of_the_model() -> None:
    noted: Any = NotedRecognizer()
    batches = Batches(noted, 4, Metrics())
    futures: list[Future[Any]] = [batches.submit([[0.0, 1.0]])]
    noted.has_begun.wait()
    futures += [batches.submit([[float(number), 1.0]]) for number in range(1, 7)]
    given_up = futures.pop()
    assert given_up.cancel()
    noted.may_go_on.set()
    assert [future.result().tolist() for future in futures] == [[number, 1.0] for number in range(6)]
    batches.close()
    assert noted.sizes == [1, 4, 1]


def test_the_next_batch_waits_a_moment_for_those_who_were_just_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.inference.serve.batches.PATIENCE", 1e9)
    noted: Any = NotedRecognizer()
    batches = Batches(noted, 4, Metrics())
    first = batches.submit([[0.0, 1.0]])
    noted.has_begun.wait()
    others = [batches.submit([[1.0, 1.0]])]
    noted.may_go_on.set()
    first.result()
    others.append(batches.submit([[2.0, 1.0]]))
    batches.close()
    assert [future.result().tolist() for future in others] == [[1.0, 1.0], [2.0, 1.0]]
    assert noted.sizes == [1, 2]


def test_a_small_model_answers_a_batch_on_each_core_and_shares_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Meeting(NotedRecognizer):
        device = torch.device("cpu")
        clip_specs = (ClipSpec(num_frames=2, landmarks="mediapipe"),)
        is_traced = False
        both = threading.Barrier(2, timeout=HANG_SECONDS)

        def use_trace(self) -> None:
            self.is_traced = True

        def window_probabilities(self, windows: Sequence[Any]) -> Any:
            self.sizes.append(len(windows))
            self.both.wait()  # until another batch is here, too
            return np.array([clips[0] for clips in windows], np.float32)

    async def asked() -> list[list[float]]:
        batches = Batches(small, 4, Metrics())
        futures = [batches.submit_here([[float(number), 1.0]]) for number in range(4)]
        answers = [answer.tolist() for answer in await asyncio.gather(*futures)]
        await asyncio.to_thread(batches.close)
        return answers

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    small: Any = Meeting()
    assert asyncio.run(asked()) == [[number, 1.0] for number in range(4)]
    assert small.is_traced and len(small.sizes) % 2 == 0


def test_a_clip_without_an_answer_takes_none_from_the_others_of_its_batch() -> None:
    class Failing(NotedRecognizer):
        def window_probabilities(self, windows: Sequence[Any]) -> Any:
            super().window_probabilities([[[0.0, 0.0]] for _ in windows])
            if any(clips[0] is None for clips in windows):
                raise ValueError("no answer")
            return np.zeros((len(windows), 2), np.float32)

    failing: Any = Failing()
    batches = Batches(failing, 4, Metrics())
    first = batches.submit([1.0])
    failing.has_begun.wait()
    good, bad, other = [batches.submit([clip]) for clip in (1.0, None, 1.0)]
    failing.may_go_on.set()
    with pytest.raises(ValueError, match="no answer"):
        bad.result()
    assert [future.result().tolist() for future in (first, good, other)] == [[0, 0]] * 3
    batches.close()
    assert failing.sizes == [1, 3, 1, 1, 1]


def job() -> Job:
    return Job(name="a.mp4", windows=WindowOptions(clip_duration=0.5), specs=(), max_seconds=10)


@pytest.mark.parametrize(
    ("does", "seconds", "expected", "told"),
    [
        (
            decoding_processes.dies,
            HANG_SECONDS,
            DecodeError,
            r"a\.mp4: the process that decoded it has died \(SIGKILL\)",
        ),
        (decoding_processes.hangs, 0.1, TooSlowError, r"a\.mp4: no answer after 0\.1 s; send a shorter video"),
    ],
)
def test_a_process_that_dies_or_hangs_is_started_anew(
    does: Any, seconds: float, expected: type[Exception], told: str, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "work", does)
    decoder, restarted = Decoder(), []
    monkeypatch.undo()
    asked: dict[str, Any] = {"is_left": lambda: False, "restarted": lambda: restarted.append(decoder.process_id)}
    before = decoder.process_id
    with video.open("rb") as file, pytest.raises(expected, match=told):
        list(decoder.windows(job(), file, seconds=seconds, **asked))
    assert restarted == [decoder.process_id] != [before]
    with video.open("rb") as file:
        # Without specs a window has no clips, and its end is not known.
        assert list(decoder.windows(job(), file, seconds=HANG_SECONDS, **asked)) == []
    decoder.close()


def test_a_process_ends_when_nobody_waits_for_it(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "work", decoding_processes.hangs)
    decoder = Decoder()
    with video.open("rb") as file, pytest.raises(LeftError):
        list(decoder.windows(job(), file, seconds=HANG_SECONDS, is_left=lambda: True, restarted=lambda: None))
    decoder.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's memory")
def test_a_process_has_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "work", decoding_processes.takes_memory)
    decoder = Decoder()
    assert decoder._connection.recv_bytes() == b"no memory"
    decoder.close()


def served(recognizer: Recognizer, asking: Any, **options: Any) -> Any:
    """Return what asking a server of its own gives."""
    app = make_app(recognizer, ServeOptions(num_workers=1, **options))

    async def run() -> Any:
        async with app.router.lifespan_context(app):
            return await asking(app)

    return asyncio.run(run())


def test_a_process_has_its_time_though_one_window_comes_after_the_other(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "work", decoding_processes.never_ends)
    decoder = Decoder()
    asked: dict[str, Any] = {"seconds": 0.1, "restarted": lambda: None}
    with video.open("rb") as file, pytest.raises(TooSlowError, match=r"no answer after 0\.1 s"):
        list(decoder.windows(job(), file, is_left=lambda: False, **asked))
    decoder.close()


def test_the_queue_has_an_end_and_clients_that_go_leave_their_places(
    recognizer: Recognizer, video: Path, temporary: Path
) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def held() -> AsyncIterator[bytes | None]:
        yield b"the beginning"
        begun.set()
        await let_go.wait()
        yield LEFT

    async def asking(app: Starlette) -> list[Answer]:
        waiting = []
        for _ in range(2):
            begun.clear()
            waiting.append(asyncio.create_task(ask(app, held())))
            await begun.wait()
        refused = await ask(app, whole(video.read_bytes()))
        let_go.set()
        cut = await asyncio.gather(*waiting)
        return [refused, *cut, await ask(app, whole(video.read_bytes()))]

    refused, *cut, answered = served(recognizer, asking, queue=1)
    assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
    assert refused.document["error"].startswith("1 requests are waiting, as many as may; try again after ")
    assert [answer.status for answer in cut] == [None, None] and answered.status == 200
    assert left_over(temporary) == []


def test_a_slow_upload_is_given_up(recognizer: Recognizer, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never_ending() -> AsyncIterator[bytes | None]:
        yield b"the beginning"
        await asyncio.Event().wait()

    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.01)  # for the rest of what comes
    answer = served(recognizer, lambda app: ask(app, never_ending()), timeout_seconds=0.01)
    assert answer.status == 408 and answer.document == {"error": "the upload was not there after 0.01 s"}
    assert left_over(temporary) == []


def test_who_leaves_while_a_video_is_decoded_ends_the_work(
    recognizer: Recognizer, video: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "work", decoding_processes.hangs)

    async def leaving() -> AsyncIterator[bytes | None]:
        yield video.read_bytes()
        yield b""
        yield LEFT

    async def asking(app: Starlette) -> Answer:
        gone = await ask(app, leaving())
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        assert gone.status is None
        return await ask(app, whole(video.read_bytes()))

    assert served(recognizer, asking).status == 200
    assert left_over(temporary) == []


def test_of_two_hundred_requests_with_broken_ones_none_is_lost(
    recognizer: Recognizer, temporary: Path, tmp_path: Path
) -> None:
    good = write_video(tmp_path / "good.mp4", 20).read_bytes()
    bodies = [good if number % 10 else good[: len(good) * number // 250] for number in range(200)]

    async def asking(app: Starlette) -> list[Answer]:
        at_a_time = asyncio.Semaphore(16)

        async def one(body: bytes) -> Answer:
            async with at_a_time:
                return await ask(app, whole(body), "clip-duration=0.5")

        return await asyncio.gather(*map(one, bodies))

    answers = served(recognizer, asking)
    assert [answer.status for answer in answers] == [200 if number % 10 else 422 for number in range(200)]
    assert all("error" in answers[number].document for number in range(0, 200, 10))
    found = [answer.document["confidence"] for number, answer in enumerate(answers) if number % 10]
    np.testing.assert_allclose(found, found[0], atol=1e-5)
    assert left_over(temporary) == []


def test_events_tell_of_each_window_and_at_last_of_the_result(recognizer: Recognizer, video: Path) -> None:
    async def asking(app: Starlette) -> tuple[Answer, Answer, Answer]:
        query = "mode=windows&stride=0.5&name=a"
        told = await ask(app, whole(video.read_bytes()), query, accept="text/event-stream")
        plain = await ask(app, whole(video.read_bytes()), query)
        return told, plain, await ask(app, whole(b"nothing"), accept="text/event-stream")

    told, plain, broken = served(recognizer, asking)
    events = [part.split("\n") for part in told.body.decode().split("\n\n") if part]
    kinds = [kind for kind, _ in events]
    assert kinds == ["event: window"] * len(plain.document) + ["event: result"]
    assert events[-1][1].startswith('data: [{"video_path": "a", "start_time": 0.0')
    last = broken.body.decode().split("\n\n")[-2]
    assert last.startswith('event: error\ndata: {"error": "video: does not open') and last.endswith('"status": 422}')


def test_the_description_has_every_option_of_a_request(recognizer: Recognizer, client: Any) -> None:
    document = client.get("/openapi.json").json()
    parameters = document["paths"]["/v1/predict"]["post"]["parameters"]
    names = {parameter["name"] for parameter in parameters}
    assert {"mode", "clip-duration", "stride", "pad", "top-k", "return-probabilities", "idle-gloss"} <= names
    assert all(parameter["description"] and parameter["schema"]["type"] for parameter in parameters)
    for path, methods in document["paths"].items():
        for method in methods:
            assert client.request(method, path).status_code != 404
