"""The benchmarks of inference run at toy size: that they work, not how fast or how good anything is."""

import pytest

from benchmarks import _server, export, infer, live, models, serve, timeline
from benchmarks._report import RECORDED
from benchmarks._size import Size
from tests.small_networks import PROGRAM


def test_windows_folders_and_memory_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    infer.run(Size.TOY)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("each window by itself", "both / the larger", "x the memory"))


def test_the_timeline_is_held_against_labels(capsys: pytest.CaptureFixture[str]) -> None:
    timeline.run(Size.TOY)
    assert "F1 at IoU 0.5" in capsys.readouterr().out


def test_the_latency_of_a_stream_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    live.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "latency p50 ms" in printed and "efficient_x3d_xs, 2 x 32" in printed


def test_requests_of_many_clients_are_measured_and_none_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "_PROGRAM", PROGRAM)
    serve.run(Size.TOY)
    printed = capsys.readouterr().out
    ways = ("efficient_x3d_xs, 2 x 32: 1 clip a request, 32 clients", "landmark_conv, 4 frames: 32 clips a request, 8")
    assert all(part in printed for part in (*ways, "wrong or lost: 0", "an empty server"))
    if "is missing" not in printed:
        assert RECORDED.figures["serve.wrong"] == RECORDED.figures["serve.files"] == 0, printed


def test_models_are_timed_in_both_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    models.run(Size.TOY)
    assert "mvit_base_16x4" in capsys.readouterr().out


def test_a_step_of_the_default_model_is_held_against_the_layers_that_it_is_built_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models.default_model(batch_size=2, num_rounds=1, toy=True)
    assert "torch's SiLU for its Swish" in capsys.readouterr().out
    assert RECORDED.figures["models.step"] > 0


@pytest.mark.slow
def test_exported_files_are_held_against_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    export.run(Size.TOY)
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("ONNX INT8", "points lost", "file / PyTorch"))
    assert RECORDED.figures["export.fp32"] == 1.0 and RECORDED.figures["export.onnx_mb"] < 5
