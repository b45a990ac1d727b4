"""A cache is Zarr: others read it too, and what is not for this signprep is refused."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import CacheVersionError
from tests.conftest import build_test_cache
from tests.waiting import HANG_SECONDS

PLAIN_SPEC = ClipSpec(num_frames=3, size=32, pixels="rgb24")


@pytest.fixture(scope="module")
def plain_cache(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_test_cache(data_root, tmp_path_factory.mktemp("plain") / "c.zarr", PLAIN_SPEC, codec="plain")


_READ_BY_ZARR = """
import sys
import numpy, zarr
numpy.save(sys.argv[2], zarr.open_group(sys.argv[1], mode="r")["clips"][:])
"""


@pytest.mark.parametrize("codec", ["lz4hc", "zstd"])
def test_a_program_that_knows_only_zarr_reads_the_frames_of_the_videos(
    data_root: Path, tmp_path: Path, codec: str
) -> None:
    spec = ClipSpec(num_frames=3, size=32)
    built = build_test_cache(data_root, tmp_path / "c.zarr", spec, codec=codec)
    subprocess.run(
        [sys.executable, "-c", _READ_BY_ZARR, built.path, tmp_path / "clips.npy"], check=True, timeout=HANG_SECONDS
    )
    clips = np.load(tmp_path / "clips.npy")
    for row in built.index.to_pylist():
        span = Span(row["start_seconds"], row["end_seconds"])
        [clip] = extract_clips(data_root / row["video"], [span], spec)
        assert isinstance(clip, Clip)
        assert np.array_equal(clips[row["position"]], clip.frames)


def site_packages_without_signprep(folder: Path) -> Path:
    """Link all that is installed but signprep, its codec's entry point included."""
    folder.mkdir()
    for installed in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(installed).iterdir():
            if "signprep" not in path.name and path.suffix != ".pth":
                (folder / path.name).symlink_to(path)
    return folder


_HAS_NO_SIGNPREP = """
import sys
sys.path.append(sys.argv[3])
import importlib.metadata, importlib.util
assert importlib.util.find_spec("signprep") is None
assert not importlib.metadata.entry_points(group="zarr.codecs")
"""


def test_zarr_without_signprep_reads_a_plain_cache(plain_cache: Cache, tmp_path: Path) -> None:
    packages = site_packages_without_signprep(tmp_path / "packages")
    command = [sys.executable, "-I", "-S", "-c", _HAS_NO_SIGNPREP + _READ_BY_ZARR]
    subprocess.run([*command, plain_cache.path, tmp_path / "clips.npy", packages], check=True, timeout=HANG_SECONDS)
    clips = np.load(tmp_path / "clips.npy")
    assert clips.any() and np.array_equal(clips, plain_cache.read(range(len(plain_cache))))


def test_zarr_without_signprep_refuses_the_other_codecs_by_name(cache: Cache, tmp_path: Path) -> None:
    packages = site_packages_without_signprep(tmp_path / "packages")
    command = [sys.executable, "-I", "-S", "-c", _HAS_NO_SIGNPREP + _READ_BY_ZARR]
    done = subprocess.run([*command, cache.path, tmp_path / "clips.npy", packages], capture_output=True, text=True)
    assert done.returncode != 0 and "signprep.temporal_delta" in done.stderr
    assert not (tmp_path / "clips.npy").exists()


def test_tensorstore_reads_a_plain_cache(plain_cache: Cache) -> None:
    tensorstore = pytest.importorskip("tensorstore", exc_type=ImportError)
    store = {"driver": "file", "path": str(plain_cache.path / "clips")}
    clips = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
    assert clips.dtype.numpy_dtype == np.uint8 and clips.domain.labels == ("clip", "frame", "row", "column", "channel")
    assert np.array_equal(clips.read().result(), plain_cache.read(range(len(plain_cache))))
    assert np.array_equal(clips[7].read().result(), plain_cache.read([7])[0])


def make_newer(root: Path) -> None:
    """Turn a cache into one of a format that nobody knows yet."""
    document = json.loads((root / "zarr.json").read_text())
    document["attributes"]["signprep"] = {"format_version": 3, "clips": "elsewhere"}
    (root / "zarr.json").write_text(json.dumps(document))
    (root / "manifest.json").write_text(json.dumps({"format_version": 3, "tree": []}))


def test_a_cache_of_a_newer_format_is_refused_and_left_alone(cache: Cache, data_root: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(cache.path, tmp_path / "newer.zarr"))
    make_newer(root)
    before = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    asks_for_newer = r"newer\.zarr: is a cache of format 3; this signprep reads formats 1 and 2: install a newer"
    for refuses in (open_cache, verify_cache):
        with pytest.raises(CacheVersionError, match=asks_for_newer):
            refuses(root)
    for arguments in (
        ["build-cache", "--data-root", data_root, "--out", root, "--frames", "4", "--size", "64", "--workers", "1"],
        ["verify", root],
        ["inspect", root],
    ):
        with pytest.raises(CacheVersionError, match=asks_for_newer):
            CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()} == before
