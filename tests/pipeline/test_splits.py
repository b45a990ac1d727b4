import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.pipeline.segment import Segment
from signprep.pipeline.splits import assign_splits, leaks


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
    return [(s.split, s.take, s.signer, None) for s in segments]


def test_official_signers_validate() -> None:
    segments = assign_splits(data_set(["REAL01", "REAL16", "REAL17", "REAL18", "SYN17"]))
    assert {s.signer for s in segments if s.split == "val"} == {"REAL17", "REAL18"}
    assert not leaks(as_rows(segments))


def test_only_official_signers_are_split_by_signer() -> None:
    segments = assign_splits(data_set(["REAL17", "REAL18"]))
    assert {s.split for s in segments} == {"train", "val"}


def test_without_signers_takes_are_kept_whole() -> None:
    segments = assign_splits(data_set([None], items=10))
    assert len({s.take for s in segments if s.split == "val"}) == 2
    assert not leaks(as_rows(segments))


def test_one_group_only_trains() -> None:
    assert {s.split for s in assign_splits(data_set(["REAL01"]))} == {"train"}


def test_equal_video_content_stays_on_one_side() -> None:
    segments = data_set([None], items=30, views="F")
    twins = {s.video: "same" for s in segments[::3]}
    split = assign_splits(segments, content_hashes=twins)
    assert len({s.split for s in split[::3]}) == 1
    assert {s.split for s in split} == {"train", "val"}


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5), st.sampled_from("FUDLR")), min_size=1, max_size=60))
def test_no_take_and_no_signer_is_ever_on_both_sides(names: list[tuple[int, int, str]]) -> None:
    segments = assign_splits([segment(f"SYN{s:02d}", f"WORD{i:04d}", v) for s, i, v in names])
    assert not leaks(as_rows(segments))
    if len({s for s, _, _ in names}) > 1:
        assert {s.split for s in segments} == {"train", "val"}


@pytest.mark.parametrize("kind", ["take", "signer", "video content"])
def test_a_leak_is_named(kind: str) -> None:
    place = ["take", "signer", "video content"].index(kind)
    rows = [("train", *("x" if k == place else f"a{k}" for k in range(3)))]
    rows += [("val", *("x" if k == place else f"b{k}" for k in range(3)))]
    assert leaks(rows) == [f"1 {kind} in both splits: x"]
