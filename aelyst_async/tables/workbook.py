"""Reads one sheet of a workbook (.xlsx, .xlsb, .xls, .ods) with python-calamine. Needs the extra ``excel``.

Cells keep their types: dates, times, booleans, numbers. A whole number becomes an `int`. The rules for cells report a
number in place of text, because Excel removes leading zeros and plus signs. The sheet is in memory while it is read,
because a workbook cannot be streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from aelyst_async.tables.dialect import check_header, clean_header, lines_above_header
from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, RawRow

__all__ = ["Sheet"]

_HEAD = 50
"""Rows in which the header is looked for."""


class Sheet:
    """The header and the rows of one sheet: the given one, else the only visible one that has cells.

    Raises `SourceError`.
    """

    def __init__(self, file: IO[bytes], name: str, *, sheet: str | None, skip: int | None) -> None:
        try:
            import python_calamine
        except ImportError:
            raise SourceError(
                f"{name} is a workbook: pip install 'aelyst-async[excel]', or export the sheet as CSV"
            ) from None
        try:
            workbook = python_calamine.CalamineWorkbook.from_filelike(file)
            self.sheets: tuple[str, ...] = tuple(workbook.sheet_names)
            self.sheet: str = self._chosen(workbook, sheet, name, python_calamine.SheetVisibleEnum.Visible)
            rows = [row for row in _rows(workbook.get_sheet_by_name(self.sheet)) if row[0] >= (skip or 0)]
        except python_calamine.PasswordError:
            raise SourceError(f"{name} is a workbook with a password; save it without one") from None
        except python_calamine.CalamineError as error:
            words = (str(error).splitlines() or [type(error).__name__])[0]
            raise SourceError(f"{name}: not readable as a workbook ({words})") from None
        except BaseException as error:
            # calamine panics on some damaged sheets; that exception derives from BaseException and cannot be imported.
            if type(error).__module__ != "pyo3_runtime":
                raise
            raise SourceError(f"{name}: not readable as a workbook (damaged); open it and save it again") from None
        self.skipped: int = skip or 0
        if not rows:
            raise SourceError(f"{name}, sheet {self.sheet!r} is empty: its first row must name the columns")
        first, header = rows[0]
        if skip is None:
            head: list[list[str]] = [[] for _ in range(_HEAD)]
            for number, cells in rows[:_HEAD]:
                if number - first < _HEAD:
                    head[number - first] = [str(value) for value in cells]
            above = lines_above_header(head)
            if above:
                title = next(value for value in head[0] if value.strip())
                raise SourceError(
                    f"{name}: the first row is not the header ({title[:60]!r}); add --skip-lines {first + above}"
                )
        self.columns: tuple[str, ...] = clean_header([str(value) for value in header])
        check_header(self.columns, name)
        self._rows = rows[1:]

    @staticmethod
    def _chosen(workbook: Any, sheet: str | None, name: str, visible: Any) -> str:
        names = list(workbook.sheet_names)
        listed = ", ".join(map(repr, names[:20])) or "none"
        if sheet is not None:
            if sheet not in names:
                raise SourceError(f"{name} has no sheet {sheet!r}; there are {listed}")
            return sheet
        shown = [one.name for one in workbook.sheets_metadata if one.visible == visible]
        if len(shown) == 1:
            return str(shown[0])
        filled = [one for one in shown if workbook.get_sheet_by_name(one).height] or shown or names
        if len(filled) != 1:
            choices = " or ".join(f"--sheet {one!r}" for one in filled[:5])
            raise SourceError(f"{name} has several sheets; choose one: {choices}" if filled else f"{name} has no sheet")
        return str(filled[0])

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows below the header. Their line number is that of the row in the sheet."""
        width = len(self.columns)
        for number, cells in self._rows:
            more = next((value for value in cells[width:] if value != ""), None)
            if more is not None:
                yield (
                    number + 1,
                    BadRow("cells", f"{str(more)[:40]!r} stands beyond the last column that has a name", cells),
                )
            else:
                yield number + 1, cells[:width] + [""] * (width - len(cells))


def _rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows that have a value, with their number from 0, from the first column that has one.

    A sheet with a format in its last row has a million blank rows.
    """
    if sheet.start is None:
        return  # `iter_rows` panics
    for number, cells in enumerate(sheet.iter_rows()):
        if any(value != "" for value in cells):
            yield number, [_cell(value) for value in cells]


def _cell(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
