"""Tars of videos, labels and keypoints, read in place; and archives of both kinds with damage anywhere."""

import contextlib
import io
import random
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.files.data_root import open_file, read_bytes, walk_files
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import AnnotationError
from tests.pipeline.datasets.test_archives import FRAME, NAMES, cut, join_by_name
from tests.pipeline.datasets.test_files import walk, write_zip
from tests.pipeline.datasets.test_read import build
from tests.pipeline.scan.scanning import scan


def write_tar(path: Path, members: dict[str, bytes], form: int = tarfile.PAX_FORMAT, encoding: str = "utf-8") -> Path:
    with tarfile.open(path, "w", format=form, encoding=encoding) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_cache_of_tars_is_that_of_the_files(data_root: Path, cache: Cache, tmp_path: Path) -> None:
    for kind, name in (("label", "라벨.tar"), ("video", "원천.TAR")):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add(data_root / kind, "./01-1")
    built = build(tmp_path / "c.zarr", "--data-root", tmp_path)
    assert "원천.TAR!/01-1/" in built.index["video"][0].as_py()
    assert built.index["segment_id"] == cache.index["segment_id"]
    assert built.index["video_hash"] == cache.index["video_hash"]
    assert scan(tmp_path, probe="all") == {}
    for num_pieces in (11, 12):
        whole = shutil.copy(tmp_path / "원천.TAR", tmp_path / "again")
        cut(tmp_path / "원천.TAR", num_pieces)
        assert build(tmp_path / f"{num_pieces}.zarr", "--data-root", tmp_path).fingerprint == built.fingerprint
        for piece in tmp_path.glob("*.part*"):
            piece.unlink()
        Path(whole).rename(tmp_path / "원천.TAR")


@pytest.mark.parametrize(
    ("form", "encoding"),
    [
        (tarfile.PAX_FORMAT, "utf-8"),
        (tarfile.GNU_FORMAT, "utf-8"),
        (tarfile.GNU_FORMAT, "cp949"),
        (tarfile.USTAR_FORMAT, "utf-8"),
    ],
)
def test_members_have_the_names_that_their_authors_wrote(tmp_path: Path, form: int, encoding: str) -> None:
    long = "긴이름" * (10 if form == tarfile.USTAR_FORMAT else 30)
    members = {f"./01\\{long}.txt": b"1" * 700, "수어/두번째.txt": b"", "/셋.json": b"3"}
    write_tar(tmp_path / "a.tar", members, form, encoding)
    names, problems = walk(tmp_path)
    assert (sorted(names), problems) == (
        sorted([f"a.tar!/01/{long}.txt", "a.tar!/수어/두번째.txt", "a.tar!/셋.json"]),
        [],
    )
    assert read_bytes(tmp_path, f"a.tar!/01/{long}.txt", 1000) == b"1" * 700
    with pytest.raises(AnnotationError, match="over the limit"):
        read_bytes(tmp_path, f"a.tar!/01/{long}.txt", 100)
    with pytest.raises(AnnotationError, match="has no member"):
        read_bytes(tmp_path, "a.tar!/gone.txt", 100)


def test_links_are_followed_where_that_is_safe(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"one.txt": b"one", "../up.txt": b"x"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for name, kind, target in (
            ("hard.txt", tarfile.LNKTYPE, "one.txt"),
            ("soft.txt", tarfile.SYMTYPE, "/etc/passwd"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    names, problems = walk(tmp_path)
    assert names == ["a.tar!/hard.txt", "a.tar!/one.txt"] and read_bytes(tmp_path, names[0], 10) == b"one"
    assert len(problems) == 2 and "../up.txt leaves the archive" in problems[0] and "soft.txt is a link" in problems[1]


@pytest.mark.parametrize("cut_off", [300, 1024 + 300, 2600])
def test_a_tar_that_is_cut_off_gives_the_members_before(tmp_path: Path, cut_off: int) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{k}.txt": b"%d" % k * 1000 for k in range(4)}, tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[: 4 * 1536 - cut_off])
    names, problems = walk(tmp_path)
    num_whole = 3 if cut_off < 1536 else 2
    assert names == [f"a.tar!/{k}.txt" for k in range(num_whole)]
    assert problems and any("cut off" in problem or "not downloaded whole" in problem for problem in problems)


def test_damage_between_members_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{k}.txt": b"%d" % k * 1000 for k in range(4)}, tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[2 * 1536 : 2 * 1536 + 300] = b"?" * 300
    path.write_bytes(data)
    names, [problem] = walk(tmp_path)
    assert names == ["a.tar!/0.txt", "a.tar!/1.txt"] and "cut off, or damaged between its members" in problem
    assert "if it was joined from pieces, join them by their numbers" in problem


def test_a_compressed_tar_and_archives_in_a_tar_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.add(__file__, "x.txt")
    write_tar(tmp_path / "b.tar", {"in/c.zip": b"PK", "in/d.zip.part0": b"PK", "e.txt": b""})
    names, problems = walk(tmp_path)
    assert names == ["b.tar!/e.txt"]
    assert "a.tar: is compressed by gzip" in problems[0]
    assert ["is an archive, which is not looked into" in problem for problem in problems[1:]] == [True, True]


def test_keypoints_in_a_tar_are_those_of_a_folder(tmp_path: Path) -> None:
    frames = {FRAME.format(number): b"%02d" % number * 100 for number in (2, 0, 1)}
    for name, data in frames.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_tar(tmp_path / "keypoint.tar", frames)
    names, problems = walk(tmp_path)
    names.sort()
    assert len(names) == 2 and problems == []
    roots = DataRoots.single(tmp_path)
    in_folder, in_tar = map(roots.frame_files, names)
    assert "keypoint.tar!/" in names[1] and list(in_tar.frames.numbers) == [0, 1, 2]
    assert [in_tar.read(place) for place in range(3)] == [in_folder.read(place) for place in range(3)]
    assert in_tar.content_hash() == in_folder.content_hash()
    assert roots.num_bytes(names[0]) == roots.num_bytes(names[1]) == 600


@given(
    members=st.dictionaries(
        NAMES.filter(lambda name: name not in (".", "..") and not name.startswith("._")),
        st.binary(max_size=1500),
        max_size=6,
    ),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
@settings(max_examples=50, deadline=None)
def test_tars_give_what_pythons_tarfile_wrote(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], form: int
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    write_tar(folder / "a.tar", members, form)
    problems: list[str] = []
    found = list(walk_files(folder, lambda problem: problems.append(problem.message), wanted=lambda name: True))
    read = {}
    for file in found:
        stream = open_file(folder, file.name)
        assert not isinstance(stream, Path)
        with stream:
            read[file.name.removeprefix("a.tar!/")] = stream.read()
    kept = {name: data for name, data in members.items() if not name.lower().endswith((".zip", ".tar"))}
    assert problems == [] and read == kept


@pytest.mark.parametrize("kind", ["whole.zip", "misjoined.zip", "whole.tar"])
def test_mutated_archives_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    members = {f"a/{k:02}.txt": bytes([k]) * (300 + 17 * k) for k in range(30)}
    path = tmp_path / kind
    if kind == "whole.tar":
        write_tar(path, members)
    else:
        write_zip(path, members)
    if kind == "misjoined.zip":
        join_by_name(cut(path, 91), path)
    assert len(walk(tmp_path)[0]) == 30
    whole, rng = path.read_bytes(), random.Random(kind)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            place = rng.choice([rng.randrange(len(data)), max(0, len(data) - rng.randint(1, 3000))])
            changed = rng.choice([b"", bytes([rng.randrange(256)]), rng.randbytes(9)])
            data[place : place + rng.choice([0, 1, 200])] = changed
        path.write_bytes(data)
        names, problems = walk(tmp_path)
        assert names or problems
        for name in names:
            with contextlib.suppress(AnnotationError):
                read_bytes(tmp_path, name, 10**6)
