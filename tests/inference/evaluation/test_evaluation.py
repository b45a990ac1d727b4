import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.plan import plan_build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation import run as evaluation
from signprep.inference.evaluation.document import describe_evaluation
from signprep.inference.evaluation.logits import SplitClips, split_clips
from signprep.inference.recognizer import Recognizer, load_checkpoint
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import DatasetOptions, Vocabulary
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits
from signprep.pipeline.errors import SignprepError
from signprep.training.model.checkpoint import ModelMetadata
from signprep.training.model_spec import build_model, model_spec
from signprep.training.report.measures import share_of
from tests.conftest import CLIP_SPEC, build_test_cache, write_data_root, write_label
from tests.generated_videos import write_video


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "--device", "cpu", *map(str, arguments)])


def evaluated(checkpoint: Path, cache: Cache, *arguments: object) -> dict[str, Any]:
    result = evaluate("--checkpoint", checkpoint, "--cache", cache.path, "--json", *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_json_is_what_the_clips_say(cache: Cache, checkpoint: Path) -> None:
    document = evaluated(checkpoint, cache, "--split", "train", "--batch-size", 3)
    rows = [row for row in cache.index.to_pylist() if row["split"] == "train"]
    recognizer = load_checkpoint(checkpoint)
    glosses = recognizer.glosses
    answers = [recognizer.probabilities([cache.read([row["position"]])[0]])[0] for row in rows]
    right = [glosses[int(answer.argmax())] == row["gloss"] for row, answer in zip(rows, answers, strict=True)]
    assert (document["evaluation_version"], document["split"], document["clips"]) == (1, "train", len(rows))
    assert document["trained_on_this_cache"] is True
    assert document["takes"] == len({row["take"] for row in rows}) == 4
    assert document["figures"]["top_1"]["right"] == sum(right)
    assert document["figures"]["top_1"]["accuracy"] == sum(right) / len(rows)
    assert document["figures"]["top_k"] is None  # five of two classes tell nothing
    by_class = [[hit for hit, row in zip(right, rows, strict=True) if row["gloss"] == gloss] for gloss in glosses]
    assert document["figures"]["mean_over_classes"]["accuracy"] == pytest.approx(
        np.mean([np.mean(hits) for hits in by_class])
    )
    assert document["left_out"] == {"failed": 0, "removed": 0, "unknown_gloss": 0, "unknown_glosses": {}}
    for name in ("signer", "view", "gloss"):
        for entry in document["by"][name]:
            hits = [hit for hit, row in zip(right, rows, strict=True) if row[name] == entry["value"]]
            assert (entry["clips"], entry["right"]) == (len(hits), sum(hits))
    sure = [float(answer.max()) for answer in answers]
    assert document["calibration"]["mean_confidence"] == pytest.approx(np.mean(sure), abs=1e-5)
    losses = [-math.log(answer[glosses.index(row["gloss"])]) for row, answer in zip(rows, answers, strict=True)]
    assert document["calibration"]["nll"] == pytest.approx(np.mean(losses), abs=1e-4)
    gaps: dict[int, list[float]] = {}
    for hit, confidence in zip(right, sure, strict=True):
        gaps.setdefault(math.ceil(confidence * 15), []).append(confidence - hit)
    ece = sum(abs(sum(values)) for values in gaps.values()) / len(rows)
    assert document["calibration"]["ece"] == pytest.approx(ece, abs=1e-5)
    takes: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        takes.setdefault(row["take"], []).append(place)
    averaged = [
        glosses[int(np.mean([answers[place] for place in places], axis=0).argmax())] == rows[places[0]]["gloss"]
        for places in takes.values()
    ]
    assert document["views"]["performances"] == 4 and document["views"]["clips"] == 8
    assert document["views"]["averaged_right"] == sum(averaged)
    assert document["views"]["single_view_accuracy"] == pytest.approx(np.mean(right))
    wrong = [row["segment_id"] for row, hit in zip(rows, right, strict=True) if not hit]
    assert sorted(entry["segment_id"] for entry in document["mistaken"]) == sorted(wrong)
    assert sum(entry["times"] for entry in document["confused"]) == len(wrong)
    assert document["homonyms"] is None and document["calibrated"] is None


def changed(checkpoint: Path, out: Path, glosses: list[str], rows: list[int | None]) -> Path:
    """Write the checkpoint with other glosses; their rows of the last layer are the old ones', or say never (None)."""
    contents = torch.load(checkpoint, weights_only=True)
    state = contents["state_dict"]
    weight, bias = list(state)[-2:]
    assert len(state[weight]) == len(state[bias]) == 2
    for name, never in ((weight, 0.0), (bias, -1e3)):
        old = state[name]
        state[name] = torch.stack([torch.full_like(old[0], never) if row is None else old[row] for row in rows])
    contents["signprep"]["glosses"] = glosses
    torch.save(contents, out)
    return out


def test_glosses_are_found_by_name_whatever_their_order(cache: Cache, checkpoint: Path, tmp_path: Path) -> None:
    left, right = cache.vocabulary.glosses
    other = changed(checkpoint, tmp_path / "other.ckpt", ["아래", right, left], [None, 1, 0])
    one, two = evaluated(checkpoint, cache), evaluated(other, cache)
    assert two["classes"] == 3 and two["classes_with_clips"] == 2
    for key in ("clips", "by", "confused", "left_out", "views"):
        assert one[key] == two[key]
    assert one["figures"]["top_1"] == two["figures"]["top_1"]
    assert [row["segment_id"] for row in one["mistaken"]] == [row["segment_id"] for row in two["mistaken"]]


def test_clips_of_a_gloss_that_the_model_does_not_know_are_named(
    cache: Cache, checkpoint: Path, tmp_path: Path
) -> None:
    left, right = cache.vocabulary.glosses
    other = changed(checkpoint, tmp_path / "other.ckpt", [left, "아래"], [0, 1])
    document = evaluated(other, cache)
    assert document["left_out"]["unknown_glosses"] == {right: 2} and document["left_out"]["unknown_gloss"] == 2
    assert document["clips"] == 2 and [row["value"] for row in document["by"]["gloss"]] == [left]
    text = evaluate("--checkpoint", other, "--cache", cache.path).stdout
    assert f"2 clips of glosses that the model does not know, not evaluated: {right} (2)" in " ".join(text.split())
    none = changed(checkpoint, tmp_path / "none.ckpt", ["위", "아래"], [0, 1])
    with pytest.raises(SignprepError, match=r"knows none of the glosses .* has 왼쪽, 오른쪽; the model knows 위, 아래"):
        split_clips(cache, "val", load_checkpoint(none))


def test_the_report_names_figures_and_prints_no_markup(cache: Cache, checkpoint: Path, tmp_path: Path) -> None:
    left, right = cache.vocabulary.glosses
    other = changed(checkpoint, tmp_path / "other.ckpt", [left, right, "[red]위"], [0, 1, None])
    output = tmp_path / "결과.json"
    result = evaluate("--checkpoint", other, "--cache", cache.path, "--output-path", output)
    assert result.exit_code == 0, result.output
    for words in (
        "top 1",
        "mean over classes",
        "views averaged",
        "calibration",
        "95 % over takes",
        "note: clips of one take",
    ):
        assert words in result.stdout
    assert "Evaluating: 4/4" in result.stderr
    assert json.loads(output.read_text(encoding="utf-8"))["clips"] == 4


def test_calibration_is_written_and_told_of(
    cache: Cache, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "best.ckpt"
    copy.write_bytes(checkpoint.read_bytes())

    def made_up(recognizer: Recognizer, cache: Cache, clips: SplitClips, **_: object) -> np.ndarray:
        logits = np.zeros((4, 2), np.float32)
        logits[np.arange(4), clips.labels] = [3 * math.log(3)] * 3 + [-3 * math.log(3)]
        return logits

    monkeypatch.setattr(evaluation, "predict_logits", made_up)
    document = evaluated(copy, cache, "--calibrate")
    assert document["calibration"]["temperature"] == 1.0
    assert document["calibrated"]["temperature"] == pytest.approx(3.0, rel=1e-4)  # 3/4 right: log 3 apart
    assert document["calibrated"]["nll"] < document["calibration"]["nll"]
    assert document["calibrated"]["ece"] == pytest.approx(0.0, abs=1e-4)
    assert load_checkpoint(copy).card.temperature == document["calibrated"]["temperature"]
    again = evaluate("--checkpoint", copy, "--cache", cache.path, "--calibrate")
    assert "is measured on, so its ECE and NLL are optimistic" in " ".join(again.stdout.split())
    assert evaluated(copy, cache)["calibration"]["temperature"] == pytest.approx(3.0, rel=1e-4)


def test_where_no_temperature_is_best_the_figures_are_told_and_nothing_is_written(
    cache: Cache, checkpoint: Path, tmp_path: Path
) -> None:
    left, _ = cache.vocabulary.glosses
    sure = changed(checkpoint, tmp_path / "sure.ckpt", [left, "아래"], [0, None])
    before = sure.read_bytes()
    result = evaluate("--checkpoint", sure, "--cache", cache.path, "--calibrate")
    assert "100.0 %" in result.stdout and isinstance(result.exception, SignprepError)
    assert "was not calibrated" in str(result.exception)
    assert sure.read_bytes() == before


def test_a_temperature_of_the_checkpoint_is_applied(cache: Cache, checkpoint: Path, tmp_path: Path) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["temperature"] = 5.0
    torch.save(contents, tmp_path / "warm.ckpt")
    raw, warm = evaluated(checkpoint, cache), evaluated(tmp_path / "warm.ckpt", cache)
    assert warm["calibration"]["temperature"] == 5.0
    assert warm["calibration"]["mean_confidence"] < raw["calibration"]["mean_confidence"]
    assert warm["figures"] == raw["figures"]


def test_other_clips_other_splits_and_missing_files_are_one_clear_line(
    cache: Cache, checkpoint: Path, data_root: Path, tmp_path: Path
) -> None:
    def problem(*arguments: object) -> str:
        result = evaluate(*arguments)
        assert isinstance(result.exception, SignprepError), result.output
        return str(result.exception)

    other = build_test_cache(data_root, tmp_path / "other.zarr", ClipSpec(num_frames=5, size=64, margin_seconds=0.1))
    message = problem("--checkpoint", checkpoint, "--cache", other.path)
    assert "num_frames 5 instead of 4; margin_seconds 0.1 instead of 0.0; build a cache" in message
    message = problem("--checkpoint", checkpoint, "--cache", cache.path, "--split", "test")
    assert "has no clips in its split 'test'; its splits: " in message and "val (4 rows)" in message
    assert "nowhere.zarr" in problem("--checkpoint", checkpoint, "--cache", tmp_path / "nowhere.zarr")
    assert "there is no such checkpoint" in problem("--checkpoint", tmp_path / "no.ckpt", "--cache", cache.path)
    for option in ("--html", "--output-path"):
        unwritable = tmp_path / "missing" / "file"
        message = problem("--checkpoint", tmp_path / "no.ckpt", "--cache", cache.path, option, unwritable)
        assert "cannot be written" in message  # found before the checkpoint is looked at


def test_a_model_that_gives_no_numbers_is_named(cache: Cache, checkpoint: Path, tmp_path: Path) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    for value in contents["state_dict"].values():
        if value.is_floating_point():
            value.fill_(1e38)  # finite, and no sum of two is
    torch.save(contents, tmp_path / "nan.ckpt")
    result = evaluate("--checkpoint", tmp_path / "nan.ckpt", "--cache", cache.path)
    assert "gives no numbers for 4 of 4 clips, NIA_SL_WORD0001_REAL17_F#0" in str(result.exception)


# What the cache tells


def untrained(cache: Cache, vocabulary: Vocabulary | None = None) -> Recognizer:
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    vocabulary = vocabulary or cache.vocabulary
    card = ModelMetadata(model_spec=spec, clip_spec=cache.clip_spec, vocabulary=vocabulary, cache_fingerprint="")
    return Recognizer(card, build_model(spec, len(vocabulary)), torch.device("cpu"))


def test_rows_that_failed_are_counted_and_not_answered(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    (root / "video" / "NIA_SL_WORD0001_REAL17_L.mp4").write_bytes(b"no video")
    cache = build_test_cache(root, tmp_path / "failed.zarr")
    clips = split_clips(cache, "val", untrained(cache))
    assert (clips.num_failed, len(clips.positions)) == (1, 3)
    logits = np.eye(2, dtype=np.float32)[clips.labels]
    document = describe_evaluation(untrained(cache), cache, "val", clips, logits)
    assert document["left_out"]["failed"] == 1 and document["clips"] == 3
    assert document["views"]["performances"] == 1


def test_an_item_of_the_same_word_is_right_where_classes_are_items(tmp_path: Path) -> None:
    for number, (item, gloss) in enumerate([("WORD0001", "걷다"), ("WORD0002", "걷다"), ("WORD0003", "위")]):
        for signer in ("REAL01", "REAL17"):
            name = f"NIA_SL_{item}_{signer}_F"
            write_video(tmp_path / "data" / f"{name}.mp4", 30, first_number=60 * number + 30 * (signer == "REAL17"))
            write_label(tmp_path / "data" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)
    annotations = read_data_root(tmp_path / "data", DatasetOptions(class_by="item"))
    plan = plan_build(annotations.roots, assign_splits(annotations.segments), BuildOptions(clip_spec=CLIP_SPEC))
    build(plan, tmp_path / "items.zarr", RunOptions(workers=1))
    cache = open_cache(tmp_path / "items.zarr")
    assert cache.vocabulary.glosses == ("걷다 (WORD0001)", "걷다 (WORD0002)", "위 (WORD0003)")
    # A class that the cache does not have is only ever itself, however it is named.
    recognizer = untrained(cache, Vocabulary(glosses=(*cache.vocabulary.glosses, "위 (WORD0009)")))
    clips = split_clips(cache, "val", recognizer)
    logits = np.eye(4, dtype=np.float32)[[1, 1, 3]]
    document = describe_evaluation(recognizer, cache, "val", clips, logits)
    assert document["figures"]["top_1"]["right"] == 1
    assert document["homonyms"] == {"words": 3, "classes_not_in_cache": 1} | share_of(np.array([True, True, False]))
    assert document["views"] is None
