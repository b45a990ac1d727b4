"""Evaluation of a model on a split of a cache, on all clips of a data root, or on the timelines of whole videos.

In: an opened checkpoint and a cache or annotations. Out: the dictionary that docs/evaluation.md explains; with
`calibrate`, a temperature in the checkpoint's file.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.cache_builder import as_cache, open_cache
from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.document import describe_evaluation
from signprep.inference.evaluation.logits import predict_logits, split_clips
from signprep.inference.evaluation.metrics import TEMPERATURES, describe_calibration, fit_temperature, ranks
from signprep.inference.options import EvaluationOptions, InferOptions, TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.scores import SegmentScores, WordErrors, segment_scores, word_errors
from signprep.inference.videos.run import video_timeline, why_no_sign
from signprep.inference.videos.window_predictions import Video, VideoPredictions, predict_videos
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.read import Annotations
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import AnnotationError, CheckpointError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar
from signprep.training.model.checkpoint import CHECKPOINT_KEY, write_checkpoint

SPLIT = "test"
"""The split of all segments of a data root that is evaluated."""
MATCHING_IOU = 0.5
"""Least intersection over union at which a segment of the correct gloss is the labelled one."""


def evaluate_checkpoint(
    recognizer: Recognizer, checkpoint: StrPath, cache: Cache | StrPath, options: EvaluationOptions
) -> dict[str, Any]:
    """Return all figures of a model on a split of a cache, and calibrate its checkpoint if that is asked for.

    Raises:
        CheckpointError: the model is for other clips or glosses, or an exported file was to be calibrated.
        CacheError: the split has no clips, or one of them is damaged.
        SignprepError: there is no memory for a batch, or the checkpoint cannot be written.
    """
    checkpoint, cache = as_path(checkpoint), as_cache(cache)
    if options.calibrate and recognizer.is_exported:
        raise CheckpointError(f"{checkpoint}: is an exported file; calibrate its checkpoint, and export that again")
    clips = split_clips(cache, options.split, recognizer)
    with progress_bar("Evaluating", len(clips.positions), "clips") as advance:
        logits = predict_logits(
            recognizer, cache, clips, batch_size=options.batch_size, num_workers=options.num_workers, advance=advance
        )
    document = describe_evaluation(recognizer, cache, options.split, clips, logits, top_k=options.top_k)
    document["checkpoint"] = str(checkpoint)
    if options.calibrate:
        document["calibrated"] = _calibrate(checkpoint, logits, clips.labels, recognizer.num_views)
    return document


def _calibrate(
    checkpoint: Path, logits: NDArray[np.float32], labels: NDArray[np.int64], num_views: int
) -> dict[str, Any] | None:
    """Write the best temperature into a checkpoint; return its calibration, None if there is no best one."""
    temperature = fit_temperature(logits, labels)
    if temperature is None:
        return None
    write_temperature(checkpoint, temperature, num_views=num_views)
    return describe_calibration(logits, labels, ranks(logits, labels) == 0, temperature) | {"views": num_views}


def write_temperature(checkpoint: StrPath, temperature: float, *, num_views: int = 1) -> None:
    """Put a temperature, fitted with so many views, into a checkpoint that was opened before; all else stays as it is.

    Raises SignprepError if it cannot be written.
    """
    checkpoint = as_path(checkpoint)
    contents = torch.load(checkpoint, map_location="cpu", weights_only=True)
    contents[CHECKPOINT_KEY] |= {"temperature": temperature, "calibrated_views": num_views}
    write_checkpoint(checkpoint, contents)


def require_calibrated(document: dict[str, Any]) -> None:
    """Raise CheckpointError if an evaluation that was to calibrate found no temperature."""
    if document["calibrated"] is None:
        raise CheckpointError(
            f"{document['checkpoint']}: was not calibrated: no temperature from {TEMPERATURES[0]} to "
            f"{TEMPERATURES[1]} fits these {document['clips']:,} clips best, as where every answer is right; calibrate "
            "on a split with more clips"
        )


def cache_for_evaluation(annotations: Annotations, clips: ClipSpec, folder: Path) -> Cache:
    """Build a cache of all segments, in split `SPLIT`, in a folder that the caller removes.

    The annotations come from `read_split_roots({SPLIT: root})`, and the clips are cut as the model's were.

    Raises:
        AnnotationError, CacheError, DecodeError: as `signprep build-cache` does.
    """
    if not annotations.segments:
        raise AnnotationError("the data root has no segments to evaluate")
    out = folder / "evaluated.zarr"
    build_from_annotations(annotations, out, BuildOptions(clip_spec=clips), splits=SplitOptions(by="column"))
    return open_cache(out)


def evaluate_timelines(recognizer: Recognizer, annotations: Annotations, options: InferOptions) -> dict[str, Any]:
    """Return how well the timelines of labelled videos agree with their labels, as docs/evaluation.md explains.

    Segments whose middle no predicted window shows are left out: a video that cannot be read says nothing of the model.

    Raises:
        AnnotationError: there are no labelled videos, or none of their labelled signs can be read.
    """
    labelled: defaultdict[str, list[Segment]] = defaultdict(list)
    for segment in annotations.segments:
        labelled[segment.video].append(segment)
    if not labelled:
        raise AnnotationError("the data root has no labelled videos to evaluate")
    videos = [_video(annotations, name) for name in labelled]
    timeline = options.timeline or TimelineOptions()
    segments, words, left_out = SegmentScores(), WordErrors(), 0
    unanswered: list[str] = []
    without_signs: list[str] = []
    with progress_bar("Evaluating", len(videos), "videos") as progress:
        found = zip(predict_videos(recognizer, videos, options), labelled.values(), strict=True)
        for number, (video, asked) in enumerate(found, start=1):
            signs = video_timeline(recognizer.glosses, video, timeline)
            truth = [segment for segment in asked if _is_predicted(segment, video)]
            truth.sort(key=lambda segment: segment.start_seconds)
            left_out += len(asked) - len(truth)
            segments += segment_scores(signs, truth, MATCHING_IOU)
            words += word_errors([sign.gloss for sign in signs], [segment.gloss for segment in truth])
            unanswered += [window.reason for window in video.missing]
            if video.predictions and not signs:
                without_signs.append(f"{video.video.path}: {why_no_sign(recognizer.glosses, video, timeline)}")
            progress(number)
    if not segments.num_true:  # whose scores would be perfect
        reason = f"; the first reason: {unanswered[0]}" if unanswered else ""
        raise AnnotationError(f"not one of {left_out} labelled signs is where a video could be read{reason}")
    return {
        "videos": len(videos),
        "iou": MATCHING_IOU,
        "segment_precision": segments.precision,
        "segment_recall": segments.recall,
        "segment_f1": segments.f1,
        "predicted_segments": segments.num_predicted,
        "labelled_segments": segments.num_true,
        "left_out_segments": left_out,
        "matched_segments": segments.num_matched,
        "word_error_rate": words.rate,
        "substitutions": words.substitutions,
        "insertions": words.insertions,
        "deletions": words.deletions,
        "unanswered": list(dict.fromkeys(unanswered)),
        "without_signs": without_signs,
    }


def _is_predicted(segment: Segment, found: VideoPredictions) -> bool:
    """Return True if a window shows the middle of a segment."""
    middle = (segment.start_seconds + segment.end_seconds) / 2
    return any(window.start_seconds <= middle <= window.end_seconds for window in found.predictions)


def _video(annotations: Annotations, name: str) -> Video:
    folder, inside = annotations.roots.locate(name)
    return Video(path=annotations.roots.display_name(name), folder=folder, name=inside, fps=annotations.roots.fps)
