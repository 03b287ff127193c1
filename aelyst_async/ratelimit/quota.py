"""Quotas, and their scope: the endpoint, each full path, or the account. Pure.

A quota may be told (`Quota`). Where it is not, its scope is learned, since the vendors' pages do not agree ("for this
end point", "per unique request path"). What happens:

- **A response arrives** (`PathScope.observe`). A quota is taken to be the endpoint's. If it is counted per path, each
  path that is requested for the first time shows a full quota, less itself, however much the endpoint has been used
  just before. After `_PROOF` such fresh paths in a row the scope is the path. It is the endpoint again when fresh paths
  show less, or one is refused; then the next change needs twice the proof. A quota of one request proves nothing.
- **A request is refused** (`AccountScope.refused`). If the bucket's own books show quota left, the refusal comes from
  a limit that the headers do not show. When two endpoints of an account are refused like that at the same time, the
  limit is the account's, and all of it pauses.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import attrs

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.window import USUAL

__all__ = ["AccountScope", "BucketSnapshot", "PathScope", "Quota", "check_number", "check_quotas"]

EVERY_ENDPOINT = "*"  # the key in `RateLimiter(quotas=…)` for all endpoints that are not named
MOST_BUCKETS = 10_000  # buckets kept, about 8 KiB each, and paths remembered; the least recently used go first
_PROOF = 4  # fresh paths in a row that prove a quota per path; the first two of any window may look like that
_DISPROOF = 2  # fresh paths in a row that disprove it; a refused one counts as two
_CLOSE = 0.25  # seconds within which another path must have been requested for a full quota to prove anything


def check_number(what: str, value: object, *, most: float = math.inf, zero: bool = False, whole: bool = False) -> None:
    """Raise `ConfigurationError` unless the value is a finite number above 0 (or 0, if `zero`) and up to `most`."""
    number = value if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) else math.inf
    if not (0 < number <= most or (zero and number == 0)) or number == math.inf:
        words = f"{'whole ' * whole}number {'from' if zero else 'above'} 0" + f", up to {most:g}" * (most < math.inf)
        raise ConfigurationError(f"{what} must be a {words}, not {value!r}")


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
        check_number("Quota: limit", self.limit, whole=True)
        check_number("Quota: per", self.per)
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
        self._told = quota is not None
        self.per_path: bool = quota is not None and quota.scope == "path"
        unknown = "a quota is taken to be the endpoint's until responses show otherwise"
        self.reason: str = "told by the user" if self._told else unknown
        self._needed, self._proof = _PROOF, 0  # fresh paths in a row that speak against the present scope
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._last_at = -math.inf

    def observe(self, path: str | None, sent_at: float, status: int, limit: int | None, remaining: int | None) -> bool:
        """Take in a response; return whether the scope has changed. `sent_at` is the time of sending, in seconds."""
        if path is None or self._told:
            return False
        close = abs(sent_at - self._last_at) <= _CLOSE
        self._last_at = max(self._last_at, sent_at)
        fresh = path not in self._seen
        self._seen[path] = None
        self._seen.move_to_end(path)
        if len(self._seen) > MOST_BUCKETS:
            self._seen.popitem(last=False)
        refused = status == 429
        if not fresh or limit is None or limit < 2 or (remaining is None and not refused):
            return False
        full = not refused and remaining is not None and remaining >= limit - 1
        if full == self.per_path:
            self._proof = 0
            return False
        self._proof += close if full else _DISPROOF if refused else 1
        if self._proof < (self._needed if full else _DISPROOF):
            return False
        if full:
            self.reason = f"{self._proof} fresh paths in a row showed a full quota of {limit}"
        else:
            what = "was refused" if refused else f"showed {remaining} left of {limit}"
            self.reason = f"counted per path for a while, until a fresh path {what}"
            self._needed *= 2
        self.per_path, self._proof = full, 0
        return True


class AccountScope:
    """The pause that all buckets of one account share, if refusals turn out to be the account's."""

    def __init__(self) -> None:
        self.paused_until: float = -math.inf
        self._account_until = -math.inf  # until then each refusal counts as the account's
        self._refused: dict[str, float] = {}  # endpoint → end of the pause of its unexpected refusal

    def refused(self, endpoint: str, now: float, until: float, *, unexpected: bool) -> bool:
        """Take in a refusal that lasts until `until`; return whether it is the whole account's."""
        if now >= self._account_until:
            if not unexpected:
                return False
            self._refused = {name: end for name, end in self._refused.items() if end > now}
            self._refused[endpoint] = max(until, self._refused.get(endpoint, until))
            if len(self._refused) < 2:
                return False
            until = max(self._refused.values())
        self.paused_until = max(self.paused_until, until)
        self._account_until = max(self._account_until, now + max(USUAL[-1], 10 * (until - now)))
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
