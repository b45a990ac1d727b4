"""The way from stored clips to model input: milliseconds of one core a clip, beside the naive way.

The naive way converts every stored frame to RGB at full size, as floats, and then drops frames, resizes and
normalises. Clips of 16 x 256 x 256, batches of 8, one thread; the two take turns, medians of the rounds.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._report import Bar, chart, print_machine, print_table
from benchmarks._size import Size
from signprep.training.model_spec import ModelSpec, model_spec
from signprep.training.runtime.memory import keep_freed_memory
from signprep.training.transforms import ClipTransform, frame_positions, i420_planes, num_draws

BATCH = 8
MODELS = ("efficient_x3d_xs", "efficient_x3d_s", "slow_r50", "x3d_m")


def run(size: Size) -> None:
    toy, (num_rounds, side) = size is Size.TOY, size.pick((1, 64), (6, 256), (15, 256))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as training does
    try:
        print_machine(["torch"])
        clips = torch.randint(16, 236, (BATCH, 16, side * 3 // 2, side), dtype=torch.uint8)
        rows = [("ms of one core a clip", "frames x crop", "signprep", "augmented", "naive", "naive / signprep")]
        for name in MODELS:
            spec = model_spec(name, num_frames=4 if toy else None, crop_size=32 if toy else None)
            rows.append(row(spec, clips, num_rounds))
            bars = [
                Bar(name="signprep", value=float(rows[-1][2]), ours=True),
                Bar(name="signprep, augmented", value=float(rows[-1][3]), ours=True),
                Bar(name="naive", value=float(rows[-1][4])),
            ]
            chart(f"{name}: stored clips to model input", "ms of one core a clip", bars)
        print_table(rows)
    finally:
        torch.set_num_threads(before)


def row(spec: ModelSpec, clips: Tensor, num_rounds: int) -> tuple[str, ...]:
    transform, draws = ClipTransform(spec), torch.rand(BATCH, num_draws(spec.num_frames))
    ways: list[Callable[[], Tensor]] = [
        lambda: transform(clips),
        lambda: transform(clips, draws),
        lambda: naive(spec, clips),
    ]
    times: list[list[float]] = [[] for _ in ways]
    for number in range(num_rounds + 1):
        for way, taken in zip(ways, times, strict=True):
            started = time.perf_counter()
            way()
            if number:
                taken.append(time.perf_counter() - started)
    plain, augmented, slow = (1e3 * statistics.median(taken) / BATCH for taken in times)
    seen = f"{spec.num_frames} x {spec.crop_size}"
    return spec.name, seen, f"{plain:.2f}", f"{augmented:.2f}", f"{slow:.1f}", f"{slow / plain:.1f}"


def naive(spec: ModelSpec, clips: Tensor) -> Tensor:
    luma, chroma = i420_planes(clips)
    y = (luma.float() - 16) / 219
    u, v = ((chroma.float() - 128) / 224).repeat_interleave(2, -1).repeat_interleave(2, -2).unbind(2)
    rgb = torch.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], dim=1).clamp(0, 1)
    rgb = rgb[:, :, frame_positions(clips.shape[1], spec.num_frames)]
    frames = rgb.transpose(1, 2).flatten(0, 1)
    resized = functional.interpolate(frames, size=(spec.crop_size, spec.crop_size), mode="bilinear")
    return (resized.unflatten(0, (len(clips), -1)).transpose(1, 2) - spec.mean) / spec.std
