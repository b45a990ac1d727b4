"""What is published: the description of the package, the Dockerfile, and the extras."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.from_wheel import Container, contents, faults_of, follow, instructions, is_in_context, tracked

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def test_extras_name_packages_so_that_hints_can() -> None:
    for name, packages in extras().items():
        if name != "all":
            assert packages and not any(package.startswith("signprep") or ";" in package for package in packages)


def test_nobody_is_sent_to_an_index_for_a_name_that_is_not_ours_there() -> None:
    told = [*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")]
    told += [
        path
        for floor in ("pipeline", "cache_builder", "training", "inference")
        for path in ROOT.glob(f"{floor}/**/*.*")
    ]
    texts = {path: path.read_text("utf-8") for path in told if path.suffix in (".md", ".py", ".html", ".yaml")}
    sent = r"(?:pip|tool) install +['\"]?signprep\b(?!\[[^]]*\] @)"
    assert len(texts) > 200 and {str(path) for path, text in texts.items() if re.search(sent, text)} == set()


def test_all_is_every_extra_that_installs_beside_the_others() -> None:
    [everything] = extras()["all"]
    assert everything == f"signprep[{','.join(sorted(extras().keys() - {'all', 'executorch', 'mlflow'}))}]"


def test_a_dockerfile_is_followed_with_folders_in_place_of_the_containers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dockerfile = """
ARG WORD=hello
ENV PATH=/opt/x/bin:$PATH NAME=나
WORKDIR /source
# not this: RUN rm -rf /opt
COPY LICENSE ./
RUN python -c "import os; print(os.getcwd(), os.environ['NAME'], os.environ['WORD'])" && \\
    ls > /opt/found
RUN useradd somebody
ENTRYPOINT ["signprep", "scan"]
"""
    (tmp_path / "opt").mkdir()
    container = Container(tmp_path, ROOT, ["LICENSE", "README.md"], {"WORD": "안녕"})
    follow(dockerfile, container)
    assert f"{tmp_path}/source 나 안녕" in capfd.readouterr().out
    assert (tmp_path / "opt" / "found").read_text() == "LICENSE\n"
    assert container.not_run == ["useradd somebody"] and container.entry == ["signprep", "scan"]
    assert container.environment()["PATH"].startswith(f"{tmp_path}/opt/x/bin:")


def test_a_command_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        follow('RUN python -c "raise SystemExit(3)"', Container(tmp_path, ROOT, [], {}))


def test_the_image_is_no_root_and_all_but_its_user_is_run_without_docker() -> None:
    lines = list(instructions(DOCKERFILE))
    assert [rest for name, rest in lines if name == "USER"] == ["1000"]
    names = [name for name, _ in lines]
    assert names.index("USER") > len(names) - 1 - names[::-1].index("FROM"), "the last stage has the user"
    others = [rest for name, rest in lines if name == "RUN" and rest.split()[0] not in ("python", "pip")]
    assert others == ["useradd --create-home --uid 1000 signprep"]
    asked = next(rest for name, rest in lines if name == "ARG" and rest.startswith("EXTRAS"))
    assert set(asked.partition("=")[2].split(",")) <= extras().keys()


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("pipeline/html/style.css", True),
        ("pyproject.toml", True),
        ("DATA/video/a.mp4", False),
        ("outputs/a/checkpoints/best.ckpt", False),
        (".venv/bin/python", False),
        ("pipeline/__pycache__/errors.pyc", False),
        ("tests/test_packages.py", False),
    ],
)
def test_docker_gets_what_the_wheel_is_made_of_and_no_data(name: str, inside: bool) -> None:
    assert is_in_context(name, IGNORED) == inside


def test_the_description_of_the_package_has_no_links_to_files(tmp_path: Path) -> None:
    code = "import setuptools; setuptools.setup = lambda **told: print(told['long_description']); import setup"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONUTF8": "1"}, capture_output=True, check=True
    )
    text = done.stdout.decode()
    assert text.startswith("# signprep\n\nsignprep ") and "docs/sharing.md" in text
    assert "](docs/" not in text and "![" not in text and "](README" not in text


def test_faults_of_a_wheel_are_named(tmp_path: Path) -> None:
    import zipfile

    names = [name for name in tracked() if name.startswith("pipeline/html/")]
    one, other = tmp_path / "one.whl", tmp_path / "other.whl"
    for path, extra in ((one, []), (other, ["signprep/notes.txt"])):
        with zipfile.ZipFile(path, "w") as file:
            for name in [*(f"signprep/{name}" for name in names), *extra]:
                file.writestr(name, "")
    assert list(faults_of(one, one, names)) == [] and len(contents(one)) == len(names) > 3
    assert list(faults_of(other, one, [*names, "training/new.yaml"])) == [
        "the wheel lacks signprep/training/new.yaml",
        "the wheel has signprep/notes.txt, which is no file of the product",
        "the sdist builds another wheel than the folder does",
    ]
