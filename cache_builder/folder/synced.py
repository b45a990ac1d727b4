"""Which states a copy of a cache has shared with others, so that nobody's work is overwritten unseen.

`.synced.json` lies beside a cache's objects but is none of them: it tells of this copy, and does not travel. A pull
may replace a state that somebody else has too; a push may replace a state that this copy comes from. Anything else has
clips or labels that would be lost, and takes `--overwrite`.
"""

import json
from pathlib import Path

from signprep.cache_builder.format.layout import write_atomically

SYNCED = ".synced.json"
_KEPT = 100


def synced_fingerprints(cache: Path) -> list[str]:
    """Return the fingerprints of states that were pulled from or pushed to somewhere, oldest first."""
    try:
        fingerprints = json.loads((cache / SYNCED).read_text(encoding="utf-8"))["fingerprints"]
        return [name for name in fingerprints if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_synced(cache: Path, fingerprint: str) -> None:
    """Note that the present state is elsewhere too."""
    before = [name for name in synced_fingerprints(cache) if name != fingerprint]
    text = json.dumps({"fingerprints": [*before, fingerprint][-_KEPT:]}, indent=1)
    write_atomically(cache / SYNCED, text.encode())
