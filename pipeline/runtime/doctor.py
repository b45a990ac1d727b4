"""Checks of this machine: what works, what is missing or slow, and what to do about it.

In: nothing. Out: a `Check` for each thing. Every check tries the thing itself: a video is really decoded and a file
really written, in about a second at most. Checks of what needs torch are in `training`.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from signprep.pipeline.runtime.installation import install_extras, install_packages
from signprep.pipeline.runtime.machine import processor, usable_cores

OK, SLOW, MISSING, BROKEN = "ok", "slow", "missing", "broken"
"""Results of a check: all is well; it works, but slowly; an optional thing is not there; a needed thing fails."""

CODECS = {"h264": "AIHub's videos", "hevc": "phones", "av1": "downloads", "vp9": "downloads", "mpeg4": "old cameras"}
DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "sftp": "sshfs", "http": "aiohttp", "hf": "huggingface_hub"}
CLUSTERS = {"dask": "distributed", "ray": "ray"}
SMALL_DISK_BYTES = 20_000_000_000
SLOW_WRITE_MB_PER_SECOND = 50.0

_Result = tuple[str, ...]
"""The fields of a `Check` behind its name."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    state: str
    """`ok`, `slow`, `missing` or `broken`."""
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def check_machine() -> Iterator[Check]:
    """Yield the checks of everything below training."""
    yield Check(name="signprep", state=OK, found=f"{version('signprep')}, Python {platform.python_version()}")
    yield Check(name="machine", state=OK, found=f"{usable_cores()} of {os.cpu_count()} cores, {processor()}{_memory()}")
    checks: dict[str, Callable[[], _Result]] = {
        "Korean names": _encoding,
        "videos, PyAV": _decode_pyav,
        "videos, decord": _decode_decord,
        "formats": _codecs,
        "compression": _compression,
        "checksums": _checksums,
        "disk": _disk,
        "open files": _open_files,
        "places": lambda: _extras(DRIVERS, "://"),
        "clusters": lambda: _extras(CLUSTERS, ""),
    }
    for name, check in checks.items():
        try:
            result = check()
        except OSError as error:
            result = (BROKEN, str(error), "see that the place can be written to and read")
        except Exception as error:
            result = (BROKEN, f"{type(error).__name__}: {error}", "install signprep again, as it was installed")
        yield Check(name, *result)


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (AttributeError, ValueError, OSError):
        return ""


def _encoding() -> _Result:
    names, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "none"
    found = f"file names {names}, output {output}"
    advice = "set PYTHONUTF8=1, or LANG=C.UTF-8"
    if not _holds(names, "왼쪽"):
        return (BROKEN, f"{found}: files with Korean names cannot be written", advice)
    if output == "none" or _holds(output, "왼쪽█"):
        return (OK, found)
    if _holds(output, "왼쪽"):
        return (OK, f"{found}: tables and bars are drawn in ASCII, letters that it lacks are escapes such as \\u274c")
    return (MISSING, f"{found}: glosses are shown as escapes such as \\uc67c\\ucabd", advice)


def _holds(encoding: str, letters: str) -> bool:
    try:
        letters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _sample_video(folder: Path) -> Path:
    """Write 10 frames of 64 x 64 with the encoder that there is."""
    import av

    path = folder / "sample.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if _has_codec("libx264", "w") else "mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _has_codec(name: str, mode: str) -> bool:
    import av

    try:
        av.codec.Codec(name, mode)  # type: ignore[arg-type]
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _decode_pyav() -> _Result:
    import av

    with tempfile.TemporaryDirectory() as folder, av.open(str(_sample_video(Path(folder)))) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    if num_frames != 10:
        return (BROKEN, f"{num_frames} of 10 frames", install_packages("--upgrade", "av"))
    major, minor, _ = av.library_versions["libavcodec"]
    return (OK, f"av {version('av')}, libavcodec {major}.{minor}")


def _decode_decord() -> _Result:
    if find_spec("decord") is None:
        return (MISSING, "not installed", "needed by --decoder decord only")
    import decord

    with tempfile.TemporaryDirectory() as folder:
        num_frames = len(decord.VideoReader(str(_sample_video(Path(folder)))))
    return (OK if num_frames == 10 else BROKEN, f"decord {version('decord')}, {num_frames} of 10 frames")


def _codecs() -> _Result:
    missing = [f"{name} ({use})" for name, use in CODECS.items() if not _has_codec(name, "r")]
    if missing:
        advice = f"{install_packages('--force-reinstall', 'av')}: its own wheels have all of them"
        return (BROKEN, f"cannot be read: {', '.join(missing)}", advice)
    if not _has_codec("libx264", "w"):
        advice = "make-sample and --render need an av with libx264: its own wheels have it"
        return (MISSING, f"{', '.join(CODECS)}; H.264 cannot be written", advice)
    return (OK, f"{', '.join(CODECS)}; H.264 is written")


def _compression() -> _Result:
    from numcodecs import blosc

    clip = np.arange(2**20, dtype=np.uint8)
    for name in ("lz4hc", "zstd"):
        if not np.array_equal(np.frombuffer(blosc.decompress(blosc.compress(clip, name.encode(), 1)), np.uint8), clip):
            return (BROKEN, f"{name} gives other bytes", install_packages("--upgrade", "numcodecs"))
    return (OK, f"numcodecs {version('numcodecs')}, zarr {version('zarr')}")


def _checksums() -> _Result:
    import google_crc32c

    if google_crc32c.implementation == "c":
        return (OK, "in C")
    again = install_packages("--force-reinstall", "google-crc32c")
    advice = f"{again}: reading clips is many times slower without its C part"
    return (SLOW, "in Python", advice)


def _disk() -> _Result:
    free = shutil.disk_usage(Path.cwd()).free
    block = os.urandom(2**20)
    started = time.perf_counter()
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        for _ in range(32):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    rate = 32 * 2**20 / 1e6 / (time.perf_counter() - started)
    found = f"{free / 1e9:,.0f} GB free here, {rate:,.0f} MB/s written"
    if free < SMALL_DISK_BYTES:
        return (SLOW, found, "all of AIHub takes 219 GB; build-cache --dry-run says what yours takes")
    if rate < SLOW_WRITE_MB_PER_SECOND:
        return (SLOW, found, "build on a local disk, and push the cache afterwards")
    return (OK, found)


def _open_files() -> _Result:
    try:
        import resource
    except ImportError:
        return (OK, "no limit is known")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:  # a reader keeps 256 shards mapped, and each process of a build some more files
        return (SLOW, f"{soft} at most", f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}")
    return (OK, f"{soft:,} at most")


def _extras(modules: dict[str, str], suffix: str) -> _Result:
    """Check optional modules; those that are there are told by their names and the suffix."""
    there = [f"{name}{suffix}" for name, module in modules.items() if find_spec(module)]
    missing = [name for name, module in modules.items() if not find_spec(module)]
    return (
        OK if there else MISSING,
        ", ".join(there) or "none beside folders and this machine",
        f"optional, not installed: {install_extras(*missing)}" if missing else "",
    )
