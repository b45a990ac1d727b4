"""What is refused, with which status and in which words; and that nothing is left of it."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.clips import read_clips
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.clip_spec import ClipSpec
from tests.generated_videos import write_video

TOKEN = "0123456789abcdef0123"
CLIPS = {"content-type": "application/x-npy"}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("clip-duration=no", "Invalid value for '--clip-duration': 'no' is not a valid float."),
        ("clip-duration=-1", "--clip-duration is -1.0; it must be above 0"),
        ("mode=all", "Invalid value for '--mode': 'all' is not one of 'single', 'windows', 'timeline'."),
        ("clip-duratoin=1", "No such option '--clip-duratoin'. Did you mean '--clip-duration'?"),
        ("help=1", "No such option '--help'."),
        ("stride=1", "--stride goes with --mode windows or timeline"),
        ("mode=windows&switch-cost=1", "--switch-cost goes with --mode timeline"),
        ("pad=maybe", "Invalid value for '--pad': 'maybe' is neither true nor false."),
        ("top-k=1&top_k=2", "'--top-k' is given twice"),
        ("mode=timeline&idle-gloss=~root/x", "Invalid value for '--idle-gloss': it begins with ~"),
        (f"name={'a' * 201}", "Invalid value for '--name': it is longer than 200 characters"),
    ],
)
def test_a_mistaken_option_is_told_as_the_command_line_tells_it(client: TestClient, query: str, told: str) -> None:
    answer = client.post(f"/v1/predict?{query}", content=b"x")
    assert (answer.status_code, answer.json()) == (400, {"error": told})


def test_what_a_video_lacks_is_told_as_infer_tells_it(client: TestClient, video: Path, tmp_path: Path) -> None:
    def refused(content: bytes, **query: object) -> str:
        answer = client.post("/v1/predict", params={"name": "a.mp4"} | query, content=content)
        assert answer.status_code == 422
        return str(answer.json()["error"])

    data = video.read_bytes()
    assert refused(b"no video at all").startswith("a.mp4: does not open as a video")
    assert refused(data[: len(data) // 2]).startswith("a.mp4: ")
    assert refused(data, **{"clip-duration": 5}).startswith("a.mp4: lasts 3.000 s, too short for a clip of 5.000 s")
    assert refused(data, mode="windows", stride=1e-5).startswith("a.mp4: has 99,901 windows at")
    assert "knows no gloss 'x' for no sign" in refused(data, **{"mode": "timeline", "idle-gloss": "x"})
    answer = client.post("/v1/subtitles?format=srt", json={"timeline": []})
    assert answer.status_code == 422 and "(they are not a list); send a list" in answer.json()["error"]
    assert refused(b"") == "nothing was sent, or an empty file; send the video as the body of the request"
    long = write_video(tmp_path / "long.mp4", 62, rate=2)
    assert refused(long.read_bytes()).startswith("a.mp4: lasts longer than 30 s, which is the most")


def test_a_playlist_opens_no_other_file(client: TestClient, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playlist = f"ffconcat version 1.0\nfile '{video.name}'\n"
    monkeypatch.chdir(video.parent)
    answer = client.post("/v1/predict", content=playlist.encode())
    assert answer.status_code == 422 and "is a playlist, which names other files" in answer.text


def test_clips_of_another_shape_and_what_is_no_array_are_refused(client: TestClient) -> None:
    def refused(content: bytes, query: str = "") -> str:
        answer = client.post(f"/v1/predict{query}", content=content, headers=CLIPS)
        assert answer.status_code in (400, 422)
        return str(answer.json()["error"])

    file = io.BytesIO()
    np.save(file, np.zeros((2, 3), np.uint8))
    assert "clips are uint8 [2, 3]; expected uint8 [B, " in refused(file.getvalue())
    lying = file.getvalue().replace(b"(2, 3)", b"(2e9,)"[:6])
    assert "expected uint8 [B, " in refused(lying) and "expected uint8 [B, " in refused(b"nothing")
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    assert "expected uint8 [B, " in refused(objects.getvalue())
    assert "clips have no windows" in refused(file.getvalue(), "?mode=timeline")


def test_too_many_clips_and_a_part_of_them_are_refused(
    client: TestClient, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signprep.inference.serve.clips.MAX_PROBABILITIES", 5)
    spec = recognizer.metadata.clip_spec
    file = io.BytesIO()
    np.save(file, np.zeros((3, *spec.clip_shape), spec.dtype))
    for query, most in (
        ("?return-probabilities", 5 // len(recognizer.glosses)),
        ("?top-k=5", 5 // min(5, len(recognizer.glosses))),
    ):
        answer = client.post(f"/v1/predict{query}", content=file.getvalue(), headers=CLIPS)
        assert answer.status_code == 422 and f"has 3 clips; at most {most} are answered here" in answer.text
    assert client.post("/v1/predict", content=file.getvalue(), headers=CLIPS).status_code == 200
    answer = client.post("/v1/predict", content=file.getvalue()[:-1], headers=CLIPS)
    assert answer.status_code == 422 and "send the whole .npy" in answer.text


def test_points_that_are_infinite_are_no_clip(tmp_path: Path) -> None:
    spec = ClipSpec(num_frames=2, landmarks="mediapipe")
    clips = np.full((3, *spec.clip_shape), np.nan, spec.dtype)  # of what was not seen
    clips[1, 0, 0, 0] = np.inf
    np.save(tmp_path / "clips.npy", clips)
    with (tmp_path / "clips.npy").open("rb") as file:
        found, is_infinite = read_clips(file, spec, "a")
    np.testing.assert_array_equal(found, clips)
    assert is_infinite.tolist() == [False, True, False]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "0", "", "9" * 400, "\x00", "한"])
def test_a_number_that_means_nothing_is_refused_or_answered(client: TestClient, video: Path, value: str) -> None:
    for option in client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["parameters"]:
        for mode in ("windows", "timeline"):
            query = {"mode": mode, "clip-duration": "1", "stride": "1"} | {option["name"]: value}
            answer = client.post("/v1/predict", params=query, content=video.read_bytes())
            assert answer.status_code in (200, 400, 422), (query, answer.text)
            answer.json()


def test_uploads_beyond_the_limit_are_refused_whether_they_say_so_or_not(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(100_000)

    for content in (bytes(2_000_001), pieces()):
        answer = client.post("/v1/predict", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"error": "the upload is larger than 2 MB; send a shorter video"}


def test_unknown_addresses_and_methods_are_told_as_json(client: TestClient) -> None:
    assert client.get("/v1/nothing").json() == {"error": "Not Found"}
    assert client.get("/v1/predict").status_code == 405


def test_only_this_machine_s_names_and_pages_are_answered(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert client.get("/health", headers={"host": host}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/health", headers={"host": host}).status_code == 200
    own = {"host": "localhost:8000", "origin": "http://localhost:8000"}
    assert client.get("/health", headers=own).status_code == 200
    for origin in ("http://evil.example", "http://localhost:9000", "null"):
        assert client.get("/health", headers=own | {"origin": origin}).status_code == 403
    answer = client.get("/health")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_other_addresses_need_a_token(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNPREP_TOKEN", raising=False)
    with pytest.raises(ValueError, match=r"host is 0\.0\.0\.0, where others can reach it; it needs a --token"):
        ServeOptions(host="0.0.0.0")
    with pytest.raises(ValueError, match="token has 5 characters; it must have at least 16"):
        ServeOptions(token="short")
    monkeypatch.setenv("SIGNPREP_TOKEN", TOKEN)
    options = ServeOptions(host="0.0.0.0", num_workers=1)
    assert options.token == TOKEN
    app = make_app(recognizer, options)
    client = TestClient(app, base_url="http://signs.example")
    assert client.get("/health").status_code == 200
    for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}x"}):
        answer = client.get("/v1/model", headers=header)
        assert answer.status_code == 401 and "Authorization: Bearer TOKEN" in answer.json()["error"]
    assert client.get("/v1/model", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
