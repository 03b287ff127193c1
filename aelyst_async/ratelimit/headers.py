"""What a server says about its quota, read from the headers of one response. Pure.

=======================================================  ===========================================================
``X-RateLimit-Limit``, ``X-RateLimit-Remaining``         the vendors' pair (seed pages): counts, no window, no reset
``RateLimit``, ``RateLimit-Policy``                      IETF draft: ``"name";r=50;t=30`` and ``"name";q=100;w=60``;
                                                         the policy's window also completes the vendors' pair
``RateLimit-Limit``, ``-Remaining``, ``-Reset``          its older form
``X-RateLimit-Window``                                   the window's length in seconds
``X-RateLimit-Reset-After``, ``X-RateLimit-Reset``       when the quota is whole again: see `aelyst_async.waits`
``Retry-After-Ms``, ``Retry-After``                      when to try again: see `aelyst_async.waits`
=======================================================  ===========================================================

A value that cannot be read counts as absent: a limiter that raises on a bad header would turn a good response into a
failed call. A response from a cache (``Age`` above 0) describes an old state and is not read. All values are read in
linear time, since a server may send anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, istr

from aelyst_async.waits import parse_wait, retry_after

__all__ = ["NOTHING", "QuotaHeaders", "read"]

_MOST = 999_999_999  # requests; a larger count is no quota: nine digits, which `int` and `float` both hold exactly


class QuotaHeaders(NamedTuple):
    """What one response says. None: it does not say. A named tuple, because one is made for every response."""

    limit: int | None = None  # requests per window, above 0
    remaining: int | None = None  # requests left, from 0 to `limit`
    retry_after: float | None = None  # seconds to wait before the next request
    reset: float | None = None  # seconds until the quota is whole again
    window: float | None = None  # the window's length in seconds, above 0


NOTHING = QuotaHeaders()

# Looked up in every response; `istr`, since multidict need not lower its case again.
_NAMES = tuple(map(istr, (
    "Age", "X-RateLimit-Limit", "X-RateLimit-Remaining", "RateLimit-Policy", "X-RateLimit-Window",
    "X-RateLimit-Reset-After", "X-RateLimit-Reset", "Retry-After-Ms", "Retry-After",
)))  # fmt: skip


def read(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> QuotaHeaders:
    """Read the headers of one response. `clock` returns our Unix time; it is called only for a date or a reset.

    Raises `AttributeError` or `TypeError` for headers that do not map `str` to `str`.
    """
    if not isinstance(headers, (CIMultiDictProxy, CIMultiDict)):  # aiohttp's, which ignore case by themselves
        headers = CIMultiDict(headers.items())
    get: Callable[[str], str | None] = headers.get
    age, limit_text, remaining_text, policies, length, reset_after, until, retry_ms, retry = map(get, _NAMES)
    if age is not None and (parse_wait(age, now=0.0) or 0.0) > 0:
        return NOTHING
    limit, remaining, reset, window = _count(limit_text, 1), _count(remaining_text, 0), None, None
    until = reset_after or until
    if limit is None and remaining is None:
        state = get("RateLimit")
        if state is not None:
            limit, remaining, reset, window = _ietf(state, policies)
        if limit is None and remaining is None:
            limit, remaining = _count(get("RateLimit-Limit"), 1), _count(get("RateLimit-Remaining"), 0)
            until = get("RateLimit-Reset") or until
    if window is None and length is not None:
        window = parse_wait(length, now=0.0) or None
    elif window is None and policies is not None and limit is not None:
        window = next((own.get("w") or None for _, own in _items(policies) if own.get("q", limit) == limit), None)
    if limit is not None and remaining is not None and remaining > limit:
        remaining = limit
    wait = None if retry is None and retry_ms is None else retry_after(get, now=clock())
    if reset is None and until:
        reset = parse_wait(until, now=clock(), date=get("Date"))
    return QuotaHeaders(limit, remaining, wait, reset, window)


def _count(value: str | None, least: int) -> int | None:
    """Return the count at the start of `value` (``10``, ``10.0``, ``100;w=60``), or None."""
    if value is None:
        return None
    if len(value) < 10 and value.isascii() and value.isdigit():  # nearly always
        number = int(value)
        return number if number >= least else None
    return _whole(parse_wait(value.strip(), now=0.0), least)


def _ietf(state: str, policies: str | None) -> tuple[int | None, int | None, float | None, float | None]:
    """Return limit, remaining, reset and window of the policy that has least left."""
    items = _items(state)
    told = [one for one in items if "r" in one[1]]
    if not told:
        # The draft's middle form: ``RateLimit: limit=100, remaining=50, reset=5``.
        whole = {key: number for _, parameters in items for key, number in parameters.items()}
        return _whole(whole.get("limit")), _whole(whole.get("remaining"), 0), whole.get("reset"), None
    name, own = min(told, key=lambda one: one[1]["r"])
    policy = next((parameters for other, parameters in _items(policies or "") if other == name), {})
    return _whole(policy.get("q")), _whole(own["r"], 0), own.get("t"), policy.get("w") or None


def _whole(number: float | None, least: int = 1) -> int | None:
    return None if number is None or not least <= number <= _MOST else int(number)


def _items(value: str) -> list[tuple[str, dict[str, float]]]:
    """Return the items of a list header: each one's name and its numeric parameters."""
    items = []
    for item in value.split(","):
        name = item.partition(";")[0]
        parameters: dict[str, float] = {}
        for key, _, text in (parameter.partition("=") for parameter in item.split(";")):
            number = parse_wait(text.strip().strip('"'), now=0.0)
            if number is not None:
                parameters.setdefault(key.strip().lower(), number)
        items.append((name.strip().strip('"'), parameters))
    return items
