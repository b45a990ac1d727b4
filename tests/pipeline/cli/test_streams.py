"""What commands print to closed, full and foreign standard streams, run as shells do."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import main
from tests.conftest import write_label
from tests.pipeline.scan.scanning import label

SIGNPREP = f"{sys.executable} -c 'from signprep.pipeline.cli import main; main()'"


def shell(command: str, **variables: str) -> tuple[int, bytes, str]:
    """Return exit code, stdout and stderr of a command of signprep in a shell."""
    done = subprocess.run(
        ["bash", "-c", f"{SIGNPREP} {command}"], capture_output=True, env=os.environ | variables, check=False
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def odd_root(tmp_path: Path) -> Path:
    """A video whose gloss no encoding but Unicode's has, and a label that names its own file badly."""
    (tmp_path / "data" / "video").mkdir(parents=True)
    (tmp_path / "data" / "video" / "a.mp4").write_bytes(b"x")
    label(tmp_path / "data", "a", [(0, 1, "하😀█"), (1, 2, "하 😀█"), (0.5, 1.5, "하😀█")])
    write_label(tmp_path / "data" / "label" / "b😀_morpheme.json", [(0, 1, "x")])
    return tmp_path / "data"


SCAN = "scan --probe none --data-root {}"
CLOSED = "standard output is closed; redirect it to a file, or to /dev/null"
FULL = "standard output cannot be written (No space left on device)"


@pytest.mark.parametrize(
    "command", ["scan --data-root {} --probe none", "scan --data-root {} --json --probe none", "--help"]
)
@pytest.mark.parametrize(("where", "message"), [(">&-", CLOSED), ("> /dev/full", FULL), ("<&- >&-", CLOSED)])
def test_a_stdout_that_takes_nothing_is_one_line(odd_root: Path, command: str, where: str, message: str) -> None:
    code, _, told = shell(f"{command.format(odd_root)} {where}")
    *progress, last = told.splitlines()
    assert (code, last) == (1, f"signprep: error: {message}")
    assert [line for line in progress if not line.startswith("Reading labels: ")] == []


@pytest.mark.parametrize("where", ["<&- 2>&-", "2> /dev/full"])
def test_without_stdin_and_stderr_commands_work(odd_root: Path, where: str) -> None:
    code, out, told = shell(f"scan --data-root {odd_root} --json --probe none {where}")
    assert (code, told) == (0, "") and json.loads(out)["counts"]["videos"] == 1


def test_a_reader_that_has_enough_ends_a_command_without_a_word(odd_root: Path) -> None:
    code, out, told = shell(f"scan --data-root {odd_root} --probe none | true")
    assert (code, out) == (0, b"") and "Traceback" not in told


LONG = "수" * 100


@pytest.mark.parametrize(
    "command",
    [
        ["scan", "--data-root", LONG],
        ["scan", "--data-root", f"{LONG}/t.csv"],
        ["build-cache", "--data-root", LONG, "--out", "x.zarr"],
        ["inspect", LONG],
        ["compact", f"{LONG}/a.zarr"],
        ["diff", LONG, LONG],
        ["push", LONG, "file:///tmp/x"],
        ["pull", f"file:///{LONG}", "x.zarr"],
    ],
)
def test_a_name_that_is_too_long_for_the_disk_is_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(command)
    told = capsys.readouterr().err
    assert ended.value.code == 1 and len(told.splitlines()) == 1 and LONG in told and "too long" in told


@pytest.mark.parametrize("encoding", ["cp949", "ascii", "latin-1"])
def test_letters_that_stdout_lacks_are_escapes_that_json_knows(odd_root: Path, encoding: str) -> None:
    code, out, told = shell(f"scan --data-root {odd_root} --json --probe none", PYTHONIOENCODING=encoding)
    # click writes UTF-8 where it is told ASCII.
    document = json.loads(out.decode("utf-8" if encoding == "ascii" else encoding))
    assert code == 0 and "Traceback" not in told
    assert {row["gloss"] for row in document["tables"]["words"]} == {"하😀█", "하 😀█"}


def test_on_a_terminal_of_korean_windows_tables_and_bars_are_ascii(odd_root: Path, cache: Cache) -> None:
    code, out, told = shell(f"scan --data-root {odd_root} --probe none", PYTHONIOENCODING="cp949")
    text = out.decode("cp949")
    assert code == 0 and "Traceback" not in told and "하 \\ud83d\\ude00#" in text and "----" in text
    code, out, told = shell(f"inspect {shlex.quote(str(cache.path))}", PYTHONIOENCODING="cp949")
    text = out.decode("cp949")
    assert code == 0 and "Traceback" not in told and "왼쪽" in text and "########" in text and "\\u" not in text
