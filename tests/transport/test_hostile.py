"""Runs each row of docs/hostile.md: which error a caller gets, and what is repeated."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest

from aelyst_async import Quota, RateLimiter, errors
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.servers import Answer, RawServer, hang, raw, reply, reset, stop
from tests.transport.conftest import QUICK, Opener

ANN = AelystFields(first_name="Ann")
HTML = {"Content-Type": "text/html"}
BEGUN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id": 1'
BOMB = gzip.compress(b"0" * (9 << 20))


async def begins_and_hangs(connection: Any, seen: Any) -> bool:
    await connection.send(BEGUN)
    return await hang(connection, seen)


@attrs.frozen
class Row:
    """One situation. ``reads``, ``creates``: whether a get and a create are repeated. ``doubt``: whether the error of
    the create says that it may have been applied.
    """

    situation: str
    answer: Answer
    error: type[errors.ContactsError]
    reads: bool
    creates: bool
    doubt: bool

    @property
    def words(self) -> str:
        """The row of the page."""
        create = "repeated" if self.creates else "not repeated"
        doubt = "; it may have been applied" if self.doubt else ""
        read = "repeated" if self.reads else "not repeated"
        return f"| {self.situation} | `{self.error.__name__}` | {read} | {create}{doubt} |"


ROWS = [
    Row("the connection is reset, no answer", reset, errors.TransportError, True, False, True),
    Row("the connection is closed, no answer", stop, errors.TransportError, True, False, True),
    Row("the connection breaks within the body", raw(BEGUN), errors.TransportError, True, False, True),
    Row("no answer within `timeout`", hang, errors.RequestTimeoutError, True, False, True),
    Row("the body stops coming", begins_and_hangs, errors.RequestTimeoutError, True, False, True),
    Row("the response is not HTTP", raw(b"SSH-2.0-x\r\n"), errors.TransportError, True, False, True),
    Row("400", reply(400, {"message": "Validation error."}), errors.BadRequestError, False, False, False),
    Row("401, the token is a `str`", reply(401, {"code": 401}), errors.AuthenticationError, False, False, False),
    Row("403", reply(403, {"code": 403}), errors.AuthenticationError, False, False, False),
    Row("404", reply(404, {"code": 404}), errors.ContactNotFoundError, False, False, False),
    Row("408", reply(408), errors.ApiError, True, False, True),
    Row("409", reply(409, {"code": 409}), errors.ConflictError, False, False, False),
    Row("425", reply(425), errors.ApiError, True, True, False),
    Row("429", reply(429, {"code": 429}, {"Retry-After": "0"}), errors.RateLimitedError, True, True, False),
    Row("449, the contact is queued", reply(449, b"queued"), errors.QueuedError, True, True, False),
    Row("500, 502, 503, 504", reply(500, {"code": 500}), errors.ServerError, True, False, True),
    Row("503 with a page of HTML", reply(503, b"<html>", HTML), errors.ServerError, True, False, True),
    Row("501, 505", reply(501), errors.ServerError, False, False, True),
    Row("a redirect", reply(302, b"", {"Location": "/other"}), errors.ApiError, False, False, False),
    Row("200 with a page of HTML", reply(200, b"<html>", HTML), errors.ResponseDecodeError, False, False, True),
    Row("200 with half of the JSON", reply(200, b'{"id": 1'), errors.ResponseDecodeError, False, False, True),
    Row("200 with a body above 8 MiB", reply(200, b" " * (9 << 20)), errors.ResponseDecodeError, False, False, True),
    Row("200 with a gzip bomb", reply(200, BOMB, {"Content-Encoding": "gzip"}), errors.ResponseDecodeError, False,
        False, True),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_caller_gets_the_documented_error_and_retries(aelyst: Opener, row: Row, method: str) -> None:
    async with RawServer(row.answer) as server:
        gateway = aelyst(server.url, timeout=0.2 if row.error is errors.RequestTimeoutError else 5)
        with pytest.raises(row.error) as caught:
            await (gateway.get("id:1") if method == "GET" else gateway.create(ANN, identifier="phone:+1"))
        repeated = row.reads if method == "GET" else row.creates
        assert len(server.requests) == (QUICK.max_attempts if repeated else 1)
    assert type(caught.value) is row.error
    assert getattr(caught.value, "may_have_been_applied", False) is (method == "POST" and row.doubt)


async def test_failed_connection_is_retried_also_for_a_create(aelyst: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(errors.TransportError) as caught:
        await aelyst(f"http://127.0.0.1:{port}").create(ANN, identifier="phone:+1")
    assert (caught.value.attempts, caught.value.may_have_been_applied) == (QUICK.max_attempts, False)


async def test_call_is_retried_once_after_401_with_a_rotated_token(aelyst: Opener) -> None:
    tokens = iter(["old", "new"])
    good = reply(200, {"code": "200", "message": "ok"})
    async with RawServer(reply(401, {"code": 401}), good) as server:
        gateway = AelystGateway(lambda: next(tokens), base_url=server.url, settle=0)
        async with gateway:
            await gateway.create(ANN, identifier="phone:+1")
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer old", "Bearer new"]


async def test_response_about_another_id_is_rejected(aelyst: Opener) -> None:
    async with RawServer(reply(200, {"id": 2})) as server:
        with pytest.raises(errors.ResponseDecodeError):
            await aelyst(server.url).get("id:1")
        assert len(server.requests) == 1


async def test_wait_beyond_max_wait_raises_before_anything_is_sent(aelyst: Opener) -> None:
    limiter = RateLimiter(quotas={"*": Quota(1, per=60)}, max_wait=1)
    async with RawServer(reply(200, {"id": 1})) as server:
        gateway = aelyst(server.url, limiter=limiter)
        await gateway.get("id:1")
        with pytest.raises(errors.RateLimitedError) as caught:
            await gateway.get("id:1")
        assert (len(server.requests), caught.value.attempts) == (1, 0)


async def test_connection_of_a_cancelled_call_is_not_reused(aelyst: Opener) -> None:
    async with RawServer(hang, reply(200, {"id": 1})) as server:
        gateway = aelyst(server.url)
        task = asyncio.create_task(gateway.get("id:1"))
        await server.saw(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gateway.get("id:1")
        assert [seen.connection for seen in server.requests] == [1, 2]


CALLS: dict[str, tuple[Callable[[AelystGateway], Awaitable[Any]], type[errors.ContactsError]]] = {
    "identifier": (lambda gateway: gateway.get("ann@example.com"), errors.InvalidIdentifierError),
    "field": (lambda gateway: gateway.update("id:1", AelystFields()), errors.UnsupportedFieldError),
}


@pytest.mark.parametrize("wrong", CALLS)
async def test_invalid_input_raises_before_anything_is_sent(aelyst: Opener, wrong: str) -> None:
    call, error = CALLS[wrong]
    async with RawServer(reply(200, {"id": 1})) as server:
        with pytest.raises(error):
            await call(aelyst(server.url))
        assert not server.requests


async def test_closed_gateway_raises_configuration_error(aelyst: Opener) -> None:
    async with RawServer(reply(200, {"id": 1})) as server:
        gateway = aelyst(server.url)
        await gateway.aclose()
        with pytest.raises(errors.ConfigurationError, match="closed"):
            await gateway.get("id:1")
        assert not server.requests
