import gc
import threading

import numpy as np
import pytest
import torch

from signprep.cache_builder.reader import Cache, Located
from signprep.pipeline.errors import CheckpointError
from signprep.training.loader import PREFETCHED_BATCHES, Batch, ClipLoader
from signprep.training.model_spec import model_spec
from signprep.training.transforms import ClipTransform, num_draws
from tests.waiting import HANG_SECONDS


def loader_of(cache: Cache, **options: object) -> ClipLoader:
    options = {"batch_size": 4, "shuffle": True, "num_draws": 3} | options
    return ClipLoader(cache=cache, positions=cache.positions(), **options)  # type: ignore[arg-type]


def flat(batches: list[Batch]) -> list[int]:
    return [int(position) for batch in batches for position in batch.positions]


def test_an_epoch_gives_every_position_once_with_its_clip_and_label(cache: Cache) -> None:
    loader = loader_of(cache, batch_size=5)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [5, 5, 2] and len(loader) == 3
    assert sorted(flat(batches)) == list(range(12))
    for batch in batches:
        assert np.array_equal(batch.clips.numpy(), cache.read(batch.positions.numpy()))
        assert np.array_equal(batch.labels.numpy(), cache.labels()[batch.positions.numpy()])
        assert batch.draws.shape == (len(batch), 3) and batch.weight == 1.0
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_order_and_draws_are_the_same_for_any_number_of_ranks_and_threads(
    cache: Cache, num_workers: int, num_ranks: int
) -> None:
    def epochs(num_workers: int, num_ranks: int) -> list[tuple[int, list[float]]]:
        options = {"batch_size": 4 // num_ranks, "num_ranks": num_ranks, "num_workers": num_workers}
        loaders = [loader_of(cache, rank=rank, **options) for rank in range(num_ranks)]
        seen = []
        for _ in range(2):
            for together in zip(*loaders, strict=True):
                for batch in together:
                    seen += list(zip(batch.positions.tolist(), batch.draws.tolist(), strict=True))
        for loader in loaders:
            loader.close()
        return seen

    expected = epochs(1, 1)
    assert epochs(num_workers, num_ranks) == expected
    assert [p for p, _ in expected[:12]] != [p for p, _ in expected[12:]]


def test_a_loader_goes_on_where_another_one_was(cache: Cache) -> None:
    whole = loader_of(cache)
    expected = [flat([batch]) for _ in range(3) for batch in whole]
    for stop in range(8):
        before = loader_of(cache)
        seen = []
        while len(seen) < stop:
            seen.append(flat([before.next_batch()]))
        after = loader_of(cache)
        after.load_state_dict(before.state_dict())
        while len(seen) < 9:
            seen += [flat([batch]) for batch in after]
        assert seen == expected
        before.close()
        after.close()
    whole.close()


def test_an_epoch_that_two_ranks_have_begun_is_not_gone_on_with_by_one(cache: Cache) -> None:
    two = loader_of(cache, batch_size=2, num_ranks=2)
    two.next_batch()
    one = loader_of(cache, batch_size=2)
    with pytest.raises(CheckpointError, match=r"2 devices shared; this run has 1.*--devices 2"):
        one.load_state_dict(two.state_dict())
    two.step = 0
    one.load_state_dict(two.state_dict())
    for loader in (one, two):
        loader.close()


def test_memory_is_used_again_but_never_while_a_batch_is_held(cache: Cache) -> None:
    loader = loader_of(cache, num_workers=2)
    addresses = set()
    for _ in range(20):
        for batch in loader:
            addresses.add(batch.clips.data_ptr())
            assert np.array_equal(batch.clips.numpy(), cache.read(batch.positions.numpy()))
            del batch
    assert len(addresses) <= PREFETCHED_BATCHES + 3
    held = [batch for _ in range(4) for batch in loader]
    for batch in held:
        assert np.array_equal(batch.clips.numpy(), cache.read(batch.positions.numpy()))
    loader.close()


def test_in_order_nothing_is_read_beyond_the_epoch_and_shuffled_the_next_one_is_begun(cache: Cache) -> None:
    for shuffle, read_ahead in ((False, 0), (True, PREFETCHED_BATCHES)):
        loader = loader_of(cache, shuffle=shuffle)
        list(loader)
        assert len(loader._ahead) == read_ahead
        assert (loader.epoch, loader.step) == (1, 0)
        assert sorted(flat(list(loader))) == list(range(12))
        loader.close()


def test_closing_leaves_no_thread_behind_and_loses_no_batch(cache: Cache) -> None:
    before = set(threading.enumerate())
    loader = loader_of(cache, num_workers=2)
    first = loader.next_batch()
    assert set(threading.enumerate()) - before
    loader.close()
    assert not set(threading.enumerate()) - before
    rest = list(loader)
    assert sorted(flat([first, *rest])) == list(range(12))
    loader.close()
    gc.collect()


def test_a_damaged_clip_is_an_error_in_the_consumer(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: Cache, *arguments: object, **options: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(Cache, "read", damaged)
    loader = loader_of(cache)
    with pytest.raises(OSError, match="gone"):
        list(loader)
    loader.close()


@pytest.mark.parametrize("num_draws_", [0, num_draws(2)], ids=["validated", "augmented"])
def test_frames_that_a_model_does_not_take_are_left_out_and_the_model_sees_the_same(
    cache: Cache, num_draws_: int
) -> None:
    transform = ClipTransform(model_spec("x3d_xs", num_frames=2, crop_size=32))
    whole = loader_of(cache, num_draws=num_draws_)
    some = loader_of(cache, num_draws=num_draws_, frame_chooser=transform.frame_choice, num_workers=7)
    for one, other in zip(whole, some, strict=True):
        assert one.clips.shape[1] == cache.clip_spec.num_frames > other.clips.shape[1] == 2
        assert torch.equal(one.draws, other.draws)
        shown = [
            transform(batch.clips, batch.draws if num_draws_ else None, frames_chosen=batch.frames_chosen)
            for batch in (one, other)
        ]
        assert torch.equal(*shown)
    whole.close()
    some.close()


def test_more_threads_than_batches_share_the_clips_of_each(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    num_threads = PREFETCHED_BATCHES + 4
    together, original = threading.Barrier(num_threads), Cache._decode
    met: set[int] = set()

    def meeting(self: Cache, located: Located, clip: np.ndarray) -> None:
        if len(met) < num_threads and threading.get_ident() not in met:
            met.add(threading.get_ident())
            together.wait(HANG_SECONDS)  # for as many threads that read at the same time
        original(self, located, clip)

    monkeypatch.setattr(Cache, "_decode", meeting)
    loader = loader_of(cache, num_workers=num_threads)
    batch = loader.next_batch()
    assert len(met) == num_threads
    assert np.array_equal(batch.clips.numpy(), cache.read(batch.positions.numpy()))
    loader.close()
