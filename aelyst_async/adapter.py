"""What every adapter over HTTP shares: construction, life cycle, settling, and the way to the transport.

An adapter subclasses `HttpGateway`, names its vendor's facts in class attributes, and writes each operation as
"make a `Request`, say how to read the `Response`". A third party's adapter does the same and is published under the
entry-point group ``aelyst_async.providers``; nothing in the core needs to know it.

Settling. Some APIs need a moment after a create before the contact can be addressed (seed page *Create a contact*).
`Settling` remembers who was just created, under each of the identifiers that the create named, and holds back calls
for that contact only.
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
    """The base of adapters. Construction does no I/O and imports no aiohttp.

    A subclass sets ``provider`` and calls ``__init__`` with its `Auth`. Raises `ConfigurationError` for a setting
    that cannot work.
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
        """The address that all paths are relative to."""
        return self._transport.base_url

    def with_options(
        self,
        *,
        timeout: float | ClientTimeout | None = None,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Return this gateway with other options: same session, limiter, credential, subscribers and life.

        `timeout` and `retry` are as in the constructor, `headers` are sent with every request beside those that the
        gateway sends by itself (and those of the gateway that this is called on); None changes nothing. Raises
        `ConfigurationError`, also for a header that holds a credential or belongs to the transport.
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
        """Return this gateway with another retry policy, as `with_options` does."""
        return self.with_options(retry=retry)

    @property
    def with_raw_response(self) -> RawCalls[Self]:
        """This gateway with calls that return a `RawResponse`: status, headers and body beside the value.

        ``raw = await gateway.with_raw_response.get("id:1")``. Of a call that takes several requests it is the last
        one's.
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

        `path` is relative to ``base_url``; a segment ``{name}`` is filled in, percent-encoded, from `fields`. The
        template is what logs and errors show and the key of the rate limit; of a literal path every segment that is
        not plain lower-case letters is shown as ``{identifier}``. `params` go into the query, `json` is the body.
        Limiter, retries, redaction and errors are those of every other call: a POST or PATCH that may have been
        applied is not repeated, and redirects are not followed. Raises `ConfigurationError` before anything is sent
        for what must not be sent, else any `ContactsError`.
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
        """Return the error that an answer is. An adapter whose API hides errors in other statuses overrides it."""
        return None if response.ok else response.error()

    def blocking(self) -> BlockingGateway[Self]:
        """Return a facade whose methods block, for code without an event loop. It opens and closes this gateway."""
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

        Callbacks run in the event loop, so they must be quick. What they raise is logged by name and goes no further.
        All views that `with_options` makes share their subscribers.
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
        """Return 32 hex digits that name this account (provider, base URL, credential) without telling it.

        Stable across processes; `key` (at most 64 bytes) makes it useless without the key.
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
        if "_transport" not in vars(self):  # a debugger looks at one whose settings were just refused
            return f"<{type(self).__name__} not made>"
        return f"<{type(self).__name__} {self.base_url} {self._transport.state}>"

    def _call(
        self, request: Request, decode: Callable[[Response], T], *, about: Identifier | None = None
    ) -> Coroutine[Any, Any, T]:
        """Send `request` and return what `decode` makes of the answer; a call about a new contact settles first.

        `about` is the contact that the call is about, and ``identifier`` of the errors that it raises. Not a coroutine
        function, so that a call has one frame less.
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
        """Return once `who` can be read: 404 and 449 mean "not yet". Raises `RequestTimeoutError` after a minute.

        Whatever else the reading raises says in ``may_have_been_applied`` that the contact has been created.
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
            f"created, but not readable within {READABLE_WITHIN:g} s (the last answer was {status})",
            may_have_been_applied=True,
        )


def _check_retry(retry: object) -> RetryPolicy:
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry: expected a RetryPolicy, got {type(retry).__name__}")
    return retry


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


class Settling:
    """Who was created in the last `seconds`, by identifier. Memory: one entry for each create of that time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.until: OrderedDict[Identifier, float] = OrderedDict()
        """When each has settled, by the loop's clock, in the order of expiry."""

    def begin(self, identifiers: Iterable[Identifier]) -> None:
        """Hold back calls for the contact with these identifiers from now on."""
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
