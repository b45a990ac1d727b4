"""Labels with a `sign_script`, of AIHub 636 and the NIKL corpora, in the shapes that docs/data-layouts.md names."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.pipeline.datasets.aihub import read_label
from signprep.pipeline.datasets.annotations import DatasetOptions, Segment
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import AnnotationError
from tests.pipeline.datasets.test_aihub import touch_video
from tests.pipeline.datasets.test_read import build
from tests.pipeline.scan.scanning import scan

NAME = "NIA_SL_G1_COLDWAVE000010_1_TW07"


def gesture(gloss: Any, start: Any, end: Any, source: str = "", target: str = "") -> dict[str, Any]:
    return {
        "gloss_id": gloss, "start": start, "end": end, "express": "m",
        "direction": {"source": source, "target": target}, "position": [], "sentence_loc": {"start": 0, "end": 1},
    }  # fmt: skip


def disaster(**tiers: Any) -> dict[str, Any]:
    """A label of AIHub 636."""
    frame = [0.1, 0.2, 0.3] * 25
    return {
        "metadata": {
            "id": NAME,
            "video_fps": 30,
            "augment": False,
            "signer": {"id": "S012"},
            "translator": {"id": "T3"},
        },
        "korean_text": "오늘 밤 9시부터 한파가 예상됩니다.",
        "landmarks": {"pose_keypoints_3d": [frame, frame], "camera_parameter": {}},
        "sign_script": {f"sign_gestures_{hand}": entries for hand, entries in tiers.items()},
        "nms_script": {"Ci": [{"start": 0.1, "end": 0.3, "descriptor": "x"}], "Hs": []},
    }


def corpus(name: str, **tiers: Any) -> dict[str, Any]:
    """A label of the NIKL corpora."""
    return {
        "id": f"{name}.1", "vido_file_nm": name, "potogrf": {"fps": 30, "width": 1920, "height": 1080},
        "krlgg_sntenc": {"koreanText": "나는 너를 돕는다."}, "sign_lang_sntenc": "나1/돕다1",
        "sign_script": {"sign_gestures_strong": None, "sign_gestures_weak": None}
        | {f"sign_gestures_{hand}": entries for hand, entries in tiers.items()},
        "nms_script": {}, "landmarks": [{"frame": 1, "predictions": [{"keypoints": [[1, 2], [3, 4]]}]}],
    }  # fmt: skip


def write(root: Path, name: str, document: Any) -> None:
    path = root / "라벨링데이터" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def rows(segments: tuple[Segment, ...]) -> list[tuple[Any, ...]]:
    return [(s.segment_id, s.start_seconds, s.end_seconds, s.gloss, s.item, s.signer, s.view, s.take) for s in segments]


def test_one_label_of_the_disaster_set_labels_all_views(tmp_path: Path) -> None:
    for view in "DF":
        touch_video(tmp_path, f"{NAME}_{view}")
    both = [gesture("한파1", 1.5, 2.25), gesture("예상1", 3, 3.75)]
    write(tmp_path, NAME, disaster(both=both, strong=[gesture("오늘1", 0.5, 1.25)], weak=[]))
    found = read_data_root(tmp_path)
    shared = "COLDWAVE000010", "S012"
    assert found.problems == ()
    assert rows(found.segments) == [
        (f"{NAME}_{view}#{number}", start, end, gloss, *shared, view, NAME)
        for view in "FD"
        for number, start, end, gloss in ((2, 0.5, 1.25, "오늘1"), (0, 1.5, 2.25, "한파1"), (1, 3, 3.75, "예상1"))
    ]
    assert scan(tmp_path, probe="none").keys() == {"duplicate-video"}  # of the test's videos


def test_a_label_of_the_corpora_labels_the_videos_of_both_sides(tmp_path: Path) -> None:
    for name in ("SL0001R", "SL0001L", "SL0002"):
        touch_video(tmp_path, name)
    write(tmp_path, "SL0001", corpus("SL0001", strong=[gesture("나1", 0.5, 1)]))
    write(tmp_path, "label 2", corpus("SL0002.mp4", strong=[gesture("돕다1", 0.5, 1)]))
    found = read_data_root(tmp_path)
    assert found.problems == ()
    assert [(s.segment_id, s.video, s.view, s.take, s.signer) for s in found.segments] == [
        ("SL0001R#0", "video/SL0001R.mp4", "R", "SL0001", None),
        ("SL0001L#0", "video/SL0001L.mp4", "L", "SL0001", None),
        ("SL0002#0", "video/SL0002.mp4", None, "label 2", None),
    ]


def test_a_sign_that_stands_in_the_lists_of_two_hands_is_one_segment(tmp_path: Path) -> None:
    touch_video(tmp_path, "a")
    strong = [gesture("돕다1", 1, 2), gesture("돕다1", 3, 4)]
    weak = [gesture("돕다1", 1.05, 1.95), gesture("돕다1", 3.3, 4), gesture("책1", 1, 2)]
    write(tmp_path, "a", corpus("a", strong=strong, weak=weak))
    found = [(s.gloss, s.start_seconds) for s in read_data_root(tmp_path).segments]
    assert found == [("돕다1", 1), ("책1", 1), ("돕다1", 3), ("돕다1", 3.3)]
    assert "segment-overlap" not in scan(tmp_path, probe="none")  # hands sign at the same time


def test_directions_are_classes_of_their_own_where_that_is_asked(tmp_path: Path) -> None:
    touch_video(tmp_path, "a")
    write(tmp_path, "a", corpus("a", strong=[gesture("돕다1", 1, 2, "1", "2"), gesture("나1", 2, 3)]))
    for class_by, first in (("gloss", "돕다1"), ("direction", "돕다1 (1>2)")):
        found = read_data_root(tmp_path, DatasetOptions(class_by=class_by))
        assert [s.gloss for s in found.segments] == [first, "나1"]


def test_a_bad_gesture_costs_no_other(tmp_path: Path) -> None:
    touch_video(tmp_path, "a")
    bad = [None, {}, gesture("", 1, 2), gesture("x", "?", 2), gesture(None, 1, 2), gesture("y", 1, None)]
    write(tmp_path, "a", disaster(both=[*bad, gesture("한파1", "1", 2), gesture(7, 2, 3)], strong={"no": "list"}))
    write(tmp_path, "empty", disaster(both=[], strong=None))
    write(tmp_path, "bad", disaster(weak=bad))
    touch_video(tmp_path, "empty")
    found = read_data_root(tmp_path)
    assert [(s.gloss, s.start_seconds) for s in found.segments] == [("한파1", 1), ("7", 2)]
    kinds = [problem.kind for problem in found.problems]
    assert kinds.count("label-incomplete") == 7 and kinds.count("label-unreadable") == 2 and len(kinds) == 9
    scanned = scan(tmp_path, probe="none")
    assert len(scanned["label-incomplete"]) == 7
    assert [path for path, _ in scanned["label-empty"]] == ["라벨링데이터/empty.json"]
    assert [path for path, _ in scanned["label-unreadable"]] == ["라벨링데이터/bad.json"]


def test_other_json_files_are_no_labels_and_no_problem(tmp_path: Path) -> None:
    touch_video(tmp_path, f"{NAME}_F")
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text('{"sign": 1}')
        (tmp_path / folder / "notes.json").write_text("no JSON at all")
    with pytest.raises(AnnotationError, match="1 videos but no labels"):
        read_data_root(tmp_path)
    write(tmp_path, NAME, disaster(both=[gesture("한파1", 1, 2)]))
    (tmp_path / "1" / "of somebody.eaf").write_text("no ELAN")
    found = read_data_root(tmp_path)
    assert len(found.segments) == 1 and found.problems == ()
    assert scan(tmp_path, probe="none") == {}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_labels_in_zips_and_within_another_object_are_read(tmp_path: Path, compression: int, encoding: str) -> None:
    touch_video(tmp_path, f"{NAME}_R")
    text = json.dumps({"0": disaster(both=[gesture("한파1", 1, 2)])}, ensure_ascii=False)
    with zipfile.ZipFile(tmp_path / "[라벨]재난.zip", "w", compression) as archive:
        archive.writestr(f"1.자연재난/COLDWAVE/{NAME}.json", text.encode(encoding))
    [segment] = read_data_root(tmp_path).segments
    assert (segment.gloss, segment.signer, segment.view) == ("한파1", "S012", "R")


def test_labels_of_both_forms_lie_in_one_root_and_filters_know_what_labels_tell(tmp_path: Path) -> None:
    from tests.conftest import write_label

    word = "NIA_SL_WORD0001_REAL01_F"
    touch_video(tmp_path, word)
    write_label(tmp_path / "label" / f"{word}_morpheme.json", [(0, 1, "위")])
    for view in "FD":
        touch_video(tmp_path, f"{NAME}_{view}")
    write(tmp_path, NAME, disaster(both=[gesture("한파1", 1, 2)]))
    assert len(read_data_root(tmp_path).segments) == 3
    for options, left in (
        (DatasetOptions(signers=frozenset({"S012"})), {f"{NAME}_F", f"{NAME}_D"}),
        (DatasetOptions(signers=frozenset({"REAL01"})), {word}),
        (DatasetOptions(views=frozenset({"D"})), {f"{NAME}_D"}),
    ):
        assert {Path(s.video).stem for s in read_data_root(tmp_path, options).segments} == left
        assert "label-without-video" not in scan(tmp_path, source=options, probe="none")


def test_a_cache_is_built_of_such_labels(data_root: Path, tmp_path: Path) -> None:
    source, *_ = sorted((data_root / "video").iterdir())
    for view in "FD":
        (tmp_path / f"{NAME}_{view}.mp4").write_bytes(source.read_bytes() + view.encode())
    write(tmp_path, NAME, disaster(both=[gesture("한파1", 0, 0.25)], strong=[gesture("오늘1", 0.25, 0.5)]))
    index = build(tmp_path / "c.zarr", "--data-root", tmp_path).index
    columns = [index[name].to_pylist() for name in ("gloss", "view", "signer", "item", "take", "status")]
    shared = "S012", "COLDWAVE000010", NAME, "ok"
    assert sorted(zip(*columns, strict=True)) == [
        (gloss, view, *shared) for gloss in ("오늘1", "한파1") for view in ("D", "F")
    ]


TIMES = st.one_of(st.floats(0, 9), st.none(), st.text(max_size=3), st.just(float("nan")), st.booleans())
ENTRIES = st.lists(
    st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {},
            optional={
                "start": TIMES, "end": TIMES, "gloss_id": st.one_of(st.text(max_size=3), st.integers(), st.none()),
                "direction": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"source": TIMES})),
            },
        ),
    ),
    max_size=5,
)  # fmt: skip


@given(tiers=st.dictionaries(st.sampled_from(["both", "strong", "weak"]), st.one_of(ENTRIES, st.none(), st.text())))
def test_whatever_a_sign_script_holds_it_is_read_or_refused(tiers: dict[str, Any]) -> None:
    given_entries = [entry for entries in tiers.values() if isinstance(entries, list) for entry in entries]
    try:
        label = read_label(json.dumps(disaster(**tiers)).encode(), f"x/{NAME}.json", directions=True)
    except AnnotationError as error:
        assert str(error).startswith(f"x/{NAME}.json: ")
        return
    assert 0 < len(label.annotations) <= len(given_entries)
    starts = [annotation.start_seconds for annotation in label.annotations]
    assert starts == sorted(starts)
    assert len({annotation.number for annotation in label.annotations}) == len(starts)


def test_videos_whose_label_cannot_be_read_are_not_said_to_have_none(tmp_path: Path) -> None:
    for name in ("a_F", "a_D", "b_F", "bR", "c_F"):
        touch_video(tmp_path, name)
    write(tmp_path, "a", disaster(both=[]))
    write(tmp_path, "b", {"sign_script": [], "korean_text": "x", "metadata": {}})
    write(tmp_path, NAME, disaster(both=[gesture("한파1", 1, 2)]))
    touch_video(tmp_path, f"{NAME}_F")
    problems = read_data_root(tmp_path).problems
    assert [p.path for p in problems if p.kind == "video-without-label"] == ["video/c_F.mp4"]
    [(path, message)] = scan(tmp_path, probe="none")["video-without-label"]
    assert path == "video/c_F.mp4" and message.endswith(", and none with a sign_script is about it")


def test_a_label_of_several_views_has_each_problem_once_and_is_not_taken_for_class_folders(tmp_path: Path) -> None:
    touch_video(tmp_path, f"{NAME}_F")
    touch_video(tmp_path / "more", f"{NAME}_D")
    write(tmp_path, NAME, disaster(both=[gesture("한파1", 2, 1), gesture("한파1", 3, 4)]))
    assert len(scan(tmp_path, probe="none")["segment-inverted"]) == 1
    assert read_data_root(tmp_path).notes == ("read as AIHub's videos and labels",)
