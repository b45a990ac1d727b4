"""Builds on real Dask clusters of processes on loopback, and workers that are killed, there and here."""

import os
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.building import cluster as module
from signprep.cache_builder.building import workers as crew
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.cluster import Cluster, WorkerRequirements
from signprep.cache_builder.building.plan import BuildPlan
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheError, DecodeError, SignprepError
from signprep.pipeline.runtime.installation import install_extras
from tests.cache_builder.building.clusters import DaskCluster, dask_cluster
from tests.cache_builder.servers import free_port
from tests.conftest import plan_of, write_label
from tests.generated_videos import write_video
from tests.waiting import HANG_SECONDS, Hold, until

SPEC = ClipSpec(num_frames=16, size=128)


@pytest.fixture(scope="module")
def long_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 clips of 16 videos, for 16 shards: there is always one to be interrupted."""
    root = tmp_path_factory.mktemp("long") / "data"
    for number in range(16):
        name = f"NIA_SL_WORD{number % 4 + 1:04d}_REAL{number // 4 + 1:02d}_F"
        write_video(root / "video" / f"{name}.mp4", 30, first_number=30 * number)
        spans = [(0.3 * k, 0.3 * k + 0.3, ("왼쪽", "오른쪽")[k % 2]) for k in range(3)]
        write_label(root / "label" / f"{name}_morpheme.json", spans, duration=1.0)
    return root


@pytest.fixture(scope="module")
def plan(long_root: Path) -> BuildPlan:
    return plan_of(long_root, SPEC, clips_per_shard=3)


@pytest.fixture(scope="module")
def local(plan: BuildPlan, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """What a build here gives."""
    build(plan, tmp_path_factory.mktemp("local") / "c.zarr", RunOptions(workers=1))
    return open_cache(tmp_path_factory.getbasetemp() / "local0" / "c.zarr")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[DaskCluster]:
    with dask_cluster() as cluster:
        yield cluster


def dask(cluster: DaskCluster) -> Cluster:
    return Cluster(backend="dask", scheduler=cluster.address)


class BuildThread(threading.Thread):
    """A build that goes on while the test does something to it; `join` raises what it raised."""

    def __init__(self, plan: BuildPlan, out: Path, **options: object) -> None:
        super().__init__()
        self._build = lambda: build(plan, out, RunOptions(**options))  # type: ignore[arg-type]
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._build()
        except BaseException as error:
            self._error = error

    def join(self, timeout: float | None = HANG_SECONDS) -> None:
        super().join(timeout)
        assert not self.is_alive(), "the build hangs"
        if self._error is not None:
            raise self._error


def parts(out: Path) -> dict[str, int]:
    """Return the inode of each complete shard's part."""
    return {path.name: path.stat().st_ino for path in out.glob(".build/[0-9]*.parquet")}


def shards(out: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(out)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in out.glob("clips/c/*/0/0/0")
    }


def test_two_dask_workers_build_what_a_build_here_gives(
    plan: BuildPlan, local: Cache, two_workers: DaskCluster, tmp_path: Path
) -> None:
    out, told = tmp_path / "c.zarr", []
    report = build(plan, out, RunOptions(cluster=dask(two_workers), progress=told.append))
    assert report.num_clips == 48 and report.num_failed == 0 and told[-1] == 48
    assert min(two_workers.num_tasks()) > 0
    assert open_cache(out).fingerprint == local.fingerprint and verify_cache(out, deep=True) == []
    assert not (out / ".build").exists()
    assert build(plan, out, RunOptions(cluster=dask(two_workers))).num_reused == 48


@pytest.mark.parametrize("after", [2, *(pytest.param(after, marks=pytest.mark.slow) for after in (0, 1, 3, 4))])
def test_a_dask_worker_killed_in_the_middle_loses_its_own_shard_only(
    plan: BuildPlan, local: Cache, tmp_path: Path, after: int
) -> None:
    out = tmp_path / "c.zarr"
    with Hold(tmp_path / "hold", after=after) as hold, dask_cluster(environment=hold.environment) as cluster:
        running = BuildThread(plan, out, cluster=dask(cluster))
        until(lambda: cluster.workers[0].pid in hold.held(), alive=running.is_alive)
        finished = [f"clips/c/{int(name.split('.')[0])}/0/0/0" for name in parts(out)]
        assert len(finished) >= after
        before = shards(out)
        cluster.workers[0].kill()
        hold.let_go()
        running.join()
        found = shards(out)
    assert {name: before[name] for name in finished} == {name: found[name] for name in finished}
    assert open_cache(out).fingerprint == local.fingerprint and verify_cache(out, deep=True) == []


def local_build(long_root: Path, out: Path, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from signprep.pipeline.cli import main; main()", "build-cache", "--workers", "2"]
    options = ["--data-root", long_root, "--out", out, "--frames", "16", "--size", "128"]
    return subprocess.Popen([*command, *map(str, options)], stderr=subprocess.PIPE, text=True, env=environment)


def test_a_build_here_goes_on_when_a_worker_is_killed(long_root: Path, local: Cache, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    with Hold(tmp_path / "hold", after=1) as hold:
        process = local_build(long_root, out, hold.environment)
        until(hold.held, alive=lambda: process.poll() is None)
        os.kill(hold.held()[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert len(open_cache(out)) == 48 and verify_cache(out, deep=True) == []


def test_workers_that_are_always_killed_are_one_line_and_the_build_goes_on_later(
    long_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    process = local_build(long_root, out, Hold(tmp_path / "hold", dies=True).environment)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    lines = [line for line in errors.splitlines() if not line.startswith(("Building:", "read as "))]
    assert process.returncode == 1 and len(lines) == 1, errors
    assert "most likely because memory ran out" in lines[0] and "the same command goes on" in lines[0]
    again = local_build(long_root, out)
    again.communicate(timeout=HANG_SECONDS)
    assert again.returncode == 0 and verify_cache(out, deep=True) == []


def test_shards_that_the_scheduler_gives_up_are_begun_again(plan: BuildPlan, local: Cache, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    with Hold(tmp_path / "hold") as hold:
        environment = {**hold.environment, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        with dask_cluster(environment=environment) as cluster:
            running = BuildThread(plan, out, cluster=dask(cluster))
            until(lambda: cluster.workers[0].pid in hold.held(), alive=running.is_alive)
            cluster.workers[0].kill()
            hold.let_go()
            running.join()
    assert open_cache(out).fingerprint == local.fingerprint and verify_cache(out) == []


def test_a_cluster_that_has_lost_all_its_workers_is_not_waited_for_without_end(
    plan: BuildPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NO_WORKER_SECONDS", 0.5)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.5)
    out = tmp_path / "c.zarr"
    with Hold(tmp_path / "hold", after=1) as hold, dask_cluster(1, environment=hold.environment) as cluster:
        running = BuildThread(plan, out, cluster=dask(cluster))
        until(hold.held, alive=running.is_alive)
        cluster.workers[0].kill()
        with pytest.raises(CacheError, match=r"has had no workers for .* the same command goes on"):
            running.join()


def test_a_scheduler_that_dies_is_one_line_and_the_build_goes_on_elsewhere(
    plan: BuildPlan, local: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    with Hold(tmp_path / "hold", after=1) as hold, dask_cluster(1, environment=hold.environment) as cluster:
        running = BuildThread(plan, out, cluster=dask(cluster))
        until(hold.held, alive=running.is_alive)
        cluster.scheduler.kill()
        with pytest.raises(CacheError, match="the connection was lost; the same command goes on"):
            running.join()
    assert build(plan, out, RunOptions(workers=1)).num_reused > 0
    assert open_cache(out).fingerprint == local.fingerprint


def test_workers_without_signprep_are_told_of(plan: BuildPlan, tmp_path: Path) -> None:
    """Their Python has every package but signprep: what an editable installation finds is not on its path."""
    venv.create(tmp_path / "bare")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    [site] = (tmp_path / "bare").glob("lib/python*/site-packages")
    (site / "all.pth").write_text("\n".join(packages))
    python = tmp_path / "bare" / "bin" / "python"
    has_signprep = subprocess.run([python, "-c", "import signprep.pipeline"], stderr=subprocess.DEVNULL).returncode == 0
    if has_signprep:
        pytest.skip("signprep is installed among the other packages")
    told = pytest.raises(CacheError, match=r"a worker cannot run signprep .*No module named 'signprep'")
    with dask_cluster(1, python=str(python)) as cluster, told:
        build(plan, tmp_path / "c.zarr", RunOptions(cluster=dask(cluster)))


def test_a_worker_that_cannot_see_the_data_or_has_other_versions_says_where_it_is(tmp_path: Path) -> None:
    def refused(needs: WorkerRequirements) -> str:
        result = module._elsewhere(needs, lambda task: task, "built")
        assert isinstance(result, CacheError)
        return str(result)

    assert module._elsewhere(WorkerRequirements(paths=(tmp_path,), versions={}), lambda task: task, "built") == "built"
    host = module.socket.gethostname()
    message = refused(WorkerRequirements(paths=(tmp_path, tmp_path / "aihub" / "a.mp4"), versions={}))
    assert message.startswith(f"{tmp_path}/aihub/a.mp4: is not there") and message.endswith(f"[on {host}]")
    assert "a worker has numcodecs" in refused(WorkerRequirements(paths=(), versions={"numcodecs": "0.0"}))
    assert "a worker has decord3 None, this build 1.0" in refused(
        WorkerRequirements(paths=(), versions={"decord3": "1.0"})
    )


def test_what_a_build_needs_elsewhere_is_a_video_of_each_root_its_own_folder_and_equal_versions(
    plan: BuildPlan, long_root: Path, tmp_path: Path
) -> None:
    needs = crew.worker_requirements(plan, tmp_path)
    assert needs.paths == (long_root / plan.videos()[0], tmp_path)
    assert {"av", "numcodecs", "signprep", "zarr"} <= needs.versions.keys()
    needs.check()


def test_with_strict_the_first_clip_that_fails_ends_a_build_on_a_cluster(
    two_workers: DaskCluster, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / "data" / f"{name}.mp4", 30)
        write_label(tmp_path / "data" / f"{name}_morpheme.json", [(0.2, 0.8, "왼쪽")], duration=1.0)
    (tmp_path / "data" / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError, match=r"b\.mp4.*\[on "):
        build(plan_of(tmp_path / "data"), tmp_path / "c.zarr", RunOptions(cluster=dask(two_workers), strict=True))


def failure(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["build-cache", *map(str, arguments)])
    if isinstance(result.exception, SignprepError):
        return str(result.exception)
    assert result.exit_code == 2, result
    return result.output


def test_a_cluster_that_cannot_be_is_one_line_at_once(
    long_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever waits for an answer of the cluster comes after it.
    monkeypatch.setattr(module, "connected", None)
    monkeypatch.setattr(crew, "connected", None)
    where = ("--data-root", long_root, "--out", tmp_path / "c.zarr")
    nobody = f"tcp://127.0.0.1:{free_port()}"
    message = failure(*where, "--backend", "dask", "--scheduler", nobody)
    assert message.startswith(f"--scheduler {nobody}: nobody answers there")
    assert "is no address" in failure(*where, "--backend", "dask", "--scheduler", "tcp://head")
    assert "is no scheduler file" in failure(*where, "--backend", "dask", "--scheduler", tmp_path / "no.json")
    assert "needs --scheduler" in failure(*where, "--backend", "dask")
    assert "goes with --backend dask" in failure(*where, "--scheduler", nobody)
    assert "a cluster has its own" in failure(*where, "--backend", "dask", "--scheduler", nobody, "--workers", "2")
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_driver_that_is_not_installed_is_named(
    backend: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signprep.pipeline.runtime.installation.find_spec", lambda _: None)
    where = ("--data-root", tmp_path, "--out", tmp_path / "c.zarr")
    message = failure(*where, "--backend", backend, "--scheduler", "tcp://127.0.0.1:1")
    assert f"needs {package}, not installed here" in message and install_extras(backend) in message


def test_a_scheduler_without_workers_is_told_of(
    plan: BuildPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WORKER_SECONDS", 0.5)
    with (
        dask_cluster(0) as cluster,
        pytest.raises(CacheError, match=r"has no workers after .* start some: dask worker"),
    ):
        build(plan, tmp_path / "c.zarr", RunOptions(cluster=dask(cluster)))
