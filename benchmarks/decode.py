"""CPU seconds a clip of 16 x 256 x 256: the pyav reader against decord and against decoding every frame.

Videos as AIHub's: 1080p30, x264 preset medium, 8 Mbit/s, keyint=250 bframes=3 b_pyramid=normal, a segment of 1.06 s
from 1.62 s on (AIHub's medians). The three are timed by turns, in one process, one thread each; decord is asked for
the output size, as its documentation advises (so it scales the whole, distorted frame), in one `get_batch`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks._report import peak_memory_mib, print_machine, print_table
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.decode import PyAVReader
from signprep.pipeline.geometry import FramePreprocessor
from signprep.pipeline.sample.dataset import SampleSpec, render_dataset
from signprep.pipeline.sampling import sample_times, shown_frames

SPEC = ClipSpec()

MEDIAN_SEGMENT = Span(1.62, 2.68)
"""Of real AIHub WORD videos: start and end in seconds."""


def run(*, toy: bool = False) -> None:
    """Print the medians and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), toy=toy)
        print_machine(["av", "decord", "numpy"])
        compare(videos, num_rounds=2 if toy else 7)


def make_videos(folder: Path, *, toy: bool) -> list[tuple[Path, Span]]:
    """Render signing videos and encode them as AIHub does; return them with their segments.

    Each starts a frame later than the one before: groups of B-frames are four frames long, clips take every other one.
    """
    size = (160, 96) if toy else (1920, 1080)
    render_dataset(SampleSpec(words=1 if toy else 2, signers=1 if toy else 2, frame_size=size), folder, workers=1)
    videos = []
    for number, source in enumerate(sorted((folder / "video").glob("*.mp4"))):
        target = folder / f"{source.stem}.mp4"
        encode(source, target, bits_per_second=round(8e6 * size[0] * size[1] / (1920 * 1080)))
        videos.append((target, Span(*(second + number / 30 for second in MEDIAN_SEGMENT))))
    return videos


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


def compare(videos: list[tuple[Path, Span]], *, num_rounds: int) -> dict[str, float]:
    """Print the table; return the median CPU seconds a clip of each way."""
    ways: dict[str, Callable[[Path, Span], NDArray[np.uint8]]] = {
        "pyav, skipping": with_pyav,
        "pyav, every frame": with_full_decode,
    }
    try:
        import decord  # noqa: F401
    except ImportError:
        print("  decord is not installed")
    else:
        ways["decord"] = with_decord
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for video, span in videos:
            for name, way in ways.items():
                start = time.process_time()
                way(video, span)
                seconds[name].append(time.process_time() - start)
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
    print(f"  skipped frames: {skipped_share(videos):.0%} of those up to the segment's end; frames are bit-identical")
    print(f"  {len(videos)} videos, {num_rounds} rounds")
    return medians


def peak_memory_of(way: Callable[[Path, Span], NDArray[np.uint8]], video: Path, span: Span) -> float:
    """Return the most memory, in MiB, that a fresh process holds that takes one clip."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak_memory, way, video, span).result()


def _peak_memory(way: Callable[[Path, Span], NDArray[np.uint8]], video: Path, span: Span) -> float:
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
