"""What is answered over HTTP is what `infer` answers."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from signprep.cache_builder.reader import Cache
from signprep.inference.options import TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.metrics import Metrics
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.cli import cli

SAME = 1e-5
"""Probabilities may differ by so much, as they do between sizes of batches."""


def inferred(checkpoint: Path, *arguments: object) -> Any:
    result = CliRunner().invoke(cli, ["infer", "--checkpoint", str(checkpoint), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def same(found: Any, expected: Any) -> bool:
    """Whether two documents are equal, but for the last digits of their probabilities."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return abs(found - expected) < SAME
    return bool(found == expected)


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ({}, []),
        ({"start-time": 0.5, "clip_duration": 1.0}, ["--start-time", 0.5, "--clip-duration", 1.0]),
        ({"top-k": 2, "return-probabilities": "true"}, ["--top-k", 2, "--return-probabilities"]),
        ({"clip-duration": 9, "pad": ""}, ["--clip-duration", 9, "--pad"]),
        ({"mode": "windows", "stride": 0.25, "pad": "false"}, ["--multiple-clips", "--stride", 0.25]),
        ({"mode": "timeline"}, ["--timeline"]),
        (
            {"mode": "timeline", "min-confidence": 0.1, "switch-cost": 0, "top-k": 2},
            ["--timeline", "--min-confidence", 0.1, "--switch-cost", 0, "--top-k", 2],
        ),
    ],
)
def test_each_mode_answers_as_infer_does(
    client: TestClient, checkpoint: Path, video: Path, query: dict[str, Any], arguments: list[object]
) -> None:
    answer = client.post("/v1/predict", params={"name": str(video)} | query, content=video.read_bytes())
    assert answer.status_code == 200, answer.text
    assert same(answer.json(), inferred(checkpoint, video, *arguments))


def test_clips_of_a_cache_are_answered_as_the_model_answers(
    client: TestClient, recognizer: Recognizer, cache: Cache
) -> None:
    clips = cache.read(cache.positions()[:3])
    file = io.BytesIO()
    np.save(file, clips)
    answer = client.post(
        "/v1/predict",
        params={"return-probabilities": "1", "name": "나"},
        content=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    )
    assert answer.status_code == 200, answer.text
    found = [list(one["probabilities"].values()) for one in answer.json()]
    np.testing.assert_allclose(found, recognizer.probabilities(clips), atol=SAME)
    one = io.BytesIO()
    np.save(one, clips[0])
    alone = client.post("/v1/predict", content=one.getvalue(), headers={"content-type": "application/x-npy"}).json()
    assert alone.keys() == {"video_path", "predicted_class_idx", "predicted_class_name", "confidence"}
    assert alone["predicted_class_name"] == answer.json()[0]["predicted_class_name"]


def test_the_model_is_told(client: TestClient, recognizer: Recognizer) -> None:
    told = client.get("/v1/model").json()
    assert told["glosses"] == list(recognizer.glosses) and told["limits"]["video_seconds"] == 30
    assert told["idle_gloss"] is None  # it has learned none
    assert told["timeline"] == asdict(TimelineOptions())
    assert told["clips"] == [spec.to_dict() for spec in recognizer.clip_specs]


def test_options_of_a_timeline_hold_where_a_request_says_nothing(
    recognizer: Recognizer, checkpoint: Path, video: Path
) -> None:
    idle, _ = recognizer.glosses
    given = ["--idle-gloss", idle, "--min-confidence", 0.1]
    timeline = TimelineOptions(idle_gloss=idle, min_confidence=0.1)
    app = make_app(recognizer, ServeOptions(num_workers=1), timeline)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        told = client.get("/v1/model").json()
        assert told["idle_gloss"] == told["timeline"]["idle_gloss"] == idle
        assert told["timeline"] == asdict(timeline)
        described = client.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["parameters"]
        assert {"idle-gloss": idle, "min-confidence": 0.1, "switch-cost": 0.25}.items() <= {
            one["name"]: one["schema"].get("default") for one in described
        }.items()
        for query, arguments in (
            ("", given),
            ("&switch-cost=0", [*given, "--switch-cost", 0]),
            ("&min-confidence=0.4", given[:2]),
            ("&idle-gloss=", given[2:]),
        ):
            answer = client.post(f"/v1/predict?mode=timeline&name={video}{query}", content=video.read_bytes())
            assert same(answer.json(), inferred(checkpoint, video, "--timeline", *arguments)), query
        assert client.post("/v1/predict", content=video.read_bytes()).status_code == 200


def test_large_counts_have_all_their_digits() -> None:
    metrics = Metrics()
    metrics.add("upload_bytes_total", 12_345_678)
    metrics.add("model_seconds_total", 1234567.125)
    lines = metrics.text().splitlines()
    assert "signprep_upload_bytes_total 12345678" in lines and "signprep_model_seconds_total 1234567.125" in lines


def test_what_was_done_is_counted(client: TestClient, video: Path) -> None:
    def counted(name: str) -> float:
        [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    names = ("signprep_windows_total", "signprep_upload_bytes_total", "signprep_request_seconds_count")
    before = [counted(name) for name in names]
    assert client.post("/v1/predict", content=video.read_bytes()).status_code == 200
    after = [counted(name) for name in names]
    assert [late - early for late, early in zip(after, before, strict=True)] == [1, video.stat().st_size, 1]
    assert 'signprep_requests_total{status="200"}' in client.get("/metrics").text
    assert counted("signprep_requests_active") == 0 and client.get("/health").json() == {"status": "ok"}
