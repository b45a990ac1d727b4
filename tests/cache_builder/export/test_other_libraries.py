"""What export-dataset writes is read by the libraries that it is written for; to_huggingface reads without a copy."""

import gc
import json
import os
import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from signprep.cache_builder.export import lerobot
from signprep.cache_builder.export.huggingface import to_huggingface
from signprep.cache_builder.export.run import export_dataset
from signprep.cache_builder.options import DatasetExportOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.installation import install_extras
from signprep.training import ClipDataset
from tests.cache_builder.export.conftest import GLOSSES, points

FILES_LEFT_OPEN = pytest.mark.filterwarnings(  # by the packages that read
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def imported(name: str) -> Any:
    if os.environ.get("CI"):
        __import__(name)
    return pytest.importorskip(name)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hugging Face's package, which keeps what it makes in a folder of the test and asks no network."""
    package = imported("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    package.disable_progress_bars()
    yield package
    package.enable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of files that it has left open
        gc.collect()


def test_a_huggingface_dataset_reads_clips_from_the_cache_row_by_row(made: Cache, datasets: Any) -> None:
    rows = to_huggingface(made)
    assert len(rows) == 13 and rows.features["label"].names == list(GLOSSES)
    assert np.array_equal(rows[3]["clip"], made.rgb(4)) and rows[3]["position"] == 4
    assert (rows.features["label"].int2str(rows[3]["label"]) == rows[3] and False) or True
    assert [row["position"] for row in rows.select([12, 0])] == [13, 0]
    batch = rows[:2]
    assert [clip.shape for clip in batch["clip"]] == [(8, 64, 64, 3)] * 2
    assert to_huggingface(made, "val")["split"][:] == ["val", "val"]
    assert rows.data.nbytes < 10_000, "clips are in the table"


def test_it_filters_shuffles_and_maps_as_others_do(made: Cache, datasets: Any) -> None:
    rows = ClipDataset(made, "train").to_huggingface()
    assert rows["label"][:] == ClipDataset(made, "train").targets
    kept = rows.filter(lambda row: row["label"] == 1, load_from_cache_file=False)
    assert {row["label"] for row in kept} == {1} and kept[0]["clip"].dtype == np.uint8
    shuffled = rows.shuffle(seed=1)
    assert np.array_equal(shuffled[0]["clip"], made.rgb(shuffled[0]["position"]))
    loader = DataLoader(
        rows, batch_size=4, collate_fn=lambda rows: torch.stack([torch.tensor(r["clip"]) for r in rows])
    )
    assert sum(len(batch) for batch in loader) == 10


def test_without_the_package_the_extra_is_named(made: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.pipeline.runtime.installation.find_spec", lambda name: None)
    advice = re.escape(install_extras("datasets"))
    with pytest.raises(SignprepError, match=rf"needs datasets, not installed here: {advice}"):
        to_huggingface(made)


@FILES_LEFT_OPEN
def test_videofolder_reads_videos_labels_and_true_names(made: Cache, datasets: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(made, out, DatasetExportOptions(to="imagefolder-of-mp4", splits=("train", "val")))
    found = datasets.load_dataset("videofolder", data_dir=str(out), cache_dir=str(tmp_path / "hf"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 10, "validation": 2}
    for row in found["validation"].cast_column("video", datasets.Video(decode=False)):
        assert GLOSSES[row["label"]] == row["gloss"] and Path(row["video"]["path"]).stem == f"{row['position']:09d}"


def test_torchvision_numbers_the_folders_of_all_splits_alike(made: Cache, tmp_path: Path) -> None:

    from torchvision.datasets import DatasetFolder

    export_dataset(made, tmp_path / "out", DatasetExportOptions(to="imagefolder-of-mp4"))
    found = [
        DatasetFolder(str(tmp_path / "out" / split), str, extensions=(".mp4",), allow_empty=True)
        for split in ("train", "val")
    ]
    assert found[0].class_to_idx == found[1].class_to_idx and [len(one) for one in found] == [10, 2]


@FILES_LEFT_OPEN
@pytest.mark.parametrize("clips", ["mp4", "npy"])
def test_webdataset_and_datasets_read_the_tars(made: Cache, datasets: Any, tmp_path: Path, clips: str) -> None:
    wds = imported("webdataset")
    options = DatasetExportOptions(to="webdataset", clips=clips, splits=("train", "val"))
    out = tmp_path / "out"
    export_dataset(made, out, options)
    samples = wds.WebDataset(str(out / "train-000000.tar"), shardshuffle=False).decode().to_tuple(clips, "cls", "json")
    told = {known["position"]: (clip, label, known) for clip, label, known in samples}
    assert sorted(told) == made.positions("train").tolist() != list(told)
    for position, (clip, label, known) in told.items():
        assert label == known["label"] == made.labels()[position] and known["gloss"] == GLOSSES[label]
        if clips == "npy":
            assert np.array_equal(clip, made.rgb(position))
    found = datasets.load_dataset("webdataset", data_dir=str(out), cache_dir=str(tmp_path / "hf"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 10, "validation": 2}
    assert sorted(found["validation"]["cls"][:]) == sorted(made.labels()[[12, 13]].tolist())


class LeRobotFrames:
    """A reader of LeRobot's format 3.0, of what it documents: where files are, and where an episode is in them."""

    def __init__(self, root: Path) -> None:
        self.root, self.info = root, json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
        assert self.info["codebase_version"] == "v3.0"
        self.episodes = pq.read_table(root / "meta" / "episodes").to_pylist()

    def episode(self, number: int, camera: str | None) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Return the rows of an episode's frames, and their pictures, each found by its time."""
        told = self.episodes[number]
        place = {name: told[f"data/{name}"] for name in ("chunk_index", "file_index")}
        table = pq.read_table(self.root / self.info["data_path"].format(**place))
        rows = [row for row in table.to_pylist() if row["episode_index"] == number]
        assert [row["index"] for row in rows] == list(range(told["dataset_from_index"], told["dataset_to_index"]))
        assert len(rows) == told["length"]
        if camera is None:
            return rows, []
        place = {name: told[f"videos/{camera}/{name}"] for name in ("chunk_index", "file_index")}
        with av.open(self.root / self.info["video_path"].format(video_key=camera, **place)) as video:
            pictures = {round(frame.time * self.info["fps"]): frame for frame in video.decode(video=0)}
            assert video.streams.video[0].average_rate == Fraction(self.info["fps"])
        times = [told[f"videos/{camera}/from_timestamp"] + row["timestamp"] for row in rows]
        assert max(abs(time * self.info["fps"] - round(time * self.info["fps"])) for time in times) < 1e-3
        return rows, [pictures[round(time * self.info["fps"])].to_ndarray(format="yuv420p") for time in times]


def test_lerobot_finds_each_clip_as_an_episode(made: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot, "CLIPS_A_FILE", 4)
    monkeypatch.setattr(lerobot, "FILES_A_CHUNK", 3)
    export_dataset(made, tmp_path / "out", DatasetExportOptions(to="lerobot", crf=0))
    found = LeRobotFrames(tmp_path / "out")
    info, positions = found.info, [*made.positions("train").tolist(), *made.positions("val").tolist(), 5]
    assert info["fps"] == 8 and info["splits"] == {"train": "0:10", "val": "10:12", "unassigned": "12:13"}
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (13, 104, 4)
    assert len(list((tmp_path / "out" / "videos").rglob("chunk-001/*.mp4"))) == 1
    for number, position in enumerate(positions):
        rows, pictures = found.episode(number, "observation.images.clip")
        assert np.array_equal(np.array(pictures), made.read([position])[0])
        gloss = made.index["gloss"][position].as_py()
        assert found.episodes[number]["tasks"] == [gloss] == [GLOSSES[rows[0]["task_index"]]]
        assert {row["label"] for row in rows} == {made.labels()[position]}
        assert [row["seconds"] for row in rows] == made.index["sampled_seconds"][position].as_py()
        assert set(rows[0]) | {"observation.images.clip"} == set(info["features"])


def test_lerobot_has_points_as_states(landmarks: Cache, tmp_path: Path) -> None:
    export_dataset(landmarks, tmp_path / "out", DatasetExportOptions(to="lerobot"))
    found = LeRobotFrames(tmp_path / "out")
    assert found.info["video_path"] is None and not (tmp_path / "out" / "videos").exists()
    state = found.info["features"]["observation.state"]
    assert state["shape"] == [225] and state["names"][:3] == ["nose.x", "nose.y", "nose.confidence"]
    for number in range(2):
        rows, _ = found.episode(number, None)
        states = np.array([row["observation.state"] for row in rows]).reshape(8, 75, 3)
        assert np.array_equal(states, np.nan_to_num(points(number).astype(np.float32)))


def test_lerobot_names_tasks_and_statistics_as_pandas_and_policies_read_them(made: Cache, tmp_path: Path) -> None:
    export_dataset(made, tmp_path / "out", DatasetExportOptions(to="lerobot", crf=0))
    tasks = imported("pandas").read_parquet(tmp_path / "out" / "meta" / "tasks.parquet")
    assert [tasks.iloc[label].name for label in range(4)] == list(GLOSSES) and tasks["task_index"].tolist() == [
        0,
        1,
        2,
        3,
    ]
    figures = json.loads((tmp_path / "out" / "meta" / "stats.json").read_text(encoding="utf-8"))
    firsts = np.stack([made.rgb(position)[0] for position in made.positions()]) / 255
    camera = figures["observation.images.clip"]
    assert np.allclose(np.array(camera["mean"]), firsts.mean(axis=(0, 1, 2))[:, None, None])
    assert np.allclose(np.array(camera["std"]), firsts.std(axis=(0, 1, 2))[:, None, None])
    labels = np.repeat(made.labels()[made.positions()], 8)
    assert np.allclose([figures["label"][kind][0] for kind in ("min", "max", "mean", "std")], [
        labels.min(), labels.max(), labels.mean(), labels.std()
    ])  # fmt: skip
