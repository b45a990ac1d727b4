"""Whether a GPU does what it should: parts of the benchmark of GPUs, each of which fails if it does not."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks._gpu import Bench, nothing, require
from benchmarks._late_copies import Event, LateCopies
from benchmarks._report import print_line, print_table
from signprep.pipeline.errors import StoppedError
from signprep.training.callbacks.checkpoints import SaveLast
from signprep.training.config import TrainConfig
from signprep.training.loader import ClipLoader
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model.classifier import SignClassifier
from signprep.training.model_spec import build_model, model_spec
from signprep.training.model_spec.bfloat16 import gradients_of, with_sound_convolutions
from signprep.training.run import train
from signprep.training.runtime.copies import Copies, Copy
from signprep.training.runtime.device import resolved, switches_set
from signprep.training.transforms import ClipTransform, num_draws

SLOW_COPY_CYCLES = 40_000_000
"""Of the GPU, about 20 ms: what a copy is held up, so that whoever does not wait for it is caught."""
FLOAT16_SCALE = 1024.0


def pixels(bench: Bench) -> None:
    """What a model is shown within autocast and TF32, beside 32 bits, on the device and on the CPU."""
    spec = replace(bench.spec("x3d_s"), num_frames=2)
    stored = torch.from_numpy(bench.cache.read(bench.cache.positions()[:4]))
    draws = torch.rand((4, num_draws(spec.num_frames)), generator=torch.Generator().manual_seed(0))
    metadata = ModelMetadata(
        model_spec=spec, clip_spec=bench.cache.clip_spec, vocabulary=bench.cache.vocabulary, cache_fingerprint=""
    )
    classifier = SignClassifier(metadata, TrainConfig(), nn.Identity(), total_steps=1)
    clips, transform = stored.to(bench.device), classifier.transform
    assert isinstance(transform, ClipTransform)
    expected, grid = transform(clips, draws), transform._grids(clips, draws, None)[0]
    switches = switches_set(resolved(TrainConfig(tf32=True), bench.devices), bench.devices)
    with switches, torch.autocast(bench.device.type, torch.bfloat16):
        shown, rounded = classifier._shown(clips, draws), transform._grids(clips, draws, None)[0].float()
    side = bench.cache.clip_spec.size / 2
    print_line(
        f"without signprep's guard, bfloat16 moves pixels by up to {float((rounded - grid).abs().max()) * side:.2f}"
    )
    on_cpu = transform(stored, draws)
    apart = float((expected.cpu() - on_cpu).abs().max()) * spec.std * 255
    print_line(f"brightness of 255, on this device and on the CPU: at most {apart:.3f} apart")
    require(apart < 1, "the device shows the CPU's pixels")
    require(torch.equal(shown, expected), "within bfloat16 and TF32 a model sees the pixels of 32 bits, bit for bit")


class SlowCopies(Copies):
    """Copies that are late, as on a bus that others use."""

    def begin(self, tensors: Any) -> Copy:
        with torch.cuda.stream(self._stream):
            torch.cuda._sleep(SLOW_COPY_CYCLES)
        return super().begin(tensors)


def batches_in_flight(bench: Bench) -> None:
    """Sums of batches on the device that were handed out faster than they were copied; and a control."""
    on_gpu, number = bench.device.type == "cuda", 12 if bench.toy else 24

    def whole(*, guarded: bool) -> int:
        copies = SlowCopies(bench.device) if on_gpu else LateCopies()
        loader = ClipLoader(
            cache=bench.cache, positions=bench.cache.positions(), batch_size=2, shuffle=True, num_workers=2,
            pin_memory=on_gpu, copies=copies,
        )  # fmt: skip
        event: type = torch.cuda.Event if on_gpu else Event
        unguarded = mock.patch.object(event, "synchronize", lambda self: None)
        with nothing() if guarded else unguarded:
            batches = [loader.next_batch() for _ in range(number)]
        if isinstance(copies, LateCopies):
            copies.compute()
        sums = [int(batch.clips.sum(dtype=torch.int64)) for batch in batches]
        loader.close()
        return sum(
            found == int(bench.cache.read(batch.positions.numpy()).sum(dtype="int64"))
            for found, batch in zip(sums, batches, strict=True)
        )

    print_line(f"control, memory written again at once: {whole(guarded=False)} of {number} batches are whole")
    found = whole(guarded=True)
    require(found == number, f"memory written again when its copy is done: {found} of {number} batches are whole")


def going_on(bench: Bench) -> None:
    """A run of two epochs, once more, and once more with a stop in the middle."""
    spec, config = (
        bench.spec("efficient_x3d_xs"),
        TrainConfig(epochs=2, batch_size=2 if bench.toy else 4, deterministic=True),
    )
    options: dict[str, Any] = {"devices": bench.devices, "log": lambda line: None}

    def weights(path: Path) -> dict[str, Tensor]:
        found: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        return found

    def same(one: Path, other: Path) -> bool:
        first, second = weights(one), weights(other)
        return all(torch.equal(value, second[name]) for name, value in first.items())

    whole, again = (
        train(bench.cache, spec, config, bench.folder / name, **options).last_checkpoint for name in ("one", "two")
    )
    require(same(whole, again), "--deterministic: a run and the same run again have the same weights")
    original = SaveLast.on_train_batch_end

    def stopping(self: SaveLast, *arguments: Any) -> None:
        self.stop_requested = True
        original(self, *arguments)

    with suppress(StoppedError), mock.patch.object(SaveLast, "on_train_batch_end", stopping):
        train(bench.cache, spec, config, bench.folder / "stopped", **options)
    gone_on = train(bench.cache, spec, config, bench.folder / "stopped", **options).last_checkpoint
    require(same(whole, gone_on), "a run that was stopped and goes on has the weights of one that was not")


def gradients(bench: Bench) -> None:
    """Sizes of gradients in the half precisions."""
    rows = [("gradients, apart from those of 32 bits", "bf16-mixed", "16-mixed")]
    sound = True
    for name in ("efficient_x3d_xs",) if bench.toy else ("efficient_x3d_xs", "x3d_s", "slow_r50", "mvit_base_16x4"):
        model, spec = bench.model(name)
        model, clips = with_sound_convolutions(model.eval()), bench.clips(spec, 2)
        exact = gradients_of(model, clips, None)
        row = [name]
        for dtype in (torch.bfloat16, torch.float16):
            if dtype is torch.float16 and bench.device.type == "cpu":
                row.append("")
                continue
            apart = float((gradients_of(model, clips, dtype, scale=FLOAT16_SCALE) - exact).norm() / exact.norm())
            sound = sound and apart < 0.5
            row.append(f"{apart:.4f}")
        rows.append(tuple(row))  # type: ignore[arg-type]
    print_table(rows)
    require(sound, "gradients of half precision are finite, and those of 32 bits but for rounding")


def deterministic(bench: Bench) -> None:
    """Each model's step with torch's deterministic algorithms, twice."""
    names = ("efficient_x3d_xs",) if bench.toy else ("efficient_x3d_xs", "x3d_m", "slow_r50", "mvit_base_16x4")
    torch.use_deterministic_algorithms(True)
    try:
        for name in names:
            model, spec = bench.model(name)
            clips = bench.clips(spec, 2)
            one, other = (gradients_of(model.eval(), clips, None) for _ in range(2))
            require(torch.equal(one, other), f"--deterministic takes {name}, and gives the same gradients twice")
    finally:
        torch.use_deterministic_algorithms(False)


def compiled(bench: Bench) -> None:
    """Graphs that torch.compile makes of a model in training."""
    rows = [("compiled", "graphs", "breaks")]
    for name in ("landmark_conv",) if bench.toy else ("efficient_x3d_xs", "x3d_s", "slow_r50", "mvit_base_16x4"):
        spec = model_spec(name)
        model = build_model(spec, 4).to(bench.device).train()
        torch._dynamo.reset()
        told = torch._dynamo.explain(model)(bench.clips(spec, 2))
        rows.append((name, str(told.graph_count), str(told.graph_break_count)))
    print_table(rows)
