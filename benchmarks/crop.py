"""The square around the signer: how near it is to the true one, what it costs, and what a model gains by it.

Signers are rendered at 0.4 to 0.75 of the usual size, anywhere in the picture, with their true keypoints. Squares are
held against the one around the keypoints (but for hands at rest), by motion alone and beside something else that moves,
and by MediaPipe's detectors, for which this is the measurement that speaks for or against them. Costs are those of the
same clips cut by their finished box. Then a linear model learns words from movement in pixels, cut in three ways, and
is asked about people whom it has never seen. A network finds a small signer too, in time and with more data: read rows
against each other, and of people who differ less than real ones do.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._goals import GOALS
from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
from benchmarks._signing import small_signers
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import SIGNER, ClipSpec, CropBox
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.crop import SignerClips, moving_box, square_around
from signprep.pipeline.landmarks.maker import makes_clips
from signprep.pipeline.landmarks.mediapipe.extract import PictureFrames
from signprep.pipeline.landmarks.mediapipe.models import FACE_DETECTION, POSE_DETECTION, model_paths
from signprep.pipeline.landmarks.mediapipe.networks import Detector, Network, require_packages
from signprep.pipeline.landmarks.mediapipe.regions import whole
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.video.frame_times import MissingFrame
from signprep.pipeline.video.pyav_reader import open_video

MARGIN = 1.15
"""Of the square around what moves, as `--crop signer` has it."""
BODY_SIDE, BODY_DOWN = 2.4, 0.2
"""Of the square by the body's detector, in distances from the shoulders' centre to the circle around the body: those of
a grid that came nearest to the true squares of 24 such clips."""
FACES = (77, 64, 52, 34, 21)
"""Widths of a real face, of a picture that is 640 pixels wide."""
CELLS, STEPS, RIDGE = 7, 5, 0.1


def run(size: Size) -> None:
    print_machine(["av", "ai-edge-litert"])
    frame_size = size.pick((128, 96), (640, 360), (640, 360))
    words, people = size.pick((2, 3), (4, 6), (4, 18))
    squares(SampleSpec(words=words, signers=people, frame_size=frame_size, keypoints=True))
    for frame_size in size.pick([(128, 96)], [(640, 360), (1920, 1080)], [(640, 360), (1920, 1080)]):
        costs(SampleSpec(words=1, signers=size.pick(1, 4, 6), frame_size=frame_size), size.pick(1, 15, 40))
    words, people, takes = size.pick((2, 3, 1), (6, 12, 2), (12, 18, 2))
    frame_size = size.pick((128, 96), (320, 180), (640, 360))
    accuracy(SampleSpec(words=words, signers=people, takes=takes, frame_size=frame_size), size)


def cache_of(data: Path, out: Path, clips: ClipSpec) -> Cache:
    annotations = read_data_root(data, DatasetOptions(landmarks=clips.landmarks))
    build_from_annotations(annotations, out, BuildOptions(clip_spec=clips))
    return open_cache(out)


def squares(sample: SampleSpec) -> None:
    """Print how near squares of several origins are to the true ones."""
    data, size = small_signers(sample), sample.frame_size
    shown = "x".join(map(str, size))
    found: dict[str, list[float]] = {name: [] for name in ("centred", "motion", "motion, and a thing that moves")}
    with tempfile.TemporaryDirectory() as folder:
        spec = ClipSpec(landmarks="aihub", keypoint_size=shown, crop=SIGNER)
        rows = cache_of(data, Path(folder) / "true.zarr", spec).index.to_pylist()
    detectors = open_detectors()
    if detectors:
        found["body's detector"] = []
    seen = dict.fromkeys(detectors, 0)
    for row in rows:
        true = row["crop_box"]
        greys, pictures = looked_at(next(data.rglob(f"{row['segment_id'].split('#')[0]}.mp4")), row)
        moving, disturbed = moving_box(greys), moving_box(list(with_thing(greys, true)))
        found["centred"].append(overlap(square_around(None, size, margin=1), true))
        found["motion"].append(overlap(square_around(moving, size, margin=MARGIN), true))
        found["motion, and a thing that moves"].append(overlap(square_around(disturbed, size, margin=MARGIN), true))
        few = pictures[2::5]
        for name, detector in detectors.items():
            answers = [detector(picture, whole(picture)) for picture in few]
            seen[name] += sum(map(bool, answers))
            if name == "body":
                points = [answer[0].points for answer in answers if answer]
                found["body's detector"].append(overlap(square_of_body(points, few[0].shape, size), true))
    header = (f"{len(rows)} clips of {shown}, shared with the true square (intersection / union)", "mean", "least")
    print_table([header, *((name, f"{np.mean(v):.2f}", f"{min(v):.2f}") for name, v in found.items())])
    figure("crop.overlap", float(np.mean(found["motion"])))
    bars = [Bar(name=name, value=float(np.mean(v)), ours=name == "motion") for name, v in found.items()]
    chart("The square around a small signer", "shared with the true one", bars, more_is_better=True)
    if detectors:
        told = ", ".join(f"the {name}'s {count} of {len(rows) * len(few)}" for name, count in seen.items())
        print_line(f"frames in which MediaPipe's detectors find the signer: {told}")
        of_faces(detectors, few[0].shape)


def looked_at(video: Path, row: dict[str, float]) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Return the small grey pictures of a clip's frames, and those that MediaPipe's models see."""
    greys, pictures = [], []
    with open_video(video) as reader:
        clips, prepare = SignerClips(ClipSpec(crop=SIGNER), reader.pixel_aspect), PictureFrames(reader.pixel_aspect)
        for shown in reader.answers_at(np.array(row["sampled_seconds"])):
            assert not isinstance(shown, MissingFrame)
            greys.append(clips.frame(shown.frame).luma)
            pictures.append(prepare(shown.frame))
    return greys, pictures


def with_thing(greys: Sequence[NDArray[np.uint8]], signer: CropBox) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures with a thing of a sixteenth of their width that moves at the side where the signer is not."""
    height, width = greys[0].shape
    side = width // 16
    left = 0.05 if signer[0] + signer[2] > 1 else 0.82
    for number, grey in enumerate(greys):
        changed = grey.copy()
        place = int(left * width) + number % 8
        changed[height // 3 : height // 3 + side, place : place + side] ^= 128
        yield changed


def overlap(one: CropBox, other: CropBox) -> float:
    """Return intersection over union."""
    both = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared_area = float(np.prod(both.clip(0)))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared_area / (sum(areas) - shared_area)


def open_detectors() -> dict[str, Detector]:
    """Return MediaPipe's detectors of faces (short range) and bodies; none where they are not there."""
    try:
        require_packages()
        paths = model_paths()
    except SignprepError as error:
        print_missing("MediaPipe's models", error)
        return {}
    how = {"low": -1.0, "black_outside": True}
    return {
        "face": Detector(Network(paths[FACE_DETECTION], **how), (8, 16, 16, 16)),
        "body": Detector(Network(paths[POSE_DETECTION], **how), (8, 16, 32, 32, 32)),
    }


def square_of_body(
    points: Sequence[NDArray[np.floating]], shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[float, ...]:
    """Return the square by the body detector's key points in some frames of a clip."""
    if not points:
        return square_around(None, size, margin=1)
    _, rim, shoulders, _ = np.median(points, axis=0)
    reach = float(np.linalg.norm(rim - shoulders))
    centre, half = shoulders + np.array([0, BODY_DOWN * reach]), BODY_SIDE / 2 * reach
    sides = np.array(shape[1::-1])
    return square_around((*(centre - half) / sides, *(centre + half) / sides), size, margin=1)


def of_faces(detectors: dict[str, Detector], shape: tuple[int, ...]) -> None:
    """Print in how many of 20 places the detectors find a real person of several sizes, scikit-image's astronaut."""
    try:
        from PIL import Image
        from skimage import data
    except ImportError as error:
        print_missing("scikit-image's astronaut", error)
        return
    person, rng = Image.fromarray(data.astronaut()), np.random.default_rng(0)
    rows = [("width of a real face, of a picture of 640x360", *(f"{name} found" for name in detectors))]
    for width in FACES:
        side = width * 512 // 110  # the astronaut's face is 110 of its 512 pixels wide
        small = np.asarray(person.resize((side, side), Image.Resampling.BOX))
        counts = dict.fromkeys(detectors, 0)
        for _ in range(20):
            picture = (110 + rng.integers(0, 30, (360, 640, 1)) + np.zeros(3)).astype(np.uint8)
            left = rng.integers(0, 641 - side)
            picture[360 - side :, left : left + side] = small[:360]
            for name, detector in detectors.items():
                counts[name] += bool(detector(picture, whole(picture)))
        rows.append((str(width), *(f"{count} of 20" for count in counts.values())))
    print_table(rows)


def costs(sample: SampleSpec, num_rounds: int) -> None:
    """Print the part of a build's time, and of cutting a clip, that goes into finding its box."""
    shown = "x".join(map(str, sample.frame_size))
    spec, finding, cutting = ClipSpec(crop=SIGNER), [], []
    for video in sorted(small_signers(sample).rglob("*.mp4")):
        rounds = []
        for _ in range(num_rounds):
            started = time.process_time()
            [clip] = extract_clips(video, [Span(0, 2)], spec, make=makes_clips(spec))
            found = time.process_time()
            assert isinstance(clip, Clip) and clip.crop_box is not None
            extract_clips(video, [Span(0, 2)], replace(spec, crop=",".join(map(repr, clip.crop_box))))
            rounds.append((found - started, time.process_time() - found))
        # Other programs only ever add time.
        with_box_found, without = (min(times) for times in zip(*rounds, strict=True))
        finding.append(with_box_found - without)
        cutting.append(with_box_found)
    part = statistics.fmean(finding) / seconds_of_build(sample, spec)
    part_of_cutting = sum(finding) / sum(cutting)
    print_line(
        f"finding the square takes {part:.1%} of a build's CPU at {shown}, {part_of_cutting:.1%} of cutting alone"
    )
    if (goal := f"crop.cost.{shown}") in GOALS:
        figure(goal, part)


def seconds_of_build(sample: SampleSpec, spec: ClipSpec) -> float:
    """Return the CPU seconds of a whole build in this process for each of its clips, once all is loaded."""
    annotations, seconds = read_data_root(small_signers(sample)), []
    with tempfile.TemporaryDirectory() as name:
        for number in range(4):
            started = time.process_time()
            out = Path(name) / f"{number}.zarr"
            build_from_annotations(annotations, out, BuildOptions(clip_spec=spec), run=RunOptions(workers=1))
            seconds.append((time.process_time() - started) / len(open_cache(out)))
    return min(seconds[1:])


def accuracy(sample: SampleSpec, size: Size) -> None:
    """Print how many words of unseen people a linear model of movement recognises whose clips are cut in three ways."""
    data, side = small_signers(sample), 112
    rows, bars = [], []
    with tempfile.TemporaryDirectory() as name:
        for crop in ("full", "center", SIGNER):
            spec = ClipSpec(num_frames=size.pick(6, 16, 16), size=side, crop=crop)
            cache = cache_of(data, Path(name) / f"{crop}.zarr", spec)
            right = linear_accuracy(cache)
            rows.append((f"--crop {crop}", f"{right:.3f}"))
            bars.append(Bar(name=f"--crop {crop}", value=right, ours=crop == SIGNER))
        counts = f"{sample.words} words, {len(cache.positions('train'))} clips, {len(cache.positions('val'))} unseen"
    print_table([(f"{counts}, {side} pixels", "accuracy"), *rows])
    chart("Words of unseen small signers that are recognised", "share", bars, more_is_better=True)
    figure("crop.gain", bars[-1].value - max(bar.value for bar in bars[:-1]))


def linear_accuracy(cache: Cache) -> float:
    """Return the part of validation clips that a ridge regression from movement to words is right about.

    It has a closed form, so that nothing of it is chance. Movement is how much luma changes from frame to frame, on
    average over `CELLS` x `CELLS` cells and `STEPS` parts of the clip; its root, at unit length.
    """
    labels = np.array(cache.index["label"].to_pylist())
    splits = [cache.positions(split) for split in ("train", "val")]
    trained, asked = (movement(cache, positions) for positions in splits)
    mean = trained.mean(axis=0)
    trained, asked = trained - mean, asked - mean
    words = np.eye(len(cache.vocabulary))[labels[splits[0]]]
    dual = np.linalg.solve(trained @ trained.T + RIDGE * np.eye(len(trained)), words)
    return float(np.mean((asked @ (trained.T @ dual)).argmax(axis=1) == labels[splits[1]]))


def movement(cache: Cache, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the movement in clips, float32 [N, STEPS * CELLS * CELLS]."""
    side = cache.clip_spec.size
    luma = cache.read(positions)[:, :, :side].astype(np.float32)
    changes = np.abs(np.diff(luma, axis=1))
    cells = changes.reshape(*changes.shape[:2], CELLS, side // CELLS, CELLS, side // CELLS).mean(axis=(3, 5))
    parts = [part.mean(axis=1) for part in np.array_split(cells, STEPS, axis=1)]
    found = np.sqrt(np.stack(parts, axis=1)).reshape(len(positions), -1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
