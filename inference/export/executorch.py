"""ExecuTorch: an EfficientX3D in its deployable form, in fp32, with XNNPACK's kernels; written, and read back.

Its pools are written as means over 4-D tensors, since XNNPACK has no 3-D pools. Where one process runs several files,
they share one number of threads.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from signprep.inference.export.deployable import ExportInputs, deployable
from signprep.inference.export.metadata import MOST_BYTES, ExportMetadata, RunModel
from signprep.pipeline.errors import CheckpointError
from signprep.training.config import EXECUTORCH, require_installed

METADATA_METHOD = "signprep_json"
"""Method of the program that returns `signprep.json`: names of methods have no dots."""


class _Mean(nn.Module):
    """Mean over frames, rows and columns: [B, C, T, H, W] -> [B, C, 1, 1, 1]."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.flatten(2, 3).mean((2, 3), keepdim=True).unsqueeze(2)


def write_executorch(inputs: ExportInputs, path: Path) -> tuple[str, ...]:
    """Write a model, which takes minutes; return notes for the user."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    form = deployable(inputs.recognizer.model, inputs.example)
    for parent in list(form.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool3d | nn.AvgPool3d):  # all of them take the whole clip
                setattr(parent, name, _Mean())
    form, example = inputs.with_preprocessing(form, inputs.example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about PyTorch's own plans; the file is compared instead
        program = to_edge_transform_and_lower(
            torch.export.export(form, (example,), strict=False),
            partitioner=[XnnpackPartitioner()],
            constant_methods={METADATA_METHOD: inputs.metadata.to_text()},
        ).to_executorch()
    path.write_bytes(program.buffer)
    return ()


def is_executorch(path: Path) -> bool:
    """Return whether a file has ExecuTorch's mark, its bytes 4 and 5."""
    with path.open("rb") as file:
        return file.read(6)[4:] == b"ET"


def open_executorch(path: Path, engine: str | None, threads: int | None) -> tuple[ExportMetadata, RunModel]:
    """Return a file's metadata, and a function from the input of one clip to its logits, [1, classes].

    There is only one engine; threads are as many as torch's if None. Raises CheckpointError if the file does not open.
    """
    require_installed(EXECUTORCH)
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime

    try:
        program = Runtime.get().load_program(path)
    except Exception as error:
        raise CheckpointError(f"{path}: ExecuTorch cannot open it ({error})") from error
    text = None
    if METADATA_METHOD in program.method_names:
        [text] = program.load_method(METADATA_METHOD).execute([])
    metadata = ExportMetadata.from_text(path, text if isinstance(text, str) and len(text) <= MOST_BYTES else None)
    _unsafe_reset_threadpool(threads or torch.get_num_threads())
    try:
        method = program.load_method("forward")
    except Exception as error:
        raise CheckpointError(f"{path}: ExecuTorch cannot load its model ({error})") from error

    def run(clip: Tensor) -> Tensor:
        logits: Tensor = method.execute([clip])[0]
        return logits.clone()  # the next call writes over its memory

    return metadata, run
