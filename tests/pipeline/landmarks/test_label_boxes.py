"""`--crop signer` on a table that says where its signers are: clips show the square around the box of their label."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from signprep.cache_builder import open_cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.landmarks.crop import box_in_picture
from signprep.pipeline.landmarks.maker import makes_clips
from tests.generated_videos import write_video
from tests.mutations.command import run_command

SPEC = ClipSpec(num_frames=4, size=32, crop="signer")
OPTIONS = ("--num-frames", "4", "--size", "32", "--workers", "1")
LEFT, RIGHT = (0.0, 0.1, 0.4, 0.6), (0.5, 0.25, 1.0, 0.75)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number in range(3):
        write_video(tmp_path / "data" / f"{number}.mp4")
    return tmp_path / "data"


def write_table(data: Path, boxes: list[tuple[float, ...] | None]) -> Path:
    """A row for each box; rows 0 to 2 are videos, later ones other spans of the last one."""
    with (data / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "start", "end", "gloss", "box_x0", "box_y0", "box_x1", "box_y1"])
        for number, box in enumerate(boxes):
            row = [f"{min(number, 2)}.mp4", 0.1 * number, 1 + 0.1 * number, f"word{number % 2}"]
            writer.writerow([*row, *(box or [""] * 4)])
    return data / "table.csv"


def build(table: Path, out: Path, *options: str, crop: str = "signer") -> tuple[list[dict[str, Any]], str]:
    """Return the index's rows by position and what was printed."""
    command = ("build-cache", "--data-root", str(table), "--out", str(out), *OPTIONS, "--crop", crop, *options)
    code, printed, errors = run_command(*command)
    assert code == 0, errors
    return open_cache(out).index.to_pylist(), printed + errors


def test_a_clip_shows_the_square_around_the_box_of_its_label(data: Path, tmp_path: Path) -> None:
    rows, _ = build(write_table(data, [LEFT, (80, 24, 160, 72), None]), tmp_path / "a.zarr")
    by_video = {row["video"]: row for row in rows}
    # A picture of 160x96: boxes of 64x48 and, in pixels, 80x48; the square does not leave the picture.
    assert by_video["0.mp4"]["crop_box"] == pytest.approx([0, 2 / 96, 64 / 160, 66 / 96])
    assert by_video["1.mp4"]["crop_box"] == pytest.approx([80 / 160, 8 / 96, 1, 88 / 96])
    assert [by_video[name]["box"] for name in ("0.mp4", "1.mp4", "2.mp4")] == [list(LEFT), [80, 24, 160, 72], None]
    cache = open_cache(tmp_path / "a.zarr")
    for row in rows:
        crop = ",".join(map(repr, row["crop_box"]))
        spec = ClipSpec(num_frames=4, size=32, crop=crop)
        [clip] = extract_clips(data / row["video"], [Span(row["start_seconds"], row["end_seconds"])], spec)
        assert isinstance(clip, Clip) and np.array_equal(clip.frames, cache.read([row["position"]])[0])


def test_a_changed_box_cuts_its_clips_anew_and_no_others(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    before, _ = build(write_table(data, [LEFT, LEFT, None, None]), out)
    clips = {row["segment_id"]: open_cache(out).read([row["position"]])[0] for row in before}
    again, _ = build(write_table(data, [LEFT, LEFT, None, None]), out)
    assert again == before
    after, _ = build(write_table(data, [LEFT, RIGHT, None, LEFT]), out)
    live = {row["segment_id"]: row for row in after if row["status"] == "ok"}
    first = {row["segment_id"]: row for row in before}
    same = {name for name, row in live.items() if row["position"] == first[name]["position"]}
    assert same == {"0#1", "2#3"} and live.keys() == first.keys()
    assert live["1#2"]["box"] == list(RIGHT) and live["1#2"]["crop_box"] != first["1#2"]["crop_box"]
    for name, row in live.items():
        assert np.array_equal(open_cache(out).read([row["position"]])[0], clips[name]) == (name in same)
    fresh, _ = build(data / "table.csv", tmp_path / "fresh.zarr")
    for row in fresh:
        stored = open_cache(out).read([live[row["segment_id"]]["position"]])
        assert np.array_equal(open_cache(tmp_path / "fresh.zarr").read([row["position"]]), stored)


def test_damaged_clips_are_made_again_by_their_boxes(data: Path, tmp_path: Path) -> None:
    build(write_table(data, [LEFT, RIGHT, None]), tmp_path / "a.zarr")
    shard = next(path for path in (tmp_path / "a.zarr" / "clips" / "c").rglob("0") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    code, _, errors = run_command("verify", str(tmp_path / "a.zarr"), "--repair", "--data-root", str(data))
    assert code == 0, errors
    assert shard.read_bytes() == whole


def test_the_squares_of_one_cache_are_the_boxes_of_another_as_the_document_says(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.rename(tmp_path / "DATA")
    rows, _ = build(write_table(tmp_path / "DATA", [LEFT, None, RIGHT]), tmp_path / "landmarks.zarr")
    document = (Path(__file__).parents[3] / "docs" / "landmarks.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?DATA/boxes.csv.*?)^```", document, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    again, _ = build(tmp_path / "DATA" / "boxes.csv", tmp_path / "pixels.zarr")
    kept = ("video", "start_seconds", "end_seconds", "gloss", "take", "split", "crop_box")
    told = [[{name: row[name] for name in kept} for row in made] for made in (rows, again)]
    assert told[0] == told[1]
    one, other = open_cache(tmp_path / "landmarks.zarr"), open_cache(tmp_path / "pixels.zarr")
    assert np.array_equal(one.read(one.positions()), other.read(other.positions()))


def test_a_pool_tells_clips_of_other_boxes_apart(data: Path, tmp_path: Path) -> None:
    pool = ("--clip-pool", str(tmp_path / "pool"))
    one, _ = build(write_table(data, [LEFT, None, RIGHT]), tmp_path / "one.zarr", *pool)
    _, told = build(write_table(data, [LEFT, RIGHT, None]), tmp_path / "two.zarr", *pool)
    assert f"taken from the clip pool {tmp_path / 'pool'}: 1 clip\n" in told
    two = {row["video"]: row for row in open_cache(tmp_path / "two.zarr").index.to_pylist()}
    assert {row["video"]: row["crop_box"] == two[row["video"]]["crop_box"] for row in one} == {
        "0.mp4": True, "1.mp4": False, "2.mp4": False,
    }  # fmt: skip


def test_boxes_decide_nothing_where_clips_show_something_else(data: Path, tmp_path: Path) -> None:
    with_boxes, _ = build(write_table(data, [LEFT, RIGHT, None]), tmp_path / "a.zarr", crop="center")
    without, _ = build(write_table(data, [None] * 3), tmp_path / "b.zarr", crop="center")
    assert with_boxes == without
    assert open_cache(tmp_path / "a.zarr").fingerprint == open_cache(tmp_path / "b.zarr").fingerprint
    assert not {"box", "crop_box"} & set(pq.read_schema(tmp_path / "a.zarr" / "index.parquet").names)


def test_a_box_of_another_picture_fails_its_clip_alone(data: Path, tmp_path: Path) -> None:
    rows, _ = build(write_table(data, [LEFT, (0, 0, 1000, 700), (1.5, 0, 1.9, 1), None]), tmp_path / "a.zarr")
    errors = {row["segment_id"]: row["error"] for row in rows if row["status"] == "failed"}
    assert errors == {
        "1#2": "1.mp4: the box 0, 0, 1000, 700 of its label is no part of a picture of 160x96 in pixels; was the video "
        "scaled after it was made?",
        "2#3": "2.mp4: the box 1.5, 0, 1.9, 1 of its label is no part of a picture of 160x96 in its width and height",
    }
    assert [row["status"] for row in rows if row["segment_id"] in ("0#1", "2#4")] == ["ok", "ok"]


def test_a_box_may_reach_out_of_the_picture_a_little() -> None:
    assert box_in_picture((-5, 10, 210, 105), (200, 100)) == (0, 0.1, 1, 1)
    assert box_in_picture((-0.5, 0.1, 1.8, 2.0), (200, 100)) == (0, 0.1, 1, 1)
    for box in ((0.0, 0.0, 225.0, 90.0), (0.1, 0.1, 2.5, 2.5), (0.5, 0.5, 0.51, 0.9), (-3.0, 0.0, -1.0, 1.0)):
        with pytest.raises(DecodeError, match="no part of a picture of 200x100"):
            box_in_picture(box, (200, 100))


def test_a_box_keeps_its_clip_from_no_overlapping_one(data: Path) -> None:
    spans, boxes = [Span(0.2, 1.2), Span(0.25, 1.0), Span(0.2, 1.2)], [LEFT, None, (900.0, 0.0, 999.0, 9.0)]
    make = makes_clips(SPEC)
    boxed, free, failed = extract_clips(data / "0.mp4", spans, SPEC, boxes=boxes, make=make)
    [alone] = extract_clips(data / "0.mp4", spans[1:2], SPEC, make=make)
    assert isinstance(boxed, Clip) and isinstance(free, Clip) and isinstance(alone, Clip)
    assert isinstance(failed, DecodeError) and boxed.crop_box != free.crop_box == alone.crop_box
    assert np.array_equal(free.frames, alone.frames)
