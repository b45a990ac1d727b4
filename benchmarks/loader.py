"""The loader without a model, beside the reader; and training data decoded on the fly, the usual way.

1080p signing, clips of 16 x 256 x 256, batches of 8, shuffled. The usual way is a dataset that opens a video with
decord, takes frames by their numbers and resizes them, under torch's DataLoader with a worker process for each core.
It lives here only. All ways take turns; medians of the rounds. Then both ways train EfficientX3D-XS on this CPU:
there the model is the slow part, and the ratio is that of the whole.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._report import print_machine, print_table
from benchmarks._signing import signing_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.sample.dataset import SampleSpec
from signprep.training.loader import Batch, ClipLoader
from signprep.training.model_spec import build_model, channels_last, model_spec
from signprep.training.transforms import ClipTransform

BATCH = 8
REPEATS = 8
"""Epochs a round, of the ways that take milliseconds."""


def run(*, toy: bool = False) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = SampleSpec(words=2, signers=3, frame_size=(160, 96)) if toy else SampleSpec(words=5, signers=12)
        cache = signing_cache(folder, sample, ClipSpec())
        print_machine(["torch", "decord", "numcodecs"])
        feeding(cache, num_rounds=1 if toy else 5)
        on_the_fly(cache, folder / "data", num_rounds=1 if toy else 3, crop=32 if toy else 160)


def seconds_of(way: Callable[[], int]) -> tuple[int, float]:
    started = time.perf_counter()
    return way(), time.perf_counter() - started


def rates(ways: dict[str, Callable[[], int]], num_rounds: int) -> dict[str, float]:
    """Return clips/s of each way, medians over rounds in which they take turns, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds + 1):
        for name, way in ways.items():
            clips, seconds = seconds_of(way)
            if number or num_rounds == 1:
                found[name].append(clips / seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def feeding(cache: Cache, num_rounds: int) -> None:
    order = np.random.default_rng(0).permutation(len(cache))
    loaders: list[ClipLoader] = []

    def loader(threads: int) -> Callable[[], int]:
        feeder = ClipLoader(
            cache=cache, positions=cache.positions(), batch_size=BATCH, shuffle=True, num_draws=20, num_workers=threads
        )
        loaders.append(feeder)
        return lambda: sum(len(batch) for _ in range(REPEATS) for batch in feeder)

    def reader(threads: int) -> Callable[[], int]:
        out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)

        def epochs() -> int:
            for _ in range(REPEATS):
                for first in range(0, len(order), BATCH):
                    some = order[first : first + BATCH]
                    cache.read(some, out=out[: len(some)], threads=threads)
            return REPEATS * len(order)

        return epochs

    ways = {}
    for threads in (1, 2):
        ways |= {f"reader, {threads}": reader(threads), f"loader, {threads}": loader(threads)}
    found = rates(ways, num_rounds)
    for feeder in loaders:
        feeder.close()
    rows = [("threads", "reader, clips/s", "loader, clips/s", "loader / reader")]
    for threads in (1, 2):
        own, feed = found[f"reader, {threads}"], found[f"loader, {threads}"]
        rows.append((str(threads), f"{own:,.0f}", f"{feed:,.0f}", f"{feed / own:.2f}"))
    print_table(rows)


class DecodedOnTheFly(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Opens the video of a segment at every visit, as projects without a cache do."""

    def __init__(self, cache: Cache, data_root: Path, crop: int) -> None:
        self.rows = cache.index.to_pylist()
        self.data_root, self.crop, self.num_frames = data_root, crop, cache.clip_spec.num_frames

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        import decord

        row = self.rows[place]
        reader = decord.VideoReader(str(self.data_root / row["video"]), num_threads=1)
        seconds = row["start_seconds"] + (np.arange(self.num_frames) + 0.5) / self.num_frames * (
            row["end_seconds"] - row["start_seconds"]
        )
        numbers = np.clip((seconds * reader.get_avg_fps()).astype(int), 0, len(reader) - 1)
        frames = torch.from_numpy(reader.get_batch(numbers).asnumpy()).permute(0, 3, 1, 2).float()
        side = min(frames.shape[-2:])
        top, left = ((length - side) // 2 for length in frames.shape[-2:])
        square = frames[..., top : top + side, left : left + side]
        resized = functional.interpolate(square, size=(self.crop, self.crop), mode="bilinear", antialias=True)
        return (resized.permute(1, 0, 2, 3) / 255 - 0.45) / 0.225, row["label"]


def on_the_fly(cache: Cache, data_root: Path, num_rounds: int, crop: int) -> None:
    try:
        import decord  # noqa: F401
    except ImportError as error:
        print(f"  decord is missing ({error})")
        return
    spec = model_spec("efficient_x3d_xs", num_frames=4, crop_size=crop)
    usual: Iterable[Any] = torch.utils.data.DataLoader(
        DecodedOnTheFly(cache, data_root, crop), batch_size=BATCH, shuffle=True, num_workers=os.cpu_count() or 1
    )
    own = ClipLoader(
        cache=cache, positions=cache.positions(), batch_size=BATCH, shuffle=True, num_workers=os.cpu_count() or 1
    )
    model = channels_last(build_model(spec, len(cache.vocabulary))).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    transform = ClipTransform(spec)

    def step(clips: Tensor, labels: Tensor) -> int:
        optimizer.zero_grad()
        functional.cross_entropy(model(clips.to(memory_format=torch.channels_last_3d)), labels).backward()
        optimizer.step()
        return len(clips)

    def from_cache(use: Callable[[Batch], int], epochs: int) -> int:
        return sum(use(batch) for _ in range(epochs) for batch in own)

    fed = rates(
        {
            "cache": lambda: from_cache(len, REPEATS),
            "on the fly": lambda: sum(len(clips) for clips, _ in usual),
        },
        num_rounds,
    )
    trained = rates(
        {
            "cache": lambda: from_cache(lambda batch: step(transform(batch.clips), batch.labels), 1),
            "on the fly": lambda: sum(step(clips[:, :, ::4], labels) for clips, labels in usual),
        },
        max(1, num_rounds - 2),
    )
    own.close()
    rows = [("", "from the cache, clips/s", "on the fly, clips/s", "ratio")]
    for name, found in (("data alone", fed), ("training efficient_x3d_xs on this CPU", trained)):
        ratio = found["cache"] / found["on the fly"]
        rows.append((name, f"{found['cache']:,.1f}", f"{found['on the fly']:,.1f}", f"{ratio:,.0f}"))
    print_table(rows)
