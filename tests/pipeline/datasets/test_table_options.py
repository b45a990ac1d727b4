"""Tables of other people: their columns, units, paths, splits and codes, up to the index of a cache."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import WHOLE_VIDEO_END, DatasetOptions, Segment
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.tables.options import TableOptions, parse_columns
from signprep.pipeline.datasets.tables.segments import table_segments
from signprep.pipeline.errors import AnnotationError
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of videos, which nobody opens."""
    for name in ("a.mp4", "b.webm", "수어/왼쪽.mp4", "deep.er/P01._color.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(
    table: Path, text: str, *, encoding: str = "utf-8", fps: float | None = None, **options: object
) -> tuple[list[Segment], list[str]]:
    """Return the segments of a table, and the messages without its path."""
    table.write_bytes(text.encode(encoding))
    told: list[str] = []
    options_ = TableOptions(**options)  # type: ignore[arg-type]
    segments = list(table_segments(table, lambda p: told.append(p.message), options=options_, fps=fps))
    return segments, [message.removeprefix(f"{table}: ") for message in told]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["video=Video file,gloss=Gloss,signer=Participant ID"], ["Video file", "Gloss", "Participant ID"]),
        (['video="Video file", gloss = "Gloss" ,signer="Participant ID"'], ["Video file", "Gloss", "Participant ID"]),
        (["video=파일 이름", "gloss=단어", "signer=참가자"], ["파일 이름", "단어", "참가자"]),
        (["video=a, b,gloss=c,d=e,signer=f"], ["a, b", "c,d=e", "f"]),
        (['video="a,gloss=b",gloss="say ""c""",signer=f,'], ["a,gloss=b", 'say "c"', "f"]),
        (["video=V,gloss=V,signer=V", "video=V"], ["V", "V", "V"]),
    ],
)
def test_columns_are_given_as_pairs(texts: list[str], expected: list[str]) -> None:
    assert parse_columns(texts) == dict(zip(("video", "gloss", "signer"), expected, strict=True))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Video file", "'Video file' does not begin with FIELD=NAME; FIELD is one of video, gloss, start"),
        ("vidoe=x", "'vidoe=x' does not begin with FIELD=NAME"),
        ("video=", "gives video no name"),
        ("video=a,gloss=b,video=c", "gives video two columns, 'a' and 'c'"),
    ],
)
def test_columns_that_mean_nothing_are_one_line(tmp_path: Path, text: str, told: str) -> None:
    result = CliRunner().invoke(cli, ["scan", "--data-root", str(tmp_path), "--columns", text])
    assert result.exit_code == 2 and f"--columns {told}" in " ".join(result.output.split())


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_columns_have_the_names_that_they_are_given(folder: Path, separator: str, encoding: str) -> None:
    rows = ["참가자,Video file,뜻,split", "P1,a.mp4,왼쪽,TRAIN", "P2,b.webm,오른쪽,validation"]
    columns = ('video="Video file",gloss=뜻', "signer=참가자")
    table = folder / "표.csv"
    segments, [] = read(table, "\n".join(rows).replace(",", separator), encoding=encoding, columns=columns)
    assert [(s.video, s.gloss, s.signer, s.split, s.start_seconds, s.end_seconds) for s in segments] == [
        ("a.mp4", "왼쪽", "P1", "train", 0.0, WHOLE_VIDEO_END),
        ("b.webm", "오른쪽", "P2", "val", 0.0, WHOLE_VIDEO_END),
    ]


def test_a_wrong_name_lists_the_columns_there_are(folder: Path) -> None:
    text = "Video file,Gloss\na.mp4,x\n"
    with pytest.raises(AnnotationError, match=r"t.csv: has no column Vidoe file; found Video file, Gloss$") as told:
        read(folder / "t.csv", text, columns=("video=Vidoe file,gloss=Gloss",))
    assert "\n" not in str(told.value)
    with pytest.raises(AnnotationError, match=r"has no column video, gloss; .*--columns video=File,gloss=Sign gives"):
        read(folder / "t.csv", "File,Sign\na.mp4,x\n")
    with pytest.raises(AnnotationError, match=r"t.csv: has no column Signer; found Video file, Gloss$"):
        read(folder / "t.csv", text, columns=("video=Video file,gloss=Gloss,signer=Signer",))


def test_columns_of_parquet_have_other_names_too(folder: Path) -> None:
    table = pa.table({"Video": ["a.mp4"], "Sign": [7], "Von": [1], "Bis": [3], "fps": [2.0]})
    pq.write_table(table, folder / "t.parquet")
    options = TableOptions(columns=("gloss=Sign,start=Von,end=Bis,item=Sign",), time_unit="frames")
    [segment] = table_segments(folder / "t.parquet", lambda problem: None, options=options)
    assert (segment.gloss, segment.item, segment.start_seconds, segment.end_seconds) == ("7", "7", 0.5, 1.5)


@pytest.mark.parametrize(
    ("options", "start", "end", "expected"),
    [
        ({}, "0.5", "-1", (0.5, WHOLE_VIDEO_END)),
        ({}, "-1", "-1", (0.0, WHOLE_VIDEO_END)),
        ({}, "", "NA", (0.0, WHOLE_VIDEO_END)),
        ({}, "-1", "2", "runs from -1.0 to 2.0 s"),
        ({"time_unit": "milliseconds"}, "500", "1500", (0.5, 1.5)),
        ({"time_unit": "frames", "fps": 25}, "0", "50", (0.0, 2.0)),
        ({"time_unit": "frames", "fps": 25}, "25", "-1", (1.0, WHOLE_VIDEO_END)),
        ({"time_unit": "frames-from-1", "fps": 25}, "1", "50", (0.0, 2.0)),
        ({"time_unit": "frames-from-1", "fps": 25}, "2150", "2249", (85.96, 89.96)),
        ({"time_unit": "frames-from-1", "fps": 25}, "0", "50", "runs from -0.04 to 2.0 s"),
        ({"time_unit": "frames"}, "0", "50", "its times are frames, and no frame rate is given"),
        ({"time_unit": "frames"}, "-1", "-1", (0.0, WHOLE_VIDEO_END)),
        ({"time_unit": "frames", "fps": 25}, "x", "50", "its start 'x' is no number of frames"),
    ],
)
def test_times_have_units_and_the_end_may_be_that_of_the_video(
    folder: Path, options: dict[str, object], start: str, end: str, expected: tuple[float, float] | str
) -> None:
    segments, problems = read(folder / "t.csv", f"video,start,end,gloss\na.mp4,{start},{end},x\n", **options)
    if isinstance(expected, str):
        assert segments == [] and expected in problems[0]
    else:
        assert [(s.start_seconds, s.end_seconds) for s in segments] == [expected] and problems == []


def test_each_row_may_have_a_frame_rate_of_its_own(folder: Path) -> None:
    rows = ["video,start,end,gloss,rate", "a.mp4,30,60,x,30", "a.mp4,30,60,x,", "a.mp4,30,60,x,fast"]
    columns = ("fps=rate",)
    segments, [problem] = read(folder / "t.csv", "\n".join(rows), columns=columns, time_unit="frames", fps=15)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [(1.0, 2.0), (2.0, 4.0)]
    assert problem == "row 3: its fps 'fast' is no number of frames a second"


@pytest.mark.parametrize(
    ("column", "words", "expected"),
    [
        (
            "split",
            ["training", "TRAIN", "Valid", "dev", "testing", "NA"],
            ["train", "train", "val", "val", "test", None],
        ),
        ("train", ["True", "False", "1", "no"], ["train", "test", "train", "test"]),
        ("is_val", ["TRUE", "false"], ["val", "train"]),
        ("Test", ["yes", "0.0"], ["test", "train"]),
    ],
)
def test_splits_are_words_or_truths(folder: Path, column: str, words: list[str], expected: list[str | None]) -> None:
    text = "\n".join([f"video,gloss,{column}", *(f"a.mp4,x,{word}" for word in words)])
    segments, [] = read(folder / "t.csv", text, columns=(f"split={column}",))
    assert [segment.split for segment in segments] == expected


def test_a_truth_needs_a_column_that_says_of_what(folder: Path) -> None:
    [], [problem] = read(folder / "t.csv", "video,gloss,split\na.mp4,x,True")
    assert "its split 'true' tells nothing; its column must be named train, val, test" in problem


def test_names_without_a_suffix_get_one(folder: Path) -> None:
    rows = ["video,gloss", "a,x", "b,x", "수어/왼쪽,x", "deep.er/P01._color,x", "c,x"]
    segments, [problem] = read(folder / "t.csv", "\n".join(rows))
    assert [s.video for s in segments] == ["a.mp4", "b.webm", "수어/왼쪽.mp4", "deep.er/P01._color.mp4"]
    assert problem == f"row 5: there is no video {folder / 'c'}"


def test_only_the_option_leads_out_of_the_tables_folder(folder: Path, tmp_path: Path) -> None:
    tables = tmp_path / "splits of it"
    tables.mkdir()
    text = f"video,gloss\na.mp4,x\n{folder / '수어' / '왼쪽.mp4'},x\n../a.mp4,x\n/etc/passwd,x\n"
    [], problems = read(tables / "t.csv", text)
    assert [problem.split(" ")[2] for problem in problems] == ["there", "its", "its", "its"]
    assert all("--video-root DIR names" in problem for problem in problems[1:])
    segments, problems = read(tables / "t.csv", text, video_root=folder)
    assert [segment.video for segment in segments] == ["a.mp4", "수어/왼쪽.mp4"] and len(problems) == 2
    with pytest.raises(AnnotationError, match="there is no such folder of videos, which --video-root names"):
        options = DatasetOptions(table=TableOptions(video_root=tmp_path / "gone"))
        read_data_root(tables / "t.csv", options)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.csv", "ClassId,TR,EN\n0,abla,sister\n41,왼쪽,left\n"),
        ("map.csv", "code;other;gloss\n0;-;abla\n041;-;왼쪽\n"),
        ("map.txt", "00|abla|R|\n41|왼쪽|R|\n"),
        ("map.txt", "\n".join(["abla", *(f"word, {k}" for k in range(40)), "왼쪽"])),
    ],
)
def test_codes_are_replaced_by_their_glosses(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    rows = "video,gloss\na.mp4,0\na.mp4,41\na.mp4,99\n"
    segments, [problem] = read(folder / "t.csv", rows, class_map=folder / name)
    assert [segment.gloss for segment in segments] == ["abla", "왼쪽"]
    assert problem == f"row 3: its gloss '99' is no code of {folder / name}"


def test_a_class_map_that_contradicts_itself_is_refused(folder: Path) -> None:
    (folder / "map.csv").write_text("1,left\n01,right\n")
    with pytest.raises(AnnotationError, match=r"map.csv: gives '01' two glosses, 'left' and 'right'"):
        read(folder / "t.csv", "video,gloss\na.mp4,1\n", class_map=folder / "map.csv")
    with pytest.raises(AnnotationError, match=r"gone.csv: cannot be read as codes and glosses \(No such file"):
        read(folder / "t.csv", "video,gloss\na.mp4,1\n", class_map=folder / "gone.csv")


def test_the_command_line_takes_units_rates_and_codes(folder: Path) -> None:
    (folder / "map.csv").write_text("7,왼쪽\n")
    (folder / "t.csv").write_text("video,start,end,gloss\na.mp4,25,50,7\n")
    words = [
        "--time-unit",
        "frames",
        "--fps",
        "25",
        "--class-map",
        str(folder / "map.csv"),
        "--probe",
        "none",
        "--json",
    ]
    [word] = json.loads(run(folder / "t.csv", *words).stdout)["tables"]["words"]
    assert word["gloss"] == "왼쪽"


def test_options_of_tables_are_refused_for_folders(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["build-cache", "--data-root", str(folder), "--out", "x", "--columns", "gloss=G"])
    assert result.exit_code == 1 and isinstance(result.exception, AnnotationError)
    assert "is a folder, and --columns tells how to read a table" in str(result.exception)


def test_a_table_of_others_becomes_a_cache_and_is_scanned(tmp_path: Path) -> None:
    videos, table = tmp_path / "ASL 비디오" / "videos", tmp_path / "splits" / "train.csv"
    for number in range(4):
        write_video(videos / f"{number}-GLOSS.mp4", 30, first_number=30 * number)
    table.parent.mkdir()
    rows = ["Participant ID,Video file,Gloss,ASL-LEX Code"]
    rows += [f"P{k % 2},{k}-GLOSS.mp4,{'ALSO1' if k < 2 else 'BE, OR NOT'!r},A_01".replace("'", '"') for k in range(4)]
    table.write_text("\n".join(rows), encoding="utf-8-sig")
    given = ["--data-root", table, "--video-root", videos, "--columns"]
    given += ['video="Video file",gloss=Gloss,signer=Participant ID']
    out = tmp_path / "c.zarr"
    words = ["build-cache", *given, "--out", out, "--frames", 4, "--size", 64, "--workers", 1]
    result = CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    index = open_cache(out).index.sort_by("video").to_pydict()
    assert index["video"] == [f"{k}-GLOSS.mp4" for k in range(4)]
    assert index["gloss"] == ["ALSO1", "ALSO1", "BE, OR NOT", "BE, OR NOT"]
    assert index["signer"] == ["P0", "P1"] * 2 and index["status"] == ["ok"] * 4
    text = run(table, *map(str, given[2:])).stdout
    assert "4 videos" in text
