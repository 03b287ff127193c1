"""One call of an adapter, from its `Request` to its result.

::

    adapter ──Request──▶ rate limiter ──permit──▶ exchange ──Response──▶ decode ──▶ result
                 ▲                                   │                     │
                 └──────── backoff ◀─── TransportError, 429, 449, 5xx ─────┘

``decode`` is the adapter's pure function from an answer to a result or an error. It runs inside the loop, so that
an error which a vendor hides in a 200 is retried by the same rules as one that it sends as a status.

Every attempt pays the rate limiter, repeats included. A repeat after a 429 does not sleep here first: it queues in
the limiter's lane for repeats, whose bucket knows the pause, and is held back here only if the limiter would let it
go before the server's Retry-After.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from aelyst_async.errors import (
    AuthenticationError,
    ConfigurationError,
    ContactsError,
    RateLimitedError,
    ResponseDecodeError,
)
from aelyst_async.ratelimit import Permit, RateLimiter, Slots
from aelyst_async.transport.credentials import Auth, Credential, Secret, fingerprint
from aelyst_async.transport.events import Call, Hooks, Watch, logger
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.redaction import Redactor
from aelyst_async.transport.retry import Backoff, RetryPolicy, with_attempts, with_doubt, with_note
from aelyst_async.transport.session import SessionHolder
from aelyst_async.transport.settings import connect_within

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["Transport"]

T = TypeVar("T")

_FRESH = 1.0
"""Seconds for which a credential is used without asking its callable again."""

_LARGE = 64 * 1024
"""Bytes of a body from which on it is decoded in a thread; less takes the event loop a few milliseconds at most."""


class _Course:
    """What one call carries from attempt to attempt."""

    __slots__ = ("asked_after_401", "attempt", "deadline", "last", "not_before", "renewed", "secret")

    def __init__(self) -> None:
        self.attempt = 0
        self.deadline: float | None = None  # of the loop's clock; set when the first request may go
        self.not_before = 0.0
        self.last: ContactsError | None = None
        self.secret: Secret | None = None
        self.renewed: Secret | None = None  # returned by the callable after a 401, and not yet used
        self.asked_after_401 = False


class Transport:
    """Sends requests of one provider with one credential. `aelyst_async.adapter.HttpGateway` owns one."""

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        auth: Auth,
        credential: Credential,
        session: ClientSession | None,
        limiter: RateLimiter,
        timeout: dict[str, Any],
    ) -> None:
        self.provider = provider
        self.base_url = base_url
        self.limiter = limiter
        self.redactor = Redactor()
        self.hooks: list[Hooks] = []
        self._auth = auth
        self._credential = credential
        self._timeout = timeout
        self._session = SessionHolder(session, base_url)
        self._account: str | None = None

    async def aclose(self) -> None:
        """Close our session, leave a borrowed one open. Idempotent."""
        await self._session.aclose()

    @property
    def state(self) -> str:
        """``new``, ``open`` or ``closed``."""
        return self._session.state.value

    async def account(self, key: bytes = b"") -> str:
        """Return 32 hex digits that name provider, base URL and account: a hash keyed with `key`.

        The account is the name that the credential's callable gives it, else the credential.
        """
        return self._named(None if self._credential.account else await self._secret(), key)

    async def call(self, request: Request, decode: Callable[[Response], T], policy: RetryPolicy) -> T:
        """Send `request`, repeat it as `policy` and the rules of `retry` allow, and return what `decode` makes of it.

        Raises any `ContactsError`.
        """
        if not self.hooks:
            return await self._repeat(request, decode, policy, None)
        call = Call(provider=self.provider, base_url=self.base_url, method=request.method, endpoint=request.endpoint)
        watch = Watch(tuple(self.hooks), call)
        error: BaseException | None = None
        try:
            return await self._repeat(request, decode, policy, watch)
        except BaseException as failure:
            error = failure
            raise
        finally:
            watch.done(error)
            del error  # or frame, traceback and error hold each other until the garbage collector comes

    async def _repeat(
        self, request: Request, decode: Callable[[Response], T], policy: RetryPolicy, watch: Watch | None
    ) -> T:
        slots = self._session.open()
        backoff = Backoff(policy)
        course = _Course()
        while True:
            course.attempt += 1
            failure: ContactsError
            try:
                response = await self._admitted(request, course, policy, slots, watch)
                try:
                    small = len(response.body) < _LARGE
                    return decode(response) if small else await asyncio.to_thread(decode, response)
                except ContactsError as refusal:
                    # Without the frames of the decoding: their variables hold the body, which may echo the credential.
                    failure = refusal.with_traceback(None)
                    if isinstance(refusal, ResponseDecodeError) and response.close is not None:
                        response.close()  # what comes next on this connection may be the answer to another request
                finally:
                    del response
            except ContactsError as error:
                failure = error
            # Below, outside `except`: an error raised there must not carry this one in its chain.
            try:
                delay = await self._pause(failure, request, course, backoff, policy)
                if watch is not None:
                    watch.retry(course.attempt, type(failure).__name__, delay)
                if isinstance(failure, RateLimitedError) and failure.retry_after is not None:
                    course.not_before = asyncio.get_running_loop().time() + delay
                elif delay > 0:
                    await asyncio.sleep(delay)
            finally:
                del failure  # or frame, traceback and error hold each other until the garbage collector runs

    async def _admitted(
        self, request: Request, course: _Course, policy: RetryPolicy, slots: Slots, watch: Watch | None
    ) -> Response:
        """Have a credential and a permit, then send once.

        Nothing that may hang holds a permit: one that came so late that the credential must be asked for again is given
        back for that time, and had again before all first comers.
        """
        loop = asyncio.get_running_loop()
        secret = course.renewed or await self._secret(course, policy)
        course.renewed = None
        front = course.deadline is not None
        settled = self._credential.fixed
        while True:
            async with self._permit(request, secret, course.deadline, policy, slots, front=front) as permit:
                now = loop.time()
                if course.deadline is None:
                    course.deadline = now + policy.total
                early = course.not_before - now
                stale = permit.waited > _FRESH and not settled
                if early <= 0 and not stale:
                    course.secret = secret
                    return await self._attempt(request, secret, permit, course.attempt, course.deadline, watch)
                permit.unsent()
            if early > 0:
                await asyncio.sleep(early)
            if stale:
                secret = await self._secret(course, policy)
                settled = front = True

    async def _pause(
        self, failure: ContactsError, request: Request, course: _Course, backoff: Backoff, policy: RetryPolicy
    ) -> float:
        """Return the seconds until the next attempt. Where there is none, raise what the call ends with."""
        last, attempt = course.last, course.attempt
        try:
            if _nothing_sent(failure):
                attempt -= 1
                if last is not None:
                    # The limiter would have to wait too long, the credential is gone, or the gateway was closed: no
                    # repeat was sent. What came of the last attempt says more, whether it may have been applied above
                    # all.
                    if isinstance(last, RateLimitedError) and isinstance(failure, RateLimitedError):
                        last.retry_after = failure.retry_after
                    else:
                        with_note(last, f"not repeated: {failure}")
                    raise with_attempts(last, attempt)
            with_attempts(failure, attempt)
            if last is not None:
                with_doubt(failure, last)
            course.last = failure
            if await self._rotated(failure, course, policy):
                return 0.0
            delay = self._next_delay(backoff, failure, request, attempt, course.deadline, policy)
            if delay is None:
                raise failure
            return delay
        finally:
            del failure, last

    async def _rotated(self, failure: ContactsError, course: _Course, policy: RetryPolicy) -> bool:
        """After a 401, ask a callable once more. True: it returns another credential, so the request is sent again.

        A 401 was not carried out, so this is safe for every method; it does not count against ``max_attempts``.
        """
        refused = isinstance(failure, AuthenticationError) and failure.status != 403
        if not refused or self._credential.fixed or course.asked_after_401:
            return False
        course.asked_after_401 = True
        try:
            fresh = await self._secret(course, policy)
        except ContactsError:
            return False
        if fresh == course.secret:
            return False
        course.renewed = fresh
        return True

    def _next_delay(
        self,
        backoff: Backoff,
        failure: ContactsError,
        request: Request,
        attempt: int,
        deadline: float | None,
        policy: RetryPolicy,
    ) -> float | None:
        """Return the seconds until the next attempt, or None if there is to be none."""
        if attempt >= policy.max_attempts or deadline is None:
            return None
        delay = backoff.delay(failure, repeatable=request.repeatable)
        if delay is None:
            return None
        left = deadline - asyncio.get_running_loop().time()
        if delay >= left:
            with_note(failure, f"not repeated: the next attempt may go in {delay:.0f} s, the call ends in {left:.0f} s")
            return None
        logger.info(
            "%s %s failed with %s, attempt %d; again in %.2f s",
            request.method, request.endpoint, type(failure).__name__, attempt, delay,
        )  # fmt: skip
        return delay

    async def _secret(self, course: _Course | None = None, policy: RetryPolicy | None = None) -> Secret:
        """Return the credential, within the time-out of one attempt and what is left of the call.

        Raises `ConfigurationError`, `RequestTimeoutError`.
        """
        within: float = self._timeout["total"]
        if course is not None and policy is not None:
            now = asyncio.get_running_loop().time()
            within = min(within, policy.total if course.deadline is None else max(course.deadline - now, 0.001))
        secret = await self._credential.resolve(within)
        self.redactor.learn(secret.reveal())
        return secret

    def _named(self, secret: Secret | None, key: bytes = b"") -> str:
        if (account := self._credential.account) is not None:
            # One part more than a token has, so no token has the same name.
            return fingerprint(account, self.provider, self.base_url, "account", key=key)
        assert secret is not None
        return fingerprint(secret.reveal(), self.provider, self.base_url, key=key)

    def _permit(
        self,
        request: Request,
        secret: Secret,
        deadline: float | None,
        policy: RetryPolicy,
        slots: Slots,
        *,
        front: bool,
    ) -> AbstractAsyncContextManager[Permit]:
        """Ask the limiter, for a connection as well. Before the first request the queue may take as long as it takes,
        but a pause that the server has ordered may not last longer than the call; a repeat waits no longer than the
        call either way.
        """
        if self._account is None:
            # Kept while the credential rotates: the quota is the account's, and so is what was learned of it.
            self._account = self._named(secret)
        now = asyncio.get_running_loop().time()
        return self.limiter.permit(
            f"{request.method} {request.endpoint}",
            account=self._account,
            path=request.path,
            retry=front,
            deadline=now + policy.total if deadline is None else deadline,
            max_wait=None if deadline is None else max(0.0, deadline - now),
            slots=slots,
        )

    async def _attempt(
        self,
        request: Request,
        secret: Secret,
        permit: Permit,
        attempt: int,
        deadline: float,
        watch: Watch | None,
    ) -> Response:
        """Send once: report the outcome to the limiter, the log and the subscribers."""
        from aelyst_async.transport.exchange import exchange  # imports aiohttp

        try:
            self._session.open()  # it may have been closed while we waited
        except BaseException:
            permit.unsent()
            raise
        loop = asyncio.get_running_loop()
        started = loop.time()
        status: int | None = None
        error: str | None = None
        if watch is not None:
            watch.sending(attempt, permit.waited)
        try:
            with self._session.use() as session:
                response = await exchange(
                    session,
                    request,
                    base_url=self.base_url,
                    auth=self._auth,
                    secret=secret,
                    timeout=self._bounded(deadline - started),
                    redactor=self.redactor,
                    permit=permit,
                    attempt=attempt,
                )
            status = response.status
            return response
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            duration = loop.time() - started
            self._log(request, status, error, attempt, permit.waited, duration)
            if watch is not None:
                watch.answered(attempt, status, error, permit.waited, duration)

    def _bounded(self, left: float) -> dict[str, Any]:
        """Return the time-outs of one attempt, cut to what is left of the call's deadline."""
        if left >= self._timeout["total"]:
            return self._timeout
        left = max(left, 0.001)
        bounded = {name: min(value, left) for name, value in self._timeout.items()}
        return {**bounded, "connect": min(bounded["connect"], connect_within(left))}

    def _log(
        self,
        request: Request,
        status: int | None,
        error: str | None,
        attempt: int,
        waited: float,
        duration: float,
    ) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s -> %s in %.1f ms, attempt %d, waited %.1f ms for the rate limit",
                request.method, request.endpoint, status or error, duration * 1000, attempt, waited * 1000,
                extra={
                    "provider": self.provider, "http_method": request.method, "endpoint": request.endpoint,
                    "http_status": status, "error": error, "attempt": attempt, "duration": duration, "waited": waited,
                },
            )  # fmt: skip


def _nothing_sent(failure: ContactsError) -> bool:
    """Whether the attempt ended before a request: the limiter refused it, or there is no credential or session."""
    return isinstance(failure, ConfigurationError) or getattr(failure, "attempts", 1) == 0
