"""Everything that people read has its Korean: what is missing is named, with the entry that it needs.

An entry goes into a file of pipeline/runtime/language/ko, `msgid "..."` and `msgstr "..."`; CONTRIBUTING.md tells how.
"""

import ast
import base64
import hashlib
import json
import re
import string
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from pathlib import Path

import click
import pytest

from signprep.pipeline.cli import COMMANDS, cli, main
from signprep.pipeline.html import language as pages
from signprep.pipeline.html.page import render_page
from signprep.pipeline.runtime.language import catalogue, translated
from signprep.pipeline.runtime.language.particles import FORMS
from signprep.pipeline.runtime.text import columns_of
from tests.messages import FLOORS, ROOT, english_in, is_counted, messages, modules

PARTS = {
    "are now", "the models of MediaPipe {} (licence {}) {} in {}", "is no video named", "are no keypoints named",
    "is no landmark file (.pose, .npz, .parquet) named", "there are no keypoints named ", " and {{}} more",
    "{}; {} {} cannot be read", "of the {} that {} looked at", "frame {} shows nobody; {} {} are like that",
    "would be sent", "sent: it is up to date", "would be fetched", "that can be read", "multiples of {} from ",
    "the result", "{} of {} videos not answered, or not to the end: ", "of the videos could not be cut",
    "of the split failed in the build", "{} {}: not evaluated",
    "{#} of {} and ", "{} of {}: {}{#} of {} have them",
    "{}: {}, {} in {}, of {}\ninput: {} [{}]; output: logits [{}, {}]",
}  # fmt: skip
"""Parts of sentences whose wholes are in the catalogue."""
NO_MESSAGES = {
    "how2sign", "not bold", "not bold dim", "the last try raises", "not trusted",
    "| correct | predicted | times | of |",
    "Grad strides do not match bucket view strides", "can't allocate memory", "XNNPACK is not enabled",
    "operator torchvision::nms does not exist", "must run observer before calling",
    "one for each annotation of its parent", "Clips of {}, read from it when a row is asked for.",
    "float32 {}, x, y and confidence", ", {#} of them here", "ClipDataset of {}",
}  # fmt: skip
"""Styles, words of other libraries, comments on code, and what only programmers read."""
IS_OR_ARE = "Of {} pairs of word and signer, {} have no clip at all; in the others, {} {} missing."
"""A sentence that has a value which is grammar only."""
_SIGN = re.compile(r"\{(#?)\}")
_PLACE = re.compile(r"\{(\d)(?:![wt])?(?::(\w+))?\}")


@pytest.fixture(autouse=True)
def _korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")


def examples(template: str) -> Iterator[str]:
    """Yield texts that a template may become: with words for its values, and with numbers."""
    braces = template.replace("{{", "\1").replace("}}", "\2")
    for word in ("가", ""):
        numbers = count(7)
        text = _SIGN.sub(lambda found: f"{'' if found[1] else word}{next(numbers)}", braces)  # noqa: B023
        yield text.replace("\1", "{").replace("\2", "}")


@pytest.mark.parametrize("floor", FLOORS)
def test_every_message_has_its_korean(floor: str) -> None:
    missing = {}
    for path in modules():
        if path.relative_to(ROOT).parts[0] != floor:
            continue
        for line, template in messages(path):
            if template in PARTS | NO_MESSAGES:
                continue
            texts = list(examples(template))
            is_english = is_counted(template) and translated(texts[0]) == texts[0]
            if is_english or all(english_in(translated(text)) for text in texts):
                missing[f"{path.relative_to(ROOT)}:{line}"] = f'msgid "{template}"'
    assert missing == {}


def entries() -> list[tuple[str, str]]:
    return list(catalogue.entries())


def test_a_korean_sentence_has_the_values_of_the_english_one() -> None:
    wrong = []
    for english, korean in entries():
        braces = english.replace("{{", "").replace("}}", "")
        values = set(range(len(_SIGN.findall(braces))))
        places = _PLACE.findall(korean.replace("{{", "").replace("}}", ""))
        unknown = {particle for _, particle in places if particle} - set(FORMS)
        if ({int(place) for place, _ in places} != values and english != IS_OR_ARE) or unknown:
            wrong.append((english, korean))
    assert wrong == []


def test_a_sentence_has_one_translation() -> None:
    found: dict[str, set[str]] = {}
    for english, korean in entries():
        found.setdefault(english, set()).add(korean)
    assert {english: several for english, several in found.items() if len(several) > 1} == {}


def test_parts_and_others_are_still_in_the_code() -> None:
    there = {template for path in modules() for _, template in messages(path)}
    assert (PARTS | NO_MESSAGES) - there == set()


def page_files(ending: str) -> list[Path]:
    return [path for floor in FLOORS for path in sorted((ROOT / floor).rglob(f"*.{ending}"))]


def test_every_page_has_its_korean() -> None:
    missing = []
    for path in page_files("html"):
        source = path.read_text(encoding="utf-8")
        found = pages.template_in_readers_language(source)
        for text in pages._TAG.split(found)[::2]:
            words = english_in(pages._EXPRESSION.sub(" ", text))
            missing += [f"{path.name}: {text.strip()}"] if words else []
    for path in page_files("js"):
        if path.name == "words.js":  # has both languages itself
            continue
        source = re.sub(r"^\s*//.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found = pages.script_in_readers_language(source)
        for text in pages._STRING.findall(found):
            if text[:1] in string.ascii_uppercase and " " in text and english_in(text):
                missing.append(f"{path.name}: {text}")
    assert missing == []


def test_a_page_in_korean_says_so_and_its_policy_allows_its_script() -> None:
    folder = files("signprep.pipeline.html")
    html = render_page(folder, "page.html", scripts=["base.js"], title="3 clips", about=["the working folder", "clips"])
    assert '<html lang="ko">' in html and "<bdi>클립 3개</bdi>" in html
    assert '<p class="about">clips</p>' in html, "a single word may be a name"
    script = re.findall(r'<script type="module">(.*)</script>', html, re.DOTALL)[0]
    assert 'addWords({"clip": "클립"' in script
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in html


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_is_korean_and_fits_80_columns(
    name: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"] if name else ["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and told.startswith("사용법: signprep") and "이 도움말을 보이고 끝냅니다." in told
    lines = [line for line in told.splitlines() if not line.lstrip().startswith(("signprep", "SIGNPREP_", "curl"))]
    wide = [line for line in lines if columns_of(line) > 80 and len(line.split()) > 2]
    assert wide == []
    if name:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        shown = [found for found in command.params if isinstance(found, click.Option) and not found.hidden]
        assert [option.opts[0] for option in shown if option.opts[0] not in told] == []


def test_a_mistake_is_told_in_korean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scan", "--dataroot", "없음"])
    assert capsys.readouterr().err.splitlines()[0] == (
        "signprep: 오류: '--dataroot' 옵션이 없습니다. 혹시 '--data-root' 또는 '--val-data-root'입니까?"
    )
    with pytest.raises(SystemExit):
        main(["scan", "--data-root", "없음"])
    assert capsys.readouterr().err == (
        "signprep: 오류: 없음: 그런 데이터 루트가 없습니다. video/와 label/이 든 폴더여야 합니다\n"
    )


def test_what_an_option_goes_with_is_no_sentence_within_the_sentence() -> None:
    """`{} goes with {}` puts it before a particle."""
    said = {
        argument.value
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("reject_unused", "note_unused")
        for argument in node.args[1:]
        if isinstance(argument, ast.Constant)
    }
    assert "--data-root: a cache has its clips" in said
    assert {
        english: korean for english in said if (korean := translated(english)).endswith("다") or ";" in korean
    } == {}


def test_json_is_the_same_in_every_language(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for locale in ("ko_KR.UTF-8", "C"):
        monkeypatch.setenv("LC_ALL", locale)
        with pytest.raises(SystemExit):
            main(["scan", "--data-root", str(data_root), "--json"])
        told.append(json.loads(capsys.readouterr().out) | {"seconds": 0})
    assert told[0] == told[1]
