"""Malformed and unusual requests, byte for byte: each gets a response, and nothing is logged as a sandbox error."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest

from aelyst_async.sandbox import Sandbox
from tests.sandbox.plain_http import Http

HEAD = b"Authorization: Bearer sandbox-token\r\nHost: localhost\r\nConnection: close\r\n"
CREATE = b"POST /aelyst/v1/contact/email:a@b.c HTTP/1.1\r\n" + HEAD

NEW_PARSER = tuple(map(int, aiohttp.__version__.split(".")[:2])) >= (3, 14)
"""The parser of these aiohttp releases rejects a second Host header."""

REQUESTS = {
    "a body that is not the gzip it claims": (
        CREATE + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        400,
    ),
    "chunks without sizes": (CREATE + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello", 400),
    "a chunked body": (CREATE + b'Transfer-Encoding: chunked\r\n\r\n11\r\n{"firstName":"A"}\r\n0\r\n\r\n', 200),
    "a whole URL, as to a proxy": (b"GET http://localhost/aelyst/v1/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "an invented method": (b"BREW /aelyst/v1/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    "a rare method": (b"PROPFIND /aelyst/v1/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
    "raw bytes in the path": (b"GET /aelyst/v1/contact/email:\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
    "a percent sign without digits": (b"GET /aelyst/v1/contact/email:%zz@b.c HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "500 query fields": (
        b"GET /dmchamp/v1/contacts?" + b"&".join([b"a=1"] * 500) + b" HTTP/1.1\r\n" + HEAD + b"\r\n",
        400,
    ),
    "an account that is not UTF-8": (b"GET /@%ff/aelyst/v1/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "two hosts": (b"GET / HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400 if NEW_PARSER else 403),
    "no host": (b"GET / HTTP/1.0\r\n\r\n", 403),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a path without a version": (b"GET /aelyst HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "another version": (b"GET /aelyst/v10/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "two slashes": (b"GET //aelyst/v1/contact/id:1 HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
    "a CSV that is not UTF-8": (
        b"POST /_sandbox/seed/aelyst HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\n\r\n\xff\xfe",
        400,
    ),
    "a huge clock advance": (
        b"POST /_sandbox/clock HTTP/1.1\r\n" + HEAD + b'Content-Length: 16\r\n\r\n{"advance":1e99}',
        400,
    ),
    "numbers beyond SQLite": (
        b"GET /_sandbox/contacts/aelyst?limit=99999999999999999999&offset=999999999999999 HTTP/1.1\r\n"
        + HEAD
        + b"\r\n",
        200,
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_unusual_request_gets_a_response_and_logs_nothing(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    request, status = REQUESTS[name]
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(request)
    line = await asyncio.wait_for(reader.readline(), 5)
    assert int(line.split()[1]) == status
    writer.close()
    await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_expect_100_continue_is_answered(sandbox: Sandbox) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(CREATE + b"Expect: 100-continue\r\nContent-Length: 17\r\n\r\n")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"firstName":"A"}')
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()


async def test_client_that_disconnects_during_the_body_writes_nothing(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(CREATE + b'Content-Length: 99\r\n\r\n{"firstName":')
    await writer.drain()
    while not sandbox.counters.in_flight:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    while sandbox.counters.in_flight:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert sandbox.contacts("aelyst") == []
    assert [(one.status, one.fault) for one in sandbox.requests] == [(None, "broken off by the client")]
    assert caplog.records == []


async def test_full_disk_gives_500_and_a_logged_reason_until_space_is_free(
    http: Http, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await http("aelyst", "POST", "/contact/email:a@b.c", {"firstName": "A"})
    (pages,) = sandbox.store.db.execute("PRAGMA page_count").fetchone()
    sandbox.store.db.execute(f"PRAGMA max_page_count = {pages}")
    big = {"firstName": "x" * 100_000}
    answer = await http("aelyst", "POST", "/contact/email:big@b.c", big)
    assert (answer.status, answer.json) == (500, {"code": 500, "message": "Unexpected error occurred"})
    assert caplog.messages == ["the database failed at POST /contact/{identifier}: database or disk is full"]
    assert (await http("aelyst", "GET", "/contact/email:big@b.c")).status == 404
    sandbox.store.db.execute("PRAGMA max_page_count = 1000000")
    assert (await http("aelyst", "POST", "/contact/email:big@b.c", big)).status == 200
    assert sandbox.counters.contacts["aelyst"] == 2


@pytest.mark.parametrize("together", [1, 2, 25])
async def test_in_flight_peak_counts_requests_that_arrive_together(sandbox: Sandbox, together: int) -> None:
    """All requests are sent on open connections before the first response is read."""
    request = "GET /aelyst/v1/contact/id:{} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox-token\r\n\r\n"
    opened = [await asyncio.open_connection("127.0.0.1", sandbox.port) for _ in range(together)]
    for turn in range(3):
        sandbox.evidence.clear()
        for number, (_, writer) in enumerate(opened):
            writer.write(request.format(number).encode())
        for reader, _ in opened:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        counters = sandbox.counters
        assert (counters.requests, counters.in_flight, counters.in_flight_peak) == (together, 0, together), turn
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_in_flight_peak_of_sequential_requests_is_one(http: Http, sandbox: Sandbox) -> None:
    for number in range(5):
        await http("aelyst", "POST", f"/contact/email:p{number}@b.c", {"firstName": "A"})
    assert (sandbox.counters.requests, sandbox.counters.in_flight_peak) == (5, 1)


async def test_in_flight_peak_counts_requests_delayed_by_a_fault(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("latency,seconds:0.05=100%")
    await asyncio.gather(*(http("aelyst", "GET", f"/contact/id:{number}") for number in range(12)))
    assert sandbox.counters.in_flight_peak == 12
