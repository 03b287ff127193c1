"""Base class of the HTTP adapters: construction, life cycle, settling, and calls to the transport.

An adapter subclasses `HttpGateway`, sets class attributes for its vendor, and implements each operation as a `Request`
and a function that reads the `Response`. A third party publishes its adapter under the entry-point group
``aelyst_async.providers``.

Some APIs need a moment after a create before the contact can be used (seed page *Create a contact*). `Settling` records
the identifiers of each contact that was just created, and delays calls for that contact only.
"""

from __future__ import annotations

import asyncio
import copy
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from aelyst_async.contacts import UNSET, Contact, Unset
from aelyst_async.errors import (
    ApiError,
    ConfigurationError,
    ContactNotFoundError,
    QueuedError,
    RequestTimeoutError,
    ResponseDecodeError,
    TransportError,
)
from aelyst_async.identifiers import Identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.transport.credentials import Auth, Credential, CredentialSource, sealed
from aelyst_async.transport.events import Call, Done, Exchange, Hooks, Retry, Sending, Wait
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.options import Params, check_headers, make_request
from aelyst_async.transport.raw import RawCalls
from aelyst_async.transport.retry import RetryPolicy
from aelyst_async.transport.session import load
from aelyst_async.transport.settings import check_base_url, check_seconds, make_timeout, masked_url
from aelyst_async.transport.transport import Transport

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout

    from aelyst_async.blocking import BlockingGateway

__all__ = ["HttpGateway"]

T = TypeVar("T")
G = TypeVar("G", bound="HttpGateway")

READABLE_WITHIN = 60.0
"""Seconds that ``create(wait=True)`` waits for the contact to become readable."""


class HttpGateway(ABC):
    """Base class of adapters. Construction does no I/O and does not import aiohttp.

    A subclass sets ``provider`` and calls ``__init__`` with its `Auth`. Raises `ConfigurationError` for an invalid
    setting.
    """

    provider: str = ""

    def __init__(
        self,
        auth: Auth,
        credential: CredentialSource,
        *,
        credential_name: str,
        base_url: str,
        session: ClientSession | None,
        limiter: RateLimiter | None,
        retry: RetryPolicy,
        timeout: float | ClientTimeout | None,
        settle: float,
        allow_insecure: bool,
    ) -> None:
        credential, base_url = sealed(credential), masked_url(base_url)
        _check_retry(retry)
        if limiter is not None and (isinstance(limiter, type) or not hasattr(limiter, "permit")):
            raise ConfigurationError(f"limiter: expected a RateLimiter, got {_kind(limiter)}")
        if session is not None and (isinstance(session, type) or not hasattr(session, "connector")):
            raise ConfigurationError(f"session: expected an aiohttp.ClientSession, got {_kind(session)}")
        self.limiter: RateLimiter = RateLimiter() if limiter is None else limiter
        self._retry = retry
        self._settling = Settling(check_seconds(settle, "settle"))
        self._transport = Transport(
            provider=self.provider,
            base_url=check_base_url(base_url, allow_insecure=allow_insecure),
            auth=auth,
            credential=Credential(credential, f"{type(self).__name__} {credential_name}"),
            session=session,
            limiter=self.limiter,
            timeout=make_timeout(timeout),
        )

    @abstractmethod
    async def get(self, identifier: Identifier | str) -> Contact:
        """Return the contact. Raises `ContactNotFoundError`."""

    @property
    def base_url(self) -> str:
        """The URL to which all paths are relative."""
        return self._transport.base_url

    def with_options(
        self,
        *,
        timeout: float | ClientTimeout | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a view of this gateway with other options. It shares session, limiter, credential, subscribers and
        life cycle.

        `timeout` and `retry` are as in the constructor. `headers` are sent with every request, in addition to the
        gateway's own headers. None changes nothing. Raises `ConfigurationError`, also for a header that contains a
        credential or that the transport sets.
        """
        view = copy.copy(self)
        if retry is not None:
            view._retry = _check_retry(retry)  # noqa: SLF001 - its own copy
        if timeout is not None or headers is not None:
            view._transport = self._transport.view(  # noqa: SLF001
                timeout=None if timeout is None else make_timeout(timeout),
                headers=None if headers is None else check_headers(headers),
            )
        return view

    def with_retry(self, retry: RetryPolicy) -> Self:
        """Return a view of this gateway with another retry policy; see `with_options`."""
        return self.with_options(retry=retry)

    @property
    def with_raw_response(self) -> RawCalls[Self]:
        """View of this gateway whose calls return a `RawResponse`: status, headers and body with the value.

        ``raw = await gateway.with_raw_response.get("id:1")``. If a call sends several requests, the response is the
        last one.
        """
        return RawCalls(self, self._listening)

    def _listening(self, answers: list[Response]) -> Self:
        view = copy.copy(self)
        view._transport = self._transport.view(answers=answers)  # noqa: SLF001 - its own copy
        return view

    async def request(
        self,
        method: str,
        path: str,
        *,
        fields: Mapping[str, object] | None = None,
        params: Params | None = None,
        json: Any | Unset = UNSET,
    ) -> Any:
        """Call a route that no method wraps; return the decoded JSON, None for an empty body.

        `path` is relative to ``base_url``. A segment ``{name}`` is replaced by the percent-encoded value from `fields`.
        Logs and errors show the template, which is also the key of the rate limit. In a path without fields, every
        segment that does not consist of lower-case letters is shown as ``{identifier}``. `params` are sent in the
        query, `json` is the body. Limiter, retries, redaction and errors work as for every other call: a POST or PATCH
        that may have been applied is not repeated, and redirects are not followed. Raises `ConfigurationError` for an
        invalid request, before anything is sent, else any `ContactsError`.
        """
        request = make_request(
            method, path, fields=fields or {}, params=params, json=json, secret_params=self._transport.secret_params
        )
        return await self._call(request, self._read_json)

    def _read_json(self, response: Response) -> Any:
        error = self._error_in(response)
        if error is not None:
            raise error
        return response.json() if response.body or response.problem else None

    def _error_in(self, response: Response) -> ApiError | None:
        """Return the error in a response, or None. An adapter overrides it if its API reports errors with a success
        status.
        """
        return None if response.ok else response.error()

    def blocking(self) -> BlockingGateway[Self]:
        """Return a facade whose methods block, for code without an event loop. The facade opens and closes this
        gateway.
        """
        from aelyst_async.blocking import BlockingGateway

        return BlockingGateway(self)

    def subscribe(
        self,
        on_response: Callable[[Exchange], object] | None = None,
        *,
        on_call: Callable[[Call], object] | None = None,
        on_wait: Callable[[Wait], object] | None = None,
        on_request: Callable[[Sending], object] | None = None,
        on_retry: Callable[[Retry], object] | None = None,
        on_done: Callable[[Done], object] | None = None,
    ) -> Callable[[], None]:
        """Subscribe to calls and attempts; return a callable that ends the subscription.

        Events (`aelyst_async.transport.events`) hold no path, header or body.

        Callbacks run in the event loop, so they must be fast. An exception in a callback is logged by class name and
        then ignored. All views from `with_options` share their subscribers.
        """
        hooks = self._transport.hooks
        mine = Hooks(
            on_call=on_call,
            on_wait=on_wait,
            on_request=on_request,
            on_response=on_response,
            on_retry=on_retry,
            on_done=on_done,
        )
        hooks.append(mine)

        def unsubscribe() -> None:
            if mine in hooks:
                hooks.remove(mine)

        return unsubscribe

    async def account(self, key: bytes = b"") -> str:
        """Return a hash of provider, base URL and credential as 32 hex digits. It identifies the account without
        revealing it.

        It is the same in every process. With `key` (at most 64 bytes) it can only be computed with that key.
        """
        return await self._transport.account(key)

    async def aclose(self) -> None:
        """Close the connections (a session that was passed in stays open). Idempotent."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        await load()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if "_transport" not in vars(self):  # a debugger may call this after __init__ has raised
            return f"<{type(self).__name__} not made>"
        return f"<{type(self).__name__} {self.base_url} {self._transport.state}>"

    def _call(
        self, request: Request, decode: Callable[[Response], T], *, about: Identifier | None = None
    ) -> Coroutine[Any, Any, T]:
        """Send `request` and return the decoded response. A call about a contact that was just created waits first.

        `about` is the contact of the call, and the ``identifier`` of the errors it raises. This is not a coroutine
        function, which saves one frame for each call.
        """
        if about is not None and self._settling.until and (left := self._settling.left(about)) > 0:
            return self._call_later(left, request, decode, about)
        call = self._transport.watched_call if self._transport.hooks else self._transport.call
        return call(request, decode, self._retry, about)

    async def _call_later(
        self, seconds: float, request: Request, decode: Callable[[Response], T], about: Identifier
    ) -> T:
        await asyncio.sleep(seconds)
        return await self._call(request, decode, about=about)

    async def _until_readable(self, who: Identifier) -> None:
        """Return once `who` can be read; 404 and 449 mean "not yet". Raises `RequestTimeoutError` after a minute.

        Other errors of the get are raised with ``may_have_been_applied`` set, because the contact has been created.
        """
        import backoff

        loop = asyncio.get_running_loop()
        deadline = loop.time() + READABLE_WITHIN
        pauses = backoff.expo(base=2, factor=0.25, max_value=5)
        next(pauses)
        while True:
            left = max(deadline - loop.time(), 0.001)
            try:
                await self.with_retry(RetryPolicy(total=left, queued=False)).get(who)
                return
            except (ContactNotFoundError, QueuedError) as not_yet:
                status = not_yet.status
            except (ApiError, TransportError, ResponseDecodeError) as error:
                error.may_have_been_applied = True
                raise
            pause = backoff.full_jitter(next(pauses))
            if loop.time() + pause >= deadline:
                break
            await asyncio.sleep(pause)
        raise RequestTimeoutError(
            f"created, but not readable within {READABLE_WITHIN:g} s (the last status was {status})",
            may_have_been_applied=True,
        )


def _check_retry(retry: object) -> RetryPolicy:
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry: expected a RetryPolicy, got {type(retry).__name__}")
    return retry


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


class Settling:
    """The contacts created in the last `seconds`, by identifier. Memory: one entry for each of these creates."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.until: OrderedDict[Identifier, float] = OrderedDict()
        """The end of each wait, in the event loop's time, in this order."""

    def begin(self, identifiers: Iterable[Identifier]) -> None:
        """Delay calls for the contact with these identifiers from now on."""
        if not self._seconds:
            return
        now = asyncio.get_running_loop().time()
        while self.until and next(iter(self.until.values())) <= now:
            self.until.popitem(last=False)
        for identifier in identifiers:
            self.until[identifier] = now + self._seconds
            self.until.move_to_end(identifier)

    def left(self, identifier: Identifier) -> float:
        """Return the seconds until the contact has settled, 0 or less if it has."""
        until = self.until.get(identifier)
        return 0.0 if until is None else until - asyncio.get_running_loop().time()
