"""Sends requests over our own pool without an `aiohttp.ClientSession`.

For each request a session handles features that our requests do not use: redirects, cookies, other authentication,
proxies, traces. That is half of a request's cost. So if the gateway owns the session, `exchange` takes a connection
from the pool, writes the request and reads the response with aiohttp's parser.

This uses undocumented parts of aiohttp and bypasses extensions of a session. So it is used only if the result is the
same (`template` decides). The session is used for a proxy, for a session that was passed in, with a trace config, with
a patched `ClientSession` (aioresponses, vcrpy), and with an aiohttp version whose internals differ.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from aelyst_async.transport.connector import Connector

__all__ = ["METHODS", "REQUEST", "head_of", "template"]

REQUEST: Any = aiohttp.ClientSession._request  # noqa: SLF001 - only to see whether it is still the same

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""A response to HEAD has a length but no body; a session handles this."""


def template(session: aiohttp.ClientSession, base_url: str) -> aiohttp.ClientRequest | None:
    """Return the request object that a `Connector` needs for connections to `base_url`, or None if a session must be
    used.
    """
    if not isinstance(session.connector, Connector) or session.trust_env or session.trace_configs or not _usable():
        return None
    try:
        return aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=session.connector._loop, session=session)  # noqa: SLF001
    except (TypeError, AttributeError):
        return None


@functools.cache
def _usable() -> bool:
    """Whether this aiohttp version has the internals used here, and its session is not patched."""
    code = getattr(REQUEST, "__code__", None)
    if code is None or code.co_filename != inspect.getsourcefile(aiohttp.client):
        return False
    known = {"timer", "skip_payload", "read_until_eof", "auto_decompress", "read_timeout", "max_line_size"}
    try:
        return (
            list(inspect.signature(aiohttp.BaseConnector.connect).parameters) == ["self", "req", "traces", "timeout"]
            and known <= set(inspect.signature(ResponseHandler.set_response_params).parameters)
            and list(inspect.signature(ResponseHandler.read).parameters) == ["self"]
            and callable(ResponseHandler.start_timeout)
        )
    except (AttributeError, TypeError, ValueError):
        return False


def head_of(url: URL, headers: Mapping[str, str]) -> bytes:
    """Return the constant lines of a request's head, ``Host`` first."""
    lines = [f"Host: {url.host_port_subcomponent}", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
