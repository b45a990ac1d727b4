"""Zips as people have them: in pieces, joined in the wrong order, with backslashes, compressed or split unusually."""

import io
import json
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.files.data_root import Problem, open_file, read_bytes, walk_files
from signprep.pipeline.datasets.files.frame_files import open_zip, pictures_in_zip, read_member
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.errors import AnnotationError
from tests.pipeline.datasets.test_files import walk, write_zip
from tests.pipeline.datasets.test_read import build
from tests.pipeline.scan.scanning import run, scan


def cut(whole: Path, num_pieces: int, numbering: str = "part{}") -> list[Path]:
    """Cut a file into pieces of one size but the last, as downloads are, and delete it."""
    data = whole.read_bytes()
    size = -(-len(data) // num_pieces)
    while -(-len(data) // size) < num_pieces:
        size -= 1
    assert -(-len(data) // size) == num_pieces, "the data cannot be cut so"
    pieces = []
    for number in range(num_pieces):
        piece = data[number * size : (number + 1) * size]
        name = {"bytes": f"part{number * size}", "7z": f"{number + 1:03}"}.get(numbering) or numbering.format(number)
        pieces.append(whole.with_name(f"{whole.name}.{name}"))
        pieces[-1].write_bytes(piece)
    whole.unlink()
    return pieces


@pytest.fixture
def numbered(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """A zip whose bytes can be cut into 91 pieces, and its members."""
    members = {f"word/{k:02}.txt": bytes([k]) * (391 + 7 * k) for k in range(40)}
    path = write_zip(tmp_path / "원천.zip", members)
    return path, members


@pytest.mark.parametrize("num_pieces", [1, 2, 11, 81, 91])
@pytest.mark.parametrize("numbering", ["part{}", "part{:02}", "bytes", "7z"])
def test_pieces_are_read_in_place_in_the_order_of_their_numbers(
    numbered: tuple[Path, dict[str, bytes]], num_pieces: int, numbering: str
) -> None:
    path, members = numbered
    cut(path, num_pieces, numbering)
    names, problems = walk(path.parent)
    assert (names, problems) == ([f"원천.zip!/{name}" for name in members], [])
    for name, data in members.items():
        stream = open_file(path.parent, f"원천.zip!/{name}")
        assert not isinstance(stream, Path)
        with stream:
            assert stream.read() == data == read_bytes(path.parent, f"원천.zip!/{name}", 10**6)
    roots = DataRoots.single(path.parent)
    assert [roots.num_bytes(name) for name in names] == [len(data) for data in members.values()]
    assert roots.sample_paths(names)[0].exists()


def test_a_cache_of_pieces_is_that_of_the_whole_zip(data_root: Path, tmp_path: Path) -> None:
    built: list[Cache] = []
    found, told = [], []
    for num_pieces, is_joined in (
        (0, False),
        (11, False),
        (81, False),
        (91, False),
        (11, True),
        (81, True),
        (91, True),
    ):
        root = tmp_path / f"data {num_pieces} {is_joined}"
        root.mkdir()
        for kind in ("label", "video"):
            with zipfile.ZipFile(root / f"{kind}.zip", "w") as archive:
                for path in sorted((data_root / kind).iterdir()):
                    archive.writestr(zipfile.ZipInfo(f"01\\{path.name}"), path.read_bytes())
            if num_pieces:
                pieces = cut(root / f"{kind}.zip", 11 if kind == "label" else num_pieces)
                if is_joined:
                    join_by_name(pieces, root / f"{kind}.zip")
        found.append(scan(root))
        document = json.loads(run(root, "--json").stdout)
        told.append((document["counts"], document["tables"]))
        built.append(build(tmp_path / f"{num_pieces} {is_joined}.zarr", "--data-root", root))
    assert len({cache.fingerprint for cache in built}) == 1
    assert found[:4] == [{}] * 4 and told == told[:1] * 7 and told[0][1]["coverage"]
    assert [[name for name, _ in problems.pop("misjoined-archive")] for problems in found[4:]] == [
        ["label.zip", "video.zip"]
    ] * 3
    assert found[4:] == [{}] * 3
    assert "video.zip!/01/" in built[0].index["video"][0].as_py()


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ([0], "원천.zip.part0: missing"),
        ([0, 1], "원천.zip.part0, 원천.zip.part1: missing"),
        ([37], "원천.zip.part37: missing"),
        ([5, 60], "원천.zip.part5, 원천.zip.part60: missing"),
        ([90], "pieces behind 원천.zip.part89 are missing"),
        (range(1, 91), "pieces behind 원천.zip.part0 are missing"),
    ],
)
def test_missing_pieces_are_named(numbered: tuple[Path, dict[str, bytes]], lost: list[int], told: str) -> None:
    pieces = cut(numbered[0], 91)
    (numbered[0].parent / "good.txt").write_text("good")
    for number in lost:
        pieces[number].unlink()
    names, [problem] = walk(numbered[0].parent)
    assert names == ["good.txt"] and told in problem


def test_pieces_that_are_short_or_of_the_wrong_place_are_named(numbered: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = numbered
    shutil.copy(path, path.with_name("again"))
    pieces = cut(path, 20)
    pieces[7].write_bytes(pieces[7].read_bytes()[:-1])
    _, [problem] = walk(path.parent)
    assert f"{pieces[7].name} is shorter than other pieces" in problem
    for piece in pieces:
        piece.unlink()
    path.with_name("again").rename(path)
    pieces = cut(path, 20, "bytes")
    pieces[7].unlink()
    _, [problem] = walk(path.parent)
    assert problem.startswith(f"{pieces[8]}: ") and "a piece is missing" in problem


def test_the_whole_zip_is_taken_where_pieces_lie_beside_it(numbered: tuple[Path, dict[str, bytes]]) -> None:
    path, members = numbered
    shutil.copy(path, path.with_name("again"))
    cut(path, 11)
    path.with_name("again").rename(path)
    assert walk(path.parent) == ([f"원천.zip!/{name}" for name in members], [])


def join_by_name(pieces: list[Path], whole: Path) -> None:
    """Join pieces as `cat NAME.zip.part*` does, and delete them."""
    whole.write_bytes(b"".join(piece.read_bytes() for piece in sorted(pieces)))
    for piece in pieces:
        piece.unlink()


@pytest.mark.parametrize("num_pieces", [11, 12, 21, 81, 90, 91, 99, 100])
@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_a_zip_that_was_joined_in_the_order_of_names_is_read_in_that_of_numbers(
    numbered: tuple[Path, dict[str, bytes]], num_pieces: int, zip64: bool, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, members = numbered
    members = {name: (data + b"?") * 30 for name, data in members.items()}
    if zip64:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    write_zip(path, members)
    whole = path.read_bytes()
    pieces = cut(path, num_pieces)
    for number, piece in reversed(list(enumerate(pieces))):
        pieces[number] = piece.rename(path.with_name(f"{path.name}.part{number + first}"))
    piece_bytes = pieces[0].stat().st_size
    join_by_name(pieces, path)
    if num_pieces > 10:
        assert path.read_bytes() != whole
    names, [problem] = walk(path.parent)
    assert names == [f"원천.zip!/{name}" for name in members]
    assert f"from {num_pieces} pieces in the order of their names" in problem and f"of {piece_bytes:,} bytes" in problem
    for name, data in members.items():
        stream = open_file(path.parent, f"원천.zip!/{name}")
        assert not isinstance(stream, Path) and stream.read() == data
        assert read_bytes(path.parent, f"원천.zip!/{name}", 10**6) == data


@pytest.mark.parametrize("numbering", ["bytes", "part{}"])
def test_pieces_of_a_usual_size_are_told_by_it_whatever_their_names_count(tmp_path: Path, numbering: str) -> None:
    members = {f"{k}.txt": bytes([k]) * 1_900_000 for k in range(6)}
    write_zip(tmp_path / "a.zip", members)
    data = (tmp_path / "a.zip").read_bytes()
    names = {start: f"{start}" if numbering == "bytes" else f"{start // 10**6}" for start in range(0, len(data), 10**6)}
    assert len(names) == 12
    joined = b"".join(data[start : start + 10**6] for start in sorted(names, key=names.__getitem__))
    (tmp_path / "a.zip").write_bytes(joined)
    found, [problem] = walk(tmp_path)
    assert found == [f"a.zip!/{name}" for name in members] and "12 pieces" in problem
    for name, content in members.items():
        assert read_bytes(tmp_path, f"a.zip!/{name}", 10**7) == content


def test_a_zip_whose_pieces_are_mixed_in_another_way_is_said_to_be_that(
    numbered: tuple[Path, dict[str, bytes]],
) -> None:
    path, _ = numbered
    pieces = cut(path, 30)
    order = [*range(3, 20), 2, 1, 0, *range(20, 30)]
    path.write_bytes(b"".join(pieces[number].read_bytes() for number in order))
    for piece in pieces:
        piece.unlink()
    names, [problem] = walk(path.parent)
    assert names == [] and "joined from pieces in the wrong order" in problem and "download" not in problem
    assert [name for name, _ in scan_of_videos(path)["unreadable"]] == ["원천.zip"]


def test_a_7z_archive_under_the_name_of_a_zip_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50))
    names, [problem] = walk(tmp_path)
    assert names == [] and "is a 7z archive by its first bytes" in problem


def scan_of_videos(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return what a scan finds beside one good label and its video."""
    from tests.conftest import write_label

    (path.parent / "a.mp4").write_bytes(b"x")
    write_label(path.parent / "a_morpheme.json", [(0, 1, "위")])
    return scan(path.parent, probe="none")


def test_an_unfinished_download_is_not_taken_for_pieces_in_the_wrong_order(
    numbered: tuple[Path, dict[str, bytes]],
) -> None:
    path, members = numbered
    data = bytearray(path.read_bytes())
    data[5000:15000] = bytes(10_000)
    path.write_bytes(data)
    names, problems = walk(path.parent)
    assert (names, problems) == ([f"원천.zip!/{name}" for name in members], [])
    with pytest.raises(AnnotationError, match=r"its member word/15\.txt is damaged"):
        open_file(path.parent, "원천.zip!/word/15.txt")


def test_members_with_backslashes_and_dots_lie_in_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("b\\c\\one.txt", ".\\b\\two.txt", "./b/three.txt", "/b/four.txt", "b\\folder.txt\\"):
            archive.writestr(zipfile.ZipInfo(name), name)
    write_zip(tmp_path / "b.zip", {"수어\\다섯.txt": b"5"}, encoding="cp949")
    names, problems = walk(tmp_path)
    expected = [f"a.zip!/b/{name}" for name in ("c/one.txt", "four.txt", "three.txt", "two.txt")]
    assert (names, problems) == ([*expected, "b.zip!/수어/다섯.txt"], [])
    assert read_bytes(tmp_path, "a.zip!/b/c/one.txt", 100) == b"b\\c\\one.txt"


def test_members_whose_names_leave_the_archive_are_told_and_not_read(tmp_path: Path) -> None:
    names = ("../up.txt", "a/../../up.txt", "good.txt", "수" * 300 + ".txt", "two\nlines.txt", "..\\win.txt")
    write_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x"))
    found, problems = walk(tmp_path)
    assert sorted(found) == sorted(f"a.zip!/{name}" for name in names[2:5])
    assert len(problems) == 3 and all("leaves the archive" in problem for problem in problems)
    with pytest.raises(AnnotationError, match="leaves the archive"):
        read_bytes(tmp_path, "a.zip!/../up.txt", 100)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_name_that_is_not_what_it_claims_costs_no_other_member(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for content, name in enumerate(("good.txt", "오른.txt", "왼쪽.txt")):
            archive.writestr(name, f"{content}" * 99)
    data = (tmp_path / "a.zip").read_bytes().replace("오른".encode(), "오른쪽".encode("cp949"))
    (tmp_path / "a.zip").write_bytes(data)
    names, problems = walk(tmp_path)
    assert (names, problems) == ([f"a.zip!/{name}" for name in ("good.txt", "오른쪽.txt", "왼쪽.txt")], [])
    for content, name in enumerate(names):
        assert read_bytes(tmp_path, name, 1000) == b"%d" % content * 99
        stream = open_file(tmp_path, name)
        assert not isinstance(stream, Path) and stream.read() == b"%d" % content * 99


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "method 93"), (1, "method 1")])
def test_members_that_are_compressed_unusually_are_named_and_cost_no_other(
    tmp_path: Path, method: int, name: str
) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.txt": b"a" * 500, "b.txt": b"b" * 500}, compress=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 8] = data[data.index(b"PK\x01\x02") + 10] = method
    path.write_bytes(data)
    names, [problem] = walk(tmp_path)
    assert names == ["a.zip!/b.txt"] and f"a.txt is compressed by {name}, which is not supported: unpack" in problem
    with pytest.raises(AnnotationError, match=name):
        read_bytes(tmp_path, "a.zip!/a.txt", 1000)


@pytest.mark.parametrize("field", [4, 6])
def test_the_last_part_of_a_split_zip_is_told_to_be_joined(tmp_path: Path, field: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.txt": b"a" * 500})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x05\x06") + field] = 3
    path.write_bytes(data)
    names, [problem] = walk(tmp_path)
    assert names == [] and "is the last part of a split zip; join its parts first" in problem


def test_a_table_and_a_data_root_name_members_of_pieces(data_root: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for path in sorted((data_root / "video").iterdir()):
            archive.write(path, path.name)
    [name, *_] = sorted(path.name for path in (data_root / "video").iterdir())
    cut(tmp_path / "v.zip", 11)
    rows = [f"v.zip!/{name},0,0.5,위", "v.zip!/gone.mp4,0,1,위", "gone.zip!/a.mp4,0,1,위", f"broken.zip!/{name},0,1,위"]
    (tmp_path / "t.csv").write_text("\n".join(["video,start,end,gloss", *rows]))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    found = read_data_root(tmp_path / "t.csv")
    assert [s.video for s in found.segments] == [f"v.zip!/{name}"]
    for problem, told in zip(found.problems, ("there is no video", "no such archive", "no readable zip"), strict=True):
        assert told in problem.message
    assert len(build(tmp_path / "c.zarr", "--data-root", tmp_path / "t.csv")) == 1


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=20)


SHOWN = NAMES.filter(lambda name: name not in (".", "..") and not name.startswith("._"))


@given(
    members=st.dictionaries(SHOWN, st.binary(max_size=300), max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    size=st.integers(20, 400),
    before=st.binary(max_size=50),
    comment=st.binary(max_size=50).filter(lambda comment: b"PK" not in comment),
)  # fmt: skip
@example(
    members=dict.fromkeys(["a.ZIP", "b.zip", "c.Tar.gz", "d.7z.001", ".zip", "zip", "e.mp4"], b"PK"),
    method=zipfile.ZIP_STORED,
    size=50,
    before=b"",
    comment=b"",
)
@settings(max_examples=200, deadline=None)
def test_zips_and_their_pieces_give_what_pythons_zipfile_wrote(
    tmp_path_factory: pytest.TempPathFactory,
    members: dict[str, bytes],
    method: int,
    size: int,
    before: bytes,
    comment: bytes,
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        archive.comment = comment
        for name, content in members.items():
            archive.writestr(name, content)
    data = before * (size > 100) + written.getvalue()  # programs that unpack themselves have zips behind them
    for number, start in enumerate(range(0, len(data), size)):
        (folder / f"pieces.zip.part{number}").write_bytes(data[start : start + size])
    (folder / "whole.zip").write_bytes(data)
    problems: list[Problem] = []
    found = list(walk_files(folder, problems.append, wanted=lambda name: True))
    read = {file.name: read_bytes(folder, file.name, 10**6) for file in found}
    expected = {
        f"{archive}.zip!/{name}": content for archive in ("pieces", "whole") for name, content in members.items()
    }
    archives = expected.keys() - read.keys()
    assert read.items() <= expected.items()
    assert {problem.path: problem.kind for problem in problems} == dict.fromkeys(archives, "unread-archive")
    assert all("." in name.partition("!/")[2] and not name.endswith(".mp4") for name in archives)
    for file in found:
        stream = open_file(folder, file.name)
        assert not isinstance(stream, Path)
        with stream:
            stream.seek(3)
            assert stream.read() == read[file.name][3:]


FRAME = "01/NIA_SL_WORD0001_REAL01_F/NIA_SL_WORD0001_REAL01_F_{:012d}_keypoints.json"


def write_frames(path: Path, num_frames: int, repeated: int = 100) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/01/._NIA_SL_WORD0001_REAL01_F_000000000000_keypoints.json", b"?")
        for number in range(num_frames):
            archive.writestr(FRAME.format(number), b"%02d" % number * repeated)


def test_a_zip_of_frames_is_read_in_pieces_and_again_where_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keypoint.zip"
    for num_frames in (30, 20):
        write_frames(path, num_frames)
        for piece in [*tmp_path.glob("*.part*")]:
            piece.unlink()
        cut(path, 11)
        [name], problems = walk(tmp_path)
        frames = DataRoots.single(tmp_path).frame_files(name)
        assert problems == [] and list(frames.frames.numbers) == list(range(num_frames))
        assert frames.read(num_frames - 1) == b"%02d" % (num_frames - 1) * 100
    (tmp_path / "keypoint.zip.part4").unlink()
    names, [problem] = walk(tmp_path)
    assert names == [] and problem.endswith("keypoint.zip.part4: missing; download it again")


@pytest.mark.parametrize("num_pieces", [11, 81, 91])
def test_a_zip_of_frames_that_was_joined_in_the_order_of_names_is_read(tmp_path: Path, num_pieces: int) -> None:
    path = tmp_path / "keypoint.zip"
    write_frames(path, 90, repeated=5000)
    join_by_name(cut(path, num_pieces), path)
    [name], [problem] = walk(tmp_path)
    frames = DataRoots.single(tmp_path).frame_files(name)
    assert "in the order of their names" in problem and list(frames.frames.numbers) == list(range(90))
    assert [frames.read(number) for number in range(90)] == [b"%02d" % number * 5000 for number in range(90)]


@pytest.mark.parametrize(("place", "name"), [(8, "encrypted"), (10, "compressed")])
def test_frames_that_cannot_be_read_are_one_problem(tmp_path: Path, place: int, name: str) -> None:
    path = tmp_path / "keypoint.zip"
    write_frames(path, 30)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + place] = 9
    path.write_bytes(data)
    names, [problem] = walk(tmp_path)
    assert names == [] and name in problem


def test_threads_read_members_of_one_zip_side_by_side(tmp_path: Path) -> None:
    members = {f"clip/{number:04d}.png": bytes([number]) * (1000 + 997 * number) for number in range(40)}
    write_zip(tmp_path / "a.zip", members)
    places = pictures_in_zip(tmp_path / "a.zip", "clip")

    def differ(name: str) -> bool:
        values = places[name.rpartition("/")[2]]
        assert values is not None
        return read_member(open_zip(tmp_path / "a.zip"), values) != members[name]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads then take turns within a read, as they do now and then at any time
    try:
        with ThreadPoolExecutor(8) as threads:
            assert not any(threads.map(differ, [*members] * 100))
    finally:
        sys.setswitchinterval(interval)


def test_two_pieces_of_one_number_are_named(numbered: tuple[Path, dict[str, bytes]]) -> None:
    pieces = cut(numbered[0], 12)
    shutil.copy(pieces[1], pieces[1].with_name("원천.zip.part01"))
    names, [problem] = walk(numbered[0].parent)
    assert names == [] and "has the number of" in problem and "part01" in problem and "part1" in problem
