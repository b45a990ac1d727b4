import io
import os
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest

from signprep.pipeline.datasets.files import archives
from signprep.pipeline.datasets.files.data_root import open_file, read_bytes, walk_files
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import AnnotationError


def write_zip(path: Path, members: dict[str, bytes], *, compress: bool = False, encoding: str = "utf-8") -> Path:
    """Write a zip; cp949 names are stored as Korean Windows does, without the UTF-8 flag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # zipfile itself only writes UTF-8: stand-ins of the same length are written and then replaced.
    stand_ins = {name: chr(33 + k) * len(name.encode(encoding)) for k, name in enumerate(members)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name if encoding == "utf-8" else stand_ins[name], data)
    if encoding != "utf-8":
        raw = path.read_bytes()
        for name, stand_in in stand_ins.items():
            raw = raw.replace(stand_in.encode(), name.encode(encoding))
        path.write_bytes(raw)
    return path


def walk(root: Path) -> tuple[list[str], list[str]]:
    problems: list[str] = []
    found = walk_files(
        root, lambda problem: problems.append(problem.message), wanted=lambda name: name.endswith((".txt", ".json"))
    )
    return [file.name for file in found], problems


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_members_are_found_and_read_by_their_true_names(tmp_path: Path, compress: bool, encoding: str) -> None:
    data = os.urandom(300) * 30
    write_zip(
        tmp_path / "[원천]01.ZIP", {"01-1/수어.txt": data, "01-1/긴이름.bin": b""}, compress=compress, encoding=encoding
    )
    names, problems = walk(tmp_path)
    assert (names, problems) == (["[원천]01.ZIP!/01-1/수어.txt"], [])
    stream = open_file(tmp_path, names[0])
    assert not isinstance(stream, Path)
    assert stream.read() == data
    stream.seek(-5, io.SEEK_END)
    assert stream.read(100) == data[-5:] and stream.read() == b""
    stream.seek(17)
    assert stream.read(9) == data[17:26] and stream.tell() == 26
    roots = DataRoots.single(tmp_path)
    assert roots.num_bytes(names[0]) == len(data)
    assert read_bytes(tmp_path, names[0], 10**6) == data
    with pytest.raises(AnnotationError, match="limit"):
        read_bytes(tmp_path, names[0], 100)


def test_decomposed_names_are_opened_as_they_lie_and_compared_composed(tmp_path: Path) -> None:
    import unicodedata

    decomposed = unicodedata.normalize("NFD", "수어.txt")
    (tmp_path / decomposed).write_text("x")
    [file] = walk_files(tmp_path, lambda *_: None, wanted=lambda name: True)
    assert file.file_name == "수어.txt"
    assert Path(str(open_file(tmp_path, file.name))).read_text() == "x"


def test_broken_truncated_and_encrypted_archives_are_problems_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "noise.zip").write_bytes(os.urandom(2000))
    whole = write_zip(tmp_path / "cut.zip", {"a.txt": b"x" * 5000})
    whole.write_bytes(whole.read_bytes()[:3000])
    locked = write_zip(tmp_path / "locked.zip", {"a.txt": b"x"})
    raw = bytearray(locked.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(raw)
    (tmp_path / "good.txt").write_text("good")
    names, problems = walk(tmp_path)
    assert names == ["good.txt"]
    assert {Path(message.split(":")[0]).name for message in problems} == {
        "empty.zip",
        "noise.zip",
        "cut.zip",
        "locked.zip",
    }


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "../x.zip!/a.txt"])
def test_names_never_leave_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match="leaves its data root"):
        open_file(tmp_path, name)


def test_a_bomb_is_refused_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "bomb.zip", {"a.txt": b"\0" * 100_000}, compress=True)
    monkeypatch.setattr(archives, "MAX_DEFLATED_BYTES", 50_000)
    with pytest.raises(AnnotationError, match=r"bomb\.zip.*100000 bytes, over the limit"):
        open_file(tmp_path, "bomb.zip!/a.txt")


@pytest.mark.parametrize("compress", [False, True])
def test_damage_inside_an_archive_names_archive_and_member(tmp_path: Path, compress: bool) -> None:
    path = write_zip(tmp_path / "a.zip", {"b.txt": os.urandom(4000)}, compress=compress)
    raw = bytearray(path.read_bytes())
    raw[0:4] = b"JUNK"
    path.write_bytes(raw)
    with pytest.raises(AnnotationError, match=r"a\.zip: its member b\.txt is damaged"):
        open_file(tmp_path, "a.zip!/b.txt")
    with pytest.raises(AnnotationError, match="has no member"):
        open_file(tmp_path, "a.zip!/c.txt")


def test_two_roots_are_told_apart_by_their_prefix(tmp_path: Path) -> None:
    roots = DataRoots(folders=(("train", tmp_path / "a"), ("val", tmp_path / "b")))
    with roots.opened("val/video/x.mp4") as file:
        assert file == tmp_path / "b" / "video" / "x.mp4"
    assert roots.num_bytes("val/video/x.mp4") is None
    with pytest.raises(AnnotationError, match="none of the data roots"):
        roots.locate("test/x.mp4")


def test_what_macos_writes_beside_files_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "._a.txt").write_bytes(b"")
    (tmp_path / ".a.txt").write_bytes(b"")
    write_zip(tmp_path / "z.zip", {"b/c.txt": b"1", "b/._c.txt": b"2", "__MACOSX/b/c.txt": b"3"})
    assert walk(tmp_path) == ([".a.txt", "z.zip!/b/c.txt"], [])


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are text there")
def test_a_name_in_another_encoding_is_a_problem_that_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + "/수어.txt".encode("cp949"))).write_bytes(b"")
    names, [problem] = walk(tmp_path)
    assert names == [] and "name is not UTF-8" in problem and problem.encode("utf-8")


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for path in (root / "a" / "1.txt", root / ".hidden" / "3.txt", elsewhere / "2.txt", elsewhere / "deep" / "4.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for link, target in {
        root / "again": root / "a",  # the folder is read already
        root / "a" / "loop": root,
        root / "video": elsewhere,
        elsewhere / "deep" / "back": elsewhere,
        root / "kept": root / ".hidden",
        root / "1 link.txt": elsewhere / "2.txt",
    }.items():
        link.symlink_to(target)
    names, problems = walk(root)
    assert names == ["1 link.txt", "a/1.txt", "kept/3.txt", "video/2.txt", "video/deep/4.txt"] and not problems
    (tmp_path / "link").symlink_to(root)
    assert walk(tmp_path / "link")[0] == names
    for name in names:
        assert read_bytes(root, name, 9) == b"x"


def test_links_to_nothing_are_named_but_those_of_editors(tmp_path: Path) -> None:
    for name in ("label", "a.txt", ".#lock"):
        (tmp_path / name).symlink_to(tmp_path / "gone" / name)
    (tmp_path / "self").symlink_to("self")
    names, problems = walk(tmp_path)
    assert not names and [message.split(":")[0].rpartition("/")[2] for message in problems] == [
        "a.txt",
        "label",
        "self",
    ]


def test_archives_that_are_not_looked_into_are_named(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"b.txt": b"x"}).read_bytes()
    write_zip(tmp_path / "outer.zip", {"a.txt": b"x", "01/inner.ZIP": inner, "01/x.tar": b"", "__MACOSX/x.zip": b""})
    for name in ("v.tgz", "v.tar.gz", "v.7z", "v.RAR", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    names, problems = walk(tmp_path)
    assert names == ["inner.zip!/b.txt", "outer.zip!/a.txt"]
    told = [
        message.split(" is an archive")[0].rpartition("/")[2].strip(":")
        for message in problems
        if "unpack it" in message
    ]
    assert told == [
        "inner.ZIP", "x.tar", "v.7z", "v.RAR", "v.tar.gz", "v.tgz",
    ]  # fmt: skip
    assert len(problems) == 6


@pytest.mark.parametrize("year", [1905, 1969, 2300, 2440])
def test_a_time_of_change_fits_whatever_year_a_file_claims(tmp_path: Path, year: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    mtime_ns = (year - 1970) * 365 * 86_400 * 10**9
    os.utime(path, ns=(0, mtime_ns))
    stamp = DataRoots.single(tmp_path).stamp("a.txt")
    assert stamp is not None and stamp.mtime_ns == min(mtime_ns, 2**63 - 1)


def test_a_root_whose_letters_are_decomposed_is_told_to_who_types_them_composed(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "수어") / "a").mkdir(parents=True)
    with pytest.raises(AnnotationError, match=r"there is no such data root; .* is there with letters .*\(NFD\)"):
        read_data_root(tmp_path / unicodedata.normalize("NFC", "수어") / "a")
    with pytest.raises(AnnotationError, match=r"there is no such data root; expected a folder"):
        read_data_root(tmp_path / "수어" / "b")


def test_pieces_whose_names_have_no_number_are_named(tmp_path: Path) -> None:
    for name in ("a.zip.aa", "a.zip.part_0", "b.zip_part1", "a.zip.md5", "b.zip.txt"):
        (tmp_path / name).write_bytes(b"x")
    names, problems = walk(tmp_path)
    assert names == ["b.zip.txt"] and len(problems) == 3
    assert all("if it is a piece of an archive, name it NAME.zip.part0" in problem for problem in problems)
