"""Performs one call of an adapter, from its `Request` to its result.

::

    adapter ──Request──▶ rate limiter ──permit──▶ exchange ──Response──▶ decode ──▶ result
                 ▲                                   │                     │
                 └──────── backoff ◀─── TransportError, 429, 449, 5xx ─────┘

``decode`` is the adapter's pure function from a response to a result; it may raise. It runs inside the retry loop, so
an error in a response with status 200 is repeated by the same rules as one with an error status.

Every attempt needs a permit of the rate limiter, repeats included. A repeat after a 429 does not sleep here first. It
waits in the limiter's queue for repeats, whose bucket knows the pause, and is delayed here only if the limiter would
release it before the server's Retry-After.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from aelyst_async.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ContactsError,
    RateLimitedError,
    ResponseDecodeError,
    TransportError,
)
from aelyst_async.identifiers import Identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.transport.credentials import Auth, Credential, Secret, fingerprint
from aelyst_async.transport.events import Call, Hooks, Watch, logger
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.redaction import Redactor
from aelyst_async.transport.retry import Backoff, RetryPolicy, with_attempts, with_doubt, with_note
from aelyst_async.transport.session import SessionHolder

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from aelyst_async.transport.exchange import HttpClient

__all__ = ["Transport"]

T = TypeVar("T")

_FRESH = 1.0
"""Seconds for which a credential is used before its callable is called again."""

_LARGE = 64 * 1024
"""Size in bytes from which a body is decoded in a thread. A smaller one takes a few milliseconds at most."""


class _Course:
    """The state of one call across its attempts."""

    attempt = 0
    deadline: float | None = None
    """In the event loop's time; set when the first request may be sent."""
    not_before = 0.0
    last: ContactsError | None = None
    backoff: Backoff | None = None
    secret: Secret | None = None
    renewed: Secret | None = None
    """Returned by the callable after a 401, and not yet used."""
    asked_after_401 = False


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
        self.redactor: Redactor = Redactor()
        self.hooks: list[Hooks] = []
        self._auth = auth
        self._credential = credential
        self._timeout = timeout
        self._headers: Mapping[str, str] = {}
        self._answers: list[Response] | None = None
        self._session = SessionHolder(session, base_url)
        self._account: str | None = None
        self._fixed: Secret | None = None  # the credential, if it never changes
        self._http: HttpClient | None = None

    def view(
        self,
        *,
        timeout: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        answers: list[Response] | None = None,
    ) -> Transport:
        """Return a view with another time-out, with more `headers`, or one that stores the last response of each call
        in `answers`. It shares session, limiter, credential and hooks with this transport.
        """
        view = copy.copy(self)
        view._http = None  # noqa: SLF001 - it has prepared the headers
        if timeout is not None:
            view._timeout = timeout  # noqa: SLF001
        if headers is not None:
            given = {name.lower() for name in headers}
            kept = {name: value for name, value in self._headers.items() if name.lower() not in given}
            view._headers = {**kept, **headers}  # noqa: SLF001
            if view._fixed is not None:  # noqa: SLF001
                view._check_headers(view._fixed)  # noqa: SLF001
        if answers is not None:
            view._answers = answers  # noqa: SLF001
        return view

    @property
    def secret_params(self) -> frozenset[str]:
        """The names of the query parameters that contain the credential."""
        return frozenset(name for name, _ in self._auth.query(""))

    async def aclose(self) -> None:
        """Close our own session; leave a borrowed one open. Idempotent."""
        await self._session.aclose()

    @property
    def state(self) -> str:
        """``new``, ``open`` or ``closed``."""
        return self._session.state.value

    async def account(self, key: bytes = b"") -> str:
        """Return a hash, keyed with `key`, of provider, base URL and account, as 32 hex digits.

        The account is the ``account`` of the credential's callable, else the credential.
        """
        return self._named(None if self._credential.account else await self._secret(), key)

    async def watched_call(
        self, request: Request, decode: Callable[[Response], T], policy: RetryPolicy, about: Identifier | None = None
    ) -> T:
        """Like `call`, and report the call to the hooks."""
        call = Call(provider=self.provider, base_url=self.base_url, method=request.method, endpoint=request.endpoint)
        watch = Watch(tuple(self.hooks), call)
        error: BaseException | None = None
        try:
            return await self.call(request, decode, policy, about, watch)
        except BaseException as failure:
            error = failure
            raise
        finally:
            watch.done(error)
            del error  # breaks the reference cycle of frame, traceback and error

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], T],
        policy: RetryPolicy,
        about: Identifier | None = None,
        watch: Watch | None = None,
    ) -> T:
        """Send `request`, repeat it as `policy` and the rules of `retry` permit, and return the decoded response.

        `about` is the contact of the call. Raises any `ContactsError`, with `about` as its ``identifier``.

        This is one long coroutine, because each further frame costs time at every start and resumption. A call holds no
        permit while it may hang: if the credential has expired when the permit arrives, the permit is returned while
        the callable runs, and requested again with priority over first attempts.
        """
        loop = asyncio.get_running_loop()
        slots = self._session.slots if self._session.usable_in is loop else self._session.open()
        http = self._http or self._make_http()
        course = _Course()
        while True:
            course.attempt += 1
            failure: ContactsError
            try:
                secret = course.renewed or self._fixed or await self._secret(course, policy)
                course.renewed = None
                front = course.deadline is not None
                settled = secret is self._fixed
                while True:
                    now = loop.time()
                    async with self.limiter.permit(
                        f"{request.method} {request.endpoint}",
                        account=self._account or self._remember(secret),
                        path=request.path,
                        retry=front,
                        # Before the first request, the wait in the queue is not limited, but a pause ordered by the
                        # server may not be longer than the call. A repeat never waits longer than the call.
                        deadline=course.deadline or now + policy.total,
                        max_wait=max(0.0, course.deadline - now) if course.deadline else None,
                        slots=slots,
                    ) as permit:
                        if permit.waited:
                            now = loop.time()
                        if course.deadline is None:
                            course.deadline = now + policy.total
                        early = course.not_before - now
                        stale = permit.waited > _FRESH and not settled
                        if early <= 0 and not stale:
                            course.secret = secret
                            response = await http.exchange(
                                request,
                                secret,
                                permit,
                                attempt=course.attempt,
                                started=now,
                                deadline=course.deadline,
                                watch=watch,
                            )
                            break
                        permit.unsent()
                    if early > 0:
                        await asyncio.sleep(early)
                    if stale:
                        secret = await self._secret(course, policy)
                        settled = front = True
                if self._answers is not None:
                    self._answers[:] = (response,)
                try:
                    if len(response.body) < _LARGE:
                        return decode(response)
                    return await asyncio.to_thread(decode, response)
                except ContactsError as refusal:
                    # Without the frames of `decode`, whose variables contain the body, which may echo the credential.
                    failure = refusal.with_traceback(None)
                    if isinstance(refusal, ResponseDecodeError) and response.close is not None:
                        response.close()  # the next data on this connection may be the response to another request
                finally:
                    del response
            except ContactsError as error:
                failure = error
            # Handled below, outside `except`, so that an error raised there does not have this one in its chain.
            try:
                if about is not None and isinstance(failure, (ApiError, TransportError, ResponseDecodeError)):
                    failure.identifier = about
                delay = await self._pause(failure, request, course, policy)
                if watch is not None:
                    watch.retry(course.attempt, type(failure).__name__, delay)
                if isinstance(failure, RateLimitedError) and failure.retry_after is not None:
                    course.not_before = loop.time() + delay
                elif delay > 0:
                    await asyncio.sleep(delay)
            finally:
                del failure  # breaks the reference cycle of frame, traceback and error

    async def _pause(self, failure: ContactsError, request: Request, course: _Course, policy: RetryPolicy) -> float:
        """Return the seconds until the next attempt, or raise the final error of the call."""
        last, attempt = course.last, course.attempt
        try:
            if _nothing_sent(failure):
                attempt -= 1
                if last is not None:
                    # No repeat was sent: the limiter's wait is too long, there is no credential, or the gateway was
                    # closed. The error of the last attempt is more useful, because it says whether the call may have
                    # been applied.
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
            backoff = course.backoff = course.backoff or Backoff(policy)
            delay = self._next_delay(backoff, failure, request, attempt, course.deadline, policy)
            if delay is None:
                raise failure
            return delay
        finally:
            del failure, last

    async def _rotated(self, failure: ContactsError, course: _Course, policy: RetryPolicy) -> bool:
        """After a 401, call the credential's callable once more. True: the credential is new, so the request is sent
        again.

        A request with a 401 was not applied, so this is safe for every method. It does not count towards
        ``max_attempts``.
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
        """Return the seconds until the next attempt, or None for no further attempt."""
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
        """Return the credential, within the time-out of one attempt and the rest of the call's deadline.

        Raises `ConfigurationError`, `RequestTimeoutError`.
        """
        within: float = self._timeout["total"]
        if course is not None and policy is not None:
            now = asyncio.get_running_loop().time()
            within = min(within, policy.total if course.deadline is None else max(course.deadline - now, 0.001))
        secret = await self._credential.resolve(within)
        self.redactor.learn(secret.reveal())
        self._check_headers(secret)
        if self._credential.fixed:
            self._fixed = secret
        return secret

    def _check_headers(self, secret: Secret) -> None:
        """Raise `ConfigurationError` if a header of the caller contains the credential."""
        if self._headers and any(secret.reveal() in value for value in self._headers.values()):
            raise ConfigurationError("headers: a value contains the credential; only the gateway sends it")

    def _named(self, secret: Secret | None, key: bytes = b"") -> str:
        if (account := self._credential.account) is not None:
            # One more part than in the hash of a token, so the two never collide.
            return fingerprint(account, self.provider, self.base_url, "account", key=key)
        assert secret is not None
        return fingerprint(secret.reveal(), self.provider, self.base_url, key=key)

    def _remember(self, secret: Secret) -> str:
        # Kept when the credential rotates, because the quota belongs to the account.
        self._account = self._named(secret)
        return self._account

    def _make_http(self) -> HttpClient:
        from aelyst_async.transport.exchange import HttpClient  # imports aiohttp

        self._http = HttpClient(
            self.provider, self.base_url, self._auth, self._session, self._timeout, self.redactor, self._headers
        )
        return self._http


def _nothing_sent(failure: ContactsError) -> bool:
    """Whether no request was sent: the limiter refused it, or there is no credential or session."""
    return isinstance(failure, ConfigurationError) or getattr(failure, "attempts", 1) == 0
