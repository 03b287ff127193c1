"""Parser for the headers in which a server asks clients to wait.

=====================  ==========================================================================================
``5``, ``1.5``         seconds from now (RFC 9110, 10.2.3, and the decimals that some servers send)
``1764211200``         a Unix time; recognised by its size: 10⁹ (the year 2001) and above
``1764211200000``      the same in milliseconds: 10¹¹ and above
an HTTP date           the three forms of RFC 9110, 5.6.7; also with a numeric time zone
``2026-11-27T02:40Z``  ISO 8601, which some servers send in `X-RateLimit-Reset`; UTC if it has no zone
=====================  ==========================================================================================

A point in time is compared with the response's own ``Date`` header if it has one: both come from the server's clock,
and the local clock may be wrong. A time in the past and a negative number are 0. A number too large for any of these
units is `LONGEST_WAIT`. The first number of a list (``120, 60``), or of a number with parameters (``10;w=60``), is
used.

For any other value (words, an empty value, NaN, infinity, exponents, digits that are not ASCII) the result is None, as
if the header were absent. Parsing takes linear time, and a value longer than any date is not matched against a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["LONGEST_WAIT", "parse_wait", "retry_after"]

LONGEST_WAIT = 1e9
"""Largest result, in seconds (31 years), so that sums with an event loop's clock stay exact and finite."""

_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e11
_BEYOND_UNITS = 1e14
"""From this number on (the year 5138 in milliseconds) a number is not a time in any unit."""

_LONGEST_NUMBER = 32
_LONGEST_DATE = 48
"""Largest length of a date in characters. The longest one in use has 39
(``Wednesday, 21-September-2015 07:28:00 +0000``).
"""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_ZONE = r"(?: ?(?:GMT|UTC?|Z|(?P<zone>[+-][0-9]{4})))?"
_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_HTTP_DATE = re.compile(
    rf"(?:[A-Za-z]{{3,9}}, *)?(?P<day>[0-9]{{1,2}})[ -](?P<month>[A-Za-z]{{3,9}})[ -](?P<year>[0-9]{{4}}|[0-9]{{2}}) "
    rf"{_CLOCK}{_ZONE}",
    re.ASCII | re.IGNORECASE,
)
_ASCTIME = re.compile(
    rf"[A-Za-z]{{3,9}} (?P<month>[A-Za-z]{{3,9}}) +(?P<day>[0-9]{{1,2}}) {_CLOCK} (?P<year>[0-9]{{4}}){_ZONE}",
    re.ASCII | re.IGNORECASE,
)
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.*", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_wait(value: str, *, now: float, date: str | None = None) -> float | None:
    """Return the seconds to wait from now (0 to `LONGEST_WAIT`), or None if `value` has no valid form.

    `now` is the local wall clock in Unix seconds, `date` the response's own ``Date`` header. `now` is used only for a
    point in time, and only if `date` is absent or invalid.
    """
    if len(value) < 9 and value.isdigit() and value.isascii():  # the usual case
        return float(value)
    at: float | None = None
    number = _number(value)
    if number is None:
        at = _moment(value, now)
    elif number < _EPOCH_SECONDS:
        return max(number, 0.0)
    elif number < _BEYOND_UNITS:
        at = number if number < _EPOCH_MILLISECONDS else number / 1000.0
    else:
        return LONGEST_WAIT
    if at is None:
        return None
    base = None if date is None else _moment(date, now)
    return min(max(at - (now if base is None else base), 0.0), LONGEST_WAIT)


def retry_after(get: Callable[[str], str | None], *, now: float) -> float | None:
    """Return the wait that a response's ``Retry-After-Ms`` or ``Retry-After`` asks for, or None.

    `get` looks up a header and ignores case, as the `get` of aiohttp's headers does. If both are sent,
    ``Retry-After-Ms`` is used, because it is more precise.
    """
    value = get("Retry-After-Ms")
    if value is not None and (number := _number(value)) is not None:
        return min(max(number / 1000.0, 0.0), LONGEST_WAIT)
    value = get("Retry-After")
    return None if value is None else parse_wait(value, now=now, date=get("Date"))


def _number(value: str) -> float | None:
    """Return the number at the beginning of `value`, or None."""
    for separator in ",;":
        value = value.partition(separator)[0]
    value = value.strip(" \t\r\n")
    if len(value) > _LONGEST_NUMBER:
        # The exact value does not matter here, only its order of magnitude.
        return _BEYOND_UNITS if value.isdigit() and value.isascii() and value.strip("0") else None
    return float(value) if _NUMBER.fullmatch(value) else None


def _moment(value: str, now: float) -> float | None:
    """Return the Unix time of an HTTP or ISO 8601 date, or None."""
    value = value.strip(" \t\r\n")
    if len(value) > _LONGEST_DATE:
        return None
    from datetime import datetime, timedelta, timezone

    try:
        if _ISO.fullmatch(value):
            at = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1] in "zZ" else value)
            return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
        match = _HTTP_DATE.fullmatch(value) or _ASCTIME.fullmatch(value)
        if match is None:
            return None
        day, hour, minute, second = map(int, match.group("day", "hour", "minute", "second"))
        if hour > 23 or minute > 59 or second > 60:  # 60: a leap second
            return None
        year = int(match["year"])
        if len(match["year"]) == 2:
            # RFC 9110, 5.6.7: a two-digit year that seems to be more than 50 years ahead is in the past.
            this_year = datetime.fromtimestamp(now, timezone.utc).year
            year += this_year - this_year % 100
            year -= 100 if year > this_year + 50 else 0
        midnight = datetime(year, _MONTHS.index(match["month"][:3].lower()) + 1, day, tzinfo=timezone.utc)
        zone = match["zone"]
        offset = 0 if zone is None else int(zone[0] + "1") * (int(zone[1:3]) * 3600 + int(zone[3:]) * 60)
        return (midnight + timedelta(hours=hour, minutes=minute, seconds=second - offset)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
