"""Our connection pool: no stray answer, a word when a request goes out, and one timer for all time-outs.

**Stray answers.** aiohttp reuses a pooled connection whatever arrived on it in the meantime, so a second response to
one request becomes the response to the next: another person's contact. Here a connection that receives anything while
idle is closed, and one that holds unread data (parsed, or still in the kernel) is not reused. A connection that the
server has closed is noticed in the same way, before a request is lost on it.

**Sent or not.** aiohttp sets what it expects of a response as soon as its connector has returned a connection, then
writes the request. So `Progress.sent` is a fact, also where a proxy breaks off CONNECT.

**Time-outs.** aiohttp sets a timer for each request, a tenth of its cost, and nearly always cancels it.
Here a connection in use notes its deadline, and one timer for the pool looks at all of them.

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
    """How far one attempt has come.

    ``sent``: whether its headers have been written; None where that cannot be told, which is so only for a session that
    is not aiohttp's. ``answered``: whether the headers of the answer are in. ``deadline``: the loop's time at which a
    `Connector` ends the wait for the answer.
    """

    sent: bool | None = False
    answered = False
    deadline: float = math.inf


PROGRESS: ContextVar[Progress | None] = ContextVar("aelyst_async.progress", default=None)


class Connector(aiohttp.TCPConnector):
    """A `TCPConnector` that keeps the promises above."""

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
        """When the timer looks at them."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop

    def set_timer(self, at: float) -> None:
        """Look at the deadlines at that time, and not at ``next``."""
        if self._timer is not None:
            self._timer.cancel()
        self.next = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """End what is late."""
        self.next = math.inf
        now = self._loop.time()
        for protocol in [one for one, deadline in self.of.items() if deadline <= now]:
            del self.of[protocol]
            protocol.expire()
        if self.of and (following := min(self.of.values())) < math.inf:
            self.set_timer(following)


class _Protocol(ResponseHandler):
    idle = False
    """Whether it is in the pool, so that whatever arrives was not asked for."""

    def __init__(self, deadlines: _Deadlines, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._deadlines = deadlines
        self._poll: Any = None

    def set_response_params(self, **params: Any) -> None:
        self.idle = False
        # Without a timer: the response of a proxy to CONNECT.
        if "timer" in params and (progress := PROGRESS.get()) is not None:
            progress.sent = True
            self._deadlines.of[self] = progress.deadline
            if progress.deadline < self._deadlines.next:
                self._deadlines.set_timer(progress.deadline)
        super().set_response_params(**params)

    def begin(self, progress: Progress, read_timeout: float | None, max_header: int) -> None:
        """Expect the response to a request that is written next, without a session."""
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
        """End the exchange under way: what waits for it gets a time-out."""
        self._on_read_timeout()
        if self.transport is not None:
            self.transport.abort()  # wakes what waits to write

    def data_received(self, data: bytes) -> None:
        if data and self.idle:  # without data: aiohttp goes on with what it has
            self.close()
        else:
            super().data_received(data)

    def is_connected(self) -> bool:
        """Whether a request can go out on it: what the pool asks before it hands a connection out."""
        if not super().is_connected():
            return False
        if not self.idle:
            return True
        if self._poll is None:
            self._poll = _poller(self.transport)
        return not (self.should_close or self._poll(0))


def _poller(transport: Any) -> Any:
    """Return a callable that tells at once whether the kernel holds data, or the end of the stream, that is unread."""
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
