"""`with_options`: a view of a gateway with its own timeout, retry policy or extra headers."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aelyst_async import RetryPolicy, errors
from tests.servers import RawServer, hang, reply
from tests.transport.conftest import ONCE, QUICK, Opener

CONTACT = {"id": 1, "firstName": "Ann"}


async def test_with_options_headers_apply_to_the_view_only(aelyst: Opener) -> None:
    async with RawServer(reply(200, CONTACT)) as server:
        gateway = aelyst(server.url)
        view = gateway.with_options(headers={"X-Trace": "abc", "User-Agent": "mine/1"})
        await view.get("id:1")
        await gateway.get("id:1")
        first, second = server.requests
        assert first.headers["x-trace"] == "abc"
        assert first.headers["user-agent"] == "mine/1"
        assert first.headers["authorization"] == second.headers["authorization"] == "Bearer token-1"
        assert "x-trace" not in second.headers
        assert second.headers["user-agent"].startswith("aelyst-async/")
        assert first.connection == second.connection  # one pool


async def test_with_options_adds_headers_to_those_of_the_parent_view(aelyst: Opener) -> None:
    async with RawServer(reply(200, CONTACT)) as server:
        view = aelyst(server.url).with_options(headers={"X-A": "1", "X-B": "1"}).with_options(headers={"x-b": "2"})
        await view.with_retry(ONCE).get("id:1")
        assert (server.requests[0].headers["x-a"], server.requests[0].headers["x-b"]) == ("1", "2")


async def test_with_options_headers_are_sent_over_a_borrowed_session(aelyst: Opener) -> None:
    import aiohttp

    async with RawServer(reply(200, CONTACT)) as server, aiohttp.ClientSession() as session:
        await aelyst(server.url, session=session).with_options(headers={"X-Trace": "abc"}).get("id:1")
        assert server.requests[0].headers["x-trace"] == "abc"


async def test_with_options_timeout_applies_to_the_view_only(aelyst: Opener) -> None:
    async with RawServer(hang, reply(200, CONTACT)) as server:
        gateway = aelyst(server.url, timeout=30)
        with pytest.raises(errors.RequestTimeoutError):
            await gateway.with_options(timeout=0.05, retry=ONCE).get("id:1")
        assert (await gateway.get("id:1")).id == "1"


async def test_with_options_view_shares_subscribers_and_closing(aelyst: Opener) -> None:
    seen: list[Any] = []
    async with RawServer(reply(200, CONTACT)) as server:
        gateway = aelyst(server.url)
        view = gateway.with_options(headers={"X-A": "1"}, timeout=3, retry=QUICK)
        gateway.subscribe(seen.append)
        await view.get("id:1")
        assert len(seen) == 1
        await view.aclose()
        with pytest.raises(errors.ConfigurationError, match="closed"):
            await gateway.get("id:1")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "x"}, {"authorization": "x"}, {"X-Api-Key": "x"}, {"apikey": "x"}, {"Cookie": "a=b"},
        {"Proxy-Authorization": "x"}, {"X-Token": "x"}, {"X-Note": "Bearer abc"}, {"X-Note": " basic abc"},
        {"Host": "evil.example"}, {"Content-Length": "0"}, {"Transfer-Encoding": "chunked"}, {"Content-Type": "a/b"},
        {"Accept-Encoding": "br"}, {"X-A": "a\r\nX-B: b"}, {"X-A": "a\nb"}, {"X-A": "é"}, {"X-A": " a"}, {"X-A": "a\0"},
        {"X-A": 1}, {"X A": "a"}, {"X-A:": "a"}, {"": "a"}, {1: "a"}, {"X-A": "a", "x-a": "b"}, {"X-A": "a" * 5000},
        [("X-A", "a")], "X-A: a",
    ],
)  # fmt: skip
def test_with_options_rejects_reserved_and_malformed_headers(aelyst: Opener, headers: Any) -> None:
    gateway = aelyst("https://api.example.com")
    with pytest.raises(errors.ConfigurationError, match="headers") as caught:
        gateway.with_options(headers=headers)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"timeout": "5"}, {"retry": 3}])
def test_with_options_rejects_invalid_timeout_and_retry(aelyst: Opener, options: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        aelyst("https://api.example.com").with_options(**options)


async def test_with_options_header_values_are_never_shown(aelyst: Opener, caplog: pytest.LogCaptureFixture) -> None:
    async with RawServer(reply(500)) as server:
        view = aelyst(server.url).with_options(headers={"X-Trace": "private-value"})
        with caplog.at_level(logging.DEBUG), pytest.raises(errors.ServerError) as caught:
            await view.get("id:1")
        assert server.requests[0].headers["x-trace"] == "private-value"
    shown = repr(view) + str(caught.value) + repr(caught.value) + caplog.text + repr(vars(caught.value))
    assert "private-value" not in shown


def test_with_retry_rejects_other_types(aelyst: Opener) -> None:
    with pytest.raises(errors.ConfigurationError, match="RetryPolicy"):
        aelyst("https://api.example.com").with_retry(3)  # type: ignore[arg-type]


def test_with_options_accepts_a_retry_policy(aelyst: Opener) -> None:
    assert aelyst("https://api.example.com").with_options(retry=RetryPolicy(max_attempts=2))


@pytest.mark.parametrize("used", [False, True])
async def test_with_options_rejects_a_header_that_contains_the_credential(aelyst: Opener, used: bool) -> None:
    async with RawServer(reply(200, CONTACT)) as server:
        gateway = aelyst(server.url)
        if used:
            await gateway.get("id:1")
        with pytest.raises(errors.ConfigurationError, match="contains the credential"):
            await gateway.with_options(headers={"X-Note": "it is token-1"}).get("id:1")
        assert len(server.requests) == used
