"""The aiohttp session: made late, bound to one loop, closed once, never closed when borrowed.

::

    NEW ──first use──▶ OPEN ──aclose()──▶ CLOSED      (no way back: make a new gateway)

What is decided here, and why:

* A session of our own has no cookie jar (a jar carries one tenant's cookies to the next), obeys the proxies that
  the environment names, and drops idle connections after four seconds, before common servers do (five seconds): a
  connection that the server has just closed fails a POST in a way that cannot be told from a POST carried out.
* No more requests are under way than there may be connections, whoever shares them.
* aiohttp repeats a GET, PUT or DELETE once by itself when a pooled connection drops. Then one permit of the rate
  limiter pays for two requests and the count of attempts is wrong, so that is switched off: on a borrowed session
  only for our own requests, by a view that shares everything else.
"""

from __future__ import annotations

import asyncio
import copy
import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit import Slots

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientSession

__all__ = ["SessionHolder", "SessionState", "make_session"]

CONNECTIONS = 100
"""Connections of one gateway at the most, and thus requests in flight."""

_KEEPALIVE = 4.0


class SessionState(enum.Enum):
    """The life of a `SessionHolder`."""

    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class SessionHolder:
    """One aiohttp session, ours or borrowed."""

    def __init__(self, borrowed: ClientSession | None, base_url: str) -> None:
        self._base_url = base_url
        self.state = SessionState.NEW
        self._borrowed = borrowed
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: Slots | None = None

    def open(self) -> Slots:
        """Open in the running loop if that is still to be done; return the slots that bound requests in flight.

        Raises `ConfigurationError` after `aclose`, in another loop, or when a borrowed session is closed.
        """
        loop = asyncio.get_running_loop()
        if self.state is SessionState.CLOSED:
            raise ConfigurationError("this gateway is closed; make a new one")
        if self._borrowed is not None and self._borrowed.closed:
            raise ConfigurationError("the session that was passed in is closed; keep it open while the gateway is used")
        if getattr(self._borrowed, "_loop", loop) is not loop:
            # aiohttp would complain too, of "a timeout context manager outside a task".
            raise ConfigurationError(
                "the session that was passed in was made in another event loop; make it in this one"
            )
        if self._loop is None:
            self._loop = loop
            self._slots = _slots(self._borrowed)
            self.state = SessionState.OPEN
        self._check_loop(loop)
        assert self._slots is not None
        return self._slots

    @contextmanager
    def use(self) -> Iterator[ClientSession]:
        """Yield the session for one request. Raises `ConfigurationError` as `open` does."""
        self.open()
        if self._borrowed is None:
            yield self._own()
            return
        view = copy.copy(self._borrowed)
        view._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
        try:
            yield view
        finally:
            view.detach()  # the connector stays the lender's; without this the view would be reported as unclosed

    async def aclose(self) -> None:
        """Close what is ours. Idempotent. Raises `ConfigurationError` in another loop."""
        if self.state is SessionState.CLOSED:
            return
        if self._loop is not None:
            self._check_loop(asyncio.get_running_loop())
        self.state = SessionState.CLOSED
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            # TLS transports close on the next turns of the loop; without one, an exit right after this warns.
            await asyncio.sleep(0)

    def _check_loop(self, running: asyncio.AbstractEventLoop) -> None:
        if running is not self._loop:
            raise ConfigurationError(
                "this gateway was first used in another event loop, where its connections live; "
                "make one gateway for each asyncio.run() or thread"
            )

    def _own(self) -> ClientSession:
        if self._session is None:
            self._session = make_session(self._base_url)
            self._session._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
        return self._session


def make_session(base_url: str) -> ClientSession:
    """Return a session fit for gateways of `base_url`. Whoever made it closes it."""
    import aiohttp

    # With trust_env, aiohttp asks a thread for the proxy and for netrc before every request, which costs as much as
    # the request. Where the environment names no proxy for our host there is nothing to ask: netrc is of no use
    # beside our own Authorization.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=_KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=proxy_applies(base_url),
    )


_SHARED_SLOTS: WeakKeyDictionary[BaseConnector, Slots] = WeakKeyDictionary()


def _slots(borrowed: ClientSession | None) -> Slots:
    """Return as many slots as there may be connections. Gateways that borrow one pool share its slots: a request that
    waits in aiohttp's own queue for a connection is timed out as if the server could not be reached.
    """
    connector = None if borrowed is None else borrowed.connector
    limits = [] if connector is None else [limit for limit in (connector.limit, connector.limit_per_host) if limit]
    if connector is None or not limits:
        return Slots(CONNECTIONS)
    slots = _SHARED_SLOTS.get(connector)
    if slots is None:
        slots = _SHARED_SLOTS[connector] = Slots(min(limits))
    return slots


def proxy_applies(url: str) -> bool:
    """Whether the environment (``HTTPS_PROXY``, ``NO_PROXY`` …, or the system's settings) names a proxy for `url`."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
