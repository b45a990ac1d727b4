"""Tables of all makes: a bad row costs itself alone, and what Python's csv module reads is what becomes segments."""

import csv
import datetime
import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signprep.pipeline.datasets.annotations import WHOLE_VIDEO_END, Segment, normal_gloss
from signprep.pipeline.datasets.files.data_root import HARMLESS, Problem
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.tables.segments import table_segments
from signprep.pipeline.errors import AnnotationError
from tests.pipeline.scan.scanning import run, scan

HEADER = "video,start,end,gloss"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos, which nobody opens."""
    folder = tmp_path_factory.mktemp("table")
    for name in ("a.mp4", "b.mp4", "c d.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


def read(folder: Path, text: str | bytes, name: str = "t.csv") -> tuple[list[Segment], list[str]]:
    """Return the segments of a table, and the messages without its path."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    told: list[str] = []
    segments = list(table_segments(folder / name, lambda problem: told.append(problem.message)))
    return segments, [message.removeprefix(f"{folder / name}: ") for message in told]


def glosses(folder: Path, text: str | bytes, name: str = "t.csv") -> list[str]:
    segments, problems = read(folder, text, name)
    assert problems == []
    return [segment.gloss for segment in segments]


UNCLOSED = "has a quote that is not closed; rows go on in the next line"


@pytest.mark.parametrize(
    ("rows", "kept", "told"),
    [
        (['a.mp4,0,1,"가다', "a.mp4,0,1,나", "b.mp4,0,1,다"], ["나", "다"], [f"row 1: {UNCLOSED}"]),
        (["a.mp4,0,1,가", '"a.mp4,0,1,나', "b.mp4,0,1,다"], ["가", "다"], [f"row 2: {UNCLOSED}"]),
        (['a.mp4,0,1,"가', 'b.mp4,0,1,"나, 다"', "a.mp4,0,1,라"], ["나, 다", "라"], [f"row 1: {UNCLOSED}"]),
        (
            ['a.mp4,0,1,"가', "b.mp4,0,1,나", 'a.mp4,0,1,다"', "a.mp4,0,1,라"],
            ["나", "라"],
            [f"row {k}: {UNCLOSED}" for k in (1, 3)],
        ),
        (['a.mp4,0,1,"가', 'b.mp4,0,1,", 나"', "a.mp4,0,1,라"], [", 나", "라"], [f"row 1: {UNCLOSED}"]),
        (["a.mp4,0,1,가", 'b.mp4,0,1,"'], ["가"], [f"row 2: {UNCLOSED}"]),
        (
            ["a.mp4,0,1", "b.mp4,0,1,가", "b.mp4,0,1,나,다", "b.mp4,0,1,라,,"],
            ["가", "라"],
            [f"row {k}: has {n} cells, where the header has 4" for k, n in ((1, 3), (3, 5))],
        ),
        (
            ["", "a.mp4,0,1,가", ",,,", "   ", "b.mp4,0,1,나", "c.mp4,0,1,x"],
            ["가", "나"],
            ["row 4 (line 7): there is no video"],
        ),
    ],
)  # fmt: skip
def test_a_row_that_is_not_well_formed_is_told_by_its_number_and_costs_no_other(
    folder: Path, rows: list[str], kept: list[str], told: list[str]
) -> None:
    segments, problems = read(folder, "\n".join([HEADER, *rows]))
    assert [segment.gloss for segment in segments] == kept
    assert [problem[: len(start)] for problem, start in zip(problems, told, strict=True)] == told


def test_cells_may_have_lines_quotes_and_lengths_of_any_kind(folder: Path) -> None:
    long = "x" * 200_000
    rows = (
        f'note,{HEADER}\n"two\nlines, of, a, note",a.mp4,0,1,"3"" 못"\n{long},b.mp4,0,1,5" nail\n"a"b,a.mp4,0,1,"c"d\n'
    )
    assert glosses(folder, rows) == ['3" 못', '5" nail', "cd"]


def test_semicolons_come_with_commas_in_numbers_and_separators_may_end_lines(folder: Path) -> None:
    rows = ["video;start;end;gloss;", "a.mp4;0,5;1.5;위;", "b.mp4;0; 1,25;3,5"]
    [first, second], [] = read(folder, "\n".join(rows))
    assert (first.start_seconds, first.end_seconds, first.gloss) == (0.5, 1.5, "위")
    assert (second.end_seconds, second.gloss) == (1.25, "3,5")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_what_excel_saves_in_korea_is_read(folder: Path, encoding: str, separator: str, name: str) -> None:
    rows = ["video,start,end,gloss,signer", "a.mp4,0.5,1.5,왼쪽,김", "b.mp4,,,어쩔 수 없다,이"]
    text = "\r\n".join(rows).replace(",", separator)
    assert glosses(folder, text.encode(encoding), name) == ["왼쪽", "어쩔 수 없다"]
    assert glosses(folder, f"sep={separator}\r\n{text}".encode(encoding), name) == ["왼쪽", "어쩔 수 없다"]


def test_one_wrong_byte_costs_its_row_and_changes_no_encoding(folder: Path) -> None:
    rows = [f"a.mp4,0,{k + 1},단어{k}".encode() for k in range(50)]
    rows[20] = rows[20][:-3] + b"\xff"
    segments, [problem] = read(folder, b"\n".join([HEADER.encode(), *rows]))
    assert len(segments) == 49 and segments[0].gloss == "단어0"
    assert problem.startswith("row 21: its gloss has characters of another encoding")


@pytest.mark.parametrize("column", ["gloss", "signer", "video"])
def test_two_columns_of_one_name_are_one_clear_line(folder: Path, column: str) -> None:
    header = f"{HEADER},signer,{column},note,note"
    message = f"has 2 columns named {column}; rename or delete all but one"
    with pytest.raises(AnnotationError, match=message):
        read(folder, f"{header}\na.mp4,0,1,x,y,a.mp4,,")
    names = header.split(",")
    pq.write_table(pa.Table.from_arrays([pa.array(["1"])] * len(names), names), folder / "t.parquet")
    with pytest.raises(AnnotationError, match=message):
        list(table_segments(folder / "t.parquet", lambda problem: None))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no column video, gloss"),
        ("\n\n", "has no column video, gloss"),
        ("video,start,end\n", "has no column gloss; expected video, gloss and perhaps start, end, item"),
        ('video,start,"end,gloss\na.mp4,0,1,x\n', "its header has a quote that is not closed"),
        ("", "found nothing"),
        ("PK\x03\x04" + "\0" * 9000, "is an Excel file or a zip by its first bytes"),
    ],
)
def test_a_header_that_names_no_columns_is_told(folder: Path, text: str, told: str) -> None:
    with pytest.raises(AnnotationError) as error:
        read(folder, text)
    assert told in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_times_of_a_clock_are_seconds(folder: Path, separator: str) -> None:
    comma = "." if separator == "," else ","
    rows = ["00:00:01.5,00:01:30.25", "0:01,1:02", f"00:00:01{comma}5,01:00:00", "1.5,3"]
    text = f"\ufeffvideo,start,end,gloss\r\n{''.join(f'a.mp4,{row},x{chr(13)}{chr(10)}' for row in rows)}"
    if separator != ",":
        text = text.replace("\ufeff", "").replace(f"01{comma}5", "01#5").replace(",", separator).replace("#", comma)
    segments, [] = read(folder, text)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [(1.5, 90.25), (1, 62), (1.5, 3600), (1.5, 3)]


@pytest.mark.parametrize("time", ["00:00:01:15", "1:75", "00:61:00", ":30", "1:", "-0:01", "00:00:01.5.5"])
def test_a_clock_that_means_nothing_costs_its_row(folder: Path, time: str) -> None:
    segments, [problem] = read(folder, f"{HEADER}\na.mp4,0,{time},x\na.mp4,0,1,y")
    assert [s.gloss for s in segments] == ["y"]
    assert "is no number of seconds such as 90.5, nor a time such as 00:01:30.5" in problem


def test_the_error_of_a_missing_column_names_the_one_that_is_probably_meant(folder: Path) -> None:
    for header, told in {
        "path,start,end,gloss": "--columns video=path gives",
        "File Name,glos": "--columns video=NAME,gloss=glos gives",
        "vidoe,Label": "--columns video=vidoe,gloss=Label gives",
    }.items():
        with pytest.raises(AnnotationError, match=told):
            read(folder, f"{header}\na,b,c,d")


def test_a_time_or_signer_that_is_misspelt_is_told(folder: Path) -> None:
    notes: list[str] = []
    (folder / "t.csv").write_text("video,strat,end,gloss,singer,remark\na.mp4,0.5,1,x,me,-\n", encoding="utf-8")
    list(table_segments(folder / "t.csv", lambda problem: None, on_note=notes.append))
    assert notes == [
        "read as the table t.csv: 1 row; each begins where its video begins, since there is no column start"
        "; not read: its columns strat, singer, remark; if one is only misspelt: --columns start=strat,signer=singer"
    ]


@pytest.mark.parametrize("absent", ["", " ", "NA", "NaN", "nan", "N/A", "#N/A", "null", "None", "<NA>", "-"])
def test_times_that_are_not_there_are_those_of_the_whole_video(folder: Path, absent: str) -> None:
    [segment], [] = read(folder, f"{HEADER},split\na.mp4,{absent},{absent},NA,{absent}")
    assert (segment.start_seconds, segment.end_seconds) == (0.0, WHOLE_VIDEO_END)
    assert (segment.gloss, segment.split) == ("NA", None)


def test_splits_have_their_usual_names(folder: Path) -> None:
    words = ["training", "Train", "validation", "VALID", "dev", "development", "val", "testing", "test"]
    segments, [] = read(folder, "\n".join([f"{HEADER},split", *(f"a.mp4,,,x,{word}" for word in words)]))
    assert [s.split for s in segments] == ["train"] * 2 + ["val"] * 5 + ["test"] * 2


@pytest.mark.parametrize(
    ("video", "start", "end", "told"),
    [
        ("a.mp4", "1" + "0" * 400, "2", "its start '1000"),
        ("a.mp4", "1e999", "2", "its start '1e999' is no number"),
        ("a.mp4", "0", "inf", "its end 'inf' is no number"),
        ("a.mp4", "1_0", "20", "its start '1_0' is no number"),
        ("a.mp4", "2300-01-01", "20", "its start '2300-01-01' is no number"),
        ("a.mp4", "-1", "20", "runs from -1.0 to 20.0 s"),
        ("수" * 300 + ".mp4", "0", "1", "there is no video"),
        ("a\0.mp4", "0", "1", "there is no video"),
        ("two\nlines.mp4", "0", "1", "there is no video"),
        (".", "0", "1", "there is no video"),
        ("../a.mp4", "0", "1", "leaves the table's folder"),
    ],
)
def test_a_value_that_means_nothing_costs_its_row(folder: Path, video: str, start: str, end: str, told: str) -> None:
    [good], [problem] = read(folder, f'{HEADER}\n"{video}",{start},{end},위\na.mp4,0,1,아래\n')
    assert good.gloss == "아래" and problem.startswith("row 1: ") and told in problem and len(problem) < 1200


def test_names_are_found_as_macos_writes_them(folder: Path, tmp_path: Path) -> None:
    import unicodedata

    name = unicodedata.normalize("NFD", "왼쪽.mp4")
    (tmp_path / name).write_bytes(b"x")
    [segment], [] = read(tmp_path, f"{HEADER}\n왼쪽.mp4,0,1,왼쪽")
    assert segment.video == name


def test_values_that_parquet_holds_and_text_does_not_cost_their_rows(folder: Path) -> None:
    columns = {
        "video": pa.array(["a.mp4"] * 4),
        "start": pa.array([0.0, float("nan"), None, 2.5]),
        "end": pa.array([1.0, float("nan"), None, 3.0]),
        "gloss": pa.array(["가".encode(), "나".encode("cp949"), b"\xff", b"\xff\xff"], pa.binary()),
        "signer": pa.array([0, 10**15, 0, 0], pa.timestamp("s")),
        "note": pa.array([["nested"]] * 4),
    }
    path = folder / "t.parquet"

    def told(table: dict[str, pa.Array]) -> tuple[list[Segment], list[str]]:
        problems: list[str] = []
        pq.write_table(pa.table(table), path)
        found = list(table_segments(path, lambda problem: problems.append(problem.message.split(": ", 1)[1])))
        return found, problems

    segments, problems = told(columns)
    assert [(s.gloss, s.end_seconds) for s in segments] == [("가", 1.0)]
    assert [problem[:24] for problem in problems] == [
        "row 2: its signer is no ",
        "row 3: its gloss has cha",
        "row 4: its gloss has cha",
    ]
    segments, problems = told(
        columns | {"gloss": pa.array([["가"], ["나"], None, []]), "signer": pa.array([1, 2, 3, 4])}
    )
    assert segments == [] and [problem[:24] for problem in problems[:2]] == [
        f"row {k}: its gloss is no t" for k in (1, 2)
    ]
    assert datetime.MAXYEAR < 10**15 / 86_400 / 365.25


def test_a_table_of_bad_rows_gives_its_own_reasons(folder: Path) -> None:
    (folder / "t.csv").write_text(f"{HEADER}\nz.mp4,0,1,가\na.mp4,2,1,나\n")
    with pytest.raises(AnnotationError, match=r"no usable segment; the first problem: .*row 1: there is no video"):
        read_data_root(folder / "t.csv")
    assert [path for path, _ in scan(folder / "t.csv")["row-unusable"]] == ["t.csv"] * 2
    text = run(folder / "t.csv").stdout
    assert text.index("row 1: there is no video") < text.index("row 2: runs from 2.0 to 1.0 s")
    assert "label/" not in text and "Coverage" not in text
    with pytest.raises(AnnotationError) as error:
        read_data_root(folder / "gone.csv")
    assert "label/" not in str(error.value)


# Text of all scripts without lone surrogates, and the characters that CSV is made of.
CELLS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\",;\t|'\n\r 가")), max_size=8)
TIMES = st.sampled_from(["", "0", "0.5", " 1 ", "NaN", "2", "x"])
ROWS = st.lists(
    st.tuples(st.sampled_from(["a.mp4", "b.mp4", "c d.mp4", "no.mp4", ""]), TIMES, TIMES, CELLS, CELLS), max_size=12
)
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)
COLUMNS = [*HEADER.split(","), "note"]


def written(rows: list[tuple[str, ...]], dialect: dict[str, object]) -> str:
    text = io.StringIO(newline="")
    if dialect["lineterminator"] == "\r":  # where Python's writer puts no quotes around \n
        dialect = dialect | {"quoting": csv.QUOTE_ALL}
    csv.writer(text, **dialect).writerows([COLUMNS, *rows])  # type: ignore[arg-type]
    return text.getvalue()


def expected(rows: list[list[str]], folder: Path) -> list[tuple[int, str, float, float, str]]:
    """Return what rows mean, as the documentation says: number, video, start, end, gloss."""
    found = []
    for number, row in enumerate((row for row in rows if len(row) > 1 or "".join(row).strip()), start=1):
        if len(row) != len(COLUMNS):  # Python's writer puts no quotes around a single \r
            continue
        video, start, end, gloss, _ = row
        times = [time.strip() for time in (start, end)]
        if "x" in times or not video.strip() or not gloss.strip() or not (folder / video).is_file():
            continue
        begin, until = (float(time) if time not in ("", "NaN") else None for time in times)
        begin, until = begin or 0.0, WHOLE_VIDEO_END if until is None else until
        if begin < until:
            found.append((number, video, begin, until, normal_gloss(gloss)))
    return found


@given(rows=ROWS, dialect=DIALECTS, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@settings(max_examples=150, deadline=None)
def test_what_pythons_csv_writes_is_read_as_pythons_csv_reads_it(
    folder: Path, rows: list[tuple[str, ...]], dialect: dict[str, object], encoding: str
) -> None:
    text = written(rows, dialect)
    again = list(csv.reader(io.StringIO(text, newline=""), delimiter=str(dialect["delimiter"])))
    segments, problems = read(folder, text.encode(encoding))
    found = [(int(s.segment_id.split("#")[1]), s.video, s.start_seconds, s.end_seconds, s.gloss) for s in segments]
    assert found == expected(again[1:], folder)
    filled = [row for row in again[1:] if any(cell.strip() for cell in row)]
    assert len(segments) + len(problems) == len(filled)


PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=8)


@given(
    rows=st.lists(PLAIN.filter(lambda gloss: gloss.strip() != ""), min_size=2, max_size=10),
    dialect=DIALECTS,
    encoding=st.sampled_from(["utf-8", "utf-16"]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_damage_to_one_row_costs_no_other(
    folder: Path, rows: list[str], dialect: dict[str, object], encoding: str, seed: int
) -> None:
    rng, end = random.Random(seed), str(dialect["lineterminator"])
    lines = written([("a.mp4", "0", "1", gloss, f"note {k}") for k, gloss in enumerate(rows)], dialect).split(end)
    hit = rng.randrange(len(rows))
    line, separator = lines[1 + hit], str(dialect["delimiter"])
    place = rng.randrange(len(line) + 1)
    lines[1 + hit] = rng.choice(
        [
            line[:place] + '"' + line[place:],
            line[:place],
            line + separator + "more",
            line[:place] + separator + line[place:],
            '"' + line,
        ]
    )
    segments, problems = read(folder, end.join(lines).encode(encoding))
    kept = {(int(s.segment_id.split("#")[1]), s.gloss) for s in segments}
    assert (
        kept >= {(k, normal_gloss(gloss)) for k, gloss in enumerate(rows, start=1) if k - 1 != hit}
        or lines[1 + hit] == ""
    )
    assert all(problem.startswith(f"row {hit + 1}") for problem in problems)


BOXED = f"{HEADER},box_x0,box_y0,box_x1,box_y1"


def test_a_table_tells_where_its_signers_are_in_parts_or_in_pixels(folder: Path) -> None:
    rows = ("a.mp4,0,1,가,0.25,0,0.75,1", "b.mp4,0,1,나,170,40,493,480.5", "a.mp4,1,2,다,,,,", "a.mp4,2,3,라,NA,nan,-,")
    segments, problems = read(folder, "\n".join([BOXED, *rows]))
    assert problems == []
    boxes = [(0.25, 0.0, 0.75, 1.0), (170.0, 40.0, 493.0, 480.5), None, None]
    assert [segment.box for segment in segments] == boxes
    semicolons = "\n".join([BOXED.replace(",", ";"), "a.mp4;0;1,5;가;0,25;0;0,75;1"])
    assert [segment.box for segment in read(folder, semicolons)[0]] == boxes[:1]
    table = pa.table({"video": ["a.mp4"] * 2, "start": [0, 1], "end": [1, 2], "gloss": ["가", "나"]})
    for name, number in zip(("box_x0", "box_y0", "box_x1", "box_y1"), (0.25, 0, 0.75, 1), strict=True):
        table = table.append_column(name, pa.array([number, None], pa.float64()))
    pq.write_table(table, folder / "t.parquet")
    assert [segment.box for segment in table_segments(folder / "t.parquet", print)] == [boxes[0], None]


@pytest.mark.parametrize(
    "cells", ["0.5,0,0.5,1", "0.2,0.9,0.5,0.1", "1,2,3,", "a,b,c,d", "inf,0,1,1", "0,0,0,0", "-1,-1,-1,-1"]
)
def test_a_box_that_means_nothing_costs_its_row_only_the_box(folder: Path, cells: str) -> None:
    segments, problems = read(folder, "\n".join([BOXED, f"a.mp4,0,1,가,{cells}", "b.mp4,0,1,나,0,0,1,1"]))
    assert [segment.box for segment in segments] == [None, (0, 0, 1, 1)]
    assert len(problems) == 1 and problems[0].startswith("row 1: its box ") and "x0 < x1 and y0 < y1" in problems[0]
    (folder / "t.csv").write_text("\n".join([BOXED, f"a.mp4,0,1,가,{cells}"]))
    assert [path for path, _ in scan(folder / "t.csv")["box-unusable"]] == ["t.csv"]


def test_rows_in_which_infer_says_why_there_is_no_sign_are_noted(folder: Path) -> None:
    rows = "a.mp4,0.1,0.5,왼쪽,0.9,\nb.mp4,,,,,is cut off\na.mp4,2,3,,,damaged\n"
    (folder / "signs.csv").write_text(f"video,start,end,gloss,confidence,error\n{rows}", encoding="utf-8-sig")
    found: list[Problem] = []
    notes: list[str] = []
    segments = list(table_segments(folder / "signs.csv", found.append, on_note=notes.append))
    assert [segment.gloss for segment in segments] == ["왼쪽"]
    assert {problem.kind for problem in found} == {"row-of-error"} <= HARMLESS
    assert found[0].message.endswith("signs.csv: row 2: b.mp4 has no sign there: is cut off")
    assert notes == ["read as the table signs.csv: 3 rows; not read: its columns confidence"]
    _, problems = read(folder, "video,start,end,gloss,error\nb.mp4,,,,is cut off\n")
    assert problems == ["row 1: has no gloss"]  # of somebody else's table


@pytest.mark.parametrize("separator", ["^", " ", "~", "\x1f", "§"])
def test_cells_may_be_separated_by_any_character_between_names_that_are_known(folder: Path, separator: str) -> None:
    assert glosses(folder, f"{HEADER}\na.mp4,0,1,가\nb.mp4,0,1,나\n".replace(",", separator)) == ["가", "나"]
