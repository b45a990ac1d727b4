"""The command `evaluate`."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.options import CACHE_ARGUMENT, StreamOptions, location_of
from signprep.inference.cli.export import propose_export
from signprep.inference.options import (
    WEIGHTS_SUFFIX,
    EvaluationOptions,
    InferOptions,
    ModelOptions,
    TimelineOptions,
    WindowArguments,
)
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command, note_unused, reject_unused
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.options import Options, option, out_option
from signprep.pipeline.runtime.atomic_files import require_writable, write_json
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.text import counted, json_text

if TYPE_CHECKING:
    from signprep.cache_builder.reader import Cache
    from signprep.inference.recognizer import Recognizer
    from signprep.pipeline.datasets.read import Annotations

_SHOWN_LINES = 5


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """The clips or videos whose labels the predictions are compared with."""

    caches: tuple[str, ...] = option(
        (),
        "Evaluate on a split of this cache (folder or URL); several checkpoints take the caches of all their clips.",
        metavar="CACHE",
        is_path=True,
        **CACHE_ARGUMENT,
    )
    stream: StreamOptions
    roots: DataRootOptions
    source: DatasetOptions

    def __post_init__(self) -> None:
        if bool(self.caches) == bool(self.roots.by_split):
            raise ValueError("give CACHE or --data-root")

    def data_root(self, split: str) -> Path | None:
        """Return the data root that is evaluated, None for a cache. Raises UsageError if a split has none."""
        by_split = self.roots.by_split
        if not by_split:
            return None
        if "" in by_split:
            reject_unused(["split"], "CACHE, or with --train-data-root and --val-data-root")
            return by_split[""]
        if split not in by_split:
            raise click.UsageError(f"--split is {split}; it must be one of {', '.join(by_split)}")
        return by_split[split]


@dataclass(frozen=True, kw_only=True)
class EvaluationOutput(Options, group="Output"):
    """The forms in which the figures are told."""

    with_timeline: bool = option(
        False, "Compare the signs of whole videos with the labels of --data-root.", name="--timeline", group="Timeline"
    )
    as_json: bool = option(False, "Print all figures as JSON instead of tables.", name="--json")
    out: Path | None = out_option("Write all figures as JSON to this file.")
    html: Path | None = option(None, "Write a report with pictures, which needs no other file, to this file.")


@command("evaluate", "Say how good a model is, and how far to believe it.", config=True)
def evaluate(
    data: EvaluationData,
    model: ModelOptions,
    options: EvaluationOptions,
    output: EvaluationOutput,
    windows: WindowArguments,
    timeline: TimelineOptions,
) -> None:
    """Say how good a model is, by signer, view and gloss, and how far to believe it.

    It is asked about a split of a cache; or, with --data-root and the options that choose segments, about all labelled
    segments, those that it was trained on too, or with --timeline about the signs in whole videos.

    \b
    Examples:
      signprep evaluate NAME.zarr --checkpoint best.ckpt
      signprep evaluate NAME.zarr --checkpoint best.ckpt --html report.html --out report.json
      signprep evaluate NAME.zarr --checkpoint best.ckpt --calibrate
      signprep evaluate PIXELS.zarr LANDMARKS.zarr --checkpoint pixels.ckpt --checkpoint landmarks.ckpt --weights 1,2
      signprep evaluate PIXELS.zarr LANDMARKS.zarr --checkpoint pixels.ckpt --checkpoint landmarks.ckpt \\
          --fit-weights together.json
      signprep evaluate --checkpoint best.ckpt --data-root DATA --signer REAL17 --view F
      signprep evaluate --checkpoint best.ckpt --data-root DATA --kind SEN --timeline --idle-gloss '(쉼)'
    """
    if not output.with_timeline:
        reject_unused(WindowArguments, "--timeline")
        reject_unused(TimelineOptions, "--timeline")
    elif data.caches or output.html is not None or options.calibrate or options.fit_weights:
        raise click.UsageError("--timeline goes with --data-root, and not with --html, --calibrate or --fit-weights")
    if data.caches:
        reject_unused(DatasetOptions, "--data-root: of a cache, a whole split is evaluated")
    else:
        reject_unused(StreamOptions, "CACHE")
    _reject_what_does_not_fit(model, options)
    data_root = data.data_root(options.split)
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.open_model import open_models

    for path in (output.out, output.html, options.fit_weights, model.checkpoints[0] if options.calibrate else None):
        if path is not None:
            require_writable(path)
    annotations = _annotations(data_root, data.source) if data_root is not None else None
    recognizer = open_models(
        model.checkpoints, model.device, own_model=model.own_model, weights=model.weights, views=model.clip_views
    )
    if (note := recognizer.calibration_note()) and not options.calibrate:
        echo(f"note: {note}", err=True)
    if annotations is None or not output.with_timeline:
        _evaluate_clips(recognizer, model.checkpoints, data, annotations, options, output)
        return
    from signprep.inference.evaluation.document import EVALUATION_VERSION
    from signprep.inference.evaluation.run import evaluate_timelines

    if all(spec.content != "landmarks" for spec in recognizer.clip_specs):
        note_unused(["landmark_tracking"], "a checkpoint of landmarks")
    asked = InferOptions(
        windows=windows.windows(several=True, timeline=True),
        timeline=timeline,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    document = {
        "evaluation_version": EVALUATION_VERSION,
        "checkpoint": model.shown,
        "windows": {"clip_duration": asked.windows.clip_duration, "stride": asked.windows.stride},
        "timeline": (found := evaluate_timelines(recognizer, annotations, asked)),
    }
    if output.out is not None:
        write_json(output.out, document)
    if output.as_json:
        echo_data(json_text(document))
    else:
        echo(_timeline_lines(found))
        next_step("infer", "--help")


def _reject_what_does_not_fit(model: ModelOptions, options: EvaluationOptions) -> None:
    """Raise UsageError for a fit that does not go with the checkpoints that are given."""
    several = len(model.checkpoints) > 1 or model.checkpoints[0].suffix.lower() == WEIGHTS_SUFFIX
    if options.calibrate and several:
        raise click.UsageError("--calibrate goes with one --checkpoint")
    if options.fit_weights is None:
        return
    if not several or model.weights:
        raise click.UsageError("--fit-weights goes with several --checkpoint, and not with --weights")
    if options.fit_weights.suffix.lower() != WEIGHTS_SUFFIX:
        raise click.UsageError(f"--fit-weights is {options.fit_weights}; expected a file that ends in {WEIGHTS_SUFFIX}")


def _evaluate_clips(
    recognizer: "Recognizer",
    checkpoints: Sequence[Path],
    data: EvaluationData,
    annotations: "Annotations | None",
    options: EvaluationOptions,
    output: EvaluationOutput,
) -> None:
    from signprep.inference.combination import CombinedRecognizer
    from signprep.inference.evaluation.report import print_evaluation, write_html
    from signprep.inference.evaluation.run import SPLIT, evaluate_checkpoint, require_calibrated
    from signprep.inference.evaluation.together import evaluate_together
    from signprep.pipeline.runtime.terminal import Terminal

    data_root = data.data_root(options.split)
    if annotations is not None:
        options = replace(options, split=SPLIT)
    with _clips(recognizer, data, annotations) as caches:
        if isinstance(recognizer, CombinedRecognizer) or len(caches) > 1:
            together = recognizer if isinstance(recognizer, CombinedRecognizer) else CombinedRecognizer([recognizer])
            document = evaluate_together(together, checkpoints, caches, options)
        else:
            document = evaluate_checkpoint(recognizer, checkpoints[0], caches[0], options)
        if data_root is not None:
            document["cache"], document["data_root"] = None, str(data_root)
        if output.out is not None:
            write_json(output.out, document)
        if output.html is not None:
            write_html(document, caches[0], output.html)
    if document["figures"]["top_k"] is None:
        note_unused(["top_k"], f"more than {options.top_k} classes; the model has {document['classes']}")
    if output.as_json:
        echo_data(json_text(document))
    else:
        print_evaluation(document, Terminal())
    if options.calibrate:
        require_calibrated(document)
    if output.as_json:
        return
    if output.html is None:
        html = free_path(Path("evaluation.html"))
        next_step("evaluate", *as_typed(without=["out", "calibrate", "fit_weights"]), "--html", html)
    else:
        propose_export(checkpoints, recognizer, data.caches)


def _annotations(data_root: Path, source: DatasetOptions) -> "Annotations":
    """Return all segments of a data root in the split that is evaluated, with its problems on stderr."""
    from signprep.inference.evaluation.run import SPLIT
    from signprep.pipeline.datasets.read import read_split_roots

    annotations = read_split_roots({SPLIT: data_root}, source)
    for note in annotations.notes:
        echo(note, err=True)
    if annotations.problems:
        echo(f"{counted(len(annotations.problems), 'problem')} in the data root:", err=True)
    for problem in annotations.problems:
        echo(f"  {problem.message}", err=True)
    return annotations


@contextmanager
def _clips(
    recognizer: "Recognizer", data: EvaluationData, annotations: "Annotations | None"
) -> "Iterator[list[Cache]]":
    """Give the caches, or those of the annotated segments for each kind of clips, which are gone afterwards."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from signprep.cache_builder import open_cache
    from signprep.cache_builder.format.index import FAILED
    from signprep.inference.evaluation.run import SPLIT, cache_for_evaluation

    if annotations is None:
        yield [open_cache(location_of(text), stream=data.stream) for text in data.caches]
        return
    with tempfile.TemporaryDirectory(prefix="signprep-") as folder:
        caches = []
        for number, spec in enumerate(recognizer.clip_specs):
            cache = cache_for_evaluation(annotations, spec, Path(folder) / str(number))
            failed = cache.index.filter(pc.equal(cache.index["status"].cast(pa.string()), FAILED))
            for reason in dict.fromkeys(failed["error"].to_pylist()):
                echo(f"not evaluated: {reason.removeprefix(f'{SPLIT}/')}", err=True)  # as the data root names it
            caches.append(cache)
        yield caches


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
