"""Where rows come from: files, standard input, data frames, any iterable. All are streamed.

A sync reads its source twice: once to count the rows and find the keys that occur more than once
(`aelyst_async.sync.duplicates`), once to send. So a source is something that can be read again from the start, and
what cannot (a pipe, a generator) is copied to a temporary file first. Memory does not grow with the source.

A row comes as ``(line, cells)``: ``cells`` is a list in the order of ``columns`` for a table, a mapping for a
source of records, and a `BadRow` where the row itself cannot be read. What is wrong with the file as a whole (not
UTF-8, a quote that is never closed) is a `SourceError`; the first reading finds it before anything is sent.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import pickle
import select
import stat
import sys
import tempfile
import zlib
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import attrs

from aelyst_async.contacts import ContactFields
from aelyst_async.sync.errors import SourceError
from aelyst_async.transport.settings import shown

__all__ = ["BadRow", "ContactSource", "Format", "Interrupted", "RawRow", "as_source", "read_contacts"]

Format: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet"]

_MAX_LINE = 1 << 20
"""Characters of one line of JSON, bytes of one cell of CSV: beyond it the file is not what it claims to be."""


@attrs.frozen
class BadRow:
    """A row that cannot be read, and why."""

    rule: str
    message: str
    data: Any = None


RawRow: TypeAlias = "tuple[int | None, Sequence[Any] | Mapping[str, Any] | BadRow]"


class Interrupted(Exception):  # noqa: N818 - no error
    """The sync was asked to end while a source waited for its data."""


class ContactSource:
    """A source that can be read again and again. `open` yields the rows; `columns` is known once it has begun."""

    name: str = "rows"
    columns: tuple[str, ...] | None = None
    path: Path | None = None
    stopped: Callable[[], bool] = staticmethod(lambda: False)
    """Set by a sync: whether it has been asked to end, for a source that waits for its data."""

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """Return a text that changes when the source changes, or None where that cannot happen."""
        return None

    def close(self) -> None:
        """Remove what was copied. Idempotent."""

    def row_number(self, position: int) -> int:
        """Return the number to report for the row at `position` (from 1): another one where rows come from a report."""
        return position

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _, cells in self.open():
            if isinstance(cells, BadRow):
                raise SourceError(f"{self.name}: {cells.message}")
            yield dict(cells) if isinstance(cells, Mapping) else dict(zip(self.columns or (), cells, strict=True))


def read_contacts(
    path: str | os.PathLike[str] | IO[bytes],
    *,
    format: Format | None = None,  # noqa: A002 - the word of pandas and of the command line
    delimiter: str | None = None,
) -> ContactSource:
    """Return a file as a source: CSV, TSV, JSON lines (both also gzipped) or Parquet; ``-`` is standard input.

    The format follows from the name, and from the first character where there is none. Nothing is opened yet: what
    is wrong with the file is a `SourceError` of the sync, or of the first iteration. `delimiter` is CSV's.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise SourceError(f"the delimiter must be one character, not {delimiter!r}")
    if not isinstance(path, (str, os.PathLike)):
        return _FileSource(getattr(path, "name", "stream"), None, path, format, delimiter)
    if path == "-":
        return _FileSource("standard input", None, None, format, delimiter)
    file = Path(path)
    if _is_pipe(file):  # a named pipe, or the shell's <(…): it can be read once only, as standard input can
        return _FileSource(file.name, None, file, format, delimiter)
    if format == "parquet" or (format is None and file.suffix.lower() in {".parquet", ".pq"}):
        from aelyst_async.sync.columnar import ParquetSource

        return ParquetSource(file)
    return _FileSource(file.name, file, None, format, delimiter)


class _FileSource(ContactSource):
    """CSV or JSON lines, in a file or copied from a stream to a temporary one."""

    def __init__(
        self, name: str, path: Path | None, stream: IO[bytes] | Path | None, kind: str | None, delimiter: str | None
    ) -> None:
        self.name = str(name)
        self.path = path
        self._stream = stream
        self._copy: IO[bytes] | None = None
        self._format = kind
        self._delimiter = delimiter

    def fingerprint(self) -> str | None:
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError as error:
            raise SourceError(f"{self.path}: {_reason(error)}") from None
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def open(self) -> Iterator[RawRow]:
        with contextlib.ExitStack() as stack:
            binary: io.BufferedReader[Any] = self._binary(stack)
            head = binary.peek(4)[:4]
            if head[:2] == b"\x1f\x8b":
                unpacked = stack.enter_context(gzip.GzipFile(fileobj=binary))
                binary = stack.enter_context(io.BufferedReader(unpacked, 1 << 16))
            try:
                yield from self._rows(binary)
            except UnicodeDecodeError:
                raise self._undecodable() from None
            except (EOFError, gzip.BadGzipFile, zlib.error):
                raise SourceError(f"{self.name}: the gzip data is damaged or cut off; fetch the file again") from None
            except OSError as error:
                raise SourceError(f"{self.name}: {_reason(error)}") from None

    def _binary(self, stack: contextlib.ExitStack) -> io.BufferedReader:
        try:
            if self.path is not None:
                if self.path.is_dir():
                    raise SourceError(f"{self.path} is a directory; name a CSV, JSONL or Parquet file")
                return stack.enter_context(self.path.open("rb"))
            if self._copy is None:
                self._copy = self._copied()
        except FileNotFoundError:
            raise SourceError(f"{self.path}: no such file") from None
        except OSError as error:
            raise SourceError(f"{self.name}: {_reason(error)}") from None
        self._copy.seek(0)
        # A second descriptor, so that closing the reader leaves the copy open.
        return stack.enter_context(open(os.dup(self._copy.fileno()), "rb"))  # noqa: PTH123 - a descriptor

    def _copied(self) -> IO[bytes]:
        """Return a copy of the stream, which can be read once only. Raises `Interrupted`."""
        copy = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by close()
        try:
            with contextlib.ExitStack() as stack:
                stream: Any = self._stream or getattr(sys.stdin, "buffer", io.BytesIO())
                if isinstance(stream, Path):
                    stream = stack.enter_context(_opened_pipe(stream))
                for piece in _pieces(stream, self.stopped):
                    copy.write(piece)
        except TypeError:
            copy.close()
            raise SourceError(f"{self.name} is open for text; open it for bytes (mode 'rb')") from None
        except BaseException:
            copy.close()
            raise
        return copy

    def _rows(self, binary: io.BufferedReader) -> Iterator[RawRow]:
        head = binary.peek(4)
        if head[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\x00" in head[:2]:
            raise SourceError(f"{self.name} is UTF-16; save it as UTF-8 (in Excel: 'CSV UTF-8'), or use iconv")
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        try:
            kind = self._kind(binary)
            if kind == "jsonl":
                yield from self._json_lines(text)
            else:
                yield from self._table(text, "\t" if kind == "tsv" else ",")
        finally:
            with contextlib.suppress(ValueError):
                text.detach()

    def _kind(self, binary: io.BufferedReader) -> str:
        if self._format is not None:
            return self._format
        name = self.name.lower().removesuffix(".gz")
        for suffix, kind in ((".csv", "csv"), (".tsv", "tsv"), (".jsonl", "jsonl"), (".ndjson", "jsonl")):
            if name.endswith(suffix):
                return kind
        head = binary.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        return "jsonl" if head[:1] in {b"{", b"["} else "csv"

    def _table(self, text: io.TextIOWrapper, delimiter: str) -> Iterator[RawRow]:
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE))
        reader = csv.reader(text, delimiter=self._delimiter or delimiter, strict=True)
        before = 0
        try:
            header = next(reader, None)
            while header is not None and not any(header):
                header = next(reader, None)
            if header is None:
                raise SourceError(f"{self.name} is empty: the first line must name the columns")
            self.columns = tuple(name.strip() for name in header)
            self._check_header()
            width = len(self.columns)
            before = reader.line_num
            for cells in reader:
                line, before = before + 1, reader.line_num
                if not any(cells):
                    continue  # a blank line; a spreadsheet writes it as a row of commas
                if len(cells) == width:
                    yield line, cells
                else:
                    more = "more" if len(cells) > width else "fewer"
                    yield (
                        line,
                        BadRow(
                            "cells",
                            f"{len(cells)} cells, {more} than the {width} columns "
                            f"(a cell with a {self._delimiter or delimiter!r} in it needs quotes)",
                            cells,
                        ),
                    )
        except csv.Error as error:
            words = str(error)
            if "unexpected end" in words:
                words = "a quote is opened here and never closed"
            elif "field larger" in words:
                words = f"a cell of more than {_MAX_LINE:,} characters; is a quote opened here and never closed?"
            raise SourceError(f"{self.name}, line {before + 1}: not readable as CSV: {words}") from None

    def _check_header(self) -> None:
        columns = self.columns or ()
        if "" in columns:
            raise SourceError(f"{self.name}: column {columns.index('') + 1} has no name; name it or remove it")
        for name in columns:
            if columns.count(name) > 1:
                raise SourceError(f"{self.name}: there are two columns {name!r}; rename or remove one")
        if len(columns) == 1 and self._delimiter is None:
            for other in ";\t|":
                if other in columns[0]:
                    raise SourceError(
                        f"{self.name}: the columns look separated by {other!r}; add --delimiter {other!r}"
                    )

    def _json_lines(self, text: io.TextIOWrapper) -> Iterator[RawRow]:
        line = 0
        some = False
        while piece := text.readline(_MAX_LINE + 1):
            line += 1
            if len(piece) > _MAX_LINE:
                raise SourceError(f"{self.name}, line {line}: longer than {_MAX_LINE:,} characters; one object a line")
            if not piece.strip():
                continue
            if not some and piece.lstrip()[0] == "[":
                raise SourceError(f"{self.name} is a JSON array; write one object a line (jq -c '.[]' does it)")
            some = True
            try:
                record = json.loads(piece, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                words = getattr(error, "msg", None) or "nested too deeply or no JSON number"
                yield line, BadRow("json", f"not JSON: {words}", piece[:2000].rstrip())
                continue
            if isinstance(record, dict):
                yield line, record
            else:
                yield line, BadRow("json", f"expected a JSON object, got {type(record).__name__}", record)
        if not some:
            raise SourceError(f"{self.name} is empty: one JSON object a line is expected")

    def _undecodable(self) -> SourceError:
        """Say which line is not UTF-8, by reading the bytes again."""
        where = ""
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, EOFError, zlib.error):
            binary = self._binary(stack)
            if binary.peek(2)[:2] == b"\x1f\x8b":
                binary = stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=binary)))
            for number, piece in enumerate(iter(lambda: binary.readline(_MAX_LINE), b""), 1):
                try:
                    piece.decode()
                except UnicodeDecodeError as error:  # noqa: PERF203
                    where = f", line {number}, byte {error.start + 1} (0x{piece[error.start]:02X})"
                    break
        return SourceError(
            f"{self.name}{where}: not UTF-8; save it as UTF-8 (in Excel: 'CSV UTF-8') "
            "or convert it (iconv -f WINDOWS-1252 -t UTF-8)"
        )


def _is_pipe(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _opened_pipe(path: Path) -> IO[bytes]:
    # Opened as usual, a named pipe holds the thread until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(descriptor, True)
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def _pieces(stream: Any, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """Yield what `stream` holds. Raises `Interrupted` once `stopped` says so: a thread that reads from a silent pipe
    could not be interrupted otherwise.
    """
    read = getattr(stream, "read1", stream.read)
    try:
        descriptors = [] if sys.platform == "win32" else [stream.fileno()]
    except (AttributeError, OSError, ValueError):  # no file at all, so nothing to wait for
        descriptors = []
    while True:
        while descriptors and not stopped():
            if select.select(descriptors, [], [], 0.2)[0]:
                break
        if stopped():
            raise Interrupted
        piece = read(1 << 16)
        if piece is not None:  # None: a stream that does not block, and has nothing yet
            if not piece:
                return
            yield piece


class _Items(ContactSource):
    """Mappings (or `ContactFields`) in a sequence that is in memory already."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def open(self) -> Iterator[RawRow]:
        for item in self._items:
            yield None, _record(item)


class _Spool(ContactSource):
    """Mappings of a one-time iterable, copied to a temporary file, one pickle each."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by close()

    def add(self, item: Any) -> None:
        record = _record(item)
        try:
            packed = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever the objects of a row raise: the row fails, not the run
            words = f"a value that cannot be kept for the second reading ({type(error).__name__})"
            packed = pickle.dumps(BadRow("type", words, shown(item)), pickle.HIGHEST_PROTOCOL)
        self._file.write(packed)

    def open(self) -> Iterator[RawRow]:
        self._file.seek(0)
        while True:
            try:
                yield None, pickle.load(self._file)  # noqa: S301 - our own temporary file
            except EOFError:  # noqa: PERF203
                return

    def close(self) -> None:
        self._file.close()


def _record(item: Any) -> Mapping[str, Any] | BadRow:
    if isinstance(item, ContactFields):
        return dict(item.given())
    if isinstance(item, Mapping):
        return dict(item)
    return BadRow("type", f"expected a mapping or ContactFields, got {type(item).__name__}", shown(item))


async def as_source(rows: Any) -> ContactSource:
    """Return `rows` as a source: a path, a source, a data frame, or an (async) iterable of mappings.

    A one-time iterable is read to its end here. Raises `SourceError`.
    """
    if isinstance(rows, ContactSource):
        return rows
    if isinstance(rows, (str, os.PathLike)):
        return read_contacts(rows)
    if hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "to_arrow"):
        from aelyst_async.sync.columnar import ArrowSource

        return ArrowSource(rows)
    lone = isinstance(rows, (bytes, bytearray, Mapping, ContactFields))  # one row is not a table
    if isinstance(rows, Sequence) and not lone:
        return _Items(rows)
    if lone or not isinstance(rows, (Iterable, AsyncIterable)):
        raise SourceError(f"expected a path, a table or an iterable of mappings, got {type(rows).__name__}")
    spool = _Spool()
    try:
        if isinstance(rows, AsyncIterable):
            async for item in rows:
                spool.add(item)
        else:
            for item in rows:
                spool.add(item)
    except BaseException:
        spool.close()
        raise
    return spool


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
