"""What of this machine signprep needs: what is there, what is missing or slow, and what to do about it.

In: nothing. Out: `Check`s, each of one thing. Every check looks at the thing itself, a video is really decoded and a
file really written, and none takes more than a second or so. What needs torch is in `training/runtime/doctor.py`.
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

from signprep.pipeline.runtime.machine import processor, usable_cores

OK, SLOW, MISSING, BROKEN = "ok", "slow", "missing", "broken"
"""What a check can find: all is well; it works, slowly; something optional is not there; something needed fails."""

CODECS = {"h264": "AIHub's videos", "hevc": "phones", "av1": "downloads", "vp9": "downloads", "mpeg4": "old cameras"}
DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "sftp": "sshfs", "http": "aiohttp", "hf": "huggingface_hub"}
CLUSTERS = {"dask": "distributed", "ray": "ray"}
SMALL_DISK_BYTES = 20_000_000_000
SLOW_WRITE_MB_PER_SECOND = 50.0
FEW_OPEN_FILES = 1024
"""A reader keeps 256 shards mapped, and each process of a build some more files."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found of one thing."""

    name: str
    state: str
    """`ok`, `slow`, `missing` or `broken`."""
    found: str
    advice: str = ""
    """What to do, where there is something to do."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)


def check_machine() -> Iterator[Check]:
    """Yield the checks of everything below training."""
    yield Check(name="signprep", state=OK, found=f"{version('signprep')}, Python {platform.python_version()}")
    yield Check(name="machine", state=OK, found=f"{usable_cores()} of {os.cpu_count()} cores, {processor()}{_memory()}")
    yield _encoding()
    yield from _guarded("videos, PyAV", _decode_pyav)
    yield from _guarded("videos, decord", _decode_decord)
    yield from _guarded("formats", _codecs)
    yield from _guarded("compression", _compression)
    yield _checksums()
    yield from _guarded("disk", _disk)
    yield from _guarded("open files", _open_files)
    yield from _extras()


def _guarded(name: str, check: Callable[[], Check]) -> Iterator[Check]:
    """Yield a check; what it raises is what it found."""
    try:
        yield check()
    except OSError as error:
        yield Check(name=name, state=BROKEN, found=str(error), advice="see that the place can be written to and read")
    except Exception as error:
        yield Check(
            name=name, state=BROKEN, found=f"{type(error).__name__}: {error}", advice="pip install signprep again"
        )


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (AttributeError, ValueError, OSError):
        return ""


def _encoding() -> Check:
    names, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "none"
    found = f"file names {names}, output {output}"
    if names.lower().replace("-", "") == "utf8" and output.lower().replace("-", "") in ("utf8", "none"):
        return Check(name="Korean names", state=OK, found=found)
    advice = "set PYTHONUTF8=1, or LANG=C.UTF-8"
    return Check(name="Korean names", state=BROKEN, found=f"{found}: not all names can be written", advice=advice)


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


def _decode_pyav() -> Check:
    import av

    with tempfile.TemporaryDirectory() as folder, av.open(str(_sample_video(Path(folder)))) as container:
        num_frames = sum(1 for _ in container.decode(video=0))
    if num_frames != 10:
        return Check(name="videos, PyAV", state=BROKEN, found=f"{num_frames} of 10 frames", advice="pip install -U av")
    major, minor, _ = av.library_versions["libavcodec"]
    return Check(name="videos, PyAV", state=OK, found=f"av {version('av')}, libavcodec {major}.{minor}")


def _decode_decord() -> Check:
    if find_spec("decord") is None:
        return Check(
            name="videos, decord", state=MISSING, found="not installed", advice="needed by --decoder decord only"
        )
    import decord

    with tempfile.TemporaryDirectory() as folder:
        num_frames = len(decord.VideoReader(str(_sample_video(Path(folder)))))
    state = OK if num_frames == 10 else BROKEN
    return Check(name="videos, decord", state=state, found=f"decord {version('decord')}, {num_frames} of 10 frames")


def _codecs() -> Check:
    missing = [f"{name} ({use})" for name, use in CODECS.items() if not _has_codec(name, "r")]
    if missing:
        advice = "pip install --force-reinstall av: its own wheels have all of them"
        return Check(name="formats", state=BROKEN, found=f"cannot be read: {', '.join(missing)}", advice=advice)
    if not _has_codec("libx264", "w"):
        advice = "make-sample and --render need an av with libx264: its own wheels have it"
        return Check(
            name="formats", state=MISSING, found=f"{', '.join(CODECS)}; H.264 cannot be written", advice=advice
        )
    return Check(name="formats", state=OK, found=f"{', '.join(CODECS)}; H.264 is written")


def _compression() -> Check:
    from numcodecs import blosc

    clip = np.arange(2**20, dtype=np.uint8)
    for name in ("lz4hc", "zstd"):
        if not np.array_equal(np.frombuffer(blosc.decompress(blosc.compress(clip, name.encode(), 1)), np.uint8), clip):
            return Check(
                name="compression", state=BROKEN, found=f"{name} gives other bytes", advice="pip install -U numcodecs"
            )
    return Check(name="compression", state=OK, found=f"numcodecs {version('numcodecs')}, zarr {version('zarr')}")


def _checksums() -> Check:
    import google_crc32c

    if google_crc32c.implementation == "c":
        return Check(name="checksums", state=OK, found="in C")
    advice = "pip install --force-reinstall google-crc32c: reading clips is many times slower without its C part"
    return Check(name="checksums", state=SLOW, found="in Python", advice=advice)


def _disk() -> Check:
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
        return Check(
            name="disk",
            state=SLOW,
            found=found,
            advice="all of AIHub takes 219 GB; build-cache --dry-run says what yours takes",
        )
    if rate < SLOW_WRITE_MB_PER_SECOND:
        return Check(
            name="disk", state=SLOW, found=found, advice="build on a local disk, and push the cache afterwards"
        )
    return Check(name="disk", state=OK, found=found)


def _open_files() -> Check:
    try:
        import resource
    except ImportError:
        return Check(name="open files", state=OK, found="no limit is known")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_OPEN_FILES:
        advice = f"ulimit -n {min(hard, 65536) if hard > 0 else 65536}"
        return Check(name="open files", state=SLOW, found=f"{soft} at most", advice=advice)
    return Check(name="open files", state=OK, found=f"{soft:,} at most")


def _extras() -> Iterator[Check]:
    for kind, names in (("places", DRIVERS), ("clusters", CLUSTERS)):
        there = [f"{name}{'://' if kind == 'places' else ''}" for name, module in names.items() if find_spec(module)]
        missing = [name for name, module in names.items() if not find_spec(module)]
        yield Check(
            name=kind,
            state=OK if there else MISSING,
            found=", ".join(there) or "none beside folders and this machine",
            advice=f"optional, not installed: pip install 'signprep[{','.join(missing)}]'" if missing else "",
        )
