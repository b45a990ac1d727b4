"""Texts on terminals of any width: broken between words, never within a name, and whole without a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from signprep.pipeline.cli.printing import broken
from signprep.pipeline.runtime.text import columns_of

WIDTHS = [40, 80, 200]
TEXTS = [
    "signprep: error: aihub.zarr: this cache is not complete; `signprep build-cache` is at work, or was stopped",
    "signprep: error: No such option '--bs'. Did you mean '--batch-size' or '--balanced-sampling'?",
    "signprep: 오류: 캐시가 완전하지 않습니다. 만드는 중이거나 중단되었습니다. 같은 명령을 다시 실행하면 이어집니다",
    "/a/path/that/is/longer/than/any/terminal/of/forty/columns/and/has/no/space.zarr: is not there",
]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("text", TEXTS)
def test_lines_fit_and_have_all_words(text: str, width: int) -> None:
    lines = list(broken(text, width, rest="  "))
    assert " ".join(line.removeprefix("  ") for line in lines) == text
    for line in lines:
        assert columns_of(line) <= width or " " not in line.strip()
    assert len(lines) == 1 or width < columns_of(text)


def test_what_is_to_be_copied_stays_whole() -> None:
    text = "say `signprep verify a.zarr --repair`, or give 'two words' to people's machines"
    assert list(broken(text, 20)) == [
        "say",
        "`signprep verify a.zarr --repair`,",
        "or give 'two words'",
        "to people's machines",
    ]


def test_a_letter_of_korean_takes_two_columns() -> None:
    assert list(broken("수어 영상 자료", 9)) == ["수어 영상", "자료"]
    assert list(broken("수어 영상 자료", 8)) == ["수어", "영상", "자료"]


def told(columns: int | None, *words: str) -> list[str]:
    """The lines that a command leaves on a terminal, or in a pipe, which is of UTF-8."""
    command = [sys.executable, "-c", "from signprep.pipeline.cli import main; main()", *words]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"PYTHONUTF8": "1"}
    if columns is None:
        return subprocess.run(command, env=environment, stderr=subprocess.PIPE).stderr.decode().splitlines()
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal):
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(screen, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
    os.close(screen)
    return shown.decode().splitlines()


def test_an_error_is_broken_on_a_terminal_alone(tmp_path: Path) -> None:
    name = str(tmp_path / "한국 수어 자료" / "캐시 하나.zarr")
    assert told(None, "inspect", name) == [
        f"signprep: error: {name}: there is no cache at this path; `signprep build-cache` makes one"
    ]
    assert told(60, "inspect", name)[:2] == ["signprep: error:", f"  {name}:"]
    lines = told(50, "train", "a.zarr", "--bs", "4")
    assert lines[0] == "signprep: error: No such option '--bs'. Did you" and len(lines) == 4
    assert told(40, "train", "--help")[0] == "Usage: signprep train [OPTIONS]"
