"""What is held back, since less was true of late than was believed. Pure.

Each request remembers what credit we believed in when it left; its answer says what was true. The disappointments are
averaged, and three times their spread is held back on top, up to a fifth of the limit.
"""

from __future__ import annotations

import math

__all__ = ["Reserve"]

_MOST = 0.2
"""Share of the limit that is held back at most, and that counts of one disappointment."""


class Reserve:
    """Requests held back."""

    __slots__ = ("_limit", "_spread", "_surprise", "until")

    def __init__(self) -> None:
        self._surprise = 0.0
        self._spread = 0.0
        self._limit = 1
        self.until = -math.inf
        """Up to which request's answer nothing counts: it was believed by another law."""

    def clear(self, until: float) -> None:
        """Another law is gone by, which may be judged by requests that leave after `until`."""
        self._surprise = self._spread = 0.0
        self.until = until

    def disappointed(self, by: float, limit: int, at: float) -> None:
        """Take in by how much less was true than was believed, as of the answer to a request sent at `at`."""
        if at <= self.until:
            return
        if by <= 0 and not self._surprise and not self._spread:
            return  # nothing new and nothing to fade, as with most answers
        self._limit = limit
        weight = max(0.02, 2 / (16 + limit))
        by = min(max(by, 0.0), _MOST * limit)
        self._spread += (abs(by - self._surprise) - self._spread) * weight
        self._surprise += (by - self._surprise) * weight

    @property
    def spare(self) -> float:
        """Requests that are held back."""
        surprise = self._surprise + 3 * self._spread
        return 0.0 if surprise < 0.5 else float(min(math.ceil(surprise - 0.5), int(_MOST * self._limit)))
