"""The files, labels and segments of a scan in a temporary SQLite file: memory stays flat, and findings are queries.

In: rows, in chunks. Out: rows. The trade-off: everything is written to disk once (about 1 KB a video), which costs
some seconds for 100,000 labels, and a data set of 3 TB is scanned in the memory that a small one takes.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -4096;

CREATE TABLE videos (
    id INTEGER PRIMARY KEY,          -- in the order of the walk
    name TEXT NOT NULL,              -- relative to the root
    base TEXT NOT NULL,              -- base name, NFC
    num_bytes INTEGER,
    item TEXT, kind TEXT, source TEXT, signer TEXT, view TEXT, take TEXT NOT NULL,
    split TEXT,                      -- train, val, test: by folder or by AIHub's rule
    further INTEGER NOT NULL,        -- 1: passed over where another video has this base name
    of_landmarks INTEGER NOT NULL DEFAULT 0, -- 1: landmarks in a video's place, in a root without videos
    used INTEGER NOT NULL DEFAULT 1, -- 0: another file with this base name is taken
    probed INTEGER NOT NULL DEFAULT 0,
    codec TEXT, width INTEGER, height INTEGER, orientation TEXT,
    rate REAL,                       -- frames per second, on average
    variable_rate TEXT,              -- in words; NULL: constant
    seconds REAL,                    -- as declared; with --deep as found
    num_frames INTEGER,
    head_hash TEXT, hash TEXT        -- only of files that may have a duplicate
);
CREATE TABLE landmarks (             -- keypoints, a row for all files of a video; or landmark files
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, base TEXT NOT NULL, num_bytes INTEGER,
    item TEXT, kind TEXT, source TEXT, signer TEXT, view TEXT, take TEXT NOT NULL, split TEXT,
    further INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 1, probed INTEGER NOT NULL DEFAULT 0,
    num_frames INTEGER,
    rate REAL,                       -- frames per second, by the median interval
    seconds REAL                     -- the end of the last frame
);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, base TEXT NOT NULL, num_bytes INTEGER,
    signer TEXT, split TEXT,         -- by its name, by its folder
    named_base TEXT,                 -- of metaData.name
    seconds REAL,                    -- metaData.duration
    readable INTEGER NOT NULL DEFAULT 1,
    video_id INTEGER, landmarks_id INTEGER
);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, label_id INTEGER, video_id INTEGER, landmarks_id INTEGER, number INTEGER NOT NULL,
    place INTEGER NOT NULL,          -- among the glosses of its annotation
    start_seconds REAL NOT NULL, end_seconds REAL NOT NULL,
    gloss TEXT NOT NULL, raw_gloss TEXT, split TEXT,
    is_weak INTEGER                  -- 1: of the weak hand, which may sign while the strong one does
);
CREATE TABLE views (                 -- a row for each name that a video of a label with several views may have
    label_id INTEGER NOT NULL, rank INTEGER NOT NULL, base TEXT NOT NULL,
    item TEXT, signer TEXT, view TEXT, take TEXT NOT NULL
);
CREATE TABLE problems (kind TEXT NOT NULL, path TEXT NOT NULL, message TEXT NOT NULL);

CREATE VIEW cuts AS                  -- segments with all that is known about their video
    SELECT s.*, COALESCE(l.name, v.name) AS path, l.seconds AS label_seconds, v.seconds AS video_seconds, v.rate,
           v.item, v.kind, v.source, v.signer, v.view, v.take, v.hash, COALESCE(s.split, v.split) AS side
    FROM segments s LEFT JOIN labels l ON l.id = s.label_id LEFT JOIN videos v ON v.id = s.video_id;
"""

Row = tuple[Any, ...]


class ScanDatabase(sqlite3.Connection):
    """The connection to the tables of one scan."""

    def dicts(self, query: str, values: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Return the rows of a query by column name, read one by one."""
        cursor = self.cursor()
        cursor.row_factory = sqlite3.Row
        return map(dict, cursor.execute(query, values))

    def value(self, query: str, values: Sequence[Any] = ()) -> Any:
        """Return the only value of a query, None if there is no row."""
        row = self.execute(query, values).fetchone()
        return row[0] if row else None

    def add_problems(self, problems: Iterable[Row]) -> None:
        """Add (kind, path, message) rows."""
        # A root's name may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
        rows = ([str(text).encode("utf-8", "backslashreplace").decode() for text in row] for row in problems)
        self.executemany("INSERT INTO problems VALUES (?, ?, ?)", rows)

    def find(self, kind: str, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Add a problem for each (path, message) row of a query."""
        # Kinds are our own words and need no quoting.
        # A label of several views has the same problem in each.
        self.execute(f"INSERT INTO problems SELECT DISTINCT '{kind}', path, message FROM ({query})", values)

    def chunks(self, query: str, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a query in lists; its first column ascends, and `:after` and `:size` bound it.

        Each list is fetched by itself, so that rows may be changed in between.
        """
        after = -1
        while rows := self.execute(query, {"after": after, "size": size}).fetchall():
            yield rows
            after = rows[-1][0]

    def index(self) -> None:
        """Make queries fast, once all files are known."""
        self.executescript("""
            CREATE INDEX videos_base ON videos (base);
            CREATE INDEX landmarks_base ON landmarks (base);
            CREATE INDEX videos_take ON videos (take);
            CREATE INDEX videos_size ON videos (num_bytes);
            CREATE INDEX labels_base ON labels (base);
            CREATE INDEX labels_video ON labels (video_id);
            CREATE INDEX labels_landmarks ON labels (landmarks_id);
            CREATE INDEX segments_label ON segments (label_id, number);
            CREATE INDEX segments_video ON segments (video_id);
            CREATE INDEX segments_gloss ON segments (gloss);
        """)


def without_name(message: str, root: Path, name: str) -> str:
    """Return an error message without the file's name before it, since reports show the name in its own column."""
    for prefix in (f"{root / name}: ", f"{name}: ", f"{root}: ", f"{root}/"):
        message = message.removeprefix(prefix)
    return message


@contextmanager
def temporary_database() -> Iterator[ScanDatabase]:
    """Open an empty database that is deleted at the end, however the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="signprep-scan-") as folder,
        closing(ScanDatabase(Path(folder) / "scan.sqlite")) as database,
    ):
        database.executescript(SCHEMA)
        yield database
