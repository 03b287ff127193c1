"""The aiohttp session: created at the first use, bound to one loop, closed once; a borrowed session is never closed.

::

    NEW ──first use──▶ OPEN ──aclose()──▶ CLOSED      (no way back: make a new gateway)

Decisions and their reasons:

* A session of our own has no cookie jar, which would send one tenant's cookies for another. It closes idle connections
  after four seconds, before common servers do (five seconds): if a POST fails on a connection that the server has just
  closed, it is unknown whether it was applied. `connector` describes the other properties of its connections.
* It uses the proxy from the environment, except for loopback addresses.
* A session of our own is closed with its loop: an async generator holds it, and event loops close async generators at
  their end (`loop.shutdown_asyncgens`, which `asyncio.run` calls).
* The number of requests in flight is limited to the number of connections, also if gateways share them.
* aiohttp repeats a GET, PUT or DELETE once by itself if a pooled connection is closed. Then one permit of the rate
  limiter covers two requests, and the number of attempts is wrong. So this is disabled; on a borrowed session only for
  our own requests, by a view that shares everything else.
"""

from __future__ import annotations

import asyncio
import copy
import enum
import importlib
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit import Slots
from aelyst_async.transport.events import logger
from aelyst_async.transport.settings import is_loopback

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientSession

__all__ = ["SessionHolder", "SessionState", "load", "make_session"]

CONNECTIONS = 100
"""Largest number of connections of a gateway, and so of requests in flight."""

_KEEPALIVE = 4.0

_SENDER = "aelyst_async.transport.exchange"

_OTHER_LOOP = (
    "this gateway was first used in another event loop, where its connections live; "
    "make one gateway for each asyncio.run() or thread"
)


class SessionState(enum.Enum):
    """The states of a `SessionHolder`."""

    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class SessionHolder:
    """One aiohttp session, ours or borrowed."""

    def __init__(self, borrowed: ClientSession | None, base_url: str) -> None:
        self._base_url = base_url
        self.state: SessionState = SessionState.NEW
        self.own: bool = borrowed is None
        """Whether the session is ours, so that `release` has nothing to do."""
        self.timed: bool = self.own
        """Whether a `Connector` enforces the time-outs of its connections."""
        self._borrowed = borrowed
        self._session: ClientSession | None = None
        self._keeper: AsyncGenerator[ClientSession, None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.usable_in: asyncio.AbstractEventLoop | None = None
        """The loop in which our own session is open, so that `open` has nothing to do."""
        self.slots: Slots = Slots(1)
        """Limits the requests in flight; valid once open."""

    def open(self) -> Slots:
        """Open in the running loop if necessary; return the semaphore that limits requests in flight.

        Raises `ConfigurationError` after `aclose`, in another loop, or when a borrowed session is closed.
        """
        loop = asyncio.get_running_loop()
        if self.state is SessionState.CLOSED:
            raise ConfigurationError("this gateway is closed; make a new one")
        if self._borrowed is not None:
            self._check_borrowed(self._borrowed, loop)
        if self._loop is None:
            if self._borrowed is None:
                proxy_applies(self._base_url)  # raises for an invalid proxy before a request waits for a permit
            self.slots = _slots(self._borrowed)
            self._loop = loop
            if self.own:
                self.usable_in = loop
            self.state = SessionState.OPEN
        elif loop is not self._loop:
            raise ConfigurationError(_OTHER_LOOP)
        return self.slots

    def acquire(self) -> ClientSession:
        """Return the session for one request; return it with `release`. Raises `ConfigurationError` as `open` does,
        because the session may have been closed while the call waited.
        """
        if self._borrowed is None:
            if self._session is not None:  # not closed
                return self._session
            self.open()
            return self._make()
        from aelyst_async.transport.connector import Connector, traced

        self.open()
        view = copy.copy(self._borrowed)
        view._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
        self.timed = isinstance(view.connector, Connector)
        if not self.timed:
            traced(view)
        return view

    def release(self, session: ClientSession) -> None:
        """Release a session that `acquire` has returned."""
        if self._borrowed is not None:
            session.detach()  # else aiohttp reports the view as unclosed

    async def aclose(self) -> None:
        """Close our own session. Idempotent. Raises `ConfigurationError` in another loop."""
        if self.state is SessionState.CLOSED:
            return
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(_OTHER_LOOP)
        self.state, self.usable_in = SessionState.CLOSED, None
        keeper, self._keeper, self._session = self._keeper, None, None
        if keeper is not None:
            await keeper.aclose()

    @staticmethod
    def _check_borrowed(session: ClientSession, running: asyncio.AbstractEventLoop) -> None:
        if session.closed:
            raise ConfigurationError("the session that was passed in is closed; keep it open while the gateway is used")
        if getattr(session, "_loop", running) is not running:
            # Otherwise aiohttp would raise "Timeout context manager should be used inside a task".
            raise ConfigurationError(
                "the session that was passed in was made in another event loop; make it in this one"
            )

    def _make(self) -> ClientSession:
        session = self._session = make_session(self._base_url)
        session._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
        self._keeper = _kept(session)
        # Run the generator to its `yield`, without a task. The loop closes it at its end.
        with suppress(StopIteration):
            self._keeper.__anext__().send(None)
        return session


async def load() -> None:
    """Import aiohttp and the modules that use it in a thread, if necessary. The import is slow and would block the
    event loop at the first call.
    """
    if _SENDER not in sys.modules:
        await asyncio.to_thread(importlib.import_module, _SENDER)


async def _kept(session: ClientSession) -> AsyncGenerator[ClientSession, None]:
    try:
        yield session
    finally:
        await session.close()
        # TLS transports close in the next iterations of the loop; without one, an exit right after this warns.
        await asyncio.sleep(0)


def make_session(base_url: str) -> ClientSession:
    """Return a session for gateways with this `base_url`; the caller closes it. Raises `ConfigurationError` for an
    invalid proxy.
    """
    import aiohttp

    from aelyst_async.transport.connector import Connector

    # With trust_env, aiohttp looks up proxy and netrc in a thread before every request, which costs as much as the
    # request. Without a proxy for this host, trust_env has no use, because our Authorization replaces netrc.
    return aiohttp.ClientSession(
        connector=Connector(limit=CONNECTIONS, keepalive_timeout=_KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=proxy_applies(base_url),
    )


_SHARED_SLOTS: WeakKeyDictionary[BaseConnector, Slots] = WeakKeyDictionary()


def _slots(borrowed: ClientSession | None) -> Slots:
    """Return a semaphore with as many slots as connections. Gateways that borrow one pool share it. Otherwise a request
    would wait in aiohttp's own queue for a connection, and its time-out would look like an unreachable server.
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
    """Whether the environment (``HTTPS_PROXY``, ``NO_PROXY`` …, or the system's settings) has a proxy for `url`.

    False for loopback addresses. Raises `ConfigurationError` for a proxy that aiohttp would ignore or fail on. The
    message does not contain its URL, which may contain a password.
    """
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return False
    proxies = getproxies()
    proxy = proxies.get(parts.scheme)
    if not proxy:
        if proxies.get("all"):
            logger.warning("ALL_PROXY is not used, since aiohttp does not know it; set %s_PROXY", parts.scheme.upper())
        return False
    problem = _proxy_problem(proxy)
    if problem is not None:
        proxy, proxies = None, {}  # they may contain a password
        raise ConfigurationError(
            f"{parts.scheme.upper()}_PROXY (or the system's proxy setting) {problem}; write "
            "http://host:port, exempt this host with NO_PROXY, or pass a session of your own"
        )
    return True


def _proxy_problem(proxy: str) -> str | None:
    from urllib.parse import urlsplit

    scheme, separator, _ = proxy.partition("://")
    if not separator:
        return "has no scheme"
    if scheme.lower() != "http":
        kind = "SOCKS" if scheme.lower().startswith("socks") else f"{scheme[:10]}://"
        return f"names a {kind} proxy, which aiohttp cannot use"
    try:
        parts = urlsplit(proxy)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    return None if valid else "is not a URL with a host"
