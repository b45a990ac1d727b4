"""Peers of `read` that keep raw clips, each in a store of its own making, and what reads an epoch of it."""

import atexit
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._peers import MOSAICML_ENVIRONMENT
from signprep.cache_builder.reader import Cache

BATCH = 32

Epoch = Callable[[], int]
"""Reads every clip once and returns how many there were."""


def batches(order: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    yield from (order[first : first + BATCH] for first in range(0, len(order), BATCH))


def npy_files(folder: Path, clips: NDArray[np.uint8], order: NDArray[np.int64]) -> Epoch:
    """A .npy a clip; what is after its header is read straight into the batch."""
    folder.mkdir()
    for position, clip in enumerate(clips):
        np.save(folder / f"{position}.npy", clip)
    header = (folder / "0.npy").stat().st_size - clips[0].nbytes
    out = np.empty((BATCH, *clips.shape[1:]), np.uint8)

    def epoch() -> int:
        for positions in batches(order):
            for clip, position in zip(out, positions, strict=False):
                with (folder / f"{position}.npy").open("rb", buffering=0) as file:
                    file.seek(header)
                    assert file.readinto(clip.reshape(-1).data) == clip.nbytes
        return len(order)

    return epoch


def zarr_clips(cache: Cache, order: NDArray[np.int64]) -> Epoch:
    """The same cache, clip by clip into the batch."""
    import zarr

    array = zarr.open_group(cache.path, mode="r")["clips"]
    assert isinstance(array, zarr.Array)
    some, out = order[: 4 * BATCH], np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)

    def epoch() -> int:
        for positions in batches(some):
            for clip, position in zip(out, positions, strict=False):
                clip[...] = array[int(position)]
        return len(some)

    return epoch


def zarrs_clips(cache: Cache, order: NDArray[np.int64]) -> Epoch:
    """The same through zarrs, in Rust, one thread; an array keeps the codecs that are chosen where it is opened."""
    import zarr
    import zarrs  # noqa: F401  (named below)

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}):
        return zarr_clips(cache, order)


def tensorstore(cache: Cache, order: NDArray[np.int64]) -> Epoch:
    """The same cache, its checksums checked; a batch's reads are begun together, into one array, in one thread."""
    import tensorstore as ts

    out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)
    context = ts.Context({"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}})
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{cache.path}/clips/"}}
    array = ts.open(spec, context=context, read=True).result()

    def epoch() -> int:
        for positions in batches(order):
            begun = [ts.array(clip).write(array[int(p)]) for clip, p in zip(out, positions, strict=False)]
            for reading in begun:
                reading.result()
        return len(order)

    return epoch


def _lit_clip(clips: Any) -> Any:
    path, shape, position = clips
    yield {"clip": np.memmap(path, np.uint8, "r", shape=shape)[position].tobytes()}


def litdata(folder: Path, clips: NDArray[np.uint8]) -> Epoch:
    """64 MB chunks; StreamingDataset and its loader, shuffled, on local files."""
    import litdata as lit
    import torch

    assert isinstance(clips, np.memmap) and clips.filename is not None
    inputs = [(str(clips.filename), clips.shape, position) for position in range(len(clips))]
    lit.optimize(
        fn=_lit_clip, inputs=inputs, output_dir=str(folder), chunk_bytes="64MB", num_workers=1, start_method="fork"
    )
    dataset = lit.StreamingDataset(str(folder), shuffle=True)
    shape = clips.shape[1:]

    def collate(items: list[dict[str, bytes]]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.frombuffer(item["clip"], np.uint8).reshape(shape) for item in items]))

    loader = lit.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=collate)
    return lambda: sum(len(batch) for batch in loader)


def mosaic(folder: Path, clips: NDArray[np.uint8]) -> Epoch:
    """64 MB shards; StreamingDataset, shuffled, local, under torch's loader: see `_mosaic`."""
    assert isinstance(clips, np.memmap) and clips.filename is not None
    other = MOSAICML_ENVIRONMENT / "bin" / "python"
    python = str(other) if other.exists() else sys.executable
    program = str(Path(__file__).with_name("_mosaic.py"))
    shape = ",".join(map(str, clips.shape))
    child = subprocess.Popen(
        [python, program, str(clips.filename), shape, str(folder), str(BATCH)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(child.kill)
    assert child.stdin is not None and child.stdout is not None
    if (said := child.stdout.readline().strip()) != "ready":
        raise ImportError(said or f"it ended with exit code {child.wait()}")
    commands, answers = child.stdin, child.stdout

    def epoch() -> int:
        print("epoch", file=commands, flush=True)
        return int(answers.readline())

    return epoch


def webdataset(folder: Path, clips: NDArray[np.uint8]) -> Epoch:
    """npy members in tar shards, shuffled through a buffer of 100."""
    import webdataset as wds

    folder.mkdir()
    with wds.ShardWriter(str(folder / "%06d.tar"), maxsize=2**26, verbose=0) as writer:
        for number, clip in enumerate(clips):
            file = io.BytesIO()
            np.save(file, clip)
            writer.write({"__key__": f"{number:08d}", "npy": file.getvalue()})
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]

    def epoch() -> int:
        dataset = wds.WebDataset(shards, shardshuffle=100, seed=0).shuffle(100).decode().to_tuple("npy").batched(BATCH)
        return sum(len(batch[0]) for batch in dataset)

    return epoch


def lance(folder: Path, clips: NDArray[np.uint8], order: NDArray[np.int64]) -> Epoch:
    """A column of blobs, Lance's storage of large values, which `take_blobs` opens as files, a batch at a time."""
    import lance
    import pyarrow as pa

    schema = pa.schema([pa.field("clip", pa.large_binary(), metadata={"lance-encoding:blob": "true"})])

    def rows() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(clips), BATCH):
            values = [clip.tobytes() for clip in clips[first : first + BATCH]]
            yield pa.record_batch([pa.array(values, pa.large_binary())], schema=schema)

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, rows()), str(folder), data_storage_version="stable")
    dataset = lance.dataset(str(folder))
    out = np.empty((BATCH, *clips.shape[1:]), np.uint8)

    def epoch() -> int:
        for positions in batches(order):
            blobs = dataset.take_blobs("clip", indices=positions.tolist())
            for clip, blob in zip(out, blobs, strict=False):
                with blob:
                    clip.reshape(-1)[:] = np.frombuffer(blob.readall(), np.uint8)
        return len(order)

    return epoch
