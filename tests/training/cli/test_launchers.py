"""Several processes of one run that torchrun or srun has started, all at once."""

import csv
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from signprep.training.config import Devices
from signprep.training.runtime.launch import Launch
from signprep.training.runtime.run_folder import RunOptions
from tests.conftest import write_data_root
from tests.waiting import HANG_SECONDS

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2",
    "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip


@pytest.mark.parametrize(("by", "environment"), [("torchrun", TORCHRUN), ("srun", SRUN)])
def test_a_process_knows_its_place(by: str, environment: Mapping[str, str]) -> None:
    launch = Launch.of_environment(environment)
    assert launch == Launch(by=by, rank=9, local_rank=1, per_node=8, num_nodes=2)
    assert not launch.is_first
    first = {"RANK": "0", "SLURM_PROCID": "0"}
    assert Launch.of_environment({**environment, **first}).is_first


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
        ({**SRUN, "SLURM_JOB_NAME": "interactive"}, True),
    ],
)
def test_without_a_launcher_lightning_starts_the_others(environment: Mapping[str, str], is_first: bool) -> None:
    launch = Launch.of_environment(environment)
    assert launch.by is None and launch.is_first is is_first


def test_devices_are_those_that_processes_were_started_for() -> None:
    launch, lines = Launch.of_environment(TORCHRUN), list[str]()
    assert RunOptions().available_devices(launch, lines.append) == Devices(processes=8, num_nodes=2)
    assert RunOptions(devices=8, num_nodes=2).available_devices(launch, lines.append) == Devices(
        processes=8, num_nodes=2
    )
    with pytest.raises(Exception, match="torchrun has started 8 processes on each of 2 machines"):
        RunOptions(devices=4).available_devices(launch, lines.append)


def arguments(data: Path, out: Path) -> list[str]:
    small = ["--num-frames", "2", "--size", "32", "--epochs", "1", "--batch-size", "3"]
    also = ["--export-mobile-model", "--logger", "csv"]
    return ["train", "--data-root", str(data), "--output-dir", str(out), *small, *also]


def started(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Run commands side by side to their ends, which must be good ones; return all that they print."""
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    said = [process.communicate(timeout=HANG_SECONDS) for process in processes]
    assert all(process.returncode == 0 for process in processes), said
    return "".join(out for out, _ in said), "".join(err for _, err in said)


def check_one_run(stdout: str, stderr: str, out: Path) -> None:
    """Check that one cache was built, by one process, and that one process spoke and exported."""
    assert len(re.findall(r"built 12 clips", stderr)) <= 1
    assert len(list((out / "caches").iterdir())) == 1
    assert stdout.count("best validation accuracy") == 1 and stderr.count("classes: 2") == 1
    assert "on CPU, 2 processes" in stderr
    run = out / "sign_language_classification"
    assert {path.name for path in run.iterdir()} > {"checkpoints", "run.json", "mobile.pt"}
    with (run / "csv_logs" / "metrics.csv").open(encoding="utf-8") as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["step/loss"]]
    assert steps and len(set(steps)) == len(steps), "one process logs"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_root(tmp_path / "수어 영상")


@pytest.mark.slow
def test_torchrun_starts_one_run(data: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = [*torchrun, str(Path(sys.executable).with_name("signprep")), *arguments(data, tmp_path / "out")]
    check_one_run(*started([command], [{}]), tmp_path / "out")
    _, said = started([[*command, "--resume", "--epochs", "2"]], [{}])
    assert said.count("going on from") == 1


@pytest.mark.slow
def test_srun_starts_one_run(data: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    job = {
        "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    ranks = [{**job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    command = [str(Path(sys.executable).with_name("signprep")), *arguments(data, tmp_path / "out")]
    check_one_run(*started([command] * 2, ranks), tmp_path / "out")
    _, said = started([[*command, "--resume", "--epochs", "2"]] * 2, ranks)
    assert said.count("going on from") == 1
