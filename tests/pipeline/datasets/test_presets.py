"""Published data sets as they are unpacked, by their presets: each means the segments that a person wrote down."""

import json
import re
import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import DatasetOptions, Segment
from signprep.pipeline.datasets.files.data_root import Problem
from signprep.pipeline.datasets.presets.spec import builtin_presets, find_preset
from signprep.pipeline.datasets.presets.suggest import suggestions
from signprep.pipeline.datasets.read import iterate_segments, read_data_root
from signprep.pipeline.datasets.tables.options import TableOptions
from signprep.pipeline.errors import AnnotationError
from tests.pipeline.datasets.published import SETS, WHOLE, write_set, write_videos
from tests.pipeline.scan.scanning import scan


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


def read(root: Path, preset: str, **options: object) -> tuple[list[Segment], list[Problem], list[str]]:
    problems: list[Problem] = []
    notes: list[str] = []
    chosen = DatasetOptions(preset=preset, **options)  # type: ignore[arg-type]
    segments = list(iterate_segments(root, chosen, problems.append, notes.append))
    return segments, problems, notes


def facts(segment: Segment) -> tuple[object, ...]:
    span = (segment.start_seconds, segment.end_seconds)
    return segment.video, span, segment.gloss, segment.signer, segment.split, segment.box


def test_every_built_in_preset_has_a_fixture() -> None:
    assert set(SETS) == set(builtin_presets())


@pytest.mark.parametrize("name", SETS)
def test_a_set_as_it_is_unpacked_means_what_was_written_down(name: str, videos: Path, tmp_path: Path) -> None:
    published = write_set(name, tmp_path / "세트 A", videos)
    segments, problems, notes = read(tmp_path / "세트 A", name)
    assert [facts(segment) for segment in segments] == published.expected
    assert [(problem.kind, problem.path) for problem in problems] == [("video-missing", n) for n in published.missing]
    assert len({segment.segment_id for segment in segments}) == len(segments)
    num_rows = len(segments) + len(published.missing)
    assert any(note.startswith(f"read as {name}: ") and f"{num_rows} rows" in note for note in notes)


def build(out: Path, *arguments: object) -> tuple[dict[str, list[object]], str]:
    more = ["--frames", 2, "--size", 32, "--workers", 1, "--out", out]
    result = CliRunner().invoke(cli, ["build-cache", *map(str, [*arguments, *more])], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return open_cache(out).index.to_pydict(), result.output


@pytest.mark.parametrize("name", SETS)
def test_a_cache_of_a_set_has_its_index(name: str, videos: Path, tmp_path: Path) -> None:
    published = write_set(name, tmp_path / "data", videos)
    index, text = build(tmp_path / "c.zarr", "--data-root", tmp_path / "data", "--preset", name)
    assert index["status"] == ["ok"] * len(published.expected)
    found = {
        (video, gloss, signer)
        for video, gloss, signer in zip(index["video"], index["gloss"], index["signer"], strict=True)
    }
    assert found == {(row[0], row[2], row[3]) for row in published.expected}
    if published.missing:
        assert f"1 row without a video: {published.missing[0]}" in text
    assert f"read as {name}: " in text


def test_times_of_copies_that_were_cut_are_ignored_and_it_is_told(videos: Path, tmp_path: Path) -> None:
    write_set("wlasl", tmp_path, videos)
    _, _, notes = read(tmp_path, "wlasl")
    assert "the times of 1 row are ignored: their lengths tell that the videos were cut to the sign before" in notes
    shutil.copy(videos / "4.mp4", tmp_path / "videos" / "70266.mp4")  # an original under the name of a copy
    segments, _, _ = read(tmp_path, "wlasl")
    assert facts(segments[3])[:2] == ("videos/70266.mp4", (1.0, 3.0))


def test_zips_are_read_as_they_are_and_videos_may_lie_elsewhere(videos: Path, tmp_path: Path) -> None:
    published = write_set("include", tmp_path / "videos", videos)
    (tmp_path / "labels").mkdir()
    shutil.move(tmp_path / "videos" / "Train_Test_Split", tmp_path / "labels")
    with zipfile.ZipFile(tmp_path / "videos" / "Adjectives_1of8.zip", "w") as archive:
        archive.write(tmp_path / "videos" / "Adjectives/4. sad/MVI_9568.MOV", "Adjectives/4. sad/MVI_9568.mov")
    shutil.rmtree(tmp_path / "videos" / "Adjectives")
    table = TableOptions(video_root=tmp_path / "videos")
    segments, problems, _ = read(tmp_path / "labels", "include", table=table)
    assert segments[0].video == "Adjectives_1of8.zip!/Adjectives/4. sad/MVI_9568.mov" and problems == []
    assert [facts(segment) for segment in segments[1:]] == published.expected[1:]
    only = tmp_path / "labels" / "Train_Test_Split" / "test_include.csv"
    segments, _, notes = read(only, "include", table=table)
    assert [segment.gloss for segment in segments] == ["Ex. Monsoon"] and "test_include.csv, 1 row" in notes[-1]


def test_strange_characters_and_empty_glosses_cost_their_rows(videos: Path, tmp_path: Path) -> None:
    write_set("nslt", tmp_path, videos)
    classes = tmp_path / "preprocess" / "wlasl_class_list.txt"
    classes.write_bytes("0\tbook\n1\t단어\n2\t말\n".encode() + b"3\tx\xff\n")
    labels = tmp_path / "preprocess" / "nslt_100.json"
    labels.write_text(labels.read_text().replace('"train", "action": [1,', '"train", "action": [3,'))
    segments, problems, _ = read(tmp_path, "nslt")
    assert [segment.gloss for segment in segments] == ["book"]
    assert problems[0].message.endswith("row 1: its gloss has characters of another encoding; save the file as UTF-8")
    write_set("wlasl", tmp_path / "w", videos)
    document = tmp_path / "w" / "start_kit" / "WLASL_v0.3.json"
    document.write_text(document.read_text().replace('"book"', '" "', 1))
    segments, problems, _ = read(tmp_path / "w", "wlasl")
    assert [segment.gloss for segment in segments] == ["drink"]
    assert problems[0].message.endswith("row 1: has no gloss: {gloss} is empty")


def test_a_pattern_need_not_find_all_of_its_groups(videos: Path, tmp_path: Path) -> None:
    write_set("popsign", tmp_path, videos)
    segments, _, _ = read(tmp_path / "popsign_v1_0" / "game", "popsign")
    assert [(segment.source, segment.signer, segment.split) for segment in segments] == [
        (None, "4a.8027", "test"),
        (None, "4a.7003", "train"),
        (None, "4b.1", "val"),
    ]


def test_a_folder_that_lacks_a_file_says_which(videos: Path, tmp_path: Path) -> None:
    write_set("autsl", tmp_path, videos)
    (tmp_path / "SignList_ClassId_TR_EN.csv").unlink()
    with pytest.raises(AnnotationError, match=r"holds no file SignList_ClassId_TR_EN.csv, as --preset autsl expects$"):
        read(tmp_path, "autsl")
    (tmp_path / "lsa64").mkdir()
    write_set("lsa64", tmp_path / "lsa64", videos)
    (tmp_path / "lsa64" / "lsa64_signs.md").unlink()
    segments, _, notes = read(tmp_path / "lsa64", "lsa64")
    assert [segment.gloss for segment in segments] == ["001", "002"]
    assert notes[0] == "there is no file lsa64_signs.md, and nothing of it"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("signer0_sample3,99", "row-unusable row 2: '99' is in none of SignList_ClassId_TR_EN.csv"),
        ("signer0_sample3", "row-unusable row 2: has 1 cells, where there should be 2"),
        (",1", "row-unusable row 2: has no video: {sample}_color is empty"),
    ],
)
def test_a_bad_row_costs_itself_alone(videos: Path, tmp_path: Path, row: str, told: str) -> None:
    write_set("autsl", tmp_path, videos)
    (tmp_path / "train_labels.csv").write_text(f"signer0_sample1,1\n{row}\nsigner0_sample2,0\n")
    segments, problems, _ = read(tmp_path, "autsl")
    assert len(segments) == 3
    [problem] = [problem for problem in problems if problem.kind != "video-missing"]
    assert f"{problem.kind} {problem.message.partition(': ')[2]}" == told and problem.path == "train_labels.csv"


OWN = """
about: our recordings
rows:
  form: table
  files: 목록/*.csv
  only: {"{ok}": [yes, true]}
extract:
  of: "{파일}"
  pattern: '(?P<signer>[a-z]+)_(?P<view>\\w)\\..*'
video: "{파일}"
gloss: ["{낱말}", "{대신}"]
signer: "{signer}"
view: "{view}"
split: {of: "{signer}", train: [kim, "1-3"], val: lee}
times: {start: "{시작}", end: "{끝}", unit: milliseconds}
box_with_size: "{x} {y} {w} {h}"
"""
TABLE = """파일;낱말;대신;시작;끝;ok;x;y;w;h
kim_F.mp4;;왼쪽;250;750;yes;1;2;30;40
lee_L.mp4;위;;-1;-1;True;;;;
lee_L.mp4;위;;0;1;no;;;;
"""


def own(tmp_path: Path, videos: Path, preset: str = OWN) -> Path:
    (tmp_path / "목록").mkdir(exist_ok=True)
    (tmp_path / "목록" / "a.csv").write_text(TABLE, encoding="cp949")
    for name in ("kim_F.mp4", "lee_L.mp4"):
        shutil.copy(videos / "1.mp4", tmp_path / name)
    (tmp_path / "우리 것.yaml").write_text(preset)
    return tmp_path / "우리 것.yaml"


def test_the_preset_that_the_documents_show_is_one(tmp_path: Path) -> None:
    document = Path(__file__).parents[3] / "docs" / "presets.md"
    shown = re.search(r"^```yaml\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)
    assert shown is not None
    (tmp_path / "ours.yaml").write_text(shown[1], encoding="utf-8")
    preset = find_preset(str(tmp_path / "ours.yaml"))
    assert preset.time_unit == "milliseconds" and preset.split is not None and preset.split.lookup("lee") == "val"


def test_a_preset_of_ones_own_needs_no_code(videos: Path, tmp_path: Path) -> None:
    segments, problems, _ = read(tmp_path, str(own(tmp_path, videos)))
    assert [facts(segment) for segment in segments] == [
        ("kim_F.mp4", (0.25, 0.75), "왼쪽", "kim", "train", (1, 2, 31, 42)),
        ("lee_L.mp4", WHOLE, "위", "lee", "val", None),
    ]
    assert [segment.view for segment in segments] == ["F", "L"] and problems == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("about: our recordings", "", "about is missing; expected a line about the data set"),
        ("form: table", "form: tabel", "rows.form is 'tabel'; expected one of table, json, videos"),
        ("files: 목록/*.csv", "file: x", "rows.files is missing; expected the pattern of a path"),
        ("unit: milliseconds", "unit: hours", "times.unit is 'hours'; expected one of seconds, milliseconds, frames"),
        ("about: our", "abuot: x\nabout: our", "abuot is no key; expected about, rows"),
        ("(?P<signer>[a-z]+)", "(?P<signer>[a-z+)", "extract.pattern is .*; expected a regular expression"),
        ("(?P<view>\\w)", "(?P<signer>\\w)", "expected a regular expression with named groups (redefinition"),
        ('video: "{파일}"', 'video: "{파일"', "video is '{파일'; expected the end of a path .* has a brace without"),
        ('video: "{파일}"', 'video: "{파일이}"', "video: {파일이} names a field that the rows do not have.*, x"),
        ("rows:", "rows: [", "is no YAML"),
        (OWN, "- 1", "it is [1]; expected keys with values"),
    ],
)  # fmt: skip
def test_a_preset_that_means_nothing_names_the_file_and_the_key(
    videos: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = own(tmp_path, videos, OWN.replace(old, new))
    with pytest.raises(AnnotationError) as error:
        read(tmp_path, str(path))
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    start, _, end = told.partition(".*")
    assert start in message and end in message


def test_an_unknown_preset_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        AnnotationError, match=r"--preset wsasl: .* \(did you mean wlasl\?\); there are asl-cit.*, wlasl"
    ):
        read(tmp_path, "wsasl")
    with pytest.raises(AnnotationError, match=r"gone: there is no such data root; expected the folder of the unpacked"):
        read(tmp_path / "gone", "wlasl")
    with pytest.raises(AnnotationError, match=r"gone.yaml: cannot be read as a preset"):
        read(tmp_path, str(tmp_path / "gone.yaml"))
    assert find_preset("ASL_Citizen").name == "asl-citizen"
    with pytest.raises(AnnotationError, match="--preset says how it is read; leave --columns out"):
        read(tmp_path, "wlasl", table=TableOptions(columns=("gloss=x",)))
    with pytest.raises(AnnotationError, match="--preset says how it is read; leave --layout out"):
        read(tmp_path, "wlasl", layout="classes")


def test_nothing_usable_says_why(videos: Path, tmp_path: Path) -> None:
    write_set("autsl", tmp_path, videos)
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "val")
    with pytest.raises(
        AnnotationError, match=r"4 rows without a video: signer0_.* \(--video-root DIR names the folder"
    ):
        read_data_root(tmp_path, DatasetOptions(preset="autsl"))


def test_what_was_read_is_said_and_what_else_a_folder_could_be(videos: Path, tmp_path: Path) -> None:
    write_set("autsl", tmp_path / "a", videos)
    with pytest.raises(
        AnnotationError, match=r"5 videos but no labels; .*; but --preset autsl reads AUTSL, Turkish Sign"
    ):
        read_data_root(tmp_path / "a")
    result = CliRunner().invoke(cli, ["scan", "--data-root", str(tmp_path / "a"), "--workers", "1"])
    assert result.exit_code == 1 and "--preset autsl reads AUTSL" in str(result.exception)
    own(tmp_path, videos)
    (tmp_path / "a" / "test_labels.csv").unlink()
    (tmp_path / "b").mkdir()
    shutil.move(tmp_path / "목록", tmp_path / "b" / "목록")
    shutil.copy(videos / "1.mp4", tmp_path / "b" / "kim_F.mp4")
    with pytest.raises(AnnotationError) as error:
        read_data_root(tmp_path / "b")
    assert f"a table in it is read by --data-root {tmp_path / 'b/목록/a.csv'}, with --columns video=NAME" in str(
        error.value
    )
    assert "for its columns 파일;낱말;대신" in str(error.value)


@pytest.mark.parametrize("name", sorted(set(SETS) - {"nslt"}))
def test_an_unpacked_set_is_recognised(name: str, videos: Path, tmp_path: Path) -> None:
    write_set(name, tmp_path, videos)
    told = [line for line in suggestions(tmp_path) if line.startswith("--preset")]
    assert [line.split(" ")[1] for line in told] == [name]


def test_commands_say_what_they_took_a_folder_for(videos: Path, tmp_path: Path) -> None:
    write_set("bosphorus", tmp_path, videos)
    words = ["scan", "--data-root", str(tmp_path), "--preset", "bosphorus", "--workers", "1"]
    assert "read as bosphorus: BosphorusSign22k.csv, 2 rows\n" in CliRunner().invoke(cli, words).stdout
    document = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert document["layout"] == "preset" and document["read_as"] == ["read as bosphorus: BosphorusSign22k.csv, 2 rows"]
    table = tmp_path / "t.csv"
    table.write_text("video,gloss,note,Von\nmp4/0004/User_2_001.mp4,x,,\n")
    text = CliRunner().invoke(cli, ["scan", "--data-root", str(table), "--workers", "1"]).stdout
    assert "read as the table t.csv: 1 row; each is its whole video" in text and "its columns note, Von" in text


def test_scan_counts_and_names_the_videos_that_are_missing(videos: Path, tmp_path: Path) -> None:
    write_set("wlasl", tmp_path, videos)
    (tmp_path / "videos" / "65225.mp4").unlink()
    found = scan(tmp_path, source=DatasetOptions(preset="wlasl"))
    assert [path for path, _ in found["video-missing"]] == ["videos/00335", "videos/65225"]
    assert found["video-missing"][0][1].startswith("start_kit/WLASL_v0.3.json: row 5: there is no video")


def test_a_second_copy_of_a_label_file_counts_no_clip_twice(videos: Path, tmp_path: Path) -> None:
    published = write_set("wlasl", tmp_path, videos)
    shutil.copy(tmp_path / "start_kit" / "WLASL_v0.3.json", tmp_path / "WLASL_v0.3.json")
    segments, problems, notes = read(tmp_path, "wlasl")
    assert [facts(segment) for segment in segments] == published.expected and len(problems) == 1
    assert "start_kit/WLASL_v0.3.json has the content of WLASL_v0.3.json, and is not read" in notes


def test_a_preset_may_have_decomposed_letters_and_has_no_key_twice(videos: Path, tmp_path: Path) -> None:
    path = own(tmp_path, videos)
    path.write_text(unicodedata.normalize("NFD", OWN), encoding="utf-8")
    assert [segment.gloss for segment in read(tmp_path, str(path))[0]] == ["왼쪽", "위"]
    path.write_text(f"{OWN}gloss: '{{파일}}'\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match="gloss stands there twice"):
        read(tmp_path, str(path))


def test_a_file_that_is_no_table_is_told_how_it_is_read(tmp_path: Path) -> None:
    for name, told in (("WLASL_v0.3.json", "; --preset wlasl reads it$"), ("a.zip.part0", "; give the folder that it")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(AnnotationError, match=told):
            read_data_root(tmp_path / name)


def test_a_folder_with_a_table_of_the_usual_columns_gives_the_command_to_type(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "내 표").mkdir()
    (tmp_path / "내 표" / "a b.csv").write_text("video,gloss\n1.mp4,x\n")
    shutil.copy(videos / "1.mp4", tmp_path / "내 표")
    assert suggestions(tmp_path / "내 표") == [
        f"a table in it is read by --data-root '{tmp_path / '내 표' / 'a b.csv'}'"
    ]


def test_a_folder_of_aihubs_files_alone_is_called_nothing_else_however_its_folders_are_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "REAL").mkdir(parents=True)
        (tmp_path / split / "REAL" / "NIA_SL_WORD0001_REAL01_F.mp4").touch()
        (tmp_path / split / "REAL" / "NIA_SL_WORD0001_REAL01_F_morpheme.json").touch()
    (tmp_path / "01_real_word_keypoint.zip.part0").touch()
    assert suggestions(tmp_path, has_labels=True) == []
    (tmp_path / "words.csv").write_text("video,gloss\n")
    assert suggestions(tmp_path, has_labels=True) != []


def test_a_column_that_one_of_several_tables_lacks_is_told(videos: Path, tmp_path: Path) -> None:
    write_set("asl-citizen", tmp_path, videos)
    table = tmp_path / "ASL_Citizen" / "splits" / "train.csv"
    table.write_text(table.read_text("utf-8-sig").replace("Participant ID", "Participant"))
    segments, _, notes = read(tmp_path, "asl-citizen")
    assert [segment.signer for segment in segments] == [None, None, "P3"]
    told = "has no column Participant ID, as others have: its rows are without what it tells"
    assert f"ASL_Citizen/splits/train.csv {told}" in notes
