"""The report in a real browser: it renders, filters, sorts, opens, prints, and complains about nothing."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from signprep.cache_builder.options import ReportOptions
from signprep.cache_builder.report.page import WrittenReport, write_report
from tests.cache_builder.report.chromium import Tab
from tests.cache_builder.report.made import HOSTILE, LONG, QUOTING, row_of, write_cache

CHOSEN = "document.getElementById('chosen').textContent"


def texts(tab: Tab, selector: str) -> Any:
    return tab.value(f"[...document.querySelectorAll({selector!r})].map(element => element.textContent)")


def count(tab: Tab, selector: str) -> Any:
    return tab.value(f"document.querySelectorAll({selector!r}).length")


def choose(tab: Tab, **values: str) -> None:
    """Set the form's controls as a person does, by the texts that they show."""
    for name, value in values.items():
        control = f"document.getElementById('by-{name}')"
        if name != "gloss":
            tab.value(f"{control}.value = [...{control}.options].find(({{text}}) => text === {value!r}).value; 0")
        else:
            tab.value(f"{control}.value = {value!r}; 0")
        tab.value(f"{control}.dispatchEvent(new Event('input', {{bubbles: true}})); 0")


def column(tab: Tab, name: str) -> list[str]:
    place = texts(tab, "table.clips thead th").index(name)
    return texts(tab, f"table.clips tbody td:nth-child({place + 1})")


@pytest.fixture
def page(tab: Tab, troubled_report: WrittenReport) -> Tab:
    tab.open(troubled_report.path)
    return tab


def test_the_page_renders_without_complaints_or_requests(page: Tab) -> None:
    assert page.value(CHOSEN) == "47 clips of 7 classes"
    assert count(page, ".classes article") == 7 and count(page, ".picture img") >= 20
    loaded = (
        "Promise.all([...document.images].map(image => (image.loading = 'eager', "
        "image.decode().then(() => image.naturalWidth))))"
    )
    assert set(page.value(loaded)) == {64}
    assert count(page, ".finding.error[open]") == count(page, ".finding.error") == 7
    assert count(page, "[data-pair] figure") == 2
    assert page.complaints == []


def test_hostile_names_are_shown_and_never_run(page: Tab) -> None:
    assert {HOSTILE, QUOTING, LONG} < set(texts(page, ".classes h4"))
    assert {HOSTILE, QUOTING, LONG} < set(texts(page, ".matrix tbody th"))
    assert "<b>김</b>" in texts(page, "#by-signer option") and "video/<i>a</i>.mp4" in column(page, "video")
    assert count(page, "main i, main b > b, img[src=x], main script") == 0
    # Even a script that came into the page would not run.
    page.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})); 0"
    )
    assert page.value("window.ran === undefined")
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"gloss": "왼"}, "16 clips of 1 class"),
        ({"gloss": "ㅇㄹㅉ"}, "15 clips of 1 class"),
        ({"gloss": "쪽"}, "31 clips of 2 classes"),
        ({"gloss": '"3.1절"'}, "10 clips of 1 class"),
        ({"gloss": "script"}, "4 clips of 2 classes"),
        ({"gloss": "없는 낱말"}, "0 clips of 0 classes"),
        ({"gloss": "빈"}, "0 clips of 1 class"),
        ({"signer": "REAL04", "view": "F"}, "6 clips of 4 classes"),
        ({"split": "val", "gloss": "왼쪽"}, "5 clips of 1 class"),
        ({"finding": "failed clips"}, "3 clips of 2 classes"),
        ({"finding": "1 take both in train and in val"}, "2 clips of 1 class"),
        ({"signer": "–"}, "1 clip of 1 class"),
    ],
)
def test_filters_choose_in_every_list(page: Tab, chosen: dict[str, str], told: str) -> None:
    choose(page, **chosen)
    num_clips, num_classes = (int(number) for number in re.findall(r"\d+", told))
    assert page.value(CHOSEN) == told
    assert len(column(page, "clip")) == num_clips and count(page, ".classes article") == num_classes
    if "view" in chosen:
        assert set(column(page, "view")) == {chosen["view"]} and set(column(page, "signer")) == {chosen["signer"]}
    page.value("document.querySelector('#filter button[type=reset]').click(); 0")
    assert page.value(f"new Promise(done => setTimeout(() => done({CHOSEN}), 50))") == "47 clips of 7 classes"
    assert page.complaints == []


def test_an_address_shows_the_same_clips_again(page: Tab, troubled_report: WrittenReport) -> None:
    choose(page, gloss='"3.1절"', view="L")
    address = page.value("location.hash")
    page.open(troubled_report.path, address=address)
    assert page.value(CHOSEN) == "6 clips of 1 class"
    page.open(troubled_report.path, address=f"#gloss={quote(HOSTILE)}&signer=nobody&finding=99")
    assert page.value(CHOSEN) == "3 clips of 1 class"
    page.value("document.querySelector('.finding a').click(); 0")
    assert page.value(f"new Promise(done => setTimeout(() => done({CHOSEN}), 50))") == "2 clips of 2 classes"
    assert page.complaints == []


def test_tables_sort_by_their_heads(page: Tab) -> None:
    def click(selector: str, text: str) -> None:
        heads = f"[...document.querySelectorAll('{selector} thead button')]"
        page.value(f"{heads}.find(({{textContent}}) => textContent === '{text}').click(); 0")

    click("table.clips", "seconds")
    seconds = [float(text) for text in column(page, "seconds")]
    assert seconds == sorted(seconds)
    click("table.clips", "seconds")
    assert column(page, "seconds")[0] == "5.50"
    assert page.value("document.querySelector('table.clips th[aria-sort]').getAttribute('aria-sort')") == "descending"
    click("table.clips", "signer")
    assert [signer for signer in column(page, "signer") if signer.startswith("R")][:2] == ["REAL01", "REAL01"]
    click("#coverage table.sortable", "F")
    words = [int(text) for text in texts(page, "#coverage table.sortable tbody td:nth-child(2)")]
    assert words == sorted(words, reverse=True) and words[0] > words[-1]


def test_a_clip_opens_by_keyboard_with_its_video_and_seconds(page: Tab) -> None:
    page.value("document.querySelector('.picture').focus(); 0")
    page.press("Enter")
    said = page.value("document.querySelector('dialog[open]').textContent")
    assert "video/NIA_SL_WORD" in said and " s" in said and "signprep play" in said and "수어 캐시.zarr" in said
    page.press("Escape")
    assert page.value("document.querySelector('dialog[open]') === null")
    assert page.value("document.activeElement.className") == "picture"
    choose(page, finding="failed clips")
    page.value("document.querySelector('table.clips tbody button').click(); 0")
    assert "truncated or damaged" in page.value("document.querySelector('dialog[open]').textContent")


def test_everything_that_acts_has_a_name_and_a_focus(page: Tab) -> None:
    nameless = (
        "[...document.querySelectorAll('button, select, input, [role=img], img')].filter(element => "
        "!(element.textContent.trim() || element.alt || element.labels?.length || element.ariaLabel || "
        "element.querySelector('[alt], [aria-label]'))).length"
    )
    assert page.value(nameless) == 0
    assert page.value("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length") == 0


@pytest.mark.parametrize(("width", "dark"), [(1366, False), (1366, True), (390, False)])
def test_nothing_overflows_and_the_ground_follows_the_reader(
    tab: Tab, troubled_report: WrittenReport, width: int, dark: bool
) -> None:
    tab.open(troubled_report.path, width=width, dark=dark)
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    ground = tab.value("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) / 3
    assert (brightness < 60) == dark


def test_motion_can_be_stopped(page: Tab) -> None:
    page.value("document.getElementById('moving').click(); 0")
    assert count(page, ".classes canvas") > 0 and count(page, ".classes img") == 0
    drawn = (
        "new Promise(done => setTimeout(() => done(Math.max(...document.querySelector('.classes canvas')"
        ".getContext('2d').getImageData(0, 0, 32, 32).data.filter((_, place) => place % 4 < 3))), 300))"
    )
    assert page.value(drawn) > 50


def test_it_prints(page: Tab) -> None:
    data = page.pdf()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") >= 2


def test_one_class_without_names_and_a_chosen_class_render(tab: Tab, tmp_path: Path) -> None:
    own = {"signer": None, "view": None, "source": None, "item": None, "gloss": "하나"}
    rows = [row_of(number, **own, take=f"take {number}") for number in range(20)]
    made = write_cache(tmp_path / "c.zarr", rows)
    report = write_report(made, tmp_path / "r.html", ReportOptions(classes=("하나",)))
    tab.open(report.path)
    assert count(tab, ".picture img") == 16 == report.num_pictures
    assert count(tab, "#coverage") == 0 and texts(tab, "nav.contents a")[-1] == "Clips"
    assert tab.complaints == []
