"""Caches that workers build behind a URL: what is there then, what is built again, and who is told what."""

import itertools
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from joblib.externals.loky import get_reusable_executor

from signprep.cache_builder import open_cache
from signprep.cache_builder.building import build as module
from signprep.cache_builder.building import encode_shard
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.encode_shard import ShardResult, ShardTask
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.options import location_of
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.published import BUILDING, OBJECTS, open_published
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheError, SignprepError
from tests.cache_builder.building.clusters import dask_cluster
from tests.cache_builder.made_caches import make_cache
from tests.conftest import CLIP_SPEC, plan_of, write_label
from tests.generated_videos import write_video

HERE = RunOptions(workers=1)


def fingerprint(url: str) -> str:
    return open_published(location_of(url)).manifest.fingerprint


@pytest.fixture
def own_root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may change."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


def test_a_two_worker_dask_build_in_a_bucket_is_the_cache_that_a_local_build_gives(
    cache: Cache, data_root: Path, s3_url: str, tmp_path: Path
) -> None:
    told: list[int] = []
    with dask_cluster() as cluster:  # its workers take the bucket's keys from their environment
        run = RunOptions(cluster=Cluster(backend="dask", scheduler=cluster.address), progress=told.append)
        report = build(plan_of(data_root), s3_url, run)
    assert (report.num_clips, report.num_failed, report.num_reused) == (12, 0, 0) and told[-1] == 12
    assert fingerprint(s3_url) == cache.fingerprint
    remote = RemoteFolder(s3_url)
    assert remote.sizes(BUILDING) == {}
    assert remote.sizes(OBJECTS) == {e.hash: e.num_bytes for e in cache.manifest.objects.values()}
    pull(s3_url, tmp_path / "theirs.zarr")
    assert verify_cache(tmp_path / "theirs.zarr", deep=True) == []


@pytest.mark.parametrize("place", ["s3", "sftp"])
def test_processes_of_this_machine_build_behind_a_url_too(
    cache: Cache, data_root: Path, place: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{place}_url")
    get_reusable_executor().shutdown()  # processes of an earlier build have its environment, with other keys
    assert build(plan_of(data_root), url, RunOptions(workers=2)).num_reused == 0
    assert fingerprint(url) == cache.fingerprint
    again = build(plan_of(data_root), url, RunOptions(workers=2))
    assert again.num_reused == again.num_clips == 12 and again.splits == {"train": 8, "val": 4}


def test_a_build_that_was_stopped_goes_on_with_what_is_there(
    cache: Cache, data_root: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, built = module.build_shard, itertools.count()

    def stops_at_the_third(task: ShardTask) -> ShardResult:
        if next(built) == 2:
            raise KeyboardInterrupt
        return whole(task)

    monkeypatch.setattr(module, "build_shard", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build(plan_of(data_root), s3_url, HERE)
    with pytest.raises(CacheError, match="no finished cache"):
        open_published(s3_url)
    remote = RemoteFolder(s3_url)
    assert len(remote.sizes(OBJECTS)) == 2
    assert build(plan_of(data_root), s3_url, HERE).num_reused == 8
    assert fingerprint(s3_url) == cache.fingerprint and remote.sizes(BUILDING) == {}


def test_a_task_that_is_run_again_finds_its_part(data_root: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module.build_shard
    results: list[tuple[ShardResult, ShardResult]] = []

    def twice(task: ShardTask) -> ShardResult:
        first = whole(task)
        with monkeypatch.context() as patch:
            patch.setattr(encode_shard, "encode_shard", None)
            results.append((first, whole(task)))
        return first

    monkeypatch.setattr(module, "build_shard", twice)
    build(plan_of(data_root), s3_url, HERE)
    assert len(results) == 3 and all(first == second for first, second in results)


def test_changed_data_cost_what_changed_as_they_do_in_a_folder(own_root: Path, s3_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "c.zarr"
    build(plan_of(own_root, clips_per_shard=8), s3_url, HERE)
    build(plan_of(own_root, clips_per_shard=8), folder, RunOptions(workers=1))

    def both(**expected: int) -> None:
        plan = plan_of(own_root, clips_per_shard=8)
        reports = build(plan, s3_url, HERE), build(plan, folder, RunOptions(workers=1))
        assert reports[0] == reports[1]
        assert {name: getattr(reports[0], name) for name in expected} == expected
        assert fingerprint(s3_url) == open_cache(folder).fingerprint

    both(num_reused=12, num_changed=0, num_removed=0)
    label = own_root / "label" / "NIA_SL_WORD0001_REAL01_F_morpheme.json"
    write_label(label, [(0.2, 0.8, "위")], duration=1.0)
    both(num_clips=12, num_reused=12, num_changed=1)
    # A new clip goes into the last shard, behind its four; and one video is replaced by another.
    write_video(own_root / "video" / "NIA_SL_WORD0003_REAL01_F.mp4", 30, first_number=600)
    write_label(own_root / "label" / "NIA_SL_WORD0003_REAL01_F_morpheme.json", [(0.2, 0.8, "왼쪽")], duration=1.0)
    write_video(own_root / "video" / "NIA_SL_WORD0002_REAL02_L.mp4", 30, first_number=660)
    both(num_clips=13, num_reused=11, num_removed=1)
    pull(s3_url, tmp_path / "theirs.zarr")
    assert verify_cache(tmp_path / "theirs.zarr", deep=True) == []
    both(num_clips=13, num_reused=13)


def test_a_cache_that_was_pushed_is_brought_up_to_date_there(
    cache: Cache, own_root: Path, s3_url: str, tmp_path: Path
) -> None:
    build(plan_of(own_root), tmp_path / "mine.zarr", RunOptions(workers=1))
    push(tmp_path / "mine.zarr", s3_url)
    assert build(plan_of(own_root), s3_url, HERE).num_reused == 12
    assert fingerprint(s3_url) == cache.fingerprint


def test_clips_cut_in_another_way_are_refused_and_overwritten_when_asked(
    cache: Cache, data_root: Path, s3_url: str, tmp_path: Path
) -> None:
    make_cache(tmp_path / "other.zarr", range(30))
    push(tmp_path / "other.zarr", s3_url)
    with pytest.raises(CacheError, match="holds clips that were cut in another way"):
        build(plan_of(data_root), s3_url, HERE)
    build(plan_of(data_root), s3_url, HERE, overwrite=True)
    assert fingerprint(s3_url) == cache.fingerprint


def test_a_builder_that_is_late_to_publish_is_told(
    data_root: Path, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_cache(tmp_path / "other.zarr", range(30))
    whole = module.build_shard

    def meanwhile(task: ShardTask) -> ShardResult:
        if task.plan.number == 0:
            push(other.path, s3_url)
        return whole(task)

    monkeypatch.setattr(module, "build_shard", meanwhile)
    with pytest.raises(CacheError, match="somebody else has published there meanwhile"):
        build(plan_of(data_root), s3_url, HERE)
    assert fingerprint(s3_url) == other.fingerprint


def test_where_nothing_can_be_built_is_said_before_the_work(data_root: Path, s3_url: str, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="nothing can be built on a web server"):
        build(plan_of(data_root), "http://127.0.0.1:9/a.zarr", HERE)
    RemoteFolder(s3_url).upload(b"{}", "zarr.json")
    with pytest.raises(CacheError, match="holds a cache as a plain folder"):
        build(plan_of(data_root), s3_url, HERE)
    for number in range(2):
        (tmp_path / "none").mkdir(exist_ok=True)
        (tmp_path / "none" / f"{number}.mp4").write_bytes(b"no video")
        write_label(tmp_path / "none" / f"{number}_morpheme.json", [(0.2, 0.8, "왼쪽")])
    url = f"{s3_url.removesuffix('.zarr')} b.zarr"
    with pytest.raises(CacheError, match="none of the 2 clips could be built"):
        build(plan_of(tmp_path / "none"), url, HERE)
    assert RemoteFolder(url).sizes(BUILDING) == {}


def test_the_command_builds_where_the_url_says(cache: Cache, data_root: Path, s3_url: str) -> None:
    size = ("--frames", str(CLIP_SPEC.num_frames), "--size", str(CLIP_SPEC.size))

    def run(*more: str) -> str:
        result = CliRunner().invoke(cli, ["build-cache", "--data-root", str(data_root), "--out", s3_url, *size, *more])
        if isinstance(result.exception, SignprepError):
            return str(result.exception)
        assert result.exit_code == 0, result.output
        return result.output

    estimate = run("--dry-run")
    assert f"{s3_url}: 12 clips" in estimate and "are free" not in estimate
    assert f"{s3_url}: 12 clips (8 train, 4 val)" in run("--workers", "1", "--yes")
    assert fingerprint(s3_url) == cache.fingerprint
    assert "12 clips stayed as they were" in run("--workers", "1", "--yes")


def test_a_bucket_that_anybody_may_read_is_asked_about(
    data_root: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from signprep.cache_builder.remote import push as push_module
    from signprep.cache_builder.remote.push import Visibility

    monkeypatch.setattr(push_module, "visibility_of", lambda _: Visibility.EVERYBODY)
    result = CliRunner().invoke(cli, ["build-cache", "--data-root", str(data_root), "--out", s3_url])
    assert isinstance(result.exception, CacheError) and "anybody may read it" in str(result.exception)
    assert RemoteFolder(s3_url).sizes(OBJECTS) == {}
