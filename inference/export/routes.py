"""Which models go into which files, and why the others do not: one table, asked before any work is done."""

from pathlib import Path

from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.training.model.export_format import EXECUTORCH, TORCHSCRIPT

MOBILE_FAMILY = "efficient_x3d"


def is_mobile(model_name: str) -> bool:
    """Whether a model is made for phones: of a thousand small operators, which threads only slow down."""
    return model_name.startswith(MOBILE_FAMILY)


def require_int8_route(format_: str) -> None:
    """Raise SignprepError if a format has no int8 form, whatever the model."""
    if format_ == EXECUTORCH:
        raise SignprepError(
            "ExecuTorch has no int8 form: XNNPACK of ExecuTorch 1.5 refuses the quantized depthwise convolutions when "
            "the file is loaded; leave out --int8, or give --format onnx"
        )


def require_route(checkpoint: Path, model_name: str, format_: str, *, int8: bool) -> None:
    """Raise CheckpointError unless a checkpoint's model can be written in a format.

    ONNX takes every model, in int8 too: whether its answers are good enough, the proof decides.
    """
    if format_ == EXECUTORCH and not is_mobile(model_name):
        raise CheckpointError(
            f"{checkpoint}: is of model {model_name}; ExecuTorch's XNNPACK has no 3-D convolutions, and only "
            f"{MOBILE_FAMILY} models have a form without them; give --format onnx"
        )
    if format_ == TORCHSCRIPT and int8 and not is_mobile(model_name):
        raise CheckpointError(
            f"{checkpoint}: is of model {model_name}; in TorchScript only {MOBILE_FAMILY} models have an int8 form; "
            "give --format onnx"
        )
