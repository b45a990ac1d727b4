"""The command `export`: a file is written beside its place, compared with its checkpoint, and only then renamed.

In: a checkpoint, a path, a cache to compare on. Out: the file, FILE.report.json, and an ExportReport.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from signprep.cache_builder.reader import Cache
from signprep.inference.export.deployable import ExportInputs, check_supported, int8_engines, int8_notes
from signprep.inference.export.executorch import write_executorch
from signprep.inference.export.metadata import ExportMetadata
from signprep.inference.export.onnx import write_onnx
from signprep.inference.export.report import ExportReport, report_path
from signprep.inference.export.runtime import exported_format
from signprep.inference.export.torchscript import write_torchscript
from signprep.inference.export.verification import SPLITS, ComparisonClips, check_close_enough, compare_with_checkpoint
from signprep.inference.options import INT8_DROP, ExportOptions
from signprep.inference.recognizer import check_cache_compatible, load_checkpoint
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable, write_json
from signprep.pipeline.runtime.machine import describe_machine, versions_of
from signprep.pipeline.runtime.text import counted
from signprep.training.config import EXECUTORCH, ONNX, TORCHSCRIPT, require_installed

__all__ = ["ExportOptions", "export_model"]

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


def export_model(checkpoint: Path, output: Path, options: ExportOptions, cache: Cache | None = None) -> ExportReport:
    """Write a checkpoint's model as one file.

    Args:
        checkpoint: a file of `signprep train`.
        output: the file, replaced if it is there; its folder must be there.
        options: what to write.
        cache: the one that the model was trained on, or one like it. Its training split calibrates int8; on its
            validation split the file is compared with the checkpoint. Without one, fp32 is compared on synthetic
            inputs.

    Raises:
        CheckpointError: the checkpoint does not open, its model has no such form, or the cache is of other clips.
        SignprepError: the file cannot be written, or its predictions are not as good as they must be; no file is left.
    """
    _check_request(checkpoint, output, options, cache)
    recognizer = load_checkpoint(checkpoint, own_model=options.own_model)
    check_supported(checkpoint, recognizer.metadata.model_spec.name, options)
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
            notes=(*notes, *_notes(clips, engines, max_drop)),
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


def _notes(clips: ComparisonClips, engines: tuple[str | None, ...], max_drop: float) -> list[str]:
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
    return [*found, *int8_notes(engines)]
