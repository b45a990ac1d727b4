"""Clips that show the same footage under other bytes: coded again, scaled, or brightened.

In: a cache and the positions to compare. Out: pairs, and the clips in which nothing moves or nothing can be seen. Every
clip is compared with every other one, by products of matrices in blocks: exact, in 0.1 GB, and quadratic: 30,000 clips
take 25 s to read and 15 s to compare on one core, 300,000 take 25 minutes. So a cache of more is sampled.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable, Named
from signprep.cache_builder.report.findings import LOOK, NOTE, WRONG, Finding, no_rows
from signprep.pipeline.errors import CacheCorruptError
from signprep.pipeline.runtime.text import counted

COMPARED_CLIPS = 30_000
COARSE_LIKENESS, LIKENESS = 0.985, 0.992
"""Correlations of what moves, in coarse and in fine fields, from which on two clips are called alike."""
MOST_CANDIDATES = 20_000
DIFFERENCES = ("split", "gloss", "")
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class AlikePair:
    """Two clips that look like the same footage."""

    rows: tuple[int, int]
    likeness: float
    """Correlation of what moves, up to 1."""
    difference: str
    """One of `DIFFERENCES`: the gravest thing that the two do not share."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of comparing clips with one another."""

    num_all: int
    num_clips: int = 0
    """That were compared, of `num_all`."""
    pairs: tuple[AlikePair, ...] = ()
    """Those across splits first, then those across glosses, then the others; in each the most alike first."""
    is_cut_off: bool = False
    """Whether there were more candidates than are looked at."""
    still_rows: NDArray[np.int64] = field(default_factory=no_rows)
    dark_rows: NDArray[np.int64] = field(default_factory=no_rows)
    damaged_rows: NDArray[np.int64] = field(default_factory=no_rows)


def compare_clips(
    cache: Cache,
    columns: ClipTable,
    *,
    most: int = COMPARED_CLIPS,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Compare the clips of a cache with one another.

    Args:
        cache: that is compared.
        columns: of its index.
        most: clips that are compared; of more, so many are drawn, the same ones every time.
        threads: that read.
        progress: is told how many clips have been read.
    """
    rows = np.flatnonzero(columns.is_ok)
    num_all = len(rows)
    if num_all > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    if not len(rows) or cache.clip_spec.num_frames < 2:
        return Comparison(num_all=num_all)
    found = signatures(cache, columns.positions[rows], progress, threads=threads)
    is_moving = found.motion >= STILL_LUMA
    candidates, is_cut_off = _candidates(found.moving[is_moving], columns.content.codes[rows[is_moving]])
    return Comparison(
        num_clips=len(rows),
        num_all=num_all,
        pairs=tuple(_decided(cache, columns, rows[is_moving][candidates])),
        is_cut_off=is_cut_off,
        still_rows=rows[~is_moving & found.is_intact],
        dark_rows=rows[(found.brightness < DARK_LUMA) & found.is_intact],
        damaged_rows=rows[~found.is_intact],
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


def _decided(cache: Cache, columns: ClipTable, candidates: NDArray[np.int64]) -> list[AlikePair]:
    """Return the pairs of rows that are alike in fine fields too, in the order of `Comparison.pairs`."""
    fine: dict[int, NDArray[np.float32]] = {}
    pairs = []
    for row, other in candidates.tolist():
        for each in (row, other):
            if each not in fine:
                if len(fine) >= _BLOCK:
                    fine.clear()
                fine[each] = fine_signature(cache, int(columns.positions[each]))
        likeness = float(fine[row] @ fine[other])
        if likeness >= LIKENESS:
            pairs.append(
                AlikePair(rows=(row, other), likeness=min(1.0, likeness), difference=_difference(columns, row, other))
            )
    return sorted(pairs, key=lambda pair: (DIFFERENCES.index(pair.difference), -pair.likeness, pair.rows))


def _difference(columns: ClipTable, row: int, other: int) -> str:
    return next((name for name in ("split", "gloss") if _differ(columns, name, row, other)), "")


def _differ(columns: ClipTable, name: str, row: int, other: int) -> bool:
    column: Named = getattr(columns, name)
    return bool(column.codes[row] != column.codes[other])


MOMENTS, FIELDS, FINE_FIELDS = 8, 8, 16
CLIPS_AT_ONCE = 16
DARK_LUMA = 24.0
"""Mean luma, of limited range from 16 on, under which a clip is called dark."""
STILL_LUMA = 0.25
"""Root mean square of the luma's changes, averaged over fields, under which nothing moves in a clip."""


def luma(cache: Cache, clips: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of stored clips, uint8 [B, T, S, S]; of RGB the green channel, which makes most of it."""
    if cache.clip_spec.pixels == "rgb24":
        return clips[..., 1]
    return clips[:, :, : cache.clip_spec.size]


def coarse_fields(cache: Cache, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the luma of clips in a few moments and fields, float32 [B, moments, 8, 8]."""
    num_frames = cache.clip_spec.num_frames
    moments = ((np.arange(min(MOMENTS, num_frames)) + 0.5) * num_frames / min(MOMENTS, num_frames)).astype(int)
    return _fields(luma(cache, clips)[:, moments], FIELDS)


def fine_signature(cache: Cache, position: int) -> NDArray[np.float32]:
    """Return what moves in one clip, every frame in 16 x 16 fields, as a vector of length 1."""
    fields = _fields(luma(cache, cache.read([position])), FINE_FIELDS)
    return moving_part(fields)[0][0]


def moving_part(fields: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what moves as vectors of length 1, float32 [B, D], and how much it does, float32 [B].

    Args:
        fields: float32 [B, T, fields, fields].
    """
    moving = (fields - fields.mean(axis=1, keepdims=True)).reshape(len(fields), -1)
    lengths = np.linalg.norm(moving, axis=1)
    return moving / np.maximum(lengths, 1e-6)[:, None], lengths / np.sqrt(moving.shape[1])


@dataclass(frozen=True, kw_only=True)
class Signatures:
    """What moves in N clips."""

    moving: NDArray[np.float32]
    """Vectors of length 1, float32 [N, D]."""
    motion: NDArray[np.float32]
    """How much moves, float32 [N], as a root mean square of luma."""
    brightness: NDArray[np.float32]
    """Mean luma, float32 [N]."""
    is_intact: NDArray[np.bool_]
    """Where the clip's bytes are as they were written; elsewhere the others are zero."""


def signatures(
    cache: Cache, positions: NDArray[np.int64], progress: Callable[[int], None], *, threads: int
) -> Signatures:
    """Return the signatures of the clips at these positions, at least one; damaged ones are told, not raised."""
    parts = []
    for first in range(0, len(positions), CLIPS_AT_ONCE):
        clips, is_intact = _read(cache, positions[first : first + CLIPS_AT_ONCE], threads)
        fields = coarse_fields(cache, clips)
        parts.append((*moving_part(fields), fields.mean(axis=(1, 2, 3)), is_intact))
        progress(first + len(clips))
    moving, motion, brightness, is_intact = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Signatures(moving=moving, motion=motion, brightness=brightness, is_intact=is_intact)


def _read(cache: Cache, positions: NDArray[np.int64], threads: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return clips as stored, zeros in place of damaged ones, and which are whole."""
    is_intact = np.ones(len(positions), np.bool_)
    with suppress(CacheCorruptError):
        return cache.read(positions, threads=threads), is_intact
    clips = np.zeros((len(positions), *cache.clip_spec.clip_shape), np.uint8)
    for place, position in enumerate(positions):
        try:
            cache.read([position], clips[place : place + 1])
        except CacheCorruptError:
            clips[place], is_intact[place] = 0, False
    return clips, is_intact


def _fields(frames: NDArray[np.uint8], fields: int) -> NDArray[np.float32]:
    """Return the mean of each field of frames, uint8 [B, T, S, S] -> float32 [B, T, fields, fields].

    Sides that the fields do not divide lose a few pixels at the right and the bottom.
    """
    num_clips, num_frames, size, _ = frames.shape
    side = size // fields
    whole = frames[:, :, : side * fields, : side * fields]
    blocks = whole.reshape(num_clips, num_frames, fields, side, fields, side)
    return blocks.mean(axis=(3, 5), dtype=np.float32)


_ALIKE = {
    "split": ("alike-across-splits", WRONG, " in two splits", "Validation asks about what was learnt by heart."),
    "gloss": ("alike-across-glosses", LOOK, " under two glosses", "One of the two labels may be wrong."),
    "": ("alike", LOOK, "", "The same performance counts twice."),
}
"""By what two clips do not share: kind and gravity of the finding, and what is said of it."""

ALIKE_KINDS = {difference: kind for difference, (kind, *_) in _ALIKE.items()}
"""Kinds of findings about pairs, by what two clips do not share."""


def footage_findings(columns: ClipTable, comparison: Comparison) -> Iterator[Finding]:
    """Find what a comparison of clips shows."""
    if len(comparison.damaged_rows):
        yield Finding(
            kind="damaged",
            gravity=WRONG,
            title=f"{counted(len(comparison.damaged_rows), 'clip')} of damaged bytes",
            meaning="`signprep verify` tells which files; with --repair it makes them again from the videos.",
            rows=comparison.damaged_rows,
        )
    yield from _pairs(columns, comparison)
    for rows, kind, gravity, what in (
        (comparison.still_rows, "still", LOOK, "in which nothing moves"),
        (comparison.dark_rows, "dark", LOOK, "in which hardly anything can be seen"),
    ):
        if len(rows):
            meaning = "A frozen or covered camera, or a label in a pause: look at a few of them."
            title = f"{counted(len(rows), 'clip')} {what}"
            yield Finding(kind=kind, gravity=gravity, title=title, meaning=meaning, rows=rows)
    if comparison.num_clips < comparison.num_all:
        yield _sampled(comparison)


def _pairs(columns: ClipTable, comparison: Comparison) -> Iterator[Finding]:
    for difference, (kind, gravity, where, meaning) in _ALIKE.items():
        pairs = [pair for pair in comparison.pairs if pair.difference == difference]
        if pairs:
            least = "at least " if comparison.is_cut_off else ""
            yield Finding(
                kind=kind,
                gravity=gravity,
                title=f"{least}{counted(len(pairs), 'pair')} of clips look like the same footage{where}",
                meaning=f"{meaning} Look at them: a sign repeated very exactly may look so too.",
                rows=np.unique([row for pair in pairs for row in pair.rows]),
                lines=tuple(_line(columns, pair) for pair in pairs),
            )


def _line(columns: ClipTable, pair: AlikePair) -> str:
    both = " = ".join(f"{columns.where(row)} ({columns.gloss.of(row)})" for row in pair.rows)
    return f"likeness {pair.likeness:.3f}: {both}"


def _sampled(comparison: Comparison) -> Finding:
    if not comparison.num_clips:
        title, meaning = "clips were not compared with one another", "--compare N compares N of them."
    else:
        share = (comparison.num_clips / comparison.num_all) ** 2
        title = f"{comparison.num_clips:,} of {counted(comparison.num_all, 'clip')} compared with one another"
        meaning = (
            f"So about {100 * share:.0f} % of all pairs were looked at. --compare {comparison.num_all} compares all."
        )
    return Finding(kind="compared", gravity=NOTE, title=title, meaning=meaning)
