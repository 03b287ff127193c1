"""A pytest plugin for users' projects. The fixture ``sandbox`` gives each test its own account.

    from aelyst_async.pytest_plugin import SandboxFixture

    async def test_a_lead_is_stored(sandbox: SandboxFixture) -> None:
        await my_app.store_lead("ann@example.com", gateway=sandbox.aelyst)
        assert [contact["email"] for contact in sandbox.contacts("aelyst")] == ["ann@example.com"]

Async tests need a plugin that runs them: pytest-asyncio with ``asyncio_mode = "auto"`` (or a mark on each test), or
anyio.

Each test session has one server on 127.0.0.1 and a free port, in its own thread; under xdist each worker has one. Each
test gets its own account there, with its own contacts, quotas, faults and clock.

The quota is 1000 requests per second and endpoint, with headers, so that it does not slow tests down. The marker sets
another quota, switches and faults::

    @pytest.mark.sandbox(quota="10/s", switches={"aelyst.put_missing": 400}, faults=["reset-after=nth:1"])

The report of a failed test shows the last requests. The sandbox is imported when a test first uses the fixture, so
other projects are not slowed down.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from aelyst_async.sandbox import Account, LoggedRequest, Sandbox
    from aelyst_providers.aelyst import AelystGateway
    from aelyst_providers.callab import CallabGateway
    from aelyst_providers.dmchamp import DmChampGateway

    _AccountApi = Account
else:
    _AccountApi = object

__all__ = ["SandboxFixture", "SandboxServer", "sandbox", "sandbox_server"]

T = TypeVar("T")

_QUOTA = "1000/s"
_TIMEOUT = 30.0
"""Seconds to wait for the server before a test fails."""
_SHOWN = 20
"""Number of requests in the report of a failed test."""


class SandboxServer:
    """The server of a test session, in its own thread and event loop."""

    def __init__(self) -> None:
        self._started: concurrent.futures.Future[tuple[Sandbox, asyncio.AbstractEventLoop]]
        self._started = concurrent.futures.Future()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="aelyst-sandbox", daemon=True)
        self._thread.start()
        started = self._started.result(_TIMEOUT)
        self.sandbox: Sandbox = started[0]
        self._loop = started[1]

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            if not self._started.done():
                self._started.set_exception(error)

    async def _serve(self) -> None:
        from aelyst_async.sandbox import Sandbox

        self._stop = asyncio.Event()
        async with Sandbox(quota=_QUOTA) as sandbox:
            self._started.set_result((sandbox, asyncio.get_running_loop()))
            await self._stop.wait()

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the server's thread; return its result or raise its error."""
        if threading.current_thread() is self._thread:
            return work()
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                result.set_result(work())
            except Exception as error:  # noqa: BLE001 - it is raised in the calling thread
                result.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return result.result(_TIMEOUT)

    def close(self) -> None:
        """Stop the server and wait for its thread."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_TIMEOUT)


class SandboxFixture(_AccountApi):
    """The account of one test: every method and property of `aelyst_async.sandbox.Account`, and three gateways.

    Use it as the type of the fixture ``sandbox``. ``fail_next``, ``advance``, ``requests``, ``counters``,
    ``contacts``, ``add_contact``, ``assume``, ``add_fault``, ``base_url``, ``token`` and the others may be called from
    plain and async tests. Each runs in the server's thread.
    """

    def __init__(self, server: SandboxServer, account: Account) -> None:
        self._server = server
        self._target = account
        self._gateways: dict[tuple[str, asyncio.AbstractEventLoop], Any] = {}
        self._closers: list[tuple[asyncio.AbstractEventLoop, AsyncGenerator[None, None]]] = []

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            value = self._server.call(lambda: getattr(self._target, name))
            if not callable(value) or isinstance(value, type):
                return value
            return lambda *args, **named: self._server.call(lambda: value(*args, **named))

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *(name for name in dir(self._target) if not name.startswith("_"))})

    def __repr__(self) -> str:
        # Not in the server's thread, which may have ended: it only reads two strings.
        return repr(self._target).replace("Account", type(self).__name__, 1)

    @property
    def aelyst(self) -> AelystGateway:
        """A gateway to this account's Aelyst, closed with the test. For async tests."""
        # No settle time: a new contact can be read at once, unless the test sets the switch ``visible_after``.
        gateway: AelystGateway = self._gateway("aelyst", settle=0)
        return gateway

    @property
    def dmchamp(self) -> DmChampGateway:
        """A gateway to this account's DM Champ, closed with the test. For async tests."""
        gateway: DmChampGateway = self._gateway("dmchamp")
        return gateway

    @property
    def callab(self) -> CallabGateway:
        """A gateway to this account's Callab, closed with the test. For async tests."""
        gateway: CallabGateway = self._gateway("callab")
        return gateway

    def environment(self) -> dict[str, str]:
        """Return the environment variables from which `open_gateway` reads credential and base URL of each provider.

        For code under test that opens its own gateways: pass each of them to ``monkeypatch.setenv``.
        """
        from aelyst_async.registry import credential_variable, gateway_class
        from aelyst_async.sandbox.vendors import vendors

        variables: dict[str, str] = {}
        for vendor in vendors():
            _, name = credential_variable(vendor, gateway_class(vendor))
            variables[name] = self.token(vendor)
            variables[f"{vendor.upper()}_BASE_URL"] = self.base_url(vendor)
        return variables

    def _gateway(self, vendor: str, **settings: Any) -> Any:
        from aelyst_async.registry import credential_variable, gateway_class

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"sandbox.{vendor} is for async tests; elsewhere open a gateway with"
                f" sandbox.base_url({vendor!r}) and sandbox.token({vendor!r})"
            ) from None
        gateway = self._gateways.get((vendor, loop))
        if gateway is None:
            kind = gateway_class(vendor)
            parameter, _ = credential_variable(vendor, kind)
            gateway = kind(**{parameter: self.token(vendor)}, base_url=self.base_url(vendor), **settings)
            self._gateways[vendor, loop] = gateway
            self._close_with(loop, gateway)
        return gateway

    def _close_with(self, loop: asyncio.AbstractEventLoop, gateway: Any) -> None:
        """Close the gateway in its own loop, with any plugin that runs the loop.

        A connection can only be closed in the loop that opened it, but this plain fixture is torn down outside of any
        loop, perhaps after the loop was closed. Every runner (asyncio, pytest-asyncio, anyio) ends with
        ``loop.shutdown_asyncgens()``, which closes the async generators that were started in the loop. So an async
        generator is started here that closes the gateway when it is closed.
        """

        async def closing() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                await gateway.aclose()

        generator = closing()
        with contextlib.suppress(StopIteration):
            generator.__anext__().send(None)
        self._closers.append((loop, generator))

    def _close(self) -> None:
        for loop, generator in self._closers:
            # A loop of a wider scope still runs after this test, so close the gateway in it now. A closed loop has
            # closed it already.
            if not loop.is_closed() and not loop.is_running():
                loop.run_until_complete(generator.aclose())


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[SandboxServer]:
    """The session's server; ``sandbox_server.sandbox.url`` is its inspector page."""
    server = SandboxServer()
    yield server
    server.close()


_numbers = itertools.count(1)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, sandbox_server: SandboxServer) -> Iterator[SandboxFixture]:
    """The test's own account on the session's server: a `SandboxFixture`."""
    settings: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("sandbox"))):
        settings.update(marker.kwargs)
    switches = dict(settings.pop("switches", {}))
    for name, switch in (("quota", "quota"), ("scope", "quota_scope")):
        if name in settings:
            switches[switch] = settings.pop(name)
    faults = settings.pop("faults", ())
    if settings:
        raise pytest.UsageError(
            f"pytest.mark.sandbox has no {', '.join(settings)}; write quota, scope, switches, faults"
        )
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)[:60].strip("-")
    name = f"{name}-{next(_numbers)}"
    server = sandbox_server
    account = server.call(lambda: server.sandbox.account(name, switches=switches, faults=faults))
    fixture = SandboxFixture(server, account)
    yield fixture
    fixture._close()  # noqa: SLF001 - the other half of the fixture
    server.call(lambda: server.sandbox.remove_account(name))


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "sandbox(quota, scope, switches, faults): settings of the test's account on the sandbox"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the requests that the server saw to the report of a failed test."""
    outcome: Any = yield
    report = outcome.get_result()
    fixture = getattr(item, "funcargs", {}).get("sandbox")
    if call.when == "call" and report.failed and isinstance(fixture, SandboxFixture):
        requests = fixture.requests
        lines = [_line(one) for one in requests[-_SHOWN:]] or ["no request arrived"]
        if len(requests) > _SHOWN:
            lines.insert(0, f"… {len(requests) - _SHOWN} before these")
        report.sections.append(("sandbox: what the server saw", "\n".join(lines)))


def _line(request: LoggedRequest) -> str:
    fault = f"  fault: {request.fault}" if request.fault else ""
    status = "no answer" if request.status is None else request.status
    return f"{request.number:>4} {request.vendor} {request.method} {request.path} → {status}{fault}"
