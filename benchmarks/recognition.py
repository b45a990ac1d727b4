"""Signs of people whom the model has never seen: landmarks, pixels, and both together, after the same time of training.

Words are rendered with their true keypoints, a clip of each by each signer, and the last two signers validate. Both
landmark models train with the defaults of `train`; EfficientX3D-XS trains on pixels of the same clips for as many
epochs as fit into the time that `landmark_transformer` took. The two then answer together, calibrated and weighted on
the clips that are counted, for there are no others. Generated people differ less than real ones do: read rows against
each other.

Live: windows of 0.8 s, a new one every tenth of a second, answered one by one. Landmarks that are there anyway are held
against those that are followed from frame to frame, and those that are found in all 16 frames of each window. Time is
what one thread of torch and the models computed, so that other programs disturb less.
"""

import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
from benchmarks._signing import rendered
from benchmarks._size import Size
from benchmarks.landmarks import signing
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.combination import CombinedRecognizer
from signprep.inference.evaluation.run import evaluate_checkpoint
from signprep.inference.evaluation.together import evaluate_together
from signprep.inference.open_model import open_models
from signprep.inference.options import PER_CLIP, PER_VIDEO, TIMELINE_CLIP_SECONDS, EvaluationOptions
from signprep.inference.recognizer import Recognizer, load_checkpoint, torch_threads
from signprep.inference.videos.live import LiveRecognizer
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor
from signprep.pipeline.options import SampleSpec
from signprep.training.config import TrainConfig
from signprep.training.model_spec import ModelSpec, model_spec
from signprep.training.run import TrainResult, train

LANDMARK_MODELS = ("landmark_transformer", "landmark_conv")
OPTIONS = EvaluationOptions(calibrate=True, top_k=2)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model after its training."""

    name: str
    cache: Cache
    result: TrainResult
    cpu_seconds: float
    """Of all threads of the training."""

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table."""
        result = self.result
        times = f"{result.seconds:.0f}", f"{self.cpu_seconds:.0f}"
        return self.name, f"{result.best_val_accuracy:.3f}", str(result.epochs), *times


def run(size: Size) -> None:
    words, signers, frames = size.pick((2, 3, (128, 96)), (20, 12, (320, 180)), (60, 18, (320, 180)))
    data = rendered(SampleSpec(words=words, signers=signers, frame_size=frames, keypoints=True))
    toy = size is Size.TOY
    print_machine(["torch", "lightning"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown = "x".join(map(str, frames))
        landmarks = cache_of(data, folder / "landmarks.zarr", ClipSpec(landmarks="aihub", keypoint_size=shown))
        pixels = cache_of(data, folder / "pixels.zarr", ClipSpec(size=32 if toy else 160))
        config = TrainConfig(epochs=1 if toy else TrainConfig.epochs)
        found = [trained(landmarks, model_spec(name), config, folder / name) for name in LANDMARK_MODELS]
        limit = found[0].result.seconds
        found.append(trained_within(limit, pixels, folder, toy=toy))
        accuracy = together(folder, found[0], found[-1])
        counts = f"{words} words, {len(landmarks.positions('train'))} clips, {len(landmarks.positions('val'))} unseen"
        header = (counts, "accuracy", "epochs", "s of training", "s of CPU")
        both = (f"{found[0].name} and {found[-1].name}", f"{accuracy:.3f}", "", "", "")
        print_table([header, *(each.row for each in found), both])
        print_line(
            f"landmarks trained for the default {config.epochs} epochs; pixels as long as {LANDMARK_MODELS[0]}, "
            f"{limit:.0f} s"
        )
        bars = [Bar(name=each.name, value=each.result.best_val_accuracy, ours=True) for each in found]
        bars.append(Bar(name="landmarks and pixels", value=accuracy, ours=True))
        chart("Words of unseen people that are recognised", "share", bars, more_is_better=True)
        figure("recognition.accuracy", min(each.result.best_val_accuracy for each in found[:2]))
        figure("recognition.seconds", max(each.result.seconds for each in found[:2]))
        better = max(found[0].result.best_val_accuracy, found[-1].result.best_val_accuracy)
        figure("recognition.together", accuracy - better)
        live(load_checkpoint(found[0].result.best_checkpoint), landmarks, num_windows=size.pick(4, 100, 400))


def cache_of(data: Path, out: Path, clips: ClipSpec) -> Cache:
    annotations = read_data_root(data, DatasetOptions(landmarks=clips.landmarks))
    build_from_annotations(annotations, out, BuildOptions(clip_spec=clips))
    return open_cache(out)


def trained(cache: Cache, spec: ModelSpec, config: TrainConfig, folder: Path) -> Trained:
    before = time.process_time()
    result = train(cache, spec, config, folder, log=lambda line: None)
    return Trained(name=spec.name, cache=cache, result=result, cpu_seconds=time.process_time() - before)


def trained_within(seconds: float, cache: Cache, folder: Path, *, toy: bool) -> Trained:
    """Return EfficientX3D-XS after as many epochs as take about so many seconds, which a first epoch tells."""
    spec = model_spec("efficient_x3d_xs", num_frames=2 if toy else None, crop_size=32 if toy else None)
    config = TrainConfig(epochs=1)
    first = trained(cache, spec, config, folder / "first")
    epochs = 1 if toy else max(1, round(seconds / first.result.seconds))
    return trained(cache, spec, replace(config, epochs=epochs), folder / "pixels")


def together(folder: Path, *models: Trained) -> float:
    """Return the accuracy of models that answer together by fitted weights, calibrated where a temperature fits."""
    checkpoints = [each.result.best_checkpoint for each in models]
    for each, checkpoint in zip(models, checkpoints, strict=True):
        evaluate_checkpoint(load_checkpoint(checkpoint), checkpoint, each.cache, OPTIONS)
    recognizer = open_models(checkpoints)
    assert isinstance(recognizer, CombinedRecognizer)
    options = replace(OPTIONS, fit_weights=folder / "together.json")
    document = evaluate_together(recognizer, checkpoints, [each.cache for each in models], options)
    return float(document["combined"]["fitted"]["accuracy"])


def live(recognizer: Recognizer, cache: Cache, num_windows: int) -> None:
    """Print windows/s where landmarks are there, are followed from frame to frame, and are found in each window."""
    length = cache.clip_spec.num_frames
    tracked = cache.read(cache.positions("val")[: num_windows // length + 2]).reshape(
        -1, *cache.clip_spec.clip_shape[1:]
    )
    with torch_threads(1):
        recognizer.probabilities([tracked[:length]])
        started = time.process_time()
        for first in range(num_windows):
            recognizer.probabilities([tracked[first : first + length]])
        rows = [("live, one window after the other", "windows/s of one core")]
        rows.append(("landmarks of the frames are there", f"{num_windows / (time.process_time() - started):.1f}"))
        try:
            LandmarkExtractor()
        except SignprepError as error:
            print_missing("MediaPipe's models", error)
        else:
            followed = live_rate(recognizer, PER_VIDEO, num_windows // 10 + 1)
            figure("recognition.live", followed)
            rows.append(("followed from frame to frame", f"{followed:.1f}"))
            rows.append((f"found in all {length} frames of each", f"{live_rate(recognizer, PER_CLIP, 2):.1f}"))
    print_table(rows)


def live_rate(recognizer: Recognizer, tracking: str, num_windows: int) -> float:
    """Return windows a second of a core, of a camera's 30 pictures a second, once the first window is whole."""
    stream = LiveRecognizer(recognizer, landmark_tracking=tracking)
    first = math.ceil(30 * TIMELINE_CLIP_SECONDS) + 1
    found, started = 0, None
    for number, picture in enumerate(signing(first + 3 * num_windows)):
        answers = len(stream.add(picture, number / 30))
        if started is not None:
            found += answers
        elif answers:
            started = time.process_time()
    assert started is not None
    return found / (time.process_time() - started)
