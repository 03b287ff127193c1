"""The rules by which a server counts requests. Pure; the time is an argument.

The vendors' pages show the headers but not the rule, so each plausible rule is here:

- **fixed**: windows of W seconds end at multiples of W, and each starts with the whole limit;
- **sliding**: any span of W seconds has at most the limit, and a permit returns W seconds after its use;
- **token**: a bucket of the limit's size is refilled at a constant rate, the whole limit in W seconds.

``refused_count`` says whether refused requests count as well. If they do, a client that does not stop sending to a
sliding window or a token bucket stays refused.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import Literal, Protocol

import attrs

__all__ = ["Counter", "Quota", "Verdict", "WindowKind", "counter_for", "parse_quota"]

WindowKind = Literal["fixed", "sliding", "token"]

_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUOTA = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]+(?:\.[0-9]+)?)?\s*(ms|s|sec|m|min|h|d)\s*")


@attrs.frozen
class Quota:
    """`limit` requests in `window` seconds."""

    limit: int
    window: float

    def __str__(self) -> str:
        return f"{self.limit}/{self.window:g}s" if self.window != 1 else f"{self.limit}/s"


def parse_quota(text: str) -> Quota | None:
    """Read ``10/s``, ``600/min``, ``5/2s`` (5 in any 2 seconds); ``none`` is no quota.

    Raises `ValueError` with the accepted forms.
    """
    if text.strip().lower() in {"none", "off", "unlimited"}:
        return None
    match = _QUOTA.fullmatch(text)
    if match:
        limit, window = int(match[1]), float(match[2] or 1) * _UNITS[match[3]]
        if limit > 0 and window > 0:
            return Quota(limit, window)
    raise ValueError(f"{text!r} is not a quota; write 10/s, 600/min, 5/2s or none")


@attrs.frozen
class Verdict:
    """The result for one request. ``retry_after``: seconds until the next one can be permitted (0 if `allowed`)."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: float


class Counter(Protocol):
    """The state of one quota."""

    def take(self, now: float) -> Verdict:
        """Count a request at `now`."""
        ...

    def peek(self, now: float) -> Verdict:
        """Return the result for a request at `now` without counting it; ``remaining`` does not include it."""
        ...

    def idle(self, now: float) -> bool:
        """Whether this counter is equal to a new one."""
        ...


class _Fixed:
    __slots__ = ("_quota", "_used", "_window")

    def __init__(self, quota: Quota, refused_count: bool) -> None:  # noqa: ARG002 - no effect on fixed windows
        self._quota = quota
        self._window = -1
        self._used = 0

    def _roll(self, now: float) -> None:
        window = math.floor(now / self._quota.window)
        if window != self._window:
            self._window, self._used = window, 0

    def take(self, now: float) -> Verdict:
        verdict = self.peek(now)
        if verdict.allowed:
            self._used += 1
            return Verdict(True, verdict.limit, verdict.remaining - 1, 0.0)
        return verdict

    def peek(self, now: float) -> Verdict:
        self._roll(now)
        left = self._quota.limit - self._used
        wait = 0.0 if left else (self._window + 1) * self._quota.window - now
        return Verdict(left > 0, self._quota.limit, left, wait)

    def idle(self, now: float) -> bool:
        self._roll(now)
        return self._used == 0


class _Sliding:
    __slots__ = ("_quota", "_refused_count", "_times")

    def __init__(self, quota: Quota, refused_count: bool) -> None:
        self._quota = quota
        self._refused_count = refused_count
        self._times: deque[float] = deque(maxlen=quota.limit)

    def _expire(self, now: float) -> None:
        horizon = now - self._quota.window
        while self._times and self._times[0] <= horizon:
            self._times.popleft()

    def take(self, now: float) -> Verdict:
        verdict = self.peek(now)
        if verdict.allowed:
            self._times.append(now)
            return Verdict(True, verdict.limit, verdict.remaining - 1, 0.0)
        if self._refused_count:
            # The log is full, so the oldest entry is dropped and the wait starts again from the refusals.
            self._times.append(now)
            return self.peek(now)
        return verdict

    def peek(self, now: float) -> Verdict:
        self._expire(now)
        left = self._quota.limit - len(self._times)
        wait = 0.0 if left else self._times[0] + self._quota.window - now
        return Verdict(left > 0, self._quota.limit, left, wait)

    def idle(self, now: float) -> bool:
        self._expire(now)
        return not self._times


class _Token:
    __slots__ = ("_at", "_quota", "_refused_count", "_tokens")

    def __init__(self, quota: Quota, refused_count: bool) -> None:
        self._quota = quota
        self._refused_count = refused_count
        self._tokens = float(quota.limit)
        self._at: float | None = None

    def _refill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            rate = self._quota.limit / self._quota.window
            self._tokens = min(float(self._quota.limit), self._tokens + (now - self._at) * rate)
        self._at = now

    def take(self, now: float) -> Verdict:
        verdict = self.peek(now)
        if verdict.allowed:
            self._tokens -= 1
            return Verdict(True, verdict.limit, verdict.remaining - 1, 0.0)
        if self._refused_count:
            # A debt of at most one window, so that a client that stops sending is permitted again.
            self._tokens = max(self._tokens - 1, -float(self._quota.limit))
            return self.peek(now)
        return verdict

    def peek(self, now: float) -> Verdict:
        self._refill(now)
        # Sums of fractions fall short of 1 by rounding.
        left = max(0, math.floor(self._tokens + 1e-9))
        wait = 0.0 if left else (1 - self._tokens) * self._quota.window / self._quota.limit
        return Verdict(left > 0, self._quota.limit, left, wait)

    def idle(self, now: float) -> bool:
        self._refill(now)
        return self._tokens >= self._quota.limit


_KINDS: dict[WindowKind, type[_Fixed | _Sliding | _Token]] = {
    "fixed": _Fixed,
    "sliding": _Sliding,
    "token": _Token,
}


def counter_for(quota: Quota, kind: WindowKind, *, refused_count: bool = False) -> Counter:
    """Return a new counter of this kind."""
    return _KINDS[kind](quota, refused_count)
