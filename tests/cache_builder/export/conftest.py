"""A cache with everything an export has to get right: names that are no folders, clips without splits, failed ones."""

from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from tests.cache_builder.report.made import HOSTILE, LONG, failed, row_of, write_cache

GLOSSES = ("왼쪽", "../위", HOSTILE, LONG)
POINTS = ClipSpec(num_frames=8, landmarks="aihub")


def points(number: int) -> np.ndarray:
    clip = np.random.default_rng(number).random(POINTS.clip_shape).astype(np.float16)
    clip[:, 60:] = (np.nan, np.nan, 0)
    return clip


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """14 rows of four classes: position 3 failed, 5 has no split, the last class is in val alone."""
    rows = [row_of(number, gloss=GLOSSES[number % 3], split="train") for number in range(12)]
    rows += [row_of(number, gloss=GLOSSES[3 * (number % 2)], split="val") for number in (12, 13)]
    rows[3] = failed(3, split="train")
    rows[5] |= {"split": None}
    for number in (6, 9):
        rows[number] |= {"clip_end_seconds": rows[number]["clip_start_seconds"] + 2}  # type: ignore[operator]
    return write_cache(tmp_path_factory.mktemp("made") / "수어 1.zarr", rows)


@pytest.fixture
def landmarks(tmp_path: Path) -> Cache:
    return write_cache(tmp_path / "점.zarr", [row_of(0), row_of(6)], points, spec=POINTS)
