"""Who asks for Korean reads Korean: sentences with values in them are found again, and particles fit the values."""

import io
import subprocess
import sys
from collections.abc import Iterator

import pytest

from signprep.pipeline.runtime.language import asks_for_korean, catalogue, translated
from signprep.pipeline.runtime.language.particles import with_particle

SENTENCES = """
msgid "{}: no such file"
msgstr "{0:이} 없습니다"

msgid "{}: {} of {} cannot be read"
msgstr "{0}: {2} 중 {1:을} 읽을 수 없습니다"

msgid "{} {} there, {} asked for"
msgstr "{0}: 있는 것은 {1}, 요청은 {2}"

msgid "signprep: error: {}"
msgstr "signprep: 오류: {0}"

msgid "{}: is no zip ({})"
msgstr "{0}: zip이 아닙니다({1})"

msgid "{#} clip"
msgid_plural "{#} clips"
msgstr[0] "클립 {0}개"

msgid "the cache has {}"
msgstr "캐시에 {0:이} 있습니다"

msgid "by {}"
msgstr "{0!w}별"

msgid "signer"
msgstr "수어자"

msgid "nothing was done"
msgstr "아무것도 하지 않았습니다"

msgid "note: {}"
msgstr "참고: {0}"

msgid "{}, and every clip decodes"
msgstr "{0}, 모든 클립이 디코딩됩니다"
"""


@pytest.fixture
def _korean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    monkeypatch.setattr(catalogue, "entries", lambda: catalogue.entries_of(SENTENCES))
    for kept in (catalogue.korean_line, catalogue.sentences):
        kept.cache_clear()
    yield
    for kept in (catalogue.korean_line, catalogue.sentences):
        kept.cache_clear()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"LANG": "ko_KR.UTF-8"}, True),
        ({"LANG": "ko"}, True),
        ({"LANG": "kok_IN"}, False),  # Konkani
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ko_KR.UTF-8"}, True),
        ({"LANG": "ko_KR.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, False),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ko_KR.EUC-KR"}, True),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, True),  # empty is as good as absent
        ({"LANG": "ko_KR.UTF-8", "LC_CTYPE": "en_US.UTF-8"}, True),  # which is of letters, not of words
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "ko"}, True),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "ko:en"}, True),
        ({"LANG": "ko_KR.UTF-8", "LANGUAGE": "en:ko"}, False),
        ({"LANG": "ko_KR.UTF-8", "LANGUAGE": "fr:ko"}, True),
        ({"LANG": "ko_KR.UTF-8", "LANGUAGE": "fr"}, False),
        ({"LANG": "C.UTF-8", "LANGUAGE": "ko"}, False),  # as in GNU gettext
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, False),
    ],
)
def test_the_language_is_that_of_posix(environment: dict[str, str], expected: bool) -> None:
    assert asks_for_korean(environment) is expected


@pytest.mark.usefixtures("_korean")
@pytest.mark.parametrize(("encoding", "expected"), [("cp949", "클립 1개"), ("ascii", "1 clip"), ("cp1252", "1 clip")])
def test_a_terminal_without_hangul_has_english(encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert translated("1 clip") == expected


def test_windows_has_a_language_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes
    from types import SimpleNamespace

    def speaking(language: int) -> SimpleNamespace:
        return SimpleNamespace(kernel32=SimpleNamespace(GetUserDefaultUILanguage=lambda: language))

    monkeypatch.setattr(sys, "platform", "win32")
    for language, expected in ((0x0412, True), (0x0409, False)):
        monkeypatch.setattr(ctypes, "windll", speaking(language), raising=False)
        assert asks_for_korean({}) is expected
        assert asks_for_korean({"LANG": "en_US"}) is False and asks_for_korean({"LANG": "ko_KR"}) is True


@pytest.mark.usefixtures("_korean")
@pytest.mark.parametrize(
    ("english", "korean"),
    [
        ("a.mp4: no such file", "a.mp4가 없습니다"),
        ("수어 영상: no such file", "수어 영상이 없습니다"),
        ("x: 3 clips of b cannot be read", "x: b 중 클립 3개를 읽을 수 없습니다"),  # a value is translated, too
        ("1 clip", "클립 1개"),
        ("is no zip (1 clip)", "zip이 아닙니다(클립 1개)"),  # where the file is named beside it
        ("signprep: error: a: is no zip (b)", "signprep: 오류: a: zip이 아닙니다(b)"),
        (
            "size 1 there, 2 asked for; fps 3 there, 4 asked for",
            "size: 있는 것은 1, 요청은 2; fps: 있는 것은 3, 요청은 4",
        ),
        ("12,300 clips", "클립 12,300개"),
        ("many clips", "many clips"),  # no number
        ("the cache has 2 clips", "캐시에 클립 2개가 있습니다"),
        ("note: a: no such file; nothing was done", "참고: a가 없습니다; 아무것도 하지 않았습니다"),
        ("by signer", "수어자별"),
        ("the cache has signer", "캐시에 signer가 있습니다"),  # a value may be a name that looks like a word
        ("Signer", "수어자"),
        ("  2 clips (3 clips), 4 clips", "  클립 2개 (클립 3개), 클립 4개"),
        ("one\n\n  1 clip\n", "one\n\n  클립 1개\n"),
        ("x.zarr: nothing to do", "x.zarr: nothing to do"),
        ("1 clip, and every clip decodes", "클립 1개, 모든 클립이 디코딩됩니다"),
        ("", ""),
        ("{}: {0} {{", "{}: {0} {{"),
    ],
)
def test_sentences_are_found_again(english: str, korean: str) -> None:
    assert translated(english) == korean


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("영상", "영상이 영상을 영상은 영상과 영상으로"),
        ("캐시", "캐시가 캐시를 캐시는 캐시와 캐시로"),
        ("파일", "파일이 파일을 파일은 파일과 파일로"),
        ("10", "10이 10을 10은 10과 10으로"),
        ("1", "1이 1을 1은 1과 1로"),
        ("2", "2가 2를 2는 2와 2로"),
        ("GPU", "GPU가 GPU를 GPU는 GPU와 GPU로"),
        ("XML", "XML이 XML을 XML은 XML과 XML로"),
        ("NAME.zarr", "NAME.zarr가 NAME.zarr를 NAME.zarr는 NAME.zarr와 NAME.zarr로"),
        ("'왼쪽'", "'왼쪽'이 '왼쪽'을 '왼쪽'은 '왼쪽'과 '왼쪽'으로"),
        ("5 %", "5 %가 5 %를 5 %는 5 %와 5 %로"),
        ("--model", "--model이 --model을 --model은 --model과 --model로"),
        ("手", "手이(가) 手을(를) 手은(는) 手과(와) 手으로(로)"),
    ],
)
def test_particles_fit_the_last_sound(word: str, expected: str) -> None:
    assert " ".join(with_particle(word, particle) for particle in "이을은과로") == expected


def test_english_reads_and_imports_nothing() -> None:
    code = """
import sys
from signprep.pipeline.cli import cli
cli.main(["scan", "--help"], standalone_mode=False)
print([name for name in sys.modules if "language." in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
