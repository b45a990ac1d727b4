"""What signprep does where Linux's own functions are missing, and as Windows treats files: simulated on Linux."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_data_root
from tests.generated_videos import write_video
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[1]
TYPE = """
import sys
from signprep.pipeline.cli import main

def signprep(*words, code=0):
    try:
        main(words)
    except SystemExit as ended:
        assert ended.code == code, words
"""
IMPORT = """
import importlib, pkgutil
for floor in ("pipeline", "cache_builder", "training", "inference"):
    package = importlib.import_module(f"signprep.{floor}")
    for module in pkgutil.walk_packages(package.__path__, f"signprep.{floor}."):
        importlib.import_module(module.name)
"""
SMALL = """
BUILD = ["build-cache", "--num-frames", "4", "--size", "64", "--workers"]
signprep(*BUILD, "1", "--data-root", "data", "--out", "a.zarr")
signprep("verify", "a.zarr", "--deep")
signprep("inspect", "a.zarr", "--html", "a.html")
"""
WHOLE = """
MODEL = ["--model-name", "tests.training.small_models:linear"]
TRAIN = ["train", "a.zarr", *MODEL, "--num-frames", "2", "--size", "32", "--batch-size", "4"]
TRAIN += ["--experiment-name", "run"]
BEST = ["--checkpoint", "outputs/run/checkpoints/best.ckpt", *MODEL]
signprep(*BUILD, "2", "--data-root", "data", "--out", "b.zarr", "--signer", "REAL01", "--split-by", "take")
signprep(*BUILD, "2", "--data-root", "data", "--out", "b.zarr")
signprep(*TRAIN, "--epochs", "1")
signprep(*TRAIN, "--epochs", "2", "--resume")
signprep(*TRAIN, "--epochs", "1", "--overwrite")
signprep("evaluate", "a.zarr", *BEST, "--html", "a.html")
signprep("infer", "data/video", *BEST, "--clip-duration", "0.8", "--out", "all.json")
signprep("push", "b.zarr", "team")
signprep("forget", "b.zarr", "--signer", "REAL01", "--yes")
signprep("pull", "team", "b.zarr", "--overwrite")
signprep("merge", "a.zarr", "b.zarr", "--out", "both.zarr")
signprep("merge", "a.zarr", "b.zarr", "--out", "both.zarr", "--overwrite")
signprep(*BUILD, "1", "--data-root", "names.csv", "--out", "names.zarr", "--split-by", "column")
for _ in range(2):
    signprep("export-dataset", "names.zarr", "names", "--to", "imagefolder-of-mp4", "--overwrite")
"""


def run_as_on(system: str, program: str, folder: Path) -> str:
    """Run a program in processes that are as on another system; return what it prints on stderr."""
    (folder / "as").mkdir()
    shutil.copy(ROOT / "tests" / "as_on_windows.py", folder / "as" / "sitecustomize.py")
    environment = os.environ | {"PYTHONPATH": f"{folder / 'as'}{os.pathsep}{ROOT}", "SIGNPREP_TESTS_SYSTEM": system}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_simulation_lacks_and_refuses(tmp_path: Path) -> None:
    run_as_on(
        "windows",
        """
import os, pytest
from signprep.pipeline.runtime import machine
assert not hasattr(machine.os, "sched_getaffinity") and not hasattr(machine.signal, "pthread_sigmask")
open("a", "w").close()
with open("a"), pytest.raises(PermissionError):
    os.replace("a", "b")
for name in ("con", "a:b", "a."):
    with pytest.raises(OSError, match="syntax is incorrect"):
        os.mkdir(name)
os.replace("a", "b")
""",
        tmp_path,
    )


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_all_modules_import_and_a_cache_is_built(system: str, tmp_path: Path) -> None:
    write_data_root(tmp_path / "data")
    told = run_as_on(system, IMPORT + TYPE + SMALL, tmp_path)
    last = told.splitlines()[-1]
    assert last.startswith("next: ") and last.endswith(" train a.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", "macos"])
def test_the_whole_way_is_gone(system: str, tmp_path: Path) -> None:
    write_data_root(tmp_path / "data")
    glosses = ["con", "Con", "a:b", "끝.", "x?y"]
    rows = ["video,start,end,gloss,split"]
    for number, gloss in enumerate(glosses):
        write_video(tmp_path / "videos" / f"{number}.mp4", 30, first_number=30 * number)
        rows.append(f"videos\\{number}.mp4,0.2,0.8,{gloss},{'val' if number == 4 else 'train'}")
    (tmp_path / "names.csv").write_bytes("\r\n".join([*rows, ""]).encode("utf-8-sig"))
    run_as_on(system, TYPE + SMALL + WHOLE, tmp_path)
    written = [path.name for path in (tmp_path / "names" / "train").iterdir() if path.is_dir()]
    assert len({name.casefold() for name in written}) == len(glosses)
