"""What pyproject.toml cannot say: the package's description is README.md, without links to files that lie elsewhere."""

import re
from pathlib import Path

from setuptools import setup

_TO_A_FILE = r"\[([^]]*)\]\((?!https?://)[^)]*\)"


def described(readme: str) -> str:
    """Return Markdown without pictures of this folder, and in which links into it are their text."""
    alone = re.sub(rf"^!?{_TO_A_FILE}\n+", "", readme, flags=re.MULTILINE)
    return re.sub(_TO_A_FILE, r"\1", alone)


setup(
    long_description=described(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
