"""One exchange with a server: request → rate limiter → retry → aiohttp → response. Secrets are redacted.

======================  =====================================================================================
`messages`              the values `Request` and `Response`
`transport`             one call from request to result: the retry loop
`exchange`, `body`      one attempt; the only modules that handle aiohttp's exceptions
`connector`             the connection pool: unexpected data, whether a request was sent, time-outs
`direct`                requests without aiohttp's session, if the gateway owns the session
`retry`                 when a request is repeated
`credentials`           the source of a credential, and its place in a request
`redaction`             removes credentials from text
`options`, `raw`        extra headers and custom routes; the response together with the result
`session`, `settings`   the aiohttp session; time-outs, proxy and base URL
`events`                events for subscribers: metrics, tracing, progress
======================  =====================================================================================

Only the retry policy is imported here, so that importing the package is fast. aiohttp is loaded with the first request.
"""

import logging

from aelyst_async.transport.retry import RetryPolicy

__all__ = ["RetryPolicy"]

logging.getLogger("aelyst_async").addHandler(logging.NullHandler())  # silent by default, as a library should be
