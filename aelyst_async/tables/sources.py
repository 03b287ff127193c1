"""Creates a `ContactSource` from a path, a stream, a data frame or an iterable. All but workbooks are streamed.

A sync reads its source twice: first to count the rows and find keys that occur more than once, then to send. Memory
does not grow with the source. A fault of the file is a `SourceError`, which the first pass raises before anything is
sent. A fault of a row is a `BadRow`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from aelyst_async.contacts import ContactFields
from aelyst_async.tables.delimited import Table, read_lines
from aelyst_async.tables.encoding import Encoding, check_name, detect
from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.jsonlines import read_json_lines
from aelyst_async.tables.model import Found, RawRow
from aelyst_async.tables.opening import Opening, display_name, is_pipe
from aelyst_async.tables.records import Items, Spool
from aelyst_async.tables.source import ContactSource

__all__ = ["ContactSource", "FileSource", "Format", "as_source", "read_contacts"]

Format: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "excel"]

_WORKBOOKS = frozenset({".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"})
_NAMES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet", **dict.fromkeys(_WORKBOOKS, "excel"),
}  # fmt: skip

_JSON = re.compile(rb"[\[{]\s*(?:[\[{\"\]}0-9\r\n]|$)")

_NO_TABLES = (
    (b"PK\x05\x06", "an empty zip archive"),
    (b"%PDF", "a PDF document; export the table as CSV"),
    (b"BEGIN:VCARD", "a vCard file; export the contacts as CSV"),
    (b"<!DOCTYPE", "an HTML page, perhaps that of a login; download the file itself"),
    (b"<HTML", "an HTML page, perhaps that of a login; download the file itself"),
    (b"<TABLE", "an HTML table, which some tools call .xls; open it and save it as CSV or .xlsx"),
    (b"<?XML", "XML; export the table as CSV"),
    (b"{\\RTF", "an RTF document; export the table as CSV"),
    (b"SQLITE FORMAT 3", "an SQLite database; export the table as CSV"),
    (b"\x89PNG", "a picture; export the table as CSV"),
    (b"\xff\xd8\xff", "a picture; export the table as CSV"),
    (b"GIF8", "a picture; export the table as CSV"),
    (b"BZH", "packed with bzip2; unpack it, or pack it with gzip"),
    (b"\xfd7ZXZ", "packed with xz; unpack it, or pack it with gzip"),
    (b"(\xb5/\xfd", "packed with zstd; unpack it, or pack it with gzip"),
    (b"7Z\xbc\xaf", "a 7z archive; unpack it"),
    (b"RAR!", "a RAR archive; unpack it"),
    (b"\x7fELF", "a program"),
)


def read_contacts(
    path: str | os.PathLike[str] | IO[bytes],
    *,
    format: Format | None = None,  # noqa: A002 - the word of pandas and of the command line
    delimiter: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    skip_lines: int | None = None,
) -> ContactSource:
    """Return a file as a source; ``-`` is standard input.

    The formats are CSV, TSV and JSON lines in any encoding, workbooks (.xlsx, .xls, .ods) and Parquet; each also as
    gzip or in a zip archive of one file. An argument that is None is determined from the name and the content, and
    shown in ``source.found``. `skip_lines` is the number of lines above the header. The file is not opened yet: a
    problem of the file is a `SourceError` of the sync, or of the first iteration. A wrong argument raises
    `SourceError` at once.
    """
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
        raise SourceError(f"the delimiter must be one character, not {delimiter!r}")
    if encoding is not None:
        check_name(encoding)
    if skip_lines is not None and (isinstance(skip_lines, bool) or not isinstance(skip_lines, int) or skip_lines < 0):
        raise SourceError(f"skip_lines must be a whole number from 0, not {skip_lines!r}")
    if not isinstance(path, (str, os.PathLike)):
        opening = Opening(display_name(getattr(path, "name", "stream")), None, path)
    elif path == "-":
        opening = Opening("standard input", None)
    else:
        file = Path(path)
        # A named pipe, or the shell's <(…), can be read only once, like standard input.
        opening = (
            Opening(display_name(file.name), None, file) if is_pipe(file) else Opening(display_name(file.name), file)
        )
    if format == "parquet" or (format is None and opening.path and _format_of(opening.name) == "parquet"):
        from aelyst_async.tables.parquet import ParquetSource

        return ParquetSource(opening)
    return FileSource(opening, format, delimiter, encoding, sheet, skip_lines)


def _format_of(name: str) -> str | None:
    lower = name.lower().removesuffix(".gz").removesuffix(".zip")
    return _NAMES.get(Path(lower).suffix)


class FileSource(ContactSource):
    """A table of text, JSON lines or a workbook, in a file or copied from a stream to a temporary one."""

    def __init__(
        self,
        opening: Opening,
        kind: str | None,
        delimiter: str | None,
        encoding: str | None,
        sheet: str | None,
        skip: int | None,
    ) -> None:
        self.name: str = opening.name
        self.path: Path | None = opening.path
        self._opening = opening
        self._kind = kind
        self._delimiter = delimiter
        self._told = encoding
        self._sheet = sheet
        self._skip = skip
        self._encoding: tuple[str | None, Encoding] | None = None

    def fingerprint(self) -> str | None:
        """Return a string that changes when the file changes. Raises `SourceError`."""
        return self._opening.fingerprint()

    def close(self) -> None:
        """Remove the copy of a stream. Idempotent."""
        self._opening.close()

    def cut_short(self) -> str | None:
        """Return a message if the last line of delimited text has no line end, because its last cell may be incomplete.

        Other formats cannot be read if they are incomplete. Some editors write complete files without the last line
        end, so this is checked only where a missing row would do harm.
        """
        if self.found is None or self.found.compression is not None or self.found.format not in {"csv", "tsv"}:
            return None
        with self._opening.packed() as binary:
            binary.seek(0, os.SEEK_END)
            binary.seek(max(binary.tell() - 8, 0))
            tail = binary.read().rstrip(b"\0\x1a")  # the high byte of UTF-16, and the end-of-file character of DOS
        if tail.endswith((b"\n", b"\r")):
            return None
        return f"the last line of {self.name} has no line end, so the file may be cut short (add one if it is whole)"

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        self._opening.stopped = self.stopped
        with self._opening.unpacked() as binary:
            head = binary.peek(512)[:512]
            kind = self._kind_of(head)
            if kind == "excel":
                yield from self._workbook(binary)
                return
        encoding = self._detected(kind)
        with self._opening.unpacked() as binary:
            text = io.TextIOWrapper(binary, encoding=encoding.codec, errors=encoding.errors, newline="")
            try:
                yield from self._text(text, kind, encoding)
            except UnicodeError:
                remedy = "set the encoding with --encoding"
                if encoding.told_by == "flag":
                    remedy = f"leave out --encoding {encoding.name}, or name another encoding"
                raise SourceError(f"{self.name} contains bytes that are not valid {encoding.name}; {remedy}") from None
            finally:
                with contextlib.suppress(ValueError):
                    text.detach()

    def _detected(self, kind: str) -> Encoding:
        """Return the encoding, detected by reading the whole file, or the cached one of an unchanged file."""
        fingerprint = self.fingerprint()
        if self._encoding is None or self._encoding[0] != fingerprint:
            with self._opening.unpacked() as binary:
                self._encoding = (fingerprint, detect(binary, self.name, self._told))
        found = self._encoding[1]
        if kind == "jsonl" and found.told_by == "guess" and not found.codec.startswith("utf"):
            raise SourceError(f"{self.name} is not UTF-8, which JSON has to be; it looks like {found.name}: --encoding")
        return found

    def _kind_of(self, head: bytes) -> str:
        begin = head.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").lstrip()  # also for UTF-16
        workbook = head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))
        if self._kind is None and not workbook:
            words = next((words for magic, words in _NO_TABLES if begin[:16].upper().startswith(magic)), None)
            if words is not None:
                raise SourceError(f"{self.name} is {words}")
        kind = self._kind or _format_of(self._opening.member or self.name)
        if workbook and kind != "excel" and self._kind is None:
            return "excel"
        if head.startswith(b"PAR1") and self._kind is None:
            raise SourceError(f"{self.name} is a Parquet file; add --format parquet")
        if self._kind is None and not workbook and kind != "jsonl":
            return "jsonl" if _JSON.match(begin) else kind if kind == "tsv" else "csv"
        return kind or "csv"

    def _text(self, text: io.TextIOWrapper, kind: str, encoding: Encoding) -> Iterator[RawRow]:
        lines = read_lines(text, self.name)
        table: Table | None = None
        if kind != "jsonl":
            prefer = "\t" if kind == "tsv" else None
            told = self._delimiter or ("\t" if self._kind == "tsv" else None)
            table = Table(lines, self.name, delimiter=told, prefer=prefer, skip=self._skip)
            self.columns: tuple[str, ...] | None = table.columns
        self.found: Found | None = Found(
            name=self.name,
            format=kind,
            compression=self._opening.compression,
            member=self._opening.member,
            encoding=encoding.name,
            encoding_from=encoding.told_by,
            delimiter=None if table is None else table.dialect.delimiter,
            delimiter_from=None if table is None else table.dialect.told_by,
            spaced=table is not None and table.dialect.spaced,
            skipped_lines=0 if table is None else table.skipped,
        )
        yield from read_json_lines(lines, self.name) if table is None else table.rows()

    def _workbook(self, binary: io.BufferedReader) -> Iterator[RawRow]:
        from aelyst_async.tables.workbook import Sheet

        sheet = Sheet(io.BytesIO(binary.read()), self.name, sheet=self._sheet, skip=self._skip)
        self.columns = sheet.columns
        self.found = Found(
            name=self.name,
            format="workbook",
            compression=self._opening.compression,
            member=self._opening.member,
            sheet=sheet.sheet,
            sheets=sheet.sheets,
            skipped_lines=sheet.skipped,
        )
        yield from sheet.rows()


async def as_source(rows: Any) -> ContactSource:
    """Return `rows` as a source: a path, a source, a data frame, or an (async) iterable of mappings.

    A one-time iterable is read to its end here. Raises `SourceError`.
    """
    if isinstance(rows, ContactSource):
        return rows
    if isinstance(rows, (str, os.PathLike)):
        return read_contacts(rows)
    if hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "to_arrow"):
        from aelyst_async.tables.parquet import ArrowSource

        return ArrowSource(rows)
    lone = isinstance(rows, (bytes, bytearray, Mapping, ContactFields))  # a single row, not a table
    if isinstance(rows, Sequence) and not lone:
        return Items(rows)
    if lone or not isinstance(rows, (Iterable, AsyncIterable)):
        raise SourceError(f"expected a path, a table or an iterable of mappings, got {type(rows).__name__}")
    spool = Spool()
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
