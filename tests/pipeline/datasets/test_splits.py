import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.splits import SplitOptions, assign_splits, changed_by_duplicates, leaks
from signprep.pipeline.errors import AnnotationError


def segment(signer: str | None, item: str, view: str = "F", video: str | None = None) -> Segment:
    take = f"{signer}_{item}"
    return Segment(
        segment_id=f"{take}_{view}#0",
        video=video or f"{take}_{view}.mp4",
        start_seconds=0.0,
        end_seconds=1.0,
        gloss=item,
        item=item,
        signer=signer,
        view=view,
        take=take,
    )


def data_set(signers: list[str | None], items: int = 3, views: str = "FL") -> list[Segment]:
    return [segment(s, f"WORD{i:04d}", v) for s, i, v in itertools.product(signers, range(items), views)]


def as_rows(segments: list[Segment]) -> list[tuple[str | None, ...]]:
    return [(s.split, s.take, None, s.signer) for s in segments]


def test_official_signers_validate() -> None:
    segments = assign_splits(data_set(["REAL01", "REAL16", "REAL17", "REAL18", "SYN17"]))
    assert {s.signer for s in segments if s.split == "val"} == {"REAL17", "REAL18"}
    assert not leaks(as_rows(segments))


def test_only_official_signers_are_split_by_signer() -> None:
    segments = assign_splits(data_set(["REAL17", "REAL18"]))
    assert {s.split for s in segments} == {"train", "val"}


def with_glosses(segments: list[Segment], glosses: int) -> list[Segment]:
    """The takes of each item get one of a few glosses, in turn."""
    return [replace(s, gloss=f"gloss {int(s.item[4:]) % glosses}") for s in segments if s.item]


def test_without_signers_takes_are_kept_whole_and_glosses_are_balanced() -> None:
    segments = assign_splits(with_glosses(data_set([None], items=50), glosses=5))
    assert not leaks(as_rows(segments))
    in_val = Counter(s.gloss for s in segments if s.split == "val")
    assert in_val == {f"gloss {k}": 4 for k in range(5)}  # 2 of 10 takes from 2 views


def test_no_gloss_loses_its_last_training_clip() -> None:
    segments = data_set([None], items=12) + data_set(["X1"], items=20)
    split = assign_splits(segments, SplitOptions(by="take"))
    assert {s.gloss for s in split} == {s.gloss for s in split if s.split == "train"}
    assert any(s.split == "val" for s in split)


def test_one_take_only_trains_and_one_signer_is_split_by_take() -> None:
    assert {s.split for s in assign_splits(data_set(["REAL01"], items=1))} == {"train"}
    one_signer = assign_splits(with_glosses(data_set(["REAL01"], items=10), glosses=2))
    assert {s.split for s in one_signer} == {"train", "val"}
    [leak] = leaks(as_rows(one_signer))
    assert leak.kind == "signer" and not leak.forbidden


def test_equal_video_content_stays_on_one_side() -> None:
    segments = with_glosses(data_set([None], items=30, views="F"), glosses=3)
    twins = {s.video: "same" for s in segments[::5]}
    split = assign_splits(segments, content_hashes=twins)
    assert len({s.split for s in split[::5]}) == 1
    assert {s.split for s in split} == {"train", "val"}


def test_a_column_is_taken_as_it_is_and_must_be_whole() -> None:
    given_splits = [replace(s, split="val" if s.signer == "A" else "train") for s in data_set(["A", "B"])]
    assert assign_splits(given_splits) == given_splits
    with pytest.raises(AnnotationError, match="1 segment without a split"):
        assign_splits([replace(given_splits[0], split=None), *given_splits[1:]])


@pytest.mark.parametrize(("by", "signers"), [("official", ["A", "B"]), ("official", ["REAL17"]), ("signer", [None])])
def test_a_split_that_the_data_cannot_give_is_refused(by: str, signers: list[str | None]) -> None:
    with pytest.raises(AnnotationError, match="signers"):
        assign_splits(data_set(signers), SplitOptions(by=by))


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5), st.sampled_from("FUDLR")), min_size=1, max_size=60))
def test_no_take_and_no_signer_is_ever_on_both_sides(names: list[tuple[int, int, str]]) -> None:
    segments = assign_splits([segment(f"SYN{s:02d}", f"WORD{i:04d}", v) for s, i, v in names])
    found = leaks(as_rows(segments))
    assert not any(leak.forbidden for leak in found)
    if len({s for s, _, _ in names}) > 1:
        assert not found
        assert {s.split for s in segments} == {"train", "val"}


@pytest.mark.parametrize("kind", ["take", "video content", "signer"])
def test_a_leak_is_named(kind: str) -> None:
    place = ["take", "video content", "signer"].index(kind)
    rows = [("train", *("x" if k == place else f"a{k}" for k in range(3)))]
    rows += [("val", *("x" if k == place else f"b{k}" for k in range(3)))]
    [leak] = leaks(rows)
    assert str(leak) == f"1 {kind} in both splits: x"
    assert leak.forbidden == (kind != "signer")


def copies(*rows: tuple[str, str | None, float, str]) -> tuple[list[Segment], dict[str, str]]:
    """Return segments of (video, split, start, content), and the contents by video."""
    segments = [
        replace(segment(None, f"W{number}", video=video), split=split, start_seconds=start, end_seconds=start + 1)
        for number, (video, split, start, _) in enumerate(rows)
    ]
    return segments, {video: content for video, _, _, content in rows if content}


@pytest.mark.parametrize(
    ("duplicates", "left"),
    [
        ("keep", [("a", "train", 0), ("b", "val", 0), ("a", "train", 3), ("c", "train", 0)]),
        ("drop", [("b", "val", 0), ("a", "val", 3), ("c", "train", 0)]),
        ("together", [("a", "val", 0), ("b", "val", 0), ("a", "val", 3), ("c", "train", 0)]),
    ],
)
def test_copies_in_two_splits_of_a_table_stay_or_are_dropped_or_come_together(
    duplicates: str, left: list[tuple[str, str, float]]
) -> None:
    segments, hashes = copies(
        ("a", "train", 0, "x"), ("b", "val", 0, "x"), ("a", "train", 3, "x"), ("c", "train", 0, "")
    )
    found = assign_splits(segments, SplitOptions(duplicates=duplicates), content_hashes=hashes)
    assert [(s.video, s.split, s.start_seconds) for s in found] == left
    assert bool(leaks((s.split, s.take, hashes.get(s.video), None) for s in found)) == (duplicates == "keep")
    told = {
        "keep": None,
        "drop": "1 clip left out, being copies of others; 1 clip moved from train to val to its copies",
    }
    assert changed_by_duplicates(segments, found) == told.get(
        duplicates, "2 clips moved from train to val to its copies"
    )


def test_other_views_of_a_copy_go_with_it() -> None:
    segments = [replace(s, split="train") for s in data_set(["REAL01"], items=1, views="FLR")]
    segments.append(replace(segment("REAL02", "WORD0009", video="copy.mp4"), split="test"))
    hashes = {segments[0].video: "x", "copy.mp4": "x"}
    found = assign_splits(segments, SplitOptions(duplicates="together"), content_hashes=hashes)
    assert [s.split for s in found] == ["test"] * 4


@pytest.mark.parametrize("by", ["official", "take"])
def test_copies_are_dropped_before_data_without_splits_are_split(by: str) -> None:
    segments = data_set([f"REAL{number}" for number in range(10, 18)])
    hashes = {s.video: f"content {s.item} {s.view}" for s in segments if s.signer in ("REAL11", "REAL17")}
    found = assign_splits(segments, SplitOptions(by=by, duplicates="drop"), content_hashes=hashes)
    dropped = {s.signer for s in segments} - {s.signer for s in found}
    assert dropped == ({"REAL11"} if by == "official" else {"REAL17"})
    assert not leaks((s.split, s.take, hashes.get(s.video), None) for s in found)


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.sampled_from(["train", "val", "test"]),
            st.sampled_from([0.0, 1.0, 2.0]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_content_is_on_two_sides_once_copies_are_dropped_or_together(
    rows: list[tuple[str, str, float, int]],
) -> None:
    content_of = {video: f"content {content}" for video, _, _, content in rows}
    segments, _ = copies(*((video, split, start, "") for video, split, start, _ in rows))
    sides: dict[str, set[str | None]] = {}
    for s in segments:
        sides.setdefault(content_of[s.video], set()).add(s.split)
    for duplicates in ("drop", "together"):
        found = assign_splits(segments, SplitOptions(duplicates=duplicates), content_hashes=content_of)
        assert not [leak for leak in leaks((s.split, None, content_of[s.video], None) for s in found)]
        assert assign_splits(found, SplitOptions(duplicates=duplicates), content_hashes=content_of) == found
        spans = {(content_of[s.video], s.start_seconds) for s in segments}
        assert {(content_of[s.video], s.start_seconds) for s in found} == spans
        # Nothing that is tested or validates comes to train.
        kept = {s.segment_id: s.split for s in found}
        assert all(kept.get(s.segment_id, s.split) == s.split for s in segments if s.split == "test")
        assert all(kept.get(s.segment_id, "val") != "train" for s in segments if s.split == "val")
        assert duplicates == "drop" or len(found) == len(segments)


def test_train_and_test_alone_get_validation_from_train_by_whole_signers() -> None:
    data = [replace(segment(f"S{k}", f"W{word}"), split="train") for k in range(5) for word in range(3)]
    data += [replace(segment("S9", f"W{word}"), split="test") for word in range(3)]
    found = assign_splits(data)
    assert [s.segment_id for s in found] == [s.segment_id for s in data]
    sides = {split: {s.signer for s in found if s.split == split} for split in ("train", "val", "test")}
    assert sides["test"] == {"S9"} and len(sides["val"]) == 1 and not sides["val"] & sides["train"]
    assert assign_splits(data, SplitOptions(by="column")) == data
    with_val = [replace(s, split="val") if s.signer == "S1" else s for s in data]
    assert assign_splits(with_val) == with_val


def in_folders(*rows: tuple[str, str | None, str]) -> list[Segment]:
    """Return segments of (folder, signer, item)."""
    return [segment(signer, item, video=f"{folder}/{signer}_{item}.mp4") for folder, signer, item in rows]


@pytest.mark.parametrize("by", ["auto", "official"])
def test_official_folders_give_the_split(by: str) -> None:
    training, validation = "1.Training/원천데이터/REAL/01_real_word_video.zip!/01", "2.Validation/[원천]01.zip!/01"
    segments = in_folders((training, "REAL09", "W1"), (training, "REAL17", "W1"), (validation, "REAL09", "W2"))
    assert [s.split for s in assign_splits(segments, SplitOptions(by=by))] == ["train", "train", "val"]
    signers = assign_splits(segments, SplitOptions(by="signer"))
    assert len({s.split for s in signers if s.signer == "REAL09"}) == 1


def test_folders_of_train_and_test_alone_give_validation_from_train() -> None:
    rows = [(folder, f"S{k}{folder}", f"W{w}") for folder in ("train", "test") for k in range(4) for w in range(3)]
    found = assign_splits(in_folders(*rows))
    assert {s.split for s in found if s.video.startswith("train/")} == {"train", "val"}
    assert {s.split for s in found if s.video.startswith("test/")} == {"test"}


def test_folders_give_no_split_where_some_have_none_or_a_take_is_in_two() -> None:
    rows = [("Training", f"REAL{k:02}", "W1") for k in range(15, 18)]
    for more in [], [("Validation", "REAL18", "W1"), ("other", "REAL18", "W2")], [("Validation", "REAL15", "W1")]:
        segments = assign_splits(in_folders(*rows, *more))
        assert {s.signer for s in segments if s.split == "val"} <= {"REAL17", "REAL18"}
    assert [s.split for s in assign_splits(segments, SplitOptions(by="official"))] == ["train"] * 3 + ["val"]


def test_a_folder_that_is_named_by_the_gloss_is_no_split() -> None:
    segments = [
        replace(segment(None, f"W{k}", video=f"{folder}/{gloss}/{k}.mp4"), gloss=gloss)
        for k, (folder, gloss) in enumerate(itertools.product(("train", "val"), ("train", "test", "book")))
    ]
    assert [s.split for s in assign_splits(segments)] == ["train"] * 3 + ["val"] * 3
