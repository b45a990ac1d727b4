"""How tests scan a data root."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.options import ScanOptions
from signprep.pipeline.scan.findings import FINDINGS
from signprep.pipeline.scan.run import scanned
from tests.conftest import write_label

WORD1, WORD2 = "NIA_SL_WORD0001_REAL", "NIA_SL_WORD0002_REAL"


def scan(root: Path, *, source: DatasetOptions | None = None, **options: Any) -> dict[str, list[tuple[str, str]]]:
    """Return (path, message) of the problems by kind."""
    found: dict[str, list[tuple[str, str]]] = {}
    with scanned(root, source or DatasetOptions(), ScanOptions(workers=1, **options)) as result:
        for kind, path, message in result.database.execute("SELECT * FROM problems ORDER BY path"):
            assert kind in {finding.kind for finding in FINDINGS}
            assert str(root) not in message
            found.setdefault(kind, []).append((path, message))
    return found


def label(root: Path, name: str, segments: list[tuple[float, float, str]], duration: float = 1.0) -> str:
    write_label(root / "label" / f"{name}_morpheme.json", segments, duration=duration)
    return f"label/{name}_morpheme.json"


def run(root: Path, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["scan", "--data-root", str(root), "--workers", "1", *arguments])
