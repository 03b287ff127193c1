"""Whose quota it is: one for the endpoint, one for each full path, or one for the whole account. Pure.

The pages do not agree ("for this end point", "per unique request path"), so it is learned. A quota is taken to be the
endpoint's. If it is counted per path, each path that is asked for the first time answers with a full quota, less
itself, however much the endpoint has been used just before::

                 ── several fresh paths in a row show Limit - 1, close upon each other ──▶
      endpoint                                                                              path
                 ◀── fresh paths show less, or one is refused; then twice the proof ──────

A quota of one request cannot be told apart and stays the endpoint's; so does one without headers.

The account. A refusal where the bucket's own books show quota left comes from a limit that the headers do not show.
When two endpoints of an account are refused like that at the same time, it is the account's, and all of it pauses.
"""

from __future__ import annotations

import math
from collections import OrderedDict

__all__ = ["AccountScope", "PathScope"]

_PROOF = 4
"""Fresh paths in a row that show a full quota."""

_MOST_PROOF = 256

_DISPROOF = 2
"""Fresh paths in a row that do not."""

_CLOSE = 0.25
"""Seconds within which another path must have been asked for a full quota to mean anything."""

_REMEMBERED = 4096
"""Paths remembered as not fresh."""


class PathScope:
    """The scope of one endpoint of one account."""

    __slots__ = ("_last_at", "_needed", "_proof", "_seen", "per_path", "reason")

    def __init__(self) -> None:
        self.per_path = False
        self.reason = "a quota is taken to be the endpoint's until answers show otherwise"
        self._needed = _PROOF
        self._proof = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last_at = -math.inf

    def observe(self, path: str | None, sent_at: float, status: int, limit: int | None, remaining: int | None) -> bool:
        """Take in an answer; return whether the scope has changed. `sent_at` is the time of sending."""
        before, seen = self._last_at, self._seen
        if sent_at > before:
            self._last_at = sent_at
        if path is None:
            return False
        if path in seen:
            seen.move_to_end(path)
            return False
        seen[path] = None
        if len(seen) > _REMEMBERED:
            seen.popitem(last=False)
        if limit is None or limit < 2:
            return False
        close = abs(sent_at - before) <= _CLOSE
        if status == 429:
            full = False
        elif remaining is None:
            return False
        else:
            full = remaining >= limit - 1
        if not self.per_path:
            if not full:
                self._proof = 0
            elif close:
                self._proof += 1
                if self._proof >= self._needed:
                    self.per_path = True
                    self.reason = f"{self._proof} fresh paths in a row showed a full quota of {limit}"
                    self._proof = 0
                    return True
            return False
        self._proof = 0 if full else self._proof + (_DISPROOF if status == 429 else 1)
        if self._proof < _DISPROOF:
            return False
        what = "was refused" if status == 429 else f"showed {remaining} left of {limit}"
        self.per_path = False
        self.reason = f"counted per path for a while, until a fresh path {what}"
        self._needed = min(2 * self._needed, _MOST_PROOF)
        self._proof = 0
        return True


class AccountScope:
    """What all buckets of one account share: a pause, if refusals turn out to be the account's."""

    __slots__ = ("_refused", "_wide_until", "paused_until")

    def __init__(self) -> None:
        self.paused_until = -math.inf
        self._wide_until = -math.inf
        self._refused: dict[str, float] = {}

    def refused(self, endpoint: str, now: float, until: float, *, unexpected: bool) -> bool:
        """Take in a refusal that lasts to `until`; return whether it is the whole account's."""
        if now >= self._wide_until:
            if not unexpected:
                return False
            self._refused = {name: end for name, end in self._refused.items() if end > now}
            self._refused[endpoint] = max(until, self._refused.get(endpoint, until))
            if len(self._refused) < 2:
                return False
            until = max(self._refused.values())
        self.paused_until = max(self.paused_until, until)
        # Held for a while: the next refusal at any endpoint is taken for the account's at once.
        self._wide_until = max(self._wide_until, now + max(60.0, 10 * (until - now)))
        return True
