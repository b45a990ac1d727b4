import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli


def evaluate(checkpoint: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "--checkpoint", str(checkpoint), *map(str, arguments)])


def document(checkpoint: Path, *arguments: object) -> dict:
    result = evaluate(checkpoint, *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_labelled_videos_give_what_their_cache_gives(checkpoint: Path, data_root: Path, cache: object) -> None:
    from_cache = document(checkpoint, cache.path)  # type: ignore[attr-defined]
    from_videos = document(checkpoint, "--data-root", data_root, "--signer", "REAL17")
    assert from_videos["clips"] == from_cache["clips"] == 4
    assert from_videos["figures"] == from_cache["figures"]
    assert from_videos["calibration"] == from_cache["calibration"]
    assert from_videos["data_root"] == str(data_root) and from_videos["cache"] is None


def test_options_that_would_choose_nothing_are_refused(checkpoint: Path, data_root: Path, cache: Cache) -> None:
    for words in (["--signer", "REAL17"], ["--view", "F"], ["--class-by", "item"]):
        refused = evaluate(checkpoint, cache.path, *words)
        assert refused.exit_code == 2 and f"{words[0]} goes with --data-root" in refused.stderr
    refused = evaluate(checkpoint, "--data-root", data_root, "--stream-gb", "1")
    assert refused.exit_code == 2 and "--stream-gb goes with CACHE" in refused.stderr


def test_the_data_root_of_a_split_is_evaluated(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    roots = ["--data-root", tmp_path / "unread", "--val-data-root", data_root, "--signer", "REAL17"]
    found = document(checkpoint, *roots)
    assert found["clips"] == 4 and found["data_root"] == str(data_root)
    missing = evaluate(checkpoint, *roots, "--split", "train")
    assert missing.exit_code == 1 and "unread: there is no such data root" in str(missing.exception)


def test_a_report_of_labelled_videos_names_their_folder(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = evaluate(checkpoint, "--data-root", data_root, "--signer", "REAL17", "--html", page)
    assert result.exit_code == 0, result.exception
    assert data_root.name in result.stdout and "split test" not in result.stdout
    text = page.read_text("utf-8")
    assert f"on {data_root.name}</title>" in text and "<dt>Data root</dt>" in text


def test_timelines_are_held_against_labels(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "timeline.json"
    windows = ["--timeline", "--clip-duration", "0.5", "--stride", "0.25", "--signer", "REAL17"]
    result = evaluate(checkpoint, "--data-root", data_root, *windows, "--output-path", out)
    assert result.exit_code == 0, result.exception
    assert "4 videos, 4 labelled signs" in result.stdout and "word error rate" in result.stdout
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["evaluation_version"] == 1 and found["windows"] == {"clip_duration": 0.5, "stride": 0.25}
    scores = found["timeline"]
    assert scores["labelled_segments"] == 4 and scores["unanswered"] == []
    assert 0 <= scores["segment_f1"] <= 1
    assert scores["matched_segments"] <= min(scores["predicted_segments"], 4)


def test_videos_without_a_sign_are_named_with_their_surest_window(
    checkpoint: Path, data_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "timeline.json"
    windows = ["--timeline", "--clip-duration", "0.5", "--stride", "0.5", "--signer", "REAL17"]
    result = evaluate(checkpoint, "--data-root", data_root, *windows, "--idle-gloss", "왼쪽", "--output-path", out)
    assert result.exit_code == 0, result.exception
    scores = json.loads(out.read_text(encoding="utf-8"))["timeline"]
    assert scores["predicted_segments"] == 0 and len(scores["without_signs"]) == 4
    assert result.stdout.count("no sign in 2 windows; the surest is 오른쪽 with ") == 4
    result = evaluate(checkpoint, "--data-root", data_root, *windows, "--min-confidence", "0", "--output-path", out)
    assert json.loads(out.read_text(encoding="utf-8"))["timeline"]["predicted_segments"] > 0


def test_signs_in_videos_that_cannot_be_read_are_no_mistakes_of_the_model(
    checkpoint: Path, data_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "데이터"
    shutil.copytree(data_root, root)
    next((root / "video").glob("*REAL17*")).write_bytes(b"")
    out = tmp_path / "timeline.json"
    windows = ["--timeline", "--clip-duration", "0.5", "--stride", "0.25", "--signer", "REAL17"]
    result = evaluate(checkpoint, "--data-root", root, *windows, "--output-path", out)
    assert result.exit_code == 0, result.exception
    assert "1 labelled sign where videos could not be read: not counted" in result.stdout
    scores = json.loads(out.read_text(encoding="utf-8"))["timeline"]
    assert (scores["labelled_segments"], scores["left_out_segments"]) == (3, 1) and len(scores["unanswered"]) == 1
    for video in (root / "video").glob("*REAL17*"):
        video.write_bytes(b"")
    result = evaluate(checkpoint, "--data-root", root, *windows)
    assert result.exit_code == 1 and not result.stdout
    assert "not one of 4 labelled signs" in str(result.exception) and "the file is empty" in str(result.exception)


def test_a_video_that_cannot_be_evaluated_is_named(checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "데이터"
    shutil.copytree(data_root, root)
    broken = next((root / "video").glob("*REAL17*"))
    broken.write_bytes(b"")
    result = evaluate(checkpoint, "--data-root", root, "--signer", "REAL17")
    assert result.exit_code == 0, result.exception
    assert f"not evaluated: video/{broken.name}: the file is empty" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give CACHE or --data-root"),
        (["--cache", "x", "--data-root", "y"], "give CACHE or --data-root"),
        (["--cache", "x", "--timeline"], "--timeline goes with --data-root"),
        (["--cache", "x", "--stride", "0.5"], "--stride goes with --timeline"),
        (["--cache", "x", "--min-confidence", "0.5"], "--min-confidence goes with --timeline"),
        (["--data-root", "x", "--split", "val"], "--split goes with CACHE"),
        (["--data-root", "x", "--timeline", "--stride", "0"], "--stride"),
        (
            ["--data-root", "x", "--val-data-root", "y", "--split", "test"],
            "--split is test; it must be one of train, val",
        ),
    ],
)
def test_contradictions_are_usage_errors(checkpoint: Path, arguments: list[str], message: str) -> None:
    result = evaluate(checkpoint, *arguments)
    assert result.exit_code == 2 and message in result.output


def test_a_data_root_without_segments_is_named(checkpoint: Path, data_root: Path) -> None:
    for more in ([], ["--timeline"]):
        result = evaluate(checkpoint, "--data-root", data_root, "--signer", "REAL99", *more)
        assert result.exit_code == 1 and "no " in str(result.exception)
