"""What a quota is, and whose it is: the endpoint's, each full path's, or the account's. Pure.

A quota may be told (`Quota`). Where it is not, its scope is learned, since the vendors' pages do not agree ("for this
end point", "per unique request path"). What happens on a response (`PathScope.observe`): a quota is taken to be the
endpoint's. If it is counted per path, each path that is asked for the first time answers with a full quota, less
itself, however much the endpoint has been used just before::

                 ── several fresh paths in a row show Limit - 1, close upon each other ──▶
      endpoint                                                                              path
                 ◀── fresh paths show less, or one is refused; then twice the proof ──────

A quota of one request cannot be told apart and stays the endpoint's; so does one without headers.

What happens on a refusal (`AccountScope.refused`): if the bucket's own books show quota left, it comes from a limit
that the headers do not show. When two endpoints of an account are refused like that at the same time, it is the
account's, and all of it pauses.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import attrs

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.window import USUAL

__all__ = ["AccountScope", "BucketSnapshot", "PathScope", "Quota", "check_quotas"]

_PROOF = 4
"""Fresh paths in a row that must show a full quota. Source: the chance that an endpoint's quota does, four times."""

_MOST_PROOF, _DISPROOF = 256, 2
"""Fresh paths: the most proof needed, after wrong turns; those in a row that disprove (a refused one is two)."""

_CLOSE = 0.25
"""Seconds within which another path must have been asked for a full quota to mean anything."""

_REMEMBERED = 4096
"""Paths remembered as not fresh, the latest."""

EVERY_ENDPOINT = "*"
"""The key in `RateLimiter(quotas=…)` for all endpoints that are not named."""


def _number(what: str, value: object, *, whole: bool) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        raise ConfigurationError(f"Quota: {what} must be a {'whole ' * whole}number above 0, not {value!r}")


@attrs.frozen
class Quota:
    """At most ``limit`` requests in any ``per`` seconds.

    ``scope``: ``endpoint`` (all paths of a route template together), ``path`` (each full path by itself) or
    ``account`` (all endpoints with this quota together). Raises `ConfigurationError` for other values.
    """

    limit: int
    per: float = 1.0
    scope: Literal["endpoint", "path", "account"] = "endpoint"

    def __attrs_post_init__(self) -> None:
        _number("limit", self.limit, whole=True)
        _number("per", self.per, whole=False)
        if self.scope not in {"endpoint", "path", "account"}:
            raise ConfigurationError(f"Quota: scope must be 'endpoint', 'path' or 'account', not {self.scope!r}")


def check_quotas(quotas: Mapping[str, Quota] | None) -> dict[str, Quota]:
    """Return a copy. Raises `ConfigurationError` for what is no mapping of endpoints to quotas."""
    if quotas is not None and not isinstance(quotas, Mapping):
        raise ConfigurationError(f"quotas must map endpoints to Quotas, not {type(quotas).__name__}")
    for endpoint, quota in (quotas or {}).items():
        if not isinstance(endpoint, str) or not (endpoint == EVERY_ENDPOINT or endpoint.partition(" ")[2]):
            hint = "write the method and the route template, as in 'GET /contact/{identifier}', or '*' for all others"
            raise ConfigurationError(f"quotas: {endpoint!r} is no endpoint; {hint}")
        if not isinstance(quota, Quota):
            raise ConfigurationError(f"quotas: {endpoint!r} needs a Quota, as in Quota(5, per=1.0), not {quota!r}")
    return dict(quotas or {})


class PathScope:
    """The scope of one endpoint of one account: learned, unless a quota tells it."""

    def __init__(self, quota: Quota | None = None) -> None:
        self.per_path: bool = quota is not None and quota.scope == "path"
        self.reason: str = "a quota is taken to be the endpoint's until responses show otherwise"
        if quota is not None:
            self.reason = "told by the user"
        self._told = quota is not None
        self._needed = _PROOF
        self._proof = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last_at = -math.inf

    def observe(self, path: str | None, sent_at: float, status: int, limit: int | None, remaining: int | None) -> bool:
        """Take in a response; return whether the scope has changed. `sent_at` is the time of sending."""
        before, seen = self._last_at, self._seen
        if sent_at > before:
            self._last_at = sent_at
        if path is None or self._told:
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
        if remaining is None and status != 429:
            return False
        full = status != 429 and remaining is not None and remaining >= limit - 1
        if not self.per_path:
            self._proof = self._proof + close if full else 0
            if self._proof < self._needed:
                return False
            self.per_path = True
            self.reason = f"{self._proof} fresh paths in a row showed a full quota of {limit}"
            self._proof = 0
            return True
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

    def __init__(self) -> None:
        self.paused_until: float = -math.inf
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
        # For at least the longest usual window, the next refusal at any endpoint is taken for the account's at once.
        self._wide_until = max(self._wide_until, now + max(USUAL[-1], 10 * (until - now)))
        return True


@attrs.frozen(kw_only=True)
class BucketSnapshot:
    """One bucket at one moment. Times in seconds.

    ``path``: the full path, if ``scope`` is ``path`` (else ``endpoint`` or ``account``). ``state``: ``learning`` (no
    window known yet), ``known``, ``shared`` (others spend it too), ``blind`` (no quota headers) or ``paused``.
    ``limit``: requests per ``window``, which is from ``source``: ``user``, ``server`` or ``learned``. ``remaining``: as
    the server said last. ``rate``: requests per second in the long run. ``paused_for``: what the last refusal lasts.
    """

    account: str
    endpoint: str
    path: str | None
    scope: str
    scope_reason: str
    state: str
    limit: int | None
    remaining: int | None
    rate: float | None
    window: float | None
    source: str | None = None
    waiting: int
    in_flight: int
    paused_for: float
    sent: int
    refused: int
