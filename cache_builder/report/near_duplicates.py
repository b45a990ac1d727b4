"""Clips that show the same footage under other bytes: coded again, scaled, or brightened; and clips that show nothing.

Each clip gets a signature of what moves in it: its luma in 8 moments x 8 x 8 fields, minus each field's mean over time.
Other signs of the same person are then far apart, the same footage coded again, scaled or brightened is not. Measured
on 864 generated clips: footage coded again at half the size or at crf 38 correlates by 0.994 and more, other
performances of the same sign by the same (drawn) signer by up to 0.996, other signs by up to 0.985. So a coarse
signature finds candidates, and a finer one, of every frame in 16 x 16 fields, decides: in it they are at 0.9925 and
more, and at 0.991 at most. Footage cropped by a tenth or cut a frame later is not found.

Every clip is compared with every other one, by products of matrices in blocks, in 0.1 GB: 30,000 clips take 25 s to
read and 15 s to compare on one core, 300,000 take 25 minutes. So a cache of more is sampled.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.format.codec import StoredClip
from signprep.cache_builder.options import COMPARED_CLIPS
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.findings import ClipFinding, found, found_in_clips, no_rows
from signprep.pipeline.errors import CacheCorruptError
from signprep.pipeline.landmarks.draw import drawn
from signprep.pipeline.runtime.text import counted

COARSE_LIKENESS, LIKENESS = 0.985, 0.992
"""Correlations of what moves, in coarse and in fine fields, from which on two clips are called alike."""
MOST_CANDIDATES = 20_000
MOMENTS, FIELDS, FINE_FIELDS = 8, 8, 16
CLIPS_AT_ONCE = 16
DARK_LUMA = 24.0
"""Mean luma, of limited range from 16 on, under which a clip is called dark."""
STILL_LUMA = 0.25
"""Root mean square of the luma's changes, averaged over fields, under which nothing moves in a clip."""
_BLOCK = 512
"""Clips on one side of a product of matrices, and fine signatures kept in memory."""

ALIKE_KINDS = {
    "split": ("alike-across-splits", " in two splits"),
    "gloss": ("alike-across-glosses", " under two glosses"),
    "": ("alike", ""),
}
"""The kind of finding about a pair and the end of its title, by `AlikePair.difference`, the worst first."""


@dataclass(frozen=True, kw_only=True)
class AlikePair:
    """Two clips that look like the same footage."""

    rows: tuple[int, int]
    likeness: float
    """Correlation of what moves, up to 1."""
    difference: str
    """The worst thing that the two do not share: `split`, `gloss`, or empty."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The outcome of comparing clips with one another."""

    num_all: int
    num_clips: int = 0
    """So many of `num_all` clips were compared."""
    pairs: tuple[AlikePair, ...] = ()
    """Those across splits first, then those across glosses, then the others; in each the most alike first."""
    is_cut_off: bool = False
    """There were more candidates than are looked at."""
    still_rows: NDArray[np.int64] = field(default_factory=no_rows)
    dark_rows: NDArray[np.int64] = field(default_factory=no_rows)
    damaged_rows: NDArray[np.int64] = field(default_factory=no_rows)


def compare_clips(
    table: ClipTable,
    *,
    most: int = COMPARED_CLIPS,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Compare all clips of a cache with one another; of more than `most` clips, a sample that is always the same.

    `progress` is told how many clips the threads have read.
    """
    rows = np.flatnonzero(table.is_ok)
    num_all = len(rows)
    if num_all > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    if not len(rows) or table.cache.clip_spec.num_frames < 2:
        return Comparison(num_all=num_all)
    positions = table.positions[rows]
    moving, motion, brightness, is_intact = _signatures(table.cache, positions, progress, threads=threads)
    is_moving = motion >= STILL_LUMA
    candidates, is_cut_off = _candidates(moving[is_moving], table.content.codes[rows[is_moving]])
    return Comparison(
        num_clips=len(rows),
        num_all=num_all,
        pairs=tuple(_decided(table, rows[is_moving][candidates])),
        is_cut_off=is_cut_off,
        still_rows=rows[~is_moving & is_intact],
        dark_rows=rows[(brightness < DARK_LUMA) & is_intact],
        damaged_rows=rows[~is_intact],
    )


def footage_findings(table: ClipTable, comparison: Comparison) -> Iterator[ClipFinding]:
    """Find what a comparison of clips shows."""
    yield from found_in_clips(comparison.damaged_rows, "damaged", "of damaged bytes")
    least = "at least " if comparison.is_cut_off else ""
    for difference, (kind, where) in ALIKE_KINDS.items():
        if pairs := [pair for pair in comparison.pairs if pair.difference == difference]:
            yield found(
                kind,
                f"{least}{counted(len(pairs), 'pair')} of clips look like the same footage{where}",
                rows=np.unique([row for pair in pairs for row in pair.rows]),
                lines=[
                    f"likeness {pair.likeness:.3f}: "
                    + " = ".join(f"{table.where(row)} ({table.gloss.of(row)})" for row in pair.rows)
                    for pair in pairs
                ],
            )
    yield from found_in_clips(comparison.still_rows, "still", "in which nothing moves")
    yield from found_in_clips(comparison.dark_rows, "dark", "in which hardly anything can be seen")
    if not comparison.num_clips and comparison.num_all:
        yield found("compared", "clips were not compared with one another")
    elif comparison.num_clips < comparison.num_all:
        percent = 100 * (comparison.num_clips / comparison.num_all) ** 2
        title = f"{comparison.num_clips:,} of {counted(comparison.num_all, 'clip')} compared with one another"
        yield replace(
            found("compared", title),
            meaning=f"So about {percent:.0f} % of all pairs were looked at.",
            cure=f"--compare {comparison.num_all} compares all.",
        )


def _candidates(moving: NDArray[np.float32], contents: NDArray[np.int32]) -> tuple[NDArray[np.int64], bool]:
    """Return places of pairs alike in coarse fields, of different videos, int64 [P, 2], and if some are cut off."""
    found, num_found = [np.zeros((0, 2), np.int64)], 0
    for first in range(0, len(moving), _BLOCK):
        likeness = moving[first : first + _BLOCK] @ moving[first:].T
        pairs = np.argwhere(likeness >= COARSE_LIKENESS) + first
        pairs = pairs[(pairs[:, 0] < pairs[:, 1]) & (contents[pairs[:, 0]] != contents[pairs[:, 1]])]
        found.append(pairs)
        num_found += len(pairs)
        if num_found > MOST_CANDIDATES:
            return np.concatenate(found)[:MOST_CANDIDATES], True
    return np.concatenate(found), False


def _decided(table: ClipTable, candidates: NDArray[np.int64]) -> list[AlikePair]:
    """Return the pairs of rows that are alike in fine fields too, in the order of `Comparison.pairs`."""

    @lru_cache(_BLOCK)
    def signature(row: int) -> NDArray[np.float32]:
        clips = table.cache.read([int(table.positions[row])])
        return _moving_part(_fields(_luma(table.cache, clips), FINE_FIELDS))[0][0]

    pairs = []
    for row, other in candidates.tolist():
        likeness = float(signature(row) @ signature(other))
        if likeness >= LIKENESS:
            codes = {name: table.named(name).codes for name in ("split", "gloss")}
            difference = next((name for name, of in codes.items() if of[row] != of[other]), "")
            pairs.append(AlikePair(rows=(row, other), likeness=min(1.0, likeness), difference=difference))
    worst = list(ALIKE_KINDS)
    return sorted(pairs, key=lambda pair: (worst.index(pair.difference), -pair.likeness, pair.rows))


def _signatures(
    cache: Cache, positions: NDArray[np.int64], progress: Callable[[int], None], *, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return coarse signatures of N clips as vectors of length 1, [N, D], and their motion, brightness and intactness.

    Motion is the root mean square of the luma's changes, brightness the mean luma. They are zeros for damaged clips.
    """
    num_frames = cache.clip_spec.num_frames
    num_moments = min(MOMENTS, num_frames)
    moments = ((np.arange(num_moments) + 0.5) * num_frames / num_moments).astype(int)
    parts = []
    for first in range(0, len(positions), CLIPS_AT_ONCE):
        clips, is_intact = _read(cache, positions[first : first + CLIPS_AT_ONCE], threads)
        fields = _fields(_luma(cache, clips)[:, moments], FIELDS)
        parts.append((*_moving_part(fields), fields.mean(axis=(1, 2, 3)), is_intact))
        progress(first + len(clips))
    moving, motion, brightness, is_intact = (np.concatenate(column) for column in zip(*parts, strict=True))
    return moving, motion, brightness, is_intact


_DRAWN_SIZE = 64
"""Side in pixels of the drawings that stand for landmarks."""


def _read(cache: Cache, positions: NDArray[np.int64], threads: int) -> tuple[StoredClip, NDArray[np.bool_]]:
    """Return clips as stored, zeros in place of damaged ones, and which are whole."""
    is_intact = np.ones(len(positions), np.bool_)
    with suppress(CacheCorruptError):
        return cache.read(positions, threads=threads), is_intact
    clips = np.zeros((len(positions), *cache.clip_spec.clip_shape), cache.clip_spec.dtype)
    for place, position in enumerate(positions):
        try:
            cache.read([position], clips[place : place + 1])
        except CacheCorruptError:
            clips[place], is_intact[place] = 0, False
    return clips, is_intact


def _luma(cache: Cache, clips: StoredClip) -> NDArray[np.uint8]:
    """Return the luma of stored clips, uint8 [B, T, S, S]; of RGB the green channel, which makes most of it."""
    if cache.clip_spec.content == "landmarks":
        return drawn(clips, _DRAWN_SIZE)[..., 1]
    return clips[..., 1] if cache.clip_spec.pixels == "rgb24" else clips[:, :, : cache.clip_spec.size]


def _fields(frames: NDArray[np.uint8], fields: int) -> NDArray[np.float32]:
    """Return the mean of each field of frames, uint8 [B, T, S, S] -> float32 [B, T, fields, fields].

    Sides that the fields do not divide lose a few pixels at the right and the bottom.
    """
    num_clips, num_frames, size, _ = frames.shape
    side = size // fields
    whole = frames[:, :, : side * fields, : side * fields]
    blocks = whole.reshape(num_clips, num_frames, fields, side, fields, side)
    return blocks.mean(axis=(3, 5), dtype=np.float32)


def _moving_part(fields: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what moves in fields, float32 [B, T, F, F], as vectors of length 1, [B, D], and how much it does, [B]."""
    moving = (fields - fields.mean(axis=1, keepdims=True)).reshape(len(fields), -1)
    lengths = np.linalg.norm(moving, axis=1)
    return moving / np.maximum(lengths, 1e-6)[:, None], lengths / np.sqrt(moving.shape[1])
