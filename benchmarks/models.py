"""Time of a training step of each model: as PyTorchVideo builds it, with channels last, and with our layers too.

Forward, loss, backward and a step of SGD on a batch of random clips, at the frames and crop that the model was designed
for, in 32 bits. All three are timed by turns in one process, after a step each that is not counted. The peer is the
same PyTorchVideo model as it comes, contiguous; its own layers with channels last are what signprep trained before it
had layers of its own (`training/model_spec/layers.py`). Timed by the clock, with all threads, so let nothing else run:
on one thread both layouts cost about the same, but work is shared badly in contiguous depthwise convolutions. On a
machine with a GPU the same is timed there, with larger batches.

The default model is measured once more on the CPU, with channels last: with PyTorchVideo's layers, with torch's SiLU in
place of its Swish, and with all of our layers, by the clock and by what all threads take of the CPU.

Then what an answer takes on the CPU: of the model as it is trained, in evaluation, and as `infer` asks it, with batch
norms made part of convolutions (`training/model_spec/folding.py`), by turns.
"""

import copy
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pytorchvideo.layers.swish import Swish
from torch import Tensor, nn

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_table
from benchmarks._size import Size
from signprep.training.model_spec import (
    MODEL_SPECS,
    ModelSpec,
    build_model,
    channels_last,
    head_name,
    model_spec,
    parameter_counts,
)
from signprep.training.model_spec.folding import with_folded_norms
from signprep.training.model_spec.layers import with_plain_layers

NUM_CLASSES = 400
"""As Kinetics-400 has, so that the numbers of parameters are the published ones."""


def run(size: Size) -> None:
    """Print the medians and ratios."""
    toy = size is Size.TOY
    print_machine(["torch", "torchvision", "pytorchvideo"])
    compare(torch.device("cpu"), batch_size=size.pick(2, 1, 2), num_rounds=size.pick(1, 1, 5), toy=toy)
    default_model(batch_size=2 if toy else 8, num_rounds=size.pick(1, 9, 25), toy=toy)
    answers(batch_size=size.pick(1, 4, 8), num_rounds=size.pick(1, 7, 15), toy=toy)
    if torch.cuda.is_available():
        print_line(torch.cuda.get_device_name())
        compare(torch.device("cuda"), batch_size=2 if toy else 8, num_rounds=1 if toy else 10, toy=toy)


def compare(device: torch.device, *, batch_size: int, num_rounds: int, toy: bool) -> None:
    """Print the table of one device."""
    rows: list[tuple[str, ...]] = []
    bars = []
    for name in (name for name, spec in MODEL_SPECS.items() if spec.content == "pixels"):
        spec = model_spec(name, num_frames=2, crop_size=32) if toy else MODEL_SPECS[name]
        model = build_model(spec, NUM_CLASSES)
        total, _ = parameter_counts(model)
        head, _ = parameter_counts(model.get_submodule(head_name(model, spec, NUM_CLASSES)))
        contiguous, last, ours = (
            statistics.median(seconds)
            for seconds in step_seconds(model.to(device), spec, batch_size=batch_size, num_rounds=num_rounds)
        )
        bars += [
            Bar(name=f"{name}, our layers", value=1e3 * ours, ours=True),
            Bar(name=f"{name}, channels last", value=1e3 * last),
            Bar(name=f"{name}, contiguous", value=1e3 * contiguous),
        ]
        rows.append(
            (
                name,
                f"{spec.num_frames} x {spec.crop_size}",
                f"{total / 1e6:.2f}",
                f"{head / 1e6:.2f}",
                f"{contiguous * 1e3:.0f}",
                f"{last * 1e3:.0f}",
                f"{last / contiguous:.2f}",
                f"{ours * 1e3:.0f}",
                f"{ours / last:.2f}",
                f"{batch_size / ours:.1f}",
            )
        )
    layouts = ("contiguous, ms", "channels last, ms", "ratio", "our layers, ms", "ratio to channels last")
    titles = ("parameters, M", "head, M", *layouts, "clips/s")
    print_table([(f"{device.type}, batch {batch_size}", "clip", *titles), *rows])
    for first in range(0, len(bars), 3):
        chart(bars[first].name.split(",")[0], f"ms a training step, {device.type}", bars[first : first + 3])


def default_model(*, batch_size: int, num_rounds: int, toy: bool) -> None:
    """Print what a step of the default model takes on the CPU with three kinds of layers, all with channels last."""
    spec = model_spec("efficient_x3d_xs", num_frames=2 if toy else None, crop_size=32 if toy else None)
    ours = build_model(spec, NUM_CLASSES)
    kinds = {
        "PyTorchVideo's layers": as_built(copy.deepcopy(ours)),
        "torch's SiLU for its Swish": with_plain_layers(copy.deepcopy(ours)),
        "our layers": ours,
    }
    clips = torch.randn(batch_size, 3, spec.num_frames, spec.crop_size, spec.crop_size)
    clips = clips.to(memory_format=torch.channels_last_3d)
    steps = timed_steps([(channels_last(model), clips) for model in kinds.values()], num_rounds=num_rounds)
    clock, cpu = ([statistics.median(getattr(step, name) for step in way) for way in steps] for name in Step._fields)
    rows = [
        (name, f"{1e3 * a:.0f}", f"{a / clock[0]:.2f}", f"{1e3 * b:.0f}", f"{b / cpu[0]:.2f}")
        for name, a, b in zip(kinds, clock, cpu, strict=True)
    ]
    counts = f"{spec.name}, {torch.get_num_threads()} threads, batch {batch_size}"
    print_table([(counts, "ms a step", "ratio", "ms of CPU", "ratio"), *rows])
    figure("models.step", clock[-1] / clock[0])
    figure("models.step.cpu", cpu[-1] / cpu[0])


def answers(*, batch_size: int, num_rounds: int, toy: bool) -> None:
    """Print what a clip takes of models with batch norms, of a batch and alone."""
    rows = [("as trained / as asked, ms a clip", "clip", f"batch of {batch_size}", "ratio", "alone", "ratio")]
    for name in (name for name, spec in MODEL_SPECS.items() if spec.content == "pixels"):
        spec = model_spec(name, num_frames=2, crop_size=32) if toy else MODEL_SPECS[name]
        model = channels_last(build_model(spec, NUM_CLASSES)).eval()
        clips = torch.randn(batch_size, 3, spec.num_frames, spec.crop_size, spec.crop_size)
        clips = clips.to(memory_format=torch.channels_last_3d)
        if (folded := with_folded_norms(model, clips[:1])) is model:
            continue
        row = [name, f"{spec.num_frames} x {spec.crop_size}"]
        for shown in (clips, clips[:1]):
            trained, asked = answer_seconds([model, folded], shown, num_rounds)
            row += [f"{1e3 * trained:.1f} / {1e3 * asked:.1f}", f"{asked / trained:.2f}"]
        rows.append(tuple(row))
    print_table(rows)


def answer_seconds(models: Sequence[nn.Module], clips: Tensor, num_rounds: int) -> list[float]:
    """Return the median seconds that each model takes of a clip, by turns; the first turn is not counted."""
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for _ in range(num_rounds + 1):
            for model, found in zip(models, seconds, strict=True):
                started = time.perf_counter()
                model(clips)
                found.append((time.perf_counter() - started) / len(clips))
    return [statistics.median(found[1:]) for found in seconds]


def step_seconds(model: nn.Module, spec: ModelSpec, *, batch_size: int, num_rounds: int) -> list[list[float]]:
    """Return the seconds of steps: as PyTorchVideo builds the model, with channels last, and with our layers too."""
    device = next(model.parameters()).device
    clips = torch.randn(batch_size, 3, spec.num_frames, spec.crop_size, spec.crop_size, device=device)
    clips_last = clips.to(memory_format=torch.channels_last_3d)
    ways = (
        (as_built(copy.deepcopy(model)), clips),
        (channels_last(as_built(copy.deepcopy(model))), clips_last),
        (channels_last(model), clips_last),
    )
    return [[step.clock for step in way] for way in timed_steps(ways, num_rounds=num_rounds)]


class Step(NamedTuple):
    """Seconds of a step by the clock, and of the CPU by all threads."""

    clock: float
    cpu: float


def timed_steps(ways: Sequence[tuple[nn.Module, Tensor]], *, num_rounds: int) -> list[list[Step]]:
    """Return the steps of models with their clips, by turns; the first of each is not counted."""
    steps: list[list[Step]] = [[] for _ in ways]
    for _ in range(num_rounds + 1):
        for (model, clips), found in zip(ways, steps, strict=True):
            clock, cpu = time.perf_counter(), time.process_time()
            train_step(model.train(), clips)
            found.append(Step(time.perf_counter() - clock, time.process_time() - cpu))
    return [found[1:] for found in steps]


def as_built(model: nn.Module) -> nn.Module:
    """Give a model the layers back that PyTorchVideo builds it with."""
    return with_swish(with_plain_layers(model))


def with_swish(model: nn.Module) -> nn.Module:
    """Exchange torch's SiLU for PyTorchVideo's Swish, in place."""
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.SiLU:
                setattr(parent, name, Swish())
    return model


def train_step(model: nn.Module, clips: Tensor) -> None:
    labels = torch.arange(len(clips), device=clips.device)
    nn.functional.cross_entropy(model(clips), labels).backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    model.zero_grad()
    if clips.is_cuda:
        torch.cuda.synchronize()
