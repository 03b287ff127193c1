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

from aelyst_async.waits import parse_wait, retry_after

__all__ = ["NOTHING", "QuotaHeaders", "read"]

_MOST = 999_999_999
"""Requests; a larger count is no quota. Source: nine digits, which `int` and `float` both hold exactly."""

_COMMON = (
    "Age", "X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After-Ms", "Retry-After", "X-RateLimit-Reset-After",
    "X-RateLimit-Reset", "X-RateLimit-Window", "RateLimit-Policy",
)  # fmt: skip
"""The names that are looked up in every response."""


class QuotaHeaders(NamedTuple):
    """What one response says. None: it does not say. A named tuple, because one is made for every response."""

    limit: int | None = None
    """Requests per window, above 0."""
    remaining: int | None = None
    """Requests left, from 0 to `limit`."""
    retry_after: float | None = None
    """Seconds to wait before the next request."""
    reset: float | None = None
    """Seconds until the quota is whole again."""
    window: float | None = None
    """The window's length in seconds, above 0."""


NOTHING = QuotaHeaders()


def read(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> QuotaHeaders:
    """Read the headers of one response. `clock` returns our Unix time; it is called only for a date or a reset.

    Called for every response: most have two plain counts, or nothing at all.
    """
    get: Callable[[str], str | None] = headers.get
    names = _CASELESS.get(type(headers))
    if names is None:
        get, names = _caseless(headers)
    age, limit_name, remaining_name, retry_ms, retry_name, reset_after, reset_name, window_name, policy_name = names
    value = get(age)
    if value is not None and (parse_wait(value, now=0.0) or 0.0) > 0:
        return NOTHING
    limit = _count(get(limit_name), 1)
    remaining = _count(get(remaining_name), 0)
    reset: float | None = None
    window: float | None = None
    policies = get(policy_name)
    if limit is None and remaining is None:
        state = get("RateLimit")
        if state is not None:
            limit, remaining, reset, window = _ietf(state, policies)
        if limit is None and remaining is None:
            limit, remaining = _count(get("RateLimit-Limit"), 1), _count(get("RateLimit-Remaining"), 0)
            value = get("RateLimit-Reset")
            if value is not None:
                reset = parse_wait(value, now=clock(), date=get("Date"))
    if window is None:
        value = get(window_name)
        if value is not None:
            window = parse_wait(value, now=0.0) or None
        elif policies is not None and limit is not None:
            window = _window_of(policies, limit)
    if limit is not None and remaining is not None and remaining > limit:
        remaining = limit
    retry = None if get(retry_ms) is None and get(retry_name) is None else retry_after(get, now=clock())
    if reset is None:
        value = get(reset_after)
        if value is None:
            value = get(reset_name)
        if value is not None:
            reset = parse_wait(value, now=clock(), date=get("Date"))
    # A named tuple's own constructor is written in Python and takes twice as long.
    return tuple.__new__(QuotaHeaders, (limit, remaining, retry, reset, window))


_CASELESS: dict[type, tuple[str, ...]] = {}
"""For each type whose `get` ignores case (aiohttp's headers, which are not imported for this): the common names in the
form that it finds fastest.
"""


def _caseless(headers: Mapping[str, str]) -> tuple[Callable[[str], str | None], tuple[str, ...]]:
    """Return a `get` that ignores case, and the common names. Any other mapping is folded first."""
    kind = type(headers)
    if kind.__name__ in {"CIMultiDictProxy", "CIMultiDict"} and kind.__module__.partition(".")[0] == "multidict":
        from multidict import istr  # keeps its folded form, or each look-up folds anew

        names = _CASELESS[kind] = tuple(map(istr, _COMMON))
        return headers.get, names
    folded: dict[str, str] = {}
    for name, value in headers.items():
        if isinstance(value, str):
            folded.setdefault(name.lower(), value)  # of a header sent twice the first counts
    return lambda name: folded.get(name.lower()), _COMMON


def _count(value: str | None, least: int) -> int | None:
    """Return the count at the start of `value` (``10``, ``10.0``, ``100;w=60``), or None."""
    if value is None:
        return None
    if len(value) < 10 and value.isascii() and value.isdigit():
        return int(value) if int(value) >= least else None
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


def _window_of(policies: str, limit: int) -> float | None:
    """Return the window of the policy that has this limit."""
    return next((own.get("w") or None for _, own in _items(policies) if own.get("q", limit) == limit), None)


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
