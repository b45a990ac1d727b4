"""The command `infer`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.location import Location
from signprep.cache_builder.remote.stream_options import LOCATION, stream_options
from signprep.pipeline.cli.given_options import note_given, refuse_given
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.machine import require_extra
from signprep.pipeline.runtime.text import counted

if TYPE_CHECKING:
    from signprep.inference.options import TimelineOptions
    from signprep.inference.videos.run import Outcome

PATH = click.Path(path_type=Path)
SECONDS = click.FloatRange(min=0)
PART = click.FloatRange(0, 1)


@click.command("infer", short_help="Say which signs a video shows.")
@click.option("--checkpoint", required=True, type=PATH, help="best.ckpt of a training run, or an exported file.")
@click.option("--video-path", "named", multiple=True, help="File, folder, zip or pattern; repeatable.")
@click.option("--cache", "cache_path", type=LOCATION, help="In place of videos: the clips of a cache, or of its URL,")
@stream_options
@click.option("--split", help="of this split only.")
@click.option("--start-time", default=0.0, show_default=True, type=SECONDS, help="In seconds.")
@click.option(
    "--clip-duration",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of video that an answer is about.",
)
@click.option("--multiple-clips", is_flag=True, help="Answer for windows over the whole video; gives a list.")
@click.option(
    "--stride",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds from one window's start to the next one's.",
)
@click.option("--pad", is_flag=True, help="Hold the last frame of a video that is shorter than a window.")
@click.option("--return-probabilities", is_flag=True, help="Add the probability of every gloss.")
@click.option("--top-k", default=1, show_default=True, type=click.IntRange(min=1), help="Glosses to give.")
@click.option("--timeline", "with_timeline", is_flag=True, help="Also the signs that are made one after the other.")
@click.option("--switch-cost", type=SECONDS, help="Of the timeline: what a change has to gain. [default: 0.25]")
@click.option("--smoothing-seconds", type=SECONDS, help="Of the timeline: windows so near share scores. [default: 0]")
@click.option("--min-confidence", type=PART, help="Of the timeline: less is no sign. [default: 0.4]")
@click.option("--min-duration-seconds", type=SECONDS, help="Of the timeline: shorter is no sign. [default: 0.3]")
@click.option("--merge-gap-seconds", type=SECONDS, help="Of the timeline: gaps within a sign. [default: 0.3]")
@click.option("--idle-gloss", help="Of the timeline: the class that means that no sign is made.")
@click.option(
    "--idle-weight",
    type=click.FloatRange(0, min_open=True),
    help="Factor on its scores: the larger, the fewer signs. [default: 3]",
)
@click.option("--render", type=PATH, help="Write the video with its timeline, OUT.mp4; one video only.")
@click.option("--font", type=PATH, help="For --render: a font with Hangul, where none is found.")
@click.option("--subtitles", type=PATH, help="Write the timeline as .srt, .vtt or .eaf (ELAN); one video only.")
@click.option(
    "--output-path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=".json, .jsonl (a line a video) or .csv (a row a clip); JSON on stdout without it.",
)
@click.option(
    "--batch-size",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Windows that go through the model together.",
)
@click.option(
    "--num-workers", default=2, show_default=True, type=click.IntRange(min=1), help="Videos decoded at the same time."
)
@click.option("--model-name", metavar="package.module:factory", help="For the checkpoint of a model of your own.")
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one."
)
@click.option("--precision", default="32", show_default=True, type=click.Choice(["32", "16-mixed", "bf16-mixed"]))
def infer(
    checkpoint: Path,
    named: tuple[str, ...],
    cache_path: Location | None,
    stream: StreamOptions,
    split: str | None,
    with_timeline: bool,
    render: Path | None,
    font: Path | None,
    subtitles: Path | None,
    output_path: Path | None,
    model_name: str | None,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Say which sign a video shows, or which signs one after the other.

    One video gives one JSON object, with --multiple-clips a list of them; several videos give a list with one such
    entry each. With --timeline (or what needs it) the entry has clips and timeline.

    \b
    Examples:
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --clip-duration 2.0
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --start-time 1.6 --clip-duration 1.1 \\
          --return-probabilities --output-path result.json
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --multiple-clips --stride 1.0
      signprep infer --checkpoint best.ckpt --video-path videos/ --video-path more.zip --output-path all.jsonl
      signprep infer --checkpoint best.ckpt --video-path talk.mp4 --timeline --clip-duration 1 --stride 0.25 \\
          --subtitles talk.srt --render talk_signs.mp4
      signprep infer --checkpoint best.ckpt --cache aihub.zarr --split val --output-path val.csv
    """
    if bool(named) == (cache_path is not None):
        raise click.UsageError("give --video-path or --cache")
    if split is not None and cache_path is None:
        raise click.UsageError("--split goes with --cache")
    timeline = _timeline(options, wanted=with_timeline or render is not None or subtitles is not None)
    if timeline is not None and cache_path is not None:
        raise click.UsageError("a timeline is of videos, not of --cache")
    if cache_path is not None:
        refuse_given(["start_time", "clip_duration", "multiple_clips", "stride", "pad"], "--video-path")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.open_model import open_model
    from signprep.inference.options import InferOptions, Outputs
    from signprep.inference.videos.results import require_known_suffix, write_results
    from signprep.pipeline.runtime.atomic_files import require_writable

    for path in (output_path, render, subtitles):
        if path is not None:
            require_writable(path)
    if output_path is not None:
        require_known_suffix(output_path)
    if subtitles is not None:
        from signprep.inference.timeline.subtitles import require_subtitle_ending

        require_subtitle_ending(subtitles)
    recognizer = open_model(checkpoint, device, own_model=model_name, precision=precision)
    if cache_path is not None:
        from signprep.cache_builder import open_cache
        from signprep.inference.videos.from_cache import predict_cache

        cache = open_cache(cache_path, stream=stream)
        asked = InferOptions(
            top_k=options["top_k"],
            with_probabilities=options["return_probabilities"],
            batch_size=options["batch_size"],
            num_workers=options["num_workers"],
        )
        found = predict_cache(recognizer, cache, split, asked)
        write_results((prediction.to_dict() for prediction in found), output_path, single=False)
        if output_path is not None:
            click.echo(f"{output_path}: {counted(len(cache.positions(split)), 'answer')}", err=True)
        return
    from signprep.inference.options import InferOptions, WindowOptions
    from signprep.inference.videos.find import find_videos
    from signprep.inference.videos.run import Outcome, video_documents

    if not (options["multiple_clips"] or timeline is not None):
        note_given(["stride"], "--multiple-clips or --timeline")
    if with_timeline and output_path is not None and output_path.suffix.lower() == ".csv" and not (subtitles or render):
        raise click.UsageError(
            "a table has no place for a timeline; give --output-path .json or .jsonl, or --subtitles"
        )
    videos = find_videos(named, lambda line: click.echo(line, err=True))
    outputs = Outputs(subtitles=subtitles, render=render, font=font)
    if render is not None:
        from signprep.inference.timeline.render import require_render_path

        require_render_path(render, Path(videos[0].path))
    if outputs.wanted and len(videos) > 1:
        raise click.UsageError(f"--render and --subtitles are for one video; {len(videos)} were found")
    multiple = options["multiple_clips"] or timeline is not None
    asked = InferOptions(
        windows=WindowOptions(
            clip_duration=options["clip_duration"],
            start_seconds=options["start_time"],
            stride=options["stride"] if multiple else None,
            pad=options["pad"],
        ),
        top_k=options["top_k"],
        with_probabilities=options["return_probabilities"],
        timeline=timeline,
        outputs=outputs,
        batch_size=options["batch_size"],
        num_workers=options["num_workers"],
    )
    outcome = Outcome()
    write_results(video_documents(recognizer, videos, asked, outcome), output_path, single=len(videos) == 1)
    for line in _told(outcome, output_path, subtitles, render, with_timeline=timeline is not None):
        click.echo(line, err=True)
    if outcome.problems:
        first, *others = outcome.problems
        more = f", and {counted(len(others), 'other problem')}" if others else ""
        raise SignprepError(f"{first}{more}; the result names them all")


def _told(
    outcome: "Outcome", output_path: Path | None, subtitles: Path | None, render: Path | None, *, with_timeline: bool
) -> Iterator[str]:
    """Yield the lines for stderr: what was written, and which timelines are empty."""
    if output_path is not None:
        videos, answers = counted(outcome.num_videos, "video"), counted(outcome.num_answers, "answer")
        signs = f", {counted(outcome.num_signs, 'sign')}" if with_timeline else ""
        yield f"{output_path}: {answers} for {videos}{signs}"
    for path in (subtitles, render):
        if path is not None:
            yield f"{path}: {counted(outcome.num_signs, 'sign')}"
    yield from (f"note: {note}" for note in outcome.notes[:_SHOWN_NOTES])
    if (more := len(outcome.notes) - _SHOWN_NOTES) > 0:
        yield f"note: {counted(more, 'other video')} without a sign"


_SHOWN_NOTES = 5
_TIMELINE = (
    "switch_cost", "smoothing_seconds", "min_confidence", "min_duration_seconds", "merge_gap_seconds", "idle_gloss",
    "idle_weight",
)  # fmt: skip


def _timeline(options: dict[str, Any], *, wanted: bool) -> "TimelineOptions | None":
    from signprep.inference.options import TimelineOptions

    given = {name: value for name in _TIMELINE if (value := options.pop(name)) is not None}
    if not wanted:
        if given:
            raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --timeline")
        return None
    try:
        return TimelineOptions(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
