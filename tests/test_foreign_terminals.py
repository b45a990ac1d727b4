"""Every command on standard streams that are not UTF-8: it prints what they can show, and JSON stays what it is."""

import io
import json
import os
import shlex
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

from signprep.pipeline.cli import main
from signprep.pipeline.runtime import doctor
from tests.command_lines import COMMAND_LINES, JSON_LINES, folder, here

__all__ = ["folder", "here"]  # fixtures

ENCODINGS = ["cp949", "ascii", "cp1252"]


def printed(line: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, str, str]:
    """Run a command on streams of an encoding, as strict as PYTHONIOENCODING can make them."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        main(shlex.split(line))
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)  # type: ignore[attr-defined]
    return ended.value.code, out, err


@pytest.mark.parametrize(("line", "encoding"), zip(COMMAND_LINES, cycle(ENCODINGS), strict=False))
def test_every_command_prints_what_the_terminal_can_show(
    line: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = printed(line, encoding, monkeypatch)
    assert code == 0, err
    assert "next: " in err and "Error" not in err and (encoding != "ascii" or (out + err).isascii())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line", JSON_LINES)
def test_json_means_the_same_in_every_encoding(line: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = printed(line, encoding, monkeypatch)
    document = json.loads(out)
    if not line.startswith(("doctor", "export")):
        assert "쪽" in json.dumps(document, ensure_ascii=False)
        assert ("쪽" in out) == (encoding == "cp949")


def test_tables_are_drawn_in_ascii_with_korean_where_it_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {encoding: printed("inspect signs.zarr", encoding, monkeypatch)[1] for encoding in ENCODINGS}
    assert "왼쪽" in shown["cp949"] and "\\uc67c\\ucabd" in shown["ascii"] and "\\uc67c\\ucabd" in shown["cp1252"]
    assert all("####" in text and "\\u2588" not in text for text in shown.values())


@pytest.mark.parametrize(
    ("names", "output", "state", "said"),
    [
        ("utf-8", "utf-8", "ok", "file names utf-8, output utf-8"),
        ("utf-8", "cp949", "ok", "drawn in ASCII"),
        ("utf-8", "cp1252", "missing", "glosses are shown as escapes such as \\uc67c\\ucabd"),
        ("ascii", "ascii", "broken", "files with Korean names cannot be written"),
    ],
)
def test_doctor_says_what_the_terminal_can_show(
    names: str, output: str, state: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: names)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=output))
        found = doctor._encoding()
    assert found[0] == state and said in found[1]
    assert (found[-1] == "set PYTHONUTF8=1, or LANG=C.UTF-8") == (state in ("missing", "broken"))


def test_where_no_file_can_have_a_korean_name_an_error_says_so(here: Path) -> None:
    command = [sys.executable, "-c", "from signprep.pipeline.cli import main; main()"]
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    build = ["build-cache", "--data-root", "data", "--out", "왼쪽.zarr", "--num-frames", "4", "--size", "64"]
    done = subprocess.run([*command, *build, "--workers", "1"], cwd=here, env=environment, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.decode("ascii").splitlines()[-1].endswith("set PYTHONUTF8=1, or LANG=C.UTF-8")
    done = subprocess.run([*command, "inspect", "signs.zarr"], cwd=here, env=environment, capture_output=True)
    assert done.returncode == 0 and "\\uc67c\\ucabd" in done.stdout.decode("ascii")
