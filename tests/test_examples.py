"""The examples in docs/examples run as they stand, on less data than they ask for."""

import json
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import main

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
LESS = {
    "make-sample": "--words 2 --signers 3 --takes 1 --size 160x96",
    "build-cache": "--num-frames 4 --size 64 --workers 1",
    "train": "--epochs 1 --num-frames 2 --size 32",
}
"""What is added to a notebook's commands: the last of two values counts."""


def run_notebook(path: Path) -> dict[str, Any]:
    """Run a notebook's cells as Jupyter does, in this process: lines that begin with ! are commands of signprep."""
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        code = "".join(cell["source"]).replace("\\\n", " ")
        if cell["cell_type"] == "code":
            lines = [f"signprep({line[1:]!r})" if line.startswith("!") else line for line in code.splitlines()]
            names["signprep"] = lambda line: command(line.format(**names))
            exec(compile("\n".join(lines), path.name, "exec"), names)
    return names


def command(line: str) -> None:
    program, name, *words = shlex.split(line)
    assert program == "signprep"
    with pytest.raises(SystemExit) as ended:
        main([name, *words, *shlex.split(LESS.get(name, ""))])
    assert not ended.value.code, line


def test_the_notebook_runs_from_videos_to_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_notebook(EXAMPLES / "from_videos_to_a_model.ipynb")
    assert len(names["train"]) and names["answer"].classes[0].gloss in names["train"].classes
    told = capsys.readouterr().out
    assert "is taken for" in told and "## How it was made" in told and (tmp_path / "evaluation.html").is_file()


def run_script(name: str, cache: Cache, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, str(cache.path), "1"])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["own_training_loop.py", "lightning_trainer.py"])
def test_a_loop_of_ones_own_runs(
    name: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(name, cache, monkeypatch, tmp_path)
    assert "validation accuracy " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_runs(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("transformers", "accelerate"):
        pytest.importorskip(package)  # of the group `examples`, which CI does not install
    run_script("huggingface_trainer.py", cache, monkeypatch, tmp_path)
    assert "validation accuracy " in capsys.readouterr().out
