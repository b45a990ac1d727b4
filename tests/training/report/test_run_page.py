"""The page of a run: its parts, its size at 3,000 classes, names that are hostile, and what a browser makes of it."""

from pathlib import Path
from typing import Any

import pytest

from signprep.cache_builder.reader import Cache
from signprep.training.report.parts import FEW_CLASSES, SHOWN_MISTAKES, mistaken_pictures
from tests.cache_builder.report.chromium import Tab
from tests.pipeline.html.parsed import ParsedPage, require_self_contained
from tests.training.report.made import RECORD, made_answers, made_page

HOSTILE = '</script><script>alert("1")</script>&\''
FEW = ["왼쪽", "오른쪽", "위", "아래", "중앙"]
PICTURE = "data:image/webp;base64,AAAA"


def many(num_classes: int) -> list[str]:
    return [f"{FEW[place % 5]}{place}" for place in range(num_classes)]


def test_the_page_needs_no_other_file_and_has_every_part(cache: Cache) -> None:
    answers = made_answers(FEW)
    described = answers.describe()
    html = made_page(cache, answers, mistaken_pictures(described, cache))
    page = ParsedPage(html)
    require_self_contained(html, page)
    said = " ".join(page.text)
    for words in (
        "Training: 1", "Learning curves", "best: epoch 2", "Accuracy by class", "What was taken for what",
        "Mistaken clips", "By signer", "By view", "Fingerprint", "Time",
        "with the weights of epoch 2", "signprep train --config runs/1/run.json",
    ):  # fmt: skip
        assert words in said
    assert cache.path.name in said and cache.fingerprint in said
    assert page.tags.count("img") == min(SHOWN_MISTAKES, len(described["mistaken"])) > 0
    assert all(row["right"] in said for row in described["mistaken"])
    # Of 8 clips/s with half of the time waiting: what the epochs' table tells.
    num_clips = len(cache.positions("train"))
    assert f"{3 * num_clips / 8:.1f} s, 50.0 % of it waiting for data, 8.0 clips/s" in said


def test_options_tell_what_is_no_default_and_where_it_came_from(cache: Cache) -> None:
    said = [text for text in ParsedPage(made_page(cache, None)).text if text.strip()]
    changed = said[said.index("where from") + 1 : said.index(next(text for text in said if text.startswith("All ")))]
    rows = {changed[place]: changed[place + 1 : place + 4] for place in range(0, len(changed), 4)}
    assert rows == {
        "cache": ["a.zarr", "–", "given"],
        "--model-name": ["x3d_xs", "–", "given"],
        "--epochs": ["3", "50", "given"],
        "--batch-size": ["4", "8", "given"],
        "--label-smoothing": ["0.1", "0", "recipe scratch"],
    }  # and not --precision, which the machine decides
    assert "--weight-decay" in said and "--precision" in said  # among all of them


def test_three_thousand_classes_stay_a_small_page(cache: Cache) -> None:
    answers = made_answers(many(3000))
    without = made_page(cache, answers)
    assert len(without.encode()) < 250_000
    with_pictures = made_page(cache, answers, mistaken_pictures(answers.describe(), cache))
    assert len(with_pictures.encode()) - len(without.encode()) < SHOWN_MISTAKES * 25_000
    assert ParsedPage(without).tags.count("tr") < 200


@pytest.mark.parametrize("num_classes", [3, FEW_CLASSES + 3])
def test_hostile_and_korean_names_are_text(cache: Cache, num_classes: int) -> None:
    glosses = [HOSTILE, "왼쪽", *many(num_classes)]
    html = made_page(cache, made_answers(glosses), [PICTURE] * SHOWN_MISTAKES)
    page = ParsedPage(html)
    require_self_contained(html, page)
    assert page.tags.count("script") == 2  # the answers, and the page's own
    assert HOSTILE in page.text and "왼쪽" in page.text


def test_a_run_without_an_epoch_or_a_record_still_has_a_page(cache: Cache) -> None:
    said = " ".join(ParsedPage(made_page(cache, None, epochs=[], document={"status": "stopped"})).text)
    assert "The run was stopped" in said and "No validation has ended" in said
    assert "Learning curves" not in said and "Options" in said


def test_answers_of_another_epoch_than_the_best_say_so(cache: Cache) -> None:
    said = " ".join(ParsedPage(made_page(cache, made_answers(FEW), epoch=3)).text)
    assert "Epoch 2 is better" in said and "those shown are of epoch 3" in said


def test_clips_that_are_damaged_have_no_picture(cache: Cache) -> None:
    page = ParsedPage(made_page(cache, made_answers(FEW), [None, PICTURE, None]))
    assert page.tags.count("img") == 1


def texts(tab: Tab, selector: str) -> Any:
    return tab.value(f"[...document.querySelectorAll({selector!r})].map(element => element.textContent)")


def press(tab: Tab, selector: str) -> None:
    tab.value(f"document.querySelector({selector!r}).click(); 0")


def opened(tab: Tab, page: str, folder: Path, **how: Any) -> Tab:
    (folder / "report.html").write_text(page, encoding="utf-8")
    tab.open(folder / "report.html", **how)
    return tab


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
@pytest.mark.parametrize("num_classes", [5, 60])
def test_a_browser_shows_it_without_complaints(
    tab: Tab, cache: Cache, tmp_path: Path, width: int, dark: bool, num_classes: int
) -> None:
    opened(tab, made_page(cache, made_answers(many(num_classes))), tmp_path, width=width, dark=dark)
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    nameless = (
        "[...document.querySelectorAll('button, input, select, a, [tabindex]')].filter(element => "
        "!(element.textContent.trim() || element.labels?.length || element.ariaLabel)).length"
    )
    assert tab.value(nameless) == 0
    assert len(texts(tab, ".confusion tbody tr")) == (5 if num_classes == 5 else 20)
    assert tab.complaints == []


def test_classes_are_searched_and_sorted(tab: Tab, cache: Cache, tmp_path: Path) -> None:
    answers = made_answers(many(60))
    opened(tab, made_page(cache, answers), tmp_path)
    right = (answers.labels == answers.predicted).reshape(60, 10).mean(axis=1)
    shares = [float(text.removesuffix(" %")) for text in texts(tab, ".by-class td:nth-child(2)")]
    assert shares == [pytest.approx(100 * share) for share in sorted(right)[:25]]
    press(tab, ".by-class [data-column=accuracy] button")
    assert float(texts(tab, ".by-class td:nth-child(2)")[0].removesuffix(" %")) == pytest.approx(100 * max(right))
    press(tab, ".by-class [data-column=gloss] button")
    press(tab, ".by-class [data-column=gloss] button")
    press(tab, ".by-class [data-column=gloss] button")
    assert texts(tab, ".by-class td.name:first-child")[:2] == ["아래3", "아래8"]
    tab.value("document.querySelector('#classes input').value = '오른쪽1'; 0")
    tab.value("document.querySelector('#classes input').dispatchEvent(new Event('input')); 0")
    assert texts(tab, ".by-class td.name:first-child") == ["오른쪽1", "오른쪽11", "오른쪽16"]
    assert texts(tab, "#classes output") == ["3 / 60"]


def test_a_pair_and_a_press_on_the_picture_move_the_window(tab: Tab, cache: Cache, tmp_path: Path) -> None:
    opened(tab, made_page(cache, made_answers(many(60))), tmp_path)
    right, answered, times, _ = texts(tab, "#pairs tbody tr:nth-child(2) td")
    press(tab, "#pairs tbody tr:nth-child(2) button")
    assert texts(tab, ".confusion td.chosen") == [times]
    assert right in texts(tab, ".confusion tbody th") and answered in texts(tab, ".confusion thead th")
    tab.value("const choice = document.querySelector('#confusion select'); choice.value = 'vocabulary'; 0")
    tab.value("document.querySelector('#confusion select').dispatchEvent(new Event('input')); 0")
    corner = "new MouseEvent('click', {clientX: box.left + 1, clientY: box.bottom - 2})"
    tab.value(
        "const whole = document.getElementById('whole-matrix'), box = whole.getBoundingClientRect(); "
        f"whole.dispatchEvent({corner}); 0"
    )
    assert texts(tab, ".confusion tbody th") == many(60)[40:]
    assert texts(tab, ".confusion thead th")[:20] == many(60)[:20]
    press(tab, "[aria-label=Up]")
    assert texts(tab, ".confusion tbody th") == many(60)[30:50]
    assert tab.complaints == []


def test_few_classes_and_worst_pairs_need_no_script(cache: Cache) -> None:
    answers = made_answers(FEW)
    html = made_page(cache, answers)
    assert html.count('<td class="hit ') == 5 and html.count('<td class="miss ') == 20
    most = answers.describe()["confused"][0]
    assert f'>{most["right"]}</td><td class="name">{most["answered"]}</td><td>{most["times"]}</td>' in html


def test_the_record_is_not_changed(cache: Cache) -> None:
    before = repr(RECORD)
    made_page(cache, made_answers(FEW))
    assert repr(RECORD) == before
