"""What README and docs tell people to type works: every command parses, and the way through README is walked."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from signprep.pipeline.cli import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])
MAIN = "from signprep.pipeline.cli import main; main()"


def commands_of(document: Path) -> list[list[str]]:
    """Every signprep command of a document's shell blocks, continued lines joined, as its words."""
    found = []
    for block in re.findall(r"^```(?:sh|bash|shell)\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = shlex.split(line, comments=True)
            while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("time", "sudo", "srun")):
                words = words[1:]
            if words and words[0].rpartition("/")[2] == "signprep":
                ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&", ";")]
                found.append(words[1 : ends[0] if ends else None])
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_it_is_one(document: Path) -> None:
    for words in commands_of(document):
        if not words or "..." in words:
            words = [word for word in words if word != "..."]
        name, *arguments = words
        if name.startswith("-"):
            continue
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, f"{document.name}: there is no command {name}"
        if "..." in shlex.join(words) or "--help" in arguments:
            continue
        try:
            with command.make_context(name, list(arguments), parent=click.Context(cli, token_normalize_func=_hyphens)):
                pass
        except click.MissingParameter:
            continue  # the rest of it stands in the text around it
        except click.ClickException as error:
            raise AssertionError(f"{document.name}: signprep {shlex.join(words)}: {error.format_message()}") from error


def _hyphens(token: str) -> str:
    return token.replace("_", "-")


def test_documents_have_commands_at_all() -> None:
    assert sum(len(commands_of(document)) for document in DOCUMENTS) > 50


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_way_through_readme_is_walked_on_drawn_videos(tmp_path: Path) -> None:
    """The commands of README in their order, on small data and one epoch."""

    def signprep(*words: str) -> str:
        command = [sys.executable, "-c", MAIN, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"signprep {shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    small = ["--words", "3", "--signers", "3", "--size", "160x96"]
    signprep("make-sample", "DATA", *small)
    assert "videos" in signprep("scan", "--data-root", "DATA")
    build = ["build-cache", "--data-root", "DATA", "--out", "NAME.zarr", "--frames", "4", "--size", "64"]
    assert "MB are free" in signprep(*build, "--dry-run")
    assert "clips" in signprep(*build, "--shelf", "shelf")
    assert "왼쪽" in signprep("inspect", "NAME.zarr")
    signprep("verify", "NAME.zarr", "--deep")
    signprep("push", "NAME.zarr", "team/NAME.zarr")
    signprep("pull", "team/NAME.zarr", "val.zarr", "--split", "val")
    signprep("diff", "NAME.zarr", "team/NAME.zarr")
    signprep("train", "--cache", "NAME.zarr", "--epochs", "1", "--num-frames", "2", "--crop-size", "32")
    best = "outputs/sign_language_classification/checkpoints/best.ckpt"
    video = next((tmp_path / "DATA" / "video").glob("*.mp4"))
    answer = signprep("infer", "--checkpoint", best, "--video-path", str(video), "--clip-duration", "0.5")
    assert "predicted_class_name" in answer
    signprep("evaluate", "--checkpoint", best, "--cache", "NAME.zarr", "--html", "report.html")
    (tmp_path / "best.ckpt").write_bytes((tmp_path / best).read_bytes())
    (tmp_path / "test.mp4").write_bytes(video.read_bytes())
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python-api.md").read_text(), re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    signprep("compact", "NAME.zarr")
    signprep("forget", "NAME.zarr", "--signer", "REAL01", "--yes")
    signprep("verify", "NAME.zarr")
