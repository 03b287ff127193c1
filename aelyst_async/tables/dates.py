"""The rules for dates and times of day.

ISO dates and typed dates are always accepted. Any other format must be given, because ``03/04/2025`` may be two days:
the error shows both, with the flag for each.
"""

from __future__ import annotations

import re
import shlex
from datetime import date, datetime, time, timedelta
from typing import Any

from aelyst_async.tables.cells import CellError, Changed, Rule, refuse_missing, shown, trimmed
from aelyst_async.tables.errors import MappingError

__all__ = ["check_format", "clock", "date_rule", "day"]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MIDNIGHT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ]00:00(?::00(?:\.0+)?)?", re.ASCII)
_DAY_NUMBER = re.compile(r"[2-7]\d{4}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}.*", re.ASCII)
_SHAPES = tuple(
    (re.compile(pattern + ending, re.ASCII | re.IGNORECASE), [one + more for one in formats])
    for ending, more in (("", ""), (r" 0?0:00", " %H:%M"), (r" 0?0:00:00", " %H:%M:%S"))
    for pattern, formats in (
        (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
        (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
        (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y", "%m.%d.%Y")),
        (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
        (r"\d{1,2}/\d{1,2}/\d{2}", ("%d/%m/%y", "%m/%d/%y")),
        (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y", "%m.%d.%y")),
        (r"\d{1,2}-\d{1,2}-\d{2}", ("%d-%m-%y", "%m-%d-%y")),
        (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
        (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
        (r"\d{8}", ("%Y%m%d",)),
        (r"\d{1,2} [a-z]{3} \d{4}", ("%d %b %Y",)),
        (r"\d{1,2}-[a-z]{3}-\d{4}", ("%d-%b-%Y",)),
        (r"\d{1,2}-[a-z]{3}-\d{2}", ("%d-%b-%y",)),
        (r"[a-z]{3} \d{1,2}, \d{4}", ("%b %d, %Y",)),
        (r"\d{1,2} [a-z]{4,} \d{4}", ("%d %B %Y",)),
        (r"[a-z]{4,} \d{1,2}, \d{4}", ("%B %d, %Y",)),
    )
)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_TIME_SECONDS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d):00(?:\.0+)?", re.ASCII)
_EXCEL_EPOCH = date(1899, 12, 30)


def check_format(date_format: str) -> str:
    """Return a checked date format, such as ``%d/%m/%Y``. Raises `MappingError` unless it determines one day."""
    sample = date(2025, 3, 14)
    try:
        written = sample.strftime(date_format)
        yearly = written != sample.replace(year=2024).strftime(date_format)  # Python 3.13 warns if there is no year
        same = yearly and datetime.strptime(written, date_format).date() == sample  # noqa: DTZ007 - a day
    except (ValueError, TypeError, AttributeError, re.error):
        same = False
    if not same:
        raise MappingError(f"the date format {date_format!r} does not name a day, month and year, as %d/%m/%Y does")
    return date_format


def date_rule(date_format: str | None) -> Rule:
    """Return the rule for dates in `date_format`. ISO dates and typed dates are always accepted."""
    if date_format is None:
        return day
    check_format(date_format)

    def rule(value: Any) -> Any:
        if isinstance(value, str) and not _ISO.fullmatch(text := value.strip()):
            try:
                made = datetime.strptime(text, date_format)  # noqa: DTZ007 - a day has no time zone
            except ValueError:
                if _MIDNIGHT.fullmatch(text):
                    return day(value)
                raise CellError(f"{shown(value)} is not a date in the format {date_format}, nor ISO") from None
            return Changed(day(made), f"date read as {date_format}")
        return day(value)

    return rule


def day(value: Any) -> Any:
    """Return a date as ``yyyy-mm-dd``."""
    if isinstance(value, datetime):
        refuse_missing(value)
        if value.tzinfo is not None:
            raise CellError(f"{shown(value)} has a time zone, so its day depends on the place", "give a date")
        if value.time() != time():
            raise CellError(f"{shown(value)} has a time of day", "give a date")
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if 20_000 <= value <= 80_000:
            that = _EXCEL_EPOCH + timedelta(days=int(value))
            raise CellError(f"{value:g} is a number, Excel's for {that}", "format the column as a date")
        raise CellError(f"{shown(value)} is a number, not a date")
    text = trimmed(value, "a date")
    if _DAY_NUMBER.fullmatch(text):
        return day(int(text))
    midnight = _MIDNIGHT.fullmatch(text)
    written = midnight[1] if midnight else text
    if not _ISO.fullmatch(written):
        raise _other_format(text)
    try:
        date.fromisoformat(written)
    except ValueError:
        raise CellError(f"{shown(value)} is not in the calendar") from None
    if midnight:
        return Changed(written, "the time of day 00:00 dropped")
    return written if written == value else Changed(written, "blanks around it removed")


def _other_format(text: str) -> CellError:
    if _MOMENT.fullmatch(text):
        return CellError(f"{shown(text)} has a time of day", "give a date")
    for shape, formats in _SHAPES:
        if shape.fullmatch(text):
            readings: dict[str, str] = {}
            for one in formats:
                try:
                    readings.setdefault(datetime.strptime(text, one).date().isoformat(), one)  # noqa: DTZ007
                except ValueError:  # noqa: PERF203
                    continue
            if len(readings) > 1:
                both = " or ".join(readings)
                flags = " or ".join(f"--date-format {shlex.quote(one)}" for one in readings.values())
                return CellError(f"{shown(text)} is {both}", f"say which: {flags}")
            if readings:
                [(iso, one)] = readings.items()
                return CellError(
                    f"{shown(text)} is not an ISO date such as {iso}", f"add --date-format {shlex.quote(one)}"
                )
    return CellError(f"{shown(text)} is not a date such as 2026-11-21", "see --date-format")


def clock(value: Any) -> Any:
    """Return a time of day as ``HH:MM``, 24 hours."""
    if isinstance(value, time) and not (value.second or value.microsecond or value.tzinfo):
        return value.strftime("%H:%M")
    written = value.strip() if isinstance(value, str) else ""
    if (seconds := _TIME_SECONDS.fullmatch(written)) is not None:
        return Changed(seconds[1], "the seconds 00 dropped")
    if not _TIME.fullmatch(written):
        raise CellError(f"{shown(value)} is not a time such as 13:00 (24 hours, two digits each)")
    return written if written == value else Changed(written, "blanks around it removed")
