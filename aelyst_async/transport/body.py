"""Reading a body within bounds.

A contact is a few kilobytes. A server, or whoever stands in its place, may send gigabytes, or a few kilobytes that
unpack to gigabytes. aiohttp bounds neither, so its unpacking is switched off and done here, with a limit on what
may come in and on what may come out at every step.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = ["ACCEPT_ENCODING", "MAX_BODY", "read_body"]

MAX_BODY = 8 * 1024 * 1024
"""Bytes of a body, before and after unpacking."""

ACCEPT_ENCODING = "gzip, deflate"

_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_OTHERS = frozenset({"br", "zstd", "compress", "dcb", "dcz"})


async def read_body(response: ClientResponse) -> tuple[bytes, str | None]:
    """Return the unpacked body and None; or what was read of it and what is wrong with it.

    Raises what aiohttp raises when the connection breaks.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    unpacker = _Plain() if encoding in {"", "identity"} else _Inflate() if encoding in _PACKED else None
    body = bytearray()
    received = 0
    async for chunk in response.content.iter_any():
        if unpacker is None:
            named = encoding if encoding in _OTHERS else "an unknown one"
            return b"", f"the body has a Content-Encoding ({named}) that was not asked for"
        received += len(chunk)
        try:
            body += unpacker.feed(chunk, MAX_BODY + 1 - len(body))
        except zlib.error:
            return bytes(body), f"the body is not valid {encoding}"
        if len(body) > MAX_BODY or received > MAX_BODY:
            return bytes(body[:MAX_BODY]), f"the body is larger than {MAX_BODY // 2**20} MiB"
    if received and unpacker is not None and not unpacker.complete():
        return bytes(body), f"the {encoding} body ends too early"
    return bytes(body), None


class _Plain:
    def feed(self, chunk: bytes, room: int) -> bytes:
        return chunk[:room]

    def complete(self) -> bool:
        return True


class _Inflate:
    """gzip, zlib, and the raw deflate that some servers send under the name of ``deflate``."""

    def __init__(self) -> None:
        self._decompressor: zlib._Decompress | None = None
        self._gzip = False

    def feed(self, chunk: bytes, room: int) -> bytes:
        unpacked = b""
        while chunk and len(unpacked) < room:
            if self._decompressor is None:
                self._decompressor = self._start(chunk[0])
            elif self._decompressor.eof:
                # gzip members may follow each other (RFC 1952, 2.2). Anything else behind the end is no part of the
                # body, and must not be fed: the decompressor would hoard it.
                if not (self._gzip and chunk[0] == 0x1F):
                    break
                self._decompressor = self._start(chunk[0])
            unpacked += self._decompressor.decompress(chunk, room - len(unpacked))
            chunk = self._decompressor.unused_data
        return unpacked

    def complete(self) -> bool:
        return self._decompressor is not None and self._decompressor.eof

    def _start(self, first: int) -> zlib._Decompress:
        self._gzip = first == 0x1F
        if self._gzip or first & 0x0F == 8:
            return zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # recognises gzip and zlib headers
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS)
