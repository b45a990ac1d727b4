"""Labels and zips with random damage: each is read, or refused with a clear error; nothing else ever happens."""

import random
import zipfile
from pathlib import Path

import pytest

from signprep.pipeline.datasets.aihub import read_label
from signprep.pipeline.datasets.annotations import Problem
from signprep.pipeline.datasets.files import open_file, walk_files
from signprep.pipeline.datasets.read import DatasetOptions, iterate_segments
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_label

LABELS, ZIPS = 1000, 400


def mutated(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """Cut, flip a bit, overwrite, repeat or drop a block: one to `most` of these."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not changed:
            break
        place, length = rng.randrange(len(changed)), rng.randint(1, 40)
        match rng.randrange(5):
            case 0:
                del changed[place:]
            case 1:
                changed[place] ^= 1 << rng.randrange(8)
            case 2:
                changed[place : place + length] = rng.randbytes(length)
            case 3:
                changed[place:place] = changed[rng.randrange(len(changed)) :][:length]
            case 4:
                del changed[place : place + length]
    return bytes(changed)


def test_mutated_labels_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = write_label(tmp_path / "a_morpheme.json", [(0.5, 1.25, "어쩔 수 없다"), (2, 3.5, "3.1절")]).read_bytes()
    refused = 0
    for _ in range(LABELS):
        try:
            label = read_label(mutated(whole, rng), "a_morpheme.json")
        except AnnotationError as error:
            refused += 1
            assert str(error).startswith("a_morpheme.json: ")
        else:
            assert label.annotations and all(annotation.glosses for annotation in label.annotations)
    assert LABELS // 4 < refused < LABELS


@pytest.mark.parametrize("text", ["[" * 100_000, '{"data": [{"start": 1' + "0" * 500 + "}]}", '"' * 7, "\0" * 50])
def test_hostile_labels_are_refused(text: str) -> None:
    with pytest.raises(AnnotationError):
        read_label(text.encode(), "x")


def test_mutated_zips_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(1)
    label = write_label(tmp_path / "x.json", [(0.5, 1.25, "위")]).read_bytes()
    (tmp_path / "x.json").unlink()
    archive = tmp_path / "a.zip"
    read = refused = 0
    for number in range(ZIPS):
        method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2]
        with zipfile.ZipFile(archive, "w", method) as writer:
            writer.writestr("label/a_morpheme.json", label)
            writer.writestr("video/a.mp4", rng.randbytes(200))
        # A new name each time: archives stay open between reads.
        damaged = tmp_path / f"{number}.zip"
        damaged.write_bytes(mutated(archive.read_bytes(), rng, most=1))
        archive.unlink()
        problems: list[Problem] = []
        try:
            for segment in iterate_segments(tmp_path, DatasetOptions(), problems.append):
                assert segment.gloss
                stream = open_file(tmp_path, segment.video)
                assert not isinstance(stream, Path)
                stream.read()
                stream.close()
                read += 1
        except AnnotationError:
            refused += 1
        else:
            refused += bool(problems)
        damaged.unlink()
    assert read > ZIPS // 20 and refused > ZIPS // 4


def test_walking_reports_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    (tmp_path / "good_morpheme.json").write_text("{}")
    told: list[str] = []
    found = list(walk_files(tmp_path, lambda problem: told.append(problem.path), wanted=lambda name: True))
    assert [file.name for file in found] == ["good_morpheme.json"]
    assert told == ["bad.zip"]
