"""Our connection pool: no stray answer, and a word when a request goes out.

**Stray answers.** aiohttp reuses a pooled connection whatever arrived on it in the meantime, so a second response to
one request becomes the response to the next: another person's contact. Here a connection that receives anything while
idle is closed, and one that holds unread data (parsed, or still in the kernel) is not reused. A connection that the
server has closed is noticed in the same way, before a request is lost on it.

**Sent or not.** aiohttp writes a request as soon as its connector has returned a connection, and not before. So
`Progress.sent` is a fact, also where a proxy breaks off CONNECT.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import functools
import select
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection

__all__ = ["PROGRESS", "Connector", "Progress", "traced"]


class Progress:
    """How far one attempt has come.

    ``sent``: whether its headers have been written; None where that cannot be told, which is so only for a session that
    is not aiohttp's. ``answered``: whether the headers of the answer are in.
    """

    __slots__ = ("answered", "sent")

    def __init__(self, session: object) -> None:
        self.sent = False if isinstance(session, aiohttp.ClientSession) else None
        self.answered = False


PROGRESS: ContextVar[Progress | None] = ContextVar("aelyst_async.progress", default=None)


class Connector(aiohttp.TCPConnector):
    """A `TCPConnector` that keeps the two promises above."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory: Any = functools.partial(_Protocol, loop=self._loop)

    async def connect(self, req: ClientRequest, *args: Any, **kwargs: Any) -> Connection:
        """Return a connection for `req`, and note that the request goes out now."""
        connection = await super().connect(req, *args, **kwargs)
        if (progress := PROGRESS.get()) is not None:
            progress.sent = True
        return connection

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        protocol.idle = True
        super()._release(key, protocol, should_close=should_close)


class _Protocol(ResponseHandler):
    idle = False
    """Whether it is in the pool, so that whatever arrives was not asked for."""

    def set_response_params(self, **params: Any) -> None:
        self.idle = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if data and self.idle:  # without data: aiohttp goes on with what it has
            self.close()
        else:
            super().data_received(data)

    def is_connected(self) -> bool:
        """Whether a request can go out on it: what the pool asks before it hands a connection out."""
        if not super().is_connected():
            return False
        return not self.idle or not (self.should_close or _readable(self.transport))


def _readable(transport: Any) -> bool:
    """Whether the kernel holds data, or the end of the stream, still unread."""
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:
        return False
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def traced(session: Any) -> None:
    """Let `session`, our view of a borrowed one, note in `PROGRESS` when headers are sent."""
    # The list is the lender's; the view gets one of its own.
    session._trace_configs = [*getattr(session, "trace_configs", ()), _trace()]  # noqa: SLF001


@functools.cache
def _trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_sent)
    trace.freeze()
    return trace


async def _sent(*_: object) -> None:
    if (progress := PROGRESS.get()) is not None:
        progress.sent = True
