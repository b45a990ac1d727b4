"""Import this before torchvision, lightning or pytorchvideo: it makes `import torchvision` work beside CPU torch.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled library does not load, and its Python part
then dies with "operator torchvision::nms does not exist". Declaring the two missing operators cures that; nothing
here calls them. Where torchvision's own library loads, nothing is declared.
"""

import importlib
import sys

import torch

try:
    importlib.import_module("torchvision")
except RuntimeError as missing:
    if "operator torchvision::nms does not exist" not in str(missing):
        raise
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")
