"""Data sets to scan."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import write_label
from tests.generated_videos import write_video


@pytest.fixture(scope="session")
def clean_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words by two signers from two views, every video of its own content."""
    root, number = tmp_path_factory.mktemp("scan") / "수어 영상", 0
    for word, gloss in (("WORD0001", "왼쪽"), ("WORD0002", "오른쪽")):
        for signer in ("REAL01", "REAL17"):
            for view in "FL":
                name = f"NIA_SL_{word}_{signer}_{view}"
                write_video(root / "video" / f"{name}.mp4", 30, first_number=30 * number)
                write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)
                number += 1
    return root


@pytest.fixture
def root(clean_root: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(clean_root, tmp_path / "data")
    return tmp_path / "data"
