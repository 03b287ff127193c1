"""The rate limiter: headers → window → bucket → waiting callers. `RateLimiter` is the only name most programs need.

===========  ====================================================================================================
`headers`    what a server says about its quota in one response; pure
`window`     how long it counts a request, between two bounds; pure
`bucket`     when one more request may be sent: one law; pure, no clock, no asyncio
`quota`      what a quota is and whose: the endpoint's, the full path's or the account's; pure
`blind`      the same without quota headers; pure
`queue`      the callers that wait for a bucket, and for a connection
`shared`     the seam for a quota that several processes share, and what each of them does
`redis`      such a quota in Redis
`limiter`    who goes when: permits and one timer per bucket
===========  ====================================================================================================
"""

from aelyst_async.ratelimit.limiter import Permit, RateLimiter
from aelyst_async.ratelimit.queue import Slots
from aelyst_async.ratelimit.quota import BucketSnapshot, Quota
from aelyst_async.ratelimit.redis import RedisQuota
from aelyst_async.ratelimit.shared import Demand, Reservation, SharedQuota

__all__ = [
    "BucketSnapshot", "Demand", "Permit", "Quota", "RateLimiter", "RedisQuota", "Reservation", "SharedQuota", "Slots",
]  # fmt: skip
