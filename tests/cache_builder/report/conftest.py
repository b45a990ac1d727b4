"""A cache with everything wrong, its report, and one browser for all tests."""

import os
from collections.abc import Iterator

import pytest

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.page import WrittenReport, write_report
from tests.cache_builder.report.chromium import Tab, chromium, find_chromium
from tests.cache_builder.report.made import troubled_clip, troubled_rows, write_cache


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    root = tmp_path_factory.mktemp("troubled") / "수어 캐시.zarr"
    return write_cache(root, troubled_rows(), troubled_clip, glosses=["빈 낱말"])


@pytest.fixture(scope="session")
def troubled_report(troubled: Cache, tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_report(troubled, tmp_path_factory.mktemp("report") / "보고서 1.html")


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if find_chromium() is None:
        assert not os.environ.get("CI"), "CI must have a Chromium"
        pytest.skip("there is no Chromium on this machine")
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
