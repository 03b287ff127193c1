"""Reading a body within bounds of size and of time.

A contact is a few kilobytes. A server, or what stands in its place, may send gigabytes, or a few kilobytes that unpack
to gigabytes. aiohttp bounds neither, so its unpacking is switched off and done here, with a limit on what may come in,
on what may come out, and on the number of gzip members. Unpacking goes in steps, and lets the event loop run between
them.

A ``Content-Encoding`` that names no coding (``none``, ``UTF-8``, a word of the server's own) is passed over: whether
the body can be read is for its reader to say.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = ["ACCEPT_ENCODING", "MAX_BODY", "read_body"]

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a body, before and after unpacking."""

MAX_MEMBERS = 1_000
"""Members of a gzip body (RFC 1952, 2.2). Programs that write many put 64 kB or more into each."""

ACCEPT_ENCODING = "gzip, deflate"

_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_OTHERS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})

_STEP = 256 * 1024
"""Bytes that are unpacked before the event loop runs again: less than a millisecond."""


async def read_body(response: ClientResponse) -> tuple[bytes, str | None]:
    """Return the unpacked body and None; or what was read of it and what is wrong with it.

    Raises what aiohttp raises when the connection breaks.
    """
    declared = response.headers.get("Content-Encoding")
    if declared:
        codings = [coding for coding in declared.lower().replace(" ", "").split(",") if coding in _PACKED | _OTHERS]
        if codings:
            return await _unpacked(response, codings)
    chunks: list[bytes] = []
    received = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        received += len(chunk)
        if received > MAX_BODY:
            return b"".join(chunks)[:MAX_BODY], _too_large()
    return b"".join(chunks), None


async def _unpacked(response: ClientResponse, codings: list[str]) -> tuple[bytes, str | None]:
    inflate = _Inflate()
    body = bytearray()
    received = 0
    encoding = codings[0]
    async for chunk in response.content.iter_any():
        if len(codings) > 1 or encoding not in _PACKED:
            named = encoding if len(codings) == 1 else "an unknown one"
            return b"", f"the body has a Content-Encoding ({named}) that was not asked for"
        received += len(chunk)
        pending = chunk
        while True:
            room = min(_STEP, MAX_BODY + 1 - len(body))
            try:
                unpacked = inflate.feed(pending, room)
            except zlib.error:
                return bytes(body), f"the body is not valid {encoding}"
            body += unpacked
            pending = inflate.pending
            if len(body) > MAX_BODY or received > MAX_BODY:
                return bytes(body[:MAX_BODY]), _too_large()
            if inflate.members > MAX_MEMBERS:
                return bytes(body), f"the {encoding} body has more than {MAX_MEMBERS:,} members"
            if not pending and len(unpacked) < room:
                break
            await asyncio.sleep(0)
    if received and not inflate.complete():
        return bytes(body), f"the {encoding} body ends too early"
    return bytes(body), None


def _too_large() -> str:
    return f"the body is larger than {MAX_BODY // 2**20} MiB"


class _Inflate:
    """gzip, zlib, and the raw deflate that some servers send under the name of ``deflate``."""

    def __init__(self) -> None:
        self._decompressor: zlib._Decompress | None = None
        self._gzip = False
        self.members = 0
        self.pending = b""
        """What of the chunk last fed did not fit into its room, and is to be fed next."""

    def feed(self, chunk: bytes, room: int) -> bytes:
        """Return at most `room` unpacked bytes. If it is `room`, there may be more: feed `pending`, empty or not."""
        unpacked = b""
        while len(unpacked) < room and self.members <= MAX_MEMBERS:
            inflate = self._decompressor
            if inflate is None or inflate.eof:
                # gzip members may follow each other (RFC 1952, 2.2). Anything else behind the end is no part of the
                # body, and must not be fed: the decompressor would hoard it.
                if not chunk or (inflate is not None and not (self._gzip and chunk[0] == 0x1F)):
                    chunk = b""
                    break
                inflate = self._decompressor = self._start(chunk[0])
            unpacked += inflate.decompress(chunk, room - len(unpacked))
            chunk = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
            if not chunk and not inflate.eof:
                break
        self.pending = chunk
        return unpacked

    def complete(self) -> bool:
        return self._decompressor is not None and self._decompressor.eof

    def _start(self, first: int) -> zlib._Decompress:
        self.members += 1
        self._gzip = first == 0x1F
        if self._gzip or first & 0x0F == 8:
            return zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # recognises gzip and zlib headers
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS)
