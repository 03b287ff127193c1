"""One exchange with a server: request → rate limiter → retry → aiohttp → response, with secrets kept out of sight.

======================  =====================================================================================
`messages`              what an adapter asks and what a server answered, as values
`transport`             one call from request to result: the loop around everything else
`exchange`, `body`      one attempt; the only modules where aiohttp's exceptions exist
`connector`             the connection pool: no stray answers, whether a request was sent, one timer for time-outs
`direct`                the way past aiohttp's session, where the session is ours
`retry`                 when to try again, and when not
`credentials`           where a credential comes from, and how it is put on a request
`redaction`             how it is taken out of text
`options`, `raw`        what a caller may add to a call, and the answer beside its result
`session`, `settings`   the aiohttp session and what a caller may set
`events`                what a call reports to subscribers: metrics, tracing, progress
======================  =====================================================================================

Only the retry policy is imported here, because a program's first import should be quick; aiohttp itself is loaded
with the first request.
"""

import logging

from aelyst_async.transport.retry import RetryPolicy

__all__ = ["RetryPolicy"]

logging.getLogger("aelyst_async").addHandler(logging.NullHandler())  # silent by default, as a library should be
