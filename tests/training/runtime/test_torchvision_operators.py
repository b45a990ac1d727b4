"""torchvision is imported beside any torch, and without torch's compiler."""

import importlib
import subprocess
import sys
import types

from signprep.training.runtime.torchvision_operators import _COMPILER, _import_torchvision

import pytest

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


def test_a_model_computes_without_the_compiler_which_is_there_when_it_is_asked() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr


def test_what_else_torchvision_may_import_of_the_compiler_is_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = types.ModuleType(_COMPILER)
    compiler.counters = object()  # type: ignore[attr-defined]
    found = []

    def import_module(name: str) -> types.ModuleType:
        if name == "torchvision":
            found.append(sys.modules[_COMPILER].counters)
            return types.ModuleType(name)
        assert name == _COMPILER
        sys.modules[name] = compiler
        return compiler

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setitem(sys.modules, _COMPILER, compiler)
    del sys.modules[_COMPILER]
    _import_torchvision()
    assert found == [compiler.counters] and sys.modules[_COMPILER] is compiler
