"""Command lines of all commands, at tiny size, with the line that each ends with; and the folder to type them in."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from signprep.inference.cli import first_steps
from signprep.pipeline.cli import main
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from tests.conftest import build_test_cache, write_data_root, write_label

TINY_TRAINING = ["--model-name", "tests.training.small_models:linear", "--num-frames", "2", "--size", "32"]
TINY_TRAINING += ["--epochs", "1", "--batch-size", "4", "--experiment-name", "run"]
TINY_SAMPLE = ["--words", "1", "--signers", "2", "--takes", "1", "--size", "96x64"]


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
        shutil.copytree("signs.zarr", "less.zarr")
        with pytest.raises(SystemExit) as ended:
            main(["forget", "less.zarr", "--signer", "REAL01", "--yes"])
    assert ended.value.code == 0
    (folder / "the team").mkdir()
    write_label(folder / "empty" / "label" / "a_morpheme.json", [(0, 1, "왼쪽")])
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
    f"live --source {VIDEO} --clip-duration 0.8 " + shlex.join(MODEL): (
        f"infer {VIDEO} --checkpoint=best.ckpt --model-name={OWN[1]} --subtitles NIA_SL_WORD0001_REAL01_F.eaf"
    ),
    "live --source lavfi:testsrc2=size=96x64:duration=1 " + shlex.join(MODEL): "live --help",
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
"""What is typed, and the command that is told at the end."""

JSON_LINES = [
    "scan --data-root data --json",
    "inspect signs.zarr --json",
    "diff signs.zarr less.zarr --json",
    "doctor --json",
    "evaluate signs.zarr --json " + shlex.join(MODEL),
    "export --checkpoint best.ckpt --out best.pt --json " + shlex.join(OWN),
    "infer data/video --clip-duration 0.8 " + shlex.join(MODEL),
]
