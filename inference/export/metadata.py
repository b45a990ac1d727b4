"""The metadata inside an exported file, `signprep.json`, so that a program needs nothing but the file.

TorchScript has it among its extra files, ONNX among its metadata, ExecuTorch as a method that returns it. In: a
checkpoint's ModelMetadata and how the file was written. Out: plain JSON; back from a file, every value is checked.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from signprep.pipeline.errors import CheckpointError
from signprep.training.config import EXPORT_FORMATS
from signprep.training.model.checkpoint import NOT_A_CARD, ModelMetadata
from signprep.training.transforms import frame_positions

RunModel = Callable[[Tensor], Tensor]
"""From a file's inputs to logits, float32 [B, classes]."""
KEY = "signprep.json"
EXPORT_VERSION = 1
MOST_BYTES = 16 * 2**20
"""Largest size of the JSON: 100,000 glosses need a tenth of it."""


def require_numbers(path: Path, weights: Iterable[Tensor]) -> None:
    """Raise CheckpointError if weights of a file are no numbers that it could answer with.

    Infinities beside zeros are let pass: the mask of an attention has them.
    """
    for value in weights:
        is_finite = torch.isfinite(value)
        if not bool(is_finite.all()) and (bool(torch.isnan(value).any()) or bool(value[is_finite].any())):
            raise CheckpointError(f"{path}: its weights are not all finite numbers; it cannot answer")


@dataclass(frozen=True, kw_only=True)
class ExportMetadata:
    """A model's metadata, and what a program must know to feed the file."""

    model: ModelMetadata
    format: str
    """One of `EXPORT_FORMATS`."""
    int8: bool
    with_preprocessing: bool
    """The file takes uint8 RGB frames [B, T, H, W, 3] in place of normalised floats [B, 3, T, H, W]; of landmarks,
    [B, T, 75, 3] in either case, float16 in place of float32."""
    any_batch: bool
    """B may be anything; it is 1 otherwise."""
    int8_engine: str | None = None
    """The quantized engine that a fresh process on the exporting machine runs int8 TorchScript with."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Return [B, 3, T, H, W], [B, T, H, W, 3] with preprocessing, or [B, T, 75, 3]; B is None where it may vary."""
        batch, inner = None if self.any_batch else 1, self.model.model_spec.input_shape
        is_turned = self.with_preprocessing and self.model.model_spec.content == "pixels"
        return (batch, *inner[1:], 3) if is_turned else (batch, *inner)

    @property
    def dtype(self) -> str:
        """Return the type of the input's numbers; with preprocessing, that of stored clips."""
        return self.model.clip_spec.dtype if self.with_preprocessing else "float32"

    @property
    def frame_fractions(self) -> list[float]:
        """Return the times of the T frames as shares of a window, 0 to 1: each is the frame that is shown then."""
        stored, spec = self.model.clip_spec.num_frames, self.model.model_spec
        return [(position + 0.5) / stored for position in frame_positions(stored, spec.num_frames)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; docs/export.md explains each key."""
        spec, inside = self.model.model_spec, self.with_preprocessing
        is_normalised = spec.content == "pixels" and not inside
        layout = "NTPC" if spec.content == "landmarks" else "NTHWC" if inside else "NCTHW"
        return self.model.to_dict() | {
            "export_version": EXPORT_VERSION,
            "format": self.format,
            "precision": "int8" if self.int8 else "fp32",
            "input": {
                "shape": list(self.input_shape),
                "layout": layout,
                "dtype": self.dtype,
                "mean": spec.mean if is_normalised else None,
                "std": spec.std if is_normalised else None,
                "frame_fractions": self.frame_fractions,
            },
            "output": "logits",
            "int8_engine": self.int8_engine,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises one of `NOT_A_CARD` on anything else, and on values that contradict another."""
        model = ModelMetadata.from_dict(fields)
        dtype, engine, precision = fields["input"]["dtype"], fields["int8_engine"], fields["precision"]
        if fields["format"] not in EXPORT_FORMATS:
            raise ValueError(f"format {fields['format']!r}")
        if precision not in ("int8", "fp32") or fields["output"] != "logits":
            raise ValueError(f"precision {precision!r} and output {fields['output']!r}")
        if engine is not None and not isinstance(engine, str):
            raise TypeError(f"int8_engine {engine!r}")
        found = cls(
            model=model,
            format=fields["format"],
            int8=precision == "int8",
            with_preprocessing=dtype != "float32",
            any_batch=fields["input"]["shape"][0] is None,
            int8_engine=engine,
        )
        expected = found.to_dict()["input"]
        different = [
            name for name in ("shape", "layout", "dtype", "mean", "std") if fields["input"][name] != expected[name]
        ]
        if different:
            raise ValueError(f"its input has another {' and '.join(different)} than its model")
        return found

    def to_text(self) -> str:
        """Return the JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_text(cls, path: Path, text: str | None) -> Self:
        """Inverse of `to_text`. Raises CheckpointError if a file has none (None), a damaged or another version's."""
        if text is None:
            raise CheckpointError(f"{path}: has no {KEY} inside; only files of `signprep export` do")
        try:
            fields = json.loads(text)
            version = fields["export_version"]
            if version != EXPORT_VERSION:
                raise CheckpointError(
                    f"{path}: is an export of version {version}; this signprep reads version {EXPORT_VERSION}"
                )
            return cls.from_dict(fields)
        except NOT_A_CARD as error:
            raise CheckpointError(f"{path}: its {KEY} is damaged ({error})") from error
