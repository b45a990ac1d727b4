"""How fast a GPU trains and is fed: parts of the benchmark of GPUs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from benchmarks._gpu import Bench, nothing
from benchmarks._report import print_line, print_table
from benchmarks.train import epochs_of
from signprep.pipeline.runtime.machine import usable_cores
from signprep.training.callbacks.averaging import update_average
from signprep.training.config import TrainConfig
from signprep.training.loader import Batch, ClipLoader
from signprep.training.model_spec import ModelSpec, model_spec
from signprep.training.transforms import ClipTransform, num_draws


@contextmanager
def batches_on_device(bench: Bench, spec: ModelSpec, batch_size: int) -> Iterator[None]:
    """Have training get the batches of an epoch that are on the device already, over and over."""
    choice, original = ClipTransform(spec).frame_choice, ClipLoader.next_batch
    loader = ClipLoader(
        cache=bench.cache, positions=bench.cache.positions("train"), batch_size=batch_size, shuffle=True,
        num_draws=num_draws(spec.num_frames), frame_chooser=choice,
    )  # fmt: skip
    batches = [batch.to(bench.device) for batch in loader]
    loader.close()

    def next_batch(self: ClipLoader) -> Batch:
        if not self.shuffle:
            return original(self)
        batch = batches[self.step % len(batches)]
        self.step += 1
        if self.step == len(self):
            self.epoch, self.step = self.epoch + 1, 0
        return batch

    with mock.patch.object(ClipLoader, "next_batch", next_batch):
        yield


def training(bench: Bench) -> None:
    """Clips a second of whole runs, from the cache and of batches that are on the device already."""
    rows = [("training by the defaults", "clips/s", "wait", "batches on the device, clips/s", "ratio")]
    batch_size = 2 if bench.toy else 8
    ways = {"": {}, ", --channels-last": {"channels_last": True}, ", --compile": {"compile": True}}
    if bench.toy:
        ways = {"": {}}
    for name in ("x3d_s",) if bench.toy else ("x3d_s", "slow_r50"):
        spec = bench.spec(name)
        for how, options in ways.items():
            config = TrainConfig(epochs=1 if bench.toy else 8, batch_size=batch_size, **options)  # type: ignore[arg-type]
            rates = []
            for in_place in (nothing(), batches_on_device(bench, spec, batch_size)):
                with in_place:
                    epochs = epochs_of(bench.cache, bench.folder, spec, config, bench.devices)
                seconds, clips, waited = (sum(values) for values in zip(*epochs[len(epochs) // 2 :], strict=True))
                rates.append((clips / seconds, 100 * waited / seconds))
            (own, wait), (bare, _) = rates
            rows.append((f"{name}{how}", f"{own:.1f}", f"{wait:.2f} %", f"{bare:.1f}", f"{own / bare:.3f}"))
    print_table(rows)


def averaging(bench: Bench) -> None:
    """The update of a moving average, beside Lightning's, which stays on the CPU and goes from tensor to tensor."""
    model, _ = bench.model("x3d_s")
    values = [*model.parameters(), *model.buffers()]
    averages = [value.detach().clone() for value in values]
    theirs = AveragedModel(model, torch.device("cpu"), get_ema_avg_fn(0.999), use_buffers=True)
    theirs.n_averaged += 1
    own = bench.milliseconds(lambda: update_average(averages, values, decay=0.999))
    lightnings = bench.milliseconds(lambda: theirs.update_parameters(model))
    print_line(f"--ema-decay, a step: {own:.2f} ms, Lightning's {lightnings:.2f} ms, ratio {own / lightnings:.2f}")


def reading(bench: Bench) -> None:
    """Clips a second that threads read, with all of their frames and with a quarter."""
    rows = [("reading threads", "clips/s, all 16 frames", "clips/s, 4 frames")]
    spec, most = model_spec("x3d_xs"), 2 if bench.toy else usable_cores()
    for threads in [number for number in (1, 2, 4, 8, 16, 32) if number <= most]:
        row = [str(threads)]
        for chooser in (None, ClipTransform(spec).frame_choice):
            loader = ClipLoader(
                cache=bench.cache, positions=bench.cache.positions(), batch_size=2 if bench.toy else 16, shuffle=True,
                num_draws=num_draws(spec.num_frames), frame_chooser=chooser, num_workers=threads,
            )  # fmt: skip
            for _ in range(4):
                loader.next_batch()
            started, clips = time.perf_counter(), 0
            while time.perf_counter() - started < (0.05 if bench.toy else 1.0):
                clips += len(loader.next_batch())
            row.append(f"{clips / (time.perf_counter() - started):.0f}")
            loader.close()
        rows.append(tuple(row))  # type: ignore[arg-type]
    print_table(rows)


def copying(bench: Bench) -> None:
    """Copies of a batch to the device."""
    shape = (2 if bench.toy else 32, *bench.cache.clip_spec.clip_shape)
    rows = [("to the device", "MB", "ms")]
    for pinned in (True, False) if bench.device.type == "cuda" else (False,):
        clips = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        name = "page-locked memory" if pinned else "memory"
        spent = bench.milliseconds(lambda clips=clips: clips.to(bench.device, non_blocking=True))  # type: ignore[misc]
        rows.append((name, f"{clips.nbytes / 1e6:.1f}", f"{spent:.2f}"))
    print_table(rows)


def transforming(bench: Bench) -> None:
    """The transform of a batch, on the device and on the CPU."""
    spec, batch = bench.spec("x3d_s"), 2 if bench.toy else 8
    stored = torch.from_numpy(bench.cache.read(bench.cache.positions()[:batch]))
    draws = torch.rand((len(stored), num_draws(spec.num_frames)))
    transform, clips = ClipTransform(spec), stored.to(bench.device)
    there, here = (bench.milliseconds(lambda some=some: transform(some, draws)) for some in (clips, stored))  # type: ignore[misc]
    print_line(f"the transform of {batch} clips: {there:.2f} ms on this device, {here:.2f} ms on the CPU")
