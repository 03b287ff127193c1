"""A quota that several processes share: the protocol `SharedQuota`, and what it is asked and answers.

============  ====================================================================================================
`reserver`    what each process does: reserves slots for the requests that wait, and reports what responses show
`redis`       `RedisQuota`, a shared quota in Redis; its rules are in ``redis.lua``
============  ====================================================================================================
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import attrs

from aelyst_async.ratelimit.quota import Quota

__all__ = ["Demand", "Reservation", "SharedQuota"]


@attrs.frozen(kw_only=True)
class Demand:
    """Which member of a shared quota asks, and for which bucket."""

    member: str
    """Names one limiter of one process."""
    bucket: str
    """Names account, endpoint and, where a quota is counted per path, the path."""
    quota: Quota | None
    """The server's quota, as far as this process knows it."""
    source: str | None
    """Where the quota is from: ``user``, ``server`` or ``learned``."""
    share: float
    """The part of the quota that all members together may use."""
    sent: int
    """Requests sent since the last call that succeeded, with slots or without."""


class Reservation(NamedTuple):
    """What a `SharedQuota` granted. All times are the running loop's, in seconds."""

    granted: int = 0
    """Number of slots. If there are none, ask again at `first`."""
    first: float = -math.inf
    """Time of the first slot."""
    every: float = 0.0
    """Seconds from one slot to the next."""
    usable: float = math.inf
    """Seconds after its time until a slot lapses."""
    window: float | None = None
    """The server's window in seconds, once it is known."""
    alone_until: float = -math.inf
    """Until then this process may send by its own bucket, without slots."""
    paused_until: float = -math.inf
    """The server accepts no request before that, as another process was told."""
    trouble: str | None = None
    """Why the quota cannot be asked now, in a few words without an address; requests may be granted all the same."""


@runtime_checkable
class SharedQuota(Protocol):
    """Reserves requests of a quota for all processes that share it: `RateLimiter(shared=…)`.

    A `ConfigurationError` is raised to the callers that wait; any other error means that it cannot be asked now.
    """

    async def reserve(self, demand: Demand, want: int) -> Reservation:
        """Reserve up to `want` slots. 0: only say that this member is alive."""
        ...

    async def report(self, demand: Demand, limit: int | None, remaining: int | None, pause: float | None) -> None:
        """Take in what responses showed. `pause`: a request was refused, and the server asks for so many seconds."""
        ...
