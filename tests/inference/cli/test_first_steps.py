"""`signprep doctor` finds what is wrong with a machine, and says what to do."""

import json
import shutil
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from signprep.pipeline.cli import cli
from signprep.pipeline.runtime import doctor
from signprep.pipeline.runtime.doctor import BROKEN, MISSING, OK, SLOW, Check, check_machine
from signprep.pipeline.runtime.installation import install_extras
from signprep.training.cli import doctor as training_doctor
from signprep.training.cli.doctor import check_training


def found(name: str) -> Check:
    [check] = [check for check in check_machine() if check.name == name]
    return check


def test_this_machine_can_do_what_the_tests_need() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == 0 and not [c for c in checks.values() if c["state"] == BROKEN]
    needed = {
        "signprep",
        "machine",
        "videos, PyAV",
        "formats",
        "compression",
        "checksums",
        "disk",
        "training",
        "models",
    }
    assert needed <= checks.keys() and checks["models"]["state"] == checks["videos, PyAV"]["state"] == OK
    assert "efficient_x3d_xs answers" in CliRunner().invoke(cli, ["doctor"]).stdout


def test_checksums_without_their_c_part_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google_crc32c.implementation", "python")
    assert found("checksums").state == SLOW and "pip install" in found("checksums").advice


class Usage(NamedTuple):
    free: int


def test_a_small_disk_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=10**9))
    assert found("disk").state == SLOW and "1 GB free" in found("disk").found


def test_few_open_files_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (256, 4096))
    assert found("open files").state == SLOW and found("open files").advice == "ulimit -n 4096"


def test_missing_decoders_are_broken_and_end_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    original = doctor._has_codec
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: name != "hevc" and original(name, mode))
    assert found("formats").state == BROKEN and "hevc (phones)" in found("formats").found
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 1 and "BROKEN" in result.stdout


def test_a_decoder_that_raises_is_broken_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Any) -> None:
        raise OSError("libx264.so is missing")

    monkeypatch.setattr(doctor, "_sample_video", fails)
    assert found("videos, PyAV").state == BROKEN and "libx264.so is missing" in found("videos, PyAV").found


def test_drivers_and_torch_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert (
        found("places").state == MISSING and install_extras("s3", "gs", "sftp", "http", "hf") in found("places").advice
    )
    monkeypatch.setattr(training_doctor, "package_version", lambda name: None)
    [check] = check_training()
    assert check.state == MISSING and "torch" in check.found and install_extras("train") in check.advice


def test_libraries_that_do_not_fit_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("signprep.training.model_spec.build_model", fails)
    [check] = [check for check in check_training() if check.name == "models"]
    assert check.state == BROKEN and "constraints.txt" in check.advice


def test_a_codec_that_ffmpeg_does_not_have_is_missing() -> None:
    assert doctor._has_codec("h264", "r") and not doctor._has_codec("nosuchcodec", "r")
