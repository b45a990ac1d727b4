"""Labels that stand for several views of one recording: which videos they label, and what they tell of them."""

from signprep.pipeline.scan.database import ScanDatabase


def pair_views(database: ScanDatabase) -> None:
    """Join labels with the videos of all their views, and landmarks with them; each view has segments of its own.

    Of the names that a label may mean, those of the first rank count that any file has.
    """
    if not database.value("SELECT COUNT(*) FROM views"):
        return
    database.executescript("""
        CREATE INDEX views_base ON views (base);
        CREATE TEMP TABLE seen AS
            SELECT w.*, v.id AS video_id, l.id AS landmarks_id FROM views w
            LEFT JOIN videos v ON v.used AND v.base = w.base LEFT JOIN landmarks l ON l.used AND l.base = w.base
            WHERE v.id IS NOT NULL OR l.id IS NOT NULL;
        CREATE INDEX temp.seen_label ON seen (label_id, rank);
        DELETE FROM seen WHERE rank > (SELECT MIN(rank) FROM seen AS s WHERE s.label_id = seen.label_id);
        CREATE TEMP TABLE found AS
            SELECT *, ROW_NUMBER() OVER (PARTITION BY label_id ORDER BY video_id IS NULL, video_id) AS place FROM seen;
        CREATE INDEX temp.found_label ON found (label_id, place);
        UPDATE labels SET (video_id, landmarks_id) =
                (SELECT video_id, landmarks_id FROM found WHERE label_id = labels.id AND place = 1)
            WHERE id IN (SELECT label_id FROM found);
        UPDATE segments SET (video_id, landmarks_id) =
                (SELECT video_id, landmarks_id FROM labels WHERE id = segments.label_id)
            WHERE label_id IN (SELECT label_id FROM found);
        INSERT INTO segments (label_id, video_id, landmarks_id, number, place, start_seconds, end_seconds, gloss,
                              raw_gloss, is_weak)
            SELECT s.label_id, f.video_id, f.landmarks_id, s.number, s.place, s.start_seconds, s.end_seconds, s.gloss,
                   s.raw_gloss, s.is_weak
            FROM segments s JOIN found f ON f.label_id = s.label_id AND f.place > 1;
    """)
    for table, column in (("videos", "video_id"), ("landmarks", "landmarks_id")):
        database.execute(f"CREATE INDEX temp.found_{table} ON found ({column})")
        told = f"(SELECT item, 'SEN', signer, view, take FROM found WHERE {column} = {table}.id ORDER BY label_id)"
        database.execute(
            f"UPDATE {table} SET (item, kind, signer, view, take) = {told}"
            f" WHERE id IN (SELECT {column} FROM found WHERE {column} IS NOT NULL)"
        )
