"""A shell completes commands, options, models and caches by the script that `signprep completion` prints."""

import os
import pty
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from signprep.pipeline.cli import cli
from signprep.pipeline.cli.completion import SHELLS
from signprep.pipeline.datasets.presets.spec import find_preset
from signprep.training.model_spec import MODEL_SPECS
from tests.waiting import until


@pytest.fixture(scope="module")
def shell_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache, a program `signprep`, and the scripts of all shells."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "my signs.zarr").mkdir()
    (folder / "best.ckpt").write_bytes(b"")
    program = folder / "signprep"
    program.write_text(f"#!{sys.executable}\nfrom signprep.pipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    for shell in SHELLS:
        script = subprocess.run([program, "completion", shell], capture_output=True, text=True, check=True)
        assert script.stderr == ""
        (folder / f"signprep.{shell}").write_text(script.stdout)
    return folder


def typed(shell: list[str], source: str, folder: Path, line: str, expected: str) -> None:
    """Type a line and a Tab at a shell, and wait for what it makes of it."""
    keyboard, terminal = pty.openpty()
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PS1": "$ ",
        "TERM": "dumb",
        "HOME": str(folder),
    }
    with subprocess.Popen(
        shell, cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    ) as process:
        os.close(terminal)
        os.set_blocking(keyboard, False)
        shown = b""

        def is_shown(wanted: str) -> bool:
            nonlocal shown
            with suppress(BlockingIOError):
                shown += os.read(keyboard, 65536)
            return wanted in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))

        os.write(keyboard, f"{source}; echo rea''dy\n".encode())
        until(lambda: is_shown("ready\r\n"), alive=lambda: process.poll() is None)
        os.write(keyboard, f"{line}\t".encode())
        try:
            until(lambda: is_shown(expected), alive=lambda: process.poll() is None)
        finally:
            process.kill()
            os.close(keyboard)


LINES = [
    ("signprep bui", "signprep build-cache "),
    ("signprep train --model-name x3d_m", "x3d_m "),
    ("signprep train a.zarr --model-name landmark_tr", "landmark_transformer "),
    ("signprep scan --lay", "--layout "),
    ("signprep train --precision bf", "bf16-mixed "),
    ("signprep evaluate x --checkpoint be", "best.ckpt "),
]


@pytest.mark.parametrize(("line", "expected"), [*LINES, ("signprep inspect my", "inspect my\\ signs.zarr/")])
def test_bash_completes(shell_folder: Path, line: str, expected: str) -> None:
    bash = ["bash", "--norc", "--noprofile", "-i"]
    typed(bash, f"source {shell_folder}/signprep.bash", shell_folder, line, expected)


@pytest.mark.parametrize(("line", "expected"), LINES)
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes(shell_folder: Path, line: str, expected: str) -> None:
    source = f"autoload -Uz compinit; compinit -u; source {shell_folder}/signprep.zsh"
    typed(["zsh", "-f", "-i"], source, shell_folder, line, expected)


@pytest.mark.parametrize(("line", "expected"), LINES)
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(shell_folder: Path, line: str, expected: str) -> None:
    typed(["fish", "--no-config", "-i"], f"source {shell_folder}/signprep.fish", shell_folder, line, expected)


def proposed(name: str, option: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    [parameter] = [found for found in command.params if option in found.opts]
    return {item.value for item in parameter.shell_complete(click.Context(command), "")}


def test_what_is_completed_is_what_there_is() -> None:
    assert proposed("train", "--model-name") == MODEL_SPECS.keys()
    for name in proposed("build-cache", "--preset"):
        assert find_preset(name).name == name
    assert proposed("train", "--pretrained") == {"k400"} and "cuda" in proposed("infer", "--device")


def test_an_unknown_shell_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["completion", "tcsh"])
    assert result.exit_code == 2 and "'bash', 'zsh', 'fish'" in result.output
