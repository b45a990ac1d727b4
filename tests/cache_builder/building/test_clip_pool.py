"""Two people's builds share what they have in common, and a bad shelf costs time only."""

import functools
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from joblib.externals.loky import get_reusable_executor

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.clip_pool import ClipPool, settings_digest
from signprep.cache_builder.building.workers import PoolUse, RunOptions
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheError
from tests.conftest import CLIP_SPEC, plan_of, write_label
from tests.generated_videos import write_video

SMALL = ["--frames", str(CLIP_SPEC.num_frames), "--size", str(CLIP_SPEC.size), "--workers", "1"]


@functools.cache
def video_of(number: int) -> bytes:
    """Return a video, the same bytes each time: x264 rarely writes others of the same frames."""
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder) / "video.mp4", 30, first_number=30 * number).read_bytes()


def write_videos(root: Path, numbers: range, gloss: str = "왼쪽", prefix: str = "") -> Path:
    """Videos of known content, two clips each; their names are each data set's own."""
    for number in numbers:
        name = f"{prefix}NIA_SL_WORD{number + 1:04d}_REAL{number % 3 + 1:02d}_F"
        (root / "video").mkdir(parents=True, exist_ok=True)
        (root / "video" / f"{name}.mp4").write_bytes(video_of(number))
        spans = [(0.1, 0.4, gloss), (0.5, 0.9, "위")]
        write_label(root / "label" / f"{name}_morpheme.json", spans, duration=1.0)
    return root


def build_cache(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["build-cache", *SMALL, *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(params=["folder", "s3"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    get_reusable_executor().shutdown()  # processes of an earlier build have its environment, with other keys
    return str(tmp_path / "우리 shelf") if request.param == "folder" else request.getfixturevalue("s3_url") + "/shelf"


def test_clips_that_a_colleague_has_cut_are_not_cut_again(shelf: str, tmp_path: Path) -> None:
    mine, theirs = write_videos(tmp_path / "a", range(8)), write_videos(tmp_path / "b", range(5, 12), "오른쪽", "b_")
    first = build_cache("--data-root", mine, "--out", tmp_path / "a.zarr", "--shelf", shelf, "--yes")
    assert "taken from the clip pool" in first.output and ": 0 clips" in first.output
    second = build_cache("--data-root", theirs, "--out", tmp_path / "b.zarr", "--shelf", shelf, "--yes")
    assert ": 6 clips" in second.output
    build_cache("--data-root", theirs, "--out", tmp_path / "alone.zarr")
    assert open_cache(tmp_path / "b.zarr").fingerprint == open_cache(tmp_path / "alone.zarr").fingerprint
    assert verify_cache(tmp_path / "b.zarr", deep=True) == [] and not (tmp_path / "b.zarr" / ".build").exists()
    third = build_cache("--data-root", mine, "--out", tmp_path / "c.zarr", "--shelf", shelf, "--yes")
    assert ": 16 clips" in third.output


def test_videos_are_decoded_only_for_clips_that_nobody_has_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_videos(tmp_path / "a", range(6))
    use = PoolUse(location=tmp_path / "shelf")
    build(plan_of(root), tmp_path / "a.zarr", RunOptions(workers=1, pool=use))
    write_videos(root, range(6, 8))
    decoded = []
    from signprep.cache_builder.building import encode_shard as shard_task

    original = shard_task.extract_clips
    monkeypatch.setattr(
        shard_task,
        "extract_clips",
        lambda file, *args, **options: (decoded.append(1), original(file, *args, **options))[1],
    )
    again = PoolUse(location=tmp_path / "shelf")
    build(plan_of(root), tmp_path / "b.zarr", RunOptions(workers=1, pool=again))
    assert again.num_taken == 12 and len(decoded) == 2


def test_other_settings_share_nothing(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "a", range(3))
    for number, codec in enumerate(("lz4hc", "zstd")):
        use = PoolUse(location=tmp_path / "shelf")
        build(plan_of(root, codec=codec), tmp_path / f"{number}.zarr", RunOptions(workers=1, pool=use))
        assert use.num_taken == 0
    assert len(list((tmp_path / "shelf").iterdir())) == 2


def test_damaged_clips_of_a_shelf_are_cut_instead(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "a", range(4))
    build(plan_of(root), tmp_path / "a.zarr", RunOptions(workers=1, pool=PoolUse(location=tmp_path / "shelf")))
    bundles = sorted((tmp_path / "shelf").glob("*/clips/*"))
    data = bytearray(bundles[0].read_bytes())
    data[100] ^= 1
    bundles[0].write_bytes(data)
    bundles[1].unlink()
    use = PoolUse(location=tmp_path / "shelf")
    build(plan_of(root), tmp_path / "b.zarr", RunOptions(workers=1, pool=use))
    assert 0 < use.num_taken < 8
    assert open_cache(tmp_path / "b.zarr").fingerprint == open_cache(tmp_path / "a.zarr").fingerprint


def test_a_shelf_that_fails_in_the_middle_costs_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_videos(tmp_path / "a", range(4))

    def refuse(self: ClipPool, clips: object) -> None:
        raise CacheError("the disk is full")

    monkeypatch.setattr(ClipPool, "put", refuse)
    result = build_cache("--data-root", root, "--out", tmp_path / "a.zarr", "--shelf", tmp_path / "shelf")
    assert "could not be put there: the disk is full" in result.output
    assert len(open_cache(tmp_path / "a.zarr").positions()) == 8


def test_a_shelf_that_is_none_is_said_so_before_the_work(tmp_path: Path, s3_url: str) -> None:
    root = write_videos(tmp_path / "a", range(2))
    cases = [
        ("http://127.0.0.1:9/shelf", "web server"),
        ("s3://no-such-bucket/shelf", "bucket"),
        (tmp_path / "file", ""),
    ]
    (tmp_path / "file").write_text("mine")
    for shelf, message in cases:
        command = ["build-cache", *SMALL, "--data-root", str(root), "--out", str(tmp_path / "a.zarr"), "--yes"]
        result = CliRunner().invoke(cli, [*command, "--shelf", str(shelf)])
        assert result.exit_code == 1 and isinstance(result.exception, CacheError), (shelf, result.exception)
        assert message in str(result.exception)


def test_a_part_that_is_none_is_named(tmp_path: Path) -> None:
    root = write_videos(tmp_path / "a", range(2))
    plan = plan_of(root)
    parts = RemoteFolder(f"file://{tmp_path}/shelf/{settings_digest(plan.info)}")
    parts.upload(b"no parquet", "parts/evil.parquet")
    with pytest.raises(CacheError, match=r"evil\.parquet: is no part of a clip pool"):
        build(plan, tmp_path / "a.zarr", RunOptions(workers=1, pool=PoolUse(location=tmp_path / "shelf")))


@pytest.mark.parametrize("age", ["new", "older"])
def test_clips_of_another_bundle_are_cut_instead(tmp_path: Path, age: str) -> None:
    root, pool = write_videos(tmp_path / "a", range(4)), tmp_path / "pool"
    plan = plan_of(root, codec="none", clips_per_shard=4)  # all clips are of one size
    build(plan, tmp_path / "a.zarr", RunOptions(workers=1, pool=PoolUse(location=pool)))
    if age == "older":
        for part in pool.glob("*/parts/*"):
            pq.write_table(pq.read_table(part).drop_columns(["stored_crc32c"]), part)
    first, second = sorted(pool.glob("*/clips/*"))
    whole = PoolUse(location=pool)
    build(plan, tmp_path / "b.zarr", RunOptions(workers=1, pool=whole))
    shutil.copyfile(first, second)
    use = PoolUse(location=pool)
    build(plan, tmp_path / "c.zarr", RunOptions(workers=1, pool=use))
    assert (whole.num_taken, use.num_taken) == (8, 4)
    assert len({open_cache(tmp_path / f"{name}.zarr").fingerprint for name in "abc"}) == 1
