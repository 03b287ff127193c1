"""Opens a path, a stream or standard input as decompressed bytes that can be read repeatedly.

A pipe, standard input or a stream can be read only once, so it is copied to a temporary file. gzip, and a zip archive
with one file, are decompressed while they are read. A workbook is a zip archive too, but is not decompressed here.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import select
import stat
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import attrs

from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import Interrupted

__all__ = ["Opening", "display_name", "is_pipe", "reason"]

_DOCUMENTS = (
    ("word/", "a Word document"),
    ("ppt/", "a presentation"),
    ("Index/", "a document of Numbers or Pages"),
    ("META-INF/container.xml", "a book"),
)
_ZIP = b"PK\x03\x04"
_LZMA = getattr(getattr(zipfile, "lzma", None), "LZMAError", zipfile.BadZipFile)  # Python may be built without lzma
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, _LZMA)


def display_name(name: object) -> str:
    """Return a file name that UTF-8 can encode: other bytes become a backslash, ``x`` and two hex digits."""
    text = os.fsdecode(name) if isinstance(name, (bytes, os.PathLike)) else str(name)
    return os.fsencode(text).decode("utf-8", "backslashreplace") if not text.isascii() else text


def reason(error: OSError) -> str:
    """Return the system's message for an error."""
    return (error.strerror or type(error).__name__).lower()


def is_pipe(path: Path) -> bool:
    """Whether `path` can be read only once: a named pipe, a socket, or the shell's ``<(…)``."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


@attrs.define
class Opening:
    """The location of the bytes. ``path`` is None if they are copied from ``stream`` (None: standard input)."""

    name: str
    path: Path | None
    stream: IO[bytes] | Path | None = None
    stopped: Callable[[], bool] = bool
    compression: str | None = None
    member: str | None = None
    _copy: IO[bytes] | None = None

    def fingerprint(self) -> str | None:
        """Return a string that changes when the file changes, or None for a copy. Raises `SourceError`."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"

    def close(self) -> None:
        """Remove the copy. Idempotent."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    @contextlib.contextmanager
    def packed(self) -> Iterator[io.BufferedReader]:
        """Open the bytes as they are on the disk. Opening and reading raise `SourceError`."""
        with contextlib.ExitStack() as stack:
            try:
                yield stack.enter_context(self._opened())
            except gzip.BadGzipFile:  # also an OSError
                raise
            except OSError as error:
                raise self._unreadable(error) from None

    def _opened(self) -> io.BufferedReader:
        if self.path is None:
            if self._copy is None:
                self._copy = self._copied()
            self._copy.seek(0)
            # A second descriptor, so that the copy stays open when the reader is closed.
            return open(os.dup(self._copy.fileno()), "rb")  # noqa: PTH123 - a descriptor
        try:
            if self.path.is_dir():
                raise SourceError(f"{self.name} is a directory; name a file in it")
            return self.path.open("rb")
        except ValueError as error:  # the name contains NUL
            if isinstance(error, SourceError):
                raise
            raise self._unreadable(error) from None

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[io.BufferedReader]:
        """Open the decompressed bytes. Opening and reading raise `SourceError`."""
        with self.packed() as file, contextlib.ExitStack() as stack:
            try:
                head = file.peek(4)[:4]
                if head[:2] == b"\x1f\x8b":
                    self.compression = "gzip"
                    inner: Any = stack.enter_context(gzip.GzipFile(fileobj=file))
                    yield stack.enter_context(io.BufferedReader(inner, 1 << 16))
                elif head == _ZIP and (member := self._one_member(file)) is not None:
                    self.compression, self.member = "zip", display_name(member.filename)
                    archive = stack.enter_context(zipfile.ZipFile(file))
                    inner = stack.enter_context(archive.open(member))
                    unpacked = stack.enter_context(io.BufferedReader(inner, 1 << 16))
                    if unpacked.peek(4)[:4] == _ZIP and self._one_member(unpacked) is not None:
                        raise SourceError(f"{self.name} contains {self.member}, another zip archive; unpack it")
                    yield unpacked
                else:
                    yield file
            except (*_DAMAGED, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:  # bz2's has no number
                    raise
                words = f"the {self.compression or 'zip'} data is damaged or cut off; fetch the file again"
                raise SourceError(f"{self.name}: {words}") from None

    def _one_member(self, file: IO[bytes]) -> zipfile.ZipInfo | None:
        """Return the one file in a zip archive; None if the archive is a document such as a workbook."""
        try:
            archive = zipfile.ZipFile(file)
        except (NotImplementedError, UnicodeDecodeError):
            # A version that Python does not read, or a name that is not in its declared encoding.
            raise zipfile.BadZipFile from None
        with archive:
            names = set(archive.namelist())
            for sign, what in _DOCUMENTS:
                if any(name.startswith(sign) for name in names):
                    raise SourceError(f"{self.name} is {what}; export the table as CSV")
            if "[Content_Types].xml" in names or "mimetype" in names:
                file.seek(0)
                return None
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir()
                and not member.filename.startswith("__MACOSX/")
                and not member.filename.rpartition("/")[2].startswith(".")
            ]
        file.seek(0)
        if len(members) != 1:
            inside = ", ".join(display_name(member.filename) for member in members[:5]) or "nothing"
            raise SourceError(f"{self.name} is a zip archive of {len(members)} files ({inside}); unpack it, name one")
        if members[0].flag_bits & 1:
            raise SourceError(f"{self.name} is a zip archive with a password; unpack it first")
        if members[0].compress_type not in {0, 8, 12, 14}:
            raise SourceError(f"{self.name} is a zip archive with a compression that Python lacks; unpack it first")
        return members[0]

    def _unreadable(self, error: Exception) -> SourceError:
        where = self.name if self.path is None else display_name(self.path)
        if isinstance(error, FileNotFoundError):
            return SourceError(f"{where}: no such file")
        return SourceError(f"{where}: {reason(error) if isinstance(error, OSError) else error}")

    def _copied(self) -> IO[bytes]:
        """Return a copy of the stream, which can be read only once. Raises `Interrupted`."""
        copy = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by close()
        try:
            with contextlib.ExitStack() as stack:
                stream: Any = self.stream or getattr(sys.stdin, "buffer", io.BytesIO())
                if isinstance(stream, Path):
                    stream = stack.enter_context(_opened_pipe(stream))
                for piece in _pieces(stream, self.stopped):
                    copy.write(piece)
            copy.flush()
        except TypeError:
            copy.close()
            raise SourceError(f"{self.name} is opened as text; open it with mode 'rb'") from None
        except BaseException:
            copy.close()
            raise
        return copy


def _opened_pipe(path: Path) -> IO[bytes]:
    # Opened normally, a named pipe would block the thread until a program writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(descriptor, True)
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def _pieces(stream: Any, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the pieces of `stream`. Raises `Interrupted` when `stopped` returns True, because a thread that reads from
    a silent pipe could not be interrupted otherwise.
    """
    read = getattr(stream, "read1", stream.read)
    poll = None
    # A stream without a descriptor cannot be polled.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        if sys.platform != "win32":
            descriptor = stream.fileno()
            poll = select.poll()  # select() does not accept descriptors above 1,023
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        while poll is not None and not stopped():
            if poll.poll(200):
                break
        if stopped():
            raise Interrupted
        piece = read(1 << 16)
        if piece is not None:  # None: a non-blocking stream without data yet
            if not piece:
                return
            yield piece
