"""Every command ends with a line that says what can be typed next; it is typed here, word for word."""

import io
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from signprep.inference.cli import first_steps
from signprep.pipeline.cli import COMMANDS, main
from signprep.pipeline.cli.next_step import next_step
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from tests.conftest import build_test_cache, write_data_root, write_label

TINY_TRAINING = ["--model-name", "tests.training.small_models:linear", "--num-frames", "2", "--size", "32"]
TINY_TRAINING += ["--epochs", "1", "--batch-size", "4", "--experiment-name", "run"]
TINY_SAMPLE = ["--words", "1", "--signers", "2", "--takes", "1", "--size", "96x64"]
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a cache and a model in a folder whose name has a space and Korean letters."""
    folder = tmp_path_factory.mktemp("next") / "내 수어"
    write_data_root(folder / "data")
    build_test_cache(folder / "data", folder / "signs.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["train", "signs.zarr", *TINY_TRAINING])
    assert ended.value.code == 0
    shutil.copy(folder / "outputs" / "run" / "checkpoints" / "best.ckpt", folder / "best.ckpt")
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for each test, with all of it, where the shell would be."""
    here = tmp_path / "내 수어"
    shutil.copytree(folder, here, ignore=shutil.ignore_patterns("outputs"))
    monkeypatch.chdir(here)
    monkeypatch.setattr(first_steps, "SAMPLE", SampleSpec(words=2, signers=3, takes=2, frame_size=(96, 64)))
    monkeypatch.setattr(first_steps, "CLIPS", replace(first_steps.CLIPS, num_frames=8, size=64))
    monkeypatch.setattr(first_steps, "CONFIG", TrainConfig(epochs=1, batch_size=4))
    return here


OWN = ["--model-name", "tests.training.small_models:linear"]
MODEL = ["--checkpoint", "best.ckpt", *OWN]
VIDEO = "data/video/NIA_SL_WORD0001_REAL01_F.mp4"
COMMAND_LINES = {
    "make-sample sample " + shlex.join(TINY_SAMPLE): "scan --data-root sample",
    "scan --data-root data --signer REAL01": "build-cache --data-root=data --signer=REAL01 --out data.zarr",
    "scan --data-root empty": "make-sample sample",
    "build-cache --data-root data --out signs.zarr --num-frames 4 --size 64 --dry-run": (
        "build-cache --data-root=data --num-frames=4 --size=64 --out=signs.zarr"
    ),
    "build-cache --data-root data --out signs.zarr --num-frames 4 --size 64": "inspect signs.zarr",
    "inspect signs.zarr": "inspect signs.zarr --html signs.html",
    "inspect signs.zarr --html a.html": "train signs.zarr",
    "inspect signs.zarr --clip 3": "play signs.zarr 3 --out signs-3.mp4",
    "play signs.zarr 3 --out clip.mp4": "inspect signs.zarr --html signs.html",
    "verify signs.zarr": "inspect signs.zarr",
    "verify signs.zarr --repair --data-root data": "inspect signs.zarr",
    "compact signs.zarr": "verify signs.zarr",
    "forget signs.zarr --signer REAL01 --dry-run": "forget --signer=REAL01 signs.zarr",
    "forget signs.zarr --signer REAL01 --yes": "verify signs.zarr",
    "push signs.zarr 'the team/signs.zarr' --dry-run": "push signs.zarr 'the team/signs.zarr'",
    "push signs.zarr 'the team/signs.zarr'": "verify 'the team/signs.zarr'",
    "pull signs.zarr 'my signs.zarr' --dry-run": "pull signs.zarr 'my signs.zarr'",
    "pull signs.zarr 'my signs.zarr'": "inspect 'my signs.zarr'",
    "export-dataset signs.zarr out --to imagefolder-of-mp4": "more out/README.md",
    "diff signs.zarr signs.zarr": "inspect signs.zarr",
    "merge signs.zarr less.zarr --out both.zarr": "inspect both.zarr",
    "train signs.zarr " + shlex.join(TINY_TRAINING): (
        "evaluate signs.zarr --checkpoint outputs/run/checkpoints/best.ckpt " + shlex.join(OWN)
    ),
    "evaluate signs.zarr " + shlex.join(MODEL): (
        f"evaluate signs.zarr --checkpoint=best.ckpt --model-name={OWN[1]} --html evaluation.html"
    ),
    "evaluate signs.zarr --html a.html " + shlex.join(MODEL): (
        f"export --checkpoint best.ckpt --model-name={OWN[1]} --out best.pt --cache signs.zarr"
    ),
    "evaluate --data-root data --timeline " + shlex.join(MODEL): "infer --help",
    f"infer {VIDEO} --clip-duration 0.8 " + shlex.join(MODEL): (
        f"infer {VIDEO} --checkpoint=best.ckpt --model-name={OWN[1]} --subtitles NIA_SL_WORD0001_REAL01_F.srt"
    ),
    "infer data/video --out all.jsonl --clip-duration 0.8 " + shlex.join(MODEL): (
        f"infer data/video --checkpoint=best.ckpt --model-name={OWN[1]} --subtitles-dir subtitles --signs signs.csv"
    ),
    f"infer {VIDEO} --timeline --out all.json " + shlex.join(MODEL): (
        f"export --checkpoint best.ckpt --model-name={OWN[1]} --out best.pt"
    ),
    "infer signs.zarr --split val --out val.csv " + shlex.join(MODEL): (
        f"evaluate signs.zarr --checkpoint=best.ckpt --model-name={OWN[1]} --split val"
    ),
    "export --checkpoint best.ckpt --out best.pt " + shlex.join(OWN): "infer --help",
    "export --checkpoint best.ckpt --out best.pt --cache signs.zarr " + shlex.join(OWN): (
        "evaluate signs.zarr --checkpoint best.pt"
    ),
    "doctor": "demo",
    "demo": "inspect outputs/demo/demo.zarr --html demo.html",
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_the_line_that_a_command_ends_with_can_be_typed(
    line: str, here: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "the team").mkdir()
    write_label(here / "empty" / "label" / "a_morpheme.json", [(0, 1, "왼쪽")])
    if "less.zarr" in line:
        typed("forget", shutil.copytree("signs.zarr", "less.zarr"), "--signer", "REAL01", "--yes")
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
    of_their_own = {"landmarks", "completion"}
    assert {line.split()[0] for line in COMMAND_LINES} == COMMANDS.keys() - of_their_own


def test_landmarks_lead_to_a_cache_of_them(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.pipeline.cli.landmarks.model_paths", lambda folder: folder)
    assert typed("landmarks")[1:] == ["build-cache", "--help"]


def test_a_command_that_calls_another_one_ends_with_one_line(typed: Typed) -> None:
    words = typed("train", "signs.zarr", *TINY_TRAINING, "--mobile-model-path", "phone.pt")
    assert words[1:3] == ["evaluate", "signs.zarr"] and words[-2:] == ["--checkpoint", "phone.pt"]


@pytest.mark.parametrize(
    "line",
    [
        "scan --data-root data --json",
        "inspect signs.zarr --json",
        "diff signs.zarr signs.zarr --json",
        "doctor --json",
        "evaluate signs.zarr --json " + shlex.join(MODEL),
        "export --checkpoint best.ckpt --out best.pt --json " + shlex.join(OWN),
        "completion bash",
    ],
)
def test_programs_are_told_nothing(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    assert ended.value.code == 0 and "next: " not in capsys.readouterr().err


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
