"""A first bucket: obeys Remaining and Retry-After, spreads what is left over the time seen."""

from __future__ import annotations

import math

from aelyst_async.ratelimit.headers import QuotaHeaders

__all__ = ["Bucket"]


class Bucket:
    """State of one quota. Every method takes the time; none reads a clock."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.paused_until = -math.inf
        self.in_flight = 0
        self.sent = 0
        self.refused = 0
        self._authorised = 1
        self._empty_since = 0.0

    @property
    def rate(self) -> float | None:
        return None

    @property
    def window(self) -> float | None:
        return None

    @property
    def state(self) -> str:
        return "learning" if self.limit is None else "smooth"

    def ready_at(self, now: float) -> float:
        """Return when one more request may go: `now` or earlier, later, or inf: when an answer has come."""
        if self.paused_until > now:
            return self.paused_until
        if self.sent < self._authorised or self.limit is None and self.in_flight < 4:
            return now
        if self.in_flight:
            return math.inf
        if self.limit is None:
            return now
        return self._empty_since + 1.0

    def send(self, now: float) -> int:
        """Count a request that leaves now, and return its number."""
        self.sent += 1
        self.in_flight += 1
        if self.sent >= self._authorised:
            self._empty_since = now
        return self.sent

    def unsent(self, number: int, now: float) -> None:  # noqa: ARG002
        self.sent -= 1
        self.in_flight -= 1

    def lost(self, number: int, now: float) -> None:  # noqa: ARG002
        self.in_flight -= 1

    def answer(self, number: int, now: float, status: int, quota: QuotaHeaders) -> None:  # noqa: ARG002
        self.in_flight -= 1
        if status == 429:
            self.refused += 1
            self.paused_until = max(self.paused_until, now + (1.0 if quota.retry_after is None else quota.retry_after))
            self._authorised = self.sent + 1
            return
        if quota.limit is not None:
            self.limit = quota.limit
        if quota.remaining is not None:
            self.remaining = quota.remaining
            self._authorised = self.sent - self.in_flight + quota.remaining
