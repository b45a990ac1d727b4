"""Every command ends with a line that says what can be typed next; it is typed here, word for word."""

import io
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from signprep.pipeline.cli import COMMANDS, main
from signprep.pipeline.cli.next_step import next_step
from tests.command_lines import COMMAND_LINES, JSON_LINES, TINY_SAMPLE, TINY_TRAINING, folder, here

__all__ = ["folder", "here"]  # fixtures

LESS = {
    "make-sample": TINY_SAMPLE,
    "train": [*TINY_TRAINING, "--overwrite"],
    "build-cache": ["--num-frames", "4", "--size", "64", "--workers", "1"],
}
"""What is added to the command that was told, so that it takes little time."""

Typed = Callable[..., list[str]]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command of signprep and return the words that it proposes."""

    def run(*words: object, code: int = 0) -> list[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        told = capsys.readouterr().err
        assert ended.value.code == code, f"signprep {shlex.join(map(str, words))}\n{told}"
        last = told.splitlines()[-1]
        assert last.startswith("next: ") and told.count("next: ") == 1, told
        return shlex.split(last.removeprefix("next: "))

    return run


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_line_that_a_command_ends_with_can_be_typed(
    line: str, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *words = typed(*shlex.split(line))
    assert shlex.join(words) == COMMAND_LINES[line].removeprefix("more ")
    if words[0] == "forget":  # which asks
        monkeypatch.setattr(sys, "stdin", Answer("y\n"))
    if program == "more":
        assert "왼쪽" in subprocess.run([program, *words], capture_output=True, check=True).stdout.decode()
    elif words == ["demo"]:
        pass  # has a line of its own
    elif "--help" in words:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    else:
        typed(*words, *LESS.get(words[0], []))


class Answer(io.StringIO):
    """A person at the keyboard."""

    def isatty(self) -> bool:
        return True


def test_the_lines_of_all_commands_are_typed() -> None:
    of_their_own = {"landmarks", "completion", "serve", "sweep"}  # serve ends by Ctrl-C alone; sweep trains
    assert {line.split()[0] for line in COMMAND_LINES} == COMMANDS.keys() - of_their_own


def test_landmarks_lead_to_a_cache_of_them(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.pipeline.cli.landmarks.model_paths", lambda folder: folder)
    assert typed("landmarks")[1:] == ["build-cache", "--help"]


def test_a_command_that_calls_another_one_ends_with_one_line(typed: Typed) -> None:
    words = typed("train", "signs.zarr", *TINY_TRAINING, "--mobile-model-path", "phone.pt")
    assert words[1:3] == ["evaluate", "signs.zarr"] and words[-2:] == ["--checkpoint", "phone.pt"]


@pytest.mark.parametrize("line", [*(line for line in JSON_LINES if "--json" in line), "completion bash"])
def test_programs_are_told_nothing(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    assert ended.value.code == line.startswith("diff") and "next: " not in capsys.readouterr().err


def test_a_key_in_a_url_is_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    next_step("verify", "https://host/a.zarr?X-Signature=1")
    next_step("verify", "sftp://kim:geheim@host/a.zarr")
    next_step("verify", "a\x1b[2J.zarr")
    assert capsys.readouterr().err == ""
    next_step("inspect", Path("-a.zarr"))
    assert capsys.readouterr().err.endswith(" inspect ./-a.zarr\n")


@pytest.mark.parametrize(("on_path", "called"), [(True, "signprep"), (False, "{}/signprep")])
def test_signprep_is_called_as_the_shell_finds_it(
    on_path: bool, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "signprep").write_text("#!/bin/sh\n")
    (tmp_path / "signprep").chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "signprep")])
    monkeypatch.setenv("PATH", str(tmp_path) if on_path else "/nowhere")
    next_step("doctor")
    assert capsys.readouterr().err == f"next: {called.format(tmp_path)} doctor\n"
