"""Two labels of one video, and two videos of one name: none is lost, and no two clips have one id."""

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.pipeline.datasets.annotations import DatasetOptions, Segment
from signprep.pipeline.datasets.read import no_sign_segments, read_data_root, read_split_roots
from tests.cache_builder.changed_data import assert_same_clips_as_a_new_build, update
from tests.conftest import write_label
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import run, scan

NAME = "NIA_SL_WORD0001_REAL01_F"


def further_label(root: Path, name: str, segments: list[tuple[float, float, str]], video: str = NAME) -> str:
    """Write a label under a name of its own whose metaData name another's video."""
    path = write_label(root / "label" / f"{name}_morpheme.json", segments, duration=1.0)
    document = json.loads(path.read_text())
    document["metaData"]["name"] = f"{video}.mp4"
    path.write_text(json.dumps(document, ensure_ascii=False))
    return path.relative_to(root).as_posix()


def ids(segments: tuple[Segment, ...]) -> dict[str, str]:
    assert len({segment.segment_id for segment in segments}) == len(segments)
    return {segment.segment_id: segment.gloss for segment in segments}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A video with two labels of its own content, the second of which sorts before the first."""
    root = tmp_path / "수어 자료"
    write_video(root / "video" / f"{NAME}.mp4", 30, first_number=0)
    write_label(root / "label" / f"{NAME}_morpheme.json", [(0.1, 0.5, "왼쪽")], duration=1.0)
    further_label(root, "0001 다시", [(0.1, 0.5, "오른쪽"), (0.6, 0.9, "위")])
    return root


def test_a_video_with_two_labels_keeps_all_clips_apart_and_both_say_so(root: Path) -> None:
    found = read_data_root(root)
    assert ids(found.segments) == {f"{NAME}#0": "왼쪽", "0001 다시#0": "오른쪽", "0001 다시#1": "위"}
    assert {(s.signer, s.take, s.video) for s in found.segments} == {("REAL01", "REAL01_WORD0001", f"video/{NAME}.mp4")}
    [problem] = found.problems
    assert (problem.kind, problem.path) == ("shared-name", "label/0001 다시_morpheme.json")
    assert f"labels video/{NAME}.mp4, as label/{NAME}_morpheme.json does" in problem.message
    [(path, message)] = scan(root)["shared-name"]
    assert path == problem.path and message in problem.message
    assert run(root, "--strict").exit_code == 1


def test_labels_that_share_a_video_without_one_of_its_own_are_kept_apart_too(root: Path) -> None:
    further_label(root, "0002", [(0.2, 0.4, "아래")])
    (root / "label" / f"{NAME}_morpheme.json").write_text("{")  # no label any more
    found = read_data_root(root, DatasetOptions(attributes="all"))
    assert ids(found.segments) == {f"{NAME}#0": "오른쪽", f"{NAME}#1": "위", "0002#0": "아래"}
    assert [path for path, _ in scan(root)["shared-name"]] == ["label/0002_morpheme.json"]


@pytest.mark.parametrize("own", [[], [(0.5, 0.5, "왼쪽")], None])
def test_a_label_that_shares_its_video_with_none_of_use_has_the_ids_that_it_always_had(
    root: Path, own: list[tuple[float, float, str]] | None
) -> None:
    label = root / "label" / f"{NAME}_morpheme.json"
    label.unlink() if own is None else write_label(label, own)
    assert ids(read_data_root(root).segments) == {f"{NAME}#0": "오른쪽", f"{NAME}#1": "위"}
    assert "shared-name" not in scan(root)


def test_idle_segments_of_a_video_with_two_labels_have_names_of_their_own(root: Path) -> None:
    write_label(root / "label" / f"{NAME}_morpheme.json", [(0.4, 0.5, "왼쪽")], duration=1.0)
    further_label(root, "0001 다시", [(0.15, 0.25, "오른쪽"), (0.65, 0.75, "위"), (0.85, 0.95, "위")])
    segments = read_data_root(root).segments
    ids((*segments, *no_sign_segments(segments)))


def test_an_update_of_a_cache_whose_video_gets_another_label_moves_no_clip(root: Path, tmp_path: Path) -> None:
    further = root / "label" / "0001 다시_morpheme.json"
    text, out = further.read_text(), tmp_path / "c.zarr"
    further.unlink()
    update(root, out)
    before = open_cache(out).read([0]).tobytes()
    further.write_text(text)
    updated = update(root, out)
    assert (updated.num_clips, updated.num_changed) == (3, 0)
    cache = open_cache(out)
    assert cache.read([0]).tobytes() == before
    assert cache.index["segment_id"].to_pylist() == [f"{NAME}#0", "0001 다시#0", "0001 다시#1"]
    assert_same_clips_as_a_new_build(root, out, tmp_path)
    further.unlink()
    assert update(root, out).num_removed == 2
    assert open_cache(out).index["status"].to_pylist() == ["ok", "removed", "removed"]


def test_two_videos_of_one_name_in_a_class_folder_are_two_clips(root: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes" / "왼쪽"
    classes.mkdir(parents=True)
    decomposed = unicodedata.normalize("NFD", "가")
    for name in ("a.mov", "a.mp4", "b.mp4", "가.mp4", f"{decomposed}.mp4"):
        shutil.copy(root / "video" / f"{NAME}.mp4", classes / name)
    options = DatasetOptions(layout="classes")
    found = read_data_root(classes.parent, options)
    names = {segment.segment_id for segment in found.segments}
    assert len(found.segments) == 5
    assert names == {"왼쪽/a#0", "왼쪽/a.mp4#0", "왼쪽/b#0", "왼쪽/가#0", "왼쪽/가.mp4#0"}
    assert [problem.kind for problem in found.problems] == ["shared-name"] * 2
    assert [segment.take for segment in found.segments].count("왼쪽/a") == 2  # splits keep them together
    told = [path for path, _ in scan(classes.parent, source=options)["shared-name"]]
    assert told == [problem.path for problem in found.problems]
    both = read_split_roots({"train": classes.parent, "val": classes.parent}, options)
    assert len(ids(both.segments)) == 10
