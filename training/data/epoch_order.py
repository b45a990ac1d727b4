"""The order of an epoch's clips, and the bounds of its batches: arithmetic of a seed, nothing else.

The order depends on the seed and the epoch, never on the number of threads or ranks (processes that train together):
each rank takes its share of every step's stretch. Shuffling is shard-aware: whole shards are drawn at random and a few
thousand clips are mixed at a time, so that a cache larger than memory is read a shard at a time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_CLIPS = 8192
"""Clips that are mixed at a time: about 3 GB of the default codec, which the page cache holds between shards."""

GROWTH = 0.5
"""Growth of the stretch over which a shard's clips are spread, for each clip before it; see `streaming_order`."""

_ORDER, _DRAWS, _MIXING = range(3)
"""Purposes of random generators; each is a part of its generator's key, so that no two give the same numbers."""


def shuffled_order(positions: NDArray[np.int64], clips_per_shard: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the positions, ascending before, in the order of an epoch: each of them exactly once."""
    generator = np.random.default_rng((seed, epoch, _ORDER))
    if len(positions) <= WINDOW_CLIPS:
        return generator.permutation(positions)
    windows: list[list[NDArray[np.int64]]] = [[]]
    num_clips = 0
    for shard in _drawn_shards(positions, clips_per_shard, generator):
        if num_clips >= WINDOW_CLIPS:
            windows.append([])
            num_clips = 0
        windows[-1].append(shard)
        num_clips += len(shard)
    return np.concatenate([generator.permutation(np.concatenate(window)) for window in windows])


def streaming_order(positions: NDArray[np.int64], clips_per_shard: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the same as `shuffled_order` in an order that can begin as soon as one shard is there.

    For caches whose shards come over a network: shards are drawn at random, and each spreads its clips over what
    follows it, over a stretch that grows with the epoch up to `WINDOW_CLIPS`. Then shards are needed at most at
    a / ln(1 + a) times the rate at which clips are read, a = `GROWTH`: 1.23 times. Mixing a whole window from its first
    clip on would need all the window's shards at once.
    """
    generator = np.random.default_rng((seed, epoch, _ORDER))
    shards = _drawn_shards(positions, clips_per_shard, generator)
    sizes = np.array([len(shard) for shard in shards])
    firsts = np.cumsum(sizes) - sizes
    stretches = np.minimum(sizes + GROWTH * firsts, max(WINDOW_CLIPS, sizes.max()))
    places = np.repeat(firsts, sizes) + np.repeat(stretches, sizes) * generator.random(len(positions))
    return np.concatenate(shards)[np.argsort(places, kind="stable")]


def _drawn_shards(
    positions: NDArray[np.int64], clips_per_shard: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the positions of each shard, the shards in random order."""
    starts = np.flatnonzero(np.diff(positions // clips_per_shard, prepend=-1))
    shards = np.split(positions, starts[1:])
    return [shards[number] for number in generator.permutation(len(shards))]


def balanced_order(
    positions: NDArray[np.int64], labels: NDArray[np.integer], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return as many positions in which every class comes equally often, give or take one.

    Within a class, no clip comes a second time before all others have come once. `labels` are those of the positions.
    """
    generator = np.random.default_rng((seed, epoch, _ORDER))
    classes = generator.permutation(np.unique(labels))
    least, more = divmod(len(positions), len(classes))
    chosen = []
    for place, label in enumerate(classes):
        own = positions[labels == label]
        wanted = least + (place < more)
        rounds = [generator.permutation(own) for _ in range(-(-wanted // len(own)))]
        chosen.append(np.concatenate([own[:0], *rounds])[:wanted])
    return generator.permutation(np.concatenate(chosen))


def uniform_draws(first: int, num_clips: int, num_draws: int, *, seed: int, epoch: int) -> NDArray[np.float32]:
    """Return random numbers in [0, 1) for the clips at `first`, `first` + 1, ... of an epoch, float32 [B, num_draws].

    A clip's numbers depend on the seed, the epoch and its place in the order alone: a counter-based generator
    (Philox, four numbers a count) is set to where they are.
    """
    counts = -(-num_draws // 4)
    key = np.random.SeedSequence((seed, epoch, _DRAWS)).generate_state(2, np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=first * counts))
    return generator.random((num_clips, 4 * counts))[:, :num_draws].astype(np.float32)


def mixing_seed(first: int, *, seed: int, epoch: int) -> int:
    """Return the seed of mixup and CutMix for the batch that begins at place `first` of the order."""
    return int(np.random.SeedSequence((seed, epoch, _MIXING, first)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The bounds of an epoch's batches, for every rank.

    >>> plan = BatchPlan(num_clips=10, batch_size=2, num_ranks=2)
    >>> len(plan), [plan.bounds(step, rank=0) for step in range(len(plan))]
    (3, [(0, 2), (4, 6), (8, 9)])
    >>> plan.global_bounds(2)
    (8, 10)
    """

    num_clips: int
    batch_size: int
    """Clips a step on one rank."""
    num_ranks: int = 1

    def __len__(self) -> int:
        """Return the steps of an epoch; clips too few for every rank to get one join the step before."""
        whole, rest = divmod(self.num_clips, self.batch_size * self.num_ranks)
        return whole + (rest >= self.num_ranks or (whole == 0 and rest > 0))

    def global_bounds(self, step: int) -> tuple[int, int]:
        """Return the stretch of the order that a step takes, half-open."""
        global_batch, is_last = self.batch_size * self.num_ranks, step == len(self) - 1
        return step * global_batch, self.num_clips if is_last else (step + 1) * global_batch

    def bounds(self, step: int, *, rank: int) -> tuple[int, int]:
        """Return a rank's share of the step's stretch, half-open; the shares differ by one clip at most."""
        first, last = self.global_bounds(step)
        each, more = divmod(last - first, self.num_ranks)
        begin = first + rank * each + min(rank, more)
        return begin, begin + each + (rank < more)

    def weight(self, step: int, *, rank: int) -> float:
        """Return the factor on a rank's mean loss that makes the mean over ranks the mean over the step's clips."""
        first, last = self.bounds(step, rank=rank)
        whole_first, whole_last = self.global_bounds(step)
        return (last - first) * self.num_ranks / (whole_last - whole_first)
