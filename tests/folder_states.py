"""What a folder holds at moments of a command: kept, and told apart by what matters to the next command."""

import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

from tests.file_events import KILLED, TORN, FileEvent, grown, tear

_OF_ONE_PROCESS = ("callbacks", "loops")
"""What tells in a checkpoint how often a run was begun, and when."""


def hashes_of(work: Path) -> dict[str, str]:
    paths = sorted(work.rglob("*"))
    return {path.relative_to(work).as_posix(): _hash_of(path) if path.is_file() else "" for path in paths}


def _hash_of(path: Path) -> str:
    """Return the hash of a file; of a checkpoint without what is `_OF_ONE_PROCESS`."""
    from signprep.pipeline.datasets.files.video_files import content_hash

    if path.suffix != ".ckpt":
        return content_hash(path)
    import torch

    contents = torch.load(path, weights_only=True)
    kept = {name: value for name, value in contents.items() if name not in _OF_ONE_PROCESS}
    return content_hash(io.BytesIO(json.dumps(kept, default=_plain).encode()))


def _plain(value: Any) -> Any:
    """Return what JSON does not know, a tensor or the like, as what it does."""
    return [str(value.dtype), value.tolist()] if hasattr(value, "tolist") else repr(value)


_WITH_TIMES = ("run.json", "metrics.csv", "report.html", ".report.json")
"""Files of a run that tell how long something took; their words count, and not their numbers."""


def state_of(work: Path) -> str:
    """Return the hash of what a folder holds, but for what tells only when and by which process it was written."""
    told = []
    for path in sorted(work.rglob("*")):
        name = re.sub(r"\.[0-9a-f]{4,16}\.part$", ".part", path.relative_to(work).as_posix())
        if path.is_dir():
            contents = ""
        elif "tfevents" in name:
            name, contents = str(Path(name).parent / "tfevents"), ""
        elif path.name.endswith(_WITH_TIMES):
            contents = re.sub(r"[\d.]+", "0", path.read_text(encoding="utf-8", errors="replace"))
        else:
            contents = _hash_of(path)
        told.append(f"{name} {path.stat().st_mode} {contents}")
    return hashlib.blake2b("\n".join(sorted(told)).encode()).hexdigest()


def copied(folder: Path, target: Path) -> Path:
    """Put a copy of a folder in the place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target, symlinks=True))


_TRIES = 100


class FolderStates:
    """Folders as they were at moments of a command, each once."""

    def __init__(self, work: Path) -> None:
        self._work, self._kept, self._copy = work, work.parent / "states", work.parent / "copy"
        shutil.rmtree(self._kept, ignore_errors=True)  # of an earlier command
        self._kept.mkdir()

    def keep(self, event: FileEvent) -> dict[str, Path]:
        """Keep what lies there; return what a process leaves that is killed there, by the way it is killed."""
        for tries_left in reversed(range(_TRIES)):
            try:
                copied(self._work, self._copy)
                break
            except (OSError, shutil.Error):  # another thread of the command is just renaming something
                if not tries_left:
                    raise
        kept = self._keep_copy()
        left = {KILLED: kept, TORN: kept}
        if event.opened is not None:
            path, before = event.opened
            torn = path.replace(str(self._work), str(self._copy), 1)
            copied(kept, self._copy)
            if grown(torn, before):
                tear(torn, before)
                left[TORN] = self._keep_copy()
        return left

    def _keep_copy(self) -> Path:
        kept = self._kept / state_of(self._copy)
        if not kept.exists():
            self._copy.rename(kept)
        return kept
