import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from signprep.pipeline.html.page import Chart, bar, render_page
from tests.pipeline.html.parsed import ParsedPage, require_self_contained

ROOT = Path(__file__).parents[3]
HOSTILE = '<script>alert("1")</script>&\'\N{RIGHT-TO-LEFT OVERRIDE}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.html").write_text(
        '{% extends "page.html" %}{% from "parts.html" import cards, facts, legend, table %}'
        "{% block content %}{{ cards(figures) }}{{ facts([(name, name)]) }}{{ legend([name, none], name) }}"
        "{{ table([name], [[name]]) }}{{ chart }}{{ 12345|number }}{% endblock %}",
        encoding="utf-8",
    )
    (tmp_path / "own.js").write_text("document.body.dataset.ready = 1;", encoding="utf-8")
    return tmp_path


def chart_of(name: str) -> Chart:
    chart = Chart(title=name)
    chart.y_axis({0: name}, unit=name)
    chart.x_axis({0.5: name})
    chart.axis_names(name, name)
    chart.column(0, 1, 0.5, name, (0.4, 0.6))
    chart.dots("part0", {(0, 0): name})
    chart.mark(0.7, name)
    return chart


@given(name=st.text(st.characters(codec=None), min_size=1))
def test_any_name_is_text_of_a_page_that_utf_8_and_html_hold(name: str) -> None:
    html = render_page(Path("nowhere"), "page.html", title=f"<{name}>")
    html.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)
    shown = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", f"<{name}>")
    assert "".join(ParsedPage(html).inside["title"]) == shown


@pytest.mark.parametrize("scripts", [(), ("own.js",)])
def test_a_page_needs_no_other_file_and_hostile_names_are_text(folder: Path, scripts: tuple[str, ...]) -> None:
    figures = [(HOSTILE, HOSTILE, [HOSTILE])]
    values = {"title": HOSTILE, "about": [HOSTILE], "name": HOSTILE, "figures": figures}
    html = render_page(folder, "own.html", scripts=scripts, chart=chart_of(HOSTILE).svg(), **values)
    page = ParsedPage(html)
    require_self_contained(html, page)
    assert page.tags.count("script") == len(scripts) and ("script-src" in page.policy) == bool(scripts)
    assert "".join(page.text).count(HOSTILE) == 19
    assert any("12,345" in text for text in page.text)
    # Marks of direction end with the element that they are in: nothing beside a name is turned round.
    assert HOSTILE in page.inside["bdi"]


def test_a_value_that_a_template_lacks_is_an_error_and_no_gap(folder: Path) -> None:
    with pytest.raises(UndefinedError, match="figures"):
        render_page(folder, "own.html", title="", name="", chart="")


def test_a_script_that_could_end_its_element_is_refused(folder: Path) -> None:
    (folder / "own.js").write_text("document.write('</script>')", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"own\.js"):
        render_page(folder, "own.html", scripts=["own.js"], title="")


def test_bars_and_charts_draw_what_they_are_given() -> None:
    assert bar([1, 0, 3], 8).count("<rect") == 2 and 'x="12.50" width="37.50"' in bar([1, 0, 3], 8)
    assert bar([], 0).count("<rect") == 0
    chart = Chart(title="", width=120, height=70, margins=(10, 10, 10, 10), x_range=(5, 15), y_range=(0, 2))
    chart.line("line0", [(5, 0), (15, 2)])
    assert 'd="M10.0 60.0L110.0 10.0"' in chart.svg()


def test_the_wheel_has_every_file_of_the_kit_and_its_reports() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in ("pipeline.html", "inference.evaluation"):
        assert f"signprep.{package}" in data["packages"]
        folder = ROOT / package.replace(".", "/")
        packed = {path for pattern in data["package-data"][f"signprep.{package}"] for path in folder.glob(pattern)}
        assert packed == {path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js")} != set()
