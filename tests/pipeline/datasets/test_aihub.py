import json
from pathlib import Path

import pytest

from signprep.pipeline.datasets.annotations import NameParts, parse_name
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_label


def touch_video(root: Path, name: str) -> None:
    (root / "video").mkdir(parents=True, exist_ok=True)
    (root / "video" / f"{name}.mp4").write_bytes(b"opened only when it is decoded")


def test_names_tell_item_source_signer_view_and_take() -> None:
    assert parse_name("NIA_SL_SEN0012_CROWD05_D") == NameParts(
        item="SEN0012", source="CROWD", signer="CROWD05", view="D", take="CROWD05_SEN0012"
    )
    assert parse_name("내 비디오") == NameParts(take="내 비디오")


def test_segments_follow_their_labels(tmp_path: Path) -> None:
    for view in "FL":
        touch_video(tmp_path, f"NIA_SL_SEN0001_REAL01_{view}")
        label = tmp_path / "label" / f"NIA_SL_SEN0001_REAL01_{view}_morpheme.json"
        write_label(label, [(0.5, 1.0, " 어쩔 수 없다 "), (1.25, 2, "3.1절")])
    annotations = read_data_root(tmp_path)
    assert annotations.problems == ()
    assert [(s.segment_id, s.start_seconds, s.end_seconds, s.gloss) for s in annotations.segments[:2]] == [
        ("NIA_SL_SEN0001_REAL01_F#0", 0.5, 1.0, "어쩔 수 없다"),
        ("NIA_SL_SEN0001_REAL01_F#1", 1.25, 2.0, "3.1절"),
    ]
    assert len({segment.take for segment in annotations.segments}) == 1


def test_byte_order_marks_and_decomposed_names_are_read(tmp_path: Path) -> None:
    touch_video(tmp_path, "왼쪽")  # NFD, as macOS writes it
    label = write_label(tmp_path / "label" / "왼쪽_morpheme.json", [(0, 1, "왼쪽")])
    label.write_bytes(b"\xef\xbb\xbf" + label.read_bytes())
    [segment] = read_data_root(tmp_path).segments
    assert segment.gloss == "왼쪽"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON"),
        ("[]", "no list `data`"),
        ('{"data": []}', "empty"),
        ('{"data": [{"start": 1, "end": 2}]}', "annotation 0"),
        ('{"data": [{"start": "x", "end": 2, "attributes": [{"name": "a"}]}]}', "annotation 0"),
        ('{"data": [{"start": NaN, "end": 2, "attributes": [{"name": "a"}]}]}', "finite"),
        ('{"data": [{"start": 2, "end": 2, "attributes": [{"name": "a"}]}]}', "runs from 2.0 to 2.0"),
    ],
)
def test_a_bad_label_is_named_and_costs_no_good_one(tmp_path: Path, text: str, message: str) -> None:
    touch_video(tmp_path, "good")
    touch_video(tmp_path, "bad")
    write_label(tmp_path / "label" / "good_morpheme.json", [(0, 1, "위")])
    (tmp_path / "label" / "bad_morpheme.json").write_text(text)
    annotations = read_data_root(tmp_path)
    assert [segment.segment_id for segment in annotations.segments] == ["good#0"]
    assert any("bad_morpheme.json" in p.path and message in p.message for p in annotations.problems)


def test_labels_without_video_and_videos_without_label_are_problems(tmp_path: Path) -> None:
    touch_video(tmp_path, "both")
    touch_video(tmp_path, "lonely")
    write_label(tmp_path / "label" / "both_morpheme.json", [(0, 1, "위")])
    write_label(tmp_path / "label" / "orphan_morpheme.json", [(0, 1, "위")])
    problems = {problem.path: problem.message for problem in read_data_root(tmp_path).problems}
    assert "no video named orphan" in problems["label/orphan_morpheme.json"]
    assert "has no label" in problems["video/lonely.mp4"]


def test_a_root_without_data_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such data root"):
        read_data_root(tmp_path / "nowhere")
    with pytest.raises(AnnotationError, match="neither videos"):
        read_data_root(tmp_path)
    touch_video(tmp_path, "a")
    with pytest.raises(AnnotationError, match="1 videos but no labels"):
        read_data_root(tmp_path)
    (tmp_path / "label").mkdir()
    (tmp_path / "label" / "a_morpheme.json").write_text(json.dumps({"data": []}))
    with pytest.raises(AnnotationError, match=r"no usable segment.*a_morpheme"):
        read_data_root(tmp_path)


def test_cameras_files_are_videos_but_not_beside_what_was_made_from_them(tmp_path: Path) -> None:
    for name in ("1 raw/both.MTS", "1 raw/camera.m2ts", "2/both.mp4", "3/both.vob", "3/disc.VOB", "3/old.wmv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        write_label(tmp_path / "label" / f"{Path(name).stem}_morpheme.json", [(0, 1, "왼쪽")])
    found = read_data_root(tmp_path)
    videos = ["2/both.mp4", "1 raw/camera.m2ts", "3/disc.VOB", "3/old.wmv"]
    assert [segment.video for segment in found.segments] == videos
    passed_over = [(problem.kind, problem.path) for problem in found.problems]
    assert passed_over == [("same-name", "1 raw/both.MTS"), ("same-name", "3/both.vob")]
