"""The clips that are trained and validated on: labels that are no classes, as sentences are, are told or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.training.model.datamodule import split_positions
from tests.cache_builder.made_caches import make_cache, rewrite_rows

NUM_CLIPS = 40
"""Three of four train, ten validate."""


def labelled(folder: Path, gloss_of: Callable[[int, bool], str]) -> Cache:
    """A cache whose clips have glosses by their number among those of their split, and whether they validate."""
    cache = make_cache(folder / "a.zarr", range(NUM_CLIPS))
    seen = {"train": 0, "val": 0}
    rows: dict[int, dict[str, object]] = {}
    for position, split in enumerate(cache.index["split"].to_pylist()):
        rows[position] = {"gloss": gloss_of(seen[split], split == "val")}
        seen[split] += 1
    return rewrite_rows(cache, rows, glosses=tuple(dict.fromkeys(str(row["gloss"]) for row in rows.values())))


def test_sentences_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    cache = labelled(tmp_path, lambda number, validates: f"{'val' if validates else 'train'} sentence {number}")
    with pytest.raises(TrainingError) as refused:
        split_positions(cache, print)
    assert "30 of 30 glosses have one training clip each, and 0 of 10 validation clips" in str(refused.value)
    assert "single signs" in str(refused.value)


def test_one_clip_of_each_gloss_is_told_where_the_same_glosses_validate(tmp_path: Path) -> None:
    told: list[str] = []
    train, val = split_positions(labelled(tmp_path, lambda number, validates: f"sign {number}"), told.append)
    assert (len(train), len(val)) == (30, 10)
    assert any("warning: 30 of 30 glosses have one training clip each" in line for line in told)


def test_glosses_with_several_clips_are_not_mentioned(tmp_path: Path) -> None:
    told: list[str] = []
    split_positions(labelled(tmp_path, lambda number, validates: f"sign {number % 15}"), told.append)
    assert not [line for line in told if "one training clip" in line]
