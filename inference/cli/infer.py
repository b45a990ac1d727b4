"""The command `infer`."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.options import Location, StreamOptions, is_url, location_of, location_option
from signprep.inference.cli.export import propose_export
from signprep.inference.options import InferOptions, ModelOptions, Outputs, TimelineOptions, WindowArguments
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command, note_unused, reject_unused
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.datasets.annotations import fps_option
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.options import Options, machine_option, option, out_option
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.text import counted, first_of

if TYPE_CHECKING:
    from signprep.inference.recognizer import Recognizer
    from signprep.inference.videos.run import Outcome

_SHOWN_NOTES = 5


@dataclass(frozen=True, kw_only=True)
class InferInput:
    """The videos or clips that are predicted for, and the model."""

    inputs: tuple[str, ...] = option(
        (),
        "Predict for these videos (files, folders, zips, patterns), or for the clips of one cache (NAME.zarr, URL).",
        positional=True,
        metavar="INPUT",
        is_path=True,
    )
    video_path: tuple[str, ...] = option((), "Predict for these videos.", hidden=True, is_path=True)
    cache: Location | None = location_option(None, "Predict for the clips of this cache.", hidden=True)
    stream: StreamOptions
    split: str | None = option(
        None, "Predict for this split of the cache only.", choices=("train", "val", "test"), group="Data"
    )
    fps: float | None = fps_option()
    model: ModelOptions
    precision: str = machine_option("32", "Compute with this precision.", choices=("32", "16-mixed", "bf16-mixed"))

    def cache_location(self) -> Location | None:
        """Return the cache, None for videos. Raises UsageError if there is neither, or both."""
        caches = [
            location_of(text)
            for text in self.inputs
            if is_url(text) or Path(text).suffix == ".zarr" or (Path(text) / "zarr.json").is_file()
        ]
        num_videos = len(self.inputs) - len(caches) + len(self.video_path)
        if self.cache is not None:
            caches.append(self.cache)
        if len(caches) > 1 or bool(caches) == bool(num_videos):
            raise click.UsageError("give INPUT: videos, or one cache")
        return caches[0] if caches else None


@dataclass(frozen=True, kw_only=True)
class InferOutput(Options, group="Output"):
    """The results that are asked for, and their file."""

    multiple_clips: bool = option(False, "Predict for windows over the whole video; gives a list.", group="Windows")
    with_timeline: bool = option(
        False, "Also tell the signs that are made one after the other.", name="--timeline", group="Timeline"
    )
    out: Path | None = out_option(
        "Write to this .json, .jsonl (a line a video) or .csv (a row a clip) file instead of JSON to stdout."
    )
    csv_bom: bool = option(False, "Begin a .csv file with a byte-order mark, by which Excel knows Korean.")


@command("infer", "Say which signs a video shows.", config=True)
def infer(
    source: InferInput, output: InferOutput, windows: WindowArguments, timeline: TimelineOptions, options: InferOptions
) -> None:
    """Say which sign a video shows, or which signs one after the other.

    One video gives one JSON object, with --multiple-clips a list of them; several videos give a list with one such
    entry each. With --timeline (or what needs it) the entry has clips and timeline.

    \b
    Examples:
      signprep infer test.mp4 --checkpoint best.ckpt --clip-duration 2.0
      signprep infer test.mp4 --checkpoint best.ckpt --start-time 1.6 --clip-duration 1.1 \\
          --return-probabilities --out result.json
      signprep infer test.mp4 --checkpoint best.ckpt --multiple-clips --stride 1.0
      signprep infer videos/ more.zip --checkpoint best.ckpt --out all.jsonl
      signprep infer frames/ --checkpoint best.ckpt --fps 25
      signprep infer talk.mp4 --checkpoint best.ckpt --timeline --subtitles talk.srt --render talk_signs.mp4
      signprep infer talks/ --checkpoint best.ckpt --timeline --subtitles-dir talks/ --signs signs.csv
      signprep infer aihub.zarr --checkpoint best.ckpt --split val --out val.csv
      signprep infer test.mp4 --checkpoint pixels.ckpt --checkpoint landmarks.ckpt --weights 1,2
    """
    cache = source.cache_location()
    with_timeline = output.with_timeline or options.outputs.wanted
    _reject_contradictions(cache is not None, with_timeline, options.outputs)
    if output.out is None or output.out.suffix.lower() != ".csv":
        reject_unused(["csv_bom"], "--out FILE.csv")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    _require_places(output, options)
    recognizer = recognizer_of(source.model, source.precision)
    if cache is not None:
        _infer_cache(recognizer, cache, source, options, output)
        return
    if not (output.multiple_clips or with_timeline):
        note_unused(["stride"], "--multiple-clips or --timeline")
    if all(spec.content != "landmarks" for spec in recognizer.clip_specs):
        note_unused(["landmark_tracking"], "a checkpoint of landmarks")
    asked = replace(
        options,
        windows=windows.windows(several=output.multiple_clips, timeline=with_timeline),
        timeline=timeline if with_timeline else None,
    )
    _infer_videos(recognizer, source, asked, output)


def _reject_contradictions(has_cache: bool, with_timeline: bool, outputs: Outputs) -> None:
    if not with_timeline:
        reject_unused(TimelineOptions, "--timeline")
    if outputs.subtitles_dir is None:
        reject_unused(["subtitle_suffixes"], "--subtitles-dir")
    if not outputs.of_all_videos:
        reject_unused(["overwrite"], "--subtitles-dir or --signs")
    if not has_cache:
        reject_unused(["split"], "a cache")
        return
    if with_timeline:
        raise click.UsageError("a timeline is of videos, not of a cache")
    reject_unused(WindowArguments, "videos")
    reject_unused(["fps"], "videos")
    reject_unused(["multiple_clips"], "videos")


def recognizer_of(model: ModelOptions, precision: str) -> "Recognizer":
    """Open the models that a command was given, and say what makes their confidences worth less."""
    from signprep.inference.open_model import open_models

    recognizer = open_models(
        model.checkpoints,
        model.device,
        own_model=model.own_model,
        precision=precision,
        weights=model.weights,
        views=model.clip_views,
    )
    if note := recognizer.calibration_note():
        echo(f"note: {note}", err=True)
    return recognizer


def _require_places(output: InferOutput, options: InferOptions) -> None:
    """Raise SignprepError for files that could not be written, before the model is opened."""
    from signprep.inference.timeline.subtitles import require_subtitle_ending
    from signprep.inference.videos.results import require_known_suffix
    from signprep.pipeline.runtime.atomic_files import require_writable

    subtitles, render, signs = options.outputs.subtitles, options.outputs.render, options.outputs.signs
    for path in (output.out, render, subtitles, signs):
        if path is not None:
            require_writable(path)
    if output.out is not None:
        require_known_suffix(output.out)
    if subtitles is not None:
        require_subtitle_ending(subtitles)
    if signs is not None and signs.suffix.lower() != ".csv":
        raise SignprepError(f"{signs}: a table of signs ends in .csv, not in {signs.suffix or 'nothing'!r}")
    if (
        output.with_timeline
        and not options.outputs.wanted
        and output.out is not None
        and output.out.suffix.lower() == ".csv"
    ):
        raise click.UsageError("a table of windows has no place for a timeline; give --signs FILE.csv, or --out .json")


def _infer_cache(
    recognizer: "Recognizer", location: Location, source: InferInput, options: InferOptions, output: InferOutput
) -> None:
    from signprep.cache_builder import open_cache
    from signprep.inference.videos.results import write_results
    from signprep.inference.videos.run import predict_cache

    cache = open_cache(location, stream=source.stream)
    found = predict_cache(recognizer, cache, source.split, options)
    write_results((prediction.to_dict() for prediction in found), output.out, single=False, csv_bom=output.csv_bom)
    if output.out is not None:
        echo(f"{output.out}: {counted(len(cache.positions(source.split)), 'answer')}", err=True)
    split = ["--split", source.split] if source.split else []
    next_step("evaluate", location, *as_typed(StreamOptions), *as_typed(ModelOptions), *split)


def _infer_videos(recognizer: "Recognizer", source: InferInput, options: InferOptions, output: InferOutput) -> None:
    from signprep.inference.timeline.render import require_render_path
    from signprep.inference.videos.results import write_results
    from signprep.inference.videos.run import Outcome, find_videos, video_documents
    from signprep.inference.videos.sign_files import sign_files

    videos = find_videos([*source.inputs, *source.video_path], lambda line: echo(line, err=True), fps=source.fps)
    outputs = options.outputs
    if outputs.of_one_video and len(videos) > 1:
        raise click.UsageError(
            f"--render and --subtitles are for one video; {len(videos)} were found. --subtitles-dir is for all"
        )
    if outputs.render is not None:
        require_render_path(outputs.render, Path(videos[0].path))
    outcome = Outcome()
    with sign_files(videos, outputs) as add_signs:
        documents = video_documents(recognizer, videos, options, outcome, add_signs)
        if output.out is None and outputs.of_all_videos:
            deque(documents, maxlen=0)  # the files are what is wanted of them
        else:
            write_results(documents, output.out, single=len(videos) == 1, csv_bom=output.csv_bom)
    for line in _told(outcome, options, output.out):
        echo(line, err=True)
    if outcome.problems:
        has_result = output.out is not None or not outputs.of_all_videos
        raise SignprepError(_failure(outcome, str(outputs.signs or "") if not has_result else "the result"))
    if options.timeline is None:
        _propose_timeline([video.path for video in videos])
    elif outputs.subtitles_dir is not None and [os.fspath(outputs.subtitles_dir)] == [
        *map(os.path.normpath, source.inputs)
    ]:
        folder, idle = outputs.subtitles_dir, options.timeline.idle_gloss  # once they are corrected
        cache = free_path(Path(f"{folder.resolve().name}.zarr"))
        next_step("build-cache", "--data-root", folder, "--out", cache, *(["--idle-class", idle] if idle else []))
    else:
        propose_export(source.model.checkpoints, recognizer)


def _propose_timeline(videos: Sequence[str]) -> None:
    """Tell how the signs of the same videos are written as subtitles."""
    words = as_typed(without=["out", "csv_bom", "multiple_clips", "clip_duration", "stride"])
    if len(videos) == 1:
        next_step("infer", *words, "--subtitles", free_path(Path(f"{Path(videos[0]).stem}.srt")))
    else:
        next_step(
            "infer", *words, "--subtitles-dir", free_path(Path("subtitles")), "--signs", free_path(Path("signs.csv"))
        )


def _failure(outcome: "Outcome", named_by: str) -> str:
    """Return one line on the videos without an answer for all of their windows; `named_by` names the reasons."""
    first, *others = [reason for reasons in outcome.problems.values() for reason in reasons]
    which = ""
    if outcome.num_videos > 1:
        which = f"{len(outcome.problems)} of {outcome.num_videos} videos not answered, or not to the end: "
    if len(outcome.problems) > 1:
        which += first_of(list(outcome.problems), _SHOWN_NOTES, " and {} more") + "; "
    more = f", and {counted(len(others), 'other problem')}" if others else ""
    return f"{which}{first}{more}{f'; {named_by} names them all' if named_by else ''}"


def _told(outcome: "Outcome", options: InferOptions, out: Path | None) -> Iterator[str]:
    """Yield the lines for stderr: the files that were written, and which timelines are empty."""
    if out is not None:
        videos, answers = counted(outcome.num_videos, "video"), counted(outcome.num_answers, "answer")
        signs = f", {counted(outcome.num_signs, 'sign')}" if options.timeline is not None else ""
        yield f"{out}: {answers} for {videos}{signs}"
    outputs = options.outputs
    for path in (outputs.subtitles, outputs.render, outputs.signs):
        if path is not None:
            yield f"{path}: {counted(outcome.num_signs, 'sign')}"
    if outputs.subtitles_dir is not None:
        num_files = outcome.num_answered * len(outputs.subtitle_suffixes)
        yield f"{outputs.subtitles_dir}: {counted(num_files, 'file')}, {counted(outcome.num_signs, 'sign')}"
    yield from (f"note: {note}" for note in outcome.notes[:_SHOWN_NOTES])
    if (more := len(outcome.notes) - _SHOWN_NOTES) > 0:
        yield f"note: {counted(more, 'other video')} without a sign"
