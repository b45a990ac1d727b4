"""What a request sends: received into a file that has no name, in bounded time and size; and the files of a form."""

import asyncio
import email.message
import email.parser
import io
import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request

from signprep.inference.serve.clips import IN_MEMORY
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.errors import SignprepError

CLIPS, FORM = "application/x-npy", "multipart/form-data"
MOST_FILES = 256
"""Of one form."""
_WRITTEN_TOGETHER = 2**20
_LONGEST_PART_HEAD = 4096


async def received(request: Request, options: ServeOptions, *, in_memory: int = 0) -> BinaryIO:
    """Return what is sent, as a file without a name, which is gone with its last descriptor, whatever happens.

    Args:
        request: whose body it is.
        options: bound it.
        in_memory: as many bytes are kept in memory, without a file.

    Raises:
        HTTPException: it is too large, or comes too slowly.
        ClientDisconnect: it ends early.
        SignprepError: there is nothing.
    """
    declared = request.headers.get("content-length", "0")
    too_large = HTTPException(413, f"the upload is larger than {options.max_megabytes} MB; send a shorter video")
    if not declared.isascii() or not declared.isdigit() or int(declared) > options.max_bytes:
        raise too_large
    body = _Body(in_memory)
    try:
        async with asyncio.timeout(options.timeout_seconds):
            async for chunk in request.stream():
                if body.size + len(chunk) > options.max_bytes:
                    raise too_large
                await body.add(chunk)
            return await body.whole()
    except BaseException as error:
        body.close()
        if isinstance(error, TimeoutError):
            raise HTTPException(408, f"the upload was not there after {options.timeout_seconds:g} s") from None
        if isinstance(error, OSError):
            raise HTTPException(507, f"the upload cannot be written ({error.strerror})") from error
        raise


class _Body:
    """What has come so far: in memory, and, if that is more than may be there, in a file."""

    def __init__(self, in_memory: int) -> None:
        self.size, self._in_memory = 0, in_memory
        self._waiting: list[bytes] = []
        self._num_waiting = 0
        self._file: BinaryIO | None = None

    async def add(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self.size += len(chunk)
        self._num_waiting += len(chunk)
        if self._num_waiting >= _WRITTEN_TOGETHER and self.size > self._in_memory:
            await self._write()

    async def whole(self) -> BinaryIO:
        if not self.size:
            raise SignprepError("nothing was sent, or an empty file; send the video as the body of the request")
        if self.size <= self._in_memory:
            return io.BytesIO(b"".join(self._waiting))
        file = await self._write()
        file.seek(0)
        return file

    async def _write(self) -> BinaryIO:
        file = self._file = self._file or unnamed_file()
        waiting, self._waiting, self._num_waiting = b"".join(self._waiting), [], 0
        await asyncio.to_thread(_write_all, file, waiting)
        return file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _write_all(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


def unnamed_file() -> BinaryIO:
    """Return a new file in the folder of temporary files."""
    return cast(BinaryIO, tempfile.TemporaryFile(prefix="signprep-"))  # its reader closes it


@dataclass(frozen=True, kw_only=True)
class FormFile:
    """A file of a form: where it stands in the body of the request."""

    name: str
    is_clips: bool
    start: int
    end: int

    async def opened(self, body: "bytes | mmap.mmap") -> BinaryIO:
        """Return it as a file of its own, without a name: in memory, if it has few clips.

        Raises HTTPException if there is no room for it.
        """
        if self.is_clips and self.end - self.start <= IN_MEMORY:
            return io.BytesIO(body[self.start : self.end])
        try:
            file = unnamed_file()
            await asyncio.to_thread(self._copy, body, file)
        except OSError as error:
            raise HTTPException(507, f"the upload cannot be written ({error.strerror})") from error
        return file

    def _copy(self, body: "bytes | mmap.mmap", file: BinaryIO) -> None:
        for start in range(self.start, self.end, _WRITTEN_TOGETHER):
            file.write(body[start : min(start + _WRITTEN_TOGETHER, self.end)])
        file.seek(0)


@contextmanager
def contents(file: BinaryIO) -> "Iterator[bytes | mmap.mmap]":
    """Yield what is in a file, of which parts may be taken in any thread."""
    if isinstance(file, io.BytesIO):
        yield file.getvalue()
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def form_files(body: "bytes | mmap.mmap", content_type: str) -> list[FormFile]:
    """Return the files of a form, as browsers and `curl -F` send it, in their order.

    Raises SignprepError if it is none, is not whole, or has too many files, or something that is no file.
    """
    head = email.message.Message()
    head["content-type"] = content_type
    boundary = str(head.get_boundary() or "").encode("utf-8", "replace")
    if not boundary:
        raise SignprepError("the form does not say what stands between its files (boundary)")
    return list(_files(body, boundary))


def _files(body: bytes | mmap.mmap, boundary: bytes) -> Iterator[FormFile]:
    between = b"\r\n--" + boundary
    not_whole = SignprepError("the form is not whole, or is no form; send each file as curl -F does")
    begins = -2 if body[: len(between) - 2] == between[2:] else body.find(between)
    if begins == -1:
        raise not_whole
    place, number = begins + len(between), 0
    while body[place : place + 2] != b"--":
        head_end = body.find(b"\r\n\r\n", place, place + _LONGEST_PART_HEAD)
        end = body.find(between, head_end + 4)
        if head_end < 0 or end < 0:
            raise not_whole
        number += 1
        if number > MOST_FILES:
            raise SignprepError(f"the form has more than {MOST_FILES} files; send fewer in one request")
        yield _file(body[place:head_end], head_end + 4, end)
        place = end + len(between)
    if not number:
        raise not_whole


def _file(head: bytes, start: int, end: int) -> FormFile:
    told = email.parser.HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip())
    if (name := told.get_filename()) is None:
        field = told.get_param("name", header="content-disposition")
        raise SignprepError(f"the form has {field!r}, which is no file; options go into the address of the request")
    is_clips = told.get_content_type() == CLIPS or name.lower().endswith(".npy")
    return FormFile(name=name, is_clips=is_clips, start=start, end=end)
