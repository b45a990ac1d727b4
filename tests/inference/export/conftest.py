"""The tiny trained model, exported once a test run in every format that is quick to write."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from signprep.cache_builder.reader import Cache
from signprep.inference.export import onnx as export_onnx
from signprep.inference.export.onnx import exported_graph
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.training.config import ONNX, TORCHSCRIPT
from signprep.training.model.checkpoint import CHECKPOINT_KEY, ModelMetadata
from signprep.training.model_spec import build_model, model_spec
from tests.waiting import HANG_SECONDS

ANY_DROP = 1.0
"""The tiny model is hardly trained: its answers are close, and int8 exchanges some."""

EXPORTS = {
    "fp32.pt": ExportOptions(format=TORCHSCRIPT),
    "int8.pt": ExportOptions(format=TORCHSCRIPT, int8=True, with_preprocessing=True, max_drop=ANY_DROP),
    "fp32.onnx": ExportOptions(format=ONNX, with_preprocessing=True),
    "int8.onnx": ExportOptions(format=ONNX, int8=True, max_drop=ANY_DROP),
}


@pytest.fixture(scope="session")
def exported(checkpoint: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportReport]:
    folder = tmp_path_factory.mktemp("수어 모델")
    reports = export_all(checkpoint, folder, EXPORTS, cache)
    expected = sorted([*EXPORTS, *(f"{name}.report.json" for name in EXPORTS)])
    assert sorted(path.name for path in folder.iterdir()) == expected
    return reports


def export_all(
    checkpoint: Path, folder: Path, exports: dict[str, ExportOptions], cache: Cache
) -> dict[str, ExportReport]:
    """Export a checkpoint under these names; its ONNX graph is made once."""
    written: list[bytes] = []

    def once(model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:  # which takes most of the time
        if not written:
            written.append(exported_graph(model, example).SerializeToString())
        return onnx.load_model_from_string(written[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_onnx, "exported_graph", once)
        return {name: export_model(checkpoint, folder / name, options, cache) for name, options in exports.items()}


def untrained_checkpoint(
    path: Path, cache: Cache, name: str, num_frames: int, crop_size: int, *, temperature: float = 1.0
) -> Path:
    """A checkpoint with random weights, and statistics of norms that are not those of a fresh model."""
    spec = model_spec(name, num_frames=num_frames, crop_size=crop_size)
    card = ModelMetadata(
        model_spec=spec,
        clip_spec=cache.clip_spec,
        vocabulary=cache.vocabulary,
        cache_fingerprint=cache.fingerprint,
        temperature=temperature,
    )
    model = build_model(spec, len(cache.vocabulary))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    weights = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights, CHECKPOINT_KEY: card.to_dict()}, path)
    return path


SMALL = "tests.inference.export.small_model:small"


@pytest.fixture(scope="session")
def small_checkpoint(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_checkpoint(tmp_path_factory.mktemp("small") / "small.ckpt", cache, SMALL, 2, 32)


_WITHOUT_SIGNPREP = """
import sys
sys.modules["signprep"] = None  # as where it is not installed: importing it fails
import json, torch
inputs, out, *files = sys.argv[1:]
clips, answers = torch.load(inputs), {{}}
for file in files:
    {answer}
    with torch.no_grad():
        answers[file] = [answer(clips[kind(document)][k : k + 1]) for k in range(len(clips["float32"]))]
loaded = [name for name in sys.modules if name.split(".")[0] in ("pytorchvideo", "lightning")]
assert not loaded and sys.modules["signprep"] is None
torch.save({{file: torch.cat(rows) for file, rows in answers.items()}}, out)
"""

TORCHSCRIPT_ANSWER = """
    extra = {"signprep.json": ""}
    torch.jit.load(file, _extra_files=extra)
    document = json.loads(extra["signprep.json"])
    if document["int8_engine"] is not None:
        torch.backends.quantized.engine = document["int8_engine"]
    answer = torch.jit.load(file).eval()
    kind = lambda document: document["input"]["dtype"]
"""
ONNX_ANSWER = """
    import onnxruntime
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    document = json.loads(session.get_modelmeta().custom_metadata_map["signprep.json"])
    answer = lambda clip: torch.from_numpy(session.run(["logits"], {"clips": clip.numpy()})[0])
    kind = lambda document: document["input"]["dtype"]
"""


def answers_alone(code: str, inputs: dict[str, torch.Tensor], files: list[Path], folder: Path) -> list[torch.Tensor]:
    """Ask files in a fresh process that cannot import signprep; return each one's logits, [N, classes]."""
    torch.save(inputs, folder / "inputs.pt")
    script = _WITHOUT_SIGNPREP.format(answer=code.strip())
    arguments = [str(folder / "inputs.pt"), str(folder / "answers.pt"), *map(str, files)]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, cwd=folder, timeout=HANG_SECONDS)
    answers = torch.load(folder / "answers.pt")
    return [answers[str(file)] for file in files]
