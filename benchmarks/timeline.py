"""Signs in sentences of people whom the model has never seen: segment F1 and word errors of the timeline.

Words and sentences are rendered; a model is trained on the words of four signers, with a class of no sign, and its
timeline of the sentences of the two others is held against their labels. Nothing is compared with peers here: it is
whether the timeline is any good. Training takes a minute or two on two cores.
"""

import json
import tempfile
from pathlib import Path

from benchmarks._report import Bar, chart, print_machine, print_table
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.inference.options import InferOptions, TimelineOptions, WindowOptions
from signprep.inference.recognizer import load_checkpoint
from signprep.inference.timeline.scores import SegmentScores, WordErrors, segment_scores, word_errors
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.run import find_videos, video_timeline
from signprep.inference.videos.window_predictions import predict_videos
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import NO_SIGN_GLOSS, Annotations, no_sign_segments, read_data_root
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from signprep.training.run import train

WINDOW_SECONDS, STRIDE_SECONDS = 0.8, 0.1


def run(size: Size) -> None:
    toy = size is Size.TOY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = SampleSpec(words=5, signers=6, takes=6, sentences=3, frame_size=(640, 360))
        if toy:
            sample = SampleSpec(words=2, signers=3, takes=1, sentences=1, frame_size=(160, 96))
        render_dataset(sample, folder / "data", workers=-1)
        print_machine(["torch", "av"])
        checkpoint = trained(folder, size)
        scored(checkpoint, folder / "data")


def trained(folder: Path, size: Size) -> Path:
    """Return the checkpoint of a model that was trained on words and on no sign, as `signprep demo` trains."""
    words = read_data_root(folder / "data", DatasetOptions(kinds=frozenset({"WORD"})))
    with_idle = Annotations(
        roots=words.roots, segments=(*words.segments, *no_sign_segments(words.segments)), problems=words.problems
    )
    build_from_annotations(with_idle, folder / "words.zarr", BuildOptions(clip_spec=ClipSpec(size=128)))
    config = TrainConfig(
        epochs=size.pick(1, 16, 16), learning_rate=4e-3, optimizer="adamw", weight_decay=0.05, label_smoothing=0.1
    )
    spec = model_spec("efficient_x3d_xs", num_frames=8, crop_size=size.pick(32, 64, 64), dropout_rate=0.0)
    cache = open_cache(folder / "words.zarr")
    return train(cache, spec, config, folder / "run", log=lambda line: None).best_checkpoint


def scored(checkpoint: Path, data_root: Path) -> None:
    recognizer = load_checkpoint(checkpoint)
    videos = find_videos([str(data_root / "video" / f"*_SEN*_REAL{number}_*.mp4") for number in (17, 18)], print)
    windows = WindowOptions(clip_duration=WINDOW_SECONDS, stride=STRIDE_SECONDS)
    timeline = TimelineOptions(idle_gloss=NO_SIGN_GLOSS)
    options = InferOptions(windows=windows, timeline=timeline, batch_size=16, num_workers=2)
    segments, words, num_signs = SegmentScores(), WordErrors(), 0
    for found in predict_videos(recognizer, videos, options):
        signs = video_timeline(recognizer.glosses, found, timeline)
        truth = labelled(data_root, found.video.name)
        num_signs += len(truth)
        segments += segment_scores(signs, truth)
        words += word_errors([sign.gloss for sign in signs], [sign.gloss for sign in truth])
    print_table(
        [
            (f"{len(videos)} sentences, {num_signs} signs", "precision", "recall", "F1 at IoU 0.5", "word errors"),
            (
                f"windows of {WINDOW_SECONDS} s every {STRIDE_SECONDS} s",
                f"{segments.precision:.3f}",
                f"{segments.recall:.3f}",
                f"{segments.f1:.3f}",
                f"{words.rate:.3f}",
            ),
        ]
    )
    scores = {"precision": segments.precision, "recall": segments.recall, "F1 at IoU 0.5": segments.f1}
    bars = [Bar(name=name, value=value, ours=True) for name, value in scores.items()]
    chart("Signs found in sentences of unseen people", "share", bars, more_is_better=True)


def labelled(data_root: Path, video: str) -> list[TimelineSegment]:
    path = data_root / "label" / video.replace(".mp4", "_morpheme.json")
    return [
        TimelineSegment(
            start_seconds=segment["start"],
            end_seconds=segment["end"],
            label=0,
            gloss=segment["attributes"][0]["name"],
            confidence=1.0,
        )
        for segment in json.loads(path.read_text(encoding="utf-8"))["data"]
    ]
