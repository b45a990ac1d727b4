import numpy as np
import pytest

from signprep.training.data import epoch_order as order
from signprep.training.data.epoch_order import BatchPlan, balanced_order, mixing_seed, shuffled_order, uniform_draws


def test_an_epoch_has_every_position_once_and_differs_by_seed_and_epoch() -> None:
    positions = np.arange(5, 1000, 3)
    first = shuffled_order(positions, 32, seed=0, epoch=0)
    assert sorted(first) == list(positions) and list(first) != list(positions)
    assert np.array_equal(first, shuffled_order(positions, 32, seed=0, epoch=0))
    assert not np.array_equal(first, shuffled_order(positions, 32, seed=0, epoch=1))
    assert not np.array_equal(first, shuffled_order(positions, 32, seed=1, epoch=0))


def test_a_large_cache_is_read_a_few_shards_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW_CLIPS", 100)
    positions = np.delete(np.arange(1000), slice(40, 60))  # a validation stretch in between
    shuffle = shuffled_order(positions, 20, seed=3, epoch=7)
    assert sorted(shuffle) == list(positions)
    for first in range(0, 900, 100):
        assert len(np.unique(shuffle[first : first + 100] // 20)) <= 7
    assert len(np.unique(shuffle[:100] // 20)) >= 5
    assert np.abs(np.diff(shuffle[:100])).max() > 100  # shards from everywhere, clips mixed


def test_balanced_sampling_shows_classes_equally_and_repeats_as_little_as_it_can() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 3)
    positions = np.arange(100, 163)
    sampled = balanced_order(positions, labels, seed=0, epoch=0)
    assert len(sampled) == 63
    counts = np.bincount(labels[sampled - 100])
    assert counts.tolist() == [21, 21, 21]
    repeats = np.bincount(sampled - 100)
    assert repeats[:50].max() == 1 and set(repeats[50:60]) == {2, 3} and set(repeats[60:]) == {7}
    assert not np.array_equal(sampled, balanced_order(positions, labels, seed=0, epoch=1))


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize("num_clips", [1, 3, 8, 13, 16, 17, 31, 64])
def test_ranks_share_every_step_and_miss_and_repeat_nothing(num_clips: int, num_ranks: int) -> None:
    if num_clips < num_ranks:
        return
    plan = BatchPlan(num_clips=num_clips, batch_size=8 // num_ranks, num_ranks=num_ranks)
    seen: list[int] = []
    for step in range(len(plan)):
        parts = [range(*plan.bounds(step, rank=rank)) for rank in range(num_ranks)]
        assert min(map(len, parts)) >= 1 and max(map(len, parts)) - min(map(len, parts)) <= 1
        together = [place for part in parts for place in part]
        assert together == list(range(*plan.global_bounds(step)))
        losses = np.random.default_rng(step).random(num_clips)
        mean_over_ranks = np.mean(
            [losses[list(part)].mean() * plan.weight(step, rank=rank) for rank, part in enumerate(parts)]
        )
        assert mean_over_ranks == pytest.approx(losses[together].mean())
        seen += together
    assert seen == list(range(num_clips))


def test_draws_belong_to_the_place_in_the_order_not_to_the_batch() -> None:
    whole = uniform_draws(0, 20, 21, seed=5, epoch=2)
    assert whole.shape == (20, 21) and whole.dtype == np.float32
    assert whole.min() >= 0 and whole.max() < 1 and 0.4 < whole.mean() < 0.6
    parts = [uniform_draws(first, 5, 21, seed=5, epoch=2) for first in range(0, 20, 5)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, uniform_draws(0, 20, 21, seed=5, epoch=3))
    assert len(np.unique(whole.round(6))) > 400
    seeds = {mixing_seed(first, seed=s, epoch=e) for first in range(5) for s in range(3) for e in range(3)}
    assert len(seeds) == 45 and min(seeds) >= 0
