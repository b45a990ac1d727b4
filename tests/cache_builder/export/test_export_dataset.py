"""export-dataset: whole folders or none, pixels as near as the card says, names that every file system takes."""

import csv
import io
import json
import math
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from signprep.cache_builder.export import run as export_run
from signprep.cache_builder.export.card import SUMMARY
from signprep.cache_builder.export.clips import decoded_clip
from signprep.cache_builder.export.run import export_dataset
from signprep.cache_builder.export.video_folder import class_folders
from signprep.cache_builder.options import DatasetExportOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import main
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheCorruptError, CacheError, SignprepError
from tests.cache_builder.export.conftest import GLOSSES, points
from tests.cache_builder.report.made import row_of, write_cache

FORMS = ("webdataset", "imagefolder-of-mp4", "lerobot")
Told = Callable[..., tuple[str, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Run export-dataset; return what it prints."""

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["export-dataset", *map(str, arguments)])
        captured = capsys.readouterr()
        assert ended.value.code == code, captured
        return captured.out, captured.err

    return run


def options(to: str, **others: Any) -> DatasetExportOptions:
    return DatasetExportOptions(to=to, workers=2, **others)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def test_a_folder_of_videos_has_a_folder_a_class_and_the_true_names_in_its_table(made: Cache, tmp_path: Path) -> None:
    out = tmp_path / "나가는 것"
    done = export_dataset(made, out, options("imagefolder-of-mp4"))
    assert done.num_clips == 13 and done.num_bytes == sum(map(len, contents(out).values()))
    for split, expected in (("train", 10), ("unassigned", 1), ("val", 2)):
        rows = list(csv.DictReader(io.StringIO((out / split / "metadata.csv").read_bytes().decode(), newline="")))
        assert len(rows) == expected == len(list((out / split).rglob("*.mp4")))
        assert {row["gloss"] for row in rows} <= set(GLOSSES) and {row["split"] for row in rows} == {split}
        for row in rows:
            assert GLOSSES[int(row["label"])] == row["gloss"] and (out / split / row["file_name"]).is_file()
        # Readers that number folders number them alike in all splits.
        assert sorted(path.name for path in (out / split).iterdir() if path.is_dir()) == sorted(class_folders(GLOSSES))
    assert max(len(path.name.encode()) for path in out.rglob("*")) < 143


def test_videos_play_at_the_speed_of_signing(made: Cache, tmp_path: Path) -> None:
    export_dataset(made, tmp_path / "a", options("imagefolder-of-mp4"))
    [long] = (tmp_path / "a").rglob("000000006.mp4")
    [short] = (tmp_path / "a").rglob("000000000.mp4")
    for path, seconds in ((long, 2), (short, 1)):
        with av.open(path) as video:
            assert video.duration is not None and abs(video.duration / av.time_base - seconds) < 0.01
            assert video.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("왼쪽", "오른쪽 2"), ["왼쪽", "오른쪽 2"]),
        (("왼쪽",), ["왼쪽"]),
        (("a/b", "a\\b", "a_b", "a:b?"), ["a_b~0", "a_b~1", "a_b", "a_b_~3"]),
        (("..", ".", "...", "", " "), ["_~0", "_~1", "_~2", "_~3", "_~4"]),
        (("Yes", "yes", "YES"), ["Yes", "yes~1", "YES~2"]),
        (("nul", "NUL.txt", "com1", "complete"), ["_nul~0", "_NUL.txt~1", "_com1~2", "complete"]),
        (("end.", "end"), ["end~0", "end"]),
        (("a~0", "a/", "metadata.csv"), ["a~0", "a_~1", "metadata.csv~2"]),
        (("a\x1b[2J\u202e", "\ud800"), ["a_[2J_~0", "_~1"]),
        ((".hidden", "-rf"), ["_.hidden~0", "-rf"]),
    ],
)
def test_folders_are_called_like_classes_where_file_systems_can(names: tuple[str, ...], expected: list[str]) -> None:
    assert class_folders(names) == expected


def test_no_two_classes_share_a_folder_however_they_are_called(tmp_path: Path) -> None:
    names = [
        f"{a}{b}{c}" for a in ("a", "A", "/", "~", ".", " ") for b in ("~1", "_", "?", "") for c in ("", "~3", "/")
    ]
    names += ["가" * 50 + str(n) for n in range(3)] + ["e\u0301", "\u00e9"]
    found = class_folders(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        (tmp_path / name).mkdir()
        assert len(name.encode()) < 143


@pytest.mark.parametrize("pixels", ["yuv420p", "rgb24"])
def test_a_rate_factor_of_0_keeps_every_pixel(pixels: str, tmp_path: Path) -> None:
    spec = ClipSpec(num_frames=8, size=32, pixels=pixels)
    noise = np.random.default_rng(0).integers(0, 256, (2, *spec.clip_shape), dtype=np.uint8)
    cache = write_cache(tmp_path / "a.zarr", [row_of(0), row_of(6)], lambda number: noise[number], spec=spec)
    done = export_dataset(cache, tmp_path / "out", options("webdataset", crf=0))
    assert done.quality == "H.264, lossless: every pixel is the cache's, measured on 2 clips"
    found = {name: data for tar in (tmp_path / "out").glob("*.tar") for name, data in in_tar(tar).items()}
    for position in range(2):
        assert np.array_equal(decoded_clip(found[f"{position:09d}.mp4"], pixels), noise[position])


def test_the_card_tells_the_error_that_the_pixels_have(made: Cache, tmp_path: Path) -> None:
    """The figure is that of all clips, computed here anew: 16 looks like the cache, 40 does not."""
    measured = {}
    for crf in (16, 40):
        out = tmp_path / str(crf)
        export_dataset(made, out, options("webdataset", crf=crf))
        squares, count = 0.0, 0
        for tar in out.glob("*.tar"):
            for name, data in in_tar(tar).items():
                if name.endswith(".mp4"):
                    errors = decoded_clip(data, "yuv420p").astype(float) - made.read([int(name[:9])])[0]
                    squares, count = squares + (errors**2).sum(), count + errors.size
        measured[crf] = 10 * math.log10(255**2 / (squares / count))
        told = json.loads((out / SUMMARY).read_text(encoding="utf-8"))["fidelity"]
        assert abs(told["psnr_db"] - measured[crf]) < 0.01 and told["num_clips"] == 13
        assert f"rate factor {crf}: PSNR {measured[crf]:.1f} dB" in (out / "README.md").read_text(encoding="utf-8")
    assert measured[16] > 40 > measured[40]


def test_the_card_counts_and_says_what_is_known(made: Cache, tmp_path: Path) -> None:
    export_dataset(made, tmp_path / "a", options("webdataset", license="CC BY 4.0", splits=("train",)))
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["pretty_name"] == "수어 1" and head["size_categories"] == ["n<1K"]
    assert "10 clips of 3 signs" in text and "| train | 10 | 3 |" in text and "Licence of the videos: CC BY 4.0" in text
    assert made.fingerprint in text and "8 x 64 x 64 yuv420p" in text and "<script" not in text
    export_dataset(made, tmp_path / "b", options("webdataset"))
    assert "Licence of the videos: not known" in (tmp_path / "b" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("quality", [{"clips": "npy"}, {"crf": 0}])
def test_what_is_lossless_is_the_same_bytes_again(made: Cache, tmp_path: Path, quality: dict[str, Any]) -> None:
    """H.264 with losses is not: x264 does not always choose alike."""
    for name, workers in (("a", 1), ("b", 3)):
        export_dataset(made, tmp_path / name, DatasetExportOptions(to="webdataset", workers=workers, **quality))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_tars_have_three_files_a_clip(made: Cache, tmp_path: Path) -> None:
    export_dataset(made, tmp_path / "a", options("webdataset", clips_per_tar=4))
    tars = sorted(path.name for path in (tmp_path / "a").glob("*.tar"))
    assert tars == [*(f"train-00000{n}.tar" for n in range(3)), "unassigned-000000.tar", "val-000000.tar"]
    found = {name: data for tar in tars for name, data in in_tar(tmp_path / "a" / tar).items()}
    assert len(found) == 39 and {name[:9] for name in found} == {f"{n:09d}" for n in made.positions().tolist()}
    for position in made.positions().tolist():
        told = json.loads(found[f"{position:09d}.json"])
        assert int(found[f"{position:09d}.cls"]) == told["label"] == made.labels()[position]
        assert told["gloss"] == GLOSSES[told["label"]]
        assert told["segment_id"] == made.segment_id(position) and told["source_video"].startswith("video/")


def test_arrays_are_rgb_or_points_as_the_cache_gives_them(made: Cache, landmarks: Cache, tmp_path: Path) -> None:
    export_dataset(made, tmp_path / "a", options("webdataset", clips="npy"))
    export_dataset(landmarks, tmp_path / "b", options("webdataset"))
    for cache, out in ((made, tmp_path / "a"), (landmarks, tmp_path / "b")):
        found = {name: data for tar in out.glob("*.tar") for name, data in in_tar(tar).items()}
        for position in cache.positions().tolist():
            array = np.load(io.BytesIO(found[f"{position:09d}.npy"]))
            assert array.dtype == cache[position].dtype and array.tobytes() == cache[position].tobytes()
    assert "arrays, as stored" in (tmp_path / "b" / "README.md").read_text(encoding="utf-8")
    assert np.array_equal(landmarks[1], points(1), equal_nan=True)


@pytest.mark.parametrize("arguments", [["--to", "imagefolder-of-mp4"], ["--to", "webdataset", "--clips", "mp4"]])
def test_landmarks_are_no_videos(told: Told, landmarks: Cache, tmp_path: Path, arguments: list[str]) -> None:
    _, error = told(landmarks, tmp_path / "out", *arguments, code=1)
    assert (
        "stores landmarks, which are no videos; export it --to webdataset" in error and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_command_says_what_it_wrote_and_replaces_only_its_own(
    told: Told, made: Cache, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "수어 내보내기"
    printed, _ = told(made, out, "--to", form, "--crf", 30, "--workers", 1)
    assert printed.startswith(f"{out}: 13 clips in ") and "rate factor 30" in printed
    before = contents(out)
    _, error = told(made, out, "--to", form, code=1)
    assert "a data set was exported there before; --overwrite replaces it" in error and contents(out) == before
    told(made, out, "--to", form, "--split", "val", "--overwrite")
    assert json.loads((out / SUMMARY).read_bytes())["clips"] == {"val": 2}
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_folders_of_others_are_left_alone(told: Told, made: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    told(
        made, tmp_path / "mine", "--to", "webdataset", "--split", "val", "--license", "CC0"
    )  # an empty one may be there
    assert "Licence of the videos: CC0" in (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / SUMMARY).write_text("[]", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out, message in (
        (tmp_path / "theirs", "holds files that export-dataset has not written"),
        (tmp_path / "file", "is a file; a data set is a folder"),
        (tmp_path / "no" / "out", "there is no folder"),
        (made.path / "out", "lies in the cache itself"),
    ):
        _, error = told(made, out, "--to", "webdataset", "--overwrite", code=1)
        assert message in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), CacheCorruptError("bad")])
def test_what_is_stopped_leaves_nothing_and_loses_nothing(
    made: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    out = tmp_path / "out"
    export_dataset(made, out, options("webdataset", splits=("val",)))
    before = contents(out)

    def stopped(export: Any, folder: Path, progress: Any) -> None:
        (folder / "train-000000.tar").write_bytes(b"half")
        raise error

    monkeypatch.setitem(export_run._WRITERS, "webdataset", stopped)
    expected = SignprepError if isinstance(error, OSError) else error if isinstance(error, type) else type(error)
    with pytest.raises(expected):
        export_dataset(made, out, options("webdataset"), overwrite=True)
    assert contents(out) == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
def test_what_a_killed_export_left_is_removed_by_the_next_one(made: Cache, tmp_path: Path) -> None:
    dead = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    os.waitpid(dead, 0)
    for name in (f".out.{dead}.part", f".out-earlier.{dead}.part"):
        (tmp_path / name / "train").mkdir(parents=True)
        (tmp_path / name / "train" / "000000000.mp4").write_bytes(b"half")
    export_dataset(made, tmp_path / "out", options("webdataset", splits=("val",)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_damaged_clip_is_named_and_nothing_is_written(told: Told, tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "a.zarr", [row_of(0), row_of(1)])
    [shard] = [path for path in (cache.path / "clips").rglob("*") if path.is_file() and path.name != "zarr.json"]
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    _, error = told(cache, tmp_path / "out", "--to", "imagefolder-of-mp4", code=1)
    assert "clip 0 (NIA_SL_WORD0001_REAL01_F#0)" in error.splitlines()[-1] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "lerobot", "--clips", "npy"], "--clips is 'npy'; only webdataset has arrays"),
        (["--to", "lerobot", "--clips-per-tar", "5"], "--clips-per-tar goes with --to webdataset"),
        (["--to", "webdataset", "--clips", "npy", "--crf", "3"], "--crf goes with videos"),
        (["--to", "webdataset", "--crf", "52"], "52"),
        (["--to", "hdf5"], "'hdf5' is not one of 'webdataset', 'lerobot', 'imagefolder-of-mp4'"),
        ([], "Missing option '--to'"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    told: Told, made: Cache, tmp_path: Path, arguments: list[str], message: str
) -> None:
    _, error = told(made, tmp_path / "out", *arguments, code=2)
    assert message in error


def test_a_split_without_clips_and_a_cache_without_any_are_said(made: Cache, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="has no clips in its split 'dev'; its splits with clips: train, val, unass"):
        export_dataset(made, tmp_path / "a", options("webdataset", splits=("dev",)))
    empty = write_cache(tmp_path / "e.zarr", [row_of(0, status="removed")], glosses=["왼쪽"])
    with pytest.raises(CacheError, match="has no clip that can be read"):
        export_dataset(empty, tmp_path / "a", options("webdataset"))
