"""Which videos have the same bytes: equal sizes first, then equal heads, then whole files."""

from pathlib import Path

from signprep.pipeline.datasets.files import DataRoots
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.scan.database import ScanDatabase
from signprep.pipeline.scan.processes import in_processes

VIDEOS_A_CHUNK = 32

HEAD_BYTES = 2**16
"""Of files of equal size, hashed before whole files are: among 500,000 videos most sizes come twice by chance."""


def collect_hashes(root: Path, workers: int, database: ScanDatabase) -> None:
    """Hash the videos that may have a twin: equal sizes first, then equal heads, then whole files."""
    _hash(root, "head_hash", "num_bytes > 0 AND num_bytes IN (%s)", "num_bytes", HEAD_BYTES, workers, database)
    database.run(f"UPDATE videos SET hash = head_hash WHERE num_bytes <= {HEAD_BYTES}")
    condition = f"num_bytes > {HEAD_BYTES} AND (num_bytes, head_hash) IN (%s)"
    _hash(root, "hash", condition, "num_bytes, head_hash", None, workers, database)
    database.run("CREATE INDEX videos_hash ON videos (hash)")


def _hash(
    root: Path, column: str, condition: str, same: str, limit: int | None, workers: int, database: ScanDatabase
) -> None:
    twins = f"SELECT {same} FROM videos GROUP BY {same} HAVING COUNT(*) > 1"
    database.run("DROP TABLE IF EXISTS candidates")
    database.run(f"CREATE TEMP TABLE candidates AS SELECT id, name FROM videos WHERE {condition % twins} ORDER BY id")
    total = database.value("SELECT COUNT(*) FROM candidates")
    if not total:
        return
    query = "SELECT rowid, id, name FROM candidates WHERE rowid > :after ORDER BY rowid LIMIT :size"
    calls = ((root, [row[1:] for row in rows], limit) for rows in database.chunks(query, VIDEOS_A_CHUNK))
    with progress_bar("Comparing contents", total, "videos") as progress:
        done = 0
        for rows in in_processes(hash_videos, calls, workers):
            database.run_many(f"UPDATE videos SET {column} = ? WHERE id = ?", rows)
            done += len(rows)
            progress(done)


def hash_videos(root: Path, files: list[tuple[int, str]], limit: int | None) -> list[tuple[str | None, int]]:
    """Return the content hash of each file, or of its first `limit` bytes, with its id; None if it cannot be read."""
    roots = DataRoots.single(root)
    return [(roots.content_hash(name, limit), video_id) for video_id, name in files]
