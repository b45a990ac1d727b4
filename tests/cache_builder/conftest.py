"""A data root to change and its cache; servers, started once a test run, with places that are each test's own."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from signprep.cache_builder.remote import storage
from tests.cache_builder.changed_data import update
from tests.cache_builder.servers import CREDENTIALS, make_bucket, s3_server, sftp_server

BUCKET = "team"


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the data to change."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@pytest.fixture
def out(root: Path, tmp_path: Path) -> Path:
    """Its cache: 12 clips in shards of 5, so that the last one is not full."""
    update(root, tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        make_bucket(endpoint, BUCKET)
        yield endpoint


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of this test's own in a bucket, reached by the environment as users reach theirs."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    fsspec.filesystem("s3").clear_instance_cache()  # one of another test has that one's keys
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/수어 a.zarr"


@pytest.fixture(scope="session")
def sftp_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with sftp_server(tmp_path_factory.mktemp("sshd")) as url_and_home:
        yield url_and_home


@pytest.fixture
def sftp_url(sftp_root: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url, home = sftp_root
    monkeypatch.setenv("HOME", str(home))
    return f"{url}{tmp_path}/served/수어 a.zarr"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_PAUSE_SECONDS", 0.01)
