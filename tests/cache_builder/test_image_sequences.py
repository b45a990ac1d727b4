"""Folders of pictures as the videos of a data set: built, updated, verified, repaired and scanned as files are."""

import json
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from tests.pictures import FPS, encoded, lossless_video, picture, write_pictures, zip_folder
from tests.pipeline.video.test_image_sequence import RGB

SMALL = ("--num-frames", "4", "--size", "32", "--workers", "1")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def built(root: Path, out: Path, *arguments: object) -> str:
    result = run("build-cache", "--data-root", root, "--out", out, *SMALL, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def clips(cache: Path) -> dict[str, np.ndarray]:
    opened = open_cache(cache)
    ids = opened.index["segment_id"].to_pylist()
    whole = [place for place, status in enumerate(opened.index["status"].to_pylist()) if status == "ok"]
    return {ids[place]: opened.read([place])[0] for place in whole}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Class folders of pictures, two levels deep."""
    for gloss in ("왼쪽", "오른쪽"):
        for number, suffix in enumerate((".png", ".jpg", ".webp")):
            write_pictures(tmp_path / "수어 그림" / gloss / f"clip {number}", 6 + number, suffix)
    return tmp_path / "수어 그림"


def as_table(folder: Path, videos: Sequence[str], **columns: str) -> Path:
    table = folder / "table.csv"
    names = ["video", "start", "end", "gloss", *columns]
    rows = [[video, "0.04", "0.2", f"sign{place % 2}", *columns.values()] for place, video in enumerate(videos)]
    table.write_text("\n".join(",".join(row) for row in [names, *rows]) + "\n", encoding="utf-8")
    return table


def test_class_folders_of_pictures_are_clips(root: Path, tmp_path: Path) -> None:
    told = built(root, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS)
    index = open_cache(tmp_path / "a.zarr").index
    assert "6 clips" in told
    assert sorted(index["video"].to_pylist())[:2] == ["오른쪽/clip 0", "오른쪽/clip 1"]
    assert set(index["gloss"].to_pylist()) == {"왼쪽", "오른쪽"}
    by_id = dict(zip(index["segment_id"].to_pylist(), index["clip_end_seconds"].to_pylist(), strict=True))
    assert by_id["왼쪽/clip 2#0"] == 8 / FPS


def test_a_table_names_folders_and_its_clips_are_those_of_lossless_videos(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(4):
        pictures = write_pictures(folder / "fullFrame" / f"{number}" / "1", 8, first=number * 8)
        lossless_video(folder / f"{number}.mp4", sorted(pictures.iterdir()), scale=RGB)
    built(as_table(folder, [f"fullFrame/{n}/1" for n in range(4)]), tmp_path / "a.zarr", "--fps", FPS)
    built(as_table(folder, [f"{n}.mp4" for n in range(4)]), tmp_path / "b.zarr")
    pictures, videos = list(clips(tmp_path / "a.zarr").values()), list(clips(tmp_path / "b.zarr").values())
    assert len(pictures) == 4
    for one in pictures:
        assert any(np.array_equal(one, other) for other in videos)


def test_another_rate_is_another_video(root: Path, tmp_path: Path) -> None:
    table = as_table(root, [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*"))])
    built(table, tmp_path / "a.zarr", "--fps", 25)
    hashes = set(open_cache(tmp_path / "a.zarr").index["video_hash"].to_pylist())
    assert "6 clips stayed as they were" in built(table, tmp_path / "a.zarr", "--fps", 25)
    told = built(table, tmp_path / "a.zarr", "--fps", 30)
    assert "built 6 clips" in told and "gone from the data: 6 clips" in told
    index = open_cache(tmp_path / "a.zarr").index
    live = index.filter([status == "ok" for status in index["status"].to_pylist()])
    assert not hashes & set(live["video_hash"].to_pylist())


def test_an_update_cuts_what_has_changed_and_nothing_else(root: Path, tmp_path: Path) -> None:
    arguments = ("--layout", "classes", "--fps", FPS)
    built(root, tmp_path / "a.zarr", *arguments)
    (root / "왼쪽" / "clip 0" / "frame0003.png").write_bytes(encoded(picture(50), ".png"))
    shutil.rmtree(root / "오른쪽" / "clip 1")
    write_pictures(root / "오른쪽" / "clip 9", 5)
    told = built(root, tmp_path / "a.zarr", *arguments)
    assert "built 2 clips" in told and "4 clips stayed as they were" in told and "gone from the data: 2 clips" in told
    built(root, tmp_path / "b.zarr", *arguments)
    updated, new = clips(tmp_path / "a.zarr"), clips(tmp_path / "b.zarr")
    assert all(np.array_equal(updated[name], new[name]) for name in new)


def test_pictures_without_a_rate_are_told_to_need_one(root: Path, tmp_path: Path) -> None:
    result = run("build-cache", "--data-root", root, "--layout", "classes", "--out", tmp_path / "a.zarr", *SMALL)
    assert result.exit_code == 1 and "give the rate of their frames, as by --fps 25" in str(result.exception)
    table = as_table(root, ["왼쪽/clip 0", "왼쪽/clip 1/"])
    result = run("build-cache", "--data-root", table, "--out", tmp_path / "a.zarr", *SMALL)
    assert result.exit_code == 1 and "왼쪽/clip 0: is a folder of pictures; give the rate" in str(result.exception)


def test_videos_and_their_pictures_beside_them_are_as_they_were_without_a_rate(root: Path, tmp_path: Path) -> None:
    lossless_video(root / "왼쪽" / "clip 0.mp4", sorted((root / "왼쪽" / "clip 0").iterdir()), scale=RGB)
    assert ": 1 clip (" in built(root, tmp_path / "a.zarr", "--layout", "classes")
    told = built(root, tmp_path / "b.zarr", "--layout", "classes", "--fps", FPS)
    assert "6 clips" in told and "clip 0: has the name of another file beside it, which is taken" in told
    assert "왼쪽/clip 0.mp4" in open_cache(tmp_path / "b.zarr").index["video"].to_pylist()


def test_a_bad_picture_costs_its_own_clips_and_is_named(root: Path, tmp_path: Path) -> None:
    (root / "왼쪽" / "clip 0" / "frame0003.png").write_bytes(b"nothing")
    (root / "왼쪽" / "clip 1" / "other.jpg").write_bytes(b"no frame: it has no number")
    (root / "오른쪽" / "clip 2" / "b1.webp").write_bytes(b"of another kind")
    told = built(root, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS)
    index = open_cache(tmp_path / "a.zarr").index
    failed = {row["video"]: row["error"] for row in index.to_pylist() if row["status"] == "failed"}
    assert list(failed) == ["왼쪽/clip 0"] and "frame0003.png cannot be decoded" in failed["왼쪽/clip 0"]
    assert index["status"].to_pylist().count("ok") == 4
    assert "오른쪽/clip 2: its pictures are of 2 kinds of names" in told


def test_verify_makes_bad_clips_again_from_pictures(root: Path, tmp_path: Path) -> None:
    built(root, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS)
    before = clips(tmp_path / "a.zarr")
    shard = next(path for path in (tmp_path / "a.zarr" / "clips" / "c").rglob("*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[40] ^= 255
    shard.write_bytes(data)
    assert run("verify", tmp_path / "a.zarr").exit_code == 1
    result = run("verify", tmp_path / "a.zarr", "--repair", "--data-root", root, "--fps", FPS)
    assert result.exit_code == 0, result.output
    after = clips(tmp_path / "a.zarr")
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert run("inspect", tmp_path / "a.zarr").exit_code == 0
    assert run("verify", tmp_path / "a.zarr", "--fps", FPS).exit_code == 2


def scanned(root: Path, *arguments: object) -> dict[str, list[dict[str, str]]]:
    result = run("scan", "--data-root", root, "--layout", "classes", "--json", "--workers", "1", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_scan_looks_into_pictures(root: Path) -> None:
    (root / "왼쪽" / "clip 0" / "frame0003.png").unlink()
    (root / "왼쪽" / "clip 1" / "frame0003.jpg").write_bytes(b"nothing")
    shutil.copytree(root / "오른쪽" / "clip 2", root / "오른쪽" / "clip 3")
    found = scanned(root, "--fps", FPS, "--deep")
    kinds = {finding["kind"] for finding in found["problems"]}
    assert {"video-missing-pictures", "video-damaged", "duplicate-video"} <= kinds
    assert "video-damaged" not in {finding["kind"] for finding in scanned(root, "--fps", FPS)["problems"]}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_pictures_in_zips_are_read_in_place_and_are_the_same_videos(
    root: Path, tmp_path: Path, compression: int
) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    zip_folder(root, packed / "그림.zip", compression=compression)
    one_by_one = tmp_path / "one by one"
    for folder in root.glob("*/*"):
        (one_by_one / folder.parent.name).mkdir(parents=True, exist_ok=True)
        zip_folder(folder, one_by_one / folder.parent.name / f"{folder.name}.zip", compression=compression)
    in_tar = tmp_path / "in a tar"
    in_tar.mkdir()
    with tarfile.open(in_tar / "그림.tar", "w") as tar:
        tar.add(root, ".")
    arguments = ("--layout", "classes", "--fps", FPS)
    built(root, tmp_path / "a.zarr", *arguments)
    expected = clips(tmp_path / "a.zarr")
    for data in (packed, one_by_one, in_tar):
        out = tmp_path / f"{data.name}.zarr"
        shutil.copytree(tmp_path / "a.zarr", out)
        assert "6 clips stayed as they were" in built(data, out, *arguments)  # for the content is the same
        shutil.rmtree(out)
        built(data, out, *arguments)
        found = {
            name.removeprefix("그림.zip!/").removeprefix("그림.tar!/"): frames for name, frames in clips(out).items()
        }
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert open_cache(tmp_path / "one by one.zarr").index["video"].to_pylist()[0] == "오른쪽/clip 0.zip!"
    assert "6 videos" in run("scan", "--data-root", packed, *arguments, "--workers", "1").output


def test_a_table_names_folders_in_zips(root: Path, tmp_path: Path) -> None:
    zip_folder(root / "왼쪽", root / "a.zip")
    zip_folder(root / "왼쪽" / "clip 1", root / "b.zip")
    table = as_table(root, ["a.zip!/clip 0", "a.zip!/clip 2/", "b.zip!", "a.zip!/clip 9"])
    told = built(table, tmp_path / "a.zarr", "--fps", FPS)
    assert "3 clips" in told and "there is no video" in told and "clip 9" in told
    result = run("build-cache", "--data-root", table, "--out", tmp_path / "b.zarr", *SMALL)
    assert result.exit_code == 1 and "a.zip!/clip 0: is a folder of pictures; give the rate" in str(result.exception)


def test_damage_in_a_zip_costs_the_clips_that_would_show_it(root: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    archive = zip_folder(root, packed / "a.zip")
    picture_bytes = (root / "왼쪽" / "clip 0" / "frame0003.png").read_bytes()  # the first of two with these bytes
    data = bytearray(archive.read_bytes())
    data[data.index(picture_bytes) + 100] ^= 255
    archive.write_bytes(data)
    built(packed, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS)
    failed = [row for row in open_cache(tmp_path / "a.zarr").index.to_pylist() if row["status"] == "failed"]
    assert [row["video"] for row in failed] == ["a.zip!/오른쪽/clip 0"]
    assert "frame0003.png cannot be decoded" in failed[0]["error"] and "checksum" in failed[0]["error"]


def test_a_zip_with_videos_and_pictures_is_as_it_was_without_a_rate(root: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    lossless_video(root / "왼쪽" / "video.mp4", sorted((root / "왼쪽" / "clip 0").iterdir()), scale=RGB)
    write_pictures(root / "왼쪽", 3, ".jpg", name=lambda number: f"thumb{number}")
    zip_folder(root, packed / "a.zip")
    assert ": 1 clip (" in built(packed, tmp_path / "a.zarr", "--layout", "classes")
    assert "7 clips" in built(packed, tmp_path / "b.zarr", "--layout", "classes", "--fps", FPS)


def test_windows_lie_around_the_middle_of_videos_whose_end_the_labels_do_not_tell(root: Path, tmp_path: Path) -> None:
    built(root, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS, "--clip-duration", 4 / FPS)
    index = open_cache(tmp_path / "a.zarr").index
    spans = zip(*(index[f"clip_{end}_seconds"].to_pylist() for end in ("start", "end")), strict=True)
    found = dict(zip(index["segment_id"].to_pylist(), spans, strict=True))
    for number in range(3):  # of 6, 7 and 8 pictures
        middle = (6 + number) / FPS / 2
        assert found[f"왼쪽/clip {number}#0"] == pytest.approx((middle - 2 / FPS, middle + 2 / FPS))
    assert index["status"].to_pylist() == ["ok"] * 6


def test_a_window_longer_than_its_video_is_the_video(root: Path, tmp_path: Path) -> None:
    built(root, tmp_path / "a.zarr", "--layout", "classes", "--fps", FPS, "--clip-duration", 100)
    built(root, tmp_path / "b.zarr", "--layout", "classes", "--fps", FPS)
    whole, windows = clips(tmp_path / "b.zarr"), clips(tmp_path / "a.zarr")
    assert whole.keys() == windows.keys()
    assert all(np.array_equal(whole[name], windows[name]) for name in whole)
