"""An export from beginning to end: written beside its place, opened again, proved, and only then renamed.

In: a checkpoint, a path, a cache for the proof. Out: the file, FILE.report.json, and an ExportReport.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from signprep.cache_builder.reader import Cache
from signprep.inference.export.clips import SPLITS, Clips
from signprep.inference.export.deployable import X86_ENGINE, X86_FAST_ENGINE, int8_engines
from signprep.inference.export.executorch import write_executorch
from signprep.inference.export.metadata import ExportCard
from signprep.inference.export.onnx import write_onnx
from signprep.inference.export.report import ExportReport, report_path
from signprep.inference.export.routes import require_int8_route, require_route
from signprep.inference.export.runtime import exported_format
from signprep.inference.export.source import Source, calibration_positions
from signprep.inference.export.torchscript import write_torchscript
from signprep.inference.export.verification import Comparison, prove, require_kept
from signprep.inference.options import INT8_DROP, ExportOptions
from signprep.inference.recognizer import load_checkpoint
from signprep.inference.same_clips import require_same_clips
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable, write_json
from signprep.pipeline.runtime.machine import describe_machine, versions_of
from signprep.pipeline.runtime.text import counted
from signprep.training.model.export_format import EXECUTORCH, ONNX, TORCHSCRIPT, require_installed

WRITERS: dict[str, Callable[[Source, Path], tuple[str, ...]]] = {
    TORCHSCRIPT: write_torchscript,
    ONNX: write_onnx,
    EXECUTORCH: write_executorch,
}
PACKAGES = {
    TORCHSCRIPT: ("signprep", "torch"),
    ONNX: ("signprep", "torch", "onnx", "onnxscript", "onnxruntime"),
    EXECUTORCH: ("signprep", "torch", "executorch"),
}
FASTER_INT8 = (
    f"on desktops with x86 CPUs set torch.backends.quantized.engine = '{X86_FAST_ENGINE}' before loading it, as "
    "`signprep infer` does: several times faster"
)


def export_model(checkpoint: Path, output: Path, options: ExportOptions, cache: Cache | None = None) -> ExportReport:
    """Write a checkpoint's model as one file.

    Args:
        checkpoint: of `signprep train`.
        output: the file, replaced if it is there; its folder must be there.
        options: what to write.
        cache: the one that the model was trained on, or one like it. Its training split calibrates int8; on its
            validation split the file is held against the checkpoint. Without one, fp32 is tried on drawn clips.

    Raises:
        CheckpointError: the checkpoint does not open, its model has no such form, or the cache is of other clips.
        SignprepError: the file cannot be written, or does not answer as well as it must; there is no file then.
    """
    _require_possible(checkpoint, output, options, cache)
    recognizer = load_checkpoint(checkpoint, own_model=options.own_model)
    require_route(checkpoint, recognizer.card.model_spec.name, options.format, int8=options.int8)
    if cache is not None:
        require_same_clips(cache, recognizer.card.clip_spec)
    engines = int8_engines() if options.int8 and options.format == TORCHSCRIPT else (None,)
    export_card = ExportCard(
        card=recognizer.card,
        format=options.format,
        int8=options.int8,
        with_preprocessing=options.with_preprocessing,
        any_batch=options.format == ONNX,
        int8_engine=engines[0],
    )
    clips = Clips(cache, recognizer, export_card, options.max_clips)
    bound = options.bound(len(clips))
    calibration = calibration_positions(cache) if options.int8 and cache is not None else np.empty(0, np.int64)
    source = Source(recognizer=recognizer, export_card=export_card, cache=cache, calibration=calibration)

    def require(found: Comparison, checkpoint_accuracy: float | None) -> None:
        require_kept(output, found, checkpoint_accuracy, int8=options.int8, max_drop=bound)

    with atomic_write(output) as beside:
        notes = WRITERS[options.format](source, beside)
        try:
            proof = prove(beside, recognizer, clips, export_card, engines=engines, require=require)
        except CheckpointError as error:
            reason = str(error).replace(str(beside), "once it is written it")
            raise SignprepError(f"{output}: {reason}; no file is left") from error
        report = ExportReport(
            output=output,
            checkpoint=checkpoint,
            export_card=export_card,
            num_bytes=beside.stat().st_size,
            cache=None if cache is None else str(cache),
            split=clips.split,
            num_in_split=clips.num_in_split,
            num_clips=len(clips),
            num_calibration_clips=len(calibration),
            proof=proof,
            max_drop=bound,
            machine=describe_machine(),
            versions=versions_of(PACKAGES[options.format]),
            notes=(*notes, *_notes(clips, engines, bound)),
        )
        write_json(report_path(output), report.to_dict())
    return report


def _require_possible(checkpoint: Path, output: Path, options: ExportOptions, cache: Cache | None) -> None:
    """Raise SignprepError for what can be told before the checkpoint is read."""
    if output.exists() and not (output.is_file() or output.is_dir()):
        raise SignprepError(f"{output}: is no place for a file that has to be read again")
    if output.exists() and checkpoint.exists() and output.samefile(checkpoint):
        raise SignprepError(f"{output}: is the checkpoint itself; choose another --output-path")
    for path in (output, report_path(output)):
        require_writable(path)
    if options.int8:
        require_int8_route(options.format)
        if cache is None:
            raise SignprepError("int8 needs real clips to calibrate with: give --cache")
    require_installed(options.format)
    if exported_format(checkpoint) is not None:
        raise CheckpointError(f"{checkpoint}: is an exported file already; give the checkpoint that it was made from")


def _notes(clips: Clips, engines: tuple[str | None, ...], bound: float) -> list[str]:
    """Return what a user should know of how the file was proved, and is to be run."""
    found = []
    if clips.split is None:
        found.append("without --cache the file was tried on drawn clips only, and no accuracy is known")
    elif clips.split != SPLITS[0]:
        found.append(f"the cache has no clips in its split {SPLITS[0]}: the file was tried on {clips.split}")
    if bound == 1 / len(clips) > INT8_DROP:
        found.append(
            f"{counted(len(clips), 'clip')} cannot tell a drop of {INT8_DROP:g}: one may be answered otherwise"
        )
    if clips.unknown:
        found.append(f"{counted(clips.unknown, 'clip')} of glosses that the model does not know were left out")
    return [*found, FASTER_INT8] if X86_FAST_ENGINE in engines and engines[0] == X86_ENGINE else found
