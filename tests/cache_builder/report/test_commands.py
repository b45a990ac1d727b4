import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report import terminal
from signprep.cache_builder.report.pictures import FRAME_GAP, clip_frames, contact_sheet
from signprep.cache_builder.report.terminal import show_clip
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheError
from signprep.pipeline.video.demux import packet_times
from tests.cache_builder.report.made import HOSTILE, row_of, write_cache


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_inspect_shows_bars_findings_and_their_files(troubled: Cache) -> None:
    text = run("inspect", troubled.path).stdout
    for words in ("gloss (7)", "REAL04", "█", "▒", "seconds", "median", HOSTILE, "ERROR", "WARNING"):
        assert words in text
    assert "2 clips could not be decoded" in text and "NIA_SL_WORD0001_REAL01_L.mp4" in text
    assert "1 take both in train and in val" in text


@pytest.mark.parametrize("option", [(), ("--clip", 0)])
def test_no_name_of_the_data_moves_the_cursor(tmp_path: Path, option: tuple[object, ...]) -> None:
    names = ("video", "gloss", "take", "signer", "view", "source")
    evil = {name: f"\x1b[2J[red]{name}" for name in names}
    rows = [row_of(0, **evil), row_of(1, **evil, status="failed", error="\x1b[2Jno frame")]
    made = write_cache(tmp_path / "c.zarr", rows)
    text = run("inspect", made.path, *option).stdout
    assert "\x1b" not in text and "\N{REPLACEMENT CHARACTER}[2J[red]gloss" in text
    with pytest.raises(CacheError, match=r"has split '\\x1b\[2J\[red\]split' in row 0; it is one of train, val, test"):
        write_cache(tmp_path / "d.zarr", [row_of(0, split="\x1b[2J[red]split")])


def test_inspect_as_json_has_the_findings_with_their_positions(troubled: Cache) -> None:
    document = json.loads(run("inspect", troubled.path, "--json").stdout)
    assert (document["clips"], document["removed"], document["classes"]) == (44, 1, 7)
    assert document["clip_seconds"]["median"] == 1.0
    found = {finding["kind"]: finding for finding in document["findings"]}
    assert found["leak-take"]["positions"] == [24, 25] and found["leak-take"]["names"] == ["REAL01_WORD0004"]
    assert (found["leak-take"]["severity"], found["leak-take"]["gravity"]) == ("error", "wrong")
    assert (found["leak-signer"]["severity"], found["leak-signer"]["gravity"]) == ("warning", "look")
    assert found["failed"]["meaning"] == "Not in the cache. Get the videos again, then run the same build-cache."


def test_inspect_writes_the_report(troubled: Cache, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("3.1절\n", encoding="utf-8")
    chosen = ["--classes", "왼쪽", "--gloss-file", tmp_path / "words.txt", "--compare", "10"]
    result = run("inspect", troubled.path, "--html", tmp_path / "r.html", *chosen)
    assert result.exit_code == 0, result.output
    assert "47 clips, 25 moving pictures" in result.stdout and "6 errors, 6 warnings" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "words.txt"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_clips_frames_are_written_as_a_picture(troubled: Cache, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"frames.{suffix}"
    result = run("inspect", troubled.path, "--clip", 5, "--output", out)
    assert result.exit_code == 0 and "0.500 to 1.500" in result.stdout and "NIA_SL_WORD0001_REAL03_L" in result.stdout
    with av.open(str(out)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (64, 8 * 66 - 2, 3)
    for number in range(8):
        frame = picture[:, 66 * number : 66 * number + 64].astype(int)
        assert np.abs(frame - troubled.rgb(5)[number]).mean() < (0.01 if suffix == "png" else 6)


def test_a_clips_frames_are_shown_in_a_terminal(troubled: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "KITTY_WINDOW_ID", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)
    shown = {}
    for term in ("xterm-256color", "xterm-kitty"):
        monkeypatch.setenv("TERM", term)
        file = io.StringIO()
        show_clip(troubled, 5, None, Console(file=file, force_terminal=True, color_system="truecolor", width=80))
        shown[term] = file.getvalue()
    lines = [line.count("▀") for line in shown["xterm-256color"].splitlines()]
    assert max(lines) <= 80 and sum(lines) > 8 * 18 * 9
    assert "\x1b_Ga=T,f=100,m=" in shown["xterm-kitty"] and "▀" not in shown["xterm-kitty"]
    file = io.StringIO()
    show_clip(troubled, 5, None, Console(file=file, width=80))
    assert "▀" not in file.getvalue() and "video_hash" in file.getvalue()


def test_terminals_are_known_by_their_environment() -> None:
    assert terminal.terminal_pictures({"TERM": "xterm-ghostty"}) == "kitty"
    assert terminal.terminal_pictures({"TERM_PROGRAM": "iTerm.app"}) == "iterm"
    assert terminal.terminal_pictures({"TERM_PROGRAM": "iTerm.app", "TMUX": "1"}) == "blocks"
    assert terminal.iterm_picture(b"abc") == "\x1b]1337;File=inline=1;size=3:YWJj\x07\n"
    parts = terminal.kitty_picture(bytes(5000)).split("\x1b\\")
    assert parts[0].startswith("\x1b_Ga=T,f=100,m=1;") and parts[1].startswith("\x1b_Gm=0;")
    for width in (20, 40, 80, 237):
        columns, cells = terminal.cells_a_frame(width, 16)
        assert 16 % columns == 0 and columns * (cells + FRAME_GAP) - FRAME_GAP <= max(width, 18)


def test_frames_lie_side_by_side(troubled: Cache) -> None:
    frames = clip_frames(troubled, troubled.read([5])[0], most=6, side=16)
    whole = contact_sheet(frames, 4)
    assert whole.shape == (34, 70, 3) and (whole[18:, 36:] == 0).all() and whole[18:34, 18:34].any()


@pytest.mark.parametrize("suffix", ["mp4", "webp"])
def test_play_writes_a_moving_picture(troubled: Cache, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"수어.{suffix}"
    result = run("play", troubled.path, 5, "--output", out, "--speed", "0.5")
    assert result.exit_code == 0 and "clip 5 (왼쪽), 8 frames in 2.00 s" in result.stdout
    assert out.read_bytes()[:12] in (out.read_bytes()[:4] + b"ftypisom", b"RIFF" + out.read_bytes()[4:8] + b"WEBP")
    if suffix == "mp4":  # its last frame is shown as long as the others
        assert packet_times(out, out.name).duration_seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("play", "48", "--output", "c.mp4"), "has no clip 48; its clips are 0 to 47"),
        (("play", "1", "--output", "c.mp4"), "clip 1 could not be decoded: video/NIA_SL_WORD0001_REAL01_L.mp4: trunc"),
        (("play", "3", "--output", "c.mp4"), "clip 3 (NIA_SL_WORD0001_REAL02_L#0) was removed"),
        (("play", "5", "--output", "no/c.mp4"), "no/c.mp4: cannot be written"),
        (("play", "5", "--output", "c.gif"), "c.gif must end in .mp4 or .webp"),
        (("play", "five", "--output", "c.mp4"), "'five' is not a valid integer"),
        (("play", "5", "--output", "c.mp4", "--speed", "0"), "--speed is 0.0; it must be between 0.05 and 20"),
        (("inspect", "--clip", "48"), "has no clip 48"),
        (("inspect", "--clip", "-1"), "has no clip -1"),
        (("inspect", "--clip", "9"), "clip 9 could not be decoded"),
        (("inspect", "--clip", "5", "--output", "f.gif"), "f.gif must end in .png, .jpg, .jpeg or .webp"),
        (("inspect", "--clip", "5", "--output", "no/f.png"), "no/f.png: cannot be written"),
        (("inspect", "--output", "f.png"), "--out goes with --clip"),
        (("inspect", "--json", "--html", "r.html"), "give one of them"),
        (("inspect", "--classes", "왼쪽"), "--classes goes with --html"),
        (("inspect", "--html", "no/r.html"), "no/r.html: cannot be written"),
        (("inspect", "--html", "."), "cannot be written (it is a folder)"),
        (("inspect", "--html", "r.html", "--classes", "왼쪼"), "'왼쪼' is none of the cache's 7 classes"),
        (("inspect", "--html", "r.html", "--clips-per-class", "-1"), "--clips-per-class is -1; it must be at least 0"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_nothing(
    troubled: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *others = arguments
    result = run(command, troubled.path, *others)
    assert result.exit_code != 0
    assert said in (result.output + str(result.exception)) and "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
