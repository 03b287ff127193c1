"""`gateway.request`: calls a route that has no method of its own, under the same rules as all calls."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aelyst_async import RateLimiter, errors
from aelyst_async.identifiers import Email
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.servers import RawServer, raw, reply, reset
from tests.transport.conftest import Opener

URL = "https://api.example.com/v1"


async def test_request_returns_decoded_json(aelyst: Opener) -> None:
    async with RawServer(reply(200, {"items": [1]})) as server:
        gateway = aelyst(server.url)
        got = await gateway.request(
            "GET", "/space/channel", params={"limit": 10, "all": True, "x": None, "t": ["a", "b"]}
        )
        assert got == {"items": [1]}
        seen = server.requests[0]
        assert (seen.method, seen.target) == ("GET", "/space/channel?limit=10&all=true&t=a&t=b")
        assert seen.headers["authorization"] == "Bearer token-1"


async def test_request_sends_json_and_returns_none_for_an_empty_body(aelyst: Opener) -> None:
    async with RawServer(reply(204)) as server:
        assert await aelyst(server.url).request("post", "/contact/list", json={"search": "é"}) is None
        assert server.requests[0].method == "POST"
        assert server.requests[0].json == {"search": "é"}


async def test_request_encodes_path_fields(aelyst: Opener) -> None:
    async with RawServer(reply(200, [])) as server:
        gateway = aelyst(server.url)
        await gateway.request("GET", "/contact/{who}/channels", fields={"who": "email:a+b/../c?d@x.com"})
        await gateway.request("GET", "/contact/{who}/channels", fields={"who": Email("a@x.com")})
        assert [seen.segments for seen in server.requests] == [
            ["contact", "email:a+b/../c?d@x.com", "channels"],
            ["contact", "email:a@x.com", "channels"],
        ]


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/space/channel", "/space/channel"),
        ("/space/custom_field", "/space/custom_field"),
        ("/contact/email:ann@example.com/channels", "/contact/{identifier}/channels"),
        ("/contact/phone:%2B60123456789", "/contact/{identifier}"),
        ("/contact/id:5", "/contact/{identifier}"),
        ("/contact/Ann", "/contact/{identifier}"),
        ("/contact/ann%40x.com", "/contact/{identifier}"),
    ],
)
async def test_request_reports_a_route_template_without_identifiers(
    aelyst: Opener, caplog: pytest.LogCaptureFixture, path: str, endpoint: str
) -> None:
    limiter = RateLimiter()
    calls: list[str] = []
    async with RawServer(reply(404, {"code": 404, "message": "no"})) as server:
        gateway = aelyst(server.url, limiter=limiter)
        gateway.subscribe(on_call=lambda call: calls.append(call.endpoint))
        with caplog.at_level(logging.DEBUG), pytest.raises(errors.ContactNotFoundError) as caught:
            await gateway.request("GET", path)
        assert server.requests[0].path == path
    assert calls == [endpoint]
    assert caught.value.endpoint == endpoint
    assert f"GET {endpoint}" in caplog.text
    assert {bucket.endpoint for bucket in limiter.snapshot()} <= {f"GET {endpoint}"}
    for person in ("ann@", "60123456789", "id:5", "Ann", "ann%40"):
        assert person not in caplog.text + str(caught.value)


async def test_request_retries_only_idempotent_methods(aelyst: Opener) -> None:
    async with RawServer(reset, reply(200, {})) as server:
        assert await aelyst(server.url).request("GET", "/space/channel") == {}
        assert len(server.requests) == 2
    async with RawServer(reset, reply(200, {})) as server:
        with pytest.raises(errors.TransportError) as caught:
            await aelyst(server.url).request("POST", "/space/channel", json={})
        assert caught.value.may_have_been_applied
        assert len(server.requests) == 1


async def test_request_is_retried_after_429(aelyst: Opener) -> None:
    async with RawServer(reply(429, headers={"Retry-After": "0"}), reply(200, {"a": 1})) as server:
        assert await aelyst(server.url).request("POST", "/contact/list", json={}) == {"a": 1}
        assert len(server.requests) == 2


async def test_request_does_not_follow_redirects(aelyst: Opener) -> None:
    async with RawServer(reply(302, headers={"Location": "https://evil.example/"})) as server:
        with pytest.raises(errors.ApiError, match="redirects are not followed"):
            await aelyst(server.url).request("GET", "/space/channel")
        assert len(server.requests) == 1


async def test_request_redacts_the_credential(aelyst: Opener) -> None:
    async with RawServer(reply(400, {"code": 400, "message": "bad token-1"})) as server:
        with pytest.raises(errors.BadRequestError) as caught:
            await aelyst(server.url).request("GET", "/space/channel")
        assert "token-1" not in repr(vars(caught.value)) + str(caught.value)


async def test_request_raises_decode_error_for_invalid_json(aelyst: Opener) -> None:
    async with RawServer(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as server:
        with pytest.raises(errors.ResponseDecodeError, match="not JSON"):
            await aelyst(server.url).request("GET", "/space/channel")


async def test_request_detects_callab_errors_sent_with_status_200() -> None:
    answer = reply(200, {"status": "error", "message": "Contact not found", "data": ""})
    async with RawServer(answer) as server, CallabGateway("t", base_url=server.url) as callab:
        with pytest.raises(errors.ContactNotFoundError):
            await callab.request("GET", "/campaigns")


async def test_request_detects_dmchamp_errors_and_rejects_an_api_key_parameter() -> None:
    async with RawServer(reply(200, {"success": False})) as server, DmChampGateway("k", base_url=server.url) as dmchamp:
        with pytest.raises(errors.ApiError):
            await dmchamp.request("GET", "/contacts/lists")
        with pytest.raises(errors.ConfigurationError, match="apiKey"):
            await dmchamp.request("GET", "/contacts/lists", params={"apiKey": "other"})


@pytest.mark.parametrize(
    "path",
    [
        "", "space", "//evil.example/x", "https://evil.example/x", "/a?b=c", "/a#b", "/a/../b", "/..", "/.", "/a/./b",
        "/a/%2e%2e/b", "/a/%2E./b", "/a/%252e%252e/b", "/a/..%2fb", "/a/x%2f..%2fb", "/a/..%5cb", "/a//b", "/a/", "/",
        "/a b", "/a\nb", "/a\\b", "/é", "/a%", "/a%zz", "/a%0d%0aX: b", "/a/{", "/a/x{y}", "/{Who}", 5, None, b"/a",
    ],
)  # fmt: skip
async def test_request_rejects_unsafe_paths(aelyst: Opener, path: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="request: the path"):
        await aelyst(URL).request("GET", path)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("TRACE", {}), ("HEAD", {}), ("GET\r\n", {}), (1, {}), ("GET", {"fields": {"other": "x"}}),
        ("GET", {"params": "a=b"}),
        ("GET", {"params": {"a": object()}}), ("GET", {"params": {"": "x"}}), ("GET", {"params": {"a": "\ud800"}}),
        ("POST", {"json": object()}), ("POST", {"json": float("nan")}), ("POST", {"json": "\ud800"}),
    ],
)  # fmt: skip
async def test_request_rejects_invalid_arguments(aelyst: Opener, method: Any, options: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match="request"):
        await aelyst(URL).request(method, "/a", **options)


@pytest.mark.parametrize("value", ["", ".", "..", "a\nb", None, True, 1.5, ["a"]])
async def test_request_rejects_invalid_path_field_values(aelyst: Opener, value: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="the field who"):
        await aelyst(URL).request("GET", "/contact/{who}", fields={"who": value})


async def test_request_rejects_missing_path_fields(aelyst: Opener) -> None:
    with pytest.raises(errors.ConfigurationError, match="has no value"):
        await aelyst(URL).request("GET", "/contact/{who}")
