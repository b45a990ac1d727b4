"""Training steps on cores that another program uses too: how long OpenMP's threads may spin.

A process trains EfficientX3D-XS on all cores, alone and beside a copy of it that does the same without end. libgomp's
own default is held against what signprep's commands set. Without contention the second process would take half.
"""

import os
import signal
import statistics
import subprocess
import sys
import time

import signprep.training.runtime.torchvision_operators  # noqa: F401

import torch

from benchmarks._report import Bar, chart, print_machine, print_table
from benchmarks._size import Size
from signprep.pipeline.cli import SPIN_COUNT
from signprep.training.model_spec import build_model, channels_last, model_spec

LIBGOMP_SPIN_COUNT = 300_000
"""Of libgomp, where neither OMP_WAIT_POLICY nor GOMP_SPINCOUNT is set and there are cores for all threads."""
BATCH = 8


def run(size: Size) -> None:
    """Print clips/s of both, alone and beside another process."""
    print_machine(["torch"])
    num_steps, num_rounds = size.pick((1, 1), (4, 1), (6, 3))
    side = size.pick(32, 64, 64)
    ways = {"libgomp's own spinning": LIBGOMP_SPIN_COUNT, "signprep's": SPIN_COUNT}
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(num_rounds):
        for name, count in ways.items():
            for shared, rate in zip((False, True), measured(count, num_steps, side), strict=True):
                found.setdefault((name, shared), []).append(rate)
    rates = {key: statistics.median(values) for key, values in found.items()}
    rows = [("clips/s of training", "alone", "beside another", "beside / alone")]
    for name in ways:
        alone, beside = rates[name, False], rates[name, True]
        rows.append((name, f"{alone:.1f}", f"{beside:.1f}", f"{beside / alone:.2f}"))
    print_table(rows)
    bars = [Bar(name=name, value=rates[name, True], ours=name == "signprep's") for name in ways]
    chart("Training beside another training, on the same cores", "clips/s", bars, more_is_better=True)


def measured(spin_count: int, num_steps: int, side: int) -> tuple[float, float]:
    """Return clips/s of a process of its own, alone and beside another one."""
    environment = os.environ | {"GOMP_SPINCOUNT": str(spin_count)}
    command = [sys.executable, "-m", "benchmarks.shared_cores", str(num_steps), str(side)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    alone, beside = map(float, done.stdout.split())
    return alone, beside


def alone_and_beside(num_steps: int, side: int) -> tuple[float, float]:
    """Return clips/s of this process, alone and beside a copy of it that trains without end.

    The copy is made before anything is computed: threads of OpenMP do not live on in a copy.
    """
    asked, ask = os.pipe()
    begun, tell = os.pipe()
    us, other = os.getpid(), os.fork()
    if other == 0:
        os.close(ask)
        if os.read(asked, 1):
            train(1, side)
            os.write(tell, b".")
            while os.getppid() == us:
                train(100, side)
        os._exit(0)
    os.close(tell)
    try:
        alone = train(num_steps, side)
        os.write(ask, b".")
        os.read(begun, 1)
        return alone, train(num_steps, side)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def train(num_steps: int, side: int) -> float:
    """Return clips/s of so many steps on pictures of `side` pixels, after one step that does not count."""
    torch.manual_seed(0)
    model = channels_last(build_model(model_spec("efficient_x3d_xs", num_frames=8, crop_size=side), 5)).train()
    clips = torch.randn(BATCH, 3, 8, side, side).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    started = 0.0
    for number in range(num_steps + 1):
        if number == 1:
            started = time.perf_counter()
        optimizer.zero_grad()
        model(clips).sum().backward()
        optimizer.step()
    return BATCH * num_steps / (time.perf_counter() - started)


if __name__ == "__main__":
    print(*alone_and_beside(int(sys.argv[1]), int(sys.argv[2])))
