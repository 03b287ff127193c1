"""The rate limiter: headers → window → bucket → waiting callers. `RateLimiter` is the only name most programs need.

===========  ====================================================================================================
`headers`    what a server says about its quota in one response; pure
`window`     how long the server counts a request, between two bounds; pure
`bucket`     when one more request may be sent: one law; pure, no clock, no asyncio
`others`     requests of other clients on the same quota, and our rate beside them; pure
`blind`      the limit and the window of a server without quota headers; pure
`quota`      quotas and their scope: the endpoint, the full path or the account; pure
`queue`      the callers that wait for a bucket, and for a connection
`limiter`    permits, and one timer per bucket
`shared`     a quota that several processes share, in Redis; imported only where it is used
===========  ====================================================================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING

from aelyst_async.ratelimit.limiter import Permit, RateLimiter
from aelyst_async.ratelimit.queue import Slots
from aelyst_async.ratelimit.quota import BucketSnapshot, Quota

if TYPE_CHECKING:
    from aelyst_async.ratelimit.shared import Demand, Reservation, SharedQuota
    from aelyst_async.ratelimit.shared.redis import RedisQuota

__all__ = [
    "BucketSnapshot", "Demand", "Permit", "Quota", "RateLimiter", "RedisQuota", "Reservation", "SharedQuota", "Slots",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "shared.redis" if name == "RedisQuota" else "shared"
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
