"""Several clips or videos in one request: answers in their order, and an error takes the answer from no other one."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from signprep.cache_builder.reader import Cache
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve import decoders
from signprep.inference.serve.http import uploads
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CheckpointError
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import build_model, model_spec
from tests.inference.serve import decoding_processes
from tests.inference.serve.asgi import LEFT, Answer, ask
from tests.inference.serve.conftest import LOCAL
from tests.inference.serve.test_queue import left_over, served

CLIPS = "application/x-npy"
FORM = {"content-type": "multipart/form-data; boundary=XX"}


def npy(clips: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, clips)
    return file.getvalue()


def form(*files: tuple[str, bytes]) -> bytes:
    """The body of a form, with boundary XX."""
    head = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
    return b"".join(head % name.encode() + data + b"\r\n" for name, data in files) + b"--XX--\r\n"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_files_of_a_form_are_answered_in_their_order_each_as_if_it_were_alone(
    client: TestClient, cache: Cache, video: Path
) -> None:
    clips = cache.read(cache.positions()[:3])
    files = [
        ("file", ("가 나.npy", npy(clips[0]))),
        ("file", ("끊김.mp4", video.read_bytes()[:5000])),
        ("file", ("둘.npy", npy(clips[1:3]), CLIPS)),
        ("other", ("수어.mp4", video.read_bytes(), "video/mp4")),
        ("file", ("빈 것.mp4", b"")),
        ("file", ("틀림.npy", npy(np.zeros(3, np.uint8)))),
    ]
    answer = client.post("/v1/predict", params={"return-probabilities": "1"}, files=files)
    assert answer.status_code == 200, answer.text
    one, cut, two, whole, empty, wrong = answer.json()
    alone = [
        client.post(
            "/v1/predict",
            params={"return-probabilities": "1", "name": name},
            content=content,
            headers={"content-type": kind},
        ).json()
        for name, content, kind in (
            ("가 나.npy", npy(clips[0]), CLIPS),
            ("둘.npy", npy(clips[1:3]), CLIPS),
            ("수어.mp4", video.read_bytes(), "video/mp4"),
            ("끊김.mp4", video.read_bytes()[:5000], "video/mp4"),
        )
    ]
    for found, expected in zip((one, *two, whole), (alone[0], *alone[1], alone[2]), strict=True):
        assert found["video_path"] == expected["video_path"]
        np.testing.assert_allclose(
            list(found["probabilities"].values()), list(expected["probabilities"].values()), atol=1e-5
        )
    assert cut == {"video_path": "끊김.mp4", "error": alone[3]["error"], "status": 422}
    assert (empty["video_path"], empty["status"]) == ("빈 것.mp4", 422)
    assert wrong["status"] == 422 and wrong["error"].startswith("틀림.npy: clips are uint8 [3]; expected ")


def test_a_clip_without_numbers_has_its_own_error_among_the_others(
    recognizer: Recognizer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = cache.read(cache.positions()[:3])
    answering = recognizer.window_probabilities

    def failing(windows: Any) -> Any:
        if any(np.array_equal(clip, clips[1]) for [clip] in windows):
            raise CheckpointError("no numbers")
        return answering(windows)

    monkeypatch.setattr(recognizer, "window_probabilities", failing)

    async def asking(app: Starlette) -> tuple[Answer, Answer]:
        several = await ask(app, once(npy(clips)), "name=a", content_type=CLIPS)
        return several, await ask(app, once(npy(clips[1])), "name=a", content_type=CLIPS)

    several, alone = served(recognizer, asking)
    first, bad, last = several.document
    assert several.status == 200 and "confidence" in first and "confidence" in last
    assert bad == {"video_path": "a", "error": "no numbers", "status": 500}
    assert (alone.status, alone.document) == (500, {"error": "no numbers"})


async def once(*parts: bytes | None) -> AsyncIterator[bytes | None]:
    """Yield parts of a body, and its end unless the client leaves."""
    for part in parts:
        yield part
    if LEFT not in parts:
        yield b""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"no form", "the form is not whole, or is no form"),
        (b"--XX--\r\n", "the form is not whole, or is no form"),
        (form(("a.mp4", b"abc"))[:-20], "the form is not whole, or is no form"),
        (b"--XX\r\nnothing more\r\n--XX--\r\n", "the form is not whole, or is no form"),
        (b"--XX\r\nX: " + b"a" * 5000 + b"\r\n\r\nabc\r\n--XX--", "the form is not whole, or is no form"),
        (b'--XX\r\nContent-Disposition: form-data; name="mode"\r\n\r\nx\r\n--XX--', "the form has 'mode', which is no"),
        (b"--XX\r\n\r\n\r\n\r\n--XX--", "the form has None, which is no file; options go into the address"),
        (form(*[("a.npy", b"x")] * 257), "the form has more than 256 files; send fewer in one request"),
    ],
    ids=["no form", "no file", "cut", "no head", "a long head", "a field", "no name", "too many files"],
)
def test_what_is_no_form_is_refused(client: TestClient, body: bytes, told: str) -> None:
    answer = client.post("/v1/predict", content=body, headers=FORM)
    assert answer.status_code == 422 and answer.json()["error"].startswith(told)


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; a="'])
def test_a_form_says_what_stands_between_its_files(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/predict", content=form(("a.npy", b"x")), headers={"content-type": kind})
    assert answer.status_code == 422 and "(boundary)" in answer.json()["error"]


def test_a_form_is_as_bounded_as_a_video(
    client: TestClient, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large = form(("a.npy", bytes(1_500_000)), ("b.npy", bytes(600_000)))
    assert client.post("/v1/predict", content=too_large, headers=FORM).status_code == 413
    monkeypatch.setattr("signprep.inference.serve.clips.MAX_ANSWERS", 3)
    spec = recognizer.metadata.clip_spec
    two = npy(np.zeros((2, *spec.clip_shape), spec.dtype))
    one = npy(np.zeros(spec.clip_shape, spec.dtype))
    answer = client.post(
        "/v1/predict", content=form(("a", one), ("b.npy", two), ("c.npy", two), ("d.npy", one)), headers=FORM
    )
    video, first, refused, last = answer.json()
    assert video["error"].startswith("a: does not open as a video") and len(first) == 2
    assert refused["error"].startswith("c.npy: has 2 clips; at most 3 are answered here") and "confidence" in last


def test_options_and_names_that_do_not_go_with_a_file_are_its_own_error(
    client: TestClient, cache: Cache, video: Path
) -> None:
    files = form(("a.npy", npy(cache.read(cache.positions()[:1]))), ("b.mp4", video.read_bytes()), ("c" * 201, b"x"))
    headers = FORM | {"accept-language": "ko"}
    clip, windows, unnamed = client.post("/v1/predict?mode=windows", content=files, headers=headers).json()
    assert clip["status"] == 400 and "클립" in clip["error"]
    assert len(windows) > 1 and windows[0]["video_path"] == "b.mp4"
    assert unnamed["status"] == 400
    answer = client.post("/v1/predict", content=files, headers=FORM | {"accept": "text/event-stream"})
    assert (answer.status_code, answer.json()["error"].partition(",")[0]) == (400, "a form is answered at once")


def test_large_files_of_a_form_leave_nothing_over(
    recognizer: Recognizer, cache: Cache, video: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "IN_MEMORY", 1000)
    clips = npy(np.concatenate([cache.read(cache.positions()[:1])] * 20))
    body = form(("a.npy", clips), ("b.mp4", video.read_bytes()), ("c.npy", clips))

    async def asking(app: Starlette) -> Answer:
        return await ask(app, once(body[:1000], body[1000:]), **{"content-type": FORM["content-type"]})

    answer = served(recognizer, asking)
    assert answer.status == 200 and [len(one) for one in answer.document[::2]] == [20, 20]
    assert left_over(temporary) == []


def test_who_leaves_while_a_form_is_answered_ends_its_work(
    recognizer: Recognizer, video: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "work", decoding_processes.hangs)
    body = form(("a.mp4", video.read_bytes()), ("b.mp4", video.read_bytes()))

    async def asking(app: Starlette) -> Answer:
        gone = await ask(app, once(body, b"", LEFT), content_type=FORM["content-type"])
        while app.state.service._active:
            await asyncio.sleep(0)
        return gone

    assert served(recognizer, asking).status is None
    assert left_over(temporary) == []


def test_a_model_of_landmarks_answers_as_it_does_alone_however_many_clips_come_together() -> None:
    clip_spec = ClipSpec(num_frames=8, landmarks="mediapipe")
    spec = model_spec("landmark_conv", num_frames=8)
    metadata = ModelMetadata(
        model_spec=spec, clip_spec=clip_spec, vocabulary=Vocabulary(glosses=("가", "나", "다")), cache_fingerprint=""
    )
    torch.manual_seed(0)
    model = build_model(spec, 3)
    clips = np.random.default_rng(0).random((30, *clip_spec.clip_shape)).astype(clip_spec.dtype)
    clips[4, 2:5] = np.nan  # frames without points
    expected = Recognizer(metadata, model, torch.device("cpu")).probabilities(clips)
    app = make_app(Recognizer(metadata, model, torch.device("cpu")), ServeOptions(num_workers=1))
    with TestClient(app, base_url=LOCAL) as client:
        for sent in (clips, clips[:1], clips[3:8]):
            answer = client.post(
                "/v1/predict", params={"return-probabilities": "1"}, content=npy(sent), headers={"content-type": CLIPS}
            )
            found = [list(one["probabilities"].values()) for one in answer.json()]
            first = 3 if len(sent) == 5 else 0
            np.testing.assert_allclose(found, expected[first : first + len(sent)], atol=1e-5)
