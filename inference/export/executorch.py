"""ExecuTorch: an EfficientX3D in its deployable form, in fp32, with XNNPACK's kernels; written, and read back.

Its pools are written as means over 4-D tensors, since XNNPACK has no 3-D pools. Where one process runs several files,
they share one number of threads.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signprep.inference.export.deployable import deployable
from signprep.inference.export.metadata import MOST_BYTES
from signprep.inference.export.preprocessing import Preprocessing
from signprep.inference.export.source import Source
from signprep.pipeline.errors import CheckpointError
from signprep.training.model.export_format import EXECUTORCH, require_installed

CARD_METHOD = "signprep_json"
"""Method of the program that returns `signprep.json`: names of methods have no dots."""
MARK = b"ET"
"""Bytes 4 and 5 of every file."""


class _Mean(nn.Module):
    """Mean over frames, rows and columns: [B, C, T, H, W] -> [B, C, 1, 1, 1]."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.flatten(2, 3).mean((2, 3), keepdim=True).unsqueeze(2)


def write_executorch(source: Source, path: Path) -> tuple[str, ...]:
    """Write a model, which takes minutes; return notes for the user."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    example = source.example
    form = deployable(source.recognizer.model, example)
    for parent in list(form.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool3d | nn.AvgPool3d):  # all of them take the whole clip
                setattr(parent, name, _Mean())
    if source.export_card.with_preprocessing:
        form = nn.Sequential(Preprocessing(source.recognizer.card.model_spec), form).eval()
        example = torch.zeros([size or 1 for size in source.export_card.input_shape], dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of its own plans; the file is checked instead
        program = to_edge_transform_and_lower(
            torch.export.export(form, (example,), strict=False),
            partitioner=[XnnpackPartitioner()],
            constant_methods={CARD_METHOD: source.export_card.to_text()},
        ).to_executorch()
    path.write_bytes(program.buffer)
    return ()


def is_executorch(path: Path) -> bool:
    """Whether a file has ExecuTorch's mark."""
    with path.open("rb") as file:
        return file.read(6)[4:] == MARK


def read_executorch(path: Path) -> Any:
    """Return the program of a file.

    Raises:
        CheckpointError: it does not open.
    """
    require_installed(EXECUTORCH)
    from executorch.runtime import Runtime

    try:
        return Runtime.get().load_program(path)
    except Exception as error:
        raise CheckpointError(f"{path}: ExecuTorch cannot open it ({error})") from error


def executorch_text(program: Any) -> str | None:
    """Return a program's `signprep.json`, None if there is none."""
    if CARD_METHOD not in program.method_names:
        return None
    [text] = program.load_method(CARD_METHOD).execute([])
    return text if isinstance(text, str) and len(text) <= MOST_BYTES else None


def open_executorch(path: Path, program: Any, *, threads: int | None) -> Callable[[Tensor], Tensor]:
    """Return what answers one clip.

    Args:
        path: names the file in errors.
        program: of `read_executorch`.
        threads: torch's number if None.
    """
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    _unsafe_reset_threadpool(threads or torch.get_num_threads())
    try:
        method = program.load_method("forward")
    except Exception as error:
        raise CheckpointError(f"{path}: ExecuTorch cannot load its model ({error})") from error

    def answer(clip: Tensor) -> Tensor:
        logits: Tensor = method.execute([clip])[0]
        return logits.clone()  # of memory that the next call writes over

    return answer
