"""Reports what a client's rate limiter has learned to a sandbox, so that the sandbox's page can show it.

The limiter's snapshot is read twice a second and sent if it has changed, or after some seconds as a sign of life.
Nothing is queued: the next report is made after the previous one was sent. An error is a line in the debug log.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import attrs

from aelyst_async.errors import ConfigurationError
from aelyst_async.sandbox.account import DEFAULT_ACCOUNT
from aelyst_async.sandbox.limiters import MOST_BUCKETS, PATH_BOUND, TEXT_BOUND, label

if TYPE_CHECKING:
    import aiohttp

    from aelyst_async.ratelimit import BucketSnapshot, RateLimiter

__all__ = ["report_limiter"]

logger: logging.Logger = logging.getLogger("aelyst_async.sandbox.reporting")

_EVERY = 0.5
"""Smallest interval between two snapshots, in seconds."""
_ALIVE = 3.0
"""Seconds after which an unchanged state is sent again, since the sandbox drops a silent client."""
_RETRY = 5.0
"""Seconds before a retry if the sandbox did not answer."""
_PATIENCE = 1.0
"""Time-out of a report, and of the last one at the end, in seconds."""
_SHARE = 20
"""Snapshots are so seldom that they take at most one twentieth of the time."""


@contextlib.asynccontextmanager
async def report_limiter(limiter: RateLimiter, sandbox: str, *, name: str | None = None) -> AsyncIterator[None]:
    """Within the block, show what `limiter` has learned on the page of the sandbox at the address `sandbox`.

    `sandbox` is a `Sandbox.url`, an `Account.url` or the base URL of a gateway. `name` is the client's name on the
    page. Use it in the limiter's event loop. If the sandbox does not answer, nothing fails and the block is not
    delayed. At the end of the block the last state is sent, which takes at most a second. Credentials are not sent: a
    snapshot's ``account`` is replaced by a hash, and queries are removed. Paths are sent, including those of a live
    account whose gateway shares the limiter. Raises `ConfigurationError` for a string that is not an address.
    """
    reporter = _Reporter(limiter, _address(sandbox), name or f"process {os.getpid()}")
    task = asyncio.create_task(reporter.run())
    try:
        yield
    finally:
        reporter.stop.set()
        try:
            await asyncio.wait({task}, timeout=_PATIENCE)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _address(sandbox: str) -> str:
    """Return the URL for the reports of a new client."""
    parts = None
    with contextlib.suppress(ValueError):
        found = urlsplit(sandbox)
        if found.scheme in {"http", "https"} and found.hostname and found.port != 0:
            parts = found
    if parts is None:
        # Without the string, which may contain a password.
        raise ConfigurationError("report_limiter needs the address of a sandbox, such as http://127.0.0.1:8787")
    first = parts.path.split("/")[1] if "/" in parts.path else ""
    account = unquote(first[1:]) if first.startswith("@") else DEFAULT_ACCOUNT
    client = secrets.token_hex(8)
    return f"{parts.scheme}://{parts.netloc}/_sandbox/limiters/{client}?account={quote(account, safe='')}"


class _Reporter:
    def __init__(self, limiter: RateLimiter, address: str, name: str) -> None:
        self.stop = asyncio.Event()
        self._limiter = limiter
        self._address = address
        self._name = name[:TEXT_BOUND]
        self._key = secrets.token_bytes(16)
        self._told: tuple[BucketSnapshot, ...] | None = None
        self._told_at = 0.0

    async def run(self) -> None:
        """Report until `stop` is set, then once more."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        try:
            async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
                while not self.stop.is_set():
                    delay = await self._look(session)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self.stop.wait(), delay)
                await self._send(session, self._limiter.snapshot(), ended=True)
        except Exception as error:  # noqa: BLE001 - an error here must not affect the client
            logger.debug("reporting the limiter ended: %s", type(error).__name__)

    async def _look(self, session: aiohttp.ClientSession) -> float:
        """Report a changed state; return the seconds until the next snapshot."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        buckets = self._limiter.snapshot()
        pause = max(_EVERY, _SHARE * (loop.time() - begun))
        if buckets == self._told and begun - self._told_at < _ALIVE:
            return pause
        if not await self._send(session, buckets, ended=False):
            return _RETRY
        self._told, self._told_at = buckets, begun
        return pause

    async def _send(self, session: aiohttp.ClientSession, buckets: tuple[BucketSnapshot, ...], *, ended: bool) -> bool:
        import aiohttp

        shown = _foremost(buckets)
        report = {
            "name": self._name,
            "ended": ended,
            "more": len(buckets) - len(shown),
            "buckets": [self._shown(bucket) for bucket in shown],
        }
        try:
            # A sandbox never sends a redirect.
            async with session.put(self._address, data=json.dumps(report).encode(), allow_redirects=False) as answer:
                if answer.status == 200:
                    return True
                reason = f"status {answer.status}"
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            reason = type(error).__name__
        logger.debug("the sandbox did not accept the limiter's report: %s", reason)
        return False

    def _shown(self, bucket: BucketSnapshot) -> dict[str, Any]:
        told = attrs.asdict(bucket)
        for name in ("scope", "scope_reason", "state"):
            told[name] = told[name][:TEXT_BOUND]
        told["account"] = label(bucket.account, self._key) if bucket.account else ""
        told["endpoint"] = bucket.endpoint.partition("?")[0][:TEXT_BOUND]
        if bucket.path is not None:
            told["path"] = bucket.path.partition("?")[0][:PATH_BOUND]
        return told


def _foremost(buckets: tuple[BucketSnapshot, ...]) -> list[BucketSnapshot]:
    """Return the buckets for a report: those of endpoints first, then those in use, then the newest."""
    if len(buckets) <= MOST_BUCKETS:
        return list(buckets)

    def rank(number: int) -> tuple[bool, bool, int]:
        bucket = buckets[number]
        return bucket.path is not None, not (bucket.waiting or bucket.in_flight), -number

    return [buckets[number] for number in sorted(heapq.nsmallest(MOST_BUCKETS, range(len(buckets)), key=rank))]
