"""One attempt: a `Request` goes out, a `Response` or one of our errors comes back.

This is the only module where aiohttp's exceptions exist. They hold the URL and the headers, thus the credential, so
each is turned into an error of ours *outside* the ``except`` block: raised inside it, the original would hang in
``__context__``, where Sentry and `traceback` find it.

The same holds for a cancellation, which stays the exception that it is: it leaves without its inner frames.

Whether a request was sent is a fact that `connector` notes, and no guess from the class of the exception: *surely not
sent* or *perhaps carried out*.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from yarl import URL

from aelyst_async.errors import ConfigurationError, ContactsError, RequestTimeoutError, TransportError
from aelyst_async.transport.body import ACCEPT_ENCODING, read_body
from aelyst_async.transport.connector import PROGRESS, Progress
from aelyst_async.transport.credentials import Auth, Secret, bare
from aelyst_async.transport.messages import Request, Response, encode_query
from aelyst_async.transport.redaction import Redactor
from aelyst_async.version import __version__

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

__all__ = ["exchange"]

_USER_AGENT = f"aelyst-async/{__version__}"

MAX_HEADER = 64 * 1024
"""Bytes of a response's status line and of each header. aiohttp's own limit is 8,190, and proxies send longer ones."""


class Permit(Protocol):
    """What the rate limiter wants to hear of the request that it let go."""

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer's status and headers are in."""

    def unsent(self) -> None:
        """The request surely never left."""


async def exchange(
    session: ClientSession,
    request: Request,
    *,
    base_url: str,
    auth: Auth,
    secret: Secret,
    timeout: dict[str, Any],
    redactor: Redactor,
    permit: Permit,
    attempt: int,
) -> Response:
    """Send `request` once and read the answer; tell `permit` of its headers as soon as they are in.

    Raises `TransportError` (``attempts`` is left to the caller) and `ConfigurationError`. A cancellation leaves as it
    came, without the frames that have seen the credential.
    """
    shown = base_url + request.target
    progress = Progress(session)
    PROGRESS.set(progress)
    failure: BaseException
    try:
        status, headers, content, problem, close = await _send(
            session, request, base_url, auth, secret, timeout, permit, progress
        )
    except Exception as error:  # noqa: BLE001 - nothing of aiohttp's may pass, whatever its class
        failure, sent = _translate(error, request, redactor.scrub(shown), redactor, progress)
    except BaseException as error:  # noqa: BLE001 - cancelled, or worse
        failure, sent = bare(error), progress.sent is not False
    else:
        return Response(
            request=request,
            status=status,
            headers=headers,
            body=content,
            url=shown,
            redactor=redactor,
            attempts=attempt,
            problem=problem,
            close=close,
        )
    if not sent:
        permit.unsent()
    try:
        raise failure
    finally:
        del failure  # or frame, traceback and error hold each other until the garbage collector runs


async def _send(
    session: ClientSession,
    request: Request,
    base_url: str,
    auth: Auth,
    secret: Secret,
    timeout: dict[str, Any],
    permit: Permit,
    progress: Progress,
) -> tuple[int, Mapping[str, str], bytes, str | None, Callable[[], None] | None]:
    """Return status, headers, body, what is wrong with the body, and what closes the connection.

    The only frame whose variables hold the credential in the open. It is never part of the traceback of what `exchange`
    raises, so tools that record the variables of a traceback's frames do not record it.
    """
    body = request.body()
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": ACCEPT_ENCODING,
        "User-Agent": _USER_AGENT,
        **auth.headers(secret.reveal()),
    }
    if body is not None:
        headers["Content-Type"] = "application/json"
    answer: ClientResponse = await session.request(
        request.method,
        # encoded=True: yarl would decode and re-encode, and with it change what %2F or %2B mean.
        URL(base_url + request.path + encode_query(request.query + auth.query(secret.reveal())), encoded=True),
        data=body,
        headers=headers,
        timeout=aiohttp.ClientTimeout(**timeout),
        allow_redirects=False,
        raise_for_status=False,
        auto_decompress=False,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
    )
    progress.answered = True
    # The response lets go of its connection with the last byte, so it can be asked for only now.
    protocol = getattr(answer, "_protocol", None)
    whole = False
    try:
        permit.observe(answer.status, answer.headers)
        content, problem = await read_body(answer)
        whole = problem is None
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
        if 200 <= answer.status <= 299:
            raise
        content, problem = b"", "the body broke off"  # a refusal is known by its status; only its words are lost
    finally:
        # What was not read to its end must not be left in the pool.
        answer.release() if whole else answer.close()
    return answer.status, answer.headers, content, problem, None if protocol is None else protocol.close


def _translate(
    error: Exception, request: Request, url: str, redactor: Redactor, progress: Progress
) -> tuple[ContactsError, bool]:
    """Return our error, and whether the request may have reached the server.

    `progress` knows; ``sent=`` below is what the class of the exception says, for a session that is not aiohttp's.
    """

    def failed(kind: type[TransportError], message: str, *, sent: bool) -> tuple[ContactsError, bool]:
        if progress.sent is not None:
            sent = progress.sent
        applied = sent and request.changes
        message = redactor.scrub(message)
        error = kind(message, may_have_been_applied=applied, method=request.method, url=url, endpoint=request.endpoint)
        return error, sent

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return failed(RequestTimeoutError, "no connection within the connect time-out", sent=False)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return failed(TransportError, "cannot connect: the server's TLS certificate is not valid", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
        return failed(TransportError, f"cannot connect to {error.host}:{error.port}: {reason}", sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return failed(TransportError, f"the proxy refused to connect (status {error.status})", sent=False)
    if progress.sent is False and isinstance(error, asyncio.TimeoutError):
        return failed(RequestTimeoutError, "no connection within the time-out", sent=False)
    if isinstance(error, asyncio.TimeoutError):
        return failed(RequestTimeoutError, "no complete answer within the time-out", sent=True)
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("base_url: aiohttp cannot use it"), False
    if progress.sent is False and isinstance(error, (aiohttp.ClientError, OSError)):
        return failed(
            TransportError,
            f"no connection: the proxy or the TLS handshake broke off ({type(error).__name__})",
            sent=False,
        )
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return failed(TransportError, "the server closed the connection without an answer", sent=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return failed(TransportError, "the answer broke off", sent=True)
    if isinstance(error, aiohttp.ClientResponseError):
        return failed(TransportError, "the answer is not valid HTTP", sent=True)
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return failed(TransportError, f"the connection broke ({type(error).__name__})", sent=True)
    if isinstance(error, (ValueError, TypeError)) and not progress.answered and not progress.sent:
        # aiohttp's complaints about arguments, such as a netrc entry for the host beside our Authorization header.
        hint = "is there an entry for this host in ~/.netrc?"
        return ConfigurationError(f"aiohttp refused the request ({type(error).__name__}); {hint}"), False
    return failed(TransportError, f"the exchange failed ({type(error).__name__})", sent=True)
