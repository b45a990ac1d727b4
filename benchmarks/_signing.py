"""Rendered signing and its cache, as several benchmarks want it: rendered once and kept as long as the runner runs."""

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks._size import FOLDER_VARIABLE, Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.plan import plan_build
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import CacheObject, shard_path, write_atomically
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits
from signprep.pipeline.datasets.synthetic import dataset, motion, person, signers
from signprep.pipeline.datasets.synthetic.dataset import render_dataset, render_task
from signprep.pipeline.options import SampleSpec

GRAIN_PIXELS, GRAIN_LEVELS = 1.5, 0.55
"""Width of a camera's grain at 1080p, and its deviation in levels of 8 bits: so clips take the bytes of real ones."""


@functools.cache
def _own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that ends with this process, where no runner gives one."""
    return tempfile.TemporaryDirectory(prefix="signprep-bench-")


def shared(key: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of a key, made by the first who asks for it."""
    root = Path(os.environ.get(FOLDER_VARIABLE) or _own_folder().name)
    folder = root / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not folder.exists():
        beside = folder.with_suffix(".new")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        make(beside)
        beside.rename(folder)
    return folder


def signing_sample(size: Size) -> SampleSpec:
    """Return the 1080p data set of all benchmarks that want one; a word of all signers after the other."""
    return size.pick(
        SampleSpec(words=2, signers=3, frame_size=(160, 96)),
        SampleSpec(words=4, signers=6),
        SampleSpec(words=5, signers=12),
    )


def rendered(sample: SampleSpec) -> Path:
    """Return a folder with the rendered data set, a data root that is not to be written to."""
    return shared(repr(sample), lambda folder: render_dataset(sample, folder, workers=-1))


def filmed(sample: SampleSpec) -> Path:
    """Return the same with a camera's grain, so that its clips are as hard to store as those of real footage.

    21 real 1080p clips took 0.148 of raw RGB by lz4hc and 0.113 by zstd, 25 others 0.130 and 0.100. What `make-sample`
    renders takes 0.124 and 0.091: its noise differs from pixel to pixel, and shrinking the picture averages it away.
    """
    return shared(f"filmed {sample!r}", lambda folder: render_filmed(sample, folder, workers=-1))


def render_filmed(sample: SampleSpec, folder: Path, *, workers: int) -> None:
    with mock.patch.object(dataset, "render_task", _render_with_grain):  # by its name, which workers import
        render_dataset(sample, folder, workers=workers)


def _render_with_grain(task: dataset.VideoTask) -> int:
    with mock.patch.object(dataset, "noise_field", camera_grain):
        return render_task(task)


@functools.lru_cache(maxsize=1)
def camera_grain(frame_size: tuple[int, int]) -> person.Plane:
    """Return noise as a camera's processing leaves it: weak, and alike in neighbouring pixels.

    Its form is that of `person.noise_field`. White noise is blurred by a Gaussian of `GRAIN_PIXELS`.
    """
    width, height = frame_size
    shape = (height + 64, width + 64)
    noise = np.random.default_rng([0, 3]).standard_normal(shape, dtype=np.float32)
    down, right = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    gain = np.exp(-2 * (np.pi * GRAIN_PIXELS) ** 2 * (down**2 + right**2))
    grain = np.fft.irfft2(np.fft.rfft2(noise) * gain, shape)
    return (grain * (GRAIN_LEVELS / grain.std())).round().astype(np.int8).view(np.uint8)


def small_signers(sample: SampleSpec) -> Path:
    """Return a folder with a rendered data set as `render_small_signers` makes it, which is not to be written to."""
    return shared(f"small {sample!r}", lambda folder: render_small_signers(sample, folder))


def render_small_signers(sample: SampleSpec, folder: Path) -> None:
    """Render a data set of signers of 0.4 to 0.75 of their size, off the centre."""

    def small(seed: int, number: int) -> signers.Signer:
        rng = np.random.default_rng([seed, number, 9])
        look, scale = signers.signer_look(seed, number), rng.uniform(0.4, 0.75)
        half = sample.frame_size[0] / min(sample.frame_size) / 2 - 0.42 * scale
        centre = rng.choice([-1, 1]) * rng.uniform(0.4, 1) * half, rng.uniform(scale / 2 - 0.57, 0.43 - 0.45 * scale)
        return replace(look, body_scale=look.body_scale * scale, centre=centre)

    with mock.patch.object(dataset, "signer_look", small):
        render_dataset(sample, folder, workers=1)  # in this process, which knows the small ones


def hard_signing(sample: SampleSpec) -> Path:
    """Return a folder with a rendered data set of small signers, who stand somewhere else in each video.

    Behind them lies clutter, some of it in the colours of skin, and the camera is noisy.
    """
    return shared(f"hard {sample!r}", lambda folder: _render_hard_signing(sample, folder))


def _render_hard_signing(sample: SampleSpec, folder: Path) -> None:
    def small(seed: int, number: int) -> signers.Signer:
        look = signers.signer_look(seed, number)
        return replace(look, body_scale=look.body_scale * np.random.default_rng([seed, number, 9]).uniform(0.55, 0.85))

    def moved(performance: motion.Performance, signer: signers.Signer, view: str) -> signers.Joints:
        rng = np.random.default_rng([signer.number, round(performance.sway_phase * 1e6)])
        room = 0.5 - 0.42 * signer.body_scale
        centre = float(rng.uniform(-room, room)), float(rng.uniform(-room / 2, room / 2))
        return signers.film(performance, replace(signer, centre=centre), view)

    def noisy(frame_size: tuple[int, int]) -> person.Plane:
        width, height = frame_size
        noise = np.random.default_rng([0, 3]).standard_normal((height + 64, width + 64), dtype=np.float32)
        return (noise * 6).round().clip(-14, 14).astype(np.int8).view(np.uint8)

    patched = {"signer_look": small, "film": moved, "studio": _cluttered, "noise_field": noisy}
    with contextlib.ExitStack() as stack:
        for name, function in patched.items():
            stack.enter_context(mock.patch.object(dataset, name, function))
        render_dataset(sample, folder, workers=1)  # in this process, which knows the hard ones


def _cluttered(background: signers.Colour, frame_size: tuple[int, int], rng: np.random.Generator) -> person.Canvas:
    """Return a studio in which 8 to 15 things stand, three in ten of a colour near to skin's."""
    canvas, side = person.studio(background, frame_size, rng), min(frame_size)
    for _ in range(int(rng.integers(8, 16))):
        colour = rng.uniform(20, 240, 3) if rng.random() < 0.7 else np.array((216, 170, 138)) + rng.uniform(-30, 30, 3)
        paint = person.Paint(signers.yuv_from_rgb(*colour))
        centre = rng.uniform((0, 0), frame_size)
        if rng.random() < 0.5:
            across, down = rng.uniform(0.03, 0.14, 2) * side
            canvas.ellipse(centre, (across, down), paint)
            continue
        angle = rng.uniform(0, 2 * np.pi)
        along = np.array((np.cos(angle), np.sin(angle))) * rng.uniform(0.05, 0.3) * side
        canvas.capsules(
            (centre - along)[None], (centre + along)[None], np.full((1, 2), rng.uniform(0.015, 0.06) * side), paint
        )
    return canvas


def signing_cache(sample: SampleSpec, clips: ClipSpec) -> Cache:
    """Return a data set's cache with the default codec."""
    data = filmed(sample)

    def make(folder: Path) -> None:
        annotations = read_data_root(data)
        plan = plan_build(annotations.roots, assign_splits(annotations.segments), BuildOptions(clip_spec=clips))
        build(plan, folder / "signing.zarr")

    return open_cache(shared(f"filmed {sample!r} {clips!r}", make) / "signing.zarr")


def many_clips(cache: Cache, target: Path, num_clips: int, clips_per_shard: int) -> Cache:
    """Return a cache of another one's clips, over and over, no two shards the same."""
    info = replace(cache.info, num_positions=num_clips, clips_per_shard=clips_per_shard)
    chunks = [cache.stored_chunk(int(position)) for position in cache.positions()]
    rows = cache.index.take(pa.array(cache.positions()))
    sources, objects = [], {}
    for number in range(info.num_shards):
        size = min(clips_per_shard, num_clips - number * clips_per_shard)
        places = [(number + place) % len(chunks) for place in range(size)]
        data = shard_bytes([chunks[place] for place in places], clips_per_shard)
        write_atomically(target / shard_path(info, number), data)
        objects[shard_path(info, number)] = CacheObject.of(data)
        sources += places
    index = rows.take(pa.array(sources)).set_column(0, SCHEMA.field(0), pa.array(np.arange(num_clips)))
    write_state(target, info, index=index, objects=objects, plan_digest="made").write(target)
    return open_cache(target)
