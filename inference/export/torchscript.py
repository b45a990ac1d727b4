"""TorchScript: written by tracing, frozen, in fp32 or int8; read without running anything but the model itself.

Frozen, a file is 15 % smaller in fp32 and 37 % in int8, for the price that its weights can no longer be trained. Its
input has one shape: one clip. A TorchScript file is a program: one from elsewhere may do anything when it is asked.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from signprep.inference.export.deployable import (
    ExportInputs,
    deployable,
    fast_int8_engine,
    int8_engine,
    is_mobile,
    quantized,
    quiet,
)
from signprep.inference.export.metadata import KEY, MOST_BYTES, ExportMetadata, RunModel, require_numbers
from signprep.inference.recognizer import torch_threads
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_line
from signprep.training.model.checkpoint import require_whole


def write_torchscript(inputs: ExportInputs, path: Path) -> tuple[str, ...]:
    """Write a model, in int8 for the engine that the metadata name; return notes for the user."""
    engine, mobile = inputs.metadata.int8_engine, is_mobile(inputs.recognizer.metadata.model_spec.name)
    with int8_engine(engine), torch_threads(1 if mobile else torch.get_num_threads()), quiet(), torch.no_grad():
        form = deployable(inputs.recognizer.model, inputs.example)
        if engine is not None:
            form = quantized(form, inputs.calibration_clips())
        traced = torch.jit.trace(*inputs.with_preprocessing(form, inputs.example), check_trace=False).eval()
        module, notes = _optimized(traced) if mobile else (torch.jit.freeze(traced), ())
        # In memory first: on a full disk torch's own writer ends the whole program.
        data = io.BytesIO()
        torch.jit.save(module, data, _extra_files={KEY: inputs.metadata.to_text()})
    path.write_bytes(data.getbuffer())
    return notes


def _optimized(traced: torch.jit.ScriptModule) -> tuple[torch.jit.ScriptModule, tuple[str, ...]]:
    """Return a module frozen, and optimised for phones where this torch can do it, with notes for the user."""
    try:
        from torch.utils.mobile_optimizer import optimize_for_mobile

        return optimize_for_mobile(traced), ()
    except (ImportError, RuntimeError) as error:
        no_xnnpack = "XNNPACK is not enabled" in str(error)
        reason = "this torch is built without XNNPACK" if no_xnnpack else first_line(error)
        return torch.jit.freeze(traced), (f"optimize_for_mobile was left out: {reason}",)


def is_torchscript(path: Path) -> bool:
    """Return whether a file is TorchScript: an archive, as checkpoints are, but one that holds a program."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError):
        return False


def open_torchscript(path: Path, engine: str | None, threads: int | None) -> tuple[ExportMetadata, RunModel]:
    """Return a file's metadata, and a function from the input of one clip to its logits, [1, classes].

    Weights of int8 are packed for `engine`, the fastest if None. A mobile model, or one of landmarks, runs on one
    thread unless `threads` says otherwise, any other on torch's own number. Raises CheckpointError if the file does not
    open.
    """
    try:
        require_whole(path)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: its archive is damaged ({first_line(error)}); copy it again") from error
    metadata = ExportMetadata.from_text(path, _text(path))
    used = (engine or fast_int8_engine()) if metadata.int8 else None
    spec = metadata.model.model_spec
    is_small = is_mobile(spec.name) or spec.content == "landmarks"
    try:
        with int8_engine(used), quiet():
            module = torch.jit.load(str(path), map_location="cpu").eval()
        constants = [node.t("value") for node in module.graph.findAllNodes("prim::Constant") if _is_tensor(node)]
        weights = [*module.parameters(), *module.buffers(), *constants]
    except Exception as error:  # a damaged archive raises a dozen kinds
        raise CheckpointError(f"{path}: its TorchScript does not open ({first_line(error)})") from error
    require_numbers(path, (value for value in weights if value.is_floating_point()))

    def run(clip: Tensor) -> Tensor:
        with int8_engine(used), torch_threads(threads or (1 if is_small else torch.get_num_threads())):
            logits: Tensor = module(clip)
            return logits

    return metadata, run


def _is_tensor(node: Any) -> bool:
    """Return whether a constant of a graph is a tensor, as weights are once a module is frozen."""
    return "value" in node.attributeNames() and node.kindOf("value") == "t"


def _text(path: Path) -> str | None:
    """Return the `signprep.json` of a whole archive, None if there is none; nothing is loaded or run."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(f"/extra/{KEY}"):
                with archive.open(entry) as file:
                    text = file.read(MOST_BYTES + 1)
                return text.decode("utf-8", "replace") if len(text) <= MOST_BYTES else None
    return None
