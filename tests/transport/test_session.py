"""The session: created on the first call, closed once, never closed if borrowed, never shared across loops."""

from __future__ import annotations

import asyncio
import gc
import traceback
import warnings
from typing import Any

import aiohttp
import pytest

from aelyst_async import errors
from aelyst_async.transport.session import proxy_applies
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import free_limiter
from tests.servers import RawServer, reply
from tests.transport.conftest import Opener

FOUND = reply(200, {"id": 1})


def test_gateway_is_constructed_without_a_loop() -> None:
    for kind in (AelystGateway, DmChampGateway, CallabGateway):
        assert "new" in repr(kind("t"))


async def test_own_session_opens_on_first_call_and_is_closed(aelyst: Opener) -> None:
    async with RawServer(FOUND) as server:
        async with AelystGateway("t", base_url=server.url, limiter=free_limiter()[1]) as gateway:
            assert "new" in repr(gateway)
            assert server.connections == 0
            await gateway.get("id:1")
            assert "open" in repr(gateway)
            await gateway.get("id:1")
            assert server.connections == 1
        assert "closed" in repr(gateway)
        await gateway.aclose()
        await gateway.aclose()
        with pytest.raises(errors.ConfigurationError, match="closed"):
            await gateway.get("id:1")
        assert len(server.requests) == 2


async def test_unused_gateway_can_be_closed() -> None:
    async with AelystGateway("t"):
        pass


async def test_borrowed_session_is_not_closed(aelyst: Opener) -> None:
    async with RawServer(FOUND) as server, aiohttp.ClientSession() as session:
        gateway = aelyst(server.url, session=session)
        await gateway.get("id:1")
        await gateway.aclose()
        assert not session.closed
        async with session.get(server.url) as answer:
            assert answer.status == 200
        with pytest.raises(errors.ConfigurationError, match="closed"):
            await gateway.get("id:1")


async def test_closed_borrowed_session_raises_configuration_error(aelyst: Opener) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(errors.ConfigurationError, match="session that was passed in is closed"):
        await aelyst("http://127.0.0.1:9", session=session).get("id:1")


async def test_settings_of_a_borrowed_session_do_not_override_the_gateway(aelyst: Opener) -> None:
    async with (
        RawServer(reply(404, {"code": 404, "message": "Contact not found"}), FOUND) as server,
        aiohttp.ClientSession(
            raise_for_status=True,
            headers={"Authorization": "Bearer other", "X-Mine": "1"},
            timeout=aiohttp.ClientTimeout(total=0.001),
            auto_decompress=True,
        ) as session,
    ):
        gateway = aelyst(server.url, session=session)
        with pytest.raises(errors.ContactNotFoundError):
            await gateway.get("id:1")
        await gateway.get("id:1")
    assert server.requests[0].headers["authorization"] == "Bearer token-1"
    assert server.requests[0].headers["x-mine"] == "1"


async def test_closed_gateways_cause_no_warning(aelyst: Opener) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with RawServer(FOUND) as server, aiohttp.ClientSession() as session:
            for lent in (None, session):
                gateway = aelyst(server.url, session=lent)
                await asyncio.gather(*(gateway.get("id:1") for _ in range(20)))
                await gateway.aclose()
                del gateway
            gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_cookies_are_not_stored(aelyst: Opener) -> None:
    async with RawServer(reply(200, {"id": 1}, {"Set-Cookie": "tenant=7; Path=/"})) as server:
        gateway = aelyst(server.url.replace("127.0.0.1", "localhost"))
        for _ in range(2):
            await gateway.get("id:1")
    assert len(server.requests) == 2
    assert all("cookie" not in seen.headers for seen in server.requests)


def test_gateway_raises_when_used_from_another_loop() -> None:
    async def first() -> AelystGateway:
        async with RawServer(FOUND) as server:
            gateway = AelystGateway("t", base_url=server.url, limiter=free_limiter()[1])
            await gateway.get("id:1")
            assert gateway._transport._session._session is not None
            await gateway._transport._session._session.close()
            return gateway

    gateway = asyncio.run(first())

    async def second() -> None:
        for call in (gateway.get("id:1"), gateway.aclose()):
            with pytest.raises(errors.ConfigurationError, match="another event loop"):
                await call

    asyncio.run(second())


def test_gateway_raises_for_a_session_of_another_loop() -> None:
    async def first() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def second(session: aiohttp.ClientSession) -> None:
        async with AelystGateway("t", base_url="http://127.0.0.1:9", session=session) as gateway:
            with pytest.raises(errors.ConfigurationError, match="another event loop"):
                await gateway.get("id:1")

    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(first())
    asyncio.run(second(session))
    loop.run_until_complete(session.close())
    loop.close()


async def test_waiting_for_a_shared_pool_is_no_connect_timeout() -> None:
    """Two gateways send forty requests over a borrowed pool of two connections. None fails with a connect timeout."""

    async def slow(connection: Any, seen: Any) -> bool:
        await asyncio.sleep(0.07)
        return await FOUND(connection, seen)

    connector = aiohttp.TCPConnector(limit=2)
    async with RawServer(slow) as server, aiohttp.ClientSession(connector=connector) as session:
        settings: dict[str, Any] = {
            "base_url": server.url, "session": session, "timeout": 1.0, "limiter": free_limiter()[1],
        }  # fmt: skip
        gateways = [AelystGateway("a", **settings), AelystGateway("b", **settings)]
        await asyncio.gather(*(gateway.get("id:1") for gateway in gateways for _ in range(20)))
    assert len(server.requests) == 40
    assert server.peak <= 2


def test_proxy_applies_follows_https_proxy_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not proxy_applies("https://api.example.com")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,.internal.example")
    assert proxy_applies("https://api.example.com")
    assert not proxy_applies("http://api.example.com")
    assert not proxy_applies("https://api.internal.example")


async def test_requests_use_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, aelyst: Opener) -> None:
    async with RawServer(FOUND) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await aelyst("http://contacts.example:9/v1", allow_insecure=True).get("id:1")
    assert proxy.requests[0].target == "http://contacts.example:9/v1/contact/id:1"


def test_all_proxy_is_ignored_with_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("all_proxy", "socks5://user:hunter2@proxy.example")
    assert not proxy_applies("https://api.example.com")
    assert "ALL_PROXY" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.7", "[::1]"])
def test_loopback_hosts_are_never_proxied(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    assert not proxy_applies(f"http://{host}:8787/v1")
    assert not proxy_applies(f"https://{host}/v1")
    assert proxy_applies("https://api.example.com/v1")


@pytest.mark.parametrize(
    ("proxy", "problem"),
    [
        ("user:hunter2@proxy.example:3128", "has no scheme"),
        ("proxy.example", "has no scheme"),
        ("socks5://user:hunter2@proxy.example", "SOCKS"),
        ("https://user:hunter2@proxy.example", "https://"),
        ("http://", "not a URL with a host"),
        ("http://proxy.example:port", "not a URL with a host"),
    ],
)
async def test_unusable_proxy_raises_before_a_permit_is_taken(
    monkeypatch: pytest.MonkeyPatch, aelyst: Opener, proxy: str, problem: str
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    limiter, lent = free_limiter()
    with pytest.raises(errors.ConfigurationError, match=problem) as caught:
        await aelyst("https://api.example.com", limiter=lent).get("id:1")
    assert "HTTPS_PROXY" in str(caught.value)
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if "/tests/" not in frame.f_code.co_filename:
            assert "hunter2" not in repr(frame.f_locals)
    assert "hunter2" not in str(caught.value)
    assert limiter.permits == []
