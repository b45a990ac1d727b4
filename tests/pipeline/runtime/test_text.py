"""Lists that are cut short say so, and JSON files are written whole."""

from pathlib import Path

import pytest

from signprep.pipeline.runtime.atomic_files import write_json
from signprep.pipeline.runtime.text import first_lines, first_of, json_text


def test_lists_tell_that_they_are_cut_short() -> None:
    assert first_of(["a", "b"], 2) == "a, b" and first_of(["a", "b", "c"], 2) == "a, b, ..."
    assert first_of(["{}", "b", "c"], 1, " and {} more") == "{} and 2 more"
    assert first_lines(["a", "b", "c"], 1) == ["  a", "  ... and 2 more"] and first_lines([], 1) == []


def test_json_files_are_readable_and_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"gloss": "위"})
    assert path.read_bytes() == '{\n  "gloss": "위"\n}\n'.encode()
    with pytest.raises(TypeError):
        write_json(path, {"gloss": object()})
    assert path.read_text(encoding="utf-8").startswith('{\n  "gloss"') and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError):
        json_text(float("nan"), allow_nan=False)
