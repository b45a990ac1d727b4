"""A cache whose data change, and how it compares with a new build."""

from pathlib import Path

from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import BuildResult, build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit.verify import verify_cache
from signprep.pipeline.cli import cli
from tests.conftest import plan_of, write_label
from tests.generated_videos import write_video

WORD1, WORD2 = "NIA_SL_WORD0001_REAL", "NIA_SL_WORD0002_REAL"


def update(root: Path, out: Path) -> BuildResult:
    return build(plan_of(root, clips_per_shard=5), out, RunOptions(workers=1))


def add_video(root: Path, name: str, gloss: str, first_number: int) -> None:
    write_video(root / "video" / f"{name}.mp4", 30, first_number=first_number)
    write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)


def files(out: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of every file of a cache."""
    paths = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def clips_by_segment(out: Path) -> dict[str, bytes]:
    cache = open_cache(out)
    names = cache.index["segment_id"].to_pylist()
    return {names[p]: cache.read([int(p)])[0].tobytes() for p in cache.positions()}


def assert_same_clips_as_a_new_build(root: Path, out: Path, tmp_path: Path) -> None:
    update(root, tmp_path / "new.zarr")
    assert clips_by_segment(out) == clips_by_segment(tmp_path / "new.zarr")
    cache, new = open_cache(out), open_cache(tmp_path / "new.zarr")
    assert cache.index["position"].to_pylist() == list(range(len(cache)))
    glosses, labels = cache.vocabulary.glosses, cache.labels()
    assert set(glosses) == set(new.vocabulary.glosses)
    for position in cache.positions():
        assert glosses[labels[position]] == cache.index["gloss"][int(position)].as_py()
    assert verify_cache(out, deep=True) == []


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output
