"""What a scan says: text, JSON, exit codes, errors."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import ScanOptions
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.scan.findings import FINDINGS
from signprep.pipeline.scan.run import scanned
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import WORD1, label, run, scan


def test_missing_and_empty_roots_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such data root"):
        scan(tmp_path / "nowhere")
    with pytest.raises(AnnotationError, match="neither videos"):
        scan(tmp_path)
    write_video(tmp_path / "a" / "b.mp4", 4)
    with pytest.raises(AnnotationError, match="no labels"):
        scan(tmp_path)


def test_the_database_is_deleted_however_the_scan_ends(
    clean_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), scanned(clean_root, DatasetOptions(), ScanOptions(workers=1)):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_json_holds_every_file(root: Path) -> None:
    for path in (root / "label").iterdir():
        path.write_text("{", encoding="utf-8")
    document = json.loads(run(root, "--json", "--show", "1").stdout)
    assert document["format_version"] == 1
    assert document["counts"]["videos"] == 8
    [problem] = document["problems"]
    assert (problem["kind"], problem["severity"], problem["count"]) == ("label-unreadable", "error", 8)
    assert {file["path"] for file in problem["files"]} == {f"label/{path.name}" for path in (root / "label").iterdir()}
    assert set(document["tables"]) == {"coverage", "formats", "splits", "views", "signers", "words"}
    [coverage] = document["tables"]["coverage"]
    assert (coverage["items"], coverage["signers"], coverage["views"], coverage["videos"]) == (2, 2, "FL", 8)


def test_strict_fails_on_errors_and_warnings_only(clean_root: Path, root: Path) -> None:
    assert run(clean_root, "--strict").exit_code == 0
    label(root, f"{WORD1}01_F", [(0.2, 0.5, "왼쪽")])
    assert run(root).exit_code == 0
    assert run(root, "--strict").exit_code == 1
    assert run(root, "--strict", "--json").exit_code == 1
    assert run(root, "--strict", "--frames", "8").exit_code == 0


def test_the_text_names_files_up_to_a_limit(root: Path) -> None:
    for path in (root / "label").iterdir():
        path.write_text("{", encoding="utf-8")
    text = run(root, "--show", "3").stdout
    assert "Labels that cannot be read: 8" in text
    assert text.count("_morpheme.json") == 3 and "... and 5 more" in text
    assert max(map(len, text.splitlines()[1:])) <= 100


def test_options_that_contradict_each_other(clean_root: Path) -> None:
    result = run(clean_root, "--deep", "--probe", "none")
    assert result.exit_code == 2 and "--probe none" in result.output
    assert CliRunner().invoke(cli, ["scan"]).exit_code == 2


def test_every_kind_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "scan.md").read_text(encoding="utf-8")
    assert [finding.kind for finding in FINDINGS if f"`{finding.kind}`" not in text] == []


def test_korean_findings_are_those_of_the_korean_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    text = (Path(__file__).parents[3] / "docs/ko/scan.md").read_text(encoding="utf-8")
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in text.splitlines()]
    told = {kind.strip("`"): parts for kind, *parts in rows}
    for finding in FINDINGS:
        assert list(map(translated, (finding.title, finding.meaning, finding.cure))) == told[finding.kind]
