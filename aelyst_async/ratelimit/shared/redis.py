"""`RedisQuota`: the place where processes and hosts reserve requests of one quota. Needs the extra ``redis``.

The rules are in ``redis.lua``, one script that Redis runs as one step. This module calls it and turns its answer into
times of the event loop. What happens:

- **The clock** is Redis' ``TIME`` alone. A reply tells Redis' time, so the loop's time of a slot is known but for the
  reply's way: late by about the shortest way seen, which is the same for all slots of a process (`_Clock`).
- **Names**: a bucket is one hash, its key a keyed hash of account, endpoint and path. All keys have one hash tag, so
  that a cluster keeps them together, and all expire. The salt is told, or made once and kept in Redis.
- **A call fails**: it is repeated soon. Slots of a call that timed out may have been granted; they lapse.
- **Redis is away** for longer than `_PATIENCE`: requests wait, or each process sends at the rate divided by the number
  of members that it knew last, at least by two. What was never known is not sent.
- **Redis is back**, empty or not: half the rate for one window, since nobody knows what the last window holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import secrets
from collections import OrderedDict
from importlib import resources
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.quota import Quota
from aelyst_async.ratelimit.shared import Demand, Reservation
from aelyst_async.ratelimit.window import USUAL

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

__all__ = ["RedisQuota"]

logger: logging.Logger = logging.getLogger("aelyst_async.ratelimit")

_OLDEST = 6
"""The oldest major version of Redis that is supported. Valkey tells a Redis version from 7 on."""

_HORIZON = 0.1
"""Seconds for which slots are reserved ahead: few round trips, and little is lost when a process ends."""

_PATIENCE = 1.0
"""Seconds of failed calls after which Redis counts as away. Source: ten time-outs, longer than a busy host stalls."""

_PROBE = 0.25
"""Seconds between calls while Redis is away."""

_AGAIN = 0.02
"""Seconds until the first repeats of a failed call."""

_DRIFT = 0.001
"""Seconds per second by which two hosts' clocks may drift apart. Source: twice what NTP corrects (500 ppm)."""

_SLEW = 0.01
"""Seconds per second by which our idea of Redis' clock is corrected. Source: a third of `_LATE`."""

_LATE = 0.03
"""Part of the window by which a slot may be used late; as in the script."""

_CLOSE = 0.07
"""Part by which a learned window may differ from a usual one that is meant. Source: connections that open, measured."""

_MOST_KNOWN = 10_000
"""Buckets remembered. Source: as many as a limiter keeps."""

_SOURCES = {None: 0, "learned": 1, "server": 2, "user": 3}


class _AwayError(Exception):
    """Redis cannot be asked now."""


@attrs.define
class _Known:
    """What was told last of one bucket, for the time when Redis is away or has lost its data."""

    quota: Quota | None = None
    source: int = 0
    alone: bool = False
    """Whether this process sends by its own bucket."""
    unknown: bool = False
    """Whether all members do, since the server shows no quota."""
    apart: bool = False
    """Whether requests were sent without Redis since it answered last."""
    ready: float = -math.inf
    """The loop's time of the next slot of our own while Redis is away."""


class _Clock:
    """The loop's time at which Redis' clock shows a time."""

    def __init__(self) -> None:
        self._offset, self._at = -math.inf, -math.inf  # Redis' time is the loop's and at least this much
        self.lead = 0.0
        """Seconds by which replies came later than the fastest, lately."""

    def answered(self, began: float, now: float, theirs: float) -> None:
        """A call that began at the loop's time `began` returned at `now`; in between, Redis' clock showed `theirs`."""
        least, most, past = theirs - now, theirs - began, now - self._at
        offset = self._offset - _DRIFT * past
        if offset > most or least > offset + 1:  # the first reply, or Redis' clock was set
            offset = least
        elif least > offset:  # a faster reply; slots that moved ahead at once would crowd those before
            offset += min(least - offset, _SLEW * past)
        self._offset, self._at = offset, now
        self.lead = max(0.9 * self.lead, offset - least)

    def loop_time(self, theirs: float) -> float:
        """Return the loop's time at which Redis' clock surely shows `theirs` or later."""
        return theirs - self._offset


class RedisQuota:
    """One quota for all processes and hosts that use the same Redis: ``RateLimiter(shared=RedisQuota(url))``.

    ``url``: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and database as redis-py takes them;
    Redis from 6 or Valkey. ``on_outage``: while Redis is away, ``"local"`` lets each process send its part of the
    quota, ``"wait"`` lets none send. ``timeout``: seconds for one call. ``namespace``: begins all keys. ``salt``:
    keys the hashes that name accounts; the same in all processes. By default one is made and kept in Redis.

    Raises `ConfigurationError` for other values and where redis-py is missing. No I/O is done before the first
    request. A wrong password, a server that is too old, another salt, and a key of another program are raised as
    `ConfigurationError` to the callers that wait for a permit. Close it with `aclose`, or ``async with``.
    """

    def __init__(
        self, url: str, *, on_outage: Literal["local", "wait"] = "local", timeout: float = 0.1,
        namespace: str = "aelyst", salt: str | None = None,
    ) -> None:  # fmt: skip
        try:
            import redis.asyncio
        except ImportError:
            raise ConfigurationError(
                "RedisQuota needs redis-py; install it with: pip install 'aelyst-async[redis]'"
            ) from None
        if on_outage not in {"local", "wait"}:
            raise ConfigurationError(f"RedisQuota: on_outage must be 'local' or 'wait', not {on_outage!r}")
        number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not number or not 0 < timeout < math.inf:
            raise ConfigurationError(f"RedisQuota: timeout must be a number of seconds above 0, not {timeout!r}")
        if not isinstance(namespace, str) or not namespace or set(namespace) & set("{}"):
            raise ConfigurationError("RedisQuota: namespace must be a str without braces, not empty")
        if salt is not None and (not isinstance(salt, str) or not salt):
            raise ConfigurationError("RedisQuota: salt must be a str, not empty, or None")
        readable = True
        try:
            redis.asyncio.ConnectionPool.from_url(url)
        except (AttributeError, TypeError, ValueError):
            readable = False
        if not readable:  # outside of the handler: redis-py's error may show the password, and is in no chain
            raise ConfigurationError(
                "RedisQuota: url is no address of a Redis server; write redis://host:6379/0, rediss://… or unix://…"
            )
        self._url, self._timeout, self._wait = url, timeout, on_outage == "wait"
        self._namespace = namespace
        self._told = salt
        self._salt = b"" if salt is None else _digest(salt.encode(), b"aelyst-salt")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Redis | None = None
        self._script: AsyncScript | None = None
        self._clock = _Clock()
        self._round_trip = 0.0
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._members = 0  # in all buckets together, as told last
        self._failing = math.inf  # since then all calls fail
        self._away = False
        self._trouble = ""  # of the last call that failed, in one word
        self._probe_at = -math.inf

    def __repr__(self) -> str:
        return f"<RedisQuota namespace={self._namespace!r}>"

    async def __aenter__(self) -> RedisQuota:  # noqa: PYI034 - typing has no Self on 3.10
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Idempotent; a later request opens new ones."""
        client, self._client, self._script = self._client, None, None
        if client is not None and self._loop is asyncio.get_running_loop():
            from redis.exceptions import RedisError

            with contextlib.suppress(RedisError, OSError):  # it is closed nevertheless
                await client.aclose()

    # -- SharedQuota ------------------------------------------------------------------------------------------------

    async def reserve(self, demand: Demand, want: int) -> Reservation:
        """See `SharedQuota.reserve`."""
        known = self._of(demand)
        if not want and self._client is None:
            return Reservation()  # closed
        horizon = min(max(_HORIZON, 2 * self._round_trip), 1.0)
        lead = max(0.0, self._clock.lead - 0.5 * _LATE * (known.quota.per if known.quota else 1.0))
        try:
            reply = await self._call("reserve", demand, known, want, _us(lead), _us(horizon))
        except _AwayError:
            return self._without(known, demand, want)
        mode, granted, wait, every, late, pause, now, *rest = reply
        self._remember(known, _text(mode), *rest)
        at = self._clock.loop_time(now / 1e6)
        first = at + wait / 1e6
        paused_until = at + pause / 1e6 if pause else -math.inf
        window = known.quota.per if known.quota else None
        if known.alone or known.unknown:
            return Reservation(window=window, alone_until=first, paused_until=paused_until)
        return Reservation(granted, first, every / 1e6, late / 1e6, window, paused_until=paused_until)

    async def report(self, demand: Demand, limit: int | None, remaining: int | None, pause: float | None) -> None:
        """See `SharedQuota.report`."""
        if self._client is None:
            raise ConnectionError("closed")
        known = self._of(demand)
        if pause is not None:
            known.ready = max(known.ready, asyncio.get_running_loop().time() + pause)
        seen = (limit or 0, -1 if remaining is None else remaining, -1 if pause is None else _us(pause))
        try:
            _, _, _, _, _, _, _, *rest = await self._call("report", demand, known, *seen)
        except _AwayError as error:
            raise ConnectionError("Redis cannot be asked now") from error
        self._remember(known, None, *rest)

    # -- what is known ----------------------------------------------------------------------------------------------

    def _of(self, demand: Demand) -> _Known:
        """Return what is known of the bucket. What the user or the server tells this process comes first."""
        name = demand.member + "\n" + demand.bucket
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _Known()
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        source = _SOURCES[demand.source]
        # Beside other members, what this process learns is wrong: it sees a part of the requests only.
        quota = demand.quota
        if quota is not None and (source > known.source or source == known.source > 1 or known.alone):
            known.quota, known.source = _usual(quota) if source == 1 else quota, source
        return known

    def _remember(self, known: _Known, mode: str | None, limit: int, per: int, source: int, members: int) -> None:
        if limit and per:
            known.quota, known.source = Quota(limit, per / 1e6), source
        self._members, known.apart = members, False
        if mode is not None:
            known.alone, known.unknown = mode == "alone", mode == "unknown"

    def _without(self, known: _Known, demand: Demand, want: int) -> Reservation:
        """Answer without Redis."""
        now, trouble = asyncio.get_running_loop().time(), f"Redis: {self._trouble}"
        if not self._away:
            return Reservation(first=now + _AGAIN, trouble=trouble)
        if known.unknown and want and not self._wait:
            return Reservation(alone_until=now + _PROBE, trouble=trouble)
        if self._wait or not want or known.quota is None or not self._members:
            return Reservation(first=max(now + _AGAIN, self._probe_at), trouble=trouble)
        # Never the full limit: a member may have come that we do not know of.
        quota, part = known.quota, max(2, self._members)
        if not known.apart:
            known.apart = True
            known.ready = max(known.ready, now + (quota.per if known.alone else _HORIZON))
        most = quota.limit * demand.share / part
        every = (1 + _LATE) * quota.per / (math.floor(most) or most)
        start = max(now, known.ready)
        if start > now + _HORIZON:
            return Reservation(first=start - _HORIZON, trouble=trouble)
        granted = min(want, int((now + _HORIZON - start) / every) + 1)
        known.ready = start + granted * every
        return Reservation(granted, start, every, _LATE * quota.per, quota.per, trouble=trouble)

    # -- calls ------------------------------------------------------------------------------------------------------

    async def _open(self, loop: asyncio.AbstractEventLoop) -> AsyncScript:
        """Return the script, once the server is known to be new enough and the salt is known."""
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        if self._client is None or self._loop is not loop:
            self._loop, self._script, self._clock = loop, None, _Clock()
            self._client = redis.asyncio.Redis.from_url(
                self._url, socket_timeout=self._timeout, socket_connect_timeout=self._timeout,
                retry=Retry(NoBackoff(), 0),  # a call that timed out may have been run
            )  # fmt: skip
        client = self._client
        if self._script is None:
            version = str((await client.info("server"))["redis_version"])
            if int(version.partition(".")[0]) < _OLDEST:
                raise ConfigurationError(
                    f"RedisQuota: this is Redis {version}; use Redis {_OLDEST} or later, or Valkey"
                )
            source = resources.files("aelyst_async.ratelimit.shared").joinpath("redis.lua").read_text("utf-8")
            self._script = client.register_script(source)
        script = self._script
        if not self._salt:
            stored = _text(await client.hget(f"{{{self._namespace}}}:members", "salt") or b"")
            if stored and not stored.startswith("kept:"):
                raise ConfigurationError(f"RedisQuota: {_MEANINGS['AELYSTSALT']}")
            self._salt = bytes.fromhex(stored[5:]) if stored else secrets.token_bytes(16)
        return script

    @property
    def _check(self) -> str:
        """What Redis keeps of the salt: a salt that was made; of one that was told, a hash."""
        return f"kept:{self._salt.hex()}" if self._told is None else f"told:{_digest(b'check', self._salt).hex()}"

    def _failed(self, now: float, trouble: str) -> None:
        self._failing, self._trouble = min(self._failing, now), trouble
        if not self._away and now - self._failing >= _PATIENCE:
            self._away = True
            waits = self._wait or not self._members
            what = (
                "requests wait for it" if waits else "until it does, each process sends its part of the quota at most"
            )
            logger.warning("the shared quota's Redis does not answer (%s); %s", trouble, what)

    async def _call(self, operation: str, demand: Demand, known: _Known, *rest: int) -> list[Any]:
        """Run the script and return its reply. Raises `_AwayError` and `ConfigurationError`."""
        loop = asyncio.get_running_loop()
        if self._away and loop.time() < self._probe_at:
            raise _AwayError
        self._probe_at = loop.time() + _PROBE * (0.5 + secrets.randbelow(1000) / 1000)
        reply, trouble = await self._try(loop, operation, demand, known, *rest)
        if trouble == "AELYSTSALT" and self._told is None:
            self._salt = b""  # another process made one first, or Redis was emptied
            reply, trouble = await self._try(loop, operation, demand, known, *rest)
        if trouble in _MEANINGS:
            raise ConfigurationError(f"RedisQuota: {_MEANINGS[trouble]}")
        if trouble:
            self._failed(loop.time(), trouble)
            raise _AwayError
        if self._away:
            logger.warning("the shared quota's Redis answers again; for one window, half of the quota is used")
        self._away, self._failing = False, math.inf
        return reply

    async def _try(
        self, loop: asyncio.AbstractEventLoop, operation: str, demand: Demand, known: _Known, *rest: int
    ) -> tuple[list[Any], str]:
        """Return the script's reply, and in one word what went wrong. No error of redis-py leaves this method: it may
        show an address, and be in the chain of another one.
        """
        from redis import exceptions

        try:
            script = await self._open(loop)
            keys, arguments = self._arguments(operation, demand, known, *rest)
            began = loop.time()
            reply: list[Any] = await script(keys, arguments)
        except (exceptions.RedisError, OSError, EOFError) as error:
            return [], _code(error)
        now = loop.time()
        self._clock.answered(began, now, reply[6] / 1e6)
        self._round_trip += (now - began - self._round_trip) / 8
        return reply, ""

    def _arguments(
        self, operation: str, demand: Demand, known: _Known, *rest: int
    ) -> tuple[list[str], list[str | int | float]]:
        tag = f"{{{self._namespace}}}"
        keys = [f"{tag}:bucket:{_digest(demand.bucket.encode(), self._salt).hex()}", f"{tag}:members"]
        quota = known.quota
        limit, per = (0, 0) if quota is None else (quota.limit, _us(quota.per))
        return keys, [
            operation, demand.member, self._check, demand.sent, demand.share, limit, per, known.source,
            int(known.apart), *rest,
        ]  # fmt: skip


_MEANINGS = {
    "NOAUTH": "Redis refused user or password; write them into the URL, as in redis://user:password@host:6379/0",
    "NOPERM": "Redis does not let this user run scripts on the keys of the namespace; allow +@all ~{namespace}* to it",
    "DATABASE": "Redis has no database of this number; write another one into the URL, as in redis://host:6379/0",
    "AELYSTKEY": "a key of the namespace belongs to another program or version; choose another namespace",
    "WRONGTYPE": "a key of the namespace belongs to another program; choose another namespace",
    "AELYSTSALT": "another salt is in use in this namespace; use one salt in all processes, or another namespace",
    "MOVED": "this is one node of a Redis Cluster; use a Redis that is not a cluster",
}
"""What is wrong and what to do, by the code of Redis' error."""


def _code(error: Exception) -> str:
    """Return what is wrong, in one word without an address: the code of Redis' error, else its class."""
    from redis import exceptions

    if isinstance(error, exceptions.NoPermissionError):
        return "NOPERM"
    if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthorizationError)):
        return "NOAUTH"
    if isinstance(error, exceptions.MovedError):
        return "MOVED"
    text = str(error)
    if text == "Invalid Database":
        return "DATABASE"
    word = text.partition(" ")[0]
    return word if type(error) is exceptions.ResponseError and word.isupper() else type(error).__name__


def _usual(quota: Quota) -> Quota:
    """Return the quota with the usual window that is meant."""
    per = min(USUAL, key=lambda usual: abs(usual - quota.per))
    return attrs.evolve(quota, per=per) if abs(per - quota.per) < _CLOSE * per else quota


def _digest(text: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(text, key=key, digest_size=16).digest()


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
