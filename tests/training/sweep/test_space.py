"""The file of a sweep: ranges and choices are read, and mistakes are found before anything is trained."""

from pathlib import Path

import click
import pytest

from signprep.training.cli.train import train
from signprep.training.runtime.sweep.space import Choices, Range, Space, read_space, trial_words

GOOD = """\
cache: a.zarr
epochs: 2
learning-rate: {low: 1e-4, high: 1e-2, log: true}
"""


def space_of(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "내 sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path, train)


def test_ranges_and_choices_are_told_from_options_that_take_lists(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        GOOD
        + """\
batch_size: {low: 4, high: 16, step: 4}
model-name: [efficient_x3d_xs, efficient_x3d_s]
pretrained: [null, k400]
balanced-sampling: {choices: [true, false]}
logger: [tensorboard, csv]
sweep: {trials: 3}
""",
    )
    assert space.fixed == {"cache": "a.zarr", "epochs": 2, "loggers": ["tensorboard", "csv"]}
    assert space.varied == {
        "learning_rate": Range(low=1e-4, high=1e-2, is_whole=False, log=True),
        "batch_size": Range(low=4, high=16, is_whole=True, step=4),
        "model_name": Choices(values=("efficient_x3d_xs", "efficient_x3d_s")),
        "pretrained": Choices(values=(None, "k400")),
        "balanced_sampling": Choices(values=(True, False)),
    }
    assert space.settings == {"trials": 3} and space.folder == Path("outputs/내 sweep")
    values = {"learning_rate": 0.00123456789012345, "batch_size": 8, "pretrained": None, "balanced_sampling": True}
    words = trial_words(space, train, values)
    assert words[:2] == ["--cache=a.zarr", "--epochs=2"]
    assert words[-3:] == ["--learning-rate=0.00123456789012345", "--batch-size=8", "--balanced-sampling"]
    assert not [word for word in words if word.startswith("--pretrained")]


def test_several_loggers_can_be_a_choice(tmp_path: Path) -> None:
    space = space_of(tmp_path, GOOD + "logger: {choices: [[csv], [csv, tensorboard]]}\n")
    varied = space.varied["loggers"]
    assert isinstance(varied, Choices) and list(varied.labels) == ['["csv"]', '["csv", "tensorboard"]']
    words = trial_words(space, train, {"loggers": ["csv", "tensorboard"]})
    assert words[-2:] == ["--logger=csv", "--logger=tensorboard"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("learning-rat: 0.1", ":4: learning-rat: train has no such option; did you mean 'learning-rate'"),
        ("batch-size: {low: 9, high: 3}", ":4: batch-size: low is 9 and high is 3; low must be below high"),
        ("batch-size: {low: 1.5, high: 3}", ":4: batch-size: low is 1.5; expected a whole number"),
        ("batch-size: {low: 4}", ":4: batch-size: a range needs low and high; high is missing"),
        ("batch-size: {min: 4, max: 8}", ":4: batch-size: 'min' is no part of a range; did you mean 'low'?"),
        ("batch-size: {low: 4, high: 8, steps: 2}", ":4: batch-size: 'steps' is no part of a range; expected low"),
        ("batch-size: [4, eight]", ":4: batch-size: Invalid value for '--batch-size': 'eight' is not a valid int"),
        ("batch-size: [0, 8]", ":4: batch-size: --batch-size is 0; it must be at least 1"),
        ("batch-size: four", ":4: batch-size: Invalid value for '--batch-size'"),
        ("weight-decay: {low: 0, high: 0.1, log: true}", ":4: weight-decay: log needs low above 0"),
        ("weight-decay: {low: a, high: b}", ":4: weight-decay: low is 'a'; expected a number"),
        ("weight-decay: {low: 0, high: .inf}", ":4: weight-decay: high is inf; expected a finite number"),
        ("weight-decay: {low: 0, high: 1, step: 2}", ":4: weight-decay: step is 2; it must be above 0"),
        ("optimizer: {low: 1, high: 2}", ":4: optimizer: takes no numbers"),
        ("optimizer: [adam, adamm]", ":4: optimizer: Invalid value for '--optimizer': 'adamm' is not one of"),
        ("optimizer: []", ":4: optimizer: choices is a list of values"),
        ("label-smoothing: {low: 0, high: 1}", ":4: label-smoothing: --label-smoothing is 1.0; it must be at least 0"),
        ("learning_rate: 0.1", ":4: learning_rate: the same option is in line 3 already"),
        ("epochs: 3", ":4: epochs is in line 2 already"),
        ("overwrite: true", ":4: overwrite: trials have folders of their own"),
        ("output-dir: [a, b]", ":4: output-dir: a sweep has one folder"),
        ("sweep: 3", ":4: sweep: expected options of the sweep below it"),
        ("- a", "is no file of options"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        space_of(tmp_path, f"{GOOD}{line}\n")
    assert told in refused.value.format_message() and "내 sweep.yaml" in refused.value.format_message()


def test_a_file_without_ranges_or_data_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="no option has several values; give one of them a list"):
        space_of(tmp_path, "cache: a.zarr\nepochs: 3\n")
    with pytest.raises(click.UsageError, match="give CACHE, or --data-root"):
        space_of(tmp_path, "batch-size: [4, 8]\n")
    with pytest.raises(click.UsageError, match="cannot be read"):
        read_space(tmp_path / "nowhere.yaml", train)
