"""Our connection pool. It drops unexpected data, records whether a request was sent, and has one timer for all
time-outs.

**Unexpected data.** aiohttp reuses a pooled connection even if data arrived on it while it was idle. So a second
response to one request would become the response to the next request: another person's contact. Here a connection that
receives data while idle is closed, and one with unread data (parsed, or in the kernel) is not reused. The same check
finds connections that the server has closed, before a request is lost on them.

**Sent or not.** aiohttp sets its expectations of a response after its connector has returned a connection, and then
writes the request. So `Progress.sent` is exact, also if a proxy breaks off CONNECT.

**Time-outs.** aiohttp sets a timer for each request, which is a tenth of the request's cost, and usually cancels it.
Here each connection in use stores its deadline, and one timer for the pool checks all of them.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import asyncio
import functools
import math
import select
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["PROGRESS", "Connector", "Progress", "traced"]


class Progress:
    """The progress of one attempt.

    ``sent``: whether the request's headers were written; None if unknown, which is possible only with a session that is
    not aiohttp's. ``answered``: whether the response's headers have arrived. ``deadline``: the time, by the event
    loop's clock, at which a `Connector` ends the wait for the response.
    """

    sent: bool | None = False
    answered = False
    deadline: float = math.inf


PROGRESS: ContextVar[Progress | None] = ContextVar("aelyst_async.progress", default=None)


class Connector(aiohttp.TCPConnector):
    """A `TCPConnector` with the properties above."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._deadlines = _Deadlines(self._loop)
        self._factory: Any = functools.partial(_Protocol, self._deadlines, loop=self._loop)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        protocol.idle = True
        self._deadlines.of.pop(protocol, None)
        super()._release(key, protocol, should_close=should_close)


class _Deadlines:
    """The connections in use, with their deadlines."""

    __slots__ = ("_loop", "_timer", "next", "of")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.of: dict[_Protocol, float] = {}
        self.next = math.inf
        """The next run of the timer."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop

    def set_timer(self, at: float) -> None:
        """Set the timer to check the deadlines at this time."""
        if self._timer is not None:
            self._timer.cancel()
        self.next = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """Expire the connections whose deadline has passed."""
        self.next = math.inf
        now = self._loop.time()
        for protocol in [one for one, deadline in self.of.items() if deadline <= now]:
            del self.of[protocol]
            protocol.expire()
        if self.of and (following := min(self.of.values())) < math.inf:
            self.set_timer(following)


class _Protocol(ResponseHandler):
    idle = False
    """Whether the connection is in the pool, so that any data on it is unexpected."""

    def __init__(self, deadlines: _Deadlines, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._deadlines = deadlines
        self._poll: Any = None

    def set_response_params(self, **params: Any) -> None:
        self.idle = False
        # No timer for the response of a proxy to CONNECT.
        if "timer" in params and (progress := PROGRESS.get()) is not None:
            progress.sent = True
            self._deadlines.of[self] = progress.deadline
            if progress.deadline < self._deadlines.next:
                self._deadlines.set_timer(progress.deadline)
        super().set_response_params(**params)

    def begin(self, progress: Progress, read_timeout: float | None, max_header: int) -> None:
        """Expect the response to the next request, which is written without a session."""
        self.idle = False
        self._deadlines.of[self] = progress.deadline
        if progress.deadline < self._deadlines.next:
            self._deadlines.set_timer(progress.deadline)
        super().set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=read_timeout,
            max_line_size=max_header,
            max_field_size=max_header,
        )
        progress.sent = True

    def expire(self) -> None:
        """End the current exchange with a time-out."""
        self._on_read_timeout()
        if self.transport is not None:
            self.transport.abort()  # wakes a pending write

    def data_received(self, data: bytes) -> None:
        if data and self.idle:  # without data, aiohttp continues with what it has buffered
            self.close()
        else:
            super().data_received(data)

    def is_connected(self) -> bool:
        """Whether a request can be sent on it. The pool checks this before it reuses a connection."""
        if not super().is_connected():
            return False
        if not self.idle:
            return True
        if self._poll is None:
            self._poll = _poller(self.transport)
        return not (self.should_close or self._poll(0))


def _poller(transport: Any) -> Any:
    """Return a callable that checks, without waiting, whether the kernel has unread data or the end of the stream."""
    sock = transport.get_extra_info("socket")
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:
        return bool
    if not hasattr(select, "poll"):  # Windows
        return lambda _: select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


def traced(session: Any) -> None:
    """Make `session`, our view of a borrowed one, record in `PROGRESS` when headers are sent."""
    # The list belongs to the owner of the session, so the view gets a copy.
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
