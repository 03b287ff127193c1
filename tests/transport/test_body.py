"""Response bodies: size limits, content encodings, and everything that is not the expected JSON."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import errors
from aelyst_async.transport.body import MAX_BODY, _Inflate
from aelyst_providers.aelyst import AelystFields
from tests.servers import Answer, Connection, RawServer, Seen, head, raw, reply
from tests.transport.conftest import ONCE, Opener

pytestmark = pytest.mark.hostile

CONTACT = json.dumps({"id": 1, "firstName": "Ann"}).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


GOOD: dict[str, Answer] = {
    "plain": reply(200, CONTACT),
    "identity": reply(200, CONTACT, {"Content-Encoding": "identity"}),
    "gzip": reply(200, gzip.compress(CONTACT), {"Content-Encoding": "gzip"}),
    "x-gzip, upper case": reply(200, gzip.compress(CONTACT), {"Content-Encoding": "X-GZIP"}),
    "gzip in two members": reply(
        200, gzip.compress(CONTACT[:7]) + gzip.compress(CONTACT[7:]), {"Content-Encoding": "gzip"}
    ),
    "gzip with padding": reply(200, gzip.compress(CONTACT) + b"\0" * 100_000, {"Content-Encoding": "gzip"}),
    "deflate, zlib format as in the RFC": reply(200, zlib.compress(CONTACT), {"Content-Encoding": "deflate"}),
    "deflate, raw as some servers send it": reply(200, raw_deflate(CONTACT), {"Content-Encoding": "deflate"}),
    "chunked": raw(head(200, [("Transfer-Encoding", "chunked")]) + chunked(CONTACT[:3], CONTACT[3:])),
    "no length, until the connection closes": raw(head(200) + CONTACT),
    "another content type": reply(200, CONTACT, {"Content-Type": "text/plain"}),
    "no content type": raw(head(200, [("Content-Length", str(len(CONTACT)))]) + CONTACT),
    "UTF-8 with a byte order mark": reply(200, b"\xef\xbb\xbf" + CONTACT),
    "UTF-16": reply(200, CONTACT.decode().encode("utf-16")),
    "latin-1, declared": reply(
        200,
        b'{"id": 1, "firstName": "Ann", "lastName": "\xe4"}',
        {"Content-Type": "application/json; charset=ISO-8859-1"},
    ),
    "windows-1252, declared": reply(
        200, b'{"id": 1, "firstName": "Ann", "lastName": "\x80"}', {"Content-Type": 'text/json; charset="windows-1252"'}
    ),
    "UTF-8, declared as an unknown charset": reply(200, CONTACT, {"Content-Type": "application/json; charset=rot13"}),
    "NaN": reply(200, b'{"id": 1, "firstName": "Ann", "created_at": NaN, "x": -Infinity}'),
    **{
        f"Content-Encoding: {coding}": reply(200, CONTACT, {"Content-Encoding": coding})
        for coding in ("none", "UTF-8", "utf-8, identity", "binary", "8bit", "", ",", "x")
    },
    "gzip after an unknown coding": reply(200, gzip.compress(CONTACT), {"Content-Encoding": "utf-8, gzip"}),
    "headers of 60 kB": reply(200, CONTACT, {"X-One": "x" * 60_000, "X-Two": "y" * 60_000}),
    "byte by byte": raw(
        head(200, [("Content-Length", str(len(gzip.compress(CONTACT)))), ("Content-Encoding", "gzip")]),
        *(bytes([byte]) for byte in gzip.compress(CONTACT)),
    ),
}


@pytest.mark.parametrize("how", GOOD)
async def test_valid_body_is_decoded_in_every_encoding(aelyst: Opener, how: str) -> None:
    async with RawServer(GOOD[how]) as server:
        contact = await aelyst(server.url, retry=ONCE).get("id:1")
    assert (contact.id, contact.first_name) == ("1", "Ann")


BAD: dict[str, tuple[Answer, str]] = {
    "empty": (reply(200, b""), "the body is empty"),
    "204": (reply(204), "the body is empty"),
    "blanks": (reply(200, b"  \n"), "not JSON"),
    "half": (reply(200, CONTACT[:-3]), "not JSON"),
    "HTML": (reply(200, b"<html>hi</html>", {"Content-Type": "text/html"}), "not JSON"),
    "latin-1, not declared": (reply(200, b'{"id": 1, "firstName": "\xe4"}'), "not JSON"),
    "a NaN for an id": (reply(200, b'{"id": NaN}'), "$.id: expected an id"),
    "an int of 5,000 digits": (reply(200, b'{"id": ' + b"1" * 5000 + b"}"), "not JSON"),
    "nested too deeply": (reply(200, b"[" * 200_000 + b"]" * 200_000), "nested too deeply"),
    "another encoding": (reply(200, CONTACT, {"Content-Encoding": "br"}), "Content-Encoding (br)"),
    "two encodings": (reply(200, CONTACT, {"Content-Encoding": "gzip, br"}), "Content-Encoding (an unknown one)"),
    "not gzip": (reply(200, CONTACT, {"Content-Encoding": "gzip"}), "not valid gzip"),
    "gzip that ends early": (reply(200, gzip.compress(CONTACT)[:-6], {"Content-Encoding": "gzip"}), "too early"),
    "gzip that ends at once": (reply(200, gzip.compress(CONTACT)[:5], {"Content-Encoding": "gzip"}), "too early"),
    "a wrong checksum": (
        reply(200, gzip.compress(CONTACT)[:-8] + b"\0" * 8, {"Content-Encoding": "gzip"}), "not valid gzip",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
async def test_invalid_body_raises_decode_error_with_a_preview(aelyst: Opener, how: str) -> None:
    answer, problem = BAD[how]
    async with RawServer(answer) as server:
        with pytest.raises(errors.ResponseDecodeError) as caught:
            await aelyst(server.url).get("id:1")
    assert problem in caught.value.problem
    assert len(server.requests) == caught.value.attempts == 1
    assert len(caught.value.body) <= 2049
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("status", [400, 401, 404, 429, 449, 500, 302])
@pytest.mark.parametrize("how", [how for how in BAD if how != "204"])
async def test_invalid_body_does_not_hide_the_error_status(aelyst: Opener, how: str, status: int) -> None:
    async def answer(connection: Connection, seen: Seen) -> bool:
        class Patched:
            reader, writer, number = connection.reader, connection.writer, connection.number

            async def send(self, data: bytes) -> None:
                await connection.send(data.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 %d X" % status, 1))

        return await BAD[how][0](Patched(), seen)  # type: ignore[arg-type]

    async with RawServer(answer) as server:
        with pytest.raises(errors.ApiError) as caught:
            await aelyst(server.url, retry=ONCE).get("id:1")
    assert type(caught.value) is errors.error_class_for(status)
    assert caught.value.status == status


def of_size(pack: Callable[[bytes], bytes], encoding: str, size: int) -> Answer:
    body = b'{"id": 1, "x": "' + b"a" * (size - 18) + b'"}'
    assert len(body) == size
    return reply(200, pack(body), {"Content-Encoding": encoding})


PACKS = [(bytes, "identity"), (gzip.compress, "gzip"), (zlib.compress, "deflate"), (raw_deflate, "deflate")]


@pytest.mark.parametrize(("pack", "encoding"), PACKS, ids=["plain", "gzip", "zlib", "deflate"])
async def test_body_limit_is_exact(aelyst: Opener, pack: Callable[[bytes], bytes], encoding: str) -> None:
    async with RawServer(of_size(pack, encoding, MAX_BODY), of_size(pack, encoding, MAX_BODY + 1)) as server:
        gateway = aelyst(server.url, retry=ONCE)
        assert (await gateway.get("id:1")).id == "1"
        with pytest.raises(errors.ResponseDecodeError, match="larger than 8 MiB"):
            await gateway.get("id:1")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate], ids=["gzip", "zlib", "deflate"])
async def test_decompression_bomb_stops_at_the_body_limit(aelyst: Opener, pack: Callable[[bytes], bytes]) -> None:
    """200 kB decompress to 200 MB; two layers of compression would give a thousand times that."""
    bomb = pack(bytes(200_000_000))
    assert len(bomb) < 250_000
    encoding = "gzip" if pack is gzip.compress else "deflate"
    async with RawServer(reply(200, bomb, {"Content-Encoding": encoding})) as server:
        gateway = aelyst(server.url, retry=ONCE)
        tracemalloc.start()
        try:
            with pytest.raises(errors.ResponseDecodeError, match="larger than 8 MiB"):
                await gateway.get("id:1")
            assert tracemalloc.get_traced_memory()[1] < 6 * MAX_BODY
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "encoding"),
    [(b"[", ""), (gzip.compress(b"{}"), "gzip"), (raw_deflate(b"{}"), "deflate")],
    ids=["plain", "behind gzip's end", "behind deflate's end"],
)
async def test_endless_body_stops_at_the_body_limit(aelyst: Opener, start: bytes, encoding: str) -> None:
    sent = 0

    async def endless(connection: Connection, seen: Seen) -> bool:
        nonlocal sent
        await connection.send(head(200, [("Content-Encoding", encoding)] if encoding else []) + start)
        for _ in range(1_000):
            await connection.send(b"\0" * 65_536)
            sent += 65_536
        return False

    async with RawServer(endless) as server:
        with pytest.raises(errors.ResponseDecodeError, match="larger than 8 MiB"):
            await aelyst(server.url, retry=ONCE, timeout=20).get("id:1")
    assert sent < 4 * MAX_BODY


async def longest_block(task: asyncio.Future[Any]) -> float:
    """Return the longest CPU time, in seconds, for which the loop was blocked while the task ran."""
    gc.collect()
    gc.freeze()  # the objects of other tests are not counted
    longest, last = 0.0, time.process_time()
    while not task.done():
        await asyncio.sleep(0)
        longest, last = max(longest, time.process_time() - last), time.process_time()
    gc.unfreeze()
    return longest


async def test_large_undecodable_error_body_does_not_block_the_loop(aelyst: Opener) -> None:
    """Decoding the whole body for the message, with an escape per byte, would take more than a second."""
    async with RawServer(reply(500, b"\xff" * MAX_BODY)) as server:
        task = asyncio.create_task(aelyst(server.url, retry=ONCE).get("id:1"))
        longest = await longest_block(task)
        with pytest.raises(errors.ServerError) as caught:
            await task
    assert len(caught.value.body) == 2049
    assert longest < 0.5


COSTLY: dict[str, tuple[bytes, dict[str, str], str]] = {
    "empty gzip members": (gzip.compress(b"") * 400_000, {"Content-Encoding": "gzip"}, "more than 1,000 members"),
    "gzip members of a byte": (gzip.compress(b"1") * 350_000, {"Content-Encoding": "gzip"}, "more than 1,000 members"),
    "empty arrays": (b"[" + b"[]," * 2_700_000 + b"[]]", {}, "more than 250,000 values"),
    "numbers": (b"[" + b"1," * 4_000_000 + b"1]", {}, "more than 250,000 values"),
    "numbers of 4,000 digits": (b"[" + (b"1" * 4_000 + b",") * 2_000 + b"1]", {}, "expected a JSON object"),
    "wrong elements": (b'{"id": 1, "tags": [' + b"1," * 240_000 + b"1]}", {}, ""),
    "wrong objects": (b'{"id": 1, "custom_fields": [' + b"{}," * 120_000 + b"1]}", {}, ""),
}


@pytest.mark.parametrize("what", COSTLY)
async def test_expensive_body_blocks_the_loop_briefly(aelyst: Opener, what: str) -> None:
    body, headers, problem = COSTLY[what]
    assert len(body) <= MAX_BODY
    async with RawServer(reply(200, body[:1])) as server:  # triggers the lazy imports
        with pytest.raises(errors.ResponseDecodeError):
            await aelyst(server.url, retry=ONCE).get("id:1")
    async with RawServer(reply(200, body, headers)) as server:
        task = asyncio.ensure_future(aelyst(server.url, retry=ONCE).get("id:1"))
        assert await longest_block(task) < 0.2
        if problem:
            with pytest.raises(errors.ResponseDecodeError, match=problem):
                await task
        else:
            assert (await task).id == "1"


async def test_connection_with_an_unread_body_is_not_reused(aelyst: Opener) -> None:
    async with RawServer(of_size(bytes, "identity", 4 * MAX_BODY), reply(200, CONTACT)) as server:
        gateway = aelyst(server.url, retry=ONCE)
        with pytest.raises(errors.ResponseDecodeError):
            await gateway.get("id:1")
        assert (await gateway.get("id:1")).first_name == "Ann"
        assert server.connections == 2


@given(st.binary(max_size=300), st.integers(1, 50), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]))
def test_inflate_result_does_not_depend_on_chunk_boundaries(
    data: bytes, size: int, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(data)
    unpacker = _Inflate()
    out = b"".join(unpacker.feed(packed[at : at + size], MAX_BODY) for at in range(0, len(packed), size))
    assert out == data
    assert unpacker.complete()


@given(st.binary(max_size=300), st.integers(1, 20), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]))
def test_inflate_continues_from_pending_input(data: bytes, room: int, pack: Callable[[bytes], bytes]) -> None:
    unpacker = _Inflate()
    out, pending = b"", pack(data * 50)
    while True:
        step = unpacker.feed(pending, room)
        out, pending = out + step, unpacker.pending
        if not pending and len(step) < room:
            break
    assert out == data * 50
    assert unpacker.complete()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.integers(1, 60))
def test_inflate_reads_several_gzip_members(parts: list[bytes], size: int) -> None:
    packed = b"".join(map(gzip.compress, parts))
    unpacker = _Inflate()
    out = b"".join(unpacker.feed(packed[at : at + size], MAX_BODY) for at in range(0, len(packed), size))
    assert out == b"".join(parts)
    assert unpacker.complete()


@given(st.binary(max_size=100), st.integers(0, 40))
def test_inflate_returns_at_most_the_requested_bytes(data: bytes, room: int) -> None:
    assert len(_Inflate().feed(gzip.compress(data) + gzip.compress(data), room)) <= room


async def test_redirect_is_not_followed(aelyst: Opener) -> None:
    async with RawServer(reply(302, b"", {"Location": "/elsewhere"})) as server:
        gateway = aelyst(server.url)
        for call in (lambda: gateway.get("id:1"), lambda: gateway.update("id:1", AelystFields(first_name="Ann"))):
            with pytest.raises(errors.ApiError, match="redirects are not followed") as caught:
                await call()
            assert caught.value.status == 302
            assert type(caught.value) is errors.ApiError
    assert [seen.path for seen in server.requests] == ["/contact/id:1"] * 2
