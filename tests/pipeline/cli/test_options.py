"""Options made from dataclasses: names, ranges, help, arguments, and what was given."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner, Result

from signprep.pipeline.cli import cli
from signprep.pipeline.cli.command import meant_names
from signprep.pipeline.cli.options import command, given, reject_unused, told_if_stopped
from signprep.pipeline.errors import StoppedError
from signprep.pipeline.options import REQUIRED, check_options, option
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import label


@dataclass(frozen=True, kw_only=True)
class Inner:
    OPTION_GROUP: ClassVar[str] = "Clips"

    num_frames: int = option(16, "Store this many frames.", aliases=("--frames",), minimum=1, maximum=99)
    share: float = option(0.5, "Take this fraction.", above=0, below=1)
    hidden_limit: float = option(1.0, minimum=1)

    def __post_init__(self) -> None:
        check_options(self)
        if self.num_frames == 13:
            raise ValueError("num_frames is 13; it must be another number")


@dataclass(frozen=True, kw_only=True)
class Outer:
    cache: Path | None = option(None, "Read this cache.", positional=True, aliases=("--cache",))
    kinds: frozenset[str] = option(frozenset(), "Take this kind.", name="--kind")
    size: tuple[int, ...] = option(
        (4, 2),
        "Render this size.",
        type=str,
        read=lambda text: tuple(int(side) for side in text.split("x")),
        show=lambda size: "x".join(map(str, size)),
    )
    backend: str = option("local", "Run here.", choices=("local", "dask"), old_choices=(("loky", "local"),))
    resume: str | None = option(None, "Continue.", value_if_bare="last", metavar="[FILE]")
    inner: Inner


@command("try", "Try.")
def tried(outer: Outer) -> None:
    """Try."""
    print(outer, given(Outer))  # noqa: T201
    reject_unused(["resume"], "something else")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tried, list(arguments))


def test_the_command_gets_one_instance_with_the_defaults_of_the_fields() -> None:
    expected = Outer(
        cache=None, kinds=frozenset(), size=(4, 2), backend="local", resume=None, inner=Inner(num_frames=16, share=0.5)
    )
    assert run().output == f"{expected} []\n"


def test_values_reach_their_fields_under_all_names() -> None:
    text = run("a.zarr", "--kind", "a", "--kind", "b", "--frames", "3", "--size", "8x6", "--backend", "loky").output
    assert "cache=PosixPath('a.zarr')" in text and "num_frames=3" in text and "size=(8, 6)" in text
    assert "backend='local'" in text and "['CACHE', '--kind', '--size', '--backend', '--num-frames']" in text
    assert "cache=PosixPath('b.zarr')" in run("--cache", "b.zarr").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-frames", "0"], "--num-frames is 0; it must be between 1 and 99"),
        (["--num-frames", "13"], "--num-frames is 13; it must be another number"),
        (["--share", "nan"], "--share is nan; it must be above 0 and below 1"),
        (["--size", "large"], "Invalid value for '--size': invalid literal"),
        (["--backend", "spark"], "'spark' is not one of 'local', 'dask'"),
        (["a", "--cache", "b"], "give CACHE once"),
        (["--resume"], "--resume goes with something else"),
    ],
)
def test_what_a_dataclass_refuses_is_a_usage_error_with_the_name_that_was_typed(
    arguments: list[str], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.output


def test_the_home_is_written_as_a_tilde_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for arguments in (["--cache=~/a.zarr"], ["~/a.zarr"]):
        assert f"cache={tmp_path / 'a.zarr'!r}" in run(*arguments).output
    assert f"resume='{tmp_path}/b.ckpt'" in run("--resume=~/b.ckpt").output
    assert "cache=PosixPath('a~/~')" in run("a~/~", "--kind", "~").output and "'~'" in run("--kind", "~").output
    assert "cache=PosixPath('~nobody-of-this-name/a')" in run("--cache=~nobody-of-this-name/a").output

    label(tmp_path / "d", "a", [(0, 0.5, "왼쪽")])
    write_video(tmp_path / "d" / "video" / "a.mp4", 20)
    more = ["--frames=4", "--size=64", "--workers=1", "--train-data-root=~/d", "--val-data-root=~/d", "--out=~/x.zarr"]
    built = CliRunner().invoke(cli, ["build-cache", *more, "--clip-pool=~/pool"])
    assert built.exit_code == 0, built.output
    inspected = CliRunner().invoke(cli, ["inspect", "--cache=~/x.zarr", "--json"])
    assert inspected.exit_code == 0, inspected.output
    assert {path.name for path in tmp_path.iterdir()} == {"d", "x.zarr", "pool"}


def test_ranges_and_choices_are_checked_in_python_too() -> None:
    with pytest.raises(ValueError, match="num_frames is 100; it must be between 1 and 99"):
        Inner(num_frames=100)
    with pytest.raises(ValueError, match=r"hidden_limit is 0\.5; it must be at least 1"):
        Inner(hidden_limit=0.5)
    with pytest.raises(ValueError, match="hidden_limit is inf; it must be a finite number at least 1"):
        Inner(hidden_limit=float("inf"))


def test_help_has_groups_defaults_ranges_and_only_the_first_names() -> None:
    text = run("--help").output
    order = [text.index(f"{group}:\n") for group in ("Arguments", "Clips", "Run", "Other")]
    assert order == sorted(order) and "Usage: try [OPTIONS] [CACHE]" in text
    assert "--num-frames N  Store this many frames.  [default: 16; between 1 and 99]" in text
    assert "[default: 4x2]" in text and "--resume [FILE]" in text
    assert not [name for name in ("--frames", "--cache", "loky", "hidden", "frozenset") if name in text]


def test_a_required_option_stands_with_the_arguments() -> None:
    @dataclass(frozen=True)
    class Needed:
        out: Path = option(REQUIRED, "Write this file.", metavar="FILE")

    @command("need", "Need.")
    def need(needed: Needed) -> None:
        """Need."""

    assert "Arguments:\n  --out FILE  Write this file.  [required]" in CliRunner().invoke(need, ["--help"]).output
    assert "Missing option '--out'" in CliRunner().invoke(need, []).output


def test_two_options_of_one_name_are_noticed() -> None:
    with pytest.raises(AssertionError, match="two options of one name"):

        @command("twice", "Try.")
        def twice(outer: Outer, cache: str = option("", "Read this.")) -> None: ...


NAMES = ["--learning-rate", "--label-smoothing", "--batch-size", "--epochs", "--dropout-rate", "--num-frames", "--gpus"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--bs", "--batch-size"),
        ("--learning_rat", "--learning-rate"),
        ("--rate", "--learning-rate"),
        ("--dropout", "--dropout-rate"),
        ("--max-epochs", "--epochs"),
        ("--frames-num", "--num-frames"),
        ("--gpu", "--gpus"),
        ("--btch", "--batch-size"),
        ("--smooth", "--label-smoothing"),
    ],
)
def test_abbreviations_and_parts_of_words_find_their_option(typed: str, meant: str) -> None:
    assert meant_names(typed, NAMES)[0] == meant


def test_what_is_like_nothing_proposes_nothing() -> None:
    assert meant_names("--zzz", NAMES) == []


def test_stopped_work_says_how_it_goes_on() -> None:
    with (
        pytest.raises(StoppedError, match=r"a\.zarr: stopped; the same command goes on from here"),
        told_if_stopped("a.zarr"),
    ):
        raise KeyboardInterrupt
