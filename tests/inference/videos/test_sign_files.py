"""`infer --timeline` on many videos: an ELAN file or subtitles of each, and one table of the signs of all."""

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signprep.inference.options import Outputs
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.sign_files import COLUMNS, names_below, sign_files
from signprep.inference.videos.window_predictions import MissingWindow, Video, VideoPredictions
from signprep.pipeline.cli import cli
from signprep.pipeline.clips import Span
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import SignprepError
from tests.generated_videos import write_video

DECOMPOSED = "\u1112\u1161\u11ab.mp4"
"""한.mp4 as macOS writes it."""
EVERY_SIGN = ["--clip-duration", "0.5", "--stride", "0.25", "--min-confidence", "0", "--min-duration-seconds", "0"]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one name in two folders, one in a zip, and one that is broken."""
    folder = tmp_path_factory.mktemp("수어 말뭉치") / "talks"
    for number, name in enumerate(("월요일/이야기 1.mp4", "화요일/이야기 1.mp4", "zipped.mp4")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, 30, first_number=100 * number)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "zipped.mp4", "안/이야기 1.mp4")
    (folder / "zipped.mp4").unlink()
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def infer(checkpoint: Path, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["infer", "--checkpoint", str(checkpoint), *EVERY_SIGN, *map(str, arguments)])


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_files_of_each_video_and_one_table(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "새 폴더" / "out", tmp_path / "signs.csv"
    asked = ["--timeline", "--subtitles-dir", out, "--subtitle-formats", "eaf, .SRT,vtt", "--signs", table]
    result = infer(checkpoint, talks, *asked)
    assert result.exit_code == 1 and result.stdout == ""
    names = ("more/안/이야기 1", "월요일/이야기 1", "화요일/이야기 1")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        f"{name}.{ending}" for name in names for ending in ("eaf", "srt", "vtt")
    ]
    assert table.read_bytes().startswith(b"\xef\xbb\xbf" + ",".join(COLUMNS).encode())
    rows = rows_of(table)
    videos = [f"{talks}/{name}" for name in ("broken.mp4", "more.zip!/안/이야기 1.mp4")]
    assert [rows[0]["video"], rows[1]["video"]] == videos and "broken.mp4" in rows[0]["error"] and not rows[0]["gloss"]
    signs = [row for row in rows if row["gloss"]]
    assert len({row["video"] for row in signs}) == 3 and not any(row["error"] for row in signs)
    number = len([line for line in (out / f"{names[1]}.srt").read_text("utf-8").splitlines() if "-->" in line])
    assert number == sum("월요일" in row["video"] for row in signs)
    error = str(result.exception)
    assert error.startswith(f"1 of 4 videos not answered, or not to the end: {talks}/broken.mp4: ")
    assert error.endswith(f"; {table} names them all")
    assert f"{table}: {len(signs)} signs" in result.stderr and f"{out}: 9 files, {len(signs)} signs" in result.stderr


def test_all_videos_that_failed_are_named(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    for name in ("b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    result = infer(checkpoint, tmp_path, talks / "월요일", "--subtitles-dir", tmp_path / "out")
    assert result.exit_code == 1
    start = f"2 of 3 videos not answered, or not to the end: {tmp_path}/b.mp4, {tmp_path}/c.mp4; {tmp_path}/b.mp4: "
    assert str(result.exception).startswith(start) and "names them all" not in str(result.exception)


def test_the_table_of_signs_is_a_table_of_labels(
    checkpoint: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(talks.parent)
    result = infer(checkpoint, "talks/월요일", "talks/화요일", "--signs", "signs.csv")
    assert result.exit_code == 0 and not result.stdout, result.exception
    rows = rows_of(Path("signs.csv"))
    labels = read_data_root(Path("signs.csv")).segments
    assert len(labels) == len(rows) > 1
    for label, row in zip(labels, rows, strict=True):
        assert (label.video, label.gloss) == (row["video"], row["gloss"])
        assert (label.start_seconds, label.end_seconds) == (float(row["start"]), float(row["end"]))
    Path("signs.csv").unlink()


def test_json_goes_to_its_file_beside_the_others(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    asked = ["--subtitles-dir", tmp_path / "out", "--out", tmp_path / "all.jsonl"]
    result = infer(checkpoint, talks / "월요일", talks / "화요일", *asked)
    assert result.exit_code == 0 and not result.stdout and "signprep export --checkpoint" in result.stderr
    assert all(json.loads(line)["timeline"] for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines())
    names = [str(path.relative_to(tmp_path / "out")) for path in sorted((tmp_path / "out").rglob("*.*"))]
    assert names == ["월요일/이야기 1.eaf", "화요일/이야기 1.eaf"]


def test_files_beside_their_videos_are_the_next_data(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(talks / "월요일", tmp_path / "my talks"))
    result = infer(checkpoint, folder, "--subtitles-dir", folder)
    assert f"signprep build-cache --data-root '{folder}' --out 'my talks.zarr'" in result.stderr


def test_what_is_there_is_replaced_only_if_asked_for(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    (tmp_path / "이야기 1.eaf").write_text("corrected by hand")
    (tmp_path / "signs.csv").write_text("corrected by hand")
    asked = [talks / "월요일", "--subtitles-dir", tmp_path, "--signs", tmp_path / "signs.csv"]
    refused = infer(checkpoint, *asked)
    assert refused.exit_code == 1 and not refused.stdout
    assert re.search(r"signs\.csv: is there already, and so is .*--overwrite", str(refused.exception))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"corrected by hand"}
    assert infer(checkpoint, *asked, "--overwrite").exit_code == 0
    assert "ANNOTATION_DOCUMENT" in (tmp_path / "이야기 1.eaf").read_text("utf-8") and rows_of(tmp_path / "signs.csv")


def test_a_video_that_breaks_off_keeps_its_signs_and_says_where(tmp_path: Path) -> None:
    video = Video.at(tmp_path / "a.mp4")
    found = VideoPredictions(video=video, missing=[MissingWindow(span=Span(t, t + 1), reason="torn") for t in (3, 4)])
    sign = TimelineSegment(start_seconds=0.1234, end_seconds=1.0, label=0, gloss="=1+1", confidence=0.98765)
    with sign_files([video], Outputs(signs=tmp_path / "signs.csv")) as add_signs:
        add_signs(found, [sign])
    assert [list(row.values()) for row in rows_of(tmp_path / "signs.csv")] == [
        [video.path, "0.123", "1.0", "'=1+1", "0.9877", ""],
        [video.path, "3", "5", "", "", "torn"],
    ]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ({"/a": ["x.mp4", "b/x.mp4"]}, ["x", "b/x"]),
        ({"/a/b": ["x.mp4"], "/a/c": ["x.mp4"]}, ["b/x", "c/x"]),
        ({"/a": ["x.mp4", "x.mov", "x.MP4.mov"]}, ["x.mp4-2", "x.mov", "x.MP4"]),
        ({"/a": ["X.mp4", "x.mp4", "x.v1.mp4", "take.1"]}, ["X.mp4", "x.mp4-2", "x.v1", "take.1"]),
        ({"/a": ["b.zip!/x.mp4", "b/x.mp4", "c.tar!/d/x.mp4"]}, ["b.zip/x.mp4", "b/x.mp4", "c/d/x"]),
        ({"/a": ["한.mp4", DECOMPOSED, "wow!/x.mp4"]}, ["한.mp4", f"{DECOMPOSED}-2", "wow!/x"]),
        ({"/a": ["z.zip!/../../x.mp4", "/etc/x.mp4"]}, ["z/x", "etc/x"]),
    ],
)
def test_files_are_named_as_videos_and_each_has_its_own(found: dict[str, list[str]], names: list[str]) -> None:
    videos = [
        Video(path=f"{folder}/{name}", folder=Path(folder), name=name)
        for folder, inside in found.items()
        for name in inside
    ]
    named = names_below(videos)
    assert [named[video.path].as_posix() for video in videos] == names


def test_options_of_files_that_are_not_written_are_refused(checkpoint: Path, talks: Path, tmp_path: Path) -> None:
    for asked, message in (
        (["--timeline", "--subtitle-formats", "srt"], "--subtitle-formats goes with --subtitles-dir"),
        (["--timeline", "--overwrite"], "--overwrite goes with --subtitles-dir or --signs"),
        (["--subtitles-dir", tmp_path, "--subtitle-formats", "txt"], ".txt is not one of .eaf, .srt, .vtt"),
        (["--subtitles", tmp_path / "a.srt"], "--subtitles-dir is for all"),
    ):
        result = infer(checkpoint, talks / "월요일", talks / "화요일", *asked)
        assert result.exit_code == 2 and message in result.output
    assert ".csv, not in '.xlsx'" in str(infer(checkpoint, talks, "--signs", tmp_path / "a.xlsx").exception)
    (tmp_path / "file").touch()
    assert "cannot be made a folder" in str(infer(checkpoint, talks, "--subtitles-dir", tmp_path / "file").exception)


def test_an_error_leaves_no_table(tmp_path: Path) -> None:
    with pytest.raises(SignprepError), sign_files([], Outputs(signs=tmp_path / "signs.csv")):
        raise SignprepError("stopped")
    assert not list(tmp_path.iterdir())
