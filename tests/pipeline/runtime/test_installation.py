"""Hints that name an extra say how this copy was installed, and never send anybody to an index for `signprep`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime import installation
from signprep.pipeline.runtime.installation import install_extras, install_packages, require_extra
from tests.waiting import HANG_SECONDS

METADATA = """\
Metadata-Version: 2.4
Name: signprep
Version: 9.0
Provides-Extra: onnx
Provides-Extra: s3
Requires-Dist: numpy>=2.0
Requires-Dist: onnx>=1.17; extra == "onnx"
Requires-Dist: onnxruntime<2,>=1.20; extra == "onnx"
Requires-Dist: s3fs>=2024.6; extra == "s3"
"""
PACKAGES = ["onnx>=1.17", "onnxruntime<2,>=1.20"]


class Copy:
    """A copy of signprep in an environment of its own, as its files tell of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = folder / "환경 1"
        self._about = self.prefix / "lib" / "signprep-9.0.dist-info"
        self._about.mkdir(parents=True)
        (self.prefix / "bin").mkdir()
        (self._about / "METADATA").write_text(METADATA, encoding="utf-8")
        monkeypatch.syspath_prepend(self._about.parent)
        monkeypatch.setattr(sys, "prefix", str(self.prefix))
        monkeypatch.setattr(sys, "executable", str(self.prefix / "bin" / "python"))
        monkeypatch.setattr(installation.shutil, "which", lambda name: str(self.prefix / "bin" / name))

    def came_from(self, **told: object) -> None:
        (self._about / "direct_url.json").write_text(json.dumps(told), encoding="utf-8")

    def has(self, name: str) -> None:
        (self.prefix / name).write_text("{}", encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    return Copy(tmp_path, monkeypatch)


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "has_pip", lambda: False)


def test_a_folder_that_is_edited_is_installed_from_there(copy: Copy, tmp_path: Path) -> None:
    folder = tmp_path / "수어 프로젝트"
    folder.mkdir()
    copy.came_from(url=folder.as_uri(), dir_info={"editable": True})
    assert shlex.split(install_extras("onnx", "s3")) == ["pip", "install", "-e", f"{folder}[onnx,s3]"]


def test_a_folder_that_was_copied_is_copied_again(copy: Copy, tmp_path: Path) -> None:
    copy.came_from(url=tmp_path.as_uri(), dir_info={})
    assert shlex.split(install_extras("onnx")) == ["pip", "install", f"{tmp_path}[onnx]"]


def test_a_wheel_is_named_by_its_place(copy: Copy, tmp_path: Path) -> None:
    wheel = tmp_path / "signprep-9.0-py3-none-any.whl"
    wheel.touch()
    copy.came_from(url=wheel.as_uri(), archive_info={})
    assert install_extras("onnx") == f"pip install 'signprep[onnx] @ {wheel.as_uri()}'"


def test_a_wheel_of_a_web_server_is_named_by_its_url(copy: Copy) -> None:
    copy.came_from(url="https://host/signprep-9.0-py3-none-any.whl", archive_info={})
    assert install_extras("s3") == "pip install 'signprep[s3] @ https://host/signprep-9.0-py3-none-any.whl'"


def test_a_repository_is_named_with_the_commit(copy: Copy) -> None:
    vcs = {"vcs": "git", "requested_revision": "main", "commit_id": "0123abc"}
    copy.came_from(url="https://host/team/signprep", vcs_info=vcs)
    assert install_extras("onnx") == "pip install 'signprep[onnx] @ git+https://host/team/signprep@0123abc'"
    copy.came_from(url="https://host/team/all", vcs_info=vcs, subdirectory="signprep")
    assert install_extras("onnx").endswith("@ git+https://host/team/all@0123abc#subdirectory=signprep'")


def test_a_copy_from_an_index_or_a_place_that_is_gone_gets_the_packages(copy: Copy, tmp_path: Path) -> None:
    expected = ["pip", "install", *PACKAGES]
    assert shlex.split(install_extras("onnx")) == expected
    copy.came_from(url=(tmp_path / "gone.whl").as_uri(), archive_info={})
    assert shlex.split(install_extras("onnx")) == expected
    copy.came_from(url=(tmp_path / "gone").as_uri(), dir_info={"editable": True})
    assert shlex.split(install_extras("onnx", "s3")) == [*expected, "s3fs>=2024.6"]


def test_a_copy_that_was_never_installed_gets_the_place_of_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "NAME", "signprep-that-is-nowhere")
    assert install_extras("onnx") == "install the packages that pyproject.toml has under onnx"


def test_pip_of_another_environment_is_not_meant(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/usr/bin/pip")
    assert shlex.split(install_packages("x"))[:4] == [sys.executable, "-m", "pip", "install"]
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    assert shlex.split(install_packages("x"))[:4] == [sys.executable, "-m", "pip", "install"]


@pytest.mark.usefixtures("without_pip")
def test_an_environment_of_uv_has_no_pip(copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy.came_from(url=tmp_path.as_uri(), dir_info={"editable": True})
    monkeypatch.setenv("VIRTUAL_ENV", str(copy.prefix))
    assert shlex.split(install_extras("onnx")) == ["uv", "pip", "install", "-e", f"{tmp_path}[onnx]"]
    monkeypatch.delenv("VIRTUAL_ENV")
    where = ["--python", str(copy.prefix)]
    assert shlex.split(install_extras("onnx")) == ["uv", "pip", "install", *where, "-e", f"{tmp_path}[onnx]"]
    assert shlex.split(install_packages("av")) == ["uv", "pip", "install", *where, "av"]


@pytest.mark.usefixtures("without_pip")
def test_a_tool_of_uv_is_installed_again(copy: Copy, tmp_path: Path) -> None:
    copy.has("uv-receipt.toml")
    copy.came_from(url=tmp_path.as_uri(), dir_info={"editable": True})
    assert shlex.split(install_extras("onnx")) == ["uv", "tool", "install", "-e", f"{tmp_path}[onnx]"]
    copy.came_from()
    assert shlex.split(install_extras("onnx"))[-2:] == PACKAGES and "uv pip install --python" in install_extras("onnx")


def test_uvx_takes_the_extra_with_the_program(copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "uv" / "archive-v0" / "Ab3"))
    wheel = tmp_path / "signprep-9.0-py3-none-any.whl"
    wheel.touch()
    copy.came_from(url=wheel.as_uri(), archive_info={})
    assert install_extras("onnx") == f"uvx --from 'signprep[onnx] @ {wheel.as_uri()}' signprep ..."
    wheel.unlink()
    assert install_extras("onnx") == "uvx --with 'onnx>=1.17,onnxruntime<2,>=1.20' ..."


def test_pipx_injects_the_packages(copy: Copy, tmp_path: Path) -> None:
    copy.has("pipx_metadata.json")
    copy.came_from(url=tmp_path.as_uri(), dir_info={"editable": True})
    assert shlex.split(install_extras("onnx")) == ["pipx", "inject", copy.prefix.name, *PACKAGES]
    assert shlex.split(install_packages("-U", "av")) == ["pipx", "runpip", copy.prefix.name, "install", "-U", "av"]


def test_windows_gets_double_quotes(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    assert installation._line("pip", "install", "-U", "onnx>=1.17", "av") == 'pip install -U "onnx>=1.17" av'


@pytest.mark.usefixtures("without_pip")
def test_what_is_missing_is_named_with_the_command(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    with pytest.raises(SignprepError, match=r"^this command needs onnx, not installed here: uv pip install .*onnx>=1"):
        require_extra("onnx", "onnx")


def test_looking_for_pip_leaves_distutils_to_those_that_compile() -> None:
    pytest.importorskip("setuptools")
    program = "import setuptools; from signprep.pipeline.runtime.installation import has_pip; assert has_pip(); "
    program += "import distutils.core; assert 'setuptools' in distutils.core.__file__, distutils.core"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
