"""Benchmarks run at toy size: that they work, not how fast anything is."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import build, crop, decode, landmarks, plan, presets
from benchmarks.__main__ import find_benchmarks
from benchmarks._report import RECORDED
from benchmarks._size import Size
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[2]


def test_the_runner_finds_the_benchmarks() -> None:
    assert {"build", "decode"} <= set(find_benchmarks())


def test_decoding_is_compared_with_decord_and_a_full_decode(capsys: pytest.CaptureFixture[str]) -> None:
    decode.run(Size.TOY)
    printed = capsys.readouterr().out
    assert "pyav, skipping" in printed and "pyav, every frame" in printed and "peak MiB" in printed


def test_the_share_of_decoding_in_a_build_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    build.run(Size.TOY)
    assert "encoding and writing together" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused_with_the_names_that_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 2 and "decode" in done.stderr and "Traceback" not in done.stderr


def test_each_preset_has_a_shape_to_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(presets.SHAPES) == set(presets.builtin_presets())
    chosen = {name: path for name, path in presets.builtin_presets().items() if name in ("wlasl", "csl")}
    monkeypatch.setattr(presets, "builtin_presets", lambda: chosen)
    presets.run(Size.TOY)
    assert "50 rows of each" in capsys.readouterr().out


def test_planning_resuming_and_refreshing_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    plan.run(Size.TOY)
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in ("plan", "resume", "refresh"))


def test_landmarks_are_built_of_keypoints_and_loaded_beside_pixels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = landmarks.keypoint_builds(tmp_path, Size.TOY)
    assert len(cache.positions()) == 8 and cache.clip_spec.landmarks == "aihub"
    landmarks.feeding(cache, tmp_path, Size.TOY)
    told = capsys.readouterr().out
    assert "clips/s a core" in told and "ms to open" in told


def test_landmarks_are_measured_beside_their_models(capsys: pytest.CaptureFixture[str]) -> None:
    landmarks.finding(Size.TOY)
    told = capsys.readouterr().out
    if "is missing" in told:
        pytest.skip(told)
    assert "all / its models" in told


def test_the_square_around_the_signer_is_held_against_the_true_one(capsys: pytest.CaptureFixture[str]) -> None:
    crop.run(Size.TOY)
    told = capsys.readouterr().out
    assert "motion, and a thing that moves" in told and "--crop signer" in told and "of cutting alone" in told
    assert RECORDED.figures["crop.overlap"] > 0.6
