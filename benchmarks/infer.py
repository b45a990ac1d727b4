"""Windows over a long video, a folder of short ones, and memory by length of video.

1080p signing; EfficientX3D-XS with random weights, as fast as trained ones; windows of 2 s, one each 0.25 s.
All ways take turns; medians of the rounds. A long video is a short one's packets over and over, a keyframe each time.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchvision)

import av
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._report import Bar, chart, figure, peak_memory_mib, print_line, print_machine, print_table
from benchmarks._signing import filmed, signing_sample
from benchmarks._size import Size
from signprep.inference.options import InferOptions, WindowOptions
from signprep.inference.prediction import predict_window
from signprep.inference.recognizer import Recognizer, torch_threads
from signprep.inference.videos.window_predictions import Video, predict_videos
from signprep.inference.videos.windows import window_spans
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, iterate_clips
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.video.pyav_reader import PyAVReader, open_video
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import build_model, model_spec

SINGLES = 8
"""Windows that are decoded by themselves, evenly over the video; their mean stands for all."""


def run(size: Size) -> None:
    toy, num_rounds = size is Size.TOY, size.pick(1, 2, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = sorted(filmed(signing_sample(size)).rglob("*.mp4"))[: size.pick(2, 20, 20)]
        print_machine(["av", "torch"])
        recognizer = untrained(toy)
        long_video(folder, videos[0], size.pick(6, 12, 60), recognizer, num_rounds)
        many_videos(videos, size.pick(4, 20, 200), recognizer, num_rounds)
        memory(folder, minutes=size.pick((0.1, 0.3), (1, 5), (1, 60)))


def untrained(toy: bool) -> Recognizer:
    spec = model_spec("efficient_x3d_xs", num_frames=2 if toy else None, crop_size=32 if toy else None)
    clips = ClipSpec(num_frames=4, size=64) if toy else ClipSpec()
    card = ModelMetadata(
        model_spec=spec, clip_spec=clips, vocabulary=Vocabulary(glosses=tuple("abcde")), cache_fingerprint=""
    )
    return Recognizer(card, build_model(spec, 5), torch.device("cpu"))


def repeated(source: Path, target: Path, seconds: float) -> Path:
    """Write a video's packets over and over until it is long enough."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        out = writer.add_stream_from_template(stream)
        packets = [packet for packet in reader.demux(stream) if packet.pts is not None]
        frame = int(1 / (stream.average_rate or 30) / stream.time_base)
        length = frame * len(packets)
        for number in range(max(1, round(seconds / float(length * stream.time_base)))):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + number * length, packet.dts + number * length  # type: ignore[operator]
                copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, out
                writer.mux(copy)
    return target


def video_of(path: Path) -> Video:
    return Video.at(path)


def seconds_of(
    ways: dict[str, Callable[[], object]], num_rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for name, way in ways.items():
            started = clock()
            way()
            found[name].append(clock() - started)
    return {name: statistics.median(taken) for name, taken in found.items()}


def long_video(folder: Path, source: Path, seconds: float, recognizer: Recognizer, num_rounds: int) -> None:
    path = repeated(source, folder / "long.mkv", seconds)
    options = InferOptions(windows=WindowOptions(clip_duration=2.0, stride=0.25))
    with open_video(path) as reader:
        spans = window_spans(options.windows, reader)
        found = iterate_clips(reader, spans, recognizer.metadata.clip_spec)
        clips = [clip.frames for _, clip in found if isinstance(clip, Clip)]
        assert isinstance(reader, PyAVReader)
        counts = reader.counts
        num_frames = count_frames(path)
        assert counts.frames_decoded + counts.packets_unwanted <= num_frames and len(clips) == len(spans)
    chosen = spans[:: max(1, len(spans) // SINGLES)]

    def decode() -> None:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "NONE"
            for _ in container.decode(video=0):
                pass

    def model() -> None:
        for first in range(0, len(clips), 8):
            recognizer.probabilities(clips[first : first + 8])

    def singles() -> None:
        for span in chosen:
            predict_window(
                recognizer,
                path,
                start_seconds=span.start_seconds,
                clip_duration=span.end_seconds - span.start_seconds,
            )

    taken = seconds_of(
        {
            "infer": lambda: list(predict_videos(recognizer, [video_of(path)], options)),
            "decode": decode,
            "model": model,
            "singles": singles,
        },
        num_rounds,
    )
    alone = taken["singles"] * len(spans) / len(chosen)
    print_table(
        [
            (f"{num_frames} frames, {len(spans)} windows", "s", "infer / it"),
            ("infer, windows of 2 s every 0.25 s", f"{taken['infer']:.2f}", ""),
            ("decoding every frame once", f"{taken['decode']:.2f}", f"{taken['infer'] / taken['decode']:.2f}"),
            (
                "the model on the same clips in memory",
                f"{taken['model']:.2f}",
                f"{taken['infer'] / taken['model']:.2f}",
            ),
            ("both, one after the other", *_sum(taken)),
            (f"each window by itself (from {len(chosen)})", f"{alone:.1f}", f"{taken['infer'] / alone:.3f}"),
        ]
    )
    chart(
        f"Answering {len(spans)} windows of a long video",
        "seconds",
        [
            Bar(name="infer", value=taken["infer"], ours=True),
            Bar(name="decoding every frame once", value=taken["decode"], part=True, note="a part of it"),
            Bar(name="the model alone", value=taken["model"], part=True, note="a part of it"),
            Bar(name="each window by itself", value=alone),
        ],
    )
    print_line(
        f"frames decoded {counts.frames_decoded}, skipped {counts.packets_unwanted}, of {num_frames}; "
        f"each window by itself takes {alone / taken['infer']:.1f} x"
    )


def _sum(taken: dict[str, float]) -> tuple[str, str]:
    both = taken["decode"] + taken["model"]
    return f"{both:.2f}", f"{taken['infer'] / both:.2f}"


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.pts is not None for packet in container.demux(video=0))


def many_videos(paths: list[Path], number: int, recognizer: Recognizer, num_rounds: int) -> None:
    videos = [video_of(paths[place % len(paths)]) for place in range(number)]
    options = InferOptions(windows=WindowOptions(clip_duration=2.0))
    clips = []
    for video in videos[: len(paths)]:
        with open_video(Path(video.path)) as reader:
            found = iterate_clips(reader, window_spans(options.windows, reader), recognizer.metadata.clip_spec)
            clips += [clip.frames for _, clip in found]  # type: ignore[union-attr]

    class Instant(Recognizer):
        def probabilities(self, clips: object) -> NDArray[np.float32]:
            return np.full((len(clips), 5), 0.2, np.float32)  # type: ignore[arg-type]

    instant = Instant(recognizer.metadata, recognizer.model, torch.device("cpu"))
    rows = [(f"{number} videos", "both, s", "decoding alone", "model alone", "both / the larger")]
    for decoders in (1, 2):

        def both(who: Recognizer, decoders: int = decoders) -> int:
            return len(list(predict_videos(who, videos, replace(options, num_workers=decoders))))

        def model() -> None:
            for first in range(0, number, 8):
                recognizer.probabilities([clips[k % len(clips)] for k in range(first, min(first + 8, number))])

        taken = seconds_of(
            {"both": lambda: both(recognizer), "decode": lambda: both(instant), "model": model}, min(2, num_rounds)
        )
        larger = max(taken["decode"], taken["model"])
        rows.append(
            (
                f"{decoders} decoded at a time",
                *(f"{taken[name]:.1f}" for name in ("both", "decode", "model")),
                f"{taken['both'] / larger:.2f}",
            )
        )
        if decoders == 2:
            figure("infer.two", taken["both"] / larger)
            with torch_threads(1):  # as `predict_videos` has the model compute beside as many decoders as cores
                used = seconds_of({"decode": lambda: both(instant), "model": model}, 1, time.process_time)
    print_table(rows)
    decoding, answering = used["decode"], used["model"]
    print_line(
        f"processor seconds: {decoding:.1f} of decoding, {answering:.1f} of the model: cores that never wait take "
        f"{(decoding + answering) / max(decoding, answering):.2f} of the larger part for both"
    )


_MEASURE = """
import json, sys
from pathlib import Path
from benchmarks.infer import measured_peaks
print(json.dumps(measured_peaks([Path(name) for name in sys.argv[1:]])))
"""


def measured_peaks(paths: list[Path]) -> list[tuple[int, float]]:
    """Return what `measured_peak` finds of each video, in a process each that begins as this one is."""
    method = "fork" if "fork" in get_all_start_methods() else "spawn"
    with get_context(method).Pool(1, maxtasksperchild=1) as pool:
        return pool.map(measured_peak, paths, chunksize=1)


def measured_peak(path: Path) -> tuple[int, float]:
    """Return the windows answered and the most memory held, in MiB; in a process of its own."""
    recognizer = untrained(toy=True)
    options = InferOptions(windows=WindowOptions(clip_duration=2.0, stride=1.0))
    [found] = predict_videos(recognizer, [video_of(path)], options)
    return len(found.predictions), peak_memory_mib()


def memory(folder: Path, minutes: tuple[float, float]) -> None:
    """A small video: its frames are decoded quickly, and its length is what counts."""
    render_dataset(SampleSpec(words=1, signers=1, frame_size=(320, 180)), folder / "small", workers=1)
    source = next((folder / "small").rglob("*.mp4"))
    paths = [str(repeated(source, folder / f"{number}.mkv", 60 * number)) for number in minutes]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *paths], cwd=root, capture_output=True, text=True, check=True
    )
    peaks = []
    for number, (num_windows, peak) in zip(minutes, json.loads(done.stdout), strict=True):
        print_line(f"{number} minutes, {num_windows} windows: peak {peak:.0f} MiB")
        peaks.append(peak)
    print_line(f"{minutes[1]} minutes / {minutes[0]}: {peaks[1] / peaks[0]:.2f} x the memory")
