"""The benchmark of `signprep scan` runs, at toy size."""

import pytest

from benchmarks import scan
from benchmarks._size import Size


def test_the_scan_benchmark_measures_time_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    scan.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "label files" in printed and "peak memory at 40 label files is" in printed
