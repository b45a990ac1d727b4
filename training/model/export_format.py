"""Formats of exported models; a training that ends in an export checks them before it begins."""

from pathlib import Path

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.machine import require_extra

TORCHSCRIPT, ONNX, EXECUTORCH = "torchscript", "onnx", "executorch"
FORMATS = (TORCHSCRIPT, ONNX, EXECUTORCH)
ENDINGS = {".onnx": ONNX, ".pte": EXECUTORCH}
_TORCHSCRIPT_ENDINGS = ("", ".pt", ".pth", ".ptl", ".ts", ".torchscript")
_EXTRAS = {ONNX: ("onnx", "onnx", "onnxruntime", "onnxscript"), EXECUTORCH: ("executorch", "executorch")}
"""Names of the extra of signprep and of the packages that it installs."""


def format_of(output: Path, asked: str | None = None) -> str:
    """Return the format of a file to be written: the one asked for, else the one of its ending.

    Raises SignprepError if none is asked for, and the ending is of no format.

    >>> format_of(Path("sign.onnx")), format_of(Path("mobile.pt"))
    ('onnx', 'torchscript')
    """
    ending = output.suffix.lower()
    if asked is not None:
        return asked
    if ending in ENDINGS:
        return ENDINGS[ending]
    if ending in _TORCHSCRIPT_ENDINGS:
        return TORCHSCRIPT
    known = ", ".join([*ENDINGS, *_TORCHSCRIPT_ENDINGS[1:]])
    raise SignprepError(f"{output}: ends in {ending}, which tells no format; end it in {known}, or give --format")


def require_installed(format_: str) -> None:
    """Raise SignprepError, with the command that helps, unless what a format needs is installed."""
    if format_ in _EXTRAS:
        require_extra(*_EXTRAS[format_])
