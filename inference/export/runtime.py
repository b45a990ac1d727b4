"""Exported files opened as checkpoints are: a Recognizer, with the answers of the file in place of a model's."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from signprep.inference.export.deployable import fast_int8_engine
from signprep.inference.export.executorch import executorch_text, is_executorch, open_executorch, read_executorch
from signprep.inference.export.metadata import ExportCard
from signprep.inference.export.onnx import is_onnx, onnx_text, open_onnx, read_onnx
from signprep.inference.export.preprocessing import RgbFrames
from signprep.inference.export.routes import is_mobile
from signprep.inference.export.torchscript import is_torchscript, open_torchscript, torchscript_text
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.errors import CheckpointError
from signprep.training.model.export_format import EXECUTORCH, ONNX, TORCHSCRIPT


def exported_format(path: Path) -> str | None:
    """Return the format of an exported file, by its bytes; None for anything else, a checkpoint among them."""
    if not path.is_file():
        return None
    if is_torchscript(path):
        return TORCHSCRIPT
    if is_executorch(path):
        return EXECUTORCH
    return ONNX if is_onnx(path) else None


class ExportedRecognizer(Recognizer):
    """An exported file, ready to answer, on the CPU."""

    def __init__(self, path: Path, export_card: ExportCard, answer: Callable[[Tensor], Tensor]) -> None:
        """Wrap what answers inputs of the file's kind."""
        card = export_card.card
        model = _FileAnswers(path, answer, len(card.vocabulary), any_batch=export_card.any_batch)
        super().__init__(card, model, torch.device("cpu"))
        self.export_card = export_card
        if export_card.with_preprocessing:
            self.transform = RgbFrames(card.model_spec)


class _FileAnswers(nn.Module):
    """inputs [B, ...] -> logits [B, classes], one clip at a time where the file takes only one."""

    def __init__(self, path: Path, answer: Callable[[Tensor], Tensor], num_classes: int, *, any_batch: bool) -> None:
        super().__init__()
        self._path, self._answer, self._num_classes, self._any_batch = path, answer, num_classes, any_batch

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.contiguous()
        try:
            parts = [self._answer(part) for part in ([inputs] if self._any_batch else inputs.split(1))]
        except Exception as error:  # what a program from elsewhere raises
            reason = str(error).strip().rpartition("\n")[2]  # TorchScript's begins with where, and ends with what
            raise CheckpointError(f"{self._path}: cannot answer {list(inputs.shape)} ({reason})") from error
        logits = torch.cat(parts)
        if logits.shape != (len(inputs), self._num_classes):
            raise CheckpointError(
                f"{self._path}: gives {list(logits.shape)} for {len(inputs)} clips of {self._num_classes} glosses"
            )
        return logits


def open_exported(path: Path, format_: str, *, engine: str | None = None, threads: int | None = None) -> Recognizer:
    """Open an exported file.

    Args:
        path: of the file.
        format_: of `exported_format`.
        engine: of int8 TorchScript; the fastest of this machine if None.
        threads: as many as torch uses if None, but one for EfficientX3D in TorchScript.

    Raises:
        CheckpointError: it does not open, or is of another program or version.
        SignprepError: what its format needs is not installed.
    """
    if format_ == TORCHSCRIPT:
        found = ExportCard.from_text(path, torchscript_text(path))
        used = (engine or fast_int8_engine()) if found.int8 else None
        mobile = is_mobile(found.card.model_spec.name)
        answer = open_torchscript(path, mobile=mobile, engine=used, threads=threads)
    elif format_ == ONNX:
        graph = read_onnx(path)
        found = ExportCard.from_text(path, onnx_text(graph))
        answer = open_onnx(path, graph, threads=threads)
    else:
        program = read_executorch(path)
        found = ExportCard.from_text(path, executorch_text(program))
        answer = open_executorch(path, program, threads=threads)
    return ExportedRecognizer(path, found, answer)
