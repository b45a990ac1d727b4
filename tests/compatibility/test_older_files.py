"""What an older version has left is opened, continued and written again as that version did: see README.md."""

import csv
import hashlib
import importlib.metadata
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.format.index import LATER_COLUMNS, SCHEMA, completed, parquet_bytes
from signprep.cache_builder.format.layout import INDEX, CacheObject
from signprep.inference.open_model import open_model
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheIncompleteError
from signprep.training.config import TrainConfig
from tests.cache_builder.servers import CREDENTIALS, make_bucket, s3_server, web_server
from tests.compatibility.make import CHECKPOINT, EXPORTS, MODEL, POOLED, RESULTS, SIZES, SUBTITLES, TRAINING, VARIANTS

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "files" / "expected.json").read_text(encoding="utf-8"))
CACHES = sorted(EXPECTED["clips"])
OF_BYTES = ("av", "numcodecs", "zarr", "pyarrow")
"""Packages that decide a cache's bytes besides signprep."""
LATER_OPTIONS = ("backbone_rate", "layer_decay", "decay_embeddings", "sync_batchnorm")
LATER_AUGMENTATIONS = ("speed", "boundary_shift")
LATER_KEYS = ("recipe", "frame_spacing_seconds", "command", "loggers")
OF_THE_MACHINE = {"cudnn_benchmark": False, "tf32": False, "fused_optimizer": False, "channels_last": True}
"""What these options are where there is no GPU: a record has what was taken."""
same_packages = all(importlib.metadata.version(name) == EXPECTED["versions"][name] for name in OF_BYTES)
"""Where they are not, clips are still the same ones, but may be stored in other bytes."""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    shutil.copy(HERE / "efficient_x3d_tiny.py", folder)
    return Path(shutil.copytree(HERE / "files", folder, dirs_exist_ok=True))


@pytest.fixture(autouse=True)
def older(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, which no test changes: the current folder, as it was of the program that wrote them."""
    monkeypatch.chdir(copied)
    return copied


def signprep(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def build(out: Path, *options: object) -> str:
    return signprep("build-cache", "--data-root", "data", "--out", out, "--workers", 1, *SIZES, *options)


def clips_of(path: Path | str) -> list[str | None]:
    cache = open_cache(path)
    readable = set(cache.positions().tolist())
    return [
        hashlib.sha256(cache.read([position])[0].tobytes()).hexdigest() if position in readable else None
        for position in range(len(cache))
    ]


def index_of(path: Path | str) -> str:
    rows = open_cache(path).index.drop_columns(LATER_COLUMNS).to_pylist()
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def manifest_of(path: Path | str) -> dict[str, Any]:
    return json.loads(Path(path, "manifest.json").read_text(encoding="utf-8"))


def group_of(path: Path | str) -> dict[str, Any]:
    """Return a cache's own metadata, without the versions that wrote it."""
    attributes = json.loads(Path(path, "zarr.json").read_text(encoding="utf-8"))["attributes"]["signprep"]
    assert attributes["provenance"].pop("versions")
    assert attributes["provenance"].pop("preprocessing_version") in (1, 2)  # these videos are cut alike by both
    return attributes


def assert_same_cache(path: Path, manifest: dict[str, Any]) -> None:
    """Hold a cache's files against an older manifest, but for the one that has the versions in it."""
    found = manifest_of(path)
    # The second hash has come since, beside what older versions read; shards that are kept have none.
    assert found.pop("blake3", {}).keys() <= found["objects"].keys()
    assert found.keys() == manifest.keys() and found["objects"].keys() == manifest["objects"].keys()
    if same_packages:
        older, newer = dict(manifest["objects"]), dict(found["objects"])
        del older["zarr.json"], newer["zarr.json"]
        # But for the columns that have come since, the index is written as it was.
        columns = pa.schema([field for field in SCHEMA if field.name not in LATER_COLUMNS])
        index = completed(pq.read_table(path / INDEX)).drop_columns(LATER_COLUMNS).cast(columns)
        entry = CacheObject.of(parquet_bytes(index, compression="zstd", write_page_checksum=True))
        newer[INDEX] = {"num_bytes": entry.num_bytes, "hash": entry.hash}
        assert newer == older


@pytest.fixture
def versions_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have packages tell the versions of then: a build that was begun with other ones is another build."""
    found = importlib.metadata.distribution

    def of_then(name: str) -> Any:
        told = EXPECTED["versions"].get(name)
        return found(name) if told is None else SimpleNamespace(version=told)

    monkeypatch.setattr(importlib.metadata, "distribution", of_then)


@pytest.mark.parametrize("name", CACHES)
def test_older_caches_give_the_same_clips_and_the_same_index(name: str) -> None:
    assert clips_of(f"caches/{name}") == EXPECTED["clips"][name]
    assert index_of(f"caches/{name}") == EXPECTED["indexes"][name]
    signprep("verify", f"caches/{name}", "--deep")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_data_and_options_give_the_same_cache_again(name: str, tmp_path: Path) -> None:
    build(tmp_path / name, *VARIANTS[name])
    assert clips_of(tmp_path / name) == EXPECTED["clips"][name]
    assert index_of(tmp_path / name) == EXPECTED["indexes"][name]
    assert group_of(tmp_path / name) == group_of(f"caches/{name}")
    assert_same_cache(tmp_path / name, manifest_of(f"caches/{name}"))


def test_a_build_that_was_killed_goes_on_with_what_it_had(versions_of_then: None, tmp_path: Path) -> None:
    out = Path(shutil.copytree("unfinished/first", tmp_path / "c"))
    with pytest.raises(CacheIncompleteError):
        open_cache(out)
    kept = [out / "clips" / "c" / str(number) / "0/0/0" for number in range(2)]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept]
    build(out)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept] == before
    assert clips_of(out) == EXPECTED["clips"]["lz4hc"]
    assert index_of(out) == EXPECTED["indexes"]["lz4hc"]
    assert_same_cache(out, manifest_of("caches/lz4hc"))


@pytest.mark.parametrize("name", ["caches/changed", "unfinished/commit"])
def test_a_cache_follows_its_data_whether_it_was_killed_on_the_way_or_not(
    name: str, versions_of_then: None, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(name, tmp_path / "c"))
    if name == "unfinished/commit":
        with pytest.raises(CacheIncompleteError):
            open_cache(out)
    build(out)
    assert_same_cache(out, EXPECTED["updated"])
    signprep("verify", out, "--deep")
    assert not (out / ".build").exists()


def test_a_published_cache_is_read_and_a_push_writes_the_same_objects(
    older: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with web_server(older) as server:
        assert clips_of(f"{server.url}/published") == EXPECTED["clips"]["changed"]
        signprep("pull", f"{server.url}/published", tmp_path / "theirs")
    assert manifest_of(tmp_path / "theirs") == manifest_of("caches/changed")

    import fsspec

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        make_bucket(endpoint, "team")
        fsspec.filesystem("s3").clear_instance_cache()  # one of another test has that one's address
        mine = shutil.copytree("caches/changed", tmp_path / "mine")
        signprep("push", mine, "s3://team/published", "--yes")
        fsspec.filesystem("s3").get("team/published", str(tmp_path / "published"), recursive=True)
        fsspec.filesystem("s3").clear_instance_cache()
    assert files_of(tmp_path / "published") == files_of(older / "published")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clips_are_taken_from_an_older_pool_and_none_is_cut(older: Path, tmp_path: Path) -> None:
    pool = Path(shutil.copytree("clip-pool", tmp_path / "pool"))
    told = build(tmp_path / "c", *POOLED, "--shelf", pool)
    assert re.search(rf"taken from .*: {len(open_cache(tmp_path / 'c').positions())} clips", told)
    assert files_of(pool) == files_of(older / "clip-pool")
    rows = {row["segment_id"]: row for row in open_cache("caches/lz4hc").index.to_pylist()}
    expected = [EXPECTED["clips"]["lz4hc"][rows[name]["position"]] for name in segment_ids(tmp_path / "c")]
    assert clips_of(tmp_path / "c") == expected


def segment_ids(path: Path) -> list[str]:
    return open_cache(path).index["segment_id"].to_pylist()


@pytest.mark.parametrize("name", EXPECTED["probabilities"])
def test_older_checkpoints_and_exported_files_give_the_same_predictions(name: str) -> None:
    assert_predicts(Path(name), name)


def assert_predicts(path: Path, older: str) -> None:
    cache = open_cache("caches/lz4hc")
    found = open_model(path, "cpu", own_model=MODEL).probabilities(cache.read(cache.positions()))
    # Kernels of int8 differ from machine to machine by a step or two.
    tolerance = 0.05 if "int8" in older else 1e-5
    np.testing.assert_allclose(found, EXPECTED["probabilities"][older], atol=tolerance)


@pytest.mark.parametrize("name", [name for name in EXPORTS if "fp32" in name])
def test_an_export_writes_such_a_file_and_such_a_report_again(name: str, older: Path, tmp_path: Path) -> None:
    signprep("export", *CHECKPOINT, "--output-path", tmp_path / name, "--cache", "caches/lz4hc", *EXPORTS[name])
    assert_predicts(tmp_path / name, f"exported/{name}")

    def report(folder: Path) -> dict[str, Any]:
        document = json.loads((folder / f"{name}.report.json").read_text(encoding="utf-8"))
        for of_the_day in ("file", "num_bytes", "latency_ms", "machine", "versions", "notes"):
            document.pop(of_the_day)
        for compared in document["compared"]:
            assert compared.pop("largest_difference") < 1e-4 and compared.pop("mean_difference") < 1e-4
        return document

    assert report(tmp_path) == report(older / "exported")


_FRACTION = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")


def assert_same_text(found: str, expected: str) -> None:
    """Hold texts against each other: all but numbers with a fraction are equal, and those nearly."""
    assert _FRACTION.sub("0.0", found) == _FRACTION.sub("0.0", expected)
    numbers = [[float(number) for number in _FRACTION.findall(text)] for text in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1e-4)


def without(text: str, *patterns: str) -> str:
    for pattern in patterns:
        text, times = re.subn(pattern, "", text)
        assert times == 1, pattern
    return text


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "inspect.json"])
def test_results_are_written_again_as_they_were(name: str, tmp_path: Path) -> None:
    if RESULTS[name][0] == "infer":
        signprep(*RESULTS[name], "--output-path", tmp_path / name)
        found = (tmp_path / name).read_bytes().decode()
    else:
        found = signprep(*RESULTS[name])
    expected = Path("results", name).read_bytes().decode()
    seconds = [r'"seconds": [0-9.]+'] if name == "scan.json" else []
    later = [
        r'\n *"clip_views": 1,',
        r',\n *"views": null(?=\n *},\n *"calibrated")',
        r'(?s)\n *"confusion": {.*},(?=\n *"mistaken")',
    ]
    later = later if name == "evaluation.json" else []
    assert_same_text(without(found, *seconds, *later), without(expected, *seconds))


@pytest.mark.parametrize("ending", SUBTITLES)
def test_subtitles_are_written_again_as_they_were(ending: str, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    out = tmp_path / "results" / f"timeline.{ending}"
    signprep(*RESULTS["timeline.json"], "--subtitles", out)
    of_the_day = [r'DATE="[^"]*"', r'MEDIA_URL="file:[^"]*"', r'RELATIVE_MEDIA_URL="[^"]*"'] if ending == "eaf" else []
    confidence = [  # a tier under the glosses, which older files have not
        r'\n *<TIER [^>]*TIER_ID="confidence">[\s\S]*?</TIER>',
        r'\n *<LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association"[^>]*>',
        r"\n *<CONSTRAINT [^>]*>",
    ]
    last_number = [r'(?<="lastUsedAnnotationId">)\d+'] if ending == "eaf" else []
    expected = Path("results", f"timeline.{ending}").read_bytes().decode()
    found = without(out.read_bytes().decode(), *of_the_day, *last_number, *(confidence if ending == "eaf" else []))
    assert found == without(expected, *of_the_day, *last_number)


def test_inspect_tells_the_same_of_a_cache() -> None:
    def told(text: str) -> dict[str, Any]:
        document = json.loads(text)
        # A newer version may judge and word what it finds in its own way.
        kept = ("kind", "positions", "names")
        document["findings"] = [{key: finding[key] for key in kept} for finding in document["findings"]]
        return document

    assert told(signprep(*RESULTS["inspect.json"])) == told(Path("results/inspect.json").read_text(encoding="utf-8"))


def of_then(document: dict[str, Any]) -> dict[str, Any]:
    """Return a card or a record without what has come since, which is at its default."""
    name = "train_config" if "train_config" in document else "options"
    options, later = dict(document[name]), TrainConfig().to_dict()
    for field in LATER_OPTIONS:
        assert options.pop(field) == later[field]
    for field, value in OF_THE_MACHINE.items():
        assert options.pop(field) == value
    options["augmentation"] = dict(options["augmentation"])
    for field in LATER_AUGMENTATIONS:
        assert options["augmentation"].pop(field) == later["augmentation"][field]
    return {key: value for key, value in document.items() if key not in LATER_KEYS} | {name: options}


def assert_same_run(folder: Path, *, resumed_in: str | None) -> None:
    """Hold a run that has ended against the older one; an epoch that it resumed has the training loss of its rest."""
    tables = []
    for path in (folder / "metrics.csv", Path("runs/finished/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    found, expected = tables
    assert [list(row) for row in found] == [list(row) for row in expected]
    for column in ("epoch", "step", "train/loss", "val/loss", "val/accuracy", "learning_rate"):
        left_out = resumed_in if column == "train/loss" else None
        values = [[float(row[column]) for row in table if row["epoch"] != left_out] for table in tables]
        assert values[0] == pytest.approx(values[1], rel=0.01, abs=1e-3), column
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["state_dict"].keys() == EXPECTED["last_weights"].keys()
    for name, value in last["state_dict"].items():
        if name.endswith("num_batches_tracked"):  # a count, which was averaged then
            continue
        np.testing.assert_allclose(value.flatten(), EXPECTED["last_weights"][name], atol=0.01, err_msg=name)
    older = torch.load("runs/finished/checkpoints/best.ckpt", weights_only=True)
    assert last.keys() == older.keys() and of_then(last["signprep"]) == older["signprep"]
    documents = [json.loads((run / "run.json").read_text("utf-8")) for run in (folder, Path("runs/finished"))]
    for document in documents:
        assert document.pop("versions").keys() >= {"python", "signprep", "torch"}
        assert document.pop("result").pop("epochs") == 8
    assert of_then(documents[0]) == documents[1]


@pytest.mark.parametrize("name", ["stopped", "finished"])
def test_a_stopped_run_goes_on_and_a_new_one_goes_the_same_way(name: str, tmp_path: Path) -> None:
    output = ("--output-dir", tmp_path, "--experiment-name", name)
    if name == "stopped":
        shutil.copytree("runs/stopped", tmp_path / "stopped")
        signprep(*TRAINING, *output, "--resume")
    else:
        signprep(*TRAINING, *output)
    assert_same_run(tmp_path / name, resumed_in="4" if name == "stopped" else None)
