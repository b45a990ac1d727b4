"""What people call from Python takes paths as text and as objects, and says what it wants in place of anything else."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signprep.cache_builder import as_cache, open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.edit.compact import compact, matching_positions
from signprep.cache_builder.edit.diff import diff
from signprep.cache_builder.edit.merge import merge
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.options import Selection
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.partial_pull import pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.report.page import write_report
from signprep.inference.evaluation.run import evaluate_checkpoint
from signprep.inference.export.run import export_model
from signprep.inference.export.runtime import exported_format
from signprep.inference.open_model import open_model
from signprep.inference.options import EvaluationOptions
from signprep.inference.prediction import predict_window, predict_windows
from signprep.inference.recognizer import load_checkpoint
from signprep.inference.timeline.subtitles import write_subtitles
from signprep.inference.videos.results import write_results
from signprep.pipeline.clips import extract_clips
from signprep.pipeline.datasets.annotations import DatasetOptions, read_gloss_file
from signprep.pipeline.datasets.read import read_data_root, read_split_roots
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.options import SampleSpec, ScanOptions
from signprep.pipeline.scan.run import scanned
from signprep.pipeline.video.pyav_reader import open_video
from signprep.training import ClipDataModule, ClipDataset
from signprep.training.config import read_flip_map
from signprep.training.loader import ClipLoader
from signprep.training.model.checkpoint import read_checkpoint
from signprep.training.model.pretrained import load_pretrained
from signprep.training.model_spec import build_model, model_spec
from signprep.training.run import train
from tests.conftest import CLIP_SPEC, plan_of
from tests.training.small_runs import QUICK, TINY, quiet

VALIDATION = Selection(splits=("val",))


class PathLike:
    """Stands for a path, and is neither text nor a Path."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


@pytest.fixture(scope="module")
def folder(cache: Cache, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything: a cache, data, a video, a checkpoint, small files."""
    made = tmp_path_factory.mktemp("doors")
    shutil.copytree(cache.path, made / "a.zarr")
    shutil.copytree(data_root, made / "data")
    shutil.copy(min((data_root / "video").iterdir()), made / "a.mp4")
    shutil.copy(train(cache, TINY, QUICK, made / "run", log=quiet).best_checkpoint, made / "best.ckpt")
    (made / "glosses.txt").write_text("왼쪽\n", encoding="utf-8")
    (made / "flip.json").write_text(json.dumps({"왼쪽": "오른쪽"}), encoding="utf-8")
    return made


def scan(root: Any) -> int:
    with scanned(root, DatasetOptions(), ScanOptions()) as found:
        return found.num_failing


def opened_seconds(video: Any) -> float:
    with open_video(video) as reader:
        return reader.duration_seconds


Door = Callable[[Callable[[str], Any], Path], Any]
"""Calls a function with paths that are made of names in the folder, and with a folder for what it writes."""

DOORS: dict[str, Door] = {
    "open_cache": lambda at, out: len(open_cache(at("a.zarr"))),
    "build": lambda at, out: build(plan_of(out / "../data"), at("built.zarr")).num_clips,
    "compact": lambda at, out: compact(at("a.zarr")),
    "matching_positions": lambda at, out: matching_positions(at("a.zarr"), {"signer": ["REAL01"]}).tolist(),
    "diff": lambda at, out: diff(at("a.zarr"), at("a.zarr")).equal,
    "merge": lambda at, out: merge([at("a.zarr"), at("built.zarr")], at("merged.zarr")),
    "verify": lambda at, out: verify_cache(at("a.zarr")),
    "pull": lambda at, out: pull(at("a.zarr"), at("pulled.zarr")).num_objects,
    "pull_selection": lambda at, out: (
        pull_selection(at("a.zarr"), at("some.zarr"), Selection(splits=("val",))).num_objects
    ),
    "push": lambda at, out: push(at("a.zarr"), at("pushed.zarr")).num_objects,
    "write_report": lambda at, out: str(write_report(open_cache(at("a.zarr")), at("a.html"))),
    "write_report of a path": lambda at, out: write_report(at("a.zarr"), out / "a.html").num_clips,
    "as_cache": lambda at, out: len(as_cache(at("a.zarr"))),
    "ClipDataset": lambda at, out: ClipDataset(at("a.zarr"), "train").targets,
    "ClipDataModule": lambda at, out: len(ClipDataModule(at("a.zarr")).cache),
    "ClipLoader": lambda at, out: len(ClipLoader(cache=at("a.zarr"), positions=[0, 1, 2], batch_size=2)),
    "extract_clips": lambda at, out: [len(clip.frames) for clip in extract_clips(at("a.mp4"), [(0.1, 0.5)], CLIP_SPEC)],
    "open_video": lambda at, out: opened_seconds(at("a.mp4")),
    "read_data_root": lambda at, out: len(read_data_root(at("data")).segments),
    "read_split_roots": lambda at, out: len(read_split_roots({"train": at("data")}).segments),
    "read_gloss_file": lambda at, out: sorted(read_gloss_file(at("glosses.txt"))),
    "scanned": lambda at, out: scan(at("data")),
    "render_dataset": lambda at, out: (
        render_dataset(SampleSpec(words=1, signers=1, takes=1, frame_size=(64, 64)), at("sample"), workers=1).num_videos
    ),
    "read_flip_map": lambda at, out: read_flip_map(at("flip.json")),
    "read_checkpoint": lambda at, out: read_checkpoint(at("best.ckpt"))[1].cache_fingerprint,
    "load_checkpoint": lambda at, out: load_checkpoint(at("best.ckpt")).glosses,
    "open_model": lambda at, out: open_model(at("best.ckpt")).glosses,
    "exported_format": lambda at, out: exported_format(at("best.ckpt")),
    "load_pretrained": lambda at, out: load_pretrained(
        build_model(TINY, 2), TINY, at("best.ckpt"), vocabulary=open_cache(at("a.zarr")).vocabulary
    ),
    "train": lambda at, out: train(open_cache(at("a.zarr")), TINY, QUICK, at("run2"), log=quiet).epochs,
    "predict_window": lambda at, out: predict_window(open_model(at("best.ckpt")), at("a.mp4"), clip_duration=0.5).label,
    "predict_windows": lambda at, out: len(
        predict_windows(open_model(at("best.ckpt")), at("a.mp4"), clip_duration=0.5, stride=0.5)
    ),
    "evaluate_checkpoint": lambda at, out: evaluate_checkpoint(
        open_model(at("best.ckpt")), at("best.ckpt"), open_cache(at("a.zarr")), EvaluationOptions()
    )["clips"],
    "evaluate_checkpoint of a path": lambda at, out: evaluate_checkpoint(
        open_model(out / "../best.ckpt"), out / "../best.ckpt", at("a.zarr"), EvaluationOptions()
    )["clips"],
    "train on a path": lambda at, out: train(at("a.zarr"), TINY, QUICK, out / "run3", log=quiet).epochs,
    "write_subtitles": lambda at, out: write_subtitles(at("a.srt"), [], "a.mp4"),
    "write_results": lambda at, out: write_results([{}], at("a.json"), single=True),
}

NOT_OF_PATHS_ALONE = {"evaluate_checkpoint", "evaluate_checkpoint of a path", "build", "write_results"}


@pytest.mark.parametrize("name", DOORS)
def test_paths_are_taken_as_text_and_as_objects(name: str, folder: Path, tmp_path: Path) -> None:
    answers = []
    for number, kind in enumerate((str, PathLike, Path)):
        out = folder / f"{tmp_path.name} {number}th"
        out.mkdir()

        def at(there: str, kind: Callable[[str], Any] = kind, out: Path = out) -> Any:
            if there == "built.zarr" and name == "merge":
                shutil.copytree(folder / "a.zarr", out / there, dirs_exist_ok=True)
            return kind(str(folder / there if (folder / there).exists() else out / there))

        answers.append(DOORS[name](at, out))
    assert repr(answers[0]).replace(" 0th", " 2th") == repr(answers[1]).replace(" 1th", " 2th") == repr(answers[2])


@pytest.mark.parametrize(
    "wrong", [3, b"a.zarr", None, ["a.zarr"], io.StringIO("a")], ids=lambda wrong: type(wrong).__name__
)
@pytest.mark.parametrize("name", sorted(set(DOORS) - NOT_OF_PATHS_ALONE))
def test_what_is_no_path_is_told_so(name: str, wrong: Any, folder: Path, tmp_path: Path) -> None:
    wanted = r"(a path, as text or as pathlib\.Path|Cache, or the path or URL of one)"
    with pytest.raises(TypeError, match=rf"of type \w+; expected {wanted}"):
        DOORS[name](lambda there: wrong, tmp_path)


def test_other_arguments_of_another_type_are_told_what_is_wanted(cache: Cache, folder: Path, tmp_path: Path) -> None:
    video, model = folder / "a.mp4", open_model(folder / "best.ckpt")
    wanted: list[tuple[Callable[[], Any], str]] = [
        (lambda: extract_clips(video, [0.5], CLIP_SPEC), "0.5 is no span; expected (start_seconds, end_seconds)"),
        (lambda: extract_clips(video, ["12"], CLIP_SPEC), "'12' is no span"),
        (lambda: extract_clips(video, [(0, None)], CLIP_SPEC), "(0, None) is no span"),
        (lambda: extract_clips(video, [(0, 1)], {"size": 64}), "spec is {'size': 64}, of type dict; expected ClipSpec"),
        (lambda: predict_window("best.ckpt", video), "recognizer is 'best.ckpt', of type str; expected Recognizer"),
        (lambda: train(3, TINY, QUICK, tmp_path), "cache is 3, of type int; expected Cache, or the path or URL of one"),
        (lambda: train(cache, "x3d_s", QUICK, tmp_path), "spec is 'x3d_s', of type str; expected ModelSpec"),
        (
            lambda: train(cache, TINY, {"epochs": 1}, tmp_path),
            "config is {'epochs': 1}, of type dict; expected",
        ),
        (lambda: export_model(folder / "best.ckpt", tmp_path / "a.pt", "onnx"), "of type str; expected ExportOptions"),
        (lambda: model_spec("x3d_s", num_frames="4"), "num_frames is '4'; it must be int"),
        (lambda: model_spec("x3d_s", crop_size=64.0), "crop_size is 64.0; it must be int"),
        (lambda: ClipLoader(cache=[cache], positions=np.arange(3), batch_size=2), "of type list; expected Cache, or"),
        (lambda: ClipLoader(cache=cache, positions="train", batch_size=2), "positions are 'train'; expected whole"),
    ]
    for call, message in wanted:
        with pytest.raises(TypeError) as raised:
            call()
        assert message in str(raised.value)
    with pytest.raises(ValueError, match=r"clips are uint8 \[4, 96, 64\]; expected uint8 \[B, 4, 96, 64\], as `Cache"):
        model.probabilities(cache.read([0])[0])
    with pytest.raises(ValueError, match=r"precision is '64'; it must be one of 32, 16-mixed, bf16-mixed"):
        load_checkpoint(folder / "best.ckpt", precision="64")
    assert model.probabilities([]).shape == (0, 2)
    [clip] = extract_clips(video, [(float("nan"), 1.0)], CLIP_SPEC)
    assert isinstance(clip, DecodeError)
