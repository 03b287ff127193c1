"""`with_raw_response`, and the request id of the server on errors."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.transport.messages import request_id
from aelyst_async.transport.raw import RawCalls
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.servers import RawServer, raw, reply
from tests.transport.conftest import ONCE, Opener

CONTACT = {"id": 1, "firstName": "Ann"}


async def test_with_raw_response_returns_response_and_value(aelyst: Opener) -> None:
    async with RawServer(reply(200, CONTACT, headers={"X-Request-Id": "r-1", "X-Extra": "e"})) as server:
        gateway = aelyst(server.url)
        raw_response = await gateway.with_raw_response.get("id:1")
        assert raw_response.status == 200
        assert raw_response.headers["x-extra"] == "e"
        assert b'"firstName"' in raw_response.body
        assert raw_response.value == await gateway.get("id:1")
        assert raw_response.request_id == "r-1"
        assert "Ann" not in repr(raw_response)


async def test_with_raw_response_accepts_a_method_and_its_arguments(aelyst: Opener) -> None:
    async with RawServer(reply(200, CONTACT)) as server:
        gateway = aelyst(server.url)
        assert (await gateway.with_raw_response(AelystGateway.get, "id:1")).value.first_name == "Ann"
        assert (await gateway.with_raw_response.request("GET", "/space/channel")).value == CONTACT


async def test_with_raw_response_returns_the_last_of_several_responses(aelyst: Opener) -> None:
    async with RawServer(
        reply(404, {"code": 404, "message": "Contact not found"}), reply(200, {"code": "200", "message": "created"})
    ) as server:
        gateway = aelyst(server.url, upsert="compose")
        found = await gateway.with_raw_response.upsert("email:a@x.com", AelystFields(first_name="Ann"))
        assert (found.status, found.value.created) == (200, True)
        assert b"created" in found.body


async def test_with_raw_response_separates_concurrent_calls(aelyst: Opener) -> None:
    async def echo(connection: object, seen: object) -> bool:
        return await reply(200, {"id": seen.path.rpartition(":")[2]})(connection, seen)  # type: ignore[attr-defined, arg-type]

    async with RawServer(echo) as server:
        view = aelyst(server.url).with_raw_response
        found = await asyncio.gather(*(view.get(f"id:{number}") for number in range(20)))
        assert [f'"{one.value.id}"'.encode() in one.body for one in found] == [True] * 20


async def test_with_raw_response_works_on_a_with_options_view(aelyst: Opener) -> None:
    async with RawServer(reply(200, CONTACT)) as server:
        await aelyst(server.url).with_options(headers={"X-A": "1"}).with_raw_response.get("id:1")
        assert server.requests[0].headers["x-a"] == "1"


async def test_with_raw_response_raises_the_error_of_the_call(aelyst: Opener) -> None:
    async with RawServer(reply(404, {"code": 404, "message": "no"})) as server:
        with pytest.raises(errors.ContactNotFoundError):
            await aelyst(server.url).with_raw_response.get("id:1")


async def test_with_raw_response_rejects_unknown_and_local_operations(aelyst: Opener) -> None:
    view = aelyst("https://api.example.com").with_raw_response
    with pytest.raises(AttributeError, match="AelystGateway has no operation 'messages'"):
        _ = view.messages  # type: ignore[misc]
    with pytest.raises(errors.UnsupportedOperationError, match="sent no request"):
        await view(AelystGateway.account)


def test_with_raw_response_offers_every_declared_operation(aelyst: Opener) -> None:
    views: list[Any] = [aelyst("https://api.example.com").with_raw_response, DmChampGateway("k").with_raw_response]
    names = {name for name, value in vars(RawCalls).items() if isinstance(value, property)}
    assert {name for name in names if any(hasattr(view, name) for view in views)} == names


@pytest.mark.parametrize(
    "name", ["X-Request-Id", "x-request-id", "Request-Id", "X-Correlation-ID", "x-amzn-RequestId", "CF-Ray"]
)
async def test_api_errors_have_the_request_id(aelyst: Opener, name: str) -> None:
    async with RawServer(reply(400, {"message": "bad"}, headers={name: "abc-123"})) as server:
        with pytest.raises(errors.BadRequestError) as caught:
            await aelyst(server.url).get("id:1")
    error = caught.value
    assert error.request_id == "abc-123"
    assert "request id abc-123" in str(error)
    assert pickle.loads(pickle.dumps(error)).request_id == copy.copy(error).request_id == "abc-123"


async def test_decode_errors_have_the_request_id(aelyst: Opener) -> None:
    async with RawServer(reply(200, [], headers={"X-Request-Id": "abc"})) as server:
        with pytest.raises(errors.ResponseDecodeError, match="request id abc") as caught:
            await aelyst(server.url).get("id:1")
    assert caught.value.request_id == "abc"


async def test_errors_omit_a_blank_request_id(aelyst: Opener) -> None:
    async with RawServer(reply(400, {"message": "bad"}, headers={"X-Request-Id": " "})) as server:
        with pytest.raises(errors.BadRequestError) as caught:
            await aelyst(server.url).get("id:1")
    assert caught.value.request_id is None
    assert "request id" not in str(caught.value)


async def test_request_id_is_bounded_printable_and_redacted(aelyst: Opener) -> None:
    value = b"a\x07\xe9b" + b"c" * 120 + b"token-1" + b"d" * 9000
    answer = raw(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nX-Request-Id: " + value + b"\r\n\r\n")
    async with RawServer(answer) as server:
        with pytest.raises(errors.ApiError) as caught:
            await aelyst(server.url, retry=ONCE).get("id:1")
    found = caught.value.request_id
    assert found is not None
    assert found.isascii()
    assert found.isprintable()
    assert len(found) <= 128
    assert "token" not in found


def test_request_id_prefers_the_most_specific_header() -> None:
    assert request_id({"CF-Ray": "ray", "X-Request-Id": "id"}) == "id"


async def test_request_id_with_an_email_is_masked(aelyst: Opener) -> None:
    async with RawServer(reply(400, {"message": "bad"}, headers={"X-Request-Id": "ann@example.com"})) as server:
        with pytest.raises(errors.BadRequestError) as caught:
            await aelyst(server.url, retry=ONCE).get("email:ann@example.com")
    assert "ann@example.com" not in str(caught.value)
