"""Gateways with the app's lifespan: opened in the loop that serves, injected by `Depends`, closed at the end.

::

    gateway = AppGateway(lambda: open_gateway("aelyst"))
    jobs = Jobs(journal="jobs.db")
    app = FastAPI(lifespan=lifespans(gateway, jobs, my_own_lifespan))

A gateway that is used at import, or in the event loop of a test, is bound to the wrong loop. And ``lifespan=`` takes
only one function. `lifespans` combines several, nested like ``async with``: the last one entered is the first one left.
`attach` adds to an existing app.

The lifespan of a mounted sub-app is never run, since ASGI sends it only to the outermost app. A gateway requested
there raises an error that says so.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from aelyst_async.adapter import HttpGateway
from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi.jobs import Jobs
from aelyst_async.fastapi.workers import warn_of_split_quota
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.transport.credentials import CredentialSource, Secret, sealed, shielded
from aelyst_async.transport.events import Exchange

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from fastapi import FastAPI

__all__ = ["AppGateway", "HasLifespan", "Lifespan", "TenantGateways", "attach", "lifespans"]

G = TypeVar("G")

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""The type of ``lifespan=``: a function from the app to an async context manager that yields None or a state."""


class HasLifespan(Protocol):
    """An object with a `lifespan` method, which `lifespans` takes besides functions."""

    def lifespan(self, app: Any = None) -> AbstractAsyncContextManager[Any]:
        """Open, yield, close."""
        ...


def lifespans(*parts: HasLifespan | Lifespan) -> Lifespan:
    """Combine several lifespans. They are entered in order and left in reverse order; their states are merged.

    Name jobs after the gateways that they use, so that they are drained before the gateways close. Raises
    `ConfigurationError` for another order.
    """
    first_jobs = next((position for position, part in enumerate(parts) if isinstance(part, Jobs)), len(parts))
    if any(isinstance(part, (AppGateway, TenantGateways)) for part in parts[first_jobs:]):
        raise ConfigurationError(
            "lifespans: name the gateways before the jobs; else they close before the jobs are finished"
        )
    functions: list[Lifespan] = []
    for part in parts:
        function: Any = getattr(part, "lifespan", part)
        functions.append(function)

    @asynccontextmanager
    async def united(app: Any) -> AsyncIterator[dict[str, Any] | None]:
        state: dict[str, Any] = {}
        async with AsyncExitStack() as stack:
            for function in functions:
                told = await stack.enter_async_context(function(app))
                if isinstance(told, Mapping):
                    state.update(told)
            yield state or None  # not every server supports a state

    return united


def attach(app: FastAPI, *parts: HasLifespan | Lifespan) -> None:
    """Add to the lifespan of an existing app: `parts` are entered before its own lifespan and left after it."""
    app.router.lifespan_context = lifespans(*parts, app.router.lifespan_context)


class AppGateway(Generic[G]):
    """One gateway for the whole app. ``Annotated[AelystGateway, Depends(gateway)]`` is its type in a route.

    `factory`, a plain or async function without arguments, creates it when the app starts. ``telemetry``: whether to
    trace and measure it with OpenTelemetry; None: if it is installed.
    """

    def __init__(self, factory: Callable[[], G | Awaitable[G]], *, telemetry: bool | None = None) -> None:
        self._factory = factory
        self._telemetry = telemetry
        self._gateway: G | None = None
        self._refused = False

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - as the framework calls it
        """Create the gateway, and close it at the end."""
        if self._gateway is not None:
            raise ConfigurationError("this AppGateway is already open; one serves one app at a time")
        async with AsyncExitStack() as stack:
            made = self._factory()
            gateway = cast("G", await made if inspect.isawaitable(made) else made)
            if hasattr(gateway, "__aexit__"):
                await stack.enter_async_context(gateway)  # type: ignore[arg-type]
            stack.callback(_watch(gateway, self._telemetry))
            self._refused = False
            if isinstance(gateway, HttpGateway):
                stack.callback(gateway.subscribe(self._on_exchange))
            warn_of_split_quota(getattr(gateway, "limiter", None), type(gateway).__name__)
            self._gateway = gateway
            try:
                yield
            finally:
                self._gateway = None

    def current(self) -> G:
        """Return the gateway, for code outside of routes such as jobs and background tasks.

        Raises `ConfigurationError` outside the lifespan.
        """
        if self._gateway is None:
            raise ConfigurationError(_outside("AppGateway"))
        return self._gateway

    async def __call__(self) -> G:
        """Return the gateway; this is the dependency. Raises `ConfigurationError` outside the lifespan."""
        # async, because FastAPI sends plain functions through a thread.
        return self.current()

    def problem(self) -> str | None:
        """Return why the gateway cannot be used (not open, or its credential was refused), or None."""
        if self._gateway is None:
            return "gateway: not open"
        return "gateway: the credential was refused" if self._refused else None

    def _on_exchange(self, exchange: Exchange) -> None:
        if exchange.status is not None and exchange.status < 500:
            self._refused = exchange.status == 401


class TenantGateways(Generic[G]):
    """A gateway for each credential, over one connection pool and one rate limiter.

    `make` is a gateway class, or a callable with the same arguments. `settings`, such as ``base_url``, are used for all
    gateways. The `limit` most recently used gateways are kept. A gateway that is dropped during a request still
    completes it, since the connections belong to the pool.
    """

    def __init__(
        self,
        make: Callable[..., G],
        *,
        limit: int = 256,
        limiter: RateLimiter | None = None,
        telemetry: bool | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ConfigurationError(f"TenantGateways: limit must be a whole number from 1, not {limit!r}")
        self._make = make
        self._limit = limit
        self._settings = settings
        self._telemetry = telemetry
        self._limiter = RateLimiter() if limiter is None else limiter
        self._session: ClientSession | None = None
        self._gateways: OrderedDict[str | Secret, tuple[Any, G, Callable[[], None]]] = OrderedDict()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - as the framework calls it
        """Open the connection pool. Close it and all gateways at the end."""
        from aelyst_async.transport.session import load, make_session

        if self._session is not None:
            raise ConfigurationError("these TenantGateways are already open; one serves one app at a time")
        warn_of_split_quota(self._limiter, "TenantGateways")
        await load()
        async with make_session(self._base_url()) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None
                while self._gateways:
                    _, (_, gateway, unwatch) = self._gateways.popitem()
                    unwatch()
                    if isinstance(gateway, HttpGateway):
                        await gateway.aclose()

    def get(self, credential: CredentialSource, *, key: str | None = None) -> G:
        """Return the tenant's gateway, created on first use.

        `key` identifies the tenant (default: the credential itself). With a key, another `str` as credential replaces
        the gateway; another callable does not, since callables are called before every attempt. Raises
        `ConfigurationError` outside the lifespan, for a callable without a key, and for an invalid credential.
        """
        if self._session is None:
            raise ConfigurationError(_outside("TenantGateways"))
        source: Any = sealed(credential)
        del credential  # keep it out of the frames of a traceback
        name: str | Secret
        if key is not None:
            name = key
        elif isinstance(source, Secret):
            name = source
        else:
            raise ConfigurationError("TenantGateways: a callable credential needs key=, the name of the tenant")
        found = self._gateways.get(name)
        if found is not None and (found[0] == source or (callable(source) and callable(found[0]))):
            self._gateways.move_to_end(name)
            return found[1]
        gateway = shielded(
            lambda: self._make(
                source.reveal() if isinstance(source, Secret) else source,
                session=self._session,
                limiter=self._limiter,
                **self._settings,
            )
        )
        if found is not None:
            found[2]()
        self._gateways[name] = (source, gateway, _watch(gateway, self._telemetry))
        self._gateways.move_to_end(name)
        if len(self._gateways) > self._limit:
            _, (_, _, unwatch) = self._gateways.popitem(last=False)
            unwatch()
        return gateway

    def _base_url(self) -> str:
        parameter = inspect.signature(self._make).parameters.get("base_url")
        return str(self._settings.get("base_url", "" if parameter is None else parameter.default))

    def __len__(self) -> int:
        return len(self._gateways)

    def __repr__(self) -> str:
        return f"<TenantGateways {len(self)} of at most {self._limit}>"

    def problem(self) -> str | None:
        """Return why no gateway is available, or None."""
        return "gateways: not open" if self._session is None else None


def _watch(gateway: object, telemetry: bool | None) -> Callable[[], None]:
    """Start tracing and measuring the gateway if wanted; return a function that stops it."""
    from aelyst_async.telemetry import available, instrument

    wanted = available() if telemetry is None else telemetry
    return instrument(gateway) if wanted and isinstance(gateway, HttpGateway) else _nothing


def _nothing() -> None:
    pass


def _outside(name: str) -> str:
    return (
        f"this {name} is used outside its lifespan: pass its lifespan to the app that is served. The lifespan of a "
        "mounted sub-app is never run: give it to the outermost app (see docs/fastapi.md)"
    )
