"""Results are valid JSON, JSON lines and CSV, read by Python's own readers, whatever glosses and files are called."""

import csv
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from signprep.inference.options import InferOptions
from signprep.inference.videos.results import COLUMNS, Prediction, write_results
from signprep.pipeline.cli import cli

ODD = [
    "", "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''-1", "'s", "\uff1d1",
    '"', '",=1', "a,b", "a;=1", "-->", "]]>", "<b>&", "a\n\nb", "\x1b[2J\x1b]0;x\x07", "\u202eoffset", "\u2066x",
    "\x00", "\x85", "\u2028", "\ud800x", "\udcff.mp4", "NaN", "null", "\ufeff왼쪽", "क्\u200dष", "👩\u200d🦰",
]  # fmt: skip
TEXTS = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(ODD)
GLOSSES = st.lists(TEXTS, min_size=1, max_size=6, unique=True)
_COMPUTED = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"


def prediction(glosses: list[str], video: str, number: int) -> dict[str, Any]:
    row = np.random.default_rng(number).dirichlet(np.ones(len(glosses))).astype(np.float32)
    options = InferOptions(with_probabilities=True, top_k=2)
    window = {"video_path": video, "start_seconds": -0.5 + number, "end_seconds": 1.5, "clip_duration": 2.0}
    return Prediction.of(row, glosses, options, **window, segment_id=video).to_dict()


def documents_of(glosses: list[str], videos: list[str]) -> list[Any]:
    """A document of each shape that `infer` gives."""
    answers = [prediction(glosses, video, number) for number, video in enumerate(videos)]
    error = {"start_time": 0.0, "end_time": 1.0, "error": f"{videos[0]}: is damaged"}
    return [*answers, answers, {"video_path": videos[0], "clips": answers, "errors": [error]}]


def strict(text: str) -> Any:
    """Parse JSON as its grammar has it: without NaN and infinities, and no key twice in an object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text, parse_constant=pytest.fail, object_pairs_hook=once)


def steers_a_terminal(text: str) -> bool:
    return any(
        unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for letter in text
        if letter not in "\n\r\t\u200c\u200d"
    )


def as_it_was(cell: str) -> str:
    """Undo what docs/inference.md says of a table's texts."""
    return cell[1:] if re.match(rf"'+{_COMPUTED}", cell) else cell


def shown(text: str) -> str:
    return "".join("\ufffd" if steers_a_terminal(letter) else letter for letter in text)


@given(glosses=GLOSSES, videos=st.lists(TEXTS, min_size=1, max_size=3))
def test_any_names_give_valid_results(
    tmp_path_factory: pytest.TempPathFactory, glosses: list[str], videos: list[str]
) -> None:
    folder, documents = tmp_path_factory.getbasetemp(), documents_of(glosses, videos)
    write_results(documents, folder / "all.json", single=False)
    write_results(documents[:1], folder / "one.json", single=True)
    write_results(documents, folder / "all.jsonl", single=False)
    write_results(documents, folder / "all.csv", single=False)
    written = [
        (folder / name).read_bytes().decode("utf-8") for name in ("all.json", "one.json", "all.jsonl", "all.csv")
    ]
    assert not any(map(steers_a_terminal, written))
    everything, one, lines, table = written
    assert strict(everything) == documents and strict(one) == documents[0]
    assert [strict(line) for line in lines.splitlines()] == documents
    header, *rows = csv.reader(table.splitlines(keepends=True), strict=True)
    assert tuple(header) == COLUMNS and all(len(row) == len(COLUMNS) for row in rows)
    answers = [*documents[:-2], *documents[-2], *documents[-1]["clips"]]
    assert len(rows) == len(answers) + 1
    for cells, answer in zip(rows, answers, strict=False):
        row = dict(zip(COLUMNS, cells, strict=True))
        for name in ("video_path", "predicted_class_name", "segment_id"):
            assert as_it_was(row[name]) == shown(answer[name]) and not re.match(_COMPUTED, row[name])
        for name in ("start_time", "confidence", "predicted_class_idx"):
            assert float(row[name]) == answer[name]


def test_a_table_for_excel_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    documents = [prediction(["왼쪽", "오른쪽"], "가.mp4", 0)]
    for csv_bom in (False, True):
        write_results(documents, tmp_path / "a.csv", single=True, csv_bom=csv_bom)
        content = (tmp_path / "a.csv").read_bytes()
        assert content.startswith(b"\xef\xbb\xbfvideo_path," if csv_bom else b"video_path,")
        assert content.decode("utf-8-sig").count("\ufeff") == 0


@pytest.mark.parametrize("out", [[], ["--out", "a.json"]])
def test_a_byte_order_mark_is_for_tables_only(out: list[str]) -> None:
    result = CliRunner().invoke(cli, ["infer", "a.mp4", "--checkpoint", "best.ckpt", "--csv-bom", *out])
    assert result.exit_code == 2 and "--csv-bom goes with --out FILE.csv" in result.output
