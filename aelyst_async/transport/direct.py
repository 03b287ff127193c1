"""The way past `aiohttp.ClientSession`: what is needed to send a request over our own pool without one.

For each request a session prepares what ours never have: redirects, cookies, other authentication, proxies, traces.
That is half of a request's cost. So where the session is ours, `exchange` asks the pool for a connection, writes the
request and reads the answer by aiohttp's own parser.

This uses what aiohttp does not document, and passes by what others hang on a session. So it is done only where nothing
can be missed (`template`), and everything else goes through the session: a proxy, a session that was passed in, a trace
that somebody has added, a `ClientSession` that is patched (aioresponses, vcrpy), an aiohttp that has become another.

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
"""A response to HEAD has a length and no body, which a session knows."""


def template(session: aiohttp.ClientSession, base_url: str) -> aiohttp.ClientRequest | None:
    """Return what a `Connector` wants to know of any request to `base_url`, or None where a session must be used."""
    if not isinstance(session.connector, Connector) or session.trust_env or session.trace_configs or not _usable():
        return None
    try:
        return aiohttp.ClientRequest("GET", URL(base_url, encoded=True), loop=session.connector._loop, session=session)  # noqa: SLF001
    except (TypeError, AttributeError):
        return None


@functools.cache
def _usable() -> bool:
    """Whether this aiohttp has what is used here, and nobody patched the session before us."""
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
    """Return the lines of a request's head that do not change, ``Host`` first."""
    lines = [f"Host: {url.host_port_subcomponent}", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
