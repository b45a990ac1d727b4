"""Several caches become one: every clip once, whole, where a build would put it, and every disagreement is told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit import merge as merge_module
from signprep.cache_builder.edit.diff import diff
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import INDEX, read_manifest
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import AnnotationError, CacheError
from tests.cache_builder.edit.merging import merged, run
from tests.cache_builder.made_caches import GLOSSES, PROVENANCE, clip_of, forget_rows, make_cache, rewrite_rows
from tests.conftest import build_test_cache, plan_of


def stored(cache: Cache) -> dict[str, object]:
    """Return a cache's shards and index by size and hash: all but what tells where it comes from."""
    return {path: entry for path, entry in cache.manifest.objects.items() if "/c/" in path or path == INDEX}


def test_a_merged_cache_is_that_of_all_clips(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(30))
    b = make_cache(tmp_path / "b.zarr", range(20, 50), clips_per_shard=16)
    cache, report = merged(tmp_path / "c.zarr", a, b)
    assert stored(cache) == stored(make_cache(tmp_path / "all.zarr", range(50)))
    assert report.clips_of == (30, 20) and report.num_shared == 10 and report.num_failed == 0
    assert report.splits == {"train": 38, "val": 12} and not report.num_conflicts
    assert verify_cache(cache.path, deep=True) == [] and not (cache.path / ".build").exists()
    names = cache.index["segment_id"].to_pylist()
    np.testing.assert_array_equal(cache.read([names.index("NIA_SL_WORD0011_REAL02_F#0")])[0], clip_of(41))
    assert cache.info.provenance["merged_from"] == [a.fingerprint, b.fingerprint]


def test_the_same_inputs_give_the_same_cache_wherever_they_lie(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(30)), make_cache(tmp_path / "b.zarr", range(20, 50))
    first, _ = merged(tmp_path / "c.zarr", a, b)
    moved = Path(shutil.copytree(a.path, tmp_path / "elsewhere" / "x.zarr"))
    second, _ = merged(tmp_path / "d.zarr", open_cache(moved), b)
    assert first.fingerprint == second.fingerprint and first.manifest == second.manifest


def test_no_more_shards_are_mapped_than_one_new_shard_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = [make_cache(tmp_path / f"{number}.zarr", range(50 * number, 50 * number + 50)) for number in range(2)]
    monkeypatch.setattr(merge_module, "open_folder", lambda path: next(c for c in caches if c.path == path))
    write, mapped = merge_module.write_atomically, []

    def note(path: Path, data: bytes) -> None:
        mapped.append(sum(len(cache._shards) for cache in caches))
        write(path, data)

    monkeypatch.setattr(merge_module, "write_atomically", note)
    merged(tmp_path / "c.zarr", *caches)
    assert len(mapped) == 25 and 0 < max(mapped) <= 3


def test_more_than_two_caches_become_one(tmp_path: Path) -> None:
    parts = [range(20), range(10, 30), [5, *range(25, 50)]]
    caches = [make_cache(tmp_path / f"{number}.zarr", numbers) for number, numbers in enumerate(parts)]
    cache, report = merged(tmp_path / "c.zarr", *caches)
    assert stored(cache) == stored(make_cache(tmp_path / "all.zarr", range(50)))
    assert report.clips_of == (20, 10, 20) and report.num_shared == 16


def test_a_merged_cache_tells_every_version_that_took_part(tmp_path: Path) -> None:
    caches = [make_cache(tmp_path / f"{version}.zarr", range(4 * version, 4 * version + 4)) for version in range(3)]
    for version, cache in enumerate(caches):
        provenance = {**PROVENANCE, "versions": {"av": f"16.{version}", "zarr": "3"}}
        caches[version] = rewrite_rows(cache, {}, provenance=provenance)
    both, _ = merged(tmp_path / "both.zarr", caches[0], caches[1])
    cache, _ = merged(tmp_path / "c.zarr", both, caches[2], caches[0])
    assert cache.info.provenance["versions"] == {"av": "16.0, 16.1, 16.2", "zarr": "3"}
    assert cache.info.provenance["decoder"] == "pyav"


def test_glosses_keep_the_first_cache_s_order_and_new_ones_follow(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(12))
    a = rewrite_rows(a, {}, glosses=("위", "왼쪽", "오른쪽"))
    b = make_cache(tmp_path / "b.zarr", range(12, 24))
    b = rewrite_rows(b, {0: {"gloss": "새"}}, glosses=("새", *GLOSSES))
    cache, _ = merged(tmp_path / "c.zarr", a, b)
    assert cache.vocabulary.glosses == ("위", "왼쪽", "오른쪽", "새")
    glosses = cache.index["gloss"].to_pylist()
    assert [cache.vocabulary.glosses[label] for label in cache.labels()] == glosses


@pytest.fixture
def disagreeing(tmp_path: Path) -> tuple[Cache, Cache]:
    """Two caches of the same 16 clips, 12 of which the second one labels otherwise."""
    a, b = make_cache(tmp_path / "a.zarr", range(16)), make_cache(tmp_path / "b.zarr", range(16))
    return a, rewrite_rows(b, {position: {"gloss": "새"} for position in range(12)}, glosses=(*GLOSSES, "새"))


def test_conflicting_labels_are_refused_by_name(disagreeing: tuple[Cache, Cache], tmp_path: Path) -> None:
    a, b = disagreeing
    code, text = run(a.path, b.path, "--out", tmp_path / "c.zarr")
    names = a.index["segment_id"].to_pylist()
    assert code == 1 and "12 clips labelled in several ways; --on-conflict first, last or drop decides" in text
    assert f"\n  {names[0]}: 왼쪽 in {a.path}, 새 in {b.path}\n" in text
    assert [name in text for name in names[:12]] == [True] * 10 + [False] * 2 and text.endswith("... and 2 more")
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize("choice", ["first", "last", "drop"])
def test_conflicting_labels_are_decided_as_asked(disagreeing: tuple[Cache, Cache], tmp_path: Path, choice: str) -> None:
    a, b = disagreeing
    code, text = run(a.path, b.path, "--out", tmp_path / "c.zarr", "--on-conflict", choice)
    assert code == 0 and "12 clips labelled in several ways: " in text
    cache = open_cache(tmp_path / "c.zarr")
    if choice == "drop":
        assert len(cache) == 4 and cache.index["segment_id"].to_pylist() == a.index["segment_id"].to_pylist()[12:]
    else:
        expected = a if choice == "first" else b
        assert cache.index.equals(expected.index)
    assert "새" in cache.vocabulary.glosses or choice != "last"
    assert verify_cache(cache.path, deep=True) == []


def test_a_clip_of_which_a_third_cache_sides_with_the_first_is_still_dropped(
    disagreeing: tuple[Cache, Cache], tmp_path: Path
) -> None:
    a, b = disagreeing
    third = make_cache(tmp_path / "third.zarr", range(20))
    cache, report = merged(tmp_path / "c.zarr", a, b, third, on_conflict="drop")
    assert len(cache) == 8 and report.num_conflicts == 12


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(4)), make_cache(tmp_path / "b.zarr", range(4))
    b = rewrite_rows(b, {position: {"gloss": "위"} for position in range(4)})
    with pytest.raises(CacheError, match="have no clip that a merged cache would hold"):
        merged(tmp_path / "c.zarr", a, b, on_conflict="drop")


@pytest.mark.parametrize("unread", [False, True])
def test_a_clip_that_failed_in_one_cache_is_taken_from_the_other(tmp_path: Path, unread: bool) -> None:
    a = make_cache(tmp_path / "a.zarr", range(20), failed=frozenset([2, 9]))
    b = make_cache(tmp_path / "b.zarr", range(8, 30), failed=frozenset([12, 25]))
    if unread:
        failed = [p for p, status in enumerate(a.index["status"].to_pylist()) if status == "failed"]
        a = rewrite_rows(a, {position: {"video_hash": None} for position in failed})
    cache, report = merged(tmp_path / "c.zarr", a, b)
    rows = {row["segment_id"]: row for row in cache.index.to_pylist()}
    assert len(cache) == len(rows) == 30 and report.num_failed == 2
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {
        "NIA_SL_WORD0001_REAL03_F#0",
        "NIA_SL_WORD0007_REAL02_F#0",
    }
    for number, name in ((9, "NIA_SL_WORD0003_REAL02_F#0"), (12, "NIA_SL_WORD0004_REAL01_F#0")):
        np.testing.assert_array_equal(cache.read([rows[name]["position"]])[0], clip_of(number))
    assert verify_cache(cache.path, deep=True) == []


def test_a_failed_clip_has_no_say_in_its_label_and_hides_no_later_one(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(8), failed=frozenset([0]))
    a = rewrite_rows(a, {0: {"video_hash": None, "gloss": "위"}})
    b = make_cache(tmp_path / "b.zarr", range(8))
    third = rewrite_rows(make_cache(tmp_path / "third.zarr", range(8)), {0: {"video": "renamed.mp4"}})
    cache, report = merged(tmp_path / "c.zarr", a, b, third)
    assert len(cache) == 8 and report.num_conflicts == 0 and report.clips_of == (7, 1, 0)
    assert cache.index.equals(b.index)


def test_removed_clips_are_left_behind(tmp_path: Path) -> None:
    a = forget_rows(make_cache(tmp_path / "a.zarr", range(12)), [0, 1, 10])
    b = make_cache(tmp_path / "b.zarr", [0, *range(12, 20)])
    cache, report = merged(tmp_path / "c.zarr", a, b)
    assert report.clips_of == (9, 9) and len(cache) == 18
    assert "NIA_SL_WORD0001_REAL02_F#0" not in cache.index["segment_id"].to_pylist()
    assert "removed" not in cache.index["status"].to_pylist()
    a, b = forget_rows(a, [*range(12)]), forget_rows(b, [*range(9)])
    assert diff(a.path, b.path).num_shared == 0
    assert stored(merged(tmp_path / "d.zarr", a, cache)[0]) == stored(cache)
    with pytest.raises(CacheError, match="have no clip"):
        merged(tmp_path / "e.zarr", a, b)


def test_twins_in_one_cache_stay_twins(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(8))
    a = rewrite_rows(a, {1: {"video_hash": f"{0:032x}"}})  # a copy of the video of position 0, under another name
    b = make_cache(tmp_path / "b.zarr", range(12))
    cache, report = merged(tmp_path / "c.zarr", a, b)
    assert a.index["video_hash"][0] == a.index["video_hash"][1]
    assert report.clips_of == (8, 5) and report.num_shared == 7
    assert cache.index["video_hash"].to_pylist().count(f"{0:032x}") == 2


def test_a_name_that_means_two_clips_keeps_both(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8))
    b = rewrite_rows(b, {0: {"video_hash": "f" * 32}, 1: {"end_seconds": 0.8}})
    code, text = run(a.path, b.path, "--out", tmp_path / "c.zarr")
    assert code == 0 and "take care: 2 clips with the segment id of another clip" in text
    names = open_cache(tmp_path / "c.zarr").index["segment_id"].to_pylist()
    assert len(set(names)) == len(names) == 10
    assert {f"{name}~2" for name in a.index["segment_id"].to_pylist()[:2]} < set(names)
    code, text = run(tmp_path / "c.zarr", b.path, "--out", tmp_path / "d.zarr")
    assert code == 0 and "10 taken from" in text and "0 taken from" in text and "segment id" not in text


def test_leaks_and_splits_that_disagree_are_told_and_split_by_ends_them(tmp_path: Path) -> None:
    a = make_cache(tmp_path / "a.zarr", range(16))
    b = make_cache(tmp_path / "b.zarr", range(12, 32))
    # The view from the left of a take that trains in the other cache, and a clip that both have.
    other_view = {"view": "L", "take": "REAL01_WORD0001", "split": "val"}
    b = rewrite_rows(b, {4: other_view, 0: {"split": "val"}})
    code, text = run(a.path, b.path, "--out", tmp_path / "c.zarr")
    assert code == 0
    assert "1 clip in several splits: the one of the first cache stands" in text
    assert "training will refuse this: 1 take in both splits: REAL01_WORD0001" in text
    assert "--split-by auto" in text
    code, text = run(a.path, b.path, "--out", tmp_path / "d.zarr", "--split-by", "auto")
    assert code == 0 and "refuse" not in text and "several splits" not in text
    index = open_cache(tmp_path / "d.zarr").index
    sides: dict[str, set[str]] = {}
    for signer, split in zip(index["signer"].to_pylist(), index["split"].to_pylist(), strict=True):
        sides.setdefault(signer, set()).add(split)
    assert {len(splits) for splits in sides.values()} == {1} and {s for x in sides.values() for s in x} == {
        "train",
        "val",
    }
    splits = index["split"].to_pylist()
    assert splits == sorted(splits)


def test_videos_of_one_content_are_split_to_one_side_whatever_they_are_called(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(16)), make_cache(tmp_path / "b.zarr", range(16, 32))
    hashes = a.index["video_hash"].to_pylist()
    copies = {p: {"video_hash": digest, "end_seconds": 0.8} for p, digest in enumerate(hashes)}  # of other takes
    b = rewrite_rows(b, copies)
    cache, report = merged(tmp_path / "c.zarr", a, b, splits=SplitOptions(by="take", validation_fraction=0.5))
    assert len(cache) == 32 and set(report.splits) == {"train", "val"}
    assert [leak.kind for leak in report.found_leaks] == ["signer"]


def test_a_split_that_the_clips_do_not_allow_is_one_clear_error(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8, 16))
    with pytest.raises(AnnotationError, match="REAL17 or REAL18"):
        merged(tmp_path / "c.zarr", a, b, splits=SplitOptions(by="official"))
    assert not (tmp_path / "c.zarr").exists()


def test_what_was_pulled_and_merged_may_be_pushed_in_its_place(s3_url: str, tmp_path: Path) -> None:
    published = make_cache(tmp_path / "published.zarr", range(30))
    push(published.path, s3_url)
    pull(s3_url, tmp_path / "theirs.zarr")
    mine = make_cache(tmp_path / "mine.zarr", range(20, 50))
    with pytest.raises(CacheError, match="does not come from"):
        push(mine.path, s3_url)
    cache, _ = merged(tmp_path / "both.zarr", mine, open_cache(tmp_path / "theirs.zarr"))
    push(cache.path, s3_url)
    pull(s3_url, tmp_path / "theirs.zarr")
    assert open_cache(tmp_path / "theirs.zarr").fingerprint == cache.fingerprint


@pytest.fixture
def part_of(data_root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a data root of those files of the shared one whose names hold one of some texts."""

    def make(name: str, *texts: str) -> Path:
        for path in data_root.rglob("*.*"):
            if any(text in path.name for text in texts):
                target = tmp_path / name / path.relative_to(data_root)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, target)
        return tmp_path / name

    return make


def test_caches_that_were_built_apart_are_merged_into_the_one_of_all_data(
    part_of: Callable[..., Path], data_root: Path, tmp_path: Path
) -> None:
    a = build_test_cache(part_of("data a", "WORD0001", "WORD0002_REAL01"), tmp_path / "a.zarr")
    b = build_test_cache(part_of("data b", "WORD0002", "WORD0001_REAL17"), tmp_path / "b.zarr")
    whole = build_test_cache(data_root, tmp_path / "whole.zarr")
    cache, report = merged(tmp_path / "c.zarr", a, b, splits=SplitOptions(by="official"))
    assert report.clips_of == (8, 4) and report.num_shared == 4 and len(cache) == len(whole) == 12
    assert cache.read(cache.positions()).tobytes() == whole.read(whole.positions()).tobytes()
    assert stored(cache) == stored(whole) and diff(cache.path, whole.path).equal
    before = read_manifest(cache.path).objects
    updated = build(plan_of(data_root), cache.path, RunOptions(workers=1))
    assert updated.num_reused == 12 and not updated.num_changed and not updated.num_removed
    assert read_manifest(cache.path).objects == before
