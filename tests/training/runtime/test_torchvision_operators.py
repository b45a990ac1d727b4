"""torchvision is imported beside any torch, and without torch's compiler."""

import subprocess
import sys

from tests.waiting import HANG_SECONDS

PROGRAM = """
import sys
from signprep.training.model_spec import build_model, model_spec
import torch

model = build_model(model_spec("efficient_x3d_xs", num_frames=4, crop_size=32), 3).eval()
with torch.inference_mode():
    model(torch.zeros(1, 3, 4, 32, 32))
assert not [name for name in sys.modules if name.startswith("torch._dynamo")]
from torchvision.ops import roi_align

assert roi_align.__module__ == "torchvision.ops.roi_align"
asked = sys.modules[roi_align.__module__].is_compile_supported
assert asked("cpu") is True and asked("meta") is False
import torch._dynamo.utils

assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"] and torch._dynamo.utils.counters is not None
"""
WITH_MORE = """
import importlib, sys, types

real = importlib.import_module
asked = types.ModuleType("torchvision")

def import_module(name, package=None):
    if name == "torchvision":
        from torch._dynamo.utils import counters  # as another version might
        asked.counters = counters
        return asked
    return real(name, package)

importlib.import_module = import_module
import signprep.training.runtime.torchvision_operators
import torch._dynamo.utils

assert asked.counters is torch._dynamo.utils.counters
"""


def test_a_model_computes_without_the_compiler_which_is_there_when_it_is_asked() -> None:
    for program in (PROGRAM, WITH_MORE):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
        assert done.returncode == 0, done.stderr
