"""What README and docs tell people to type works: every command parses, and the way through README is walked."""

import json
import re
import shlex
from collections import defaultdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import write_subtitles
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.options import SampleSpec
from tests.pipeline.datasets.published import write_set, write_videos

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])
BEST = "outputs/sign_language_classification/checkpoints/best.ckpt"


def commands_of(document: Path) -> list[list[str]]:
    """Every signprep command of a document's shell blocks, continued lines joined, as its words."""
    found = []
    for block in re.findall(r"^```(?:sh|bash|shell)\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = shlex.split(line, comments=True)
            while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("time", "sudo", "srun")):
                words = words[1:]
            if words and words[0].rpartition("/")[2] == "signprep":
                ends = [place for place, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";")]
                found.append(words[1 : ends[0] if ends else None])
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
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
        if "--config" in arguments:
            place = arguments.index("--config")
            del arguments[place : place + 2]
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


LESS = {
    "build-cache": ["--frames", "4", "--size", "64"],
    "train": ["--epochs", "1", "--num-frames", "2", "--crop-size", "32", "--overwrite"],
    "train landmarks.zarr": ["--epochs", "1", "--num-frames", "4", "--overwrite"],
    "make-sample": shlex.split("--words 1 --signers 2 --takes 1 --views F --sentences 1 --size 96x64"),
    "forget": ["--yes"],
}
"""What is added to README's commands, so that they take little time and ask nothing: the last of two values counts."""

OTHERWISE = {
    "s3://team/": "team/",
    "aihub.zarr": "NAME.zarr",
    "--checkpoint ...": "--checkpoint outputs/sign_language_classification/checkpoints/best.ckpt",
    "--model-name slow_r50 --pretrained k400 --precision 16-mixed": "--experiment-name other",
}
"""What README's commands say, and what the test does in its place: without a network, a GPU, or a large model."""


def test_readme_is_walked_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def signprep(*words: str) -> str:
        result = CliRunner().invoke(cli, list(words))
        assert result.exit_code == 0, f"signprep {shlex.join(words)}\n{result.output}\n{result.exception}"
        return result.stdout

    signprep("make-sample", "DATA", "--words", "2", "--signers", "9", "--size", "160x96", "--keypoints")
    video = next((tmp_path / "DATA" / "video").glob("*.mp4"))
    (tmp_path / "test.mp4").write_bytes(video.read_bytes())
    videos = write_videos(tmp_path / "short")
    write_set("wlasl", tmp_path / "WLASL", videos)
    write_set("asl-citizen", tmp_path, videos)
    answers: defaultdict[str, str] = defaultdict(str)
    for words in [*commands_of(ROOT / "README.md"), *commands_of(ROOT / "docs" / "caches.md")]:
        line = shlex.join(words)
        for said, done in OTHERWISE.items():
            line = line.replace(said, done)
        if words != ["doctor"]:
            less = LESS.get(shlex.join(words[:2])) or LESS.get(words[0], [])
            answers[words[0]] += signprep(*shlex.split(line), *less)
    assert "왼쪽" in answers["inspect"]
    assert (tmp_path / "clip.mp4").stat().st_size and (tmp_path / "report.html").stat().st_size
    assert (tmp_path / "sign.pt").stat().st_size and (tmp_path / "sign_int8.onnx").stat().st_size
    example = re.search(r"^```json\n(\{\n  \"video_path.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    assert example is not None
    written = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert list(written) == list(json.loads(example[1])), "README shows a result of another form"

    (tmp_path / "best.ckpt").write_bytes((tmp_path / BEST).read_bytes())
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python-api.md").read_text("utf-8"), re.M | re.S)
    exec(compile("\n".join(blocks), "docs/python-api.md", "exec"), {"__name__": "__main__"})


def test_the_way_from_elan_files_to_elan_files_is_walked_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    render_dataset(SampleSpec(words=2, signers=3, takes=1, frame_size=(160, 96)), Path("aihub"), workers=1)
    for folder in ("annotated", "talks/월요일"):
        Path(folder).mkdir(parents=True)
    for segment in read_data_root(Path("aihub")).segments:
        video = Path("annotated", Path(segment.video).name)
        Path("aihub", segment.video).rename(video)
        times = {"start_seconds": segment.start_seconds, "end_seconds": segment.end_seconds}
        write_subtitles(
            video.with_suffix(".eaf"),
            [TimelineSegment(label=0, gloss=segment.gloss, confidence=1.0, **times)],
            str(video),
        )
    Path("talks/월요일/이야기 1.mp4").write_bytes(video.read_bytes())
    way = (ROOT / "docs" / "timeline.md").read_text("utf-8").partition("## What you need")[2].partition("\n## ")[0]
    Path("way.md").write_text(way, encoding="utf-8")
    commands = commands_of(Path("way.md"))
    assert [words[0] for words in commands] == ["build-cache", "train", "infer"]
    for words in commands:
        result = CliRunner().invoke(cli, [*words, *LESS.get(words[0], [])])
        assert result.exit_code == 0, f"signprep {shlex.join(words)}\n{result.output}\n{result.exception}"
    assert not result.stdout and Path("signs.csv").is_file()
    assert "<TIER" in Path("talks/월요일/이야기 1.eaf").read_text("utf-8")


def test_the_readme_in_korean_has_the_same_commands() -> None:
    assert commands_of(ROOT / "README.ko.md") == commands_of(ROOT / "README.md")


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_readme_compares_with_peers_by_the_figures_of_the_last_run(name: str) -> None:
    results = re.findall(r"^\| ([^|]+) \|(.*)\|$", (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8"), re.M)
    table = (ROOT / name).read_text("utf-8").partition("benchmarks/RESULTS.md)")[2].partition("\n## ")[0]
    said = re.findall(r"^\|[^|]*\| ([^|]+) \| ([\d.]+) \|$", table, re.M)
    assert len(said) == 11
    for peer, figure in said:
        row = {"raw RGB": "lz4hc"}.get(peer, peer)
        digits = len(figure.partition(".")[2])
        cells = [cell.strip().replace(",", "") for found, rest in results if found == row for cell in rest.split("|")]
        measured = [f"{float(cell):.{digits}f}" for cell in cells if re.fullmatch(r"\d+(\.\d+)?", cell)]
        assert figure in measured, f"{name} says {figure} of {peer}; measured were {measured}"


def test_every_option_that_documents_show_is_used_in_a_test() -> None:
    """README and the old command lines are run as they stand; what other documents show is used in some test."""
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    walked = ("README.md", "docs/caches.md", "docs/from-the-old-scripts.md")
    tests += "\n".join(Path(ROOT, name).read_text("utf-8") for name in walked)
    shown = {
        (word.split("=")[0].replace("_", "-"), document.name)
        for document in DOCUMENTS
        for words in commands_of(document)
        for word in words
        if word.startswith("--")
    }
    unused = [(option, name) for option, name in shown if not re.search(rf"{option.replace('-', '[-_]')}\b", tests)]
    assert not unused
