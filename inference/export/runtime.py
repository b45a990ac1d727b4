"""Run an exported file through the same interface as a checkpoint."""

from pathlib import Path

import torch
from torch import Tensor, nn

from signprep.inference.export.deployable import file_frames
from signprep.inference.export.executorch import is_executorch, open_executorch
from signprep.inference.export.metadata import ExportMetadata, RunModel
from signprep.inference.export.onnx import is_onnx, open_onnx
from signprep.inference.export.torchscript import is_torchscript, open_torchscript
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.training.config import EXECUTORCH, ONNX, TORCHSCRIPT


def exported_format(path: StrPath) -> str | None:
    """Return the format of an exported file, by its bytes; None for anything else, a checkpoint among them."""
    path = as_path(path)
    if not path.is_file():
        return None
    if is_torchscript(path):
        return TORCHSCRIPT
    if is_executorch(path):
        return EXECUTORCH
    return ONNX if is_onnx(path) else None


def open_exported(path: StrPath, format_: str, *, engine: str | None = None, threads: int | None = None) -> Recognizer:
    """Open an exported file in the format that `exported_format` tells; it runs on the CPU.

    int8 TorchScript runs with `engine`, the fastest of this machine if None. Threads are as many as torch's if None,
    but one for EfficientX3D in TorchScript.

    Raises:
        CheckpointError: it does not open, or is of another program or version.
        SignprepError: a package that its format needs is not installed.
    """
    path = as_path(path)
    openers = {TORCHSCRIPT: open_torchscript, ONNX: open_onnx, EXECUTORCH: open_executorch}
    metadata, run = openers[format_](path, engine, threads)
    recognizer = Recognizer(metadata.model, _FileModel(path, metadata, run), torch.device("cpu"))
    recognizer.is_exported, recognizer.label = True, str(path)
    if metadata.with_preprocessing:
        recognizer.transform = file_frames(metadata.model.model_spec)
    return recognizer


class _FileModel(nn.Module):
    """Gives logits [B, classes] of inputs [B, ...], one clip at a time where the file takes only one."""

    def __init__(self, path: Path, metadata: ExportMetadata, run: RunModel) -> None:
        super().__init__()
        self._path, self._run, self._any_batch = path, run, metadata.any_batch
        self._num_classes = len(metadata.model.vocabulary)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.contiguous()
        try:
            logits = torch.cat([self._run(some) for some in ([inputs] if self._any_batch else inputs.split(1))])
        except Exception as error:  # a program from elsewhere raises anything
            # TorchScript's message begins with the place in the program, and ends with the reason.
            reason = str(error).strip().rpartition("\n")[2]
            raise CheckpointError(f"{self._path}: cannot answer {list(inputs.shape)} ({reason})") from error
        if logits.shape != (len(inputs), self._num_classes):
            raise CheckpointError(
                f"{self._path}: gives {list(logits.shape)} for {len(inputs)} clips of {self._num_classes} glosses"
            )
        return logits
