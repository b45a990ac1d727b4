from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.workers import RunOptions
from tests.conftest import plan_of, write_data_root


def test_relative_paths_mean_the_folder_of_the_call_also_in_workers_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_data_root(Path("data"))
        build(plan_of(Path("data")), Path("made.zarr"), RunOptions(workers=2))
        assert len(open_cache(tmp_path / name / "made.zarr")) == 12
