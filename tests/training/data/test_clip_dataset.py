"""ClipDataset: what people's own loops get, in any process, and what they are told if they ask for something else."""

import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.reopened import ReopenedCache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.training import ClipDataset
from tests.cache_builder.report.made import HOSTILE, failed, row_of, write_cache

POINTS = ClipSpec(num_frames=8, landmarks="aihub")


def points(number: int) -> np.ndarray:
    return np.random.default_rng(number).random(POINTS.clip_shape).astype(np.float16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Two train glosses and one clip of val; positions 1 and 4 cannot be read."""
    rows = [row_of(number, split="train", gloss="왼쪽" if number < 3 else "오른쪽") for number in range(6)]
    rows[1], rows[4] = failed(1, split="train"), failed(4, split="train")
    rows.append(row_of(6, split="val", gloss="오른쪽"))
    return write_cache(tmp_path_factory.mktemp("made") / "수어 1.zarr", rows, clips_per_shard=2)


def test_a_clip_is_rgb_frames_with_channels_first_and_its_label(made: Cache) -> None:
    dataset = ClipDataset(made, "train")
    assert len(dataset) == 4 and dataset.positions.tolist() == [0, 2, 3, 5]
    clip, label = dataset[2]
    assert clip.shape == (8, 3, 64, 64) and clip.dtype == torch.uint8 and clip.is_contiguous()
    assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), made.rgb(3))
    assert type(label) is int and dataset.classes[label] == "오른쪽"


def test_landmarks_are_points_that_a_network_takes(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "p.zarr", [row_of(0)], points, spec=POINTS)
    clip, _ = ClipDataset(cache, "train")[0]
    assert clip.dtype == torch.float32 and np.array_equal(clip.numpy(), points(0).astype(np.float32))
    assert np.array_equal(cache[0], points(0)) and cache[:].shape == (1, 8, 75, 3)


def test_raw_rgb_caches_give_the_same_shape(tmp_path: Path) -> None:
    spec = ClipSpec(num_frames=2, size=16, pixels="rgb24")
    frames = np.random.default_rng(0).integers(0, 256, spec.clip_shape, dtype=np.uint8)
    cache = write_cache(tmp_path / "r.zarr", [row_of(0)], lambda _: frames, spec=spec)
    assert np.array_equal(ClipDataset(cache, "train")[0][0].numpy(), frames.transpose(0, 3, 1, 2))
    assert np.array_equal(cache[0:1][0], frames)


def test_places_count_from_both_ends_and_slices_are_datasets(made: Cache) -> None:
    dataset = ClipDataset(made, "train")
    for place in (-4, np.int64(0), torch.tensor(0)):
        assert torch.equal(dataset[place][0], dataset[0][0])  # type: ignore[index]
    part = dataset[1:3]
    assert isinstance(part, ClipDataset) and part.targets == dataset.targets[1:3] == [0, 1]
    assert torch.equal(part[1][0], dataset[2][0]) and len(dataset[4:]) == 0
    assert torch.equal(dataset[::-1][0][0], dataset[3][0])
    assert [label for _, label in dataset] == dataset.targets
    assert [label for _, label in Subset(dataset, [3, 0])] == [1, 0]
    for place in (4, -5):
        with pytest.raises(IndexError, match=f"index {place} is outside a dataset of 4 clips"):
            dataset[place]
    for wrong in ("0", [0, 1], 1.0, None):
        with pytest.raises(TypeError, match="expected a whole number or a slice"):
            dataset[wrong]  # type: ignore[call-overload]


def test_classes_are_told_as_by_the_datasets_of_torchvision(made: Cache) -> None:
    dataset = ClipDataset(made, "val")
    assert dataset.classes == ["왼쪽", "오른쪽"] and dataset.class_to_idx == {"왼쪽": 0, "오른쪽": 1}
    assert dataset.targets == [1] and ClipDataset(made, None).targets == [0, 0, 1, 1, 1]


def brightness(clip: Tensor) -> Tensor:
    return clip.float().mean()


def test_what_the_transform_returns_comes_in_the_clips_place(made: Cache) -> None:
    value, label = ClipDataset(str(made.path), "train", brightness)[0]
    assert value == brightness(ClipDataset(made, "train")[0][0]) and label == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loaders_read_the_same_in_processes_of_any_kind_epoch_after_epoch(made: Cache, method: str) -> None:
    dataset = ClipDataset(made, "train", brightness)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where threads have been
        loader = DataLoader(
            dataset, batch_size=3, num_workers=1, persistent_workers=True, multiprocessing_context=method
        )
        for _ in range(2):
            batches = list(loader)
            assert torch.equal(torch.cat([clips for clips, _ in batches]), torch.stack([clip for clip, _ in dataset]))
            assert torch.cat([labels for _, labels in batches]).tolist() == dataset.targets


def test_each_process_opens_the_cache_for_itself(made: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ReopenedCache(made)
    assert source.get() is made
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert source.get() is not made and source.get() is source.get()


def test_a_pickled_dataset_is_small_and_opens_its_cache_when_a_clip_is_asked_for(made: Cache, tmp_path: Path) -> None:
    cache = open_cache(shutil.copytree(made.path, tmp_path / "a.zarr"))
    pickled = pickle.dumps(ClipDataset(cache, "train"))
    assert len(pickled) < 2000
    cache.path.rename(tmp_path / "b.zarr")
    dataset = pickle.loads(pickled)
    assert len(dataset) == 4 and dataset.targets == [0, 0, 1, 1]
    with pytest.raises(CacheError, match=r"a\.zarr"):
        dataset[0]
    other = write_cache(tmp_path / "a.zarr", [row_of(number) for number in range(6)])
    with pytest.raises(CacheError, match="was changed since it was first opened"):
        dataset[0]
    assert len(other) == 6
    shutil.rmtree(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").rename(tmp_path / "a.zarr")
    assert dataset[0][1] == 0


def test_repr_says_what_is_in_it(made: Cache) -> None:
    assert repr(ClipDataset(made, "train")).splitlines() == [
        f"ClipDataset of {made}",
        "    split: train, 4 clips",
        "    classes: 2",
        "    clip: uint8 [8, 3, 64, 64], RGB",
    ]
    assert "classes: 2, 1 of them here" in repr(ClipDataset(made, "val"))
    assert "transform: <function brightness" in repr(ClipDataset(made, None, brightness))
    assert repr(made) == f"<Cache {made}: 5 of 7 clips can be read, 2 classes, stored uint8 [8, 96, 64]>"


def test_a_notebook_shows_moving_pictures_of_all_classes_first_and_no_markup_of_names(tmp_path: Path) -> None:
    rows = [row_of(number, split="train", gloss="왼쪽") for number in range(12)]
    rows[11]["gloss"] = HOSTILE
    cache = write_cache(tmp_path / f"{HOSTILE.replace('/', '')}.zarr", rows)
    html = ClipDataset(cache, "train")._repr_html_()
    assert html.count("data:image/webp;base64,") == 8 and "&lt;script&gt;alert(1)" in html
    assert "<script" not in html and len(html) < 100_000


def test_a_damaged_clip_is_an_error_in_a_loop_and_a_word_in_a_notebook(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "a.zarr", [row_of(0), row_of(1)])
    [shard] = [path for path in (cache.path / "clips").rglob("*") if path.is_file() and path.name != "zarr.json"]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    dataset = ClipDataset(cache.path, "train")
    with pytest.raises(CacheCorruptError):
        dataset[0]
    assert "damaged" in dataset._repr_html_() and dataset._repr_html_().count("data:image") == 1


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ("validation", "expected train, val, test, or None for all; did you mean 'val'?"),
        ("Training", "did you mean 'train'?"),
        ("tset", "did you mean 'test'?"),
        (3, "split is 3; expected train, val, test"),
        ("test", "has no clips in its split 'test'; it has train (4 clips), val (1 clip)"),
    ],
)
def test_a_split_that_is_none_is_told_those_that_there_are(made: Cache, split: Any, told: str) -> None:
    with pytest.raises(ValueError) as raised:
        ClipDataset(made, split)
    assert told in str(raised.value)


def test_other_types_are_told_what_is_wanted(made: Cache) -> None:
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: ClipDataset(3, "train"), "cache is 3, of type int; expected Cache, or the path or URL of one"),  # type: ignore[arg-type]
        (lambda: ClipDataset(made, "train", 3), "transform is 3; expected a function of a clip, or None"),  # type: ignore[arg-type]
        (lambda: made["0"], "position is '0', of type str; expected a whole number or a slice"),  # type: ignore[index]
    ]
    for call, told in wrong:
        with pytest.raises(TypeError) as raised:
            call()
        assert told in str(raised.value)


def test_a_cache_by_itself_is_asked_by_position(made: Cache) -> None:
    assert np.array_equal(made[-1], made.rgb(6)) and made[2:4].shape == (2, *made.rgb(0).shape)
    assert made[3:3].shape == (0, 8, 64, 64, 3)
    assert [clip[0, 0, 0, 0] for clip in made] == [made.rgb(n)[0, 0, 0, 0] for n in (0, 2, 3, 5, 6)]
    with pytest.raises(CacheCorruptError, match="its build failed"):
        made[1]
    for outside in (7, -8):
        with pytest.raises(IndexError, match=r"outside the cache's 0\.\.6"):
            made[outside]
