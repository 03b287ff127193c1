"""The rate limiter: headers → bucket arithmetic → waiters. `RateLimiter` is the only name most programs need.

======================  =====================================================================================
`headers`               what one answer says; pure
`bucket`                what the server will allow; pure arithmetic, no clock, no asyncio
`memory`, `books`       what is known of its memory, and of our requests
`fixed`, `laws`         the three ways of counting
`judge`, `scout`        which of them is believed, and what is done before one is
`scope`                 whose quota it is: the endpoint's, the full path's or the account's; pure
`lane`                  who waits for it: FIFO queues
`agenda`                work that grows with the crowd, in portions
`limiter`               who goes when: permits, one timer per bucket
======================  =====================================================================================
"""

from aelyst_async.ratelimit.limiter import Permit, RateLimiter
from aelyst_async.ratelimit.snapshot import BucketSnapshot

__all__ = ["BucketSnapshot", "Permit", "RateLimiter"]
