"""Training from a cache beside training from memory; how long it waits for data; whether its memory grows.

Both ways are `signprep.training.run.train` as it is, on the same model, batches and number of clips; the second one is
handed random clips that are in memory already. They take turns; medians of their epochs, the first left out. What a GPU
does is another benchmark, `gpu`.
"""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_table
from benchmarks._signing import signing_cache
from benchmarks._size import Size
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.options import SampleSpec
from signprep.training.callbacks.progress import Throughput
from signprep.training.callbacks.record import EpochTable
from signprep.training.config import Devices, TrainConfig
from signprep.training.loader import Batch, ClipLoader
from signprep.training.model_spec import ModelSpec, model_spec
from signprep.training.run import train
from signprep.training.transforms import num_draws

BATCH = 8


def run(size: Size) -> None:
    toy = size is Size.TOY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Small videos: the clips that are cut from them, of 16 x 256 x 256, are what counts here.
        sample = SampleSpec(words=2, signers=3, frame_size=(160, 96))
        if not toy:
            sample = SampleSpec(words=5, signers=6, takes=size.pick(1, 1, 4), frame_size=(640, 360))
        cache = signing_cache(sample, ClipSpec())
        print_machine(["torch", "lightning", "numcodecs"])
        shape = {"num_frames": 2, "crop_size": 32} if toy else {}
        # First: a process that has held more before could grow unseen.
        growth(cache, folder, epochs=size.pick(4, 6, 20))
        against_memory(cache, folder, model_spec("efficient_x3d_xs", **shape), num_rounds=size.pick(1, 2, 3))


def epochs_of(
    cache: Cache,
    folder: Path,
    spec: ModelSpec,
    config: TrainConfig,
    devices: Devices = Devices(),
) -> list[tuple[float, float, float]]:
    """Train and return seconds, clips and seconds of waiting of each epoch's steps."""
    found = []
    original = Throughput.on_train_batch_end

    def recording(self: Throughput, *arguments: Any) -> None:
        before = self.total_seconds, self.total_clips, self.total_wait_seconds
        original(self, *arguments)
        after = self.total_seconds, self.total_clips, self.total_wait_seconds
        if after[0] > before[0]:
            found.append(tuple(new - old for new, old in zip(after, before, strict=True)))

    with mock.patch.object(Throughput, "on_train_batch_end", recording):
        train(cache, spec, config, folder / "run", devices=devices, overwrite=True, log=lambda line: None)
    return found  # type: ignore[return-value]


@contextmanager
def clips_in_memory(cache: Cache, spec: ModelSpec) -> Iterator[None]:
    """Have loaders give random clips that are in memory, in place of those of the cache."""
    generator = np.random.default_rng(0)
    shape = (BATCH, *cache.clip_spec.clip_shape)
    clips = [
        torch.from_numpy(generator.integers(16, 236, shape, dtype=np.uint8)) for _ in range(-(-len(cache) // BATCH))
    ]
    draws = torch.rand(BATCH, num_draws(spec.num_frames))

    def next_batch(self: ClipLoader) -> Batch:
        first, last = self._plan.bounds(self.step, rank=self.rank)
        batch = Batch(
            clips=clips[self.step % len(clips)][: last - first],
            labels=torch.arange(last - first) % len(cache.vocabulary),
            positions=torch.arange(first, last),
            draws=draws[: last - first],
            mixing_seed=0,
        )
        self.step += 1
        if self.step == len(self):
            self.epoch, self.step = self.epoch + 1, 0
        return batch

    with mock.patch.object(ClipLoader, "next_batch", next_batch):
        yield


def against_memory(cache: Cache, folder: Path, spec: ModelSpec, num_rounds: int) -> None:
    config = TrainConfig(epochs=2 if num_rounds < 3 else 4, batch_size=BATCH)
    cached: list[tuple[float, float, float]] = []
    in_memory: list[tuple[float, float, float]] = []
    for _ in range(num_rounds):
        cached += epochs_of(cache, folder, spec, config)[1:]
        with clips_in_memory(cache, spec):
            in_memory += epochs_of(cache, folder, spec, config)[1:]
    seconds, memory_seconds = (statistics.median(epoch[0] for epoch in way) for way in (cached, in_memory))
    waits = [100 * epoch[2] / epoch[0] for epoch in cached]
    print_table(
        [
            (f"{spec.name}, {spec.num_frames} x {spec.crop_size}, CPU", "s an epoch", "clips/s", "data wait"),
            ("from the cache", f"{seconds:.2f}", f"{cached[0][1] / seconds:.1f}", f"{statistics.median(waits):.2f} %"),
            ("random clips in memory", f"{memory_seconds:.2f}", f"{in_memory[0][1] / memory_seconds:.1f}", ""),
        ]
    )
    figure("train.wait", statistics.median(waits) / 100)
    figure("train.memory", seconds / memory_seconds)
    chart(
        f"Training {spec.name} on this CPU",
        "seconds an epoch",
        [
            Bar(name="from the cache", value=seconds, ours=True),
            Bar(name="random clips in memory", value=memory_seconds, part=True, note="nothing is read"),
        ],
    )
    print_line(f"epoch from the cache / from memory: {seconds / memory_seconds:.3f}; longest wait {max(waits):.2f} %")


def growth(cache: Cache, folder: Path, epochs: int) -> None:
    """Print the memory held after each epoch of a small model."""
    held: list[float] = []
    original = EpochTable.on_train_epoch_end

    def recording(self: EpochTable, *arguments: Any) -> None:
        original(self, *arguments)
        held.append(resident_mib())

    spec = model_spec("efficient_x3d_xs", num_frames=4, crop_size=64)
    with mock.patch.object(EpochTable, "on_train_epoch_end", recording):
        config = TrainConfig(epochs=epochs, batch_size=BATCH)
        train(cache, spec, config, folder / "run", overwrite=True, log=lambda line: None)
    settled = held[min(2, epochs - 1)]
    print_line(
        f"memory held after epoch 3: {settled:.0f} MiB, after epoch {epochs}: {held[-1]:.0f} MiB "
        f"({100 * (held[-1] / settled - 1):+.1f} %), at most {100 * (max(held[2:]) / settled - 1):+.1f} %"
    )


def resident_mib() -> float:
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
