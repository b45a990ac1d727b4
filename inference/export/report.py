"""The report on an exported file: FILE.report.json for programs, a table for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.inference.export.metadata import ExportMetadata
from signprep.inference.export.verification import CHECKPOINT, Comparison, Verification
from signprep.pipeline.runtime.text import byte_size

REPORT_VERSION = 1


def report_path(output: Path) -> Path:
    """Return where the report of a file lies.

    >>> report_path(Path("out/sign.onnx")).name
    'sign.onnx.report.json'
    """
    return output.with_name(f"{output.name}.report.json")


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The file that was written, and how it compares with its checkpoint."""

    output: Path
    checkpoint: Path
    metadata: ExportMetadata
    num_bytes: int
    cache: str | None
    """None where the inputs were synthetic."""
    split: str | None
    num_in_split: int
    num_clips: int
    """Clips that were compared."""
    num_calibration_clips: int
    verification: Verification
    max_drop: float
    machine: dict[str, Any]
    versions: dict[str, str]
    notes: tuple[str, ...]
    """Sentences that a user should read."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; docs/export.md explains each key."""
        return {
            "report_version": REPORT_VERSION,
            "file": str(self.output),
            "num_bytes": self.num_bytes,
            "checkpoint": str(self.checkpoint),
            "cache": self.cache,
            "split": self.split,
            "clips_in_split": self.num_in_split,
            "clips": self.num_clips,
            "drawn_clips": self.cache is None,
            "calibration_clips": self.num_calibration_clips,
            "checkpoint_accuracy": self.verification.checkpoint_accuracy,
            "compared": [self._compared(found) for found in self.verification.comparisons],
            "latency_ms": {str(threads): row for threads, row in self.verification.latencies.items()},
            "max_drop": self.max_drop,
            "machine": self.machine,
            "versions": self.versions,
            "notes": list(self.notes),
            "signprep": self.metadata.to_dict(),
        }

    def _compared(self, found: Comparison) -> dict[str, Any]:
        dropped = None
        if self.verification.checkpoint_accuracy is not None and found.accuracy is not None:
            dropped = self.verification.checkpoint_accuracy - found.accuracy
        return {
            "engine": found.engine,
            "largest_difference": found.largest_difference,
            "mean_difference": found.mean_difference,
            "agreeing": found.num_agreeing,
            "top_1_agreement": found.num_agreeing / self.num_clips,
            "accuracy": found.accuracy,
            "accuracy_drop": dropped,
        }

    def __str__(self) -> str:
        """Return the table."""
        document = self.metadata.to_dict()
        shape = ", ".join("any" if size is None else str(size) for size in document["input"]["shape"])
        title = (
            f"{self.output}: {byte_size(self.num_bytes)}, {document['format']} in {document['precision']}, of "
            f"{document['model_spec']['name']}\ninput: {document['input']['dtype']} [{shape}]; output: logits "
            f"[{shape.split(', ')[0]}, {len(document['glosses'])}]"
        )
        of = "drawn clips" if self.cache is None else f"of {self.num_in_split:,} {self.split} clips"
        heading = ("", CHECKPOINT, *(found.name for found in self.verification.comparisons))
        rows = [
            heading,
            ("largest difference of a probability", "", *self._cells("{0.largest_difference:.1e}")),
            ("mean difference", "", *self._cells("{0.mean_difference:.1e}")),
            (f"same first answer, {self.num_clips:,} {of}", "", *self._cells("{0.num_agreeing:,}")),
        ]
        if self.verification.checkpoint_accuracy is not None:
            rows.append(
                ("accuracy on them", f"{self.verification.checkpoint_accuracy:.3f}", *self._cells("{0.accuracy:.3f}"))
            )
        for threads, row in self.verification.latencies.items():
            name = f"ms a clip, {threads} thread{'s' if threads > 1 else ''}"
            rows.append((name, *(f"{row[column]:.1f}" for column in heading[1:])))
        machine, load = self.machine, self.machine["load_average"]
        busy = "" if load is None else f", load {load:.1f}"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n".join(
            [title, *in_columns(rows), f"on {machine['processor']}, {machine['cores']} cores{busy}; {versions}"]
        )

    def _cells(self, pattern: str) -> list[str]:
        return [pattern.format(found) for found in self.verification.comparisons]


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of equal columns, the first one to the left.

    >>> in_columns([("", "file"), ("ms", "1")])
    ['      file', 'ms       1']
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:{'>' if place else '<'}{widths[place]}}" for place, cell in enumerate(row)) for row in rows
    ]
