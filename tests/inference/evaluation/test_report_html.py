import base64
import io
import json
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.report import coverage_chart, html_page, reliability_chart, write_html
from signprep.pipeline.cli import cli
from signprep.training.report.parts import mistaken_pictures
from tests.cache_builder.report.chromium import Tab
from tests.pipeline.html.parsed import ParsedPage, require_self_contained

HOSTILE = '<script>alert("1")</script>&\'[bold]'


@pytest.fixture(scope="module")
def page_and_document(cache: Cache, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    out = tmp_path_factory.mktemp("report") / "보고서.html"
    arguments = ["--checkpoint", checkpoint, "--cache", cache.path, "--device", "cpu", "--html", out, "--json"]
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return out.read_text(encoding="utf-8"), json.loads(result.stdout)


def test_the_page_needs_no_other_file_and_shows_every_part(page_and_document: tuple[str, Any]) -> None:
    text, document = page_and_document
    page = ParsedPage(text)
    require_self_contained(text, page)
    said = " ".join(page.text)
    for words in (
        "top 1",
        "By view",
        "Confidence",
        "diagonal",
        "mean over classes",
        "Accuracy by class",
        "Date",
        "Data",
    ):
        assert words in said
    assert "What was taken for what" in said and f"{datetime.now():%Y-%m-}" in said
    # The checkpoint lies in the folder of its run, which has learning curves and options.
    assert "The best epoch is 1 of 1" in said and "--batch-size" in said
    assert page.attributes.count(("class", "chart")) == page.attributes.count(("class", "chart wide")) == 2
    assert page.tags.count("img") == len(document["mistaken"]) > 0
    assert all(row["right"] in said and row["segment_id"] in said for row in document["mistaken"])


@pytest.mark.parametrize(("width", "dark"), [(1366, True), (390, False)])
def test_a_browser_shows_the_page_without_complaints(
    tab: Tab, page_and_document: tuple[str, Any], tmp_path: Path, width: int, dark: bool
) -> None:
    (tmp_path / "report.html").write_text(page_and_document[0], encoding="utf-8")
    tab.open(tmp_path / "report.html", dark=dark, width=width)
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    ground = tab.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(251, 251, 250)")
    assert tab.complaints == []


@pytest.mark.parametrize("folder", ["a", "checkpoints"])
def test_a_checkpoint_without_its_run_has_no_curves(
    cache: Cache, checkpoint: Path, page_and_document: tuple[str, Any], tmp_path: Path, folder: str
) -> None:
    if folder == "a":  # a run lies there, but another one
        shutil.copytree(checkpoint.parent.parent, tmp_path, dirs_exist_ok=True)
    document = json.loads(json.dumps(page_and_document[1])) | {"checkpoint": str(tmp_path / folder / "best.ckpt")}
    said = " ".join(ParsedPage(html_page(document, [], cache)).text)
    assert "Accuracy by class" in said and "Learning curves" not in said and "Options" not in said


def test_a_checkpoint_named_from_within_its_folder_has_the_curves_of_its_run(
    cache: Cache, checkpoint: Path, page_and_document: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    document = json.loads(json.dumps(page_and_document[1])) | {"checkpoint": "best.ckpt"}
    assert "Learning curves" in html_page(document, [], cache)


def test_of_landmarks_the_pictures_show_drawn_points(landmark_cache: Cache) -> None:
    found = mistaken_pictures({"mistaken": [{"position": 0}]}, landmark_cache)[0]
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2]))) as picture:
        assert picture.n_frames > 1
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.median(pixels) < 40 and (pixels.max(axis=2) > 120).mean() > 0.005  # bright lines on a dark ground


def test_hostile_names_are_text(cache: Cache, page_and_document: tuple[str, Any]) -> None:
    text = json.dumps(page_and_document[1], ensure_ascii=False)
    for name in ("왼쪽", "오른쪽", "REAL17", "NIA_SL_WORD", "efficient_x3d_xs", "test.zarr", "best"):
        assert name in text
        text = text.replace(name, json.dumps(HOSTILE)[1:-1])
    document = json.loads(text)
    document["left_out"] |= {"unknown_gloss": 1, "unknown_glosses": {HOSTILE: 1}, "failed": 2}
    document["by"]["view"][0]["value"] = document["by"]["source"][0]["value"] = HOSTILE
    html = html_page(document, ["data:image/webp;base64,"] * len(document["mistaken"]), cache)
    page = ParsedPage(html)
    require_self_contained(html, page)
    assert HOSTILE in "".join(page.text)
    assert page.tags.count("script") == 2  # the answers, and the page's own


def test_without_mistakes_views_or_groups_there_are_fewer_sections(
    cache: Cache, page_and_document: tuple[str, Any]
) -> None:
    document = json.loads(json.dumps(page_and_document[1]))
    document |= {"mistaken": [], "confused": [], "views": None, "calibrated": document["calibration"]}
    document["confusion"] = {"glosses": [], "right": [], "answered": [], "times": []}
    document["by"] = {"signer": [], "view": [], "source": [], "gloss": []}
    page = ParsedPage(html_page(document, [], cache))
    assert page.attributes.count(("class", "chart")) == 3  # before and after
    assert "Mistaken" not in "".join(page.text) and "img" not in page.tags


def test_charts_draw_a_bar_for_each_bin_with_clips_and_skip_what_has_no_accuracy() -> None:
    empty = {"from": 0.0, "to": 0.5, "clips": 0, "confidence": None, "accuracy": None, "interval": None}
    full = {"from": 0.5, "to": 1.0, "clips": 4, "confidence": 0.8, "accuracy": 0.75, "interval": [0.3, 0.95]}
    assert reliability_chart([empty, full], "chart").count("<rect") == 1
    rows = [{"threshold": 0.0, "coverage": 1.0, "accuracy": 0.5}, {"threshold": 0.9, "coverage": 0.0, "accuracy": None}]
    assert coverage_chart(rows, "chart").count("<circle") == 3


def test_pictures_move_at_the_speed_of_signing(cache: Cache, page_and_document: tuple[str, Any]) -> None:
    text, document = page_and_document
    pictures = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', text)
    assert len(pictures) == len(document["mistaken"])
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert (picture.format, picture.n_frames, picture.size) == ("WEBP", 4, (64, 64))
    picture.load()
    assert picture.info["duration"] == pytest.approx(600 / 4, abs=1)  # 0.6 s of signing in four frames


def test_a_report_that_cannot_be_written_leaves_nothing(
    cache: Cache, page_and_document: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(Exception, match="cannot be written"):
        write_html(page_and_document[1], cache, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
