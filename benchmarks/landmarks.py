"""Landmarks: caches of keypoints in zips, built and read; and finding landmarks, milliseconds of one core a frame.

The keypoints of 200 and of 2,000 clips (full: 1,000 and 10,000) in a zip become a cache: clips/s by the CPU of the
whole command, and its peak memory. The loader reads that cache beside one of pixels, of as many clips.

Finding is held against the sum of what its models take in the same run.
A rendered signer, 640 x 360, 16 frames of a word followed from frame to frame. Times are those that the thread
computed, so that other programs disturb less; medians of the rounds. What the models take is no other way to do it, but
what is left if cropping, tracking and decoding cost nothing.
"""

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks._keypoints import measured, write_keypoints
from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
from benchmarks._signing import many_clips, rendered, signing_cache, signing_sample
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor, PictureFrames
from signprep.pipeline.landmarks.points import PARTS
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.runtime.text import byte_size
from signprep.pipeline.video.frame_times import MissingFrame, sample_times
from signprep.pipeline.video.pyav_reader import open_video


def run(size: Size) -> None:
    print_machine(["ai-edge-litert", "opencv-python-headless", "torch"])
    with tempfile.TemporaryDirectory() as folder:
        feeding(keypoint_builds(Path(folder), size), Path(folder), size)
    finding(size)


def keypoint_builds(folder: Path, size: Size) -> Cache:
    """Build caches of few and of many clips' keypoints, each in a process of its own; return the larger one."""
    rows = [("clips of keypoints in a zip", "zip", "clips/s a core", "peak MiB")]
    found = {}
    for num_clips in size.pick((4, 8), (200, 2000), (1000, 10_000)):
        root = folder / str(num_clips)
        root.mkdir()
        write_keypoints(root, num_clips)
        found[num_clips] = build = measured(root, folder / f"{num_clips}.zarr")
        rate, peak = num_clips / build["cpu_seconds"], build["peak_mib"]
        zip_bytes = byte_size((root / "keypoint.zip").stat().st_size)
        rows.append((f"{num_clips:,}", zip_bytes, f"{rate:,.0f}", f"{peak:.0f}"))
        shutil.rmtree(root)
    print_table(rows)
    (few, fewer), (many, more) = found.items()
    seconds, mebibytes = (more[name] - fewer[name] for name in ("cpu_seconds", "peak_mib"))
    print_line(
        f"without what every build takes: {(many - few) / seconds:,.0f} clips/s a core, and "
        f"{1024 * mebibytes / (many - few):.1f} KiB of memory a clip"
    )
    figure("landmarks.keypoints", many / more["cpu_seconds"])
    figure("landmarks.memory", more["peak_mib"] / fewer["peak_mib"])
    return open_cache(folder / f"{many}.zarr")


def feeding(landmarks: Cache, folder: Path, size: Size) -> None:
    """Load batches of a cache of landmarks and of one of pixels, of as many clips, and open both."""
    from signprep.training.loader import ClipLoader

    num_clips = min(len(landmarks), size.pick(8, 400, 2000))
    of = {"landmarks": landmarks, "pixels": signing_cache(signing_sample(size), ClipSpec())}
    caches = {name: many_clips(cache, folder / f"many-{name}.zarr", num_clips, 64) for name, cache in of.items()}
    rates: dict[str, list[float]] = defaultdict(list)
    opening: dict[str, list[float]] = defaultdict(list)
    loaders = {
        name: ClipLoader(cache=cache, positions=cache.positions(), batch_size=8, shuffle=True, num_workers=1)
        for name, cache in caches.items()
    }
    for _ in range(size.pick(1, 5, 7) + 1):
        for name, loader in loaders.items():
            started = time.perf_counter()
            num_read = sum(len(batch) for batch in loader)
            rates[name].append(num_read / (time.perf_counter() - started))
            started = time.perf_counter()
            open_cache(caches[name].path)
            opening[name].append(time.perf_counter() - started)
    for loader in loaders.values():
        loader.close()
    rows = [(f"caches of {num_clips:,} clips", "loader, clips/s", "ms to open", "KB a clip")]
    for name, cache in caches.items():
        rate, seconds = statistics.median(rates[name][1:]), statistics.median(opening[name][1:])
        kilobytes = float(np.mean(cache.index["stored_bytes"].to_numpy())) / 1e3
        rows.append((name, f"{rate:,.0f}", f"{1e3 * seconds:.1f}", f"{kilobytes:,.1f}"))
    print_table(rows)


def finding(size: Size) -> None:
    """Find the landmarks of frames, with the time that the models take of it."""
    try:
        extractor = LandmarkExtractor()
    except SignprepError as error:
        print_missing("MediaPipe's models", error)
        return
    frames = signing(2 if size is Size.TOY else 16)
    rounds = [times_of(extractor, frames) for _ in range(size.pick(1, 7, 25) + 1)][1:]
    whole, models, calls = (statistics.median(values) for values in zip(*rounds, strict=True))
    ratio = statistics.median(one / alone for one, alone, _ in rounds)
    seen = extractor(frames)[..., 2] > 0
    parts = ", ".join(f"{name.replace('_', ' ')} {seen[:, where].mean():.0%}" for name, where in PARTS.items())
    print_table(
        [
            ("ms of one core a frame", "all", "its models", "all / its models", "model calls"),
            (f"seen: {parts}", f"{whole:.1f}", f"{models:.1f}", f"{ratio:.2f}", f"{calls:.1f}"),
        ]
    )
    bars = [Bar(name="signprep", value=whole, ours=True), Bar(name="its models alone", value=models, part=True)]
    chart("Landmarks of a frame", "ms of one core", bars)
    figure("landmarks.frame", whole)
    figure("landmarks.models", ratio)


def signing(num_frames: int) -> list[np.ndarray]:
    """Return frames of a rendered word, as extraction sees them."""
    video = min(rendered(SampleSpec(words=1, signers=1, frame_size=(1280, 720))).rglob("*.mp4"))
    with open_video(video) as reader:
        prepare = PictureFrames(reader.pixel_aspect)
        times = sample_times(0, reader.duration_seconds, num_frames)
        return [prepare(shown.frame) for shown in reader.answers_at(times) if not isinstance(shown, MissingFrame)]


def times_of(extractor: LandmarkExtractor, frames: list[np.ndarray]) -> tuple[float, float, float]:
    """Return milliseconds of the thread a frame, those within models, and calls of models a frame."""
    from ai_edge_litert.interpreter import Interpreter

    spent: dict[str, float] = defaultdict(float)
    invoke = Interpreter.invoke

    def timed(self: Any) -> None:
        started = time.thread_time()
        invoke(self)
        spent["models"] += time.thread_time() - started
        spent["calls"] += 1

    with mock.patch.object(Interpreter, "invoke", timed):
        started = time.thread_time()
        extractor(frames)
        whole = time.thread_time() - started
    return 1e3 * whole / len(frames), 1e3 * spent["models"] / len(frames), spent["calls"] / len(frames)
