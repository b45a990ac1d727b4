"""Checks that look across files, as queries over the scan's database. Each adds problems, one row for a file."""

import unicodedata

from signprep.pipeline.datasets.annotations import SHARED_NAME, WHOLE_VIDEO_END
from signprep.pipeline.datasets.sign_script import VIEW_ENDS
from signprep.pipeline.datasets.splits import OFFICIAL_VALIDATION_SIGNERS
from signprep.pipeline.scan.database import ScanDatabase
from signprep.pipeline.scan.landmarks import Origin

MAX_DURATION_DIFFERENCE_SECONDS = 0.5
"""The largest difference between label and video that is no problem; 1 s for labels that state whole seconds."""

PAST_END_FRAMES = 1.5
"""A segment may end so many frames after its video, because labels round up."""

SHOWN_NAMES = 8
"""Words and ids named in one message."""

_QUERIES_OF_NAMES = {
    "label-without-video": """
        SELECT name AS path, 'there is no video named ' || base AS message FROM labels
        WHERE readable AND video_id IS NULL""",
    "video-without-label": """
        SELECT name AS path, 'there is no label ' || base || '_morpheme.json' || CASE WHEN kind IS NULL
            THEN ', and none with a sign_script is about it' ELSE '' END AS message FROM videos
        WHERE used AND base NOT IN (SELECT base FROM labels)
            AND base NOT IN (SELECT base || behind FROM labels, view_ends WHERE NOT readable)
            AND id NOT IN (SELECT video_id FROM labels WHERE video_id IS NOT NULL)
            AND id NOT IN (SELECT video_id FROM segments WHERE video_id IS NOT NULL)""",
    "missing-signers": """
        SELECT MIN(name) AS path, printf('is the first of %d labels of signer %s, of whom there is no video', COUNT(*),
            signer) AS message
        FROM labels WHERE readable AND video_id IS NULL AND signer IS NOT NULL
            AND signer NOT IN (SELECT signer FROM videos WHERE signer IS NOT NULL) GROUP BY signer""",
    "duration-mismatch": f"""
        SELECT l.name AS path, printf('states %.3f s, the video lasts %.3f s', l.seconds, v.seconds) AS message
        FROM labels l JOIN videos v ON v.id = l.video_id
        WHERE ABS(l.seconds - v.seconds) >
            CASE WHEN l.seconds = ROUND(l.seconds) THEN 1 ELSE {MAX_DURATION_DIFFERENCE_SECONDS} END""",
    # As `build-cache` names them: the video's own label comes first, and one without a segment shares nothing.
    SHARED_NAME: """
        SELECT name AS path, 'labels ' || video || ', as ' || first || ' does' AS message
        FROM (SELECT l.name, v.name AS video, FIRST_VALUE(l.name) OVER same AS first
              FROM labels l JOIN videos v ON v.id = l.video_id
              WHERE EXISTS (SELECT 1 FROM segments s WHERE s.label_id = l.id
                            AND 0 <= s.start_seconds AND s.start_seconds < s.end_seconds)
              WINDOW same AS (PARTITION BY l.video_id ORDER BY l.base <> v.base, l.base))
        WHERE name <> first""",
    "unknown-name": """
        SELECT name AS path, base || ' does not match the name pattern' AS message FROM videos
        WHERE item IS NULL AND signer IS NULL""",
}
"""Problems of AIHub's pairs of files, whose names tell item, signer and view."""
_PAIRS_WITH_VIDEOS = ("label-without-video", "video-without-label")

_SPAN = "printf('segment %d runs from %.3f to %.3f s', number, start_seconds, end_seconds)"
_GOOD = f"place = 0 AND 0 <= start_seconds AND start_seconds < end_seconds AND end_seconds < {WHOLE_VIDEO_END}"
# The label's own statement of the duration is the next best if the video was not opened.
_END = "COALESCE(video_seconds, label_seconds)"
_BOTH = f"""{_SPAN} || printf(', %s %.3f s',
    CASE WHEN video_seconds IS NULL THEN 'the label states' ELSE 'the video lasts' END, {_END})"""

# A frame that begins before the end is shown, hence the half.
_FRAMES = "CAST((MIN(end_seconds, video_seconds) - start_seconds) * rate + 0.5 AS INTEGER)"

_QUERIES = {
    "segment-inverted": f"""
        SELECT path, {_SPAN} AS message FROM cuts
        WHERE place = 0 AND (end_seconds < start_seconds OR start_seconds < 0)""",
    "segment-empty": f"""
        SELECT path, {_SPAN} AS message FROM cuts
        WHERE place = 0 AND end_seconds = start_seconds AND start_seconds >= 0""",
    "segment-outside": f"SELECT path, {_BOTH} AS message FROM cuts WHERE {_GOOD} AND start_seconds >= {_END}",
    "segment-past-end": f"""
        SELECT path, {_BOTH} AS message FROM cuts
        WHERE {_GOOD} AND start_seconds < {_END} AND end_seconds > {_END} + {PAST_END_FRAMES} / COALESCE(rate, 30)""",
    "segment-overlap": """
        SELECT path, printf('segment %d starts at %.3f s, before segment %d ends at %.3f s',
                            number, start_seconds, before, before_end) AS message
        FROM (SELECT path, number, start_seconds, LAG(number) OVER same AS before,
                     LAG(end_seconds) OVER same AS before_end
              FROM cuts WHERE place = 0 AND 0 <= start_seconds AND start_seconds < end_seconds
              WINDOW same AS (PARTITION BY label_id, video_id, is_weak ORDER BY start_seconds, end_seconds, number))
        WHERE before_end > start_seconds + 0.0005""",
    # The first video in the order of the walk is the original.
    "duplicate-video": """
        SELECT v.name AS path, 'has the content of ' || f.name AS message
        FROM (SELECT hash, MIN(id) AS first_id FROM videos WHERE hash IS NOT NULL GROUP BY hash HAVING COUNT(*) > 1) t
        JOIN videos v ON v.hash = t.hash JOIN videos f ON f.id = t.first_id WHERE v.id <> t.first_id""",
    "too-few-frames": f"""
        SELECT path, printf('segment %d has %d frames for clips of %d', number, {_FRAMES}, :num_frames) AS message
        FROM cuts WHERE place = 0 AND 0 <= start_seconds AND start_seconds < MIN(end_seconds, video_seconds)
            AND {_FRAMES} < :num_frames""",
}
"""Problems of all data sets. Segments' times are compared within a label or, without labels, within a video."""

_USUAL_RATES = "5 AND 240"
_SHOULD = "COALESCE(v.seconds, l.seconds)"
_QUERY_OF_RATES = f"""
    SELECT k.name AS path, printf('%d frames at %.4g frames/s last %.3f s', k.num_frames, k.rate, k.seconds)
        || CASE WHEN {_SHOULD} IS NULL THEN '' ELSE printf(', %s %.3f s',
            CASE WHEN v.seconds IS NULL THEN 'the label states' ELSE 'the video lasts' END, {_SHOULD}) END AS message
    FROM landmarks k LEFT JOIN labels l ON l.landmarks_id = k.id
        LEFT JOIN videos v ON v.id = l.video_id AND NOT v.of_landmarks
    WHERE k.rate NOT BETWEEN {_USUAL_RATES} OR ABS(k.seconds - {_SHOULD}) >
        CASE WHEN v.seconds IS NULL AND l.seconds = ROUND(l.seconds) THEN 1 ELSE {MAX_DURATION_DIFFERENCE_SECONDS} END
    GROUP BY k.id"""
"""Landmark files whose frames are told to last as no video's do, or longer or shorter than the video."""

_QUERY_OF_HOMONYMS = f"""
    WITH words AS (SELECT gloss, item, MIN(path) AS path FROM cuts
                   WHERE item IS NOT NULL AND kind IS NOT 'SEN' GROUP BY gloss, item),
         numbered AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY gloss ORDER BY item) AS place FROM words)
    SELECT MIN(path) AS path, gloss || ' has ' || COUNT(*) || ' ids: '
        || GROUP_CONCAT(CASE WHEN place <= {SHOWN_NAMES} THEN item END, ', ')
        || CASE WHEN COUNT(*) > {SHOWN_NAMES} THEN ', ...' ELSE '' END AS message
    FROM numbered GROUP BY gloss HAVING COUNT(*) > 1"""
"""Glosses of words that have several ids."""


def check_all(
    database: ScanDatabase, *, num_frames: int, layout: str, by_gloss: bool, origin: Origin | None = None
) -> str:
    """Run every check, and return the rule of the audited splits as `_assign_sides` does.

    `layout` is aihub, table or classes; `by_gloss` is True if glosses are the classes; `origin` is that of the
    landmarks, if there are any.
    """
    queries = _QUERIES | (_QUERIES_OF_NAMES if layout == "aihub" else {})
    if origin is not None:
        if database.value("SELECT COUNT(*) FROM videos WHERE NOT of_landmarks") == 0:
            queries = {kind: query for kind, query in queries.items() if kind not in _PAIRS_WITH_VIDEOS}
        queries |= _queries_of_landmarks(origin, layout)
    queries |= {"homonym": _QUERY_OF_HOMONYMS} if by_gloss else {}
    database.execute("CREATE TEMP TABLE view_ends (behind TEXT)")
    database.executemany("INSERT INTO view_ends VALUES (?)", ((end,) for end in VIEW_ENDS))
    for kind, query in queries.items():
        database.find(kind, query, {"num_frames": num_frames})
    if layout == "aihub":
        _check_missing_views(database)
        _check_missing_words(database)
        _check_times_of_others(database)
    _check_glosses(database)
    split_rule = _assign_sides(database)
    _check_leaks(database)
    return split_rule


def _queries_of_landmarks(origin: Origin, layout: str) -> dict[str, str]:
    """Return the problems of landmarks beside labels or segments."""
    what = origin.what
    past_end = f"k.seconds + {PAST_END_FRAMES} / COALESCE(k.rate, 30)"
    queries = {
        f"segment-{kind}-{what}": f"""
            SELECT COALESCE(l.name, k.name) AS path,
                   {_SPAN} || printf(', the {what} end at %.3f s', k.seconds) AS message
            FROM segments s JOIN landmarks k ON k.id = s.landmarks_id LEFT JOIN labels l ON l.id = s.label_id
            WHERE {_GOOD} AND {condition}"""
        for kind, condition in (
            ("outside", "start_seconds >= k.seconds"),
            ("past", f"start_seconds < k.seconds AND end_seconds > {past_end}"),
        )
    }
    if layout == "aihub":
        queries |= {
            f"label-without-{what}": f"""
                SELECT name AS path, '{origin.there_is_none}' || base AS message FROM labels
                WHERE readable AND landmarks_id IS NULL""",
            f"{what}-without-label": """
                SELECT name AS path, 'there is no label ' || base || '_morpheme.json' AS message FROM landmarks
                WHERE used AND base NOT IN (SELECT base FROM labels)
                    AND id NOT IN (SELECT landmarks_id FROM labels WHERE landmarks_id IS NOT NULL)
                    AND id NOT IN (SELECT landmarks_id FROM segments WHERE landmarks_id IS NOT NULL)""",
        }
    if origin.option == "files":  # AIHub's keypoints have no rate of their own
        queries["landmarks-rate"] = _QUERY_OF_RATES
    return queries


def _check_missing_views(database: ScanDatabase) -> None:
    """Find takes without a view that at least half of the takes of their kind and source have."""
    database.execute(
        """CREATE TEMP TABLE takes AS
        SELECT take, MIN(kind) AS kind, MIN(source) AS source, MIN(id) AS first_id FROM videos
        WHERE used AND view IS NOT NULL GROUP BY take"""
    )
    database.execute(
        """CREATE TEMP TABLE usual_views AS
        WITH sizes AS (SELECT kind, source, COUNT(*) AS num_takes FROM takes GROUP BY kind, source)
        SELECT v.kind, v.source, v.view FROM videos v JOIN sizes s ON s.kind IS v.kind AND s.source IS v.source
        WHERE v.used AND v.view IS NOT NULL
        GROUP BY v.kind, v.source, v.view HAVING COUNT(DISTINCT v.take) * 2 >= MIN(s.num_takes)"""
    )
    database.execute(
        """CREATE TEMP TABLE missing_views AS
        SELECT t.take, t.kind, t.source, t.first_id, u.view FROM takes t
        JOIN usual_views u ON u.kind IS t.kind AND u.source IS t.source
        WHERE NOT EXISTS (SELECT 1 FROM videos v WHERE v.take = t.take AND v.view = u.view)"""
    )
    database.find(
        "missing-views",
        """SELECT v.name AS path, 'take ' || m.take || ' has no view ' || GROUP_CONCAT(m.view, ', ') AS message
        FROM missing_views m JOIN videos v ON v.id = m.first_id GROUP BY m.take ORDER BY v.id""",
    )


def _check_missing_words(database: ScanDatabase) -> None:
    """Find signers without an item that at least half of the signers of their kind and source have."""
    database.execute(
        """CREATE TEMP TABLE signed AS
        SELECT kind, source, signer, item, MIN(id) AS first_id FROM videos
        WHERE used AND signer IS NOT NULL AND item IS NOT NULL GROUP BY kind, source, signer, item"""
    )
    database.execute("CREATE INDEX temp.signed_by ON signed (signer, item)")
    database.execute(
        """CREATE TEMP TABLE missing_words AS
        WITH signers AS (SELECT kind, source, signer, MIN(first_id) AS first_id FROM signed GROUP BY 1, 2, 3),
             sizes AS (SELECT kind, source, COUNT(*) AS num_signers FROM signers GROUP BY 1, 2),
             usual AS (SELECT d.kind, d.source, d.item FROM signed d
                       JOIN sizes z ON z.kind IS d.kind AND z.source IS d.source
                       GROUP BY 1, 2, 3 HAVING COUNT(*) * 2 >= MIN(z.num_signers))
        SELECT s.kind, s.source, s.signer, s.first_id, u.item FROM signers s
        JOIN usual u ON u.kind IS s.kind AND u.source IS s.source
        WHERE NOT EXISTS (SELECT 1 FROM signed d WHERE d.signer = s.signer AND d.item = u.item)"""
    )
    number = "ROW_NUMBER() OVER (PARTITION BY signer, kind ORDER BY item)"
    database.find(
        "missing-words",
        f"""SELECT v.name AS path, 'is the first video of signer ' || m.signer || ', who has none of '
                || GROUP_CONCAT(CASE WHEN m.place <= {SHOWN_NAMES} THEN m.item END, ', ')
                || CASE WHEN COUNT(*) > {SHOWN_NAMES} THEN ', ... (' || COUNT(*) || ' in all)' ELSE '' END AS message
        FROM (SELECT *, {number} AS place FROM missing_words ORDER BY signer, kind, item) m
        JOIN videos v ON v.id = m.first_id GROUP BY m.signer, m.kind ORDER BY COUNT(*) DESC, m.signer""",
    )


LEAST_SAME_SEGMENTS = 3
"""So many segments of two signers, at least, have equal times if one is taken for a copy of the other."""


def _check_times_of_others(database: ScanDatabase) -> None:
    """Find signers whose labels have the times of another signer, to the millisecond, in half of the items of both.

    People sign at different moments: such times were copied. Labels of whole videos, from 0 on, tell nothing; avatars
    (SYN) may have been moved by one person.
    """
    database.execute(
        """CREATE TEMP TABLE timed AS
        SELECT source, signer, item, times, MAX(num_segments) AS num_segments, MIN(label_id) AS label_id FROM (
            SELECT v.source, v.signer, v.item, s.label_id, COUNT(*) AS num_segments,
                   GROUP_CONCAT(printf('%.3f %.3f', s.start_seconds, s.end_seconds)) AS times
            FROM (SELECT * FROM segments WHERE place = 0 AND label_id IS NOT NULL ORDER BY label_id, number) s
            JOIN labels l ON l.id = s.label_id JOIN videos v ON v.id = l.video_id AND v.id = s.video_id
            WHERE v.signer IS NOT NULL AND v.item IS NOT NULL
            GROUP BY s.label_id HAVING COUNT(*) > 1 OR MIN(s.start_seconds) > 0)
        GROUP BY source, signer, item, times"""
    )
    database.execute("CREATE INDEX temp.timed_item ON timed (item, signer)")
    database.find(
        "times-of-another-signer",
        f"""WITH pairs AS (
            SELECT a.signer AS other, b.signer, COUNT(DISTINCT a.item) AS common,
                   COUNT(DISTINCT CASE WHEN a.times = b.times THEN a.item END) AS same,
                   SUM(CASE WHEN a.times = b.times THEN a.num_segments END) AS num_segments
            FROM timed a JOIN timed b ON b.item = a.item AND b.source IS a.source AND b.signer > a.signer
            WHERE a.source IS NOT 'SYN' GROUP BY 1, 2),
        copies AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY signer ORDER BY other) AS place FROM pairs
                   WHERE same * 2 >= common AND num_segments >= {LEAST_SAME_SEGMENTS})
        SELECT l.name AS path, printf('is the first label of signer %s, who has the times of signer %s in %d of the %d'
            || ' items of both', c.signer, c.other, c.same, c.common) AS message
        FROM copies c
        JOIN labels l ON l.id = (SELECT MIN(label_id) FROM timed WHERE signer = c.signer) WHERE c.place = 1""",
    )


def gloss_key(gloss: str) -> str:
    """Return a key that is the same for glosses that differ only by spaces or Unicode form.

    >>> gloss_key("어쩔 수 없다") == gloss_key("어쩔수없다 ")
    True
    """
    text = unicodedata.normalize("NFKC", gloss)
    # Cf: zero-width spaces and joiners, byte-order marks.
    return "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf")


def _check_glosses(database: ScanDatabase) -> None:
    """Find glosses that had to be normalised, and spellings that equal a more frequent one but for spaces or form."""
    for problem, compared in (("is not in NFC", "<>"), ("has spaces around it", "=")):
        database.find(
            "gloss-form",
            f"SELECT path, printf('segment %d: %s {problem}', number, gloss) AS message FROM cuts"
            f" WHERE raw_gloss IS NOT NULL AND TRIM(raw_gloss, CHAR(32, 9, 10, 13, 160, 12288)) {compared} gloss",
        )
    database.create_function("gloss_key", 1, gloss_key, deterministic=True)
    database.execute(
        """CREATE TABLE glosses AS
        SELECT gloss, gloss_key(gloss) AS spelling, COUNT(*) AS num_segments FROM segments GROUP BY gloss"""
    )
    database.execute("CREATE INDEX glosses_spelling ON glosses (spelling)")
    database.find(
        "gloss-spelling",
        """WITH usual AS (SELECT gloss, num_segments, spelling, ROW_NUMBER() OVER
                (PARTITION BY spelling ORDER BY num_segments DESC, gloss) AS place FROM glosses)
        SELECT c.path, printf('segment %d: "%s" (%d in all), elsewhere "%s" (%d)',
               c.number, c.gloss, g.num_segments, u.gloss, u.num_segments) AS message
        FROM usual g JOIN usual u ON u.spelling = g.spelling AND u.place = 1 JOIN cuts c ON c.gloss = g.gloss
        WHERE g.place > 1""",
    )


def _assign_sides(database: ScanDatabase) -> str:
    """Choose the splits to audit: a table's column, else folders named so, else AIHub's validation signers.

    Returns the rule in words, `none` if there are no splits.
    """
    if database.value("SELECT COUNT(*) FROM segments WHERE split IS NOT NULL"):
        database.execute("UPDATE videos SET split = NULL")
        rule = "the table's column split"
    elif database.value("SELECT COUNT(DISTINCT split) FROM videos WHERE split IS NOT NULL") > 1:
        rule = "folders"
    else:
        names = ", ".join(f"'{signer}'" for signer in sorted(OFFICIAL_VALIDATION_SIGNERS))
        official = f"signer IN ({names})"
        database.execute("UPDATE videos SET split = NULL")
        if database.value(f"SELECT COUNT(*) FROM videos WHERE {official}"):
            database.execute(f"UPDATE videos SET split = CASE WHEN {official} THEN 'val' ELSE 'train' END")
        rule = "AIHub's signers 17 and 18"
    return rule if database.value("SELECT COUNT(DISTINCT side) FROM cuts") > 1 else "none"


_DUPLICATES = """|| (SELECT printf('; --duplicates drop leaves out %d, together brings %d to ', all_of_it - spans,
        all_of_it - stay) || stays FROM (SELECT COUNT(*) AS all_of_it,
            COUNT(DISTINCT printf('%f %f %d', start_seconds, end_seconds, place)) AS spans,
            (SELECT side FROM sides WHERE hash = c.hash ORDER BY side = 'train', side LIMIT 1) AS stays,
            (SELECT num_segments FROM sides WHERE hash = c.hash ORDER BY side = 'train', side LIMIT 1) AS stay
        FROM cuts WHERE hash = c.hash AND side IS NOT NULL))"""
"""Words on what a build can do about copies in several splits; test and val keep theirs."""


def _check_leaks(database: ScanDatabase) -> None:
    """Find takes, contents and signers on several sides; each is named with the first file of its smallest side."""
    for kind, column, shown in (("take", "take", "take "), ("content", "hash", ""), ("signer", "signer", "signer ")):
        what = "'this content'" if kind == "content" else f"'{shown}' || c.{column}"
        cures = _DUPLICATES if kind == "content" else ""
        database.find(
            f"leak-{kind}",
            f"""WITH sides AS (SELECT {column}, side, COUNT(*) AS num_segments, MIN(video_id) AS first_id FROM cuts
                    WHERE side IS NOT NULL AND {column} IS NOT NULL AND {column} <> '' GROUP BY 1, 2)
            SELECT v.name AS path, {what} || ' has segments in several splits: '
                || GROUP_CONCAT(c.side || ' ' || c.num_segments, ', ') {cures} AS message
            FROM (SELECT * FROM sides ORDER BY {column}, side) c
            JOIN (SELECT {column}, first_id,
                         ROW_NUMBER() OVER (PARTITION BY {column} ORDER BY num_segments, side) AS place
                  FROM sides) f ON f.{column} = c.{column} AND f.place = 1
            JOIN videos v ON v.id = f.first_id
            GROUP BY c.{column} HAVING COUNT(*) > 1""",
        )
