"""Lists that are cut short say so, and JSON files are written whole."""

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.pipeline.runtime.atomic_files import write_json
from signprep.pipeline.runtime.text import first_lines, first_of, json_text, printable

TEXTS = st.text(st.characters())
"""With control characters, lone surrogates and marks of direction."""


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


def test_all_that_steers_a_terminal_is_replaced_and_nothing_else() -> None:
    known = [letter for letter in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(letter) != "Cn"]
    unsafe = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for letter, shown in zip(known, printable("".join(known)), strict=True):
        if (shown != letter) != (unicodedata.category(letter) in unsafe and letter not in "\u200c\u200d"):
            pytest.fail(f"U+{ord(letter):04X} is shown as U+{ord(shown):04X}")


@given(st.recursive(st.none() | st.integers() | st.floats() | TEXTS, lambda inner: st.dictionaries(TEXTS, inner)))
def test_any_document_is_json_of_harmless_characters_and_stays_what_it_is(document: object) -> None:
    for indent in (None, 2):
        text = json_text(document, indent=indent)
        assert printable(text, keep="\n") == text and (indent is not None or len(text.splitlines()) == 1)
        read = json.loads(text, parse_constant=pytest.fail)
        assert read == json.loads(json.dumps(document), parse_constant=lambda name: None)
