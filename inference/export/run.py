"""The command `export`: a file is written beside its place, compared with its checkpoint, and only then renamed.

In: a checkpoint, a path, a cache to compare on. Out: the file, FILE.report.json, and an ExportReport.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from signprep.cache_builder import as_cache
from signprep.cache_builder.reader import Cache
from signprep.inference.export.deployable import (
    X86_ENGINE,
    X86_FAST_ENGINE,
    ExportInputs,
    check_supported,
    int8_engines,
)
from signprep.inference.export.executorch import write_executorch
from signprep.inference.export.metadata import ExportMetadata
from signprep.inference.export.onnx import write_onnx
from signprep.inference.export.runtime import exported_format
from signprep.inference.export.torchscript import write_torchscript
from signprep.inference.export.verification import (
    CHECKPOINT,
    FILE,
    SPLITS,
    Comparison,
    ComparisonClips,
    Verification,
    check_close_enough,
    compare_with_checkpoint,
)
from signprep.inference.options import INT8_DROP, ExportOptions
from signprep.inference.recognizer import check_cache_compatible, load_checkpoint
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.options import require_type
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable, write_json
from signprep.pipeline.runtime.machine import describe_machine, versions_of
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import byte_size, counted
from signprep.training.config import EXECUTORCH, ONNX, TORCHSCRIPT, is_named_as, require_installed

__all__ = ["ExportOptions", "export_model"]

REPORT_VERSION = 1
_WRITERS: dict[str, Callable[[ExportInputs, Path], tuple[str, ...]]] = {
    TORCHSCRIPT: write_torchscript,
    ONNX: write_onnx,
    EXECUTORCH: write_executorch,
}
_PACKAGES = {
    TORCHSCRIPT: ("signprep", "torch"),
    ONNX: ("signprep", "torch", "onnx", "onnxscript", "onnxruntime"),
    EXECUTORCH: ("signprep", "torch", "executorch"),
}


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The file that was written, and how it compares with its checkpoint."""

    output: Path
    checkpoint: Path
    metadata: ExportMetadata
    num_bytes: int
    cache: str | None
    """None where the inputs were synthetic."""
    split: str | None
    num_in_split: int
    num_clips: int
    """Clips that were compared."""
    num_calibration_clips: int
    verification: Verification
    max_drop: float
    machine: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...]
    """Sentences that a user should read."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; docs/export.md explains each key."""
        return {
            "report_version": REPORT_VERSION,
            "file": str(self.output),
            "num_bytes": self.num_bytes,
            "checkpoint": str(self.checkpoint),
            "cache": self.cache,
            "split": self.split,
            "clips_in_split": self.num_in_split,
            "clips": self.num_clips,
            "drawn_clips": self.cache is None,
            "calibration_clips": self.num_calibration_clips,
            "checkpoint_accuracy": self.verification.checkpoint_accuracy,
            "compared": [self._compared(found) for found in self.verification.comparisons],
            "latency_ms": {str(threads): row for threads, row in self.verification.latencies.items()},
            "max_drop": self.max_drop,
            "machine": self.machine,
            "versions": self.versions,
            "notes": list(self.notes),
            "signprep": self.metadata.to_dict(),
        }

    def _compared(self, found: Comparison) -> dict[str, Any]:
        dropped = None
        if self.verification.checkpoint_accuracy is not None and found.accuracy is not None:
            dropped = self.verification.checkpoint_accuracy - found.accuracy
        return {
            "engine": found.engine,
            "largest_difference": found.largest_difference,
            "mean_difference": found.mean_difference,
            "agreeing": found.num_agreeing,
            "top_1_agreement": found.num_agreeing / self.num_clips,
            "accuracy": found.accuracy,
            "accuracy_drop": dropped,
        }

    def __str__(self) -> str:
        """Return the table."""
        document = self.metadata.to_dict()
        shape = ", ".join("any" if size is None else str(size) for size in document["input"]["shape"])
        title = (
            f"{self.output}: {byte_size(self.num_bytes)}, {document['format']} in {document['precision']}, of "
            f"{document['model_spec']['name']}\ninput: {document['input']['dtype']} [{shape}]; output: logits "
            f"[{shape.split(', ')[0]}, {len(document['glosses'])}]"
        )
        of = "drawn clips" if self.cache is None else f"of {self.num_in_split:,} {self.split} clips"
        heading = ("", CHECKPOINT, *(found.engine or FILE for found in self.verification.comparisons))
        rows = [
            heading,
            ("largest difference of a probability", "", *self._cells("{0.largest_difference:.1e}")),
            ("mean difference", "", *self._cells("{0.mean_difference:.1e}")),
            (f"same first answer, {self.num_clips:,} {of}", "", *self._cells("{0.num_agreeing:,}")),
        ]
        if self.verification.checkpoint_accuracy is not None:
            rows.append(
                ("accuracy on them", f"{self.verification.checkpoint_accuracy:.3f}", *self._cells("{0.accuracy:.3f}"))
            )
        for threads, row in self.verification.latencies.items():
            name = f"ms a clip, {threads} thread{'s' if threads > 1 else ''}"
            rows.append((name, *(f"{row[column]:.1f}" for column in heading[1:])))
        machine, load = self.machine, self.machine["load_average"]
        busy = "" if load is None else f", load {load:.1f}"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n".join(
            [title, *in_columns(rows), f"on {machine['processor']}, {machine['cores']} cores{busy}; {versions}"]
        )

    def _cells(self, pattern: str) -> list[str]:
        return [pattern.format(found) for found in self.verification.comparisons]


def export_model(
    checkpoint: StrPath, output: StrPath, options: ExportOptions, cache: Cache | StrPath | None = None
) -> ExportReport:
    """Write a checkpoint's model as one file.

    Args:
        checkpoint: a file of `signprep train`.
        output: the file, replaced if it is there; its folder must be there.
        options: what to write.
        cache: the one that the model was trained on, or one like it, open or as its path or URL. Its training split
            calibrates int8; on its validation split the file is compared with the checkpoint. Without one, fp32 is
            compared on synthetic inputs.

    Raises:
        CheckpointError: the checkpoint does not open, its model has no such form, or the cache is of other clips.
        SignprepError: the file cannot be written, or its predictions are not as good as they must be; no file is left.
    """
    require_type("options", options, ExportOptions)
    checkpoint = as_path(checkpoint)
    output = as_path(output)
    cache = None if cache is None else as_cache(cache)
    _check_request(checkpoint, output, options, cache)
    recognizer = load_checkpoint(checkpoint, own_model=options.own_model)
    check_supported(checkpoint, recognizer.metadata.model_spec, options)
    if cache is not None:
        check_cache_compatible(cache, recognizer.metadata.clip_spec)
    engines = int8_engines() if options.int8 and options.format == TORCHSCRIPT else (None,)
    metadata = ExportMetadata(
        model=recognizer.metadata,
        format=options.format,
        int8=options.int8,
        with_preprocessing=options.with_preprocessing,
        any_batch=options.format == ONNX,
        int8_engine=engines[0],
    )
    clips = ComparisonClips(cache, recognizer, metadata, options.max_clips)
    max_drop = options.bound(len(clips))
    inputs = ExportInputs(recognizer=recognizer, metadata=metadata, cache=cache)

    check = partial(check_close_enough, output, int8=options.int8, max_drop=max_drop)
    with atomic_write(output) as beside:
        notes = _WRITERS[options.format](inputs, beside)
        try:
            verification = compare_with_checkpoint(beside, recognizer, clips, metadata, engines=engines, check=check)
        except CheckpointError as error:
            reason = str(error).replace(str(beside), "once it is written it")
            raise SignprepError(f"{output}: {reason}; no file is left") from error
        report = ExportReport(
            output=output,
            checkpoint=checkpoint,
            metadata=metadata,
            num_bytes=beside.stat().st_size,
            cache=None if cache is None else str(cache),
            split=clips.split,
            num_in_split=clips.num_in_split,
            num_clips=len(clips),
            num_calibration_clips=len(inputs.calibration),
            verification=verification,
            max_drop=max_drop,
            machine=describe_machine(),
            versions=versions_of(_PACKAGES[options.format]),
            notes=(*notes, *_notes(clips, engines, max_drop, output, options.format)),
        )
        write_json(report_path(output), report.to_dict())
    return report


def _check_request(checkpoint: Path, output: Path, options: ExportOptions, cache: Cache | None) -> None:
    """Raise SignprepError for what can be told before the checkpoint is read."""
    if output.exists() and not (output.is_file() or output.is_dir()):
        raise SignprepError(f"{output}: is no place for a file that has to be read again")
    if output.exists() and checkpoint.exists() and output.samefile(checkpoint):
        raise SignprepError(f"{output}: is the checkpoint itself; choose another --out")
    for path in (output, report_path(output)):
        require_writable(path)
    if options.int8 and options.format == EXECUTORCH:
        raise SignprepError(
            "ExecuTorch has no int8 form: XNNPACK of ExecuTorch 1.5 refuses the quantized depthwise convolutions when "
            "the file is loaded; leave out --int8, or give --format onnx"
        )
    if options.int8 and cache is None:
        raise SignprepError("int8 needs real clips to calibrate with: give --cache")
    require_installed(options.format)
    if exported_format(checkpoint) is not None:
        raise CheckpointError(f"{checkpoint}: is an exported file already; give the checkpoint that it was made from")


def _notes(
    clips: ComparisonClips, engines: tuple[str | None, ...], max_drop: float, output: Path, format_: str
) -> list[str]:
    """Return what a user should know of how the file was compared, and is to be run."""
    found = []
    if clips.split is None:
        found.append("without --cache the file was tried on drawn clips only, and no accuracy is known")
    elif clips.split != SPLITS[0]:
        found.append(f"the cache has no clips in its split {SPLITS[0]}: the file was tried on {clips.split}")
    if max_drop == 1 / len(clips) > INT8_DROP:
        found.append(
            f"{counted(len(clips), 'clip')} cannot tell a drop of {INT8_DROP:g}: one may be answered otherwise"
        )
    if clips.num_unknown:
        found.append(f"{counted(clips.num_unknown, 'clip')} of glosses that the model does not know were left out")
    if not is_named_as(output, format_):
        found.append(f"its name does not end as {format_} does: `signprep infer` wants it to")
    if engines[0] == X86_ENGINE and X86_FAST_ENGINE in engines:  # a fresh process takes the slower one by itself
        found.append(
            f"on desktops with x86 CPUs set torch.backends.quantized.engine = '{X86_FAST_ENGINE}' before loading it, "
            "as `signprep infer` does: several times faster"
        )
    return found


def report_path(output: StrPath) -> Path:
    """Return where the report of a file lies.

    >>> report_path(Path("out/sign.onnx")).name
    'sign.onnx.report.json'
    """
    output = as_path(output)
    return output.with_name(f"{output.name}.report.json")


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of equal columns, the first one to the left.

    >>> in_columns([("", "file"), ("ms", "1")])
    ['      file', 'ms       1']
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:{'>' if place else '<'}{widths[place]}}" for place, cell in enumerate(row)) for row in rows
    ]
