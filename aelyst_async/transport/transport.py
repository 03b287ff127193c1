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

from aelyst_async.errors import ConfigurationError, ContactsError, RateLimitedError
from aelyst_async.ratelimit import Permit, RateLimiter, Slots
from aelyst_async.transport.credentials import Auth, Credential, Secret, fingerprint
from aelyst_async.transport.events import Call, Hooks, Watch
from aelyst_async.transport.exchange import exchange, logger
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.redaction import Redactor
from aelyst_async.transport.retry import Backoff, RetryPolicy, with_attempts, with_doubt
from aelyst_async.transport.session import SessionHolder
from aelyst_async.transport.settings import connect_within

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["Transport"]

T = TypeVar("T")

_FRESH = 1.0
"""Seconds for which a credential is used without asking its source again."""


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
        """Return 32 hex digits that name provider, base URL and credential: a hash keyed with `key`."""
        return fingerprint(await self._secret(), self.provider, self.base_url, key=key)

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
        loop = asyncio.get_running_loop()
        slots = self._session.open()
        backoff = Backoff(policy)
        attempt = 0
        deadline: float | None = None
        not_before = 0.0
        last: ContactsError | None = None
        while True:
            attempt += 1
            failure: ContactsError
            try:
                secret = await self._secret()
                while True:
                    async with self._permit(request, secret, deadline, policy, slots) as permit:
                        if deadline is None:
                            deadline = loop.time() + policy.total
                        if (early := not_before - loop.time()) <= 0:
                            response = await self._attempt(request, secret, permit, attempt, deadline, watch)
                            break
                        permit.unsent()
                    await asyncio.sleep(early)
                try:
                    return decode(response)
                except ContactsError as refusal:
                    # Without the frames of the decoding: their variables hold the body, which may echo the credential.
                    failure = refusal.with_traceback(None)
            except ContactsError as error:
                failure = error
            # Below, outside `except`: an error raised there must not carry this one in its chain.
            try:
                if last is not None and (_refused_by_limiter(failure) or isinstance(failure, ConfigurationError)):
                    # The limiter would have to wait too long, the credential is gone, or the gateway was closed: no
                    # repeat was sent. What came of the last attempt says more, whether it may have been applied above
                    # all.
                    if isinstance(last, RateLimitedError) and isinstance(failure, RateLimitedError):
                        last.retry_after = failure.retry_after
                    else:
                        vars(last)["__notes__"] = [f"not repeated: {failure}"]  # add_note comes with Python 3.11
                    raise with_attempts(last, attempt - 1)
                with_attempts(failure, attempt - 1 if _refused_by_limiter(failure) else attempt)
                if last is not None:
                    with_doubt(failure, last)
                last = failure
                delay = self._next_delay(backoff, failure, request, attempt, deadline, policy)
                if delay is None:
                    raise failure
                if watch is not None:
                    watch.retry(attempt, type(failure).__name__, delay)
                if isinstance(failure, RateLimitedError) and failure.retry_after is not None:
                    not_before = loop.time() + delay
                else:
                    await asyncio.sleep(delay)
            finally:
                del failure  # or frame, traceback and error hold each other until the garbage collector comes

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
        if delay is None or asyncio.get_running_loop().time() + delay >= deadline:
            return None
        logger.info(
            "%s %s failed with %s, attempt %d; again in %.2f s",
            request.method, request.endpoint, type(failure).__name__, attempt, delay,
        )  # fmt: skip
        return delay

    async def _secret(self) -> Secret:
        secret = await self._credential.resolve()
        self.redactor.learn(secret)
        return secret

    def _permit(
        self, request: Request, secret: Secret, deadline: float | None, policy: RetryPolicy, slots: Slots
    ) -> AbstractAsyncContextManager[Permit]:
        """Ask the limiter, for a connection as well. Before the first request the queue may take as long as it takes,
        but a pause that the server has ordered may not last longer than the call; a repeat waits no longer than the
        call either way.
        """
        if self._account is None:
            # Kept while the credential rotates: the quota is the account's, and so is what was learned of it.
            self._account = fingerprint(secret, self.provider, self.base_url)
        now = asyncio.get_running_loop().time()
        return self.limiter.permit(
            f"{request.method} {request.endpoint}",
            account=self._account,
            path=request.path,
            retry=deadline is not None,
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
        """Send once: tell the limiter what came of it, log, tell who watches."""
        try:
            self._session.open()  # it may have been closed while we waited
            if permit.waited > _FRESH:
                secret = await self._secret()
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


def _refused_by_limiter(failure: ContactsError) -> bool:
    return isinstance(failure, RateLimitedError) and failure.attempts == 0
