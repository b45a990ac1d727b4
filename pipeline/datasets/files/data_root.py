"""Files of a data root, in folders and in zip archives, by one kind of name.

In: a folder. Out: `FoundFile`s whose `name` is the path relative to it, `folder/a.zip!/member/b.mp4` inside archives,
and a way to open them again by that name. Nothing is unpacked to disk. Names never leave the root, and sizes are
checked before memory is taken.
"""

import os
import re
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from signprep.pipeline.datasets.files.archives import open_archive
from signprep.pipeline.datasets.files.frame_files import frames_in_zip, picture_folders_in_zip, pictures_in_zip
from signprep.pipeline.datasets.files.image_files import holds_pictures, open_pictures
from signprep.pipeline.datasets.files.names import (
    KEYPOINT_SUFFIX,
    SEQUENCE_SUFFIX,
    as_whole_files,
    base_name_of,
    is_hidden_folder,
    is_odd_piece,
    is_other_archive,
    is_passed_over,
    is_read_archive,
    is_sequence,
    whole_name,
)
from signprep.pipeline.datasets.files.piece_order import note_on_order
from signprep.pipeline.datasets.files.pieces import IncompleteArchiveError, pieces_of
from signprep.pipeline.datasets.files.tars import TarArchive
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.video.image_sequence import ImageSequence, in_order, is_picture

_MEMBER = re.compile(r"(?P<archive>.*?\.(?:zip|tar))!(?:/(?P<member>.*))?", re.IGNORECASE | re.DOTALL)
UNREAD_ARCHIVE = "unread-archive"
"""The kind of problem that is an archive which nobody has looked into."""
MISJOINED_ARCHIVE = "misjoined-archive"
"""The kind of problem that is a zip which is read in another order than that in which it lies."""
EMPTY_ANNOTATIONS = "empty-annotations"
"""The kind of problem that is annotations without a text, of which people leave some."""
SAME_SIGNS = "same-signs"
"""The kind of problem that is a file with the signs of another one, as `infer` writes them in several formats."""
ROW_OF_ERROR = "row-of-error"
"""The kind of problem that is a row in which `infer --signs` says why it found no sign."""
NOTED = frozenset({MISJOINED_ARCHIVE, EMPTY_ANNOTATIONS, SAME_SIGNS, ROW_OF_ERROR})
"""Kinds of problems that are worth knowing, and none."""
HARMLESS = NOTED | {UNREAD_ARCHIVE}
"""Kinds of problems that cost no segment by themselves."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a data set that cost or may cost segments."""

    kind: str
    """A short word for counting: `label-unreadable`, `video-without-label`, ..."""
    path: str
    """Relative to the data root."""
    message: str


OnProblem = Callable[[Problem], None]


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """One file of a data root, with its size without compression."""

    name: str
    """Relative to the root, with forward slashes, as `open_file` takes it."""
    num_bytes: int
    is_folder: bool = False
    """True for a folder of pictures, which is a video."""

    @property
    def file_name(self) -> str:
        """Last part of the name in Unicode NFC for comparisons, since macOS writes Korean names in NFD."""
        return unicodedata.normalize("NFC", self.name.rpartition("/")[2])

    @property
    def base_name(self) -> str:
        """The name without its suffix, NFC, as `base_name_of` gives it; all of it of a folder, or a zip of pictures."""
        if self.is_folder:
            return re.sub(r"\.zip!$", "", self.file_name, flags=re.IGNORECASE)
        return base_name_of(self.file_name)


def walk_files(
    root: Path, on_problem: OnProblem, *, wanted: Callable[[str], bool], pictures: bool = False
) -> Iterator[FoundFile]:
    """Yield the wanted files below an existing folder and inside its zips, in a fixed order.

    With `pictures` also folders of numbered pictures, as files of their own, unless there are wanted files in them.

    Links to folders are followed, behind all others; a folder that was read by another name is not read again.

    `on_problem` is called with each folder, file or archive that cannot be read, or is not looked into. `wanted` takes
    a file name, the last part of a path, and returns True if it is of interest.
    """

    def unreadable(path: str, message: str) -> None:
        on_problem(Problem(kind="unreadable", path=path, message=message))

    def unlisted(error: OSError) -> None:
        path = Path(error.filename or root).relative_to(root).as_posix()
        unreadable(path, f"{error.filename}: cannot be listed ({error.strerror})")

    for folder, names in _walk_folders(root, unlisted):
        inside, beside = folder.relative_to(root).as_posix(), str(folder / "-")[:-1]
        if pictures and folder != root and any(map(is_picture, names)) and not any(map(wanted, names)):
            try:
                in_order(names)
                yield FoundFile(name=inside, num_bytes=0, is_folder=True)
            except DecodeError as error:
                unreadable(inside, f"{folder}: {error}")
        for name in as_whole_files(names):
            if is_passed_over((), name):
                continue
            # A Path for each of a million names would take longer than all else.
            path, relative = beside + name, name if inside == "." else f"{inside}/{name}"
            # Bytes of a name that are not UTF-8 are shown as escapes.
            if (
                not relative.isprintable()
                and (named := os.fsencode(relative).decode("utf-8", "backslashreplace")) != relative
            ):
                unreadable(named, f"{named}: its name is not UTF-8; rename it, or unpack its archive again as cp949")
                continue
            if is_read_archive(name):
                yield from walk_archive(Path(path), relative, on_problem, wanted, pictures=pictures)
            elif is_other_archive(name):
                message = f"{path}: is an archive that is not looked into; unpack it"
                on_problem(Problem(kind=UNREAD_ARCHIVE, path=relative, message=message))
            elif is_odd_piece(name) and not wanted(name):
                message = (
                    f"{path}: is not looked into; if it is a piece of an archive, name it NAME.zip.part0, .part1, ..."
                )
                on_problem(Problem(kind=UNREAD_ARCHIVE, path=relative, message=message))
            elif is_sequence(name):
                if wanted(name):
                    yield FoundFile(name=relative, num_bytes=0)
            elif wanted(name) or _is_broken_link(path, name):
                try:
                    status = os.stat(path)  # noqa: PTH116
                except OSError as error:
                    unreadable(relative, f"{path}: cannot be read ({error.strerror})")
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield FoundFile(name=relative, num_bytes=status.st_size)


def _walk_folders(root: Path, unlisted: Callable[[OSError], None]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files, each once, whatever links lead to it."""
    starts, seen = deque([root]), set()
    while starts:
        for name, folders, names in os.walk(starts.popleft(), onerror=unlisted):
            folder = Path(name)
            try:
                status = os.stat(name)  # noqa: PTH116
            except OSError as error:
                unlisted(error)
                continue
            is_new = (status.st_dev, status.st_ino) not in seen
            seen.add((status.st_dev, status.st_ino))
            shown = sorted(one for one in folders if is_new and not one.endswith(".zarr") and not is_hidden_folder(one))
            links = {inner for inner in shown if os.path.islink(f"{name}{os.sep}{inner}")}  # noqa: PTH114
            starts.extend(folder / inner for inner in shown if inner in links)
            folders[:] = [inner for inner in shown if inner not in links]
            if is_new:
                yield folder, names


def walk_archive(
    path: Path, relative: str, on_problem: OnProblem, wanted: Callable[[str], bool], *, pictures: bool = False
) -> Iterator[FoundFile]:
    """Yield the wanted members of a zip or tar as `walk_files` does; their names begin with `relative`, its name."""
    frames: Mapping[str, int] = {}
    unread, has_others = None, True
    try:
        frames, has_others = frames_in_zip(path)
    except AnnotationError as error:  # a damaged directory, for one, which `open_archive` knows more about
        unread = str(error)
    if (note := note_on_order(path)) is not None:
        on_problem(Problem(kind=MISJOINED_ARCHIVE, path=relative, message=f"{path}: {note}"))
    yield from _found_sequences(frames, relative, wanted)
    folders = picture_folders_in_zip(path) if pictures and unread is None else {}
    if not has_others and (frames or folders):
        yield from _found_pictures(path, relative, folders, on_problem)
        return
    try:
        archive = open_archive(path)
        if unread is not None and all(name.endswith(KEYPOINT_SUFFIX) for name in archive.members):
            raise AnnotationError(unread)
    except AnnotationError as error:
        kind, lies = "unreadable", relative
        if isinstance(error, IncompleteArchiveError):
            kind, lies = "partial-download", relative.removesuffix(path.name) + pieces_of(path)[0].name
        on_problem(Problem(kind=kind, path=lies, message=str(error)))
        return
    if isinstance(archive, TarArchive) and archive.broken is not None:
        message = (
            f"{path}: {archive.broken}; its members up to there are read. For the others download it again or, if it "
            "was joined from pieces, join them by their numbers, part2 before part10"
        )
        on_problem(Problem(kind="partial-download", path=relative, message=message))
    with_files = {name.rpartition("/")[0] for name in archive.members if wanted(name.rpartition("/")[2])}
    others = {folder: num_bytes for folder, num_bytes in folders.items() if folder not in with_files}
    yield from _found_pictures(path, relative, others, on_problem)
    for name in sorted(archive.members):
        parts = name.split("/")
        is_archive = is_read_archive(whole_name(name) or name) or is_other_archive(name)
        if is_passed_over(parts[:-1], parts[-1]) or not (is_archive or wanted(parts[-1])):
            continue
        if is_archive:
            message = f"{path}: its member {name} is an archive, which is not looked into; unpack it"
            on_problem(Problem(kind=UNREAD_ARCHIVE, path=f"{relative}!/{name}", message=message))
            continue
        if reason := archive.unreadable(name):
            on_problem(Problem(kind="unreadable", path=f"{relative}!/{name}", message=reason))
            continue
        yield FoundFile(name=f"{relative}!/{name}", num_bytes=archive.members[name].file_size)


def _found_sequences(frames: Mapping[str, int], relative: str, wanted: Callable[[str], bool]) -> Iterator[FoundFile]:
    """Yield the wanted clips of a zip of frames, each as one file."""
    for prefix in sorted(frames):
        *folders, name = prefix.split("/")
        if not is_passed_over(folders, name) and wanted(f"{prefix}{SEQUENCE_SUFFIX}"):
            yield FoundFile(name=f"{relative}!/{prefix}{SEQUENCE_SUFFIX}", num_bytes=frames[prefix])


def _found_pictures(
    path: Path, relative: str, folders: Mapping[str, int], on_problem: OnProblem
) -> Iterator[FoundFile]:
    """Yield the folders of a zip whose pictures may be the frames of a video."""
    for folder, num_bytes in sorted(folders.items()):
        name = f"{relative}!/{folder}".removesuffix("/")
        if is_passed_over(folder.split("/"), "") or ".." in folder.split("/"):
            continue
        try:
            in_order(pictures_in_zip(path, folder))
            yield FoundFile(name=name, num_bytes=num_bytes, is_folder=True)
        except DecodeError as error:
            on_problem(Problem(kind="unreadable", path=name, message=f"{path}!/{folder}: {error}"))


def split_member(name: str) -> tuple[str, str | None]:
    """Return the path of the file on disk and, for a member of a zip, its name in the zip.

    The pictures of a whole zip are its member "".

    >>> split_member("a/b.zip!/c/d.mp4"), split_member("a/b.mp4"), split_member("a/b.zip!")
    (('a/b.zip', 'c/d.mp4'), ('a/b.mp4', None), ('a/b.zip', ''))
    """
    match = _MEMBER.fullmatch(name)
    return (match["archive"], match["member"] or "") if match else (name, None)


def path_on_disk(root: Path, name: str) -> tuple[Path, str | None]:
    """Return where a file of a data root lies: the path of the file, or of a zip and the member's name in it.

    Raises AnnotationError if the name leaves the root.
    """
    on_disk, member = split_member(name)
    pure = PurePosixPath(on_disk)
    if not pure.parts or ".." in pure.parts or pure.is_absolute():
        raise AnnotationError(f"{name}: leaves its data root {root}")
    return root / on_disk, member


def open_file(root: Path, name: str, fps: float | None = None) -> Path | BinaryIO | ImageSequence:
    """Return a file of a data root: its path, a seekable stream for a member of a zip, or the pictures of a folder.

    Raises AnnotationError if the name leaves the root, if a zip's member is missing, damaged or too large, or if
    pictures are none, or have no rate.
    """
    path, member = path_on_disk(root, name)
    if is_picture_folder(path, member, fps):
        return open_pictures(path, member, fps)
    return path if member is None else open_archive(path).open(member)


def is_picture_folder(path: Path, member: str | None, fps: float | None) -> bool:
    """Return True if a video is a folder; in a zip, if it has pictures, and no suffix where no rate is given."""
    if member is None:
        return path.is_dir()
    return (fps is not None or not PurePosixPath(member).suffix) and holds_pictures(path, member)


def read_bytes(root: Path, name: str, limit: int) -> bytes:
    """Return the contents of a small file; a zip member's checksum is verified.

    Raises AnnotationError if it cannot be read or has over `limit` bytes.
    """
    path, member = path_on_disk(root, name)
    if member is not None:
        return open_archive(path).read(member, limit)
    try:
        num_bytes = path.stat().st_size
        if num_bytes > limit:
            raise AnnotationError(f"{path}: has {num_bytes} bytes, over the limit of {limit}")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_head(root: Path, name: str, num_bytes: int) -> bytes:
    """Return the first bytes of a file of a data root, nothing if it cannot be read."""
    try:
        path, member = path_on_disk(root, name)
        if member is not None:
            return open_archive(path).head(member, num_bytes)
        with path.open("rb") as file:
            return file.read(num_bytes)
    except (OSError, AnnotationError):
        return b""


def _is_broken_link(path: str, name: str) -> bool:
    """Return True for a link to nothing, which may mean a folder; editors' locks are such links with a dot."""
    return os.path.islink(path) and not os.path.exists(path) and not name.startswith(".")  # noqa: PTH110, PTH114
