"""Import this before torchvision, lightning or pytorchvideo: torchvision then loads beside CPU torch, and soon.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled library does not load, and its Python part
then dies with "operator torchvision::nms does not exist". Declaring the two missing operators cures that; nothing
here calls them. Where torchvision's own library loads, nothing is declared.

torchvision also imports torch's compiler, for one function that its RoIAlign asks while it computes; that takes longer
than all else of a start but torch itself. It gets that function here, which imports the compiler when it is called.
"""

import importlib
import sys
import types
from typing import Any

import torch

_COMPILER = "torch._dynamo.utils"


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(_COMPILER).is_compile_supported(device_type))


def _import_torchvision() -> None:
    """Import it; raises RuntimeError if its operators are missing."""
    if _COMPILER in sys.modules:
        importlib.import_module("torchvision")
        return
    stand_in = types.ModuleType(_COMPILER)

    def from_compiler(name: str) -> Any:
        """Return what else may be imported from there."""
        if name.startswith("__"):  # what is asked of each module that is loaded
            raise AttributeError(name)
        sys.modules.pop(_COMPILER, None)
        return getattr(importlib.import_module(_COMPILER), name)

    vars(stand_in).update(is_compile_supported=_is_compile_supported, __getattr__=from_compiler)
    sys.modules[_COMPILER] = stand_in
    try:
        importlib.import_module("torchvision")
    finally:
        if sys.modules.get(_COMPILER) is stand_in:
            del sys.modules[_COMPILER]


try:
    _import_torchvision()
except RuntimeError as missing:
    if "operator torchvision::nms does not exist" not in str(missing):
        raise
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _import_torchvision()
