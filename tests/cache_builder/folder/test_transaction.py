"""The right to change a cache where the file system, another process, or a killed one is in the way."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.folder.transaction import changed_cache
from signprep.pipeline.errors import CacheError, CacheIncompleteError
from tests.cache_builder.made_caches import make_cache

fcntl = pytest.importorskip("fcntl")


def failing(code: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSYS, "its file system has no locks"),
        (errno.ENOLCK, "its file system has no locks"),
        (errno.EOPNOTSUPP, "its file system has no locks"),
        (errno.EACCES, "another build-cache is writing it"),  # what NFS says of a lock that is held
        (errno.EAGAIN, "another build-cache is writing it"),
    ],
)
def test_a_file_system_without_locks_is_refused_and_never_replaced_by_a_file_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, told: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(code))
    with pytest.raises(CacheError, match=told), changed_cache(tmp_path / "c.zarr", "merge"):
        pytest.fail("the lock was held")
    monkeypatch.undo()
    with changed_cache(tmp_path / "c.zarr", "merge"):
        pass


def test_a_finished_cache_has_no_lock_file(tmp_path: Path) -> None:
    with changed_cache(tmp_path / "c.zarr", "merge") as change:
        (change.root / "manifest.json").write_text("{}")
        with pytest.raises(CacheError, match="another build-cache"), changed_cache(tmp_path / "c.zarr", "merge"):
            pytest.fail("two have the lock")
    assert [path.name for path in (tmp_path / "c.zarr").iterdir()] == ["manifest.json"]


def test_a_commit_that_an_older_version_was_killed_in_is_ended_by_any_change(tmp_path: Path) -> None:
    root = make_cache(tmp_path / "c.zarr", range(8)).path
    staged = root / ".build" / "staged"
    staged.mkdir(parents=True)
    (root / "manifest.json").rename(staged / "manifest.json")
    (root / ".build" / "commit.json").write_text('{"deleted": ["clips/c/9/0/0/0"]}')
    with pytest.raises(CacheIncompleteError, match="the command that makes or changes it is at work, or was stopped"):
        open_cache(root)
    with changed_cache(root, "compact", "digest") as change:
        assert change.ended_report() is None
    assert verify_cache(root) == [] and not list(root.glob(".*"))


def test_what_a_killed_process_was_writing_is_gone_after_the_next_change(tmp_path: Path) -> None:
    torn = tmp_path / "c.zarr" / "..synced.json.a9f20c37aefa.part"
    (tmp_path / "c.zarr" / ".build").mkdir(parents=True)
    torn.write_bytes(b"{")
    with changed_cache(tmp_path / "c.zarr", "merge"):
        assert not torn.exists()
