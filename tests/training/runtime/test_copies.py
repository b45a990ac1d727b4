"""Batches that are copied to a device beside its work: each arrives whole, and no memory is written too soon."""

import gc

import numpy as np
import pytest
import torch

from benchmarks._late_copies import Event, LateCopies
from signprep.cache_builder.reader import Cache
from signprep.training.loader import PREFETCHED_BATCHES, Batch, ClipLoader


def loader_to(copies: LateCopies, cache: Cache, **options: object) -> ClipLoader:
    options = {"batch_size": 4, "shuffle": True, "num_draws": 3, "num_workers": 2} | options
    return ClipLoader(cache=cache, positions=cache.positions(), copies=copies, **options)  # type: ignore[arg-type]


def is_whole(batch: Batch, cache: Cache) -> bool:
    clips = cache.read(batch.positions.numpy())
    labels = cache.labels()[batch.positions.numpy()]
    return np.array_equal(batch.clips.numpy(), clips) and np.array_equal(batch.labels.numpy(), labels)


def test_a_batch_is_there_once_the_stream_that_uses_it_has_come_so_far_and_not_before(cache: Cache) -> None:
    copies = LateCopies()
    loader = loader_to(copies, cache)
    for _ in range(3):
        for batch in loader:
            assert (batch.clips == 77).all()
            copies.compute()
            assert is_whole(batch, cache)
    loader.close()


@pytest.mark.parametrize("guarded", [True, False], ids=["with the event", "without it, as a control"])
def test_memory_is_not_written_again_before_its_copy_is_done(
    cache: Cache, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        monkeypatch.setattr(Event, "synchronize", lambda self: None)
    copies = LateCopies()
    loader = loader_to(copies, cache, num_workers=1)
    # The device falls behind: it copies nothing of its own accord until all batches were handed out.
    batches = [loader.next_batch() for _ in range(3 * PREFETCHED_BATCHES)]
    gc.collect()
    monkeypatch.undo()
    copies.compute()
    assert all(is_whole(batch, cache) for batch in batches) is guarded
    loader.close()


def test_the_next_batch_is_on_its_way_when_one_is_handed_out(cache: Cache) -> None:
    copies = LateCopies()
    loader = loader_to(copies, cache)
    loader.next_batch()
    for reading in list(loader._ahead):  # those that may be on their way next
        reading.result()
    handed_out = loader.next_batch()
    assert loader._coming is not None
    loader._ahead[0].result()
    coming = loader._coming[0]
    batch = loader.next_batch()
    assert batch.clips is coming.clips and batch.clips is not handed_out.clips
    loader.close()


def test_the_place_of_the_next_batch_does_not_count_the_one_on_its_way(cache: Cache) -> None:
    whole = loader_to(LateCopies(), cache)
    expected = [whole.next_batch().positions.tolist() for _ in range(9)]
    whole.close()
    for stop in range(1, 8):
        before, after = (loader_to(LateCopies(), cache) for _ in range(2))
        seen = [before.next_batch().positions.tolist() for _ in range(stop)]
        after.load_state_dict(before.state_dict())
        seen += [after.next_batch().positions.tolist() for _ in range(9 - stop)]
        assert seen == expected
        before.close()
        after.close()


def test_a_damaged_clip_is_an_error_where_its_batch_comes(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    original, last = Cache.read, int(cache.positions()[-1])

    def damaged(self: Cache, positions: np.ndarray, **options: object) -> object:
        if last in positions:
            raise OSError("gone")
        return original(self, positions, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Cache, "read", damaged)
    loader = loader_to(LateCopies(), cache, shuffle=False)
    assert [len(loader.next_batch()) for _ in range(2)] == [4, 4]
    with pytest.raises(OSError, match="gone"):
        loader.next_batch()
    loader.close()


def test_the_time_of_copies_is_told_once_it_has_passed() -> None:
    copies = LateCopies()
    copies.finish(copies.begin([torch.zeros(3)]))
    assert copies.stalled_seconds == 0.0
    copies.compute()
    stalled = copies.stalled_seconds
    assert 0 < stalled == copies.stalled_seconds
