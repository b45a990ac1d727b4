"""CPU seconds a clip of 16 x 256 x 256: the pyav reader beside decoding every frame, and beside four other libraries.

Videos as AIHub's: 1080p30, x264 preset medium, 8 Mbit/s, keyint=250 bframes=3 b_pyramid=normal, a segment of 1.06 s
from 1.62 s on (AIHub's medians). All are timed by turns, in one process, one thread each, and give the same number of
frames at the same size. decord is asked for the output size (so it scales the whole, distorted frame); torchcodec crops
and scales by its own transforms; EncodedVideo gives all frames of the segment, of which 16 are kept.
"""

import atexit
import importlib
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks._peers import TORCHCODEC_ENVIRONMENT
from benchmarks._report import (
    Bar,
    chart,
    figure,
    peak_memory_mib,
    print_line,
    print_machine,
    print_missing,
    print_table,
)
from benchmarks._signing import filmed, shared, signing_sample
from benchmarks._size import Size
from benchmarks._torchcodec import frames_at
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.video.frame_times import sample_times, shown_frames
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.pyav_reader import PyAVReader

SPEC = ClipSpec()

MEDIAN_SEGMENT = Span(1.62, 2.68)
"""Of real AIHub WORD videos: start and end in seconds."""


def run(size: Size) -> None:
    """Print the medians and ratios."""
    videos = make_videos(size)
    print_machine(["av", "decord", "torchcodec", "spdl-io", "pytorchvideo", "torch", "numpy"])
    compare(videos, num_rounds=size.pick(2, 3, 9))


def make_videos(size: Size) -> list[tuple[Path, Span]]:
    """Encode some rendered signing videos as AIHub does; return them with their segments.

    Each starts a frame later than the one before: groups of B-frames are four frames long, clips take every other one.
    """
    sample = signing_sample(size)
    width, height = sample.frame_size
    sources = sorted((filmed(sample) / "video").glob("*.mp4"))[:: sample.signers // 2][: size.pick(1, 4, 4)]

    def make(folder: Path) -> None:
        (folder / "label").mkdir()
        for source in sources:
            encode(source, folder / source.name, bits_per_second=round(8e6 * width * height / (1920 * 1080)))
            label = source.parents[1] / "label" / f"{source.stem}_morpheme.json"
            shutil.copyfile(label, folder / "label" / label.name)

    encoded = shared(f"as AIHub encodes, filmed: {sample!r}", make)
    return [
        (path, Span(*(second + number / 30 for second in MEDIAN_SEGMENT)))
        for number, path in enumerate(sorted(encoded.glob("*.mp4")))
    ]


def encode(source: Path, target: Path, *, bits_per_second: int) -> None:
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        encoded = writer.add_stream("libx264", rate=30)
        encoded.width, encoded.height, encoded.pix_fmt = stream.width, stream.height, "yuv420p"
        encoded.bit_rate = bits_per_second
        encoded.options = {"preset": "medium", "x264-params": "keyint=250:bframes=3:b-pyramid=normal"}
        for number, frame in enumerate(reader.decode(stream)):
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 30), 0
            writer.mux(encoded.encode(frame))
        writer.mux(encoded.encode())


def with_pyav(video: Path, span: Span) -> NDArray[np.uint8]:
    [clip] = extract_clips(video, [span], SPEC)
    assert isinstance(clip, Clip), clip
    return clip.frames


def with_full_decode(video: Path, span: Span) -> NDArray[np.uint8]:
    """Decode every frame up to the end of the segment; keep none but the one that is shown."""
    times = sample_times(*span, SPEC.num_frames).tolist()
    preprocess = FramePreprocessor(SPEC)
    stored: list[NDArray[np.uint8]] = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        shown: av.VideoFrame | None = None
        for frame in container.decode(stream):
            wanted = [time for time in times[len(stored) :] if time < frame.time]
            if wanted and shown is not None:
                stored += [preprocess(shown)] * len(wanted)
            if len(stored) == len(times):
                return np.stack(stored)
            shown = frame
    assert shown is not None
    return np.stack(stored + [preprocess(shown)] * (len(times) - len(stored)))


def with_decord(video: Path, span: Span) -> NDArray[np.uint8]:
    import decord

    reader = decord.VideoReader(str(video), num_threads=1, width=SPEC.size, height=SPEC.size)
    starts = reader.get_frame_timestamp(list(range(len(reader))))[:, 0].astype(np.float64)
    pixels: NDArray[np.uint8] = reader.get_batch(shown_frames(starts, sample_times(*span, SPEC.num_frames))).asnumpy()
    return pixels


def _before_torchvision() -> None:
    """What two peers import imports torchvision. Not above: torch would count as memory of those that need none."""
    importlib.import_module("signprep.training.runtime.torchvision_operators")


def with_torchcodec(video: Path, span: Span) -> NDArray[np.uint8]:
    _before_torchvision()
    pixels: NDArray[np.uint8] = frames_at(str(video), sample_times(*span, SPEC.num_frames).tolist(), SPEC.size)
    return pixels


def with_encoded_video(video: Path, span: Span) -> NDArray[np.uint8]:
    _before_torchvision()
    import torch
    from pytorchvideo.data.encoded_video import EncodedVideo
    from torch.nn.functional import interpolate

    encoded = EncodedVideo.from_path(str(video), decode_audio=False)
    frames = encoded.get_clip(*span)["video"]  # float32 [3, T, H, W]
    encoded.close()
    chosen = torch.linspace(0, frames.shape[1] - 1, SPEC.num_frames).long()  # as its UniformTemporalSubsample
    height, width = frames.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, chosen, top : top + side, left : left + side].transpose(0, 1)
    scaled = interpolate(square, size=(SPEC.size, SPEC.size), mode="bilinear", antialias=True)
    pixels: NDArray[np.uint8] = scaled.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels


def with_spdl(video: Path, span: Span) -> NDArray[np.uint8]:
    import spdl.io

    rate = Fraction(SPEC.num_frames / (span.end_seconds - span.start_seconds)).limit_denominator(1000)
    wanted = spdl.io.get_video_filter_desc(
        frame_rate=(rate.numerator, rate.denominator),
        timestamp=tuple(span),
        scale_width=SPEC.size,
        scale_height=SPEC.size,
        scale_mode="crop",
    )
    packets = spdl.io.demux_video(str(video), timestamp=tuple(span))
    frames = spdl.io.to_numpy(spdl.io.convert_frames(spdl.io.decode_packets(packets, filter_desc=wanted)))
    # The filter that sets the rate gives a frame more or less, by where the segment begins.
    pixels: NDArray[np.uint8] = frames[np.linspace(0, len(frames) - 1, SPEC.num_frames).round().astype(int)]
    return pixels


PEERS = {
    "decord": with_decord,
    "torchcodec": with_torchcodec,
    "SPDL": with_spdl,
    "PyTorchVideo's EncodedVideo": with_encoded_video,
}


class NewestTorchcodec:
    """torchcodec's newest release in a process of its own, see `_torchcodec`. Raises ImportError if it is not there."""

    def __init__(self) -> None:
        python = TORCHCODEC_ENVIRONMENT / "bin" / "python"
        if not python.exists():
            raise ImportError("it has no environment of its own; `make newest-torchcodec` makes one, of 5 GB")
        command = [str(python), str(Path(__file__).with_name("_torchcodec.py")), str(SPEC.size)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self._child.kill)
        assert self._child.stdout is not None
        if not (said := self._child.stdout.readline().strip()).startswith("ready"):
            raise ImportError(said or f"it ended with exit code {self._child.wait()}")

    def __call__(self, video: Path, span: Span) -> float:
        """Return the CPU seconds of a clip."""
        assert self._child.stdin is not None and self._child.stdout is not None
        seconds = sample_times(*span, SPEC.num_frames).tolist()
        print(json.dumps([str(video), seconds]), file=self._child.stdin, flush=True)
        took, shape = json.loads(self._child.stdout.readline())
        assert shape == [SPEC.num_frames, SPEC.size, SPEC.size, 3], shape
        return float(took)

    def peak_mib(self) -> float:
        return peak_memory_mib(self._child.pid)


def cpu_seconds(way: Callable[[Path, Span], object], video: Path, span: Span) -> float:
    """Return the CPU seconds that a way takes for a clip."""
    if isinstance(way, NewestTorchcodec):
        return way(video, span)
    start = time.process_time()
    way(video, span)
    return time.process_time() - start


def compare(videos: list[tuple[Path, Span]], *, num_rounds: int) -> dict[str, float]:
    """Print the table; return the median CPU seconds a clip of each way."""
    ways: dict[str, Callable[[Path, Span], object]] = {
        "pyav, skipping": with_pyav,
        "pyav, every frame": with_full_decode,
    }
    for name, way in PEERS.items():
        try:
            frames = way(*videos[0])
        except Exception as error:  # whatever a peer lacks here: the results say it
            print_missing(name, error)
            continue
        assert frames.shape == (SPEC.num_frames, SPEC.size, SPEC.size, 3), (name, frames.shape)
        ways[name] = way
    try:
        ways["torchcodec, newest"] = newest = NewestTorchcodec()
        newest(*videos[0])
    except ImportError as error:
        print_missing("torchcodec, newest", error)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for video, span in videos:
            for name, way in ways.items():
                seconds[name].append(cpu_seconds(way, video, span))
    for video, span in videos:
        assert np.array_equal(with_pyav(video, span), with_full_decode(video, span)), "skipping altered a frame"
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians["pyav, skipping"]
    print_table(
        [
            ("", "CPU ms a clip", "ours / it", "peak MiB"),
            *(
                (name, f"{median * 1e3:.1f}", f"{ours / median:.2f}", f"{peak_memory_of(ways[name], *videos[0]):.0f}")
                for name, median in medians.items()
            ),
        ]
    )
    figure("decode.full", ours / medians["pyav, every frame"])
    if "decord" in medians:
        figure("decode.decord", ours / medians["decord"])
    chart(
        "Decoding one clip of 16 x 256 x 256 from 1080p",
        "CPU ms a clip",
        [Bar(name=name, value=1e3 * median, ours=name == "pyav, skipping") for name, median in medians.items()],
    )
    print_line(
        f"skipped frames: {skipped_share(videos):.0%} of those up to the segment's end; frames are bit-identical"
    )
    print_line(f"{len(videos)} videos, {num_rounds} rounds")
    return medians


def peak_memory_of(way: Callable[[Path, Span], object], video: Path, span: Span) -> float:
    """Return the most memory, in MiB, that a fresh process holds that takes one clip."""
    if isinstance(way, NewestTorchcodec):
        return way.peak_mib()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_memory, way, video, span).result()


def _peak_memory(way: Callable[[Path, Span], object], video: Path, span: Span) -> float:
    way(video, span)
    return peak_memory_mib()


def skipped_share(videos: list[tuple[Path, Span]]) -> float:
    skipped = total = 0
    for video, span in videos:
        with PyAVReader(video) as reader:
            list(reader.frames_at(sample_times(*span, SPEC.num_frames)))
            skipped += reader.counts.packets_unwanted
            total += reader.counts.packets_unwanted + reader.counts.frames_decoded
    return skipped / total
