"""The command `evaluate`."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.location import Location
from signprep.cache_builder.remote.stream_options import LOCATION, stream_options
from signprep.pipeline.cli.given_options import note_given, refuse_given
from signprep.pipeline.cli.source_options import source_options
from signprep.pipeline.runtime.machine import require_extra
from signprep.pipeline.runtime.text import counted, json_text

if TYPE_CHECKING:
    from signprep.cache_builder.reader import Cache
    from signprep.inference.recognizer import Recognizer
    from signprep.pipeline.datasets.annotations import Annotations

_FILE = click.Path(path_type=Path, dir_okay=False)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_SHOWN_LINES = 5


@click.command("evaluate", short_help="Say how good a model is, and how far to believe it.")
@click.option(
    "--checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    help="best.ckpt of a training run, or an exported file.",
)
@click.option("--cache", "cache_path", type=LOCATION, help="NAME.zarr, or its URL; or give --data-root.")
@stream_options
@click.option("--split", default="val", show_default=True, help="Of the cache: train, val or test.")
@click.option("--timeline", is_flag=True, help="With --data-root: signs in whole videos, held against the labels.")
@click.option(
    "--clip-duration", default=0.8, show_default=True, type=_POSITIVE, help="Of the timeline's windows, in seconds."
)
@click.option("--stride", default=0.1, show_default=True, type=_POSITIVE, help="Of the timeline's windows, in seconds.")
@click.option("--idle-gloss", help="Of the timeline: the class that means that no sign is made.")
@click.option("--idle-weight", type=_POSITIVE, help="Factor on its scores: the larger, the fewer signs. [default: 3]")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="Of the timeline: less is no sign. [default: 0.4]")
@click.option(
    "--min-duration-seconds", type=click.FloatRange(min=0), help="Of the timeline: shorter is no sign. [default: 0.3]"
)
@click.option("--json", "as_json", is_flag=True, help="All figures as JSON on stdout, in place of tables.")
@click.option("--output-path", type=_FILE, help="File for the JSON.")
@click.option("--html", "html_path", type=_FILE, help="File for a report with pictures, which needs no other file.")
@click.option("--calibrate", is_flag=True, help="Fit a temperature on the split and write it into the checkpoint.")
@click.option(
    "--top-k", default=5, show_default=True, type=click.IntRange(min=2), help="An answer is right among so many."
)
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1), help="Clips at a time.")
@click.option("--num-workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads that read.")
@click.option("--model-name", metavar="package.module:factory", help="For the checkpoint of a model of your own.")
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if there is one."
)
@source_options
def evaluate(
    checkpoint: Path,
    cache_path: Location | None,
    stream: StreamOptions,
    data_root: Path | None,
    source: dict[str, Any],
    split: str,
    timeline: bool,
    clip_duration: float,
    stride: float,
    idle_gloss: str | None,
    idle_weight: float | None,
    min_confidence: float | None,
    min_duration_seconds: float | None,
    as_json: bool,
    output_path: Path | None,
    html_path: Path | None,
    calibrate: bool,
    top_k: int,
    batch_size: int,
    num_workers: int,
    model_name: str | None,
    device: str,
) -> None:
    """Say how good a model is, by signer, view and gloss, and how far to believe it.

    It is asked about a split of a cache; or, with --data-root and the options that choose segments, about all labelled
    segments, those that it was trained on too, or with --timeline about the signs in whole videos.

    \b
    Examples:
      signprep evaluate --checkpoint best.ckpt --cache NAME.zarr
      signprep evaluate --checkpoint best.ckpt --cache NAME.zarr --html report.html --output-path report.json
      signprep evaluate --checkpoint best.ckpt --cache NAME.zarr --calibrate
      signprep evaluate --checkpoint best.ckpt --data-root DATA --signer REAL17 --view F
      signprep evaluate --checkpoint best.ckpt --data-root DATA --kind SEN --timeline --idle-gloss '(쉼)'
    """
    if (cache_path is None) == (data_root is None):
        raise click.UsageError("give --cache or --data-root")
    signs = {
        "idle_gloss": idle_gloss,
        "idle_weight": idle_weight,
        "min_confidence": min_confidence,
        "min_duration_seconds": min_duration_seconds,
    }
    if timeline and (data_root is None or html_path is not None or calibrate):
        raise click.UsageError("--timeline goes with --data-root, and not with --html or --calibrate")
    if not timeline:
        refuse_given(["clip_duration", "stride", *signs], "--timeline")
    if cache_path is None:
        refuse_given(["split"], "--cache")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from rich.console import Console

    from signprep.cache_builder import open_cache
    from signprep.inference.evaluation.report_html import write_html
    from signprep.inference.evaluation.report_text import print_evaluation
    from signprep.inference.evaluation.run import SPLIT, evaluate_checkpoint, require_calibrated
    from signprep.inference.open_model import open_model
    from signprep.inference.options import EvaluationOptions
    from signprep.pipeline.runtime.atomic_files import require_writable, write_json

    for path in (output_path, html_path, checkpoint if calibrate else None):
        if path is not None:
            require_writable(path)
    annotations = _annotations(data_root, source) if data_root is not None else None
    if timeline:
        assert annotations is not None
        window = {"clip_duration": clip_duration, "stride": stride}
        asked = {"batch_size": batch_size, "num_workers": num_workers}
        given = {name: value for name, value in signs.items() if value is not None}
        document = _timelines(checkpoint, annotations, window, given, device, model_name, asked)
        text = json_text(document, allow_nan=False)
        if output_path is not None:
            write_json(output_path, document)
        click.echo(text if as_json else _timeline_lines(document["timeline"]))
        return
    options = EvaluationOptions(
        split=split if annotations is None else SPLIT,
        top_k=top_k,
        calibrate=calibrate,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        own_model=model_name,
    )
    recognizer = open_model(checkpoint, device, own_model=model_name)
    with ExitStack() as stack:
        if annotations is None:
            assert cache_path is not None
            cache = open_cache(cache_path, stream=stream)
        else:
            cache = _temporary_cache(stack, recognizer, annotations)
        document = evaluate_checkpoint(recognizer, checkpoint, cache, options)
        if data_root is not None:
            document["cache"], document["data_root"] = None, str(data_root)
        text = json_text(document, allow_nan=False)
        if output_path is not None:
            write_json(output_path, document)
        if html_path is not None:
            write_html(document, cache, html_path)
    if document["figures"]["top_k"] is None:
        note_given(["top_k"], f"more than {top_k} classes; the model has {document['classes']}")
    if as_json:
        click.echo(text)
    else:
        print_evaluation(document, Console())
    if calibrate:
        require_calibrated(document)


def _annotations(data_root: Path, source: dict[str, Any]) -> "Annotations":
    from signprep.inference.evaluation.run import SPLIT
    from signprep.pipeline.datasets.annotations import DatasetOptions
    from signprep.pipeline.datasets.read import read_split_roots

    try:
        options = DatasetOptions(**source)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    annotations = read_split_roots({SPLIT: data_root}, options)
    if annotations.problems:
        click.echo(f"{counted(len(annotations.problems), 'problem')} in the data root:", err=True)
    for problem in annotations.problems:
        click.echo(f"  {problem.message}", err=True)
    return annotations


def _temporary_cache(stack: ExitStack, recognizer: "Recognizer", annotations: "Annotations") -> "Cache":
    """Build a cache that lives as long as the stack."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from signprep.cache_builder.format.index import FAILED
    from signprep.inference.evaluation.run import SPLIT, cache_for_evaluation

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signprep-")))
    cache = cache_for_evaluation(annotations, recognizer.metadata.clip_spec, folder)
    failed = cache.index.filter(pc.equal(cache.index["status"].cast(pa.string()), FAILED))
    for reason in dict.fromkeys(failed["error"].to_pylist()):
        click.echo(f"not evaluated: {reason.removeprefix(f'{SPLIT}/')}", err=True)  # as the data root names it
    return cache


def _timelines(
    checkpoint: Path,
    annotations: "Annotations",
    window: dict[str, float],
    signs: dict[str, Any],
    device: str,
    model_name: str | None,
    asked: dict[str, Any],
) -> dict[str, Any]:
    from signprep.inference.evaluation.document import EVALUATION_VERSION
    from signprep.inference.evaluation.run import evaluate_timelines
    from signprep.inference.open_model import open_model
    from signprep.inference.options import InferOptions, TimelineOptions, WindowOptions

    recognizer = open_model(checkpoint, device, own_model=model_name)
    windows = WindowOptions(clip_duration=window["clip_duration"], stride=window["stride"])
    options = InferOptions(windows=windows, timeline=TimelineOptions(**signs), **asked)
    found = evaluate_timelines(recognizer, annotations, options)
    return {
        "evaluation_version": EVALUATION_VERSION,
        "checkpoint": str(checkpoint),
        "windows": window,
        "timeline": found,
    }


def _timeline_lines(found: dict[str, Any]) -> str:
    lines = [
        f"{found['videos']} videos, {found['labelled_segments']} labelled signs, {found['predicted_segments']} found",
        f"segments at IoU {found['iou']}: F1 {found['segment_f1']:.3f} (precision {found['segment_precision']:.3f}, "
        f"recall {found['segment_recall']:.3f})",
        f"word error rate {found['word_error_rate']:.3f} ({found['substitutions']} substitutions, "
        f"{found['insertions']} insertions, {found['deletions']} deletions)",
    ]
    if found["left_out_segments"]:
        where = "where videos could not be read: not counted"
        lines.insert(1, f"{counted(found['left_out_segments'], 'labelled sign')} {where}")
    lines += found["without_signs"][:_SHOWN_LINES]
    if (more := len(found["without_signs"]) - _SHOWN_LINES) > 0:
        lines.append(f"{counted(more, 'other video')} without a sign")
    return "\n".join([*lines, *(f"not answered: {reason}" for reason in found["unanswered"])])
