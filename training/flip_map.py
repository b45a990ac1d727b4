"""Which glosses change places when a clip is mirrored, as a JSON file says."""

import json
from pathlib import Path

from signprep.pipeline.errors import TrainingError


def read_flip_map(path: Path) -> dict[str, str]:
    """Return the pairs of a file such as {"왼쪽": "오른쪽"}; each pair needs to be there once only.

    Raises:
        TrainingError: the file does not read, or is not of that shape.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise TrainingError(f'{path}: expected an object of glosses, such as {{"왼쪽": "오른쪽"}}')
    return document
