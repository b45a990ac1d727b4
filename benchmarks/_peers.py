"""The peers, how they are set, and what they come from: RESULTS.md shows it beside the figures."""

import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

MOSAICML_ENVIRONMENT = Path(sys.prefix, "mosaicml")
"""Made by `make bench`: MosaicML Streaming asks for NumPy below 2.2, so it cannot be installed beside signprep."""
TORCHCODEC_ENVIRONMENT = Path(sys.prefix, "torchcodec")
"""Made by `make newest-torchcodec`: since 0.14 what PyPI has of torchcodec needs a torch with CUDA, 5 GB in all."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    distribution: str
    settings: str
    used_in: tuple[str, ...]
    environment: Path | None = None
    """Of its own, where it is looked for first."""

    @property
    def version(self) -> str | None:
        """None where it is not installed."""
        own = self.environment.glob("lib/python*/site-packages") if self.environment is not None else ()
        paths = [*map(str, own), *sys.path]
        return next((found.version for found in distributions(name=self.distribution, path=paths)), None)


PEERS = (
    Peer(
        name="decord",
        distribution="decord",
        settings="decode: one thread, output size asked of the reader, all frames in one `get_batch`, as its README "
        "advises. loader: frames in one `get_batch`, one thread in each of a DataLoader's workers, one a core",
        used_in=("decode", "loader"),
    ),
    Peer(
        name="torchcodec",
        distribution="torchcodec",
        settings="`seek_mode='approximate'`, one FFmpeg thread, all frames in one `get_frames_played_at`, cropped and "
        "scaled by the decoder's own transforms, as its performance tips say; needs FFmpeg's shared libraries",
        used_in=("decode", "loader"),
    ),
    Peer(
        name="torchcodec, newest",
        distribution="torchcodec",
        settings="the same, in a process and an environment of its own (`make newest-torchcodec`), if that is there",
        used_in=("decode",),
        environment=TORCHCODEC_ENVIRONMENT,
    ),
    Peer(
        name="SPDL",
        distribution="spdl-io",
        settings="decode: packets of the segment, then FFmpeg's filters for rate, number of frames, size and middle "
        "square. loader: its `Pipeline`, a thread a core, the same filters",
        used_in=("decode", "loader"),
    ),
    Peer(
        name="PyTorchVideo's EncodedVideo",
        distribution="pytorchvideo",
        settings="`from_path(decode_audio=False)`, `get_clip` of the segment, then 16 frames of it, the middle square, "
        "scaled. Its default decoder, PyAV: it gives every frame of the segment, in floats",
        used_in=("decode", "loader"),
    ),
    Peer(
        name="zarr-python",
        distribution="zarr",
        settings="the same files. lz4hc: a DataLoader in this process, a clip an item. Uncompressed: clip by clip "
        "into the batch (a batch by `oindex` was tried, and is slower by far)",
        used_in=("read",),
    ),
    Peer(
        name="zarrs",
        distribution="zarrs",
        settings="zarr-python with its `codec_pipeline.path` set to `zarrs.ZarrsCodecPipeline`, one thread; the same "
        "files, uncompressed (it does not know the default codec's frame differences), clip by clip into the batch",
        used_in=("read",),
    ),
    Peer(
        name="TensorStore",
        distribution="tensorstore",
        settings="the same files, uncompressed (it does not know the default codec's frame differences); a batch's "
        "reads begun together into one array, one thread of copying and one of reading",
        used_in=("read",),
    ),
    Peer(
        name="litData",
        distribution="litdata",
        settings="64 MB chunks, raw bytes, `StreamingDataset(shuffle=True)` under its own loader, local, no workers",
        used_in=("read",),
    ),
    Peer(
        name="MosaicML Streaming",
        distribution="mosaicml-streaming",
        settings="64 MB shards, raw bytes, `StreamingDataset(shuffle=True)` under torch's loader, local, no workers. "
        "It asks for NumPy below 2.2, so it reads in a process of its own, from an environment of its own",
        used_in=("read",),
        environment=MOSAICML_ENVIRONMENT,
    ),
    Peer(
        name="WebDataset",
        distribution="webdataset",
        settings="64 MB tars of npy members, shards shuffled and a buffer of 100 clips, its own batching, no workers",
        used_in=("read",),
    ),
    Peer(
        name="Lance",
        distribution="pylance",
        settings="a column of blobs, `take_blobs` of a batch, each read into its place, on Lance's own threads (a "
        "plain binary column by `take` was tried, and is slower by far)",
        used_in=("read",),
    ),
    Peer(
        name="npy files, np.memmap, Blosc",
        distribution="numpy",
        settings="npy: a file a clip, read by `readinto` the batch. memmap: one file, copied into the batch. "
        "Blosc: numcodecs' decompressor on the same chunks in memory. None of the three verifies a checksum",
        used_in=("read",),
    ),
    Peer(
        name="fsspec's drivers",
        distribution="fsspec",
        settings="`put` and `get` of all files in one call, as many at once as push and pull take",
        used_in=("share",),
    ),
)
