"""Latency of a live stream: from a window's last frame to its answer, and from a sign's end to its line.

Generated signing is played at its own speed, as a camera would give it, for a model of pixels (EfficientX3D-XS, 4
frames of 112 x 112) and one of landmarks; a landmark model is left out where MediaPipe's models are not. Random
weights, which are as fast as trained ones. Nothing is compared with peers here. Figures are of the machine as it is:
run it alone, on as many cores as are asked about (`taskset -c 0,1`).
"""

import time
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchvision)

import torch

from benchmarks._report import print_line, print_machine, print_table
from benchmarks._signing import filmed, signing_sample
from benchmarks._size import Size
from signprep.inference.options import TimelineOptions, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.live.session import Listener, LiveOptions, Statistics, run_live
from signprep.inference.videos.live.sources import opened_source
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.maker import require_models
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import ModelSpec, build_model, model_spec

WINDOWS = WindowOptions(clip_duration=0.8, stride=0.1, landmark_tracking="video")
ANY_SIGN = TimelineOptions(min_confidence=0, min_duration_seconds=0)


class SignDelays(Listener):
    """Seconds from when a sign has ended in the stream to when it is told."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started: float | None = None

    def statistics(self, statistics: Statistics) -> None:
        if self._started is None:
            self._started = time.monotonic() - statistics.seconds

    def sign(self, sign: TimelineSegment) -> None:
        if self._started is not None:
            self.seconds.append(time.monotonic() - self._started - sign.end_seconds)


def run(size: Size) -> None:
    videos = sorted(filmed(signing_sample(size)).rglob("*.mp4"))[: size.pick(1, 8, 40)]
    print_machine(["av", "torch"])
    print_line(f"{torch.get_num_threads()} threads of torch")
    rows: list[tuple[str, ...]] = [
        (
            f"{len(videos)} videos, played",
            "latency p50 ms",
            "p99 ms",
            "sign told after s",
            "dropped",
            "windows left out",
        )
    ]
    for name, recognizer in models(size is Size.TOY):
        rows.append((name, *played(recognizer, videos)))
    print_table(rows)


def models(toy: bool) -> list[tuple[str, Recognizer]]:
    """Return each model with its name."""
    pixels = model_spec("efficient_x3d_xs", num_frames=2 if toy else 4, crop_size=32 if toy else 112)
    clips = ClipSpec(num_frames=4, size=64 if toy else 128)
    found = [(f"efficient_x3d_xs, {pixels.num_frames} x {pixels.crop_size}", untrained(pixels, clips))]
    try:
        require_models()
    except SignprepError as error:
        print_line(f"no landmarks: {error}")
        return found
    landmarks = model_spec("landmark_conv", num_frames=4 if toy else 16)
    clips = ClipSpec(num_frames=landmarks.num_frames, landmarks="mediapipe")
    return [*found, ("landmark_conv on MediaPipe's points", untrained(landmarks, clips))]


def untrained(spec: ModelSpec, clips: ClipSpec) -> Recognizer:
    card = ModelMetadata(
        model_spec=spec, clip_spec=clips, vocabulary=Vocabulary(glosses=tuple("abcde")), cache_fingerprint=""
    )
    return Recognizer(card, build_model(spec, 5), torch.device("cpu"))


def played(recognizer: Recognizer, videos: list[Path]) -> tuple[str, ...]:
    """Return the figures of all videos, one after the other, as text."""
    whole, delays = Statistics(), SignDelays()
    for video in videos:
        delays._started = None
        options = LiveOptions(windows=WINDOWS, timeline=ANY_SIGN, real_time=True)
        with opened_source(str(video), WINDOWS) as source:
            found = run_live(recognizer, source, options, [delays])
        whole.latencies.extend(found.latencies)
        whole.frames += found.frames
        whole.dropped_frames += found.dropped_frames
        whole.late_windows += found.late_windows
    half, most = whole.latency(50) or 0.0, whole.latency(99) or 0.0
    told = sorted(delays.seconds)
    middle = f"{told[len(told) // 2]:.2f}" if told else "-"
    dropped = f"{whole.dropped_frames} of {whole.frames + whole.dropped_frames}"
    return f"{1000 * half:.0f}", f"{1000 * most:.0f}", middle, dropped, f"{whole.late_windows}"
