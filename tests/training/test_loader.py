import numpy as np
import pytest

from signprep.cache_builder.reader import Cache
from signprep.training.loader import ClipLoader


def test_an_epoch_gives_every_position_once_with_its_clip_and_label(cache: Cache) -> None:
    loader = ClipLoader(cache=cache, positions=cache.positions(), batch_size=5, shuffle=True)
    batches = list(loader)
    assert [len(batch["labels"]) for batch in batches] == [5, 5, 2] and len(loader) == 3
    positions = np.concatenate([batch["positions"].numpy() for batch in batches])
    assert sorted(positions) == list(range(12))
    for batch in batches:
        assert np.array_equal(batch["clips"].numpy(), cache.read(batch["positions"].numpy()))
        assert np.array_equal(batch["labels"].numpy(), cache.labels()[batch["positions"].numpy()])


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_order_depends_on_seed_and_epoch_only(cache: Cache, num_workers: int) -> None:
    def epochs(seed: int) -> list[list[int]]:
        loader = ClipLoader(
            cache=cache, positions=cache.positions(), batch_size=4, shuffle=True, seed=seed, num_workers=num_workers
        )
        return [[int(p) for batch in loader for p in batch["positions"]] for _ in range(2)]

    first, second = epochs(0)
    assert first != second
    assert [first, second] == [
        list(ClipLoader(cache=cache, positions=cache.positions(), batch_size=4, shuffle=True, seed=0).epoch_order(e))
        for e in (0, 1)
    ]
    assert epochs(1)[0] != first


def test_stopping_early_leaves_no_thread_behind(cache: Cache) -> None:
    import threading

    before = threading.active_count()
    iterator = iter(ClipLoader(cache=cache, positions=cache.positions(), batch_size=1, num_workers=2))
    next(iterator)
    iterator.close()
    assert threading.active_count() == before
