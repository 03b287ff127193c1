"""What a server says about its quota, read from the headers of one answer. Pure, and silent about nonsense.

=======================================================  ===========================================================
``X-RateLimit-Limit``, ``X-RateLimit-Remaining``         the vendors' pair (seed pages): counts, no window, no reset
``Retry-After``                                          seconds or an HTTP date (RFC 9110, 10.2.3); a decimal too
``Retry-After-Ms``                                       milliseconds, finer than Retry-After where both are sent
``RateLimit``, ``RateLimit-Policy``                      the IETF draft: ``"name";r=50;t=30`` and ``"name";q=100;w=60``
``RateLimit-Limit``, ``-Remaining``, ``-Reset``          its older form
``X-RateLimit-Reset``, ``X-RateLimit-Reset-After``       seconds from now, or a Unix time (in seconds or milliseconds)
=======================================================  ===========================================================

Whatever cannot be read is treated as absent: a limiter that raises on a bad header would turn a good answer into a
failed call. A date is compared with the answer's own ``Date``, where it has one: the two come from the same clock,
and ours may be wrong. An answer from a cache (``Age`` above 0) tells of a quota long gone and is not read.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["NOTHING", "QuotaHeaders", "parse_retry_after", "read"]

_NUMBER = re.compile(r"[ \t]*([+-]?[0-9]{1,18}(?:\.[0-9]{0,9})?)[0-9]*[ \t]*(?:[;,].*)?", re.DOTALL)
_DIGITS_ONLY = re.compile(r"[ \t]*[0-9]+[ \t]*")
_PARAMETER = re.compile(r"([a-z]+)[ \t]*=[ \t]*\"?([0-9]{1,18}(?:\.[0-9]{0,9})?)")
_NAME = re.compile(r"[ \t]*(?:\"([^\"]*)\"|([A-Za-z*][\w.*-]*))")

LONGEST = 1e9
"""Seconds (31 years). No wait is longer, so that sums of times stay exact enough and finite."""

_EPOCH = 1e8
"""A reset above this many seconds is a date: nobody's window lasts three years."""

_COMMON = (
    "Age", "X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After-Ms", "Retry-After", "X-RateLimit-Reset-After",
    "X-RateLimit-Reset",
)  # fmt: skip
"""What every answer is asked for."""

_WANTED = frozenset(
    {
        "age", "date", "ratelimit", "ratelimit-limit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset",
        "retry-after", "retry-after-ms", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
        "x-ratelimit-reset-after",
    }
)  # fmt: skip


class QuotaHeaders(NamedTuple):
    """What one answer says. None: it does not say. A named tuple, because one is made for every answer."""

    limit: int | None = None
    """Requests per window, above 0."""
    remaining: int | None = None
    """Requests left, from 0 to `limit`."""
    retry_after: float | None = None
    """Seconds until the server wants to hear from us again."""
    reset: float | None = None
    """Seconds until the window ends."""
    window: float | None = None
    """The window's length in seconds."""


NOTHING = QuotaHeaders()


def parse_retry_after(value: str, now_wall: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for (never negative), or None if it cannot be read.

    `now_wall` is the Unix time that a date is compared with.
    """
    number = _number(value)
    if number is not None:
        return min(max(number, 0.0), LONGEST)
    at = _date(value)
    return None if at is None else min(max(at - now_wall, 0.0), LONGEST)


def read(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> QuotaHeaders:
    """Read the headers of one answer. `clock`: our Unix time, asked only for a date where the answer has no ``Date``.

    Called for every answer: most have two plain counts, or nothing at all.
    """
    get: Callable[[str], str | None] = headers.get
    names = _CASELESS.get(type(headers))
    if names is None:
        get, names = _caseless(headers)
    age, limit_name, remaining_name, retry_ms, retry_after, reset_after, reset_name = names
    text = get(age)
    if text is not None and (_number(text) or 0.0) > 0:
        return NOTHING
    limit: int | None = None
    remaining: int | None = None
    text = get(limit_name)
    if text is not None:
        # Up to nine digits are below LONGEST.
        limit = (int(text) or None) if len(text) < 10 and text.isascii() and text.isdigit() else _count(text)
    text = get(remaining_name)
    if text is not None:
        plain = len(text) < 10 and text.isascii() and text.isdigit()
        remaining = int(text) if plain else _count(text, least=0)
    reset: float | None = None
    window: float | None = None
    if limit is None and remaining is None:
        text = get("RateLimit")
        if text is not None:
            limit, remaining, reset, window = _ietf(text, get("RateLimit-Policy"))
        if limit is None and remaining is None:
            limit = _count(get("RateLimit-Limit"))
            remaining = _count(get("RateLimit-Remaining"), least=0)
            reset = _seconds(get("RateLimit-Reset"))
    if limit is not None and remaining is not None and remaining > limit:
        remaining = limit
    retry: float | None = None
    text = get(retry_ms)
    if text is not None and (number := _number(text)) is not None:
        retry = min(max(number / 1000.0, 0.0), LONGEST)
    if retry is None:
        text = get(retry_after)
        if text is not None:
            retry = _wait(text, get, clock)
    if reset is None:
        text = get(reset_after)
        if text is not None:
            reset = _seconds(text)
        if reset is None:
            text = get(reset_name)
            if text is not None:
                reset = _reset(text, _now(get, clock))
    # A named tuple's own constructor is written in Python and takes twice as long.
    return tuple.__new__(QuotaHeaders, (limit, remaining, retry, reset, window))


_CASELESS: dict[type, tuple[str, ...]] = {}
"""The types met so far whose `get` ignores case (aiohttp's headers, which are not imported for this), and the common
names as they find them soonest.
"""


def _caseless(headers: Mapping[str, str]) -> tuple[Callable[[str], str | None], tuple[str, ...]]:
    """Return a `get` that ignores case, and the common names. A plain dict is folded first."""
    kind = type(headers)
    if kind.__name__ in {"CIMultiDictProxy", "CIMultiDict"} and kind.__module__.partition(".")[0] == "multidict":
        from multidict import istr  # keeps its folded form, or each look-up folds anew

        names = _CASELESS[kind] = tuple(map(istr, _COMMON))
        return headers.get, names
    return _fold(headers).get, _COMMON


def _now(get: Callable[[str], str | None], clock: Callable[[], float]) -> float:
    """Return the answer's own time, or ours."""
    text = get("Date")
    at = None if text is None else _date(text)
    return clock() if at is None else at


def _wait(text: str, get: Callable[[str], str | None], clock: Callable[[], float]) -> float | None:
    number = _number(text)
    return parse_retry_after(text, _now(get, clock)) if number is None else min(max(number, 0.0), LONGEST)


class _Folded(dict[str, str]):
    """Header names without regard to case; of one sent twice the first counts."""

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(key.lower(), default)


def _fold(headers: Mapping[str, str]) -> _Folded:
    folded = _Folded()
    for name, value in headers.items():
        low = name.lower()
        if low in _WANTED and isinstance(value, str):
            folded.setdefault(low, value)
    return folded


def _number(text: str | None) -> float | None:
    """Return the number at the start of `text` (``10``, ``1.5``, ``100;w=60``), or None."""
    if text is None:
        return None
    # A plain count of up to 18 digits is what nearly every answer has.
    if len(text) < 18 and text.isdigit() and text.isascii():
        return float(text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    # More than 18 digits: the number is beyond every use, its size is what counts.
    return LONGEST**2 if _DIGITS_ONLY.fullmatch(text) and len(text.strip()) > 18 else float(match[1])


def _count(text: str | None, *, least: int = 1) -> int | None:
    number = _number(text)
    if number is None or not math.isfinite(number) or number > LONGEST:
        return None
    if number < least:
        return 0 if least == 0 else None
    return int(number)


def _seconds(text: str | None) -> float | None:
    number = _number(text)
    return None if number is None or number < 0 else min(number, LONGEST)


def _reset(text: str, now_wall: float) -> float | None:
    number = _number(text)
    if number is None or number < 0:
        at = _date(text)
        return None if at is None else min(max(at - now_wall, 0.0), LONGEST)
    if number > _EPOCH * 1000:
        number /= 1000.0
    return max(number - now_wall, 0.0) if number > _EPOCH else number


def _date(text: str) -> float | None:
    """Return the Unix time of an HTTP date, or None."""
    from datetime import datetime, timezone
    from email.utils import parsedate_tz

    try:
        parts = parsedate_tz(text)
        # HTTP dates are GMT, also where they do not say so.
        at = None if parts is None else datetime(*parts[:6], tzinfo=timezone.utc).timestamp() - (parts[9] or 0)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return at


def _ietf(state: str, policies: str | None) -> tuple[int | None, int | None, float | None, float | None]:
    """Return limit, remaining, reset and window of the policy that has least left."""
    quotas: dict[str, dict[str, float]] = {}
    for item in (policies or "").split(","):
        name = _NAME.match(item)
        if name:
            quotas[name[1] or name[2] or ""] = _parameters(item)
    found: tuple[int | None, int | None, float | None, float | None] = (None, None, None, None)
    least = math.inf
    for item in state.split(","):
        own = _parameters(item)
        if "r" not in own or own["r"] >= least:
            continue
        name = _NAME.match(item)
        policy = quotas.get((name[1] or name[2] or "") if name else "", {})
        quota = policy.get("q", 0.0)
        least = own["r"]
        found = (
            int(min(quota, LONGEST)) if quota >= 1 else None,
            int(min(least, LONGEST)),
            min(own["t"], LONGEST) if "t" in own else None,
            min(policy["w"], LONGEST) if policy.get("w", 0.0) > 0 else None,
        )
    if math.isinf(least):
        # The draft's middle form: ``RateLimit: limit=100, remaining=50, reset=5``.
        whole = _parameters(state)
        if "remaining" in whole:
            limit, left = whole.get("limit", 0.0), whole["remaining"]
            return (
                int(min(limit, LONGEST)) if limit >= 1 else None,
                int(min(left, LONGEST)),
                min(whole["reset"], LONGEST) if "reset" in whole else None,
                None,
            )
    return found


def _parameters(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in _PARAMETER.findall(text.lower())}
