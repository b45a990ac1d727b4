"""Views of clips at evaluation: what they show, that one is today's answer, and that several are averaged."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder.reader import Cache
from signprep.inference.open_model import open_models
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError
from signprep.training.model_spec import ModelSpec
from signprep.training.transforms import ClipTransform, frame_positions, num_views, views_of


def spec(num_frames: int, crop_size: int = 160) -> ModelSpec:
    return ModelSpec(name="efficient_x3d_xs", num_frames=num_frames, crop_size=crop_size)


@pytest.mark.parametrize(("stored", "shown"), [(16, 4), (16, 13), (16, 16), (15, 5), (32, 13), (10, 4), (7, 1)])
def test_the_first_view_is_the_plain_one_and_all_are_different(stored: int, shown: int) -> None:
    clips, model = ClipSpec(num_frames=stored), spec(shown)
    in_time, in_space = num_views(clips, model)
    views = views_of(clips, model, in_time * in_space)
    assert views[0].frames == tuple(frame_positions(stored, shown)) and views[0].shift is None
    assert len(set(views)) == in_time * in_space
    for view in views:
        assert len(view.frames) == shown and list(view.frames) == sorted(set(view.frames))
        assert view.frames[0] >= 0 and view.frames[-1] < stored
    if stored == 2 * shown or stored % shown == 0:
        assert in_time == stored // shown


def test_views_are_far_from_each_other_in_time_and_on_both_sides_of_the_picture() -> None:
    views = views_of(ClipSpec(), spec(4), 12)
    assert [view.frames[0] for view in views] == [2, 0, 1, 3] * 3
    assert [view.shift for view in views] == [None] * 4 + [-1, 1, -1, 1] + [1, -1, 1, -1]


@pytest.mark.parametrize(
    ("clips", "model", "expected"),
    [
        (ClipSpec(size=256), spec(16, 224), (1, 3)),
        (ClipSpec(size=224), spec(16, 224), (1, 1)),  # crops of 202 pixels would only be enlarged
        (ClipSpec(landmarks="aihub"), ModelSpec(name="landmark_conv", num_frames=8, crop_size=0), (2, 1)),
    ],
)
def test_the_picture_is_cropped_where_it_has_more_pixels_than_the_model_takes(
    clips: ClipSpec, model: ModelSpec, expected: tuple[int, int]
) -> None:
    assert num_views(clips, model) == expected


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_cropped_view_shows_nine_tenths_at_one_side(shift: float) -> None:
    size, side = 80, 72
    # A picture whose red is the column and whose green is the row.
    places = np.arange(size, dtype=np.uint8)
    rgb = np.zeros((1, 2, size, size, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = places[None, :], places[:, None]
    model = replace(spec(1, side), mean=0.0, std=1.0)
    view = next(view for view in views_of(ClipSpec(num_frames=2, size=size), model, 6) if view.shift == shift)
    shown = ClipTransform(model)(torch.from_numpy(rgb), view=view)[0, :, 0] * 255
    first = 0 if shift < 0 else size - side
    columns = torch.arange(first, first + side, dtype=torch.float32)
    rows = torch.arange((size - side) // 2, (size + side) // 2, dtype=torch.float32)
    assert torch.allclose(shown[0], columns.expand(side, side), atol=1e-3)
    assert torch.allclose(shown[1], rows[:, None].expand(side, side), atol=1e-3)


def clips_of(cache: Cache) -> torch.Tensor:
    return torch.from_numpy(cache.read(cache.positions("val")))


def test_one_view_is_the_plain_answer_and_several_are_its_mean(checkpoint: Path, cache: Cache) -> None:
    plain, clips = load_checkpoint(checkpoint), clips_of(cache)
    one, several = (open_models([checkpoint], views=number) for number in (1, 2))
    assert torch.equal(one.logits(clips), plain.logits(clips))
    views = views_of(plain.metadata.clip_spec, plain.metadata.model_spec, 2)
    each = [torch.softmax(plain.logits_of_inputs(plain.transform(clips, view=view)), 1) for view in views]  # type: ignore[call-arg]
    assert torch.equal(each[0], torch.softmax(plain.logits(clips), 1)) and not torch.equal(*each)
    assert torch.allclose(torch.from_numpy(several.softmax(several.logits(clips))), (each[0] + each[1]) / 2, atol=1e-6)


def test_more_views_than_there_are_is_an_error_that_says_how_many(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"99 views asked for; .* have 6 different ones .*2 of frames times 3"):
        open_models([checkpoint], views=99)


def test_a_transform_that_is_in_the_file_shows_one_view(checkpoint: Path) -> None:
    recognizer = load_checkpoint(checkpoint)
    recognizer.transform = lambda clips: clips  # as of a file that was exported with its preprocessing
    recognizer.use_views(1)
    with pytest.raises(CheckpointError, match="exported with its preprocessing, which shows one view"):
        recognizer.use_views(2)


def test_models_that_answer_together_are_asked_about_as_many_views(
    pixel_checkpoint: Path, landmark_checkpoint: Path
) -> None:
    both = open_models([pixel_checkpoint, landmark_checkpoint], views=2)
    assert both.num_views == 2
    with pytest.raises(CheckpointError, match=r"3 views asked for; clips of 8 frames have 2 different ones"):
        open_models([pixel_checkpoint, landmark_checkpoint], views=3)


def evaluated(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_evaluations_and_calibrations_say_their_views(checkpoint: Path, cache: Cache, tmp_path: Path) -> None:
    own = tmp_path / "best.ckpt"
    own.write_bytes(checkpoint.read_bytes())
    command = ["evaluate", cache.path, "--checkpoint", own, "--json"]
    plain = json.loads(evaluated(*command).stdout)
    assert plain["clip_views"] == 1 and plain["calibration"]["views"] is None
    contents = torch.load(own, weights_only=True)
    contents["signprep"] |= {"temperature": 2.0, "calibrated_views": 3}
    torch.save(contents, own)
    result = evaluated(*command, "--views", 2)
    document = json.loads(result.stdout)
    assert document["clip_views"] == 2 and document["calibration"]["views"] == 3
    assert "fitted with 3 views of each clip, and 2 views answer here" in result.stderr
    assert "fitted with" not in evaluated(*command, "--views", 3).stderr
    told = evaluated("infer", cache.path, "--checkpoint", own, "--views", 2, "--split", "val")
    assert len(json.loads(told.stdout)) == document["clips"] and "fitted with 3 views" in told.stderr


def test_a_temperature_of_an_older_version_was_fitted_with_one_view(checkpoint: Path, tmp_path: Path) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["temperature"] = 2.0
    torch.save(contents, tmp_path / "best.ckpt")
    found = open_models([tmp_path / "best.ckpt"], views=2)
    assert found.metadata.calibrated_views == 1
    assert "fitted with 1 view of each clip, and 2 views" in str(found.calibration_note())
