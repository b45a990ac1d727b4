"""Recipes: which one is taken, what stays as given, what a run that goes on keeps, and what the rates are."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError, TrainingError
from signprep.training.callbacks.header import spacing_lines
from signprep.training.config import Augmentation, Devices, Recipe, TrainConfig
from signprep.training.model import recipe as recipes
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model.classifier import SignClassifier, make_optimizer
from signprep.training.model.datamodule import frame_spacing
from signprep.training.model.recipe import OPTIMISATION, VALUES, Taken, settled
from signprep.training.model_spec import ModelSpec, build_model, head_name, model_spec
from signprep.training.runtime.device import resolved
from tests.training.small_models import GLOSSES, NUM_CLASSES
from tests.training.small_runs import QUICK, TINY, run

SMALL = ("--num-frames", 2, "--size", 32, "--epochs", 1, "--batch-size", 4)
MVIT = model_spec("mvit_base_16x4", num_frames=2, crop_size=32)


def taken(
    asked: str = "auto", spec: ModelSpec = TINY, *, step_clips: int = 8, clips_shown: int = 10**6, **options: Any
) -> Taken:
    """Return what a recipe gives beside these options, all of them given."""
    given = frozenset(options)
    if "dropout_rate" in options:
        spec = replace(spec, dropout_rate=options.pop("dropout_rate"))
    config = TrainConfig(**options)
    asked_for = Recipe(name=asked, given=given & set(VALUES))
    return settled(asked_for, spec, config, step_clips=step_clips, clips_shown=clips_shown)[2]


def trained(cache: Cache, folder: Path, *arguments: object, succeeds: bool = True) -> tuple[dict, str]:
    """Train by the command line; return run.json and what was printed."""
    words = ["train", str(cache.path), *map(str, SMALL), "--output-dir", str(folder), *map(str, arguments)]
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code == 0) is succeeds, (result.output, result.exception)
    path = folder / "sign_language_classification" / "run.json"
    return json.loads(path.read_text(encoding="utf-8")), f"{result.output}{result.exception or ''}"


def options_of(document: dict) -> dict[str, Any]:
    return {name: document["options"][name] for name in OPTIMISATION}


@pytest.mark.parametrize(
    ("spec", "options", "expected"),
    [
        (TINY, {}, "none"),
        (TINY, {"pretrained": "k400"}, "finetune"),
        (model_spec("landmark_conv"), {}, "none"),
        (model_spec("tests.training.small_models:linear"), {"pretrained": "best.ckpt"}, "none"),
    ],
    ids=["without weights", "with weights", "landmarks", "a model of one's own"],
)
def test_the_recipe_is_chosen_by_weights_and_family(spec: ModelSpec, options: dict, expected: str) -> None:
    assert taken("auto", spec, **options).recipe.name == expected
    assert taken("scratch", spec, **options).recipe.name == "scratch"


def test_without_a_recipe_and_for_landmarks_all_values_are_the_plain_defaults() -> None:
    plain, dropout = TrainConfig(), ModelSpec.dropout_rate
    for found in (taken("none"), taken("scratch", model_spec("landmark_transformer"))):
        assert {name: found.values[name] for name in OPTIMISATION} == {n: getattr(plain, n) for n in OPTIMISATION}
        assert found.values["dropout_rate"] == dropout
        assert found.values["crop_scale"] == plain.augmentation.crop_scale


def test_what_is_given_stays_and_the_rest_is_the_recipes() -> None:
    alone, found = taken("scratch"), taken("scratch", label_smoothing=0.0, dropout_rate=0.7, gradient_clip=3.0)
    given = {"label_smoothing": 0.0, "dropout_rate": 0.7, "gradient_clip": 3.0}
    assert dict(found.values) == {**alone.values, **given}
    sources = {name: told["from"] for name, told in found.to_dict()["values"].items()}
    assert sources == {name: "option" if name in given else "recipe" for name in VALUES}


def test_a_short_run_from_scratch_leaves_pictures_as_they_are() -> None:
    appearance = ("crop_scale", "rotation_degrees", "brightness", "contrast", "saturation", "erase_probability")
    short, long = (taken("scratch", clips_shown=count).values for count in (9_999, 10_000))
    assert [short[name] for name in appearance] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [long[name] for name in appearance] == [getattr(Augmentation(), name) for name in appearance]
    assert short["tempo"] == long["tempo"] < 1
    for other in (taken("none", clips_shown=1), taken("finetune", clips_shown=1), taken("auto", clips_shown=1)):
        assert other.values["crop_scale"] == Augmentation().crop_scale


def test_rate_and_decay_are_those_of_the_optimizer_that_is_given() -> None:
    adam, adamw, sgd = (taken("scratch", optimizer=name).values for name in ("adam", "adamw", "sgd"))
    assert sgd["learning_rate"] > adamw["learning_rate"] > adam["learning_rate"]
    assert adamw["weight_decay"] > 10 * adam["weight_decay"]  # which for Adam is an L2 penalty


@pytest.mark.parametrize(("optimizer", "factor"), [("adamw", 2.0), ("sgd", 4.0)])
def test_the_rate_grows_with_the_clips_of_a_step_and_a_given_one_stays(optimizer: str, factor: float) -> None:
    small, large = (taken("scratch", step_clips=clips, optimizer=optimizer) for clips in (8, 32))
    assert large.values["learning_rate"] == pytest.approx(factor * small.values["learning_rate"])
    assert "32 / 8, the clips of a step" in large.rule
    assert taken("scratch", step_clips=32, learning_rate=0.3).values["learning_rate"] == 0.3
    assert taken("none", step_clips=32).values["learning_rate"] == TrainConfig.learning_rate


def test_the_command_says_and_records_what_was_taken_and_from_where(cache: Cache, tmp_path: Path) -> None:
    options = ("--weight-decay", 0.25, "--accumulate-batches", 4, "--no-augment")
    document, printed = trained(cache, tmp_path, "--recipe", "scratch", *options)
    told = document["recipe"]
    assert told["name"] == "scratch" and document["options"]["optimizer"] == told["values"]["optimizer"]["value"]
    assert told["values"]["weight_decay"] == {"value": 0.25, "from": "option"}
    assert told["values"]["crop_scale"] == {"value": 1.0, "from": "option"}
    assert told["values"]["dropout_rate"] == {"value": document["model"]["dropout_rate"], "from": "recipe"}
    assert "recipe: scratch: " in printed and "as given: weight decay 0.25" in printed
    assert "the square root of 16 / 8, the clips of a step" in printed
    plain, printed = trained(cache, tmp_path, "--recipe", "none", "--overwrite")
    assert options_of(plain) == {name: getattr(TrainConfig(), name) for name in OPTIMISATION}
    assert plain["model"]["dropout_rate"] == 0.5 and "recipe: none\n" in printed


def test_two_processes_that_share_a_batch_have_the_rate_of_one(cache: Cache) -> None:
    config, rates = TrainConfig(batch_size=2), []
    for devices, accumulated in ((Devices(), 4), (Devices(processes=4), 1), (Devices(gpus=2, num_nodes=2), 1)):
        clips = config.batch_size * devices.num_ranks * accumulated
        _, found, _ = settled(Recipe(name="scratch"), TINY, config, step_clips=clips, clips_shown=10**6)
        rates.append(found.learning_rate)
    assert rates[0] == rates[1] == rates[2] == taken("scratch", step_clips=8).values["learning_rate"]


def test_a_run_that_goes_on_keeps_the_values_that_it_began_with(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = trained(cache, tmp_path, "--recipe", "scratch", "--label-smoothing", 0.3)
    another = {**taken("scratch").values, "weight_decay": 0.9, "dropout_rate": 0.0, "crop_scale": 0.5}
    monkeypatch.setattr(recipes, "recipe_values", lambda *_, **__: dict(another))  # of a version to come
    again, printed = trained(cache, tmp_path, "--label-smoothing", 0.3, "--resume", "--epochs", 2)
    assert options_of(again) == options_of(first) and again["model"] == first["model"]
    assert again["options"]["augmentation"] == first["options"]["augmentation"]
    assert again["recipe"]["values"] == first["recipe"]["values"] and "as the run began with" in printed
    for others in (("--label-smoothing", 0.3, "--recipe", "none"), ("--weight-decay", 0.1), ()):
        _, refused = trained(cache, tmp_path, *others, "--resume", "--epochs", 3, succeeds=False)
        assert "other options" in refused or "this run of" in refused
    fresh, _ = trained(cache, tmp_path, "--overwrite")
    assert fresh["options"]["weight_decay"] == 0.9


def test_a_run_of_before_recipes_goes_on_with_the_plain_defaults(cache: Cache, tmp_path: Path) -> None:
    old = TrainConfig(epochs=1, batch_size=4, label_smoothing=0.2)
    folder = tmp_path / "sign_language_classification"
    last = run(cache, folder, old).last_checkpoint
    contents = torch.load(last, weights_only=True)
    for field in ("backbone_rate", "layer_decay", "decay_embeddings", "sync_batchnorm"):
        del contents["signprep"]["train_config"][field]
    del contents["signprep"]["frame_spacing_seconds"]
    torch.save(contents, last)
    _, refused = trained(cache, tmp_path, "--resume", "--epochs", 2, succeeds=False)
    assert "label_smoothing 0.2 -> 0.0" in refused
    document, _ = trained(cache, tmp_path, "--resume", "--epochs", 2, "--label-smoothing", 0.2)
    assert options_of(document) == {name: getattr(old, name) for name in OPTIMISATION}
    assert document["recipe"]["name"] == "none" and document["result"]["epochs"] == 2


def test_an_unfinished_run_goes_on_by_the_same_command_without_resume(cache: Cache, tmp_path: Path) -> None:
    first, _ = trained(cache, tmp_path, "--weight-decay", 0.2)
    path = tmp_path / "sign_language_classification" / "run.json"
    path.write_text(json.dumps({**first, "status": "stopped"}), encoding="utf-8")
    _, printed = trained(cache, tmp_path, "--weight-decay", 0.2)
    assert "was trained to its end before" in printed or "going on from" in printed


def test_a_checkpoint_with_a_damaged_recipe_is_no_traceback(cache: Cache, tmp_path: Path) -> None:
    trained(cache, tmp_path, "--recipe", "scratch")
    last = tmp_path / "sign_language_classification" / "checkpoints" / "last.ckpt"
    whole = torch.load(last, weights_only=True)
    for damage in (3, {"name": "unheard of", "given": []}, {"name": "none", "given": 3}, {}):
        torch.save({**whole, "signprep": {**whole["signprep"], "recipe": damage}}, last)
        _, printed = trained(cache, tmp_path, "--resume", "--epochs", 2, "--recipe", "none", succeeds=False)
        assert "other options" in printed or "this run of" in printed


def test_a_loaded_backbone_learns_slower_than_the_new_last_layer() -> None:
    model, config = build_model(TINY, NUM_CLASSES), TrainConfig(learning_rate=1.0, backbone_rate=0.1)
    groups = make_optimizer(model, config, head_name(model, TINY, NUM_CLASSES)).param_groups
    assert [(group["lr"], len(group["params"])) for group in groups[:2]] == [(1.0, 1), (1.0, 1)]
    assert {group["lr"] for group in groups[2:]} == {0.1}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_layers_of_mvit_learn_the_slower_the_farther_from_the_head_and_places_do_not_decay() -> None:
    model = build_model(MVIT, NUM_CLASSES)
    config = TrainConfig(learning_rate=1.0, layer_decay=0.5, weight_decay=0.3, decay_embeddings=False)
    groups = make_optimizer(model, config, "head.proj").param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = dict(model.named_parameters())
    ordered = [rates[id(named[f"blocks.{number}.norm1.weight"])] for number in range(16)]
    assert ordered == sorted(ordered) and ordered[0] == ordered[1] / 2
    assert rates[id(named["head.proj.weight"])] == 1 == groups[0]["lr"]
    assert rates[id(named["patch_embed.patch_model.weight"])] < ordered[0]
    free = {name for name in named if decays[id(named[name])] == 0 and named[name].ndim > 1}
    assert free == {name for name in named if name.startswith("cls_positional_encoding")}
    assert decays[id(named["blocks.3.mlp.fc1.weight"])] == 0.3


def test_the_finetuning_of_mvit_decays_by_layers_and_of_others_by_backbone() -> None:
    mvit, other = taken("finetune", MVIT).values, taken("finetune").values
    assert mvit["layer_decay"] < 1 == mvit["backbone_rate"]
    assert other["backbone_rate"] < 1 == other["layer_decay"]
    assert not mvit["decay_embeddings"] and mvit["gradient_clip"]


def test_the_classifier_gives_each_part_its_rate(cache: Cache) -> None:
    spec, config, found = settled(Recipe(name="finetune"), TINY, QUICK, step_clips=8, clips_shown=10**6)
    card = ModelMetadata(model_spec=spec, clip_spec=ClipSpec(), vocabulary=GLOSSES, cache_fingerprint="")
    model = SignClassifier(card, config, build_model(spec, NUM_CLASSES), total_steps=10, taken=found)
    rates = sorted({group["initial_lr"] for group in model.configure_optimizers()["optimizer"].param_groups})
    assert rates == pytest.approx([config.learning_rate * config.backbone_rate, config.learning_rate])


def test_the_spacing_of_frames_stands_beside_that_of_the_weights() -> None:
    spec = model_spec("x3d_s")

    def told(spacing: float | None, pretrained: str | None, of_weights: float | None, name: str = "x3d_s") -> list[str]:
        return spacing_lines(model_spec(name), spacing, pretrained, of_weights, num_stored=16)

    assert told(None, "k400", 0.2) == []
    assert told(0.1, None, None) == ["frames: 0.10 s apart, the median of the training clips"]
    assert told(0.15, "k400", 0.2)[0].endswith("; 0.20 s apart when the weights were trained")
    assert len(told(0.15, "k400", 0.2)) == len(told(0.39, "k400", 0.2)) == 1
    close = told(0.08, "k400", 0.2)
    assert close[1] == (
        "warning: frames are 2.5 times as close as those of the weights; --num-frames 5 brings them there"
    )
    assert spec.num_frames == 13 and "--clip-duration 2.6" in told(0.5, "k400", 0.2)[1]  # 32 frames are not stored
    assert "--clip-duration 2.1" in told(0.05, "k400", 4 / 30, "mvit_base_16x4")[1]
    assert "old.ckpt does not tell" in told(0.1, "old.ckpt", None)[0]


def test_the_spacing_is_that_of_the_frames_that_the_model_sees(cache: Cache, tmp_path: Path) -> None:
    train = cache.positions("train")
    rows = cache.index.to_pylist()
    seconds = sorted(rows[place]["clip_end_seconds"] - rows[place]["clip_start_seconds"] for place in train.tolist())
    middle = (seconds[len(seconds) // 2] + seconds[(len(seconds) - 1) // 2]) / 2
    assert frame_spacing(cache, train, 4) == pytest.approx(middle / 4)
    _, printed = trained(cache, tmp_path / "first")
    assert f"frames: {middle / 2:.2f} s apart" in printed
    best = tmp_path / "first" / "sign_language_classification" / "checkpoints" / "best.ckpt"
    assert torch.load(best, weights_only=True)["signprep"]["frame_spacing_seconds"] == pytest.approx(middle / 2)
    document, printed = trained(cache, tmp_path / "second", "--pretrained", best)
    assert f"{middle / 2:.2f} s apart when the weights were trained" in printed
    assert document["recipe"]["name"] == "finetune" and document["options"]["backbone_rate"] < 1


def test_norms_over_all_gpus_are_refused_on_a_cpu(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--sync-batchnorm is for GPUs"):
        run(cache, tmp_path, replace(QUICK, sync_batchnorm=True))


def test_a_run_from_python_takes_what_it_is_given(cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(cache, folder)
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert document["recipe"] is None and document["options"] == json.loads(
        json.dumps(resolved(QUICK, Devices()).to_dict())
    )
    with pytest.raises(CheckpointError, match=r"dropout 0\.5, this run of .* dropout"):
        run(cache, folder, resume=folder / "checkpoints" / "last.ckpt", recipe=Recipe(name="scratch"))


def test_the_documents_tell_the_values() -> None:
    text = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    table = re.search(r"\| \| `none` \| `scratch` \| `finetune` \|\n\|---.*\n((?:\|.*\n)+)", text)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    names = [re.findall(r"`--([a-z-]+)`", row[0])[0].replace("-", "_") for row in rows]
    ways = [taken(name).values for name in ("none", "scratch", "finetune")]
    for name, row in zip(names, rows, strict=True):
        assert [cell.split(" ")[0] for cell in row[1:]] == [recipes._shown(values[name]) for values in ways], name
    differing = {name for name in VALUES if len({str(values[name]) for values in ways}) > 1}
    assert differing - {"decay_embeddings"} == set(names)
