"""Requests that bypass `aiohttp.ClientSession`: identical on the wire, and only if no session hook is skipped."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from aelyst_async import ContactFields, errors
from aelyst_async.transport.messages import Request
from aelyst_async.transport.session import make_session
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import free_limiter
from tests.servers import RawServer, Seen, head, raw, reply

FOUND = reply(200, {"id": 1, "contactId": 1})


def opened(server: RawServer, **settings: Any) -> AelystGateway:
    return AelystGateway("a-token", base_url=f"{server.url}/v1", limiter=free_limiter()[1], **settings)


def route(gateway: AelystGateway) -> str:
    http = gateway._transport._http
    assert http is not None
    return "session" if http._template is None else "direct"


def wire_form(seen: Seen) -> tuple[str, str, dict[str, str], bytes]:
    return seen.method, seen.target, dict(seen.headers), seen.body


async def test_own_session_is_bypassed_with_this_aiohttp_version() -> None:
    async with RawServer(FOUND) as server, opened(server) as gateway:
        await gateway.get("id:1")
        assert route(gateway) == "direct"


@pytest.mark.parametrize("kind", [AelystGateway, DmChampGateway])
async def test_direct_and_session_requests_are_identical(
    kind: type[AelystGateway | DmChampGateway],
) -> None:
    async with RawServer(FOUND) as server, make_session(server.url) as session:
        for own in (True, False):
            gateway = kind(
                "a+token/%41",
                base_url=f"{server.url}/v1",
                limiter=free_limiter()[1],
                session=None if own else session,
            )
            async with gateway:
                await gateway.get("email:ann+b@example.com")
                await gateway.update("id:1", ContactFields(first_name="Änn"))
        half = len(server.requests) // 2
        direct, by_session = server.requests[:half], server.requests[half:]
    assert half >= 2
    assert [wire_form(seen) for seen in direct] == [wire_form(seen) for seen in by_session]


async def test_traced_session_is_not_bypassed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrumentations of OpenTelemetry and Sentry add a trace to every new session."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def start(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    trace.on_request_start.append(start)
    plain = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **settings: Any) -> None:
        plain(self, **{**settings, "trace_configs": [trace]})

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with RawServer(FOUND) as server, opened(server) as gateway:
        await gateway.get("id:1")
        assert route(gateway) == "session"
    assert seen == ["GET"]


async def test_patched_session_is_not_bypassed(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioresponses and vcrpy patch the session's method, possibly after the gateway has sent requests."""
    seen: list[str] = []
    plain = aiohttp.ClientSession._request

    async def patched(self: aiohttp.ClientSession, method: str, *args: Any, **settings: Any) -> Any:
        seen.append(method)
        return await plain(self, method, *args, **settings)

    async with RawServer(FOUND) as server, opened(server) as gateway:
        await gateway.get("id:1")
        monkeypatch.setattr(aiohttp.ClientSession, "_request", patched)
        await gateway.get("id:1")
        assert len(server.requests) == 2
    assert seen == ["GET"]


async def test_interim_response_is_skipped() -> None:
    answer = raw(head(103, [("Link", "</x>")]) + head(200, [("Content-Length", "9")]) + b'{"id": 1}')
    async with RawServer(answer) as server, opened(server) as gateway:
        assert (await gateway.get("id:1")).id == "1"


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: 1", "/a\x00", "/ä"])
async def test_unencoded_path_is_never_sent(path: str) -> None:
    async with RawServer(FOUND) as server, opened(server) as gateway:
        with pytest.raises(errors.ConfigurationError):
            await gateway._call(Request(method="GET", endpoint="/x", path=path), lambda response: response.json())
        assert server.requests == []


async def test_post_without_a_body_sends_content_length_zero() -> None:
    async with RawServer(FOUND) as server, opened(server) as gateway:
        await gateway._call(Request(method="POST", endpoint="/x", path="/x"), lambda response: response.json())
        assert server.requests[0].headers["content-length"] == "0"


async def test_head_response_has_no_body() -> None:
    answer = raw(head(200, [("Content-Length", "9")]))
    async with RawServer(answer) as server, opened(server, timeout=5.0) as gateway:
        request = Request(method="HEAD", endpoint="/x", path="/x")
        assert await gateway._call(request, lambda response: (response.status, response.body)) == (200, b"")
        assert server.requests[0].method == "HEAD"
