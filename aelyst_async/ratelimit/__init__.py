"""The rate limiter: headers → bucket arithmetic → waiters. `RateLimiter` is the only name most programs need.

======================  =====================================================================================
`headers`               what one answer says; pure
`bucket`                what the server will allow; pure arithmetic, no clock, no asyncio
`memory`, `books`       what is known of its memory, and of our requests
`order`                 how sure the order of counting is
`fixed`, `laws`         the three ways of counting
`judge`, `scout`        which of them is believed, and what is done before one is
`crowd`, `hypotheses`   whether others spend the same quota, and how it is counted then
`share`, `drain`        how a log and a window are shared with them; `neighbours`: a bucket
`reserve`               what is held back
`blind`, `refusal`      what is done without headers, and what refusals tell
`scope`                 whose quota it is: the endpoint's, the full path's or the account's; pure
`lane`                  who waits for it: FIFO queues
`slots`                 connections, which a permit needs as well
`agenda`                work that grows with the crowd, in portions
`permit`, `limiter`     the right to send one request; who goes when, by one timer per bucket
======================  =====================================================================================
"""

from aelyst_async.ratelimit.limiter import RateLimiter
from aelyst_async.ratelimit.permit import Permit
from aelyst_async.ratelimit.slots import Slots
from aelyst_async.ratelimit.snapshot import BucketSnapshot

__all__ = ["BucketSnapshot", "Permit", "RateLimiter", "Slots"]
