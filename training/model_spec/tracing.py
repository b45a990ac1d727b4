"""A model as a list of its operations, which runs outside of Python: other threads of the process go on meanwhile.

Between two operations of a model, Python's lock is taken and given back; where other threads want it, too, a small
model waits longer than it computes. A trace has the operations only, so whatever is decided in Python by the values of
a tensor would be lost: where torch notices that, or answers differ, there is no trace.
"""

import warnings

import torch
from torch import Tensor, nn

from signprep.training.model_spec.folding import is_same


class Traced(nn.Module):
    """The operations of a model."""

    def __init__(self, operations: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.operations = operations

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, float32 [B, classes]."""
        # Without this, torch compiles the operations anew for each size of a batch, in the middle of a request.
        with torch.jit.optimized_execution(False):
            result: Tensor = self.operations(inputs)
            return result


def traced(model: nn.Module, example: Tensor) -> nn.Module:
    """Return the trace of a model; the model itself where it cannot be traced.

    Args:
        model: in evaluation.
        example: at least three different inputs of it, float32 [B, ...]; all but the last are traced.
    """
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch would have us compile, which takes minutes
        warnings.simplefilter("error", torch.jit.TracerWarning)
        try:
            found = Traced(torch.jit.freeze(torch.jit.trace(model, example[:-1], check_trace=False)))
            same = all(is_same(found(inputs), model(inputs)) for inputs in (example, example[-1:]))
        except (RuntimeError, ValueError, TypeError, SystemError, torch.jit.TracerWarning):  # of what cannot be traced
            return model
    return found if same else model
