"""Import this before torchvision, lightning or pytorchvideo: it makes `import torchvision` work beside CPU torch.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled library does not load, and its Python part
then dies with "operator torchvision::nms does not exist". Declaring the two missing operators cures that; nothing
here calls them. Where torchvision's own library loads, nothing is declared.
"""

import importlib
import sys

import torch

_MISSING = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    for operator in _OPERATORS:
        torch.library.define(f"torchvision::{operator}", _SCHEMA)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")


_import_torchvision()
