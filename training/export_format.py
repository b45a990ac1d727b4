"""Formats of exported models, known before a training that is to end in one."""

from pathlib import Path

from signprep.pipeline.extras import require_extra

TORCHSCRIPT, ONNX, EXECUTORCH = "torchscript", "onnx", "executorch"
FORMATS = (TORCHSCRIPT, ONNX, EXECUTORCH)
ENDINGS = {".onnx": ONNX, ".pte": EXECUTORCH}
"""Of a file's name; any other is TorchScript's."""

_EXTRAS = {ONNX: ("onnx", "onnx", "onnxruntime", "onnxscript"), EXECUTORCH: ("executorch", "executorch")}
"""Extra of signprep, and what it installs."""


def format_of(output: Path, asked: str | None = None) -> str:
    """Return the format of a file that is to be written: the one asked for, else by its ending.

    >>> format_of(Path("sign.onnx")), format_of(Path("mobile.pt"))
    ('onnx', 'torchscript')
    """
    return asked or ENDINGS.get(output.suffix.lower(), TORCHSCRIPT)


def require_installed(format_: str) -> None:
    """Raise SignprepError, with the command that helps, unless what a format needs is installed."""
    if format_ in _EXTRAS:
        require_extra(*_EXTRAS[format_])
