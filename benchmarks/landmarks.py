"""Finding landmarks: milliseconds of one core a frame, beside the sum of what its models take in the same run.

A rendered signer, 640 x 360, 16 frames of a word followed from frame to frame. Times are those that the thread
computed, so that other programs disturb less; medians of the rounds. What the models take is no other way to do it, but
what is left if cropping, tracking and decoding cost nothing.
"""

import statistics
import time
from collections import defaultdict
from typing import Any
from unittest import mock

import numpy as np

from benchmarks._report import Bar, chart, figure, print_machine, print_missing, print_table
from benchmarks._signing import rendered
from benchmarks._size import Size
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor, PictureFrames
from signprep.pipeline.landmarks.points import PARTS
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.video.frame_times import MissingFrame, sample_times
from signprep.pipeline.video.pyav_reader import open_video


def run(size: Size) -> None:
    print_machine(["ai-edge-litert", "opencv-python-headless"])
    try:
        extractor = LandmarkExtractor()
    except SignprepError as error:
        print_missing("MediaPipe's models", error)
        return
    frames = signing(2 if size is Size.TOY else 16)
    rounds = [times_of(extractor, frames) for _ in range(size.pick(1, 7, 25) + 1)][1:]
    whole, models, calls = (statistics.median(values) for values in zip(*rounds, strict=True))
    ratio = statistics.median(one / alone for one, alone, _ in rounds)
    seen = extractor(frames)[..., 2] > 0
    parts = ", ".join(f"{name.replace('_', ' ')} {seen[:, where].mean():.0%}" for name, where in PARTS.items())
    print_table(
        [
            ("ms of one core a frame", "all", "its models", "all / its models", "model calls"),
            (f"seen: {parts}", f"{whole:.1f}", f"{models:.1f}", f"{ratio:.2f}", f"{calls:.1f}"),
        ]
    )
    bars = [Bar(name="signprep", value=whole, ours=True), Bar(name="its models alone", value=models, part=True)]
    chart("Landmarks of a frame", "ms of one core", bars)
    figure("landmarks.frame", whole)
    figure("landmarks.models", ratio)


def signing(num_frames: int) -> list[np.ndarray]:
    """Return frames of a rendered word, as extraction sees them."""
    video = min(rendered(SampleSpec(words=1, signers=1, frame_size=(1280, 720))).rglob("*.mp4"))
    with open_video(video) as reader:
        prepare = PictureFrames(reader.pixel_aspect)
        times = sample_times(0, reader.duration_seconds, num_frames)
        return [prepare(shown.frame) for shown in reader.answers_at(times) if not isinstance(shown, MissingFrame)]


def times_of(extractor: LandmarkExtractor, frames: list[np.ndarray]) -> tuple[float, float, float]:
    """Return milliseconds of the thread a frame, those within models, and calls of models a frame."""
    from ai_edge_litert.interpreter import Interpreter

    spent: dict[str, float] = defaultdict(float)
    invoke = Interpreter.invoke

    def timed(self: Any) -> None:
        started = time.thread_time()
        invoke(self)
        spent["models"] += time.thread_time() - started
        spent["calls"] += 1

    with mock.patch.object(Interpreter, "invoke", timed):
        started = time.thread_time()
        extractor(frames)
        whole = time.thread_time() - started
    return 1e3 * whole / len(frames), 1e3 * spent["models"] / len(frames), spent["calls"] / len(frames)
