"""Attempts: the error counts exactly the requests that the server received, for every kind of failure."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_async.errors import ContactsError, TransportError
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.servers import Answer, RawServer, hang, raw, reply, reset, stop
from tests.transport.conftest import ONCE, QUICK, Opener

ANN = AelystFields(first_name="Ann")
CONTACT = {"id": 1}
TWICE = RetryPolicy(max_attempts=2, base=0.001, cap=0.002)

CALLS: dict[str, Callable[[AelystGateway], Awaitable[Any]]] = {
    "GET": lambda gateway: gateway.get("id:1"),
    "PUT": lambda gateway: gateway.update("id:1", ANN),
    "POST": lambda gateway: gateway.create(ANN, identifier="phone:+1"),
}
GOOD = {
    "GET": reply(200, CONTACT),
    "PUT": reply(200, {"contactId": 1}),
    "POST": reply(200, {"code": "200", "message": "ok"}),
}

HALF = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id": 1'

# The failure, and the error that reports it.
BREAKS: dict[str, tuple[Answer, type[ContactsError]]] = {
    "reset before headers": (reset, TransportError),
    "closed before headers": (stop, TransportError),
    "closed within headers": (raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), TransportError),
    "closed within the body": (raw(HALF), TransportError),
    "reset within the body": (raw(HALF, pause=0.05, abort=True), TransportError),
    "reset after headers": (raw(HALF[:-8], pause=0.05, abort=True), TransportError),
    "chunked, cut": (raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n'), TransportError),
    "garbage": (raw(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n"), TransportError),
    "nothing but zeros": (raw(b"\0" * 4096), TransportError),
    "an absurd status": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), TransportError),
    "an absurd length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), TransportError),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12"), TransportError),
    "a header of 100 kB": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), TransportError),
    "500": (reply(500, {"code": 500, "message": "Unexpected error occurred"}), errors.ServerError),
    "503 with an HTML page": (reply(503, b"<html>", {"Content-Type": "text/html"}), errors.ServerError),
    "500 with half a body": (raw(HALF.replace(b"200 OK", b"500 No")), errors.ServerError),
}  # fmt: skip


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("fault", BREAKS)
async def test_broken_connection_is_retried_only_if_idempotent(aelyst: Opener, method: str, fault: str) -> None:
    answer, kind = BREAKS[fault]
    async with RawServer(answer) as server:
        with pytest.raises(kind) as caught:
            await CALLS[method](aelyst(server.url))
    assert type(caught.value) is kind
    error = cast(Any, caught.value)
    assert [seen.method for seen in server.requests] == [method] * (1 if method == "POST" else QUICK.max_attempts)
    assert error.attempts == len(server.requests)
    assert error.may_have_been_applied is (method != "GET")
    assert error.method == method
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("fault", BREAKS)
async def test_call_succeeds_after_one_broken_connection(aelyst: Opener, method: str, fault: str) -> None:
    async with RawServer(BREAKS[fault][0], GOOD[method]) as server:
        await CALLS[method](aelyst(server.url))
    assert len(server.requests) == 2


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
@pytest.mark.parametrize("method", CALLS)
async def test_dropped_pooled_connection_counts_as_one_attempt(aelyst: Opener, method: str, borrowed: bool) -> None:
    """aiohttp retries GET and PUT on a dropped pooled connection: the server would see more requests than we count."""
    async with RawServer(GOOD[method], stop) as server, aiohttp.ClientSession() as session:
        gateway = aelyst(server.url, session=session if borrowed else None, retry=ONCE)
        await CALLS[method](gateway)
        with pytest.raises(TransportError) as caught:
            await CALLS[method](gateway)
        assert len(server.requests) == 2
        assert server.requests[0].connection == server.requests[1].connection == server.connections
        assert caught.value.attempts == 1


async def test_borrowed_session_still_retries_its_own_requests(aelyst: Opener) -> None:
    """aiohttp's own retry is disabled for our requests only: the session owner's GET is still retried."""
    async with RawServer(GOOD["GET"], stop, GOOD["GET"]) as server, aiohttp.ClientSession() as session:
        await CALLS["GET"](aelyst(server.url, session=session, retry=ONCE))
        async with session.get(server.url + "/own") as answer:
            assert answer.status == 200
    assert [seen.path for seen in server.requests] == ["/contact/id:1", "/own", "/own"]


@pytest.mark.parametrize("method", CALLS)
async def test_failed_connection_is_retried_for_every_method(aelyst: Opener, method: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(TransportError, match=r"cannot connect to 127\.0\.0\.1") as caught:
            await CALLS[method](aelyst(url))
    assert caught.value.attempts == QUICK.max_attempts
    assert caught.value.may_have_been_applied is False


@pytest.mark.parametrize("method", CALLS)
async def test_connect_timeout_is_not_reported_as_perhaps_applied(aelyst: Opener, method: str) -> None:
    """A listener with a full queue drops connections. The total timeout is as short as the connect timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            gateway = aelyst(f"http://127.0.0.1:{address[1]}", timeout=0.2, retry=QUICK)
            with pytest.raises(errors.RequestTimeoutError) as caught:
                await CALLS[method](gateway)
        finally:
            for filler in fillers:
                filler.close()
    assert caught.value.may_have_been_applied is False
    assert caught.value.attempts == QUICK.max_attempts


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(
    "slow",
    [hang, raw(HALF, *[b" "] * 100, pause=0.1), raw(*[b"H", b"T"] * 50, pause=0.1)],
    ids=["no answer", "slow body", "slow headers"],
)
async def test_timeout_is_retried_only_for_idempotent_methods(aelyst: Opener, method: str, slow: Answer) -> None:
    async with RawServer(slow) as server:
        with pytest.raises((errors.RequestTimeoutError, TransportError)) as caught:
            await CALLS[method](aelyst(server.url, timeout=0.5, retry=TWICE))
    if slow is hang:
        assert type(caught.value) is errors.RequestTimeoutError
    assert caught.value.attempts == len(server.requests) == (1 if method == "POST" else 2)
    assert caught.value.may_have_been_applied is (method != "GET")


@pytest.mark.parametrize("method", CALLS)
async def test_socket_read_timeout_raises_request_timeout_error(aelyst: Opener, method: str) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=0.1)
    async with RawServer(hang) as server:
        with pytest.raises(errors.RequestTimeoutError) as caught:
            await CALLS[method](aelyst(server.url, timeout=timeout, retry=ONCE))
    assert caught.value.may_have_been_applied is (method != "GET")


async def test_retry_total_ends_a_call_during_an_attempt(aelyst: Opener) -> None:
    policy = RetryPolicy(max_attempts=1_000, total=1.0, base=0.001, cap=0.001)
    async with RawServer(reset, reset, hang) as server:
        started = asyncio.get_running_loop().time()
        with pytest.raises(errors.RequestTimeoutError) as caught:
            await aelyst(server.url, retry=policy).get("id:1")
        assert 0.8 < asyncio.get_running_loop().time() - started < 5
    assert caught.value.attempts == len(server.requests) == 3


async def test_create_is_retried_after_429_with_a_truncated_body(aelyst: Opener) -> None:
    """A 429 means that the create was not carried out, so it is safe to retry."""
    cut = HALF.replace(b"200 OK", b"429 Too Many Requests")
    async with RawServer(raw(cut), GOOD["POST"]) as server:
        receipt = await CALLS["POST"](aelyst(server.url))
    assert receipt.created is True
    assert len(server.requests) == 2


async def test_gateway_sends_at_most_100_concurrent_requests(aelyst: Opener) -> None:
    async def slow(connection: Any, seen: Any) -> bool:
        await asyncio.sleep(0.02)
        return await GOOD["GET"](connection, seen)

    async with RawServer(slow) as server:
        gateway = aelyst(server.url)
        await asyncio.gather(*(gateway.get("id:1") for _ in range(250)))
    assert server.peak <= 100
    assert server.connections <= 100
    assert len(server.requests) == 250


@pytest.mark.parametrize("fault", [*BREAKS, "400", "200, nonsense"])
@pytest.mark.parametrize("method", CALLS)
async def test_error_has_the_identifier_but_str_and_repr_mask_it(aelyst: Opener, method: str, fault: str) -> None:
    identifier = "email:ann.o@example.com"
    calls: dict[str, Callable[[AelystGateway], Awaitable[Any]]] = {
        "GET": lambda gateway: gateway.get(identifier),
        "PUT": lambda gateway: gateway.update(identifier, ANN),
        "POST": lambda gateway: gateway.create(ANN, identifier=identifier),
    }
    body = {"code": 400, "message": "there is no ann.o@example.com"}
    answer = {"400": reply(400, body), "200, nonsense": reply(200, json.dumps([body]).encode())}
    async with RawServer(BREAKS[fault][0] if fault in BREAKS else answer[fault]) as server:
        with pytest.raises(ContactsError) as caught:
            await calls[method](aelyst(server.url, retry=ONCE))
    error = cast(Any, caught.value)
    assert str(error.identifier) == identifier
    assert "ann.o" not in str(error) + repr(error)
    assert "/contact/{identifier}" in str(error)
    assert "ann.o@example.com" in error.url
