"""The command `infer`: a document for each video that a user names, or a prediction for each clip of a cache."""

import functools
import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from signprep.cache_builder.reader import Cache
from signprep.inference.options import InferOptions, Outputs, TimelineOptions
from signprep.inference.recognizer import Recognizer, cache_logits, check_cache_compatible
from signprep.inference.timeline.segments import TimelineSegment, timeline
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.sign_files import AddSigns
from signprep.inference.videos.window_predictions import Video, VideoPredictions, predict_videos
from signprep.inference.videos.windows import rounded
from signprep.pipeline.clips import Span
from signprep.pipeline.datasets.files.data_root import Problem, walk_archive, walk_files
from signprep.pipeline.datasets.files.image_files import holds_pictures
from signprep.pipeline.datasets.files.names import is_read_archive, is_video, whole_name
from signprep.pipeline.errors import CacheError, DecodeError, SignprepError
from signprep.pipeline.runtime.progress import progress_bar, say
from signprep.pipeline.runtime.text import counted


def find_videos(named: Iterable[str], log: Callable[[str], None], *, fps: float | None = None) -> list[Video]:
    """Return the videos that files, folders, zips and patterns mean, each once, in the order in which they were named.

    Args:
        named: paths, or patterns with *, ? or [...], ** for folders of any depth.
        log: takes a line about each file or folder that could not be looked into.
        fps: the rate of pictures; with it, folders of pictures are videos, too.

    Raises:
        SignprepError: something is not there, or holds no videos.
    """
    found: dict[str, Video] = {}
    for text in named:
        is_pattern = glob.has_magic(text) and not Path(text).exists()
        # Path.glob takes no absolute patterns.
        matches = sorted(glob.glob(text, recursive=True)) if is_pattern else [text]  # noqa: PTH207
        videos = [v for match in matches for v in _videos_at(Path(match), lambda problem: log(problem.message), fps)]
        if not videos:
            what = "holds no video" if Path(text).exists() else "no such video file"
            expected = "expected a file, a folder, a zip or a pattern"
            if fps is None and any(_videos_at(Path(match), lambda problem: None, 1.0) for match in matches):
                expected = "give the rate of its pictures, as by --fps 25"
            raise SignprepError(f"{text}: {what}; {expected}")
        found.update((video.path, video) for video in videos)
    return list(found.values())


def _videos_at(path: Path, log: Callable[[Problem], None], fps: float | None) -> list[Video]:
    if path.is_dir():
        if fps is not None and holds_pictures(path) and not any(is_video(entry.name) for entry in path.iterdir()):
            return [Video.at(path, fps)]
        folder, files = path, walk_files(path, log, wanted=is_video, pictures=fps is not None)
    elif is_read_archive(path.name):
        folder, files = path.parent, walk_archive(path, path.name, log, is_video, pictures=fps is not None)
    elif whole := whole_name(path.name):
        return _videos_at(path.with_name(whole), log, fps)
    else:
        return [Video.at(path)] if path.exists() else []
    return [Video(path=str(folder / file.name), folder=folder, name=file.name, fps=fps) for file in files]


@dataclass(kw_only=True)
class Outcome:
    """Counts and problems of a run, for the exit code and the lines on stderr."""

    num_videos: int = 0
    num_answered: int = 0
    """Videos with any prediction."""
    num_answers: int = 0
    """Windows that have a prediction."""
    num_signs: int = 0
    """Signs in all timelines."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By video, why windows or all of it have no prediction."""
    notes: list[str] = field(default_factory=list)
    """Why timelines are empty."""


def video_documents(
    recognizer: Recognizer,
    videos: Sequence[Video],
    options: InferOptions,
    outcome: Outcome,
    add_signs: AddSigns = lambda found, segments: None,
) -> Iterator[Any]:
    """Yield a document a video, with progress on stderr where there are several.

    Args:
        recognizer: the opened model.
        videos: what to predict for.
        options: which windows, and what becomes of them.
        outcome: is added to.
        add_signs: takes the timeline of each video, as `sign_files` gives it.

    Raises:
        DecodeError: there is one video, and not one of its windows has a prediction.
    """
    single = len(videos) == 1
    with nullcontext(lambda done: None) if single else progress_bar("Answering", len(videos), "videos") as progress:
        for number, found in enumerate(predict_videos(recognizer, videos, options), start=1):
            if single and found.missing and not found.predictions:
                raise DecodeError(found.missing[0].reason)
            yield video_document(recognizer.glosses, found, options, outcome, add_signs)
            progress(number)


def video_document(
    glosses: Sequence[str],
    found: VideoPredictions,
    options: InferOptions,
    outcome: Outcome,
    add_signs: AddSigns = lambda found, segments: None,
) -> Any:
    """Return the document of a video, and note in the outcome what it has; see `video_documents`."""
    clips = [prediction.to_dict() for prediction in found.predictions]
    outcome.num_videos += 1
    outcome.num_answered += bool(clips)
    outcome.num_answers += len(clips)
    if found.missing:
        outcome.problems[found.video.path] = [window.reason for window in found.missing]
    errors = [
        ({"start_time": window.span[0], "end_time": window.span[1]} if window.span else {}) | {"error": window.reason}
        for window in found.missing
    ]
    if not errors and options.timeline is None:
        return clips if options.windows.stride is not None else clips[0]
    document: dict[str, Any] = {"video_path": found.video.path, "clips": clips}
    if options.timeline is not None:
        segments = video_timeline(glosses, found, options.timeline)
        document["timeline"] = [segment.to_dict() for segment in segments]
        outcome.num_signs += len(segments)
        if found.predictions and not segments:
            outcome.notes.append(f"{found.video.path}: {why_no_sign(glosses, found, options.timeline)}")
        add_signs(found, segments)
        _write_outputs(options.outputs, found, segments)
    return document | ({"errors": errors} if errors else {})


def video_timeline(glosses: Sequence[str], found: VideoPredictions, options: TimelineOptions) -> list[TimelineSegment]:
    """Return the signs of a video, from the class probabilities of its windows."""
    if not found.predictions:
        return []
    spans = [Span(prediction.start_seconds, prediction.end_seconds) for prediction in found.predictions]
    return timeline(spans, np.stack(found.probabilities), glosses, options)


def why_no_sign(glosses: Sequence[str], found: VideoPredictions, options: TimelineOptions) -> str:
    """Return a sentence on an empty timeline: its surest window, and the options that asked for more."""
    scores = np.stack(found.probabilities)
    if options.idle_gloss is not None:
        scores[:, list(glosses).index(options.idle_gloss)] = 0.0
    window, label = np.unravel_index(scores.argmax(), scores.shape)
    surest, score = found.predictions[window], scores[window, label]
    bounds = {"--min-confidence": options.min_confidence, "--min-duration-seconds": options.min_duration_seconds}
    if options.idle_gloss is not None:
        bounds["--idle-weight"] = options.idle_weight
    now = [f"{name} (now {value:g})" for name, value in bounds.items()]
    return (
        f"no sign in {counted(len(scores), 'window')}; the surest is {glosses[int(label)]} with {score:.2f}, "
        f"{surest.start_seconds:.2f} to {surest.end_seconds:.2f} s. More is found with a smaller {' or '.join(now)}"
    )


def _write_outputs(outputs: Outputs, found: VideoPredictions, segments: Sequence[TimelineSegment]) -> None:
    if outputs.subtitles is not None:
        from signprep.inference.timeline.subtitles import write_subtitles

        write_subtitles(outputs.subtitles, segments, found.video.path)
    if outputs.render is not None:
        from signprep.inference.timeline.render import render_timeline

        with found.video.opened() as source, ExitStack() as stack:
            # The bar begins with the first frame, when their number is known.
            bar = functools.cache(lambda total: stack.enter_context(progress_bar("Rendering", total, "frames")))
            made = render_timeline(
                source,
                segments,
                outputs.render,
                name=found.video.path,
                font=outputs.font,
                landmarks=found.landmarks,
                progress=lambda done, total: bar(total)(done),
            )
        if made.sound_was_dropped:
            say(f"{outputs.render}: has no sound; the video's was left out")


def predict_cache(
    recognizer: Recognizer, cache: Cache, split: str | None, options: InferOptions
) -> Iterator[Prediction]:
    """Yield the predictions for the clips of a split (None for all), in the order of their positions.

    Raises:
        CheckpointError: the clips are not made as those that the model was trained on.
        CacheError: there are none in the split.
    """
    for spec in recognizer.clip_specs:
        check_cache_compatible(cache, spec)
    positions = cache.positions(split)
    if not len(positions):
        raise CacheError(f"{cache}: has no clips{f' in its split {split!r}' if split else ''}")
    columns = ["video", "start_seconds", "end_seconds", "segment_id"]
    rows = iter(cache.index.select(columns).take(positions).to_pylist())
    sizes = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    batches = cache_logits(recognizer, cache, positions, **sizes)
    done = 0
    with closing(batches), progress_bar("Answering", len(positions), "clips") as progress:
        for logits in batches:
            for probabilities, row in zip(recognizer.softmax(logits), rows, strict=False):  # rows go on
                yield Prediction.of(
                    probabilities,
                    recognizer.glosses,
                    options,
                    video_path=row.pop("video"),
                    clip_duration=rounded(row["end_seconds"] - row["start_seconds"]),
                    **row,
                )
                done += 1
                progress(done)
