"""Two caches are compared clip by clip, by who the clips are, wherever they lie."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from signprep.cache_builder.edit.diff import diff, matched_rows
from signprep.cache_builder.format.index import index_table
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from tests.cache_builder.edit.merging import merged
from tests.cache_builder.made_caches import GLOSSES, forget_rows, make_cache, rewrite_rows, row_of


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["diff", *map(str, arguments)])
    return result.exit_code, result.stdout or result.stderr


def test_other_shards_another_order_and_removed_clips_make_no_difference(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(20))
    b = make_cache(tmp_path / "b.zarr", range(21), clips_per_shard=8)
    assert run(a.path, b.path)[0] == 1
    forget_rows(b, [b.index["segment_id"].to_pylist().index("NIA_SL_WORD0006_REAL01_F#0")])
    code, text = run(a.path, b.path)
    assert code == 0 and "in both: 20 clips" in text and text.endswith("equal\n")
    assert json.loads(run(a.path, b.path, "--json")[1])["equal"] is True


def test_clips_of_one_side_are_told_by_split_and_gloss_and_name(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(16)), make_cache(tmp_path / "b.zarr", range(12, 24))
    code, text = run(a.path, b.path)
    assert code == 1 and text.endswith("different\n")
    assert "in both: 4 clips" in text
    assert "only in A: 12 clips; by split: train 9, val 3; by gloss: 오른쪽 4, 왼쪽 4, 위 4" in text
    assert "only in B: 8 clips; by split: train 6, val 2; by gloss: 오른쪽 4, 위 4" in text
    assert "NIA_SL_WORD0001_REAL01_F#0, NIA_SL_WORD0001_REAL02_F#0, " in text and ", ...\n" in text
    code, text = run(a.path, b.path, "--json")
    document = json.loads(text)
    assert code == 1 and document["equal"] is False and document["in_both"] == 4
    assert len(document["a"]["only_here"]["segment_ids"]) == document["a"]["only_here"]["clips"] == 12
    assert document["b"]["only_here"]["by_split"] == {"train": 6, "val": 2}
    assert document["a"]["fingerprint"] == a.fingerprint


def test_what_is_said_differently_of_the_same_clip_is_named(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(16))
    b = make_cache(tmp_path / "b.zarr", range(16), failed=frozenset([5]))
    names = a.index["segment_id"].to_pylist()
    changes: dict[int, dict[str, object]] = {
        0: {"gloss": "위"},
        1: {"split": None},
        2: {"video": "other/name.mp4", "segment_id": "name#0"},
        3: {"signer": "REAL09"},
    }
    b = rewrite_rows(b, changes)
    found = diff(a.path, b.path)
    assert found.num_shared == 16 and not found.a.only.num_rows and not found.b.only.num_rows
    assert {name: table.to_pylist() for name, table in found.differing.items()} == {
        "gloss": [{"segment_id": names[0], "a": "왼쪽", "b": "위"}],
        "split": [{"segment_id": names[1], "a": "train", "b": None}],
        "status": [{"segment_id": "NIA_SL_WORD0002_REAL02_F#0", "a": "ok", "b": "failed"}],
        "segment_id": [{"segment_id": names[2], "a": names[2], "b": "name#0"}],
        "video": [{"segment_id": names[2], "a": f"video/{names[2][:-2]}.mp4", "b": "other/name.mp4"}],
        "signer": [{"segment_id": names[3], "a": "REAL01", "b": "REAL09"}],
    }
    code, text = run(a.path, b.path)
    assert code == 1
    assert f"gloss differs in 1 clip (A, B): {names[0]} (왼쪽, 위)" in text
    assert f"split differs in 1 clip (A, B): {names[1]} (train, -)" in text


def test_settings_that_differ_are_named_one_by_one(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(8))
    b = make_cache(tmp_path / "b.zarr", range(8), codec="zstd", spec=ClipSpec(num_frames=8, size=32))
    code, text = run(a.path, b.path)
    assert code == 1 and "in both: 8 clips" in text
    assert "num_frames is 4 in A, 8 in B" in text and "codec is lz4hc in A, zstd in B" in text
    assert "size" not in text and "decoder" not in text
    assert json.loads(run(a.path, b.path, "--json")[1])["incompatible"] == {
        "num_frames": [4, 8],
        "codec": ["lz4hc", "zstd"],
    }


def test_another_order_of_the_glosses_is_a_difference(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(16)), make_cache(tmp_path / "b.zarr", range(16))
    b = rewrite_rows(b, {}, glosses=("왼쪽", "위", "오른쪽"))
    code, text = run(a.path, b.path)
    assert code == 1 and "2 labels differ (A, B): 오른쪽 (1, 2), 위 (2, 1)" in text
    assert "differs in" not in text and "only in" not in text


def test_a_name_with_another_content_is_told_apart(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8))
    b = rewrite_rows(b, {0: {"video_hash": "f" * 32}, 1: {"end_seconds": 0.8}})
    names = a.index["segment_id"].to_pylist()[:2]
    code, text = run(a.path, b.path)
    assert code == 1 and "in both: 6 clips" in text
    told = "2 names are in both, with other video content, another span or another box: "
    assert f"{told}{names[0]}, {names[1]}" in text


def test_two_boxes_in_one_video_are_two_clips(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8))
    left, right = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
    a = rewrite_rows(a, {0: {"box": left}, 1: {"box": left}})
    b = rewrite_rows(b, {0: {"box": right}, 1: {"box": left}})
    code, text = run(a.path, b.path)
    assert code == 1 and "in both: 7 clips" in text
    assert f"only in A: 1 clip; by split: train 1; by gloss: 왼쪽 1\n  {a.index['segment_id'][0]}" in text
    whole, result = merged(tmp_path / "whole.zarr", a, b)
    assert whole.info.num_positions == 9 and result.num_shared == 7
    assert whole.index["box"].to_pylist().count(left) == 2 and whole.index["box"].to_pylist().count(right) == 1


def test_what_is_no_cache_is_trouble_of_its_own(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(8)).path
    file = tmp_path / "file"
    file.write_text("x")
    for wrong in (tmp_path / "nowhere", file, tmp_path):
        code, text = run(a, wrong)
        assert code == 2 and text.startswith(f"signprep: error: {wrong}: ") and text.count("\n") == 1


@st.composite
def few_rows(draw: st.DrawFn) -> pa.Table:
    """Rows of few contents, spans, names and glosses, so that many are twins."""
    rows = []
    for position in range(draw(st.integers(0, 7))):
        content, name, gloss, end = (draw(st.integers(0, 1)) for _ in range(4))
        status = draw(st.sampled_from(["ok", "ok", "failed", "unread"]))
        rows.append(
            row_of(
                0,
                position,
                video=f"{name}.mp4",
                video_hash=None if status == "unread" else f"{content:032x}",
                gloss=GLOSSES[gloss],
                end_seconds=0.5 + end,
                status="ok" if status == "ok" else "failed",
            )
        )
    return index_table(rows)


@given(few_rows(), few_rows())
def test_each_row_is_paired_once_at_most_and_never_with_another_clip(left: pa.Table, right: pa.Table) -> None:
    pairs = matched_rows(left, right)
    assert pairs.dtype == np.int64 and pairs.shape[1] == 2
    for side in (0, 1):
        assert len(np.unique(pairs[:, side])) == len(pairs)
    a, b = left.to_pylist(), right.to_pylist()

    def is_same(x: dict[str, object], y: dict[str, object]) -> bool:
        spans = x["start_seconds"] == y["start_seconds"] and x["end_seconds"] == y["end_seconds"]
        by_name = x["video"] == y["video"] and "failed" in (x["status"], y["status"])
        return spans and (by_name or (x["video_hash"] is not None and x["video_hash"] == y["video_hash"]))

    assert all(is_same(a[i], b[j]) for i, j in pairs.tolist())
    free_a = [row for i, row in enumerate(a) if i not in pairs[:, 0]]
    free_b = [row for j, row in enumerate(b) if j not in pairs[:, 1]]
    assert not any(is_same(x, y) for x in free_a for y in free_b)
    # No pair of two glosses where the twins could have been paired gloss by gloss.
    whole = [[(r["video_hash"], r["end_seconds"], r["gloss"]) for r in rows if r["video_hash"]] for rows in (a, b)]
    best = (Counter(whole[0]) & Counter(whole[1])).total()
    equal = sum(
        a[i]["video_hash"] == b[j]["video_hash"] is not None and a[i]["gloss"] == b[j]["gloss"] for i, j in pairs
    )
    assert equal == best
