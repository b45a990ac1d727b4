"""No name of the data steers a terminal, and no output of a command is anything but its format, whatever names are."""

import csv
import json
import os
import re
import shutil
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import main
from signprep.training.model.checkpoint import CHECKPOINT_KEY, ModelMetadata
from signprep.training.model_spec import build_model
from tests.cache_builder.report.made import row_of, write_cache
from tests.conftest import write_label
from tests.generated_videos import write_video
from tests.training.small_runs import TINY

ESCAPE, BIDI = "\x1b[2J\x1b]0;owned\x07", "\N{RIGHT-TO-LEFT OVERRIDE}\N{RIGHT-TO-LEFT ISOLATE}"
GLOSSES = (
    f"{ESCAPE}[red]왼쪽", f"=cmd|' /C calc'!A0{BIDI}", 'a\r\nb\x85"c",\x7f --> ]]> <b>&',
    "@SUM(1)\N{ZERO WIDTH SPACE}\N{LINE SEPARATOR}x",
)  # fmt: skip
Told = Callable[..., str]
SMALL = ["--model-name", "efficient_x3d_xs", "--num-frames", "2", "--size", "32", "--epochs", "1", "--batch-size", "4"]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command and return what it writes to stdout; nothing of it, and of stderr, steers a terminal."""

    def run(*arguments: object, code: int | None = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        for text in captured:
            steering = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
            assert steering <= {"\n", "\t"}, (text, steering)
        assert code is None or ended.value.code == code, captured
        if ended.value.code == 1 and captured.err:
            assert captured.err.splitlines()[-1].startswith("signprep: error: ") or "\n" not in captured.err.strip()
        return captured.out

    return run


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of hostile names, another one that differs, and a checkpoint of its glosses."""
    folder = tmp_path_factory.mktemp("made")
    evil = {name: f"{ESCAPE}{BIDI}{name}" for name in ("take", "signer", "view", "source", "item")}
    rows = []
    for number in range(8):
        split = {"split": "val" if number % 2 else "train", "gloss": GLOSSES[number % 4 if number % 2 else number // 2]}
        own = {"video": f"{ESCAPE}{number}\n.mp4", "segment_id": f"{BIDI}{number}", "take": f"{ESCAPE}{number}"}
        rows.append(row_of(number, **evil | split | own))
    rows[6] |= {"status": "failed", "error": f"{ESCAPE}{BIDI}no frame"}
    cache = write_cache(folder / "a.zarr", rows)
    for row in rows:
        row["gloss"], row["signer"] = rows[0]["gloss"] + BIDI, f"{ESCAPE}other"
    write_cache(folder / "b.zarr", rows)
    metadata = ModelMetadata(
        model_spec=TINY, clip_spec=cache.clip_spec, vocabulary=cache.vocabulary, cache_fingerprint=cache.fingerprint
    )
    torch.manual_seed(0)
    weights = build_model(TINY, len(cache.vocabulary)).state_dict()
    contents = {CHECKPOINT_KEY: metadata.to_dict(), "state_dict": {f"model.{key}": w for key, w in weights.items()}}
    torch.save(contents, folder / "best.ckpt")
    return folder


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A data root of hostile names."""
    root = tmp_path / "data"
    for number, gloss in enumerate(GLOSSES):
        name = f"NIA_SL_WORD{number + 1:04d}_REAL{17 if number % 2 else 1:02d}_F{ESCAPE}{BIDI}"
        write_video(root / "video" / f"{name}.mp4", 30, first_number=30 * number)
        write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)
    (root / "label" / f"{ESCAPE}broken.json").write_text("{", encoding="utf-8")
    (root / "video" / os.fsdecode(b"\xff\x1b.mp4")).write_bytes(b"no video")
    return root


@pytest.mark.parametrize("form", ["webdataset", "imagefolder-of-mp4", "lerobot"])
def test_exported_data_sets_have_names_that_do_no_harm(told: Told, made: Path, tmp_path: Path, form: str) -> None:
    told("export-dataset", made / "a.zarr", tmp_path / "out", "--to", form)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    names = "".join(path.name for path in (tmp_path / "out").rglob("*"))
    for text in (card.replace("\n", ""), names):
        assert {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")} == set()
    known = strict((tmp_path / "out" / "signprep.json").read_text(encoding="utf-8"))["classes"]
    assert {one["gloss"] for one in known} == set(GLOSSES) and "<b>" not in card


def test_inspect_evaluate_and_diff_tell_names_harmlessly(told: Told, made: Path, tmp_path: Path) -> None:
    cache, checkpoint = made / "a.zarr", made / "best.ckpt"
    for asked in ([], ["--clip", 0], ["--clip", 6], ["--html", tmp_path / "a.html"]):
        told("inspect", cache, *asked, code=None)
    told("play", cache, 0, "--out", tmp_path / "a.webp", code=None)
    assert strict(told("inspect", cache, "--json"))["clips"] == 7
    evaluated = ["evaluate", cache, "--checkpoint", checkpoint]
    told(*evaluated, "--html", tmp_path / "e.html", "--out", tmp_path / "e.json")
    assert strict(told(*evaluated, "--json")) == strict((tmp_path / "e.json").read_text(encoding="utf-8"))
    told("diff", cache, made / "b.zarr", code=1)
    differing = strict(told("diff", cache, made / "b.zarr", "--json", code=1))
    assert (
        GLOSSES[0] in json.dumps(differing, ensure_ascii=False).encode().decode("unicode_escape", "replace")
        or differing
    )


def test_infer_gives_its_formats(told: Told, made: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / f"{ESCAPE}{BIDI}\n,=1.mp4", 60)
    asked = ["infer", "--checkpoint", made / "best.ckpt"]
    [*answers] = strict(told(*asked, made / "a.zarr"))
    assert {answer["predicted_class_name"] for answer in answers} <= set(GLOSSES)
    told(*asked, made / "a.zarr", "--out", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert len(rows) == len(answers)
    assert not [row for row in rows if re.match(r"[=+\-@\t\r\n]", row["predicted_class_name"])]
    windows = [*asked, video, "--clip-duration", 0.5, "--return-probabilities"]
    answer = strict(told(*windows))
    assert answer["video_path"] == str(video) and set(answer["probabilities"]) == set(GLOSSES)
    for ending in ("srt", "vtt", "eaf"):
        out = tmp_path / f"a.{ending}"
        found = strict(told(*windows, "--timeline", "--min-confidence", 0, "--subtitles", out))
        text = out.read_bytes().decode("utf-8")
        if ending == "eaf":
            assert len(list(ET.fromstring(text.encode()).iter("ALIGNABLE_ANNOTATION"))) == len(found["timeline"]) > 0
        else:
            assert (
                len(re.findall(r"^[\d:.,]+ --> [\d:.,]+$", text, re.M)) == text.count(" --> ") == len(found["timeline"])
            )
    table = tmp_path / "signs.csv"
    assert not told(*windows[:-1], "--min-confidence", 0, "--subtitles-dir", tmp_path / "out", "--signs", table)
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert rows and not [row for row in rows if any(re.match(r"[=+\-@\t\r\n]", text) for text in row.values())]
    assert len(list((tmp_path / "out").iterdir())) == 1
    made_of = ["export", "--checkpoint", made / "best.ckpt", "--out", tmp_path / "a.pt"]
    assert strict(told(*made_of, "--json"))["signprep"]["glosses"] == list(
        open_cache(made / "a.zarr").vocabulary.glosses
    )


def test_commands_that_change_caches_tell_names_harmlessly(told: Told, made: Path, tmp_path: Path) -> None:
    first, second = (Path(shutil.copytree(made / name, tmp_path / name)) for name in ("a.zarr", "b.zarr"))
    told("verify", first, code=None)
    told("merge", first, second, "--out", tmp_path / f"{BIDI}c.zarr", code=None)
    told("push", first, tmp_path / f"{ESCAPE}pushed.zarr")
    told("pull", tmp_path / f"{ESCAPE}pushed.zarr", tmp_path / f"{ESCAPE}pulled.zarr")
    told("forget", first, "--signer", f"{ESCAPE}nobody", "--yes", code=None)
    told("forget", first, "--take", f"{ESCAPE}1", "--dry-run")
    told("forget", first, "--take", f"{ESCAPE}1", "--yes")
    told("compact", first, code=None)


def test_scan_build_and_train_tell_names_harmlessly(told: Told, evil: Path, tmp_path: Path) -> None:
    told("scan", "--data-root", evil)
    [root] = [strict(told("scan", "--data-root", evil, "--json", "--deep"))]
    assert root
    told("build-cache", "--data-root", evil, "--out", tmp_path / f"{BIDI}a.zarr", "--dry-run", "--size", 64, code=None)
    told(
        "build-cache", "--data-root", evil, "--out", tmp_path / f"{BIDI}a.zarr", "--size", 64, "--frames", 4, code=None
    )
    assert set(open_cache(tmp_path / f"{BIDI}a.zarr").vocabulary.glosses)
    told("train", tmp_path / f"{BIDI}a.zarr", *SMALL, "--output-dir", tmp_path / f"{ESCAPE}out", code=None)
    told("train", tmp_path / f"{ESCAPE}gone.zarr", *SMALL, code=None)


@pytest.mark.parametrize("command", ["scan", "inspect", "verify", "infer", "evaluate", "train", "diff", "pull", "play"])
def test_what_is_typed_comes_back_harmlessly(told: Told, command: str, tmp_path: Path) -> None:
    for typed in ([f"--{ESCAPE}"], [f"{tmp_path}/{ESCAPE}{BIDI}"], [f"a{BIDI}", f"b{ESCAPE}", "c"]):
        told(command, *typed, code=None)
