"""Tables, class folders, zips, filters and two roots, up to a finished cache."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import AIHUB_NAME, DatasetOptions, read_gloss_file
from signprep.pipeline.datasets.read import read_data_root, read_split_roots
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_label
from tests.generated_videos import write_video


def build(out: Path, *arguments: object) -> Cache:
    more = ["--frames", 4, "--size", 64, "--workers", 1, "--out", out]
    result = CliRunner().invoke(cli, ["build-cache", *map(str, [*arguments, *more])], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return open_cache(out)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_give_the_same_clips_as_files(data_root: Path, cache: Cache, tmp_path: Path, compression: int) -> None:
    for kind, name in (("label", "[라벨]01_real_word_morpheme.zip"), ("video", "[원천]01_real_word_video.zip")):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for path in sorted((data_root / kind).iterdir()):
                archive.write(path, f"01-1/{path.name}")
    built = build(tmp_path / "c.zarr", "--data-root", tmp_path)
    assert ".zip!/01-1/" in built.index["video"][0].as_py()
    assert np.array_equal(built.read(range(12)), cache.read(range(12)))
    assert built.index["segment_id"] == cache.index["segment_id"]
    assert built.index["video_hash"] == cache.index["video_hash"]


def test_any_depth_and_a_name_in_the_metadata_pair(data_root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "1.Training/라벨링데이터/REAL/WORD/01_real_word_morpheme/morpheme/01"
    shutil.copytree(data_root / "label", labels)
    shutil.copytree(data_root / "video", tmp_path / "1.Training/원천데이터/01")
    renamed = labels / "NIA_SL_WORD0001_REAL01_F_morpheme.json"
    renamed.rename(labels / "renamed_morpheme.json")
    annotations = read_data_root(tmp_path)
    assert len(annotations.segments) == 12 and annotations.problems == ()
    shutil.copy(labels / "renamed_morpheme.json", tmp_path / "renamed_morpheme.json")
    [problem] = read_data_root(tmp_path).problems
    assert problem.kind == "same-name"


def test_a_table_names_everything_itself(tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / "clips" / f"{number}.mp4", 30, first_number=30 * number)
    rows = ["video,start,end,gloss,signer,split"]
    rows += [
        f'clips/{k}.mp4,{"0.2" if k else ""},{"0.8" if k else ""},"3.{k % 2}0",00{k},{s}'
        for k, s in enumerate(["train", "train", "val", "train"])
    ]
    rows += ["clips/gone.mp4,0,1,x,1,train", "../out.mp4,0,1,x,1,train", "clips/1.mp4,2,1,x,1,train"]
    (tmp_path / "wlasl.csv").write_text("\n".join(rows), encoding="utf-8")
    annotations = read_data_root(tmp_path / "wlasl.csv")
    assert [p.kind for p in annotations.problems] == ["row-unusable"] * 3
    assert "row 5" in annotations.problems[0].message
    built = build(tmp_path / "c.zarr", "--data-root", tmp_path / "wlasl.csv")
    index = built.index.to_pylist()
    assert built.vocabulary.glosses == ("3.00", "3.10")
    assert {row["signer"] for row in index} == {"000", "001", "002", "003"}
    assert [row["video"] for row in index if row["split"] == "val"] == ["clips/2.mp4"]
    whole = next(row for row in index if row["video"] == "clips/0.mp4")
    assert (whole["clip_start_seconds"], whole["clip_end_seconds"]) == (0.0, 1.0)


def test_parquet_and_missing_columns(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 10)
    table = pa.table({"video": ["a.mp4"], "start": [0.0], "end": [0.25], "gloss": ["위"]})
    pq.write_table(table, tmp_path / "t.parquet")
    [segment] = read_data_root(tmp_path / "t.parquet").segments
    assert (segment.gloss, segment.end_seconds) == ("위", 0.25)
    pq.write_table(table.drop_columns(["gloss", "end"]), tmp_path / "t.parquet")
    with pytest.raises(AnnotationError, match="no column gloss; expected video, gloss"):
        read_data_root(tmp_path / "t.parquet")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(AnnotationError, match="no table"):
        read_data_root(tmp_path / "x.txt")


def test_class_folders_are_whole_videos(tmp_path: Path) -> None:
    for number, gloss in enumerate(["어쩔 수 없다", "어쩔 수 없다", "3.1절", "3.1절"]):
        write_video(tmp_path / gloss / f"{number}.mp4", 20 + number)
    built = build(tmp_path / "c.zarr", "--data-root", tmp_path, "--layout", "classes")
    assert built.vocabulary.glosses == ("3.1절", "어쩔 수 없다")
    assert {row["split"] for row in built.index.to_pylist()} == {"train", "val"}
    with pytest.raises(AnnotationError, match=r"no labels.*--layout classes"):
        read_data_root(tmp_path)


def test_in_class_folders_a_cameras_file_is_passed_over_beside_what_was_made_from_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("왼쪽/a.MTS", "왼쪽/a.mp4", "왼쪽/b.MTS", "왼쪽/b.flv"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"opened only when it is decoded")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "오른쪽").symlink_to(store / "왼쪽")  # a class folder that lies elsewhere
    found = read_data_root(tmp_path / "data", DatasetOptions(layout="classes"))
    assert [(segment.video, segment.gloss) for segment in found.segments] == [
        ("오른쪽/a.mp4", "오른쪽"),
        ("오른쪽/b.MTS", "오른쪽"),
    ]
    assert [problem.path for problem in found.problems] == ["오른쪽/a.MTS", "오른쪽/b.flv"]


def test_two_roots_are_the_two_splits(data_root: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "val" / "video" / "x.mp4", 30, first_number=900)
    write_label(tmp_path / "val" / "label" / "x_morpheme.json", [(0.1, 0.9, "왼쪽")])
    built = build(tmp_path / "c.zarr", "--train-data-root", data_root, "--val_data_root", tmp_path / "val")
    assert len(built.positions("train")) == 12 and len(built.positions("val")) == 1
    result = CliRunner().invoke(cli, ["build-cache", "--train-data-root", "x", "--out", "y"])
    assert result.exit_code == 2 and "--val-data-root" in result.output


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"views": frozenset("F")}, 6),
        ({"signers": frozenset({"REAL01", "REAL17"})}, 8),
        ({"kinds": frozenset({"WORD"})}, 12),
        ({"sources": frozenset({"REAL"}), "glosses": frozenset({"왼쪽"})}, 6),
    ],
)
def test_filters_choose_segments(data_root: Path, options: dict, count: int) -> None:
    assert len(read_data_root(data_root, DatasetOptions(**options)).segments) == count


def test_filters_that_leave_nothing_say_so(data_root: Path) -> None:
    with pytest.raises(AnnotationError, match="--kind asks for FS, and there is WORD"):
        read_data_root(data_root, DatasetOptions(kinds=frozenset({"FS"})))


def test_classes_by_item_keep_homonyms_apart(data_root: Path, tmp_path: Path) -> None:
    by_item = read_data_root(data_root, DatasetOptions(class_by="item"))
    assert {s.gloss for s in by_item.segments} == {"왼쪽 (WORD0001)", "오른쪽 (WORD0002)"}


def test_all_attributes_give_a_segment_each(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 10)
    label = write_label(tmp_path / "a_morpheme.json", [(0, 0.3, "위")])
    text = label.read_text().replace('[{"name": "위"}]', '[{"name": "위", "attribute": ["x"]}, {"name": "아래"}]')
    label.write_text(text)
    assert [s.gloss for s in read_data_root(tmp_path).segments] == ["위"]
    both = read_data_root(tmp_path, DatasetOptions(attributes="all")).segments
    assert [(s.segment_id, s.gloss) for s in both] == [("a#0", "위"), ("a#0.1", "아래")]


def test_other_names_are_read_by_a_pattern(tmp_path: Path) -> None:
    write_video(tmp_path / "s3_cam1_hello.mp4", 10)
    write_label(tmp_path / "s3_cam1_hello_morpheme.json", [(0, 0.3, "위")])
    options = DatasetOptions(name_pattern=r"s(?P<signer>\d+)_cam(?P<view>\d)_(?P<item>\w+)")
    [segment] = read_data_root(tmp_path, options).segments
    assert (segment.signer, segment.view, segment.item, segment.take) == ("3", "1", "hello", "3_hello")
    scanned = CliRunner().invoke(
        cli, ["scan", "--data-root", str(tmp_path), "--name-pattern", str(options.name_pattern)]
    )
    assert scanned.exit_code == 0 and "1 signer" in scanned.output
    for pattern in ("(", "no groups", r"(?P<colour>x)"):
        with pytest.raises(ValueError, match="name_pattern"):
            DatasetOptions(name_pattern=pattern)


def test_gloss_files_are_lists(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("﻿위\n\n 아래 \n", encoding="utf-8")
    assert read_gloss_file(tmp_path / "words.txt") == {"위", "아래"}
    for encoding in ("cp949", "utf-16", "utf-8-sig"):
        (tmp_path / "words.txt").write_text("왼쪽\r\n오른쪽\r\n", encoding=encoding)
        assert read_gloss_file(tmp_path / "words.txt") == {"왼쪽", "오른쪽"}
    (tmp_path / "words.txt").write_text("\n")
    with pytest.raises(AnnotationError, match="lists no gloss"):
        read_gloss_file(tmp_path / "words.txt")


def test_files_of_one_name_in_the_folders_of_two_splits_are_two_takes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, gloss in enumerate(["위", "아래"]):
            write_video(tmp_path / split / gloss / "1.mp4", 20, first_number=100 * number + len(split))
    roots = {split: tmp_path / split for split in ("train", "val")}
    segments = read_split_roots(roots, DatasetOptions(layout="classes")).segments
    assert {(s.split, s.take) for s in segments} == {(s.split, f"{s.split}/{s.gloss}/1") for s in segments}
    nested = read_data_root(tmp_path, DatasetOptions(layout="classes")).segments
    assert len({s.segment_id for s in nested}) == len({s.take for s in nested}) == 4
    rows = ["video,start,end,gloss,take", "train/위/1.mp4,,,위,A", "val/위/1.mp4,,,위,"]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    tables = read_split_roots({"train": tmp_path / "t.csv"})
    assert [s.take for s in tables.segments] == ["A", "train/val/위/1"], "a take that somebody has named stays"


def test_words_that_mean_nothing_to_tables_elsewhere_are_glosses(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 10)
    words = ["null", "NA", "nan", "N/A", "none"]
    rows = ["video\tstart\tend\tgloss", *(f"a.mp4\t\t\t{word}" for word in words), "a.mp4\t1,5\t\tx"]
    (tmp_path / "T.TSV").write_text("\n".join(rows), encoding="utf-8")
    annotations = read_data_root(tmp_path / "T.TSV")
    assert [s.gloss for s in annotations.segments] == words
    assert "its start '1,5' is no number of seconds" in annotations.problems[0].message


def test_videos_in_no_class_folder_are_named_and_alone_are_no_data(tmp_path: Path) -> None:
    write_video(tmp_path / "loose.mp4", 10)
    options = DatasetOptions(layout="classes")
    with pytest.raises(AnnotationError, match="no video in a class folder; expected GLOSS/clip"):
        read_data_root(tmp_path, options)
    (tmp_path / "　").mkdir()  # a space of Korean and Japanese keyboards
    (tmp_path / "　" / "2.mp4").write_bytes(b"x")
    write_video(tmp_path / "위" / "1.mp4", 10)
    (tmp_path / "broken.zip").write_bytes(b"PK")
    found = read_data_root(tmp_path, options)
    assert [s.gloss for s in found.segments] == ["위"]
    unlabelled = {("video-without-label", "loose.mp4"), ("video-without-label", "　/2.mp4")}
    assert {(p.kind, p.path) for p in found.problems} == {("unreadable", "broken.zip"), *unlabelled}


def test_a_table_that_does_not_read_or_names_a_strange_split_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(AnnotationError, match="cannot be read as a table"):
        read_data_root(tmp_path / "t.parquet")
    write_video(tmp_path / "a.mp4", 10)
    (tmp_path / "t.csv").write_text(
        "video,start,end,gloss,split\na.mp4,,,위,held-out\na.mp4,,,,train\na.mp4,,,위,train\n"
    )
    found = read_data_root(tmp_path / "t.csv")
    assert len(found.segments) == 1
    assert "split 'held-out' is none of train, val, test" in found.problems[0].message
    assert "has no gloss" in found.problems[1].message


def test_the_filter_that_leaves_nothing_is_named_with_what_there_is(data_root: Path) -> None:
    with pytest.raises(AnnotationError, match="--signer asks for REAL99, and there is REAL01, REAL02, REAL17"):
        read_data_root(data_root, DatasetOptions(signers=frozenset({"REAL99"}), views=frozenset("F")))
    both = DatasetOptions(name_pattern=AIHUB_NAME.pattern, kinds=frozenset({"SEN"}))
    with pytest.raises(AnnotationError, match="--kind asks for SEN, and there is WORD"):
        read_data_root(data_root, both)


def test_copies_in_two_splits_of_a_table_are_built_as_duplicates_asks(data_root: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((data_root / "video").iterdir())
    for source, name in ((first, "a.mp4"), (first, "b.mp4"), (second, "c.mp4")):
        shutil.copy(source, tmp_path / name)
    rows = ["a.mp4,0,0.5,위,train", "b.mp4,0,0.5,위,val", "c.mp4,0,0.5,위,train"]
    (tmp_path / "t.csv").write_text("\n".join(["video,start,end,gloss,split", *rows]))
    told = CliRunner().invoke(cli, ["build-cache", "--data-root", str(tmp_path / "t.csv"), "--out", "x", "--dry-run"])
    assert "1 video content in both splits: a.mp4 = b.mp4 (--duplicates drop or together)" in told.stdout
    built = {}
    for duplicates in ("keep", "drop", "together"):
        more = ["--data-root", tmp_path / "t.csv", "--duplicates", duplicates]
        index = build(tmp_path / f"{duplicates}.zarr", *more).index
        built[duplicates] = sorted(zip(index["video"].to_pylist(), index["split"].to_pylist(), strict=True))
    assert built == {
        "keep": [("a.mp4", "train"), ("b.mp4", "val"), ("c.mp4", "train")],
        "drop": [("b.mp4", "val"), ("c.mp4", "train")],
        "together": [("a.mp4", "val"), ("b.mp4", "val"), ("c.mp4", "train")],
    }
