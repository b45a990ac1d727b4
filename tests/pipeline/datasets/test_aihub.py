import json
import math
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signprep.pipeline.datasets.aihub import read_label
from signprep.pipeline.datasets.annotations import DatasetOptions, NameParts, normal_gloss, parse_name
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_label
from tests.pipeline.datasets.test_read import build
from tests.pipeline.scan.scanning import scan


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


def lossy(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=True).encode()


GOOD = {"start": 0.5, "end": 1.5, "attributes": [{"name": "위"}]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"start": 0.5, "end": 1.5, "attributes": [{"name": "\ud800x"}]}, r"annotation 0 has the gloss '\ud800x'"),
        ({"start": 0.5, "end": 1.5, "attributes": [{"name": True}]}, "annotation 0 has the gloss True"),
        ({"start": 0.5, "end": 1.5, "attributes": [{"name": [["위"]]}]}, "annotation 0 has the gloss [['위']]"),
        ({"start": 0.5, "end": 1.5, "attributes": [[[]], "위"]}, "annotation 0 has the gloss [[]]"),
        ({"start": 0.5, "end": 1.5, "attributes": [{"name": " "}, {"name": None}, {}]}, "annotation 0 has no gloss"),
        ({"start": 0.5, "end": 1.5, "attributes": []}, "annotation 0 has no gloss"),
        ({"start": 0.5, "end": 1.5, "attributes": {"name": "위"}}, "annotation 0 is not of the form"),
        ({"start": 10**400, "end": 1.5, "attributes": [{"name": "위"}]}, "annotation 0 is not of the form"),
        ({"start": 0.5, "end": "9" * 400, "attributes": [{"name": "위"}]}, "annotation 0 is not of the form"),
        ({"start": True, "end": 1.5, "attributes": [{"name": "위"}]}, "annotation 0 is not of the form"),
        ({"start": 0.5, "end": [1.5], "attributes": [{"name": "위"}]}, "annotation 0 is not of the form"),
        ({"start": 0.5, "end": 1.5}, "annotation 0 is not of the form"),
        (["start", "end"], "annotation 0 is not of the form"),
        (None, "annotation 0 is not of the form"),
    ],
)
def test_a_bad_segment_of_a_label_costs_no_other(tmp_path: Path, bad: object, message: str) -> None:
    touch_video(tmp_path, "a")
    path = tmp_path / "label" / "a_morpheme.json"
    path.parent.mkdir()
    path.write_bytes(lossy({"data": [bad, GOOD]}))
    found = read_data_root(tmp_path)
    assert [(s.segment_id, s.gloss) for s in found.segments] == [("a#1", "위")]
    assert {(p.kind, p.path) for p in found.problems} == {("label-incomplete", "label/a_morpheme.json")}
    assert message in found.problems[0].message and len(found.problems[0].message) < 400
    assert {kind for kind in scan(tmp_path, probe="none") if kind.startswith("label")} == {"label-incomplete"}
    path.write_bytes(lossy({"data": [bad]}))
    [(_, told)] = scan(tmp_path, probe="none")["label-unreadable"]
    assert message in told


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"duration": 10**400}, "metaData.duration is 1000000000"),
        ({"duration": 10**5000}, "metaData.duration is inf, no number"),
        ({"duration": "long"}, "metaData.duration is 'long', no number"),
        ({"duration": False}, "metaData.duration is False, no number"),
        ({"name": "\ud800.mp4"}, r"metaData.name is '\ud800.mp4', no file name"),
        ({"name": ["a.mp4"]}, "metaData.name is ['a.mp4'], no file name"),
    ],
)
def test_a_value_of_the_metadata_that_means_nothing_is_told_and_costs_no_segment(
    tmp_path: Path, metadata: dict[str, object], message: str
) -> None:
    touch_video(tmp_path, "a")
    path = tmp_path / "label" / "a_morpheme.json"
    path.parent.mkdir()
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    path.write_bytes(lossy({"metaData": metadata, "data": [GOOD]}))
    sys.set_int_max_str_digits(digits)
    found = read_data_root(tmp_path)
    assert len(found.segments) == 1 and [message in p.message for p in found.problems] == [True]
    [(_, told)] = scan(tmp_path, probe="none")["label-incomplete"]
    assert message in told


def test_a_number_is_a_gloss_and_a_good_gloss_beside_a_bad_one_stays(tmp_path: Path) -> None:
    label = read_label(lossy({"data": [{"start": "0.5", "end": 1, "attributes": [{"name": 7}, {"name": 7.5}]}]}), "x")
    [annotation] = label.annotations
    assert (annotation.start_seconds, annotation.glosses) == (0.5, ("7",))
    assert label.problems == ("annotation 0 has the gloss 7.5, which is no text",)


@pytest.mark.parametrize("name", ["a.mp4", "video/a.mp4", "D:\\video\\a.mp4"])
def test_a_label_names_its_video_by_any_path(name: str) -> None:
    assert read_label(lossy({"metaData": {"name": name}, "data": [GOOD]}), "x").video_base_name == "a"


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-16-be", "utf-8-sig"])
def test_labels_in_other_encodings_are_read(encoding: str) -> None:
    text = json.dumps({"metaData": {"name": "왼쪽.mp4"}, "data": [GOOD]}, ensure_ascii=False)
    label = read_label(text.encode(encoding), "x")
    assert (label.video_base_name, label.annotations[0].glosses) == ("왼쪽", ("위",))
    assert label.problems == ()


# Any JSON, and values that labels have in their places.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**300, 10**310) | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.floats(0, 100) | st.integers(0, 100) | st.sampled_from(["1.5", "NaN", "1_0", ""]) | VALUES
NAMES = st.sampled_from(["위", " 아래 ", "", 3, None, "\udc00"]) | VALUES
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "start": TIMES,
        "end": TIMES,
        "attributes": st.lists(st.fixed_dictionaries({"name": NAMES}) | VALUES, max_size=3) | VALUES,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"data": st.lists(ENTRIES | VALUES, max_size=5) | VALUES},
    optional={"metaData": st.fixed_dictionaries({}, optional={"name": NAMES, "duration": TIMES}) | VALUES},
)


def time_of(value: object) -> float | None:
    """Return what documentation calls a time: a finite number, or one in quotes."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        return None
    try:
        return float(value) if math.isfinite(float(value)) else None
    except (ValueError, OverflowError):
        return None


def gloss_of(attribute: object) -> str | None:
    name = attribute.get("name") if isinstance(attribute, dict) else None
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    good = isinstance(name, str) and name.strip() and not any(0xD800 <= ord(letter) < 0xE000 for letter in name)
    return normal_gloss(name) if good else None


@given(DOCUMENTS | VALUES, st.sampled_from(["ascii", "utf-8", "utf-16", "utf-8-sig"]))
@example({"data": [{"start": 0, "end": 1, "attributes": [{"name": -(10**38)}]}]}, "ascii")
@example({"data": [{"start": 0, "end": 10**308, "attributes": [{"name": 10**305}, {"name": 10**400}]}]}, "ascii")
@example({"data": [{"start": 0, "end": 10**400, "attributes": [{"name": "a"}]}]}, "ascii")
@settings(max_examples=400, deadline=None)
def test_any_json_gives_the_segments_that_pythons_json_finds_in_it(document: object, encoding: str) -> None:
    text = json.dumps(document, ensure_ascii=encoding == "ascii")
    document = json.loads(text)
    entries = document.get("data") if isinstance(document, dict) else None
    expected = []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        attributes = entry.get("attributes") if isinstance(entry, dict) else None
        glosses = [gloss for a in attributes if (gloss := gloss_of(a))] if isinstance(attributes, list) else []
        times = [time_of(entry.get(name)) for name in ("start", "end")] if glosses else [None]
        if None not in times:
            expected.append((number, *times, *glosses))
    try:
        label = read_label(text.encode(encoding, "surrogatepass"), "x.json")
    except AnnotationError as error:
        assert expected == [] and str(error).startswith("x.json: ") and str(error).encode("utf-8")
        return
    found = [(a.number, a.start_seconds, a.end_seconds, *a.glosses) for a in label.annotations]
    assert found == expected
    assert all(problem.encode("utf-8") and len(problem) < 300 for problem in label.problems)


def test_training_and_validation_with_the_same_names_stay_apart(data_root: Path, tmp_path: Path) -> None:
    name = "NIA_SL_WORD0001_REAL09_F"
    videos = sorted((data_root / "video").iterdir())
    for number, side in enumerate(("1.Training", "2.Validation")):
        write_label(tmp_path / side / "라벨링데이터" / f"{name}_morpheme.json", [(0, 0.25 * (number + 1), "위")])
        folder = tmp_path / side / "원천데이터"
        folder.mkdir()
        with zipfile.ZipFile(folder / "09_real_word_video.zip", "w") as archive:
            archive.write(videos[number], f"09/{name}.mp4")
        with zipfile.ZipFile(folder / "09_real_word_keypoint.zip", "w") as archive:
            for frame in range(3):
                archive.writestr(f"09/F_{number}/{name}_{frame:012}_keypoints.json", "{}")
    zips = [f"{side}/원천데이터/09_real_word_{{}}.zip!/" for side in ("1.Training", "2.Validation")]
    for landmarks, clip in (("", f"09/{name}.mp4"), ("aihub", f"09/F_{{}}/{name}_*_keypoints.json")):
        found = read_data_root(tmp_path, DatasetOptions(landmarks=landmarks or None))
        what = "keypoint" if landmarks else "video"
        assert found.problems == ()
        assert [(s.segment_id, s.video, s.end_seconds, s.take) for s in found.segments] == [
            (f"{name}#0", zips[0].format(what) + clip.format(0), 0.25, "REAL09_WORD0001"),
            (f"val/{name}#0", zips[1].format(what) + clip.format(1), 0.5, "val/REAL09_WORD0001"),
        ]
    assert scan(tmp_path, probe="none").keys() == {"leak-signer"}
    index = build(tmp_path / "c.zarr", "--data-root", tmp_path).index
    assert index["split"].to_pylist() == ["train", "val"]
    assert index["status"].to_pylist() == ["ok", "ok"] and len(set(index["video_hash"].to_pylist())) == 2
