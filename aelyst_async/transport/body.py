"""Reads a response body within limits of size and time.

A contact has a few kilobytes. A broken or malicious server may send gigabytes, or a few kilobytes that decompress to
gigabytes. aiohttp limits neither. So its decompression is disabled and done here, with limits on the compressed size,
the decompressed size and the number of gzip members. It runs in steps, between which the event loop can run.

An unknown ``Content-Encoding`` (``none``, ``UTF-8``, a server's own word) is ignored; the decoder reports a body that
it cannot read.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from aiohttp import StreamReader

__all__ = ["ACCEPT_ENCODING", "MAX_BODY", "read_body"]

MAX_BODY = 8 * 1024 * 1024
"""Largest body in bytes, before and after decompression."""

MAX_MEMBERS = 1_000
"""Largest number of members of a gzip body (RFC 1952, 2.2). Programs that write several put 64 kB or more into each."""

ACCEPT_ENCODING = "gzip, deflate"

_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_OTHERS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})

_STEP = 256 * 1024
"""Bytes that are decompressed before the event loop runs again; takes less than a millisecond."""


async def read_body(headers: Mapping[str, str], content: StreamReader) -> tuple[bytes, str | None]:
    """Return the decompressed body and None, or the part that was read and the problem.

    Raises aiohttp's exceptions if the connection breaks.
    """
    declared = headers.get("Content-Encoding")
    if declared:
        codings = [coding for coding in declared.lower().replace(" ", "").split(",") if coding in _PACKED | _OTHERS]
        if codings:
            return await _unpacked(content, codings)
    chunks: list[bytes] = []
    received = 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        received += len(chunk)
        if received > MAX_BODY:
            return b"".join(chunks)[:MAX_BODY], _too_large()
    return b"".join(chunks), None


async def _unpacked(content: StreamReader, codings: list[str]) -> tuple[bytes, str | None]:
    inflate = _Inflate()
    body = bytearray()
    received = 0
    encoding = codings[0]
    async for chunk in content.iter_any():
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
    """Decompresses gzip, zlib, and the raw deflate that some servers send as ``deflate``."""

    def __init__(self) -> None:
        self._decompressor: zlib._Decompress | None = None
        self._gzip = False
        self.members = 0
        self.pending = b""
        """The rest of the last chunk, which did not fit into the limit; feed it next."""

    def feed(self, chunk: bytes, room: int) -> bytes:
        """Return at most `room` decompressed bytes. If the result has this length, there may be more: feed `pending`
        next.
        """
        unpacked = b""
        while len(unpacked) < room and self.members <= MAX_MEMBERS:
            inflate = self._decompressor
            if inflate is None or inflate.eof:
                # gzip members may follow each other (RFC 1952, 2.2). Any other data after the end is not part of the
                # body and must not be fed, because the decompressor would store it.
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
            return zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # detects gzip and zlib headers
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS)
