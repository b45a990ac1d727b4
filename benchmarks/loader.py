"""The loader without a model, beside the reader; and training data decoded on the fly, the usual way.

1080p signing, clips of 16 x 256 x 256, batches of 8 at most, shuffled. The usual way is a dataset that opens a video at
every visit (with decord, torchcodec or PyTorchVideo's EncodedVideo), takes frames, crops and resizes them, under
torch's DataLoader with a persistent worker process for each core; with SPDL, a thread for each. It lives here only. All
ways take turns; medians of the rounds. Then the cache and decord train EfficientX3D-XS on this CPU: there the model is
the slow part, and the ratio is that of the whole. What the cache costs stands beside it: its bytes, which the videos do
not replace.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchvision, which peers import)

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
from benchmarks._signing import filmed, signing_cache, signing_sample
from benchmarks._size import Size
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.video.frame_times import sample_times
from signprep.training.loader import ClipLoader
from signprep.training.model_spec import build_model, channels_last, model_spec
from signprep.training.transforms import ClipTransform

BATCH = 8
REPEATS = 8
"""Epochs a round, of the ways that take milliseconds."""


def run(size: Size) -> None:
    sample = signing_sample(size)
    cache = signing_cache(sample, ClipSpec())
    print_machine(["torch", "decord", "torchcodec", "spdl-io", "pytorchvideo", "numcodecs"])
    feeding(cache, num_rounds=size.pick(1, 5, 7))
    on_the_fly(
        cache,
        filmed(sample),
        num_rounds=size.pick(1, 1, 4),
        num_clips=size.pick(6, 8, 60),
        crop=size.pick(32, 160, 160),
    )


def seconds_of(way: Callable[[], int]) -> tuple[int, float]:
    started = time.perf_counter()
    return way(), time.perf_counter() - started


def rates(ways: dict[str, Callable[[], int]], num_rounds: int) -> dict[str, float]:
    """Return clips/s of each way, medians over rounds in which they take turns, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds + 1):
        for name, way in ways.items():
            clips, seconds = seconds_of(way)
            if number:
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
        if threads == 2:
            figure("loader.reader", feed / own)
    print_table(rows)


def with_decord(video: Path, start: float, end: float, num_frames: int) -> Tensor:
    import decord

    reader = decord.VideoReader(str(video), num_threads=1)
    numbers = np.clip((sample_times(start, end, num_frames) * reader.get_avg_fps()).astype(int), 0, len(reader) - 1)
    return torch.from_numpy(reader.get_batch(numbers).asnumpy()).permute(0, 3, 1, 2)


def with_torchcodec(video: Path, start: float, end: float, num_frames: int) -> Tensor:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(video, num_ffmpeg_threads=1, seek_mode="approximate")
    pixels: Tensor = decoder.get_frames_played_at(sample_times(start, end, num_frames).tolist()).data
    return pixels


def with_encoded_video(video: Path, start: float, end: float, num_frames: int) -> Tensor:
    from pytorchvideo.data.encoded_video import EncodedVideo

    encoded = EncodedVideo.from_path(str(video), decode_audio=False)
    frames = encoded.get_clip(start, end)["video"].transpose(0, 1)
    encoded.close()
    chosen: Tensor = frames[torch.linspace(0, len(frames) - 1, num_frames).long()]
    return chosen


def with_spdl(video: Path, start: float, end: float, num_frames: int) -> Tensor:
    import spdl.io

    rate = Fraction(num_frames / (end - start)).limit_denominator(1000)
    wanted = spdl.io.get_video_filter_desc(
        frame_rate=(rate.numerator, rate.denominator),
        timestamp=(start, end),
        scale_width=SPDL_SIZE,
        scale_height=SPDL_SIZE,
        scale_mode="crop",
    )
    packets = spdl.io.demux_video(str(video), timestamp=(start, end))
    frames = spdl.io.to_numpy(spdl.io.convert_frames(spdl.io.decode_packets(packets, filter_desc=wanted)))
    chosen = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)  # the rate gives one more or less
    return torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2)


SPDL_SIZE = 256
"""FFmpeg's filters scale to it, before frames leave them, as SPDL's documentation advises."""

PEERS: dict[str, Callable[[Path, float, float, int], Tensor]] = {
    "decord": with_decord,
    "torchcodec": with_torchcodec,
    "SPDL": with_spdl,
    "PyTorchVideo's EncodedVideo": with_encoded_video,
}
"""Functions of a video, a start and an end in seconds, and a number of frames; they return [T, 3, H, W], 0 to 255."""


class DecodedOnTheFly(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Opens the video of a segment at every visit, as projects without a cache do."""

    def __init__(self, peer: str, cache: Cache, data_root: Path, num_clips: int, crop: int) -> None:
        self.peer = peer
        self.rows = cache.index.slice(0, num_clips).to_pylist()
        self.data_root, self.crop, self.num_frames = data_root, crop, cache.clip_spec.num_frames

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = self.rows[place]
        video, start, end = self.data_root / row["video"], row["start_seconds"], row["end_seconds"]
        frames = PEERS[self.peer](video, start, end, self.num_frames)
        side = min(frames.shape[-2:])
        top, left = ((length - side) // 2 for length in frames.shape[-2:])
        square = frames[..., top : top + side, left : left + side].float()
        resized = functional.interpolate(square, size=(self.crop, self.crop), mode="bilinear", antialias=True)
        return (resized.permute(1, 0, 2, 3) / 255 - 0.45) / 0.225, row["label"]


class SpdlPipeline:
    """Threads in place of worker processes, as SPDL's documentation has it: one stage decodes, one makes batches."""

    def __init__(self, dataset: DecodedOnTheFly, batch_size: int, threads: int) -> None:
        self.dataset, self.batch_size, self.threads = dataset, batch_size, threads

    def __iter__(self) -> Iterator[Any]:
        from spdl.pipeline import PipelineBuilder

        pipeline = (
            PipelineBuilder()
            .add_source(torch.randperm(len(self.dataset)).tolist())
            .pipe(self.dataset.__getitem__, concurrency=self.threads)
            .aggregate(self.batch_size)
            .pipe(torch.utils.data.default_collate)
            .add_sink(2)
            .build(num_threads=self.threads, max_failures=0)
        )
        with pipeline.auto_stop():
            yield from pipeline


def decoded(peer: str, cache: Cache, data_root: Path, num_clips: int, crop: int) -> Iterable[Any]:
    dataset = DecodedOnTheFly(peer, cache, data_root, num_clips, crop)
    dataset[0]  # what the peer lacks is said here, not by a worker
    workers = os.cpu_count() or 1
    each = max(1, min(BATCH, num_clips // workers))  # a worker decodes a whole batch: all of them must have one
    if peer == "SPDL":
        return SpdlPipeline(dataset, each, workers)
    return torch.utils.data.DataLoader(
        dataset, batch_size=each, shuffle=True, num_workers=workers, persistent_workers=True
    )


def on_the_fly(cache: Cache, data_root: Path, num_rounds: int, num_clips: int, crop: int) -> None:
    usual: dict[str, Iterable[Any]] = {}
    for peer in PEERS:
        try:
            usual[peer] = decoded(peer, cache, data_root, num_clips, crop)
        except Exception as error:  # whatever a peer lacks here: the results say it
            print_missing(peer, error)
    own = ClipLoader(
        cache=cache, positions=cache.positions(), batch_size=BATCH, shuffle=True, num_workers=os.cpu_count() or 1
    )

    def from_cache() -> int:
        return sum(len(batch) for _ in range(REPEATS) for batch in own)

    def from_videos(loader: Iterable[Any]) -> int:
        return sum(len(clips) for clips, _ in loader)

    ways = {"cache": from_cache} | {name: partial(from_videos, loader) for name, loader in usual.items()}
    fed = rates(ways, num_rounds)
    chosen = {name: loader for name, loader in usual.items() if name == "decord"} or dict(list(usual.items())[:1])
    trained = trained_rates(own, chosen, cache, crop)
    own.close()
    rows = [("clips/s", "data alone", "cache / it", "training efficient_x3d_xs on this CPU", "cache / it", "KB a clip")]
    kilobytes = {name: video_kilobytes(cache, data_root, num_clips) for name in usual}
    kilobytes["cache"] = float(np.mean(cache.index["stored_bytes"].to_numpy())) / 1e3
    for name, rate in fed.items():
        training = f"{trained[name]:,.1f}" if name in trained else ""
        ratio = f"{trained['cache'] / trained[name]:,.1f}" if name in trained else ""
        label = name if name == "cache" else f"on the fly, {name}"
        rows.append((label, f"{rate:,.1f}", f"{fed['cache'] / rate:,.0f}", training, ratio, f"{kilobytes[name]:,.0f}"))
    print_table(rows)
    print_line("KB a clip of the videos are of whole files, as they have to be kept for decoding on the fly")
    bars = [
        Bar(name=name, value=rate, ours=name == "cache", note=f"{kilobytes[name]:,.0f} KB a clip")
        for name, rate in fed.items()
    ]
    chart("Feeding clips, without a model", "clips/s", bars, more_is_better=True)
    training_bars = [Bar(name=name, value=rate, ours=name == "cache") for name, rate in trained.items()]
    chart("Training efficient_x3d_xs on this CPU", "clips/s", training_bars, more_is_better=True)


def video_kilobytes(cache: Cache, data_root: Path, num_clips: int) -> float:
    videos = cache.index.slice(0, num_clips)["video"].to_pylist()
    return sum((data_root / video).stat().st_size for video in set(videos)) / len(videos) / 1e3


def trained_rates(own: ClipLoader, usual: dict[str, Iterable[Any]], cache: Cache, crop: int) -> dict[str, float]:
    """Return clips/s of one round of training on each way, after one that does not count."""
    spec = model_spec("efficient_x3d_xs", num_frames=4, crop_size=crop)
    model = channels_last(build_model(spec, len(cache.vocabulary))).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    transform = ClipTransform(spec)

    def step(clips: Tensor, labels: Tensor) -> int:
        optimizer.zero_grad()
        functional.cross_entropy(model(clips.to(memory_format=torch.channels_last_3d)), labels).backward()
        optimizer.step()
        return len(clips)

    def on_cache() -> int:
        return sum(step(transform(batch.clips), batch.labels) for batch in own)

    def on_videos(loader: Iterable[Any]) -> int:
        return sum(step(clips[:, :, ::4], labels) for clips, labels in loader)

    return rates({"cache": on_cache} | {name: partial(on_videos, loader) for name, loader in usual.items()}, 1)
