"""All commands beside one another: names, sentences, the rule for data roots, and the style of errors."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from signprep.inference.options import TimelineOptions, WindowArguments
from signprep.pipeline.cli import COMMANDS, cli, main
from signprep.pipeline.cli.options import option_fields, option_name
from signprep.pipeline.runtime.text import columns_of
from tests.conftest import write_data_root

DATA_ROOTS = ["build-cache", "train", "verify", "scan", "evaluate"]


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def help_of(name: str) -> str:
    return CliRunner().invoke(cli, [name, "--help"], terminal_width=1000).output


def shown_options(name: str) -> list[click.Option]:
    found = [parameter for parameter in command_of(name).params if isinstance(parameter, click.Option)]
    return [option for option in found if not option.hidden]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_are_whole_sentences_of_their_own(name: str) -> None:
    texts = [option.help or "" for option in shown_options(name)]
    for text in texts:
        assert re.fullmatch(r"[A-Z].*\.", text), text
        assert not re.match(r"(Of|As|In place of|The same)\b", text) and "default:" not in text, text


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_broken_between_words(name: str, width: int) -> None:
    lines = CliRunner().invoke(cli, [name, "--help"], terminal_width=width).output.splitlines()
    wide = [line for line in lines if columns_of(line) > width]
    assert [line for line in wide if not re.fullmatch(r" *(--\S+ )?\S+( \\)?", line)] == []
    signs = re.compile(r"[\s|/\\]+")  # lines end between choices, too, and examples behind a backslash
    assert [word for line in lines for word in signs.split(line) if word] == [
        word for word in signs.split(help_of(name)) if word
    ]


@pytest.mark.parametrize(
    ("name", "shown", "silent"),
    [
        ("scan", "--num-frames", ["--frames"]),
        ("build-cache", "--num-frames", ["--frames"]),
        ("build-cache", "--size", ["--crop-size"]),
        ("build-cache", "--clip-pool", ["--shelf"]),
        ("train", "--num-frames", ["--frames"]),
        ("train", "--size", ["--crop-size"]),
        ("train", "--workers", ["--num-workers"]),
        ("train", "CACHE", ["--cache"]),
        ("evaluate", "CACHE", ["--cache"]),
        ("evaluate", "--out", ["--output-path"]),
        ("evaluate", "--workers", ["--num-workers"]),
        ("infer", "INPUT", ["--video-path", "--cache"]),
        ("infer", "--out", ["--output-path"]),
        ("infer", "--workers", ["--num-workers"]),
        ("export", "--out", ["--output-path"]),
        ("export", "--cache", ["--calibration-cache"]),
        ("inspect", "--out", ["--output"]),
        ("inspect", "CACHE", ["--cache"]),
        ("play", "--out", ["--output"]),
        ("verify", "CACHE", ["--cache"]),
        ("compact", "CACHE", ["--cache"]),
        ("forget", "CACHE", ["--cache"]),
        ("push", "CACHE", ["--cache"]),
        ("pull", "CACHE", ["--out"]),
    ],
)
def test_one_thing_has_one_name_and_former_names_are_taken_silently(name: str, shown: str, silent: list[str]) -> None:
    assert re.search(rf"^  {shown}\b", help_of(name), re.M)
    taken = {spelling for parameter in command_of(name).params for spelling in parameter.opts}
    assert set(silent) <= taken
    assert not [spelling for spelling in silent if re.search(rf"^  {spelling}\b", help_of(name), re.M)]


def test_a_timeline_has_the_same_options_and_defaults_in_infer_and_evaluate() -> None:
    ours = {option_name(field) for kind in (TimelineOptions, WindowArguments) for field, _, _ in option_fields(kind)}
    described = [
        {option.opts[0]: (option.help, option.default) for option in shown_options(name) if option.opts[0] in ours}
        for name in ("infer", "evaluate")
    ]
    assert described[0] == described[1] and len(ours) == 12
    windows = WindowArguments().windows(several=True, timeline=True)
    assert (windows.clip_duration, windows.stride) == (0.8, 0.1)
    windows = WindowArguments().windows(several=True, timeline=False)
    assert (windows.clip_duration, windows.stride) == (2.0, 1.0)
    assert WindowArguments().windows(several=False, timeline=False).stride is None


@pytest.mark.parametrize("name", DATA_ROOTS)
@pytest.mark.parametrize("one", ["--train-data-root", "--val-data-root"])
def test_one_data_root_of_a_split_needs_another(name: str, one: str) -> None:
    more = {"build-cache": ["--out", "c.zarr"], "verify": ["c.zarr", "--repair"], "evaluate": ["--checkpoint", "x"]}
    result = CliRunner().invoke(cli, [name, *more.get(name, []), one, "x"])
    assert result.exit_code == 2
    assert "--train-data-root and --val-data-root go together, or with --data-root" in result.output


def test_the_split_without_a_data_root_of_its_own_has_the_common_one(tmp_path: Path) -> None:
    common, val = write_data_root(tmp_path / "a"), write_data_root(tmp_path / "b")
    roots = ["--data-root", str(common), "--val-data-root", str(val)]
    scanned = CliRunner().invoke(cli, ["scan", *roots, "--json", "--workers", "1"])
    found = json.loads(scanned.stdout)
    assert {split: Path(document["data_root"]).name for split, document in found.items()} == {"train": "a", "val": "b"}
    cache = tmp_path / "c.zarr"
    build = ["build-cache", *roots, "--out", str(cache), "--num-frames", "2", "--size", "32", "--workers", "1"]
    built = CliRunner().invoke(cli, [*build, "--backend", "loky"])
    assert built.exit_code == 0 and "24 clips (12 train, 12 val)" in built.stdout
    checked = CliRunner().invoke(cli, ["verify", str(cache), "--repair", *roots])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["train", "--lr", "1"], ["No such option '--lr'. Did you mean '--learning-rate'?", "train"]),
        (["train", "-lr", "1"], ["No such option '-lr'. Did you mean '--learning-rate'?", "train"]),
        (
            ["train", "--bs=4"],
            [
                "No such option '--bs'. Did you mean '--batch-size' or '--balanced-sampling' or '--boundary-shift'?",
                "train",
            ],
        ),
        (["train", "--crop_siz", "4"], ["No such option '--crop-siz'. Did you mean '--size'?", "train"]),
        (["infer", "x", "--ckpt", "y"], ["No such option '--ckpt'. Did you mean '--checkpoint'?", "infer"]),
        (["train", "--epochs", "many"], ["Invalid value for '--epochs': 'many' is not a valid integer.", "train"]),
        (["push", "a.zarr"], ["Missing argument 'URL'.", "push"]),
    ],
)
def test_a_usage_error_is_one_line_with_a_proposal_and_where_to_look(
    arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"signprep: error: {lines[0]}",
        f"`signprep {lines[1]} --help` explains it",
    ]


def test_what_the_data_refuse_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", "/nowhere.zarr"])
    assert exit_.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("signprep: error: /nowhere.zarr: ")


@pytest.mark.parametrize("inputs", [["a.mp4", "b.zarr"], ["a.zarr", "s3://b/c.zarr"], []])
def test_infer_takes_videos_or_one_cache(inputs: list[str]) -> None:
    result = CliRunner().invoke(cli, ["infer", *inputs, "--checkpoint", "x"])
    assert result.exit_code == 2 and "give INPUT: videos, or one cache" in result.output
