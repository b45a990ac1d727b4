"""A server of a tiny model, which the tests of a run share, and videos for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from signprep.inference.open_model import open_model
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.options import ServeOptions
from tests.generated_videos import write_video

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def recognizer(checkpoint: Path) -> Recognizer:
    return open_model(checkpoint)


@pytest.fixture(scope="session")
def client(recognizer: Recognizer) -> Iterator[TestClient]:
    """A client of a server on the loopback address, without a token."""
    options = ServeOptions(num_workers=1, max_video_seconds=30, max_megabytes=2)
    with TestClient(make_app(recognizer, options), base_url=LOCAL) as opened:
        yield opened


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 3 s."""
    return write_video(tmp_path_factory.mktemp("영상") / "세 초.mp4", 90)
