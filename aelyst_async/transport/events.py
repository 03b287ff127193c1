"""Events that a call reports to its subscribers, for metrics, tracing, progress or logs.

::

    on_call ─▶ ┌ on_wait ─▶ on_request ─▶ on_response ─▶ on_retry ┐ ─▶ on_done
               └───────────────────── each attempt ───────────────┘

A *call* is one request of an adapter with its repeats; an `upsert` may make several calls. `on_wait` is reported only
if the rate limiter delayed the request, and `on_retry` only if another attempt follows. Each `on_call` has an
`on_done`, and each `on_request` has an `on_response`, also if the call fails or is cancelled. All callbacks of a call
run in the task of that call, so a context variable that one sets is visible in the next.

A subscription made during a call starts with the next call. After an unsubscription, the end of a running call is still
reported. So starts and ends are always balanced. Without subscribers, a call costs one truth test.

No event holds a path, a query, a header, a body or a credential: the endpoint is the route's template.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

__all__ = ["Call", "Done", "Event", "Exchange", "Hooks", "Retry", "Sending", "Wait", "Watch"]

logger: logging.Logger = logging.getLogger("aelyst_async")


@attrs.frozen(kw_only=True, eq=False)
class Call:
    """One call. The events of a call refer to the same object; it is hashed and compared by identity.

    ``endpoint`` is the route template, ``base_url`` that of the gateway. Neither contains a contact or a credential.
    """

    provider: str
    base_url: str
    method: str
    endpoint: str


@attrs.frozen(kw_only=True)
class Event:
    """The base of all events except `Call`. ``attempt`` counts from 1."""

    call: Call = attrs.field(repr=False)
    attempt: int

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.call.provider

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.call.method

    @property
    def endpoint(self) -> str:
        """The route template."""
        return self.call.endpoint


@attrs.frozen(kw_only=True)
class Wait(Event):
    """The rate limiter delayed the request for ``waited`` seconds and releases it now."""

    waited: float


@attrs.frozen(kw_only=True)
class Sending(Event):
    """The request is sent now, after it waited ``waited`` seconds for the rate limit."""

    waited: float


@attrs.frozen(kw_only=True)
class Exchange(Event):
    """One attempt has ended.

    Without an answer, ``status`` is None and ``error`` is the name of an error class. ``waited`` is the wait for the
    rate limit before the attempt, ``duration`` the time from sending to the end of the answer, both in seconds.
    """

    status: int | None
    error: str | None
    waited: float
    duration: float


@attrs.frozen(kw_only=True)
class Retry(Event):
    """The attempt failed with the error class ``error``. The next one starts after ``delay`` seconds."""

    error: str
    delay: float


@attrs.frozen(kw_only=True)
class Done(Event):
    """The call has ended. ``attempt`` is the number of requests that were sent.

    ``error`` is the name of the error class that the caller gets, or None. ``duration`` is the time of the whole call
    in seconds, including waits. ``status`` is that of the last answer, or None.
    """

    status: int | None
    error: str | None
    duration: float


@attrs.frozen(kw_only=True, eq=False)
class Hooks:
    """The callbacks of one subscriber; each is optional. They run in the event loop, so they must be quick."""

    on_call: Callable[[Call], object] | None = None
    on_wait: Callable[[Wait], object] | None = None
    on_request: Callable[[Sending], object] | None = None
    on_response: Callable[[Exchange], object] | None = None
    on_retry: Callable[[Retry], object] | None = None
    on_done: Callable[[Done], object] | None = None


E = TypeVar("E", bound=Event)


class Watch:
    """Reports the events of one call to the hooks that were subscribed at its start. Created only if there are
    hooks.
    """

    def __init__(self, hooks: tuple[Hooks, ...], call: Call) -> None:
        self._hooks = hooks
        self._call = call
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._status: int | None = None
        self._sent = 0
        for hook in hooks:
            _tell(hook.on_call, call)

    def sending(self, attempt: int, waited: float) -> None:
        """Report that the request of `attempt` is sent, after `waited` seconds in the limiter."""
        self._sent = attempt
        for hook in self._hooks:
            if waited > 0 and hook.on_wait is not None:
                _tell(hook.on_wait, Wait(call=self._call, attempt=attempt, waited=waited))
            if hook.on_request is not None:
                _tell(hook.on_request, Sending(call=self._call, attempt=attempt, waited=waited))

    def answered(self, attempt: int, status: int | None, error: str | None, waited: float, duration: float) -> None:
        """Report the end of an attempt."""
        self._status = status
        # In reverse order, so that begins and ends are nested.
        for hook in reversed(self._hooks):
            if hook.on_response is not None:
                event = Exchange(
                    call=self._call, attempt=attempt, status=status, error=error, waited=waited, duration=duration
                )
                _tell(hook.on_response, event)

    def retry(self, attempt: int, error: str, delay: float) -> None:
        """Report that another attempt follows."""
        for hook in self._hooks:
            if hook.on_retry is not None:
                _tell(hook.on_retry, Retry(call=self._call, attempt=attempt, error=error, delay=delay))

    def done(self, error: BaseException | None) -> None:
        """Report the end of the call."""
        duration = self._clock() - self._began
        name = None if error is None else type(error).__name__
        for hook in reversed(self._hooks):
            if hook.on_done is not None:
                event = Done(call=self._call, attempt=self._sent, status=self._status, error=name, duration=duration)
                _tell(hook.on_done, event)


def _tell(callback: Callable[[Any], object] | None, event: object) -> None:
    if callback is None:
        return
    try:
        callback(event)
    except Exception as broken:  # noqa: BLE001 - a broken watcher must not break the call that it watches
        # Only the name of its class, because the traceback would show the call's error, and with it the contact.
        logger.error("a hook for %s raised %s", type(event).__name__, type(broken).__name__)  # noqa: TRY400
