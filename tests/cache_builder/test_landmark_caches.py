"""Caches of landmarks: made of keypoints, exact, and the same in every command as those of pixels."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from signprep.cache_builder import open_cache
from signprep.cache_builder.building import encode_shard
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.plan import plan_build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.options import BuildOptions, StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import main
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits
from signprep.pipeline.datasets.synthetic.dataset import _perform as perform
from signprep.pipeline.datasets.synthetic.dataset import plan_videos, render_dataset
from signprep.pipeline.datasets.synthetic.keypoints import keypoints_of
from signprep.pipeline.datasets.synthetic.signers import film, signer_look
from signprep.pipeline.landmarks.points import PARTS, SIGNER75
from signprep.pipeline.options import SampleSpec
from tests.cache_builder.building.clusters import dask_cluster
from tests.cache_builder.servers import web_server

SAMPLE = SampleSpec(words=2, signers=3, frame_size=(128, 96), keypoints=True)
SPEC = ClipSpec(num_frames=4, landmarks="aihub", keypoint_size="128x96")
BUILD = ("--landmarks", "aihub", "--keypoint-size", "128x96", "--num-frames", "4", "--workers", "1")


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    assert not end.value.code


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "수어"
    render_dataset(SAMPLE, root, workers=1)
    return root


@pytest.fixture
def data(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "data"))


@pytest.fixture
def cache(data: Path, tmp_path: Path) -> Cache:
    run("build-cache", "--data-root", data, "--out", tmp_path / "a.zarr", *BUILD)
    return open_cache(tmp_path / "a.zarr")


def clips(cache: Cache) -> dict[str, tuple[bytes, list[float]]]:
    """The bytes of all clips by segment, and which part of body and hands was seen in each."""
    rows = cache.index.to_pylist()
    return {
        rows[position]["segment_id"]: (cache.read([position]).tobytes(), rows[position]["seen_fraction"])
        for position in cache.positions().tolist()
    }


def test_points_are_within_a_pixel_of_the_truth(sample: Path, tmp_path: Path) -> None:
    sides = (1920, 1080)
    spec = SampleSpec(words=2, signers=3, frame_size=sides, keypoints=True)
    root = tmp_path / "data"
    (root / "keypoint").mkdir(parents=True)
    shutil.copytree(sample / "label", root / "label")
    truth = {}
    for task in plan_videos(spec, root):
        signer = signer_look(spec.seed, task.signer_number)
        keypoints = keypoints_of(film(perform(task, signer), signer, task.view), signer, sides)
        truth[f"{task.base_name}#0"] = keypoints
        folder = root / "keypoint" / task.base_name
        folder.mkdir()
        for number in range(len(keypoints.pose)):
            frame = {name: part[number].ravel().tolist() for name, part in keypoints._asdict().items()}
            people = {f"{name}_keypoints_2d": points for name, points in frame.items()}
            (folder / f"{task.base_name}_{number:012d}_keypoints.json").write_text(json.dumps({"people": people}))
    run("build-cache", "--data-root", root, "--out", tmp_path / "a.zarr", "--landmarks", "aihub", "--workers", "1")
    cache = open_cache(tmp_path / "a.zarr")
    assert len(cache.positions()) == 6
    left = (sides[0] - sides[1]) / 2
    for row in cache.index.to_pylist():
        true, stored = truth[row["segment_id"]], cache.read([row["position"]])[0].astype(np.float64)
        frames = [round(seconds * 30) for seconds in row["sampled_seconds"]]
        nose = PARTS["body"].start + SIGNER75.index("nose")
        for place, points in (
            (PARTS["left_hand"], true.hand_left),
            (PARTS["right_hand"], true.hand_right),
            (slice(nose, nose + 1), true.pose[:, :1]),
        ):
            expected, found = points[frames], stored[:, place]
            assert np.array_equal(expected[..., 2] > 0, found[..., 2] > 0)
            distance = np.abs(found[..., :2] * sides[1] + (left, 0) - expected[..., :2])
            assert distance[expected[..., 2] > 0].max() < 1


def test_any_zarr_reader_opens_one_and_older_signprep_does_not_mistake_it(cache: Cache) -> None:
    array = zarr.open_group(cache.path, mode="r")["clips"]
    assert array.dtype == np.float16 and array.metadata.dimension_names == ("clip", "frame", "point", "xyc")
    assert np.array_equal(array[:], cache.read(range(len(cache))), equal_nan=True)
    assert json.loads((cache.path / "zarr.json").read_text())["attributes"]["signprep"]["format_version"] == 2


def test_what_was_not_seen_is_nan_with_confidence_zero(cache: Cache) -> None:
    hips = cache.read(range(len(cache)))[:, :, SIGNER75.index("left_hip")]  # below the picture
    assert np.isnan(hips[..., :2]).all() and (hips[..., 2] == 0).all()


def test_the_index_tells_which_part_of_body_and_hands_was_seen(
    cache: Cache, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in cache.index.to_pylist():
        seen = cache.read([row["position"]])[0, ..., 2] > 0
        assert row["seen_fraction"] == [seen[:, :13].mean(), seen[:, 13:34].mean(), seen[:, 34:55].mean()]
    means = np.mean(cache.index["seen_fraction"].to_pylist(), axis=0)
    assert means[0] < 1, "the hips are below the picture"
    capsys.readouterr()
    run("inspect", cache.path, "--json")
    told = json.loads(capsys.readouterr().out)["seen_fraction"]
    assert told == pytest.approx(dict(zip(("body", "left_hand", "right_hand"), means.tolist(), strict=True)))
    shown = f"body {means[0]:.0%}".replace("%", " %")
    run("inspect", cache.path)
    assert shown in capsys.readouterr().out
    run("inspect", cache.path, "--clip", "0")
    assert "left hand" in capsys.readouterr().out
    run("inspect", cache.path, "--html", tmp_path / "page.html")
    assert shown in (tmp_path / "page.html").read_text(encoding="utf-8")
    shutil.rmtree(data / "keypoint")
    run("build-cache", "--data-root", data, "--out", tmp_path / "p.zarr", "--num-frames", "4", "--size", "32")
    assert "seen_fraction" not in pq.read_schema(tmp_path / "p.zarr" / "index.parquet").names
    capsys.readouterr()
    run("inspect", tmp_path / "p.zarr", "--json")
    assert "seen_fraction" not in json.loads(capsys.readouterr().out)


def test_a_cache_from_before_that_column_opens_and_goes_on(
    cache: Cache, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(encode_shard, "seen_fraction", lambda landmarks: None)
        build_here = ("build-cache", "--data-root", data, "--out", tmp_path / "old.zarr", *BUILD)
        run(*build_here, "--signer", "REAL01", "--signer", "REAL17")
    old = open_cache(tmp_path / "old.zarr")
    assert "seen_fraction" not in pq.read_schema(old.path / "index.parquet").names
    assert old.index["seen_fraction"].null_count == 4
    capsys.readouterr()
    run("inspect", old.path, "--json")
    assert "seen_fraction" not in json.loads(capsys.readouterr().out)
    run(*build_here)
    rows = open_cache(old.path).index.to_pylist()
    assert [row["seen_fraction"] is None for row in rows] == [row["signer"] != "REAL18" for row in rows]
    run("verify", old.path)
    run("merge", old.path, cache.path, "--out", tmp_path / "both.zarr")
    assert {name: data for name, (data, _) in clips(open_cache(tmp_path / "both.zarr")).items()} == {
        name: data for name, (data, _) in clips(cache).items()
    }


def test_no_video_is_needed_and_a_zip_gives_the_same_cache(cache: Cache, data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data / "video")
    with zipfile.ZipFile(data / "01_real_word_keypoint.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((data / "keypoint").rglob("*.json")):
            archive.write(path, f"01/{path.parent.name}/{path.name}")
    shutil.rmtree(data / "keypoint")
    run("build-cache", "--data-root", data, "--out", tmp_path / "b.zarr", *BUILD)
    other = open_cache(tmp_path / "b.zarr")
    assert clips(other) == clips(cache)
    assert other.index["video_hash"].to_pylist() == cache.index["video_hash"].to_pylist()


def test_an_update_cuts_what_has_changed_and_nothing_else(cache: Cache, data: Path) -> None:
    before = clips(cache)
    changed = sorted((data / "keypoint").iterdir())[0]
    for path in sorted(changed.iterdir()):
        path.write_text(path.read_text().replace('"version": 1.3', '"version":  1.3'))
    shutil.rmtree(sorted((data / "keypoint").iterdir())[1])
    run("build-cache", "--data-root", data, "--out", cache.path, *BUILD)
    after = open_cache(cache.path)
    assert len(after) == 7 and len(after.positions()) == 5
    assert clips(after).items() <= before.items()
    run("compact", cache.path)
    assert clips(open_cache(cache.path)) == clips(after)
    run("verify", cache.path)


def test_forget_leaves_nothing_of_a_person(cache: Cache) -> None:
    run("forget", cache.path, "--signer", "REAL01", "--yes")
    left = open_cache(cache.path)
    assert set(left.index["signer"].to_pylist()) == {"REAL17", "REAL18"}
    run("verify", cache.path)


def test_a_damaged_shard_is_found_and_made_again(cache: Cache, data: Path) -> None:
    shard = next(path for path in (cache.path / "clips" / "c").rglob("0") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(SystemExit) as end:
        main(["verify", str(cache.path)])
    assert end.value.code == 1
    run("verify", cache.path, "--repair", "--data-root", data)
    assert shard.read_bytes() == whole


def test_merge_diff_push_pull_and_parts(
    cache: Cache, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("build-cache", "--data-root", data, "--out", tmp_path / "b.zarr", "--signer", "REAL17", *BUILD)
    run("merge", cache.path, tmp_path / "b.zarr", "--out", tmp_path / "ab.zarr")
    assert clips(open_cache(tmp_path / "ab.zarr")) == clips(cache)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["diff", str(tmp_path / "b.zarr"), str(cache.path)])
    assert end.value.code == 1 and "only in B: 4 clips" in capsys.readouterr().out
    run("push", cache.path, tmp_path / "team" / "a.zarr")
    run("pull", tmp_path / "team" / "a.zarr", tmp_path / "pulled.zarr")
    assert open_cache(tmp_path / "pulled.zarr").fingerprint == cache.fingerprint
    run("pull", tmp_path / "team" / "a.zarr", tmp_path / "part.zarr", "--split", "val")
    part = clips(open_cache(tmp_path / "part.zarr"))
    assert part.items() <= clips(cache).items() and len(part) == len(cache.positions("val"))


def test_one_is_streamed_and_shared_by_a_clip_pool(cache: Cache, data: Path, tmp_path: Path) -> None:
    with web_server(cache.path.parent) as server:
        streamed = open_cache(f"{server.url}/a.zarr", stream=StreamOptions(folder=tmp_path / "kept"))
        assert clips(streamed) == clips(cache)
    pool = ("--clip-pool", tmp_path / "pool")
    run("build-cache", "--data-root", data, "--out", tmp_path / "b.zarr", *BUILD, *pool)
    run("build-cache", "--data-root", data, "--out", tmp_path / "c.zarr", *BUILD, *pool)
    assert clips(open_cache(tmp_path / "c.zarr")) == clips(cache)


def test_a_cluster_builds_what_a_build_here_gives(cache: Cache, data: Path, tmp_path: Path) -> None:
    annotations = read_data_root(data, DatasetOptions(landmarks="aihub"))
    plan = plan_build(annotations.roots, assign_splits(annotations.segments), BuildOptions(clip_spec=SPEC))
    with dask_cluster() as cluster:
        build(plan, tmp_path / "b.zarr", RunOptions(cluster=Cluster(backend="dask", scheduler=cluster.address)))
    assert open_cache(tmp_path / "b.zarr").fingerprint == cache.fingerprint


def test_reports_draw_landmarks(cache: Cache, tmp_path: Path) -> None:
    assert cache.rgb(0).shape == (4, 256, 256, 3) and len(np.unique(cache.rgb(0).reshape(-1, 3), axis=0)) > 3
    run("inspect", cache.path, "--html", tmp_path / "page.html")
    assert "75 landmarks" in (tmp_path / "page.html").read_text(encoding="utf-8")
    run("play", cache.path, "0", "--out", tmp_path / "clip.webp")
    assert (tmp_path / "clip.webp").stat().st_size > 500


def test_a_cache_of_landmarks_cannot_become_one_of_pixels(
    cache: Cache, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["build-cache", "--data-root", str(data), "--out", str(cache.path), "--num-frames", "4", "--size", "32"])
    assert end.value.code == 1
    assert "landmarks aihub there, None asked for" in capsys.readouterr().err


def test_json_names_what_landmarks_take_without_compression(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", cache.path, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["raw_bytes"] == document["clips"] * 4 * 75 * 3 * 2
    assert document["ratio_to_raw"] == pytest.approx(document["stored_bytes"] / document["raw_bytes"])
    assert not [name for name in document if "rgb" in name]
