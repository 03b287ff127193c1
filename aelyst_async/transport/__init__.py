"""One exchange with a server: request → rate limiter → retry → aiohttp → response, with secrets kept out of sight.

This package may be imported without aiohttp, which is loaded with the first request.
"""

from aelyst_async.transport.credentials import BearerAuth, CredentialSource, QueryAuth
from aelyst_async.transport.events import Call, Done, Exchange, Hooks, Retry, Sending, Wait
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.retry import RetryPolicy

__all__ = [
    "BearerAuth",
    "Call",
    "CredentialSource",
    "Done",
    "Exchange",
    "Hooks",
    "QueryAuth",
    "Request",
    "Response",
    "Retry",
    "RetryPolicy",
    "Sending",
    "Wait",
]
