"""The right to send one request, from asking for it to saying what became of it.

A request is one object as long as nobody waits: its permit is what the bucket keeps of it. `limiter` lets go whoever
has to wait.
"""

# ruff: noqa: SLF001 - permit and limiter are one mechanism in two modules

from __future__ import annotations

from collections.abc import Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.books import Sent
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.headers import read
from aelyst_async.ratelimit.slots import Slots

if TYPE_CHECKING:
    from aelyst_async.ratelimit.lane import Lane
    from aelyst_async.ratelimit.limiter import RateLimiter

__all__ = ["Permit"]


class Permit(Sent):
    """The right to send one request. ``async with limiter.permit(…) as permit``; see `RateLimiter.permit`."""

    __slots__ = (
        "_bucket", "_deadline", "_key", "_lane", "_limiter", "_max_wait", "_path", "_retry", "_slots", "waited",
    )  # fmt: skip

    _limiter: RateLimiter
    _key: tuple[str, str]
    _path: str | None
    _retry: bool
    _deadline: float | None
    _max_wait: float | None
    _slots: Slots | None
    _lane: Lane
    _bucket: Bucket | None
    """Set while we hold the right."""
    waited: float
    """Seconds between asking and getting."""

    async def __aenter__(self) -> Permit:  # noqa: PYI034 - typing has no Self on 3.10
        limiter = self._limiter
        lane = limiter._usual.get(self._key)
        if lane is None or limiter._thread != get_ident() or not limiter._running():
            lane = limiter._lane(self._key, self._path)
        now = limiter._time()
        slots = self._slots
        if not lane.waiting and lane.group.paused_until <= now and (slots is None or slots.free > 0):
            bucket = lane.bucket
            if bucket.send(self, now):
                if slots is not None:
                    slots.free -= 1
                self._lane = lane
                self._bucket = bucket
                return self
        waiter = limiter._enqueue(self, lane, now)
        try:
            wait = await waiter.future
        except BaseException:  # cancelled, or the coroutine is closed
            if waiter.lane is not None:
                limiter._leave(waiter, waiter.lane)
            if self._bucket is not None:
                self.unsent()
                if slots is not None:
                    slots.give_back()
            raise
        finally:
            if waiter.expiry is not None:
                limiter._unlist(waiter.expiry)
        if self._bucket is None:
            raise limiter._refusal(self._key, wait)
        self.waited = wait
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bucket = self._bucket
        if bucket is not None:
            # Nobody can say whether the server counted it; what may have been spent is taken as spent.
            self._bucket = None
            bucket.lost(self)
            lane, limiter = self._lane, self._limiter
            if lane.waiting or limiter.on_change is not None:
                limiter._changed(lane)
        if self._slots is not None:
            self._slots.give_back()

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell what the server answered. Only the first call of `observe` or `unsent` counts.

        Raises `ConfigurationError` for headers that are no mapping of text to text; the permit is as it was then.
        """
        bucket = self._bucket
        if bucket is not None:
            try:
                quota = read(headers)
            except (AttributeError, TypeError):
                what = type(headers).__name__
                raise ConfigurationError(
                    f"permit.observe: headers must map text to text, as response.headers does; this {what} does not"
                ) from None
            self._bucket = None
            self._limiter._answered(self, bucket, status, quota)

    def unsent(self) -> None:
        """Give the permit back: the request surely never left."""
        bucket = self._bucket
        if bucket is not None:
            self._bucket = None
            bucket.unsent(self)
            lane, limiter = self._lane, self._limiter
            if lane.waiting or limiter.on_change is not None:
                limiter._changed(lane)
