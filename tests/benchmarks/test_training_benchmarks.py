"""The benchmarks of training run at toy size: that they work, not how fast anything is."""

import pytest

from benchmarks import _gpu_speed, gpu, loader, recipe, recognition, shared_cores, train, transforms
from benchmarks._gpu import NotRightError
from benchmarks._report import RECORDED
from benchmarks._size import Size


def test_training_beside_another_program_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    shared_cores.run(Size.TOY)
    assert "libgomp's own spinning" in capsys.readouterr().out


def test_the_colour_path_is_measured_beside_the_naive_one(capsys: pytest.CaptureFixture[str]) -> None:
    transforms.run(Size.TOY)
    assert "naive / signprep" in capsys.readouterr().out


def test_the_naive_path_gives_the_same_clips() -> None:
    import torch

    from signprep.training.model_spec import ModelSpec
    from signprep.training.transforms import ClipTransform

    spec = ModelSpec(name="x", num_frames=2, crop_size=32)
    clips = torch.randint(60, 190, (2, 4, 96, 64), dtype=torch.uint8)
    clips[:, :, 64:] = (
        clips[:, :, 64:] // 8 + 112
    )  # pale colours: none is clipped, before resizing there, after it here
    assert torch.allclose(transforms.naive(spec, clips), ClipTransform(spec)(clips), atol=1e-3)


@pytest.mark.filterwarnings("default")  # a DataLoader's workers
def test_the_loader_is_compared_with_the_reader_and_with_decoding(capsys: pytest.CaptureFixture[str]) -> None:
    loader.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "loader / reader" in printed and ("on the fly" in printed or "decord is missing" in printed)


def test_training_is_compared_with_memory(capsys: pytest.CaptureFixture[str]) -> None:
    train.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "from the cache / from memory" in printed and "memory held after epoch 3" in printed


def test_landmarks_pixels_and_both_are_held_against_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    recognition.run(Size.TOY)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("landmark_conv", "landmark_transformer and efficient_x3d_xs", "windows/s"))
    assert RECORDED.figures["recognition.live"] > 0


def test_the_recipe_is_held_against_the_plain_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    recipe.run(Size.TOY)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("plain defaults", "recipe: scratch", "points"))
    assert RECORDED.figures["recipe.cpu"] > 0


def test_what_a_gpu_runs_is_run_on_the_cpu_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "NO" not in printed and "FAILED" not in printed and "left out" not in printed
    assert all(
        part in printed for part in ("12 of 12 batches are whole", "goes on has the weights", "graphs", "clips/s")
    )
    control = next(line for line in printed.splitlines() if "written again at once" in line)
    assert "12 of 12" not in control


def test_a_part_that_fails_says_so_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bench: object) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "PARTS", (broken, _gpu_speed.copying))
    with pytest.raises(NotRightError, match="failed: broken"):
        gpu.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "broken FAILED: RuntimeError: no kernel image" in printed and "to the device" in printed
