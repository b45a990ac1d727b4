from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import WHOLE_VIDEO_END, Segment
from signprep.pipeline.datasets.read import NO_SIGN_GLOSS, no_sign_segments
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_data_root


def sign(video: str, number: int, start: float, end: float, gloss: str = "위") -> Segment:
    return Segment(
        segment_id=f"{video}#{number}", video=f"{video}.mp4", start_seconds=start, end_seconds=end, gloss=gloss,
        take=video, signer="REAL01",
    )  # fmt: skip


def test_gaps_before_and_between_signs_become_segments_in_their_middle() -> None:
    signs = [sign("a", 0, 1.6, 2.6), sign("a", 1, 3.0, 4.0, "아래"), sign("a", 2, 6.0, 7.0), sign("b", 0, 0.4, 1.4)]
    idle = no_sign_segments(signs)
    assert [(s.segment_id, s.start_seconds, s.end_seconds) for s in idle] == [
        ("a#idle0", 0.3, 1.3),
        ("a#idle2", 4.5, 5.5),
    ]
    assert all(s.gloss == NO_SIGN_GLOSS and s.take == "a" and s.signer == "REAL01" for s in idle)


def test_a_sign_that_was_not_chosen_is_no_rest() -> None:
    signs = [
        sign("a", 0, 0.0, 1.0),
        sign("a", 1, 1.5, 3.0, "아래"),
        sign("a", 2, 4.5, 5.5),
        sign("b", 0, 9.0, 9.9, "아래"),
    ]
    chosen = [s for s in signs if s.gloss == "위"]
    assert [(s.video, s.start_seconds) for s in no_sign_segments(chosen)] == [("a.mp4", 2.25)]
    assert [(s.video, s.start_seconds) for s in no_sign_segments(chosen, occupied=signs)] == [("a.mp4", 3.25)]


def test_they_are_no_more_than_the_most_frequent_gloss_and_always_the_same_ones() -> None:
    signs = [sign(f"v{k}", 0, 2.0, 3.0, f"단어{k % 10}") for k in range(50)]
    idle = no_sign_segments(signs)
    assert len(idle) == 5 and idle == no_sign_segments(signs)
    assert [s.video for s in idle] == sorted((s.video for s in idle), key=lambda name: int(name[1:-4]))


def test_overlapping_labels_leave_no_gap() -> None:
    signs = [sign("a", 0, 0.0, 5.0), sign("a", 1, 1.0, 2.0), sign("a", 2, 5.5, 6.5)]
    with pytest.raises(AnnotationError, match="no video has 1"):
        no_sign_segments(signs)


def test_impossible_idle_classes_are_refused() -> None:
    with pytest.raises(AnnotationError, match="have a gloss '위' already"):
        no_sign_segments([sign("a", 0, 2.0, 3.0)], "위")
    with pytest.raises(AnnotationError, match="whole videos"):
        no_sign_segments([sign("a", 0, 0.0, WHOLE_VIDEO_END)])


def test_a_cache_gets_the_class_as_its_last_one(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    for label in (root / "label").iterdir():
        text = label.read_text(encoding="utf-8")
        label.write_text(text.replace('"start": 0.2', '"start": 0.4').replace("0.8", "0.7"), encoding="utf-8")
    out = tmp_path / "idle.zarr"
    arguments = ["build-cache", "--data-root", str(root), "--out", str(out), "--frames", "4", "--size", "64"]
    result = CliRunner().invoke(cli, [*arguments, "--workers", "1", "--idle-class"])
    assert result.exit_code == 0, result.exception
    cache = open_cache(out)
    assert cache.vocabulary.glosses == ("왼쪽", "오른쪽", NO_SIGN_GLOSS)
    assert len(cache) == 12 + 6
    assert set(cache.labels()[12:]) == {2} or sum(cache.labels() == 2) == 6
