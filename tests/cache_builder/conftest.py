"""A data root to change, and its cache."""

import shutil
from pathlib import Path

import pytest

from tests.cache_builder.changed_data import update


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the data to change."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@pytest.fixture
def out(root: Path, tmp_path: Path) -> Path:
    """Its cache: 12 clips in shards of 5, so that the last one is not full."""
    update(root, tmp_path / "a.zarr")
    return tmp_path / "a.zarr"
