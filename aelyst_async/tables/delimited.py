"""Reads the rows of delimited text. A fault affects only its own row: reading continues at the next line.

A cell in quotes may contain line breaks. So the cell of a quote that is never closed would include the rest of the
file, and one that a later row's quote closes would include the rows between. A wrong quote is recognised by one of
three signs: the csv module refuses the record, the record has more cells than the header, or a line inside it is a
complete row. Then only the first line is a bad row, and the lines after it are read again as separate rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

from aelyst_async.tables.dialect import Dialect, check_header, clean_header, detect, lines_above_header
from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, RawRow

__all__ = ["MAX_LINE", "Table", "read_lines"]

MAX_LINE = 1 << 20
"""Largest number of characters of a line. A file with a longer one is not a table of contacts."""

_HEAD_LINES = 200
_HEAD_SIZE = 1 << 16
_SAMPLE_LINE = 1 << 13
_MAX_BLANK = 2_000_000
"""Largest number of consecutive blank lines. Excel writes up to 1,048,576 of them."""

_MAX_RECORD_LINES = 1_000
_MAX_RECORD_SIZE = 1 << 18
"""Limits of one record in quotes. A note of 65,536 characters fits."""


_ADDRESS = re.compile(r"\s*[^\s@\"]+@[^\s@\"]+\s*")


class _UnclosedError(Exception):
    """A record in quotes is too long, so its quote is wrong."""


def read_lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    """Yield the lines with their ends. Raises `SourceError` for a line that is too long."""
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE + 1), ""), 1):
        if len(line) > MAX_LINE:
            raise SourceError(
                f"{name}, line {number}: longer than {MAX_LINE:,} characters; this is not a table of rows"
            )
        yield line


class Table:
    """The header and the rows of delimited text. ``columns`` and ``dialect`` are set by the constructor.

    `skip`: number of lines above the header. None: there are none, and the error for a title names the number. Raises
    `SourceError`.
    """

    def __init__(
        self, lines: Iterator[str], name: str, *, delimiter: str | None, prefer: str | None, skip: int | None
    ) -> None:
        self._name = name
        self.skipped: int = sum(1 for _ in itertools.islice(lines, skip or 0))
        head: list[str] = []
        size = 0
        for line in itertools.islice(lines, _HEAD_LINES):
            head.append(line)
            size += len(line)
            if size > _HEAD_SIZE:
                break
        self.dialect: Dialect = detect(_sample(head), delimiter, prefer=prefer)
        self._line = self.skipped + 1
        if self.dialect.sep_line:
            self._line += 1
            del head[0]
        self._pending = deque(head)
        self._lines = lines
        self._records = self._read()
        if skip is None:
            self._refuse_title(head)
        cells = self._header()
        self.columns: tuple[str, ...] = clean_header(cells)
        check_header(self.columns, name, told=delimiter is not None)

    def _header(self) -> list[str]:
        for line, cells in self._records:
            if isinstance(cells, BadRow):
                raise SourceError(f"{self._name}, line {line}: not readable as a header: {cells.message}")
            if any(cell.strip() for cell in cells):
                return cells
        raise SourceError(f"{self._name} is empty: the first line must name the columns")

    def _refuse_title(self, head: Sequence[str]) -> None:
        reader = csv.reader(_sample(head), delimiter=self.dialect.delimiter)
        rows: list[list[str]] = []
        ends: list[int] = []
        for row in reader:
            if len(rows) == 50:
                break
            rows.append(row)
            ends.append(reader.line_num)
        above = lines_above_header([row for row in rows if any(row)])
        if not above:
            return
        index = [number for number, row in enumerate(rows) if any(row)][above]
        lines = (ends[index - 1] if index else 0) + self.dialect.sep_line
        title = next(cell for row in rows for cell in row if cell.strip())
        raise SourceError(f"{self._name}: the first line is not the header ({title[:60]!r}); add --skip-lines {lines}")

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows below the header."""
        width = len(self.columns)
        blank = 0
        for line, cells in self._records:
            if isinstance(cells, BadRow):
                yield line, cells
            elif not any(cells):  # a blank row of a spreadsheet consists of commas only
                blank += 1
                if blank > _MAX_BLANK:
                    raise SourceError(f"{self._name}, line {line}: more than {_MAX_BLANK:,} blank lines; remove them")
                continue
            elif len(cells) == width:
                yield line, cells
            elif cells == ["\x1a"]:  # the end-of-file mark of DOS
                continue
            elif len(cells) < width:
                yield line, [*cells, *[""] * (width - len(cells))]
            elif not any(cell.strip() for cell in cells[width:]):
                yield line, cells[:width]
            else:
                yield line, BadRow("cells", self._too_many(cells, width), cells)
            blank = 0

    def _too_many(self, cells: Sequence[str], width: int) -> str:
        delimiter = {"\t": "tab"}.get(self.dialect.delimiter, repr(self.dialect.delimiter))
        stray = next((cell for cell in cells if '"' in cell), None)
        where = f"; look at the quotes in {stray[:40]!r}" if stray is not None else ""
        return (
            f"{len(cells)} cells, more than the {width} columns: {_shown(cells[width:])} would be left over"
            f"{where}; a cell with a {delimiter} in it needs quotes around it"
        )

    def _read(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        taken: list[str] = []
        while True:
            reader = csv.reader(
                self._feed(taken), delimiter=self.dialect.delimiter, skipinitialspace=self.dialect.spaced, strict=True
            )
            try:
                while True:
                    taken.clear()
                    cells = next(reader, None)
                    if cells is None:
                        return
                    if len(taken) > 1 and (words := self._swallowed(cells, taken)):
                        break
                    line = self._line
                    self._line += len(taken)
                    yield line, cells
            except csv.Error as error:
                words = _csv_words(str(error), len(taken))
            except _UnclosedError:
                words = "a quote is opened here and never closed"
            line = self._line
            first = taken[0].rstrip("\r\n") if taken else ""
            self._pending.extendleft(reversed(taken[1:]))
            self._line += 1
            yield line, BadRow("quote", words, first[:2000])

    def _feed(self, taken: list[str]) -> Iterator[str]:
        size = 0
        while True:
            if not taken:
                size = 0
            elif len(taken) >= _MAX_RECORD_LINES or size > _MAX_RECORD_SIZE:
                raise _UnclosedError
            line = self._pending.popleft() if self._pending else next(self._lines, None)
            if line is None:
                return
            taken.append(line)
            size += len(line)
            yield line

    def _swallowed(self, cells: Sequence[str], taken: Sequence[str]) -> str | None:
        """Return why a record of several lines has a wrong quote, or None."""
        columns: tuple[str, ...] | None = getattr(self, "columns", None)
        if columns is None:
            return None
        width = len(columns)
        last = self._line + len(taken) - 1
        words = f"a quote is opened here and closed in line {last} only"
        if len(cells) != width and any(cell.strip() for cell in cells[width:]):
            return f"{words}, which gives {len(cells)} cells instead of {width}"
        # A line inside is a complete row if it has all cells, and an e-mail address where this row has one.
        address = next((index for index, cell in enumerate(cells) if _ADDRESS.fullmatch(cell)), None)
        if address is not None:
            rows = csv.reader(taken[1:-1], delimiter=self.dialect.delimiter, quoting=csv.QUOTE_NONE)
            if any(len(row) == width and _ADDRESS.fullmatch(row[address]) for row in rows):
                return f"{words}, although whole rows stand between"
        return None


def _sample(head: Sequence[str]) -> list[str]:
    """Return the lines from which the dialect is detected: of limited length, without NUL or an unclosed quote."""
    lines = [line[:_SAMPLE_LINE].replace("\0", "") for line in head]
    try:
        for _ in csv.reader(lines):
            pass
    except csv.Error:  # a cell in quotes above the limit of the csv module
        return [line.replace('"', "") for line in lines]
    return lines


def _csv_words(words: str, lines: int) -> str:
    if "unexpected end" in words:
        return "a quote is opened here and never closed"
    if "field larger" in words:
        return f"a cell of more than {csv.field_size_limit():,} characters; is a quote opened here and never closed?"
    if "expected after" in words:
        where = "" if lines == 1 else f" in line {lines} of the cell that begins here"
        return f"a quote is closed in the middle of a cell{where}; a quote inside quotes is written twice"
    if "NUL" in words:  # Python 3.10; later versions read it
        return "the character U+0000 cannot be sent"
    return f"not readable as CSV ({words})"


def _shown(cells: Sequence[str]) -> str:
    return ", ".join(repr(cell[:30]) for cell in cells[:3]) + (", …" if len(cells) > 3 else "")
