"""What a clip of the default codec takes beside Blosc's decompression, and what more key frames would change."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from benchmarks._report import figure, print_table
from benchmarks._stores import BATCH, Epoch, batches
from signprep.cache_builder import open_cache
from signprep.cache_builder.format.codec import CHECKSUM_BYTES, undo_delta
from signprep.cache_builder.reader import Cache

VERIFIED_ONCE = "signprep, verify first"


def cache_epoch(cache: Cache, order: NDArray[np.int64], threads: int) -> Epoch:
    out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)

    def epoch() -> int:
        for positions in batches(order):
            cache.read(positions, out=out[: len(positions)], threads=threads)
        return len(order)

    return epoch


def parts_of_reading(cache: Cache, order: NDArray[np.int64], num_rounds: int) -> None:
    """Print what a clip of the default codec takes of one core, beside its parts.

    An epoch is a tenth of a second, so rounds are many, and processor seconds are counted: programs beside count less.
    """
    verified_once = open_cache(cache.path, verify="first")
    cache_epoch(cache, order, 1)()  # after which all shards are mapped
    out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)
    chunks = [cache._located(int(position)).chunk for position in order]
    payloads = [chunk[:-CHECKSUM_BYTES] for chunk in chunks if chunk is not None]
    assert len(payloads) == len(order)

    def decompress(*, undo: bool = False, verify: bool = False) -> None:
        for number, payload in enumerate(payloads):
            clip = out[number % BATCH]
            if verify:
                google_crc32c.value(payload)
            blosc.decompress(payload, dest=clip.reshape(-1))
            if undo:
                undo_delta(clip)

    ways: dict[str, Callable[[], object]] = {
        "blosc alone": decompress,
        "and undoing the differences": partial(decompress, undo=True),
        "and the checksum": partial(decompress, undo=True, verify=True),
        VERIFIED_ONCE: cache_epoch(verified_once, order, 1),
        "signprep": cache_epoch(cache, order, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds + 2):
        for name, epoch in ways.items():
            start = time.process_time()
            epoch()
            if number > 1:  # a shard is mapped for its second clip, and pages are touched once
                seconds[name].append((time.process_time() - start) / len(order))
    ratios = {
        name: statistics.median(alone / each for alone, each in zip(seconds["blosc alone"], values, strict=True))
        for name, values in seconds.items()
    }
    print_table(
        [
            ("a clip, default codec", "us of one core", "blosc alone / it"),
            *(
                (name, f"{statistics.median(values) * 1e6:.0f}", f"{ratios[name]:.2f}")
                for name, values in seconds.items()
            ),
        ]
    )
    figure("read.blosc", ratios["signprep"])
    figure("read.blosc.first", ratios[VERIFIED_ONCE])


def key_frames(cache: Cache, order: NDArray[np.int64], num_rounds: int) -> None:
    """Print what a key frame each 4 frames would cost and bring to a model that takes 4 of the 16 frames.

    Each group of 4 frames is compressed by itself then, and decoded up to the frame that is wanted; they are spread
    evenly over the clip. The checksum is left out.
    """
    codec, wanted = cache.info.clip_codec, frames_of_four(cache.clip_spec.num_frames)
    clips = cache.read(order[:BATCH])
    whole = [np.frombuffer(codec.encode(clip), np.uint8) for clip in clips]
    grouped = [
        [np.frombuffer(codec.encode(clip[first : first + 4]), np.uint8) for first in range(0, len(clip), 4)]
        for clip in clips
    ]
    out, group = np.empty_like(clips[0]), np.empty_like(clips[0, :4])
    some = np.empty_like(clips[:, : len(wanted)])

    def all_frames() -> int:
        for place, chunk in enumerate(whole):
            codec.decode(chunk, out, is_verified=True)
            np.take(out, wanted, axis=0, out=some[place], mode="clip")
        return len(whole)

    def groups() -> int:
        for place, chunks in enumerate(grouped):
            for number, frame in enumerate(wanted.tolist()):
                blosc.decompress(chunks[frame // 4][:-CHECKSUM_BYTES], dest=group.reshape(-1))
                undo_delta(group[: frame % 4 + 1])
                some[place, number] = group[frame % 4]
        return len(grouped)

    seconds: dict[str, list[float]] = {"as stored": [], "a key frame each 4": []}
    for _ in range(10 * num_rounds):
        for name, way in (("as stored", all_frames), ("a key frame each 4", groups)):
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    rates = {name: len(clips) / statistics.median(values) for name, values in seconds.items()}
    kilobytes = {
        "as stored": sum(map(len, whole)) / len(clips) / 1e3,
        "a key frame each 4": sum(len(chunk) for chunks in grouped for chunk in chunks) / len(clips) / 1e3,
    }
    ours, stored = rates["as stored"], kilobytes["as stored"]
    rows = [
        (f"{len(wanted)} of {cache.clip_spec.num_frames} frames", "clips/s", "/ as stored", "KB a clip", "/ as stored")
    ]
    for name, rate in rates.items():
        size = kilobytes[name]
        rows.append((name, f"{rate:,.0f}", f"{rate / ours:.2f}", f"{size:,.0f}", f"{size / stored:.2f}"))
    print_table(rows)
    figure("read.key_frames", kilobytes["a key frame each 4"] / stored)


def frames_of_four(num_frames: int) -> NDArray[np.int64]:
    """Return 4 frames, evenly spread, in the middle of their quarters."""
    return (np.arange(4) * 2 + 1) * num_frames // 8
