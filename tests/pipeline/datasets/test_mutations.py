"""Labels, tables and zips with random damage: each is read, or refused with a clear error, and nothing else."""

import random
import zipfile
from pathlib import Path

import pytest

from signprep.pipeline.datasets.aihub import read_label
from signprep.pipeline.datasets.files.data_root import Problem, open_file, walk_files
from signprep.pipeline.datasets.read import DatasetOptions, iterate_segments, read_data_root
from signprep.pipeline.errors import AnnotationError
from tests.conftest import write_label
from tests.pipeline.scan.scanning import scan

LABELS, TABLES, ZIPS = 1000, 300, 400


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


def test_a_folder_of_mutated_labels_costs_no_good_one(tmp_path: Path) -> None:
    rng = random.Random(2)
    whole = write_label(tmp_path / "a_morpheme.json", [(0.5, 1.25, "어쩔 수 없다"), (2, 3.5, "3.1절")]).read_bytes()
    for number in range(LABELS // 2):
        (tmp_path / f"{number}.mp4").write_bytes(b"x%d" % number)
        data = whole if number % 5 == 0 else mutated(whole, rng)
        (tmp_path / f"{number}_morpheme.json").write_bytes(data)
    (tmp_path / "a_morpheme.json").unlink()
    read = read_data_root(tmp_path)
    good = {f"{number}#{k}" for number in range(0, LABELS // 2, 5) for k in (0, 1)}
    assert good <= {segment.segment_id for segment in read.segments}
    found = scan(tmp_path, probe="none")
    kinds = {"label-unreadable": "label-unreadable", "label-empty": "label-unreadable"}
    told = {(kinds.get(kind, kind), path) for kind in found for path, _ in found[kind] if kind.startswith("label")}
    assert told == {(problem.kind, problem.path) for problem in read.problems if problem.kind.startswith("label")}
    assert len(told) > LABELS // 10


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp949"])
def test_mutated_tables_are_read_or_refused_and_every_row_is_a_segment_or_told(tmp_path: Path, encoding: str) -> None:
    rng = random.Random(3)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    rows = [
        "video,start,end,gloss,signer,split",
        *(f'{"ab"[k % 2]}.mp4,0.5,{k + 1},"단어 {k}",s{k},dev' for k in range(12)),
    ]
    whole = "\r\n".join(rows).encode(encoding)
    refused = lost = 0
    for _ in range(TABLES):
        (tmp_path / "t.csv").write_bytes(mutated(whole, rng, most=1))
        problems: list[Problem] = []
        try:
            segments = list(iterate_segments(tmp_path / "t.csv", DatasetOptions(), problems.append))
        except AnnotationError as error:
            refused += 1
            assert "t.csv: " in str(error) and len(str(error)) < 700
        else:
            assert all(segment.gloss and segment.start_seconds < segment.end_seconds for segment in segments)
            assert len({segment.segment_id for segment in segments}) == len(segments)
            lost += len(segments) < 12 and not problems
    # A row whose end, or all of it, is cut away leaves nothing to be told.
    assert refused < TABLES // 2 and lost < TABLES // 3


@pytest.mark.parametrize("text", ["[" * 100_000, '{"data": [{"start": 1' + "0" * 500 + "}]}", '"' * 7, "\0" * 50])
def test_hostile_labels_are_refused(text: str) -> None:
    with pytest.raises(AnnotationError):
        read_label(text.encode(), "x")


@pytest.mark.parametrize("in_pieces", [False, True])
def test_mutated_zips_are_read_or_refused(tmp_path: Path, in_pieces: bool) -> None:
    rng = random.Random(1)
    label = write_label(tmp_path / "x.json", [(0.5, 1.25, "위")]).read_bytes()
    (tmp_path / "x.json").unlink()
    archive = tmp_path / "a.zip"
    read = refused = 0
    for number in range(ZIPS):
        method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[number % 4]
        with zipfile.ZipFile(archive, "w", method) as writer:
            writer.writestr("label/a_morpheme.json", label)
            writer.writestr("video/a.mp4", rng.randbytes(200))
        # A new name each time: archives stay open between reads.
        damaged = tmp_path / f"{number}.zip"
        data = mutated(archive.read_bytes(), rng, most=1)
        archive.unlink()
        if in_pieces:
            for piece, start in enumerate(range(0, len(data), 150)):
                damaged.with_name(f"{damaged.name}.part{piece}").write_bytes(data[start : start + 150])
        else:
            damaged.write_bytes(data)
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
        for path in tmp_path.iterdir():
            path.unlink()
    assert read > ZIPS // 20 and refused > ZIPS // 4


def test_walking_reports_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    (tmp_path / "good_morpheme.json").write_text("{}")
    told: list[str] = []
    found = list(walk_files(tmp_path, lambda problem: told.append(problem.path), wanted=lambda name: True))
    assert [file.name for file in found] == ["good_morpheme.json"]
    assert told == ["bad.zip"]
