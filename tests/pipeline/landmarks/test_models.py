import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from signprep.pipeline.cli import main
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.mediapipe import models
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor
from signprep.pipeline.landmarks.mediapipe.models import LandmarkModels, fetch_models, model_paths
from signprep.pipeline.landmarks.mediapipe.networks import require_packages
from signprep.pipeline.runtime import installation


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with small files in the places of the models, which are taken for the models."""
    path, members = tmp_path / "mediapipe.whl", {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in models._MEMBERS.items():
            content = name.encode() * 10
            archive.writestr(member.path, content)
            members[name] = models._Member(member.path, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(models, "_MEMBERS", members)
    return path


def rewritten(wheel: Path, name: str, content: bytes | None) -> Path:
    """A copy of the wheel with another content of one file, or without it."""
    other = wheel.with_name("other.whl")
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(other, "w") as copy:
        for info in archive.infolist():
            if Path(info.filename).name != name:
                copy.writestr(info, archive.read(info))
            elif content is not None:
                copy.writestr(info, content)
    return other


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["landmarks", *arguments])
    return int(exit_.value.code or 0)


def test_models_are_brought_once_out_of_a_wheel_with_their_licence(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "landmarks"
    there = ("--landmark-models", str(folder))
    assert run(*there) == 1
    assert f"{folder}: MediaPipe's models are not there" in (told := capsys.readouterr().err)
    assert told.count("\n") == 1 and "`signprep landmarks --fetch`" in told
    assert run("--fetch", "--wheel", str(wheel), *there) == 0
    assert "(licence Apache-2.0) are now in" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == sorted(models._MEMBERS)
    wheel.unlink()
    assert run("--fetch", *there) == run(*there) == 0
    assert set(model_paths(folder)) == set(models._MEMBERS)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "this is no wheel of mediapipe"), (b"x", "is not that"), (b"x" * 160, "is not that")]
)
def test_a_wheel_with_other_models_is_refused_and_leaves_nothing(
    content: bytes | None, told: str, wheel: Path, tmp_path: Path
) -> None:
    with pytest.raises(SignprepError, match=told):
        fetch_models(tmp_path / "landmarks", rewritten(wheel, models.HAND_CROP, content))
    assert not (tmp_path / "landmarks").exists()


@pytest.mark.parametrize("content", [None, b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_wheel_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SignprepError, match=r"a\.whl: this is no wheel of mediapipe"):
        fetch_models(tmp_path / "landmarks", path)


def test_a_model_that_was_changed_is_not_used_and_is_brought_again(wheel: Path, tmp_path: Path) -> None:
    fetch_models(tmp_path, wheel)
    (tmp_path / models.POSE).write_bytes(b"y" * models._MEMBERS[models.POSE].num_bytes)
    with pytest.raises(SignprepError, match=r"not there \(pose_landmark_full\.tflite\)"):
        model_paths(tmp_path)
    assert fetch_models(tmp_path, wheel) and model_paths(tmp_path)


def test_where_pip_reaches_nothing_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SignprepError, match=r"pip cannot download mediapipe .*--fetch --wheel FILE"):
        fetch_models(tmp_path / "landmarks")
    monkeypatch.setattr(models, "has_pip", lambda: False)
    with pytest.raises(SignprepError, match=r"no pip .*--fetch --wheel FILE"):
        fetch_models(tmp_path / "landmarks")


def test_the_folder_is_the_option_the_variable_or_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNPREP_LANDMARK_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert LandmarkModels().root() == tmp_path / "signprep" / "landmarks"
    monkeypatch.setenv("SIGNPREP_LANDMARK_MODELS", str(tmp_path / "ours"))
    assert LandmarkModels().root() == tmp_path / "ours"
    assert LandmarkModels(folder=tmp_path / "mine").root() == tmp_path / "mine"


def test_a_wheel_goes_with_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--wheel", "a.whl") == 2
    assert "--wheel goes with --fetch" in capsys.readouterr().err


def test_without_litert_the_extra_is_named(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_models(tmp_path, wheel)
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    advice = installation.install_extras("landmarks")
    with pytest.raises(SignprepError, match=re.escape(f"needs ai_edge_litert, cv2, not installed here: {advice}")):
        LandmarkExtractor(tmp_path)


def test_an_opencv_that_warps_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    with pytest.raises(SignprepError, match=r"OpenCV 5\.0\.0 .*pip install .*'opencv-python-headless<5'"):
        require_packages()


def test_a_wheel_whose_bytes_are_damaged_is_one_line(tmp_path: Path) -> None:
    wheel = tmp_path / "mediapipe-damaged.whl"
    name = "mediapipe/modules/pose_detection/pose_detection.tflite"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(2_959_046))
    data = bytearray(wheel.read_bytes())
    data[30 + len(name) : 130 + len(name)] = b"\xff" * 100
    wheel.write_bytes(data)
    with pytest.raises(SignprepError, match="no wheel of mediapipe"):
        fetch_models(tmp_path / "models", wheel)
