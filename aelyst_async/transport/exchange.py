"""One attempt: sends a `Request`, returns a `Response` or raises one of our errors.

Only this module and `body` handle aiohttp's exceptions. These contain the URL and the headers, and so the credential.
Each is translated into one of our errors *outside* the ``except`` block: inside it, Python would store the original in
``__context__``, where Sentry and `traceback` find it.

A cancellation is raised unchanged, but without its inner frames.

`connector` records whether a request was sent, so this is not guessed from the class of the exception.

Imports aiohttp; imported with the first request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import aiohttp
from aiohttp.hdrs import CONTENT_ENCODING
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from aelyst_async.contacts import UNSET
from aelyst_async.errors import ConfigurationError, ContactsError, RequestTimeoutError, TransportError
from aelyst_async.transport.body import ACCEPT_ENCODING, MAX_BODY, read_body
from aelyst_async.transport.connector import PROGRESS, Progress
from aelyst_async.transport.credentials import Auth, Secret, bare
from aelyst_async.transport.direct import METHODS, REQUEST, head_of, template
from aelyst_async.transport.events import Watch, logger
from aelyst_async.transport.messages import Request, Response, encode_query
from aelyst_async.transport.redaction import Redactor
from aelyst_async.transport.session import SessionHolder, SessionState
from aelyst_async.transport.settings import connect_within
from aelyst_async.version import __version__

__all__ = ["HttpClient"]

MAX_HEADER = 64 * 1024
"""Largest size in bytes of a response's status line and of each header. aiohttp's default, 8,190, is too small for some
proxies.
"""


_NO_HEADERS: Final[Mapping[str, str]] = {}


class Permit(Protocol):
    """The rate limiter's permit for one request, which is told the result."""

    waited: float

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Report the status and the headers of the response."""

    def unsent(self) -> None:
        """Report that the request was surely not sent."""


class HttpClient:
    """Sends the requests of one gateway. Common parts (URL, credential headers, time-out) are prepared once.

    ``timeout``: the arguments of a `ClientTimeout`, with a total. ``headers``: additional headers of the caller.
    """

    __slots__ = (
        "_auth", "_base", "_base_url", "_extra", "_head", "_headers", "_headers_with_body", "_key", "_limits",
        "_prefix", "_provider", "_redactor", "_secret", "_session", "_sessions", "_template", "_timeout", "_total",
        "_untimed",
    )  # fmt: skip

    def __init__(
        self,
        provider: str,
        base_url: str,
        auth: Auth,
        sessions: SessionHolder,
        timeout: dict[str, Any],
        redactor: Redactor,
        headers: Mapping[str, str],
    ) -> None:
        self._provider = provider
        self._base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._prefix = self._base.raw_path.rstrip("/")
        self._auth = auth
        self._sessions = sessions
        self._redactor = redactor
        self._extra = headers
        self._limits = timeout
        self._total: float = timeout["total"]
        self._timeout = self._bounded(self._total, self._total)
        self._untimed = self._bounded(self._total, None)
        self._secret: Secret | None = None
        self._session: aiohttp.ClientSession | None = None
        self._template: aiohttp.ClientRequest | None = None

    async def exchange(
        self,
        request: Request,
        secret: Secret,
        permit: Permit,
        *,
        attempt: int,
        started: float,
        deadline: float,
        watch: Watch | None,
    ) -> Response:
        """Send `request` once and read the response.

        Reports the response's headers to `permit` as soon as they arrive, and begin and end to `watch`. ``started`` is
        the present time and ``deadline`` the end of the call, both by the event loop's clock.

        Raises `TransportError` (the caller sets ``attempts``) and `ConfigurationError`. A cancellation is raised
        without the frames that contain the credential.
        """
        sessions, session = self._sessions, self._session
        try:
            if session is None or sessions.state is not SessionState.OPEN:  # closed meanwhile, perhaps
                session = sessions.acquire()
        except BaseException:
            permit.unsent()
            raise
        if watch is not None:
            watch.sending(attempt, permit.waited)
        left = min(deadline - started, self._total)
        progress = Progress()
        if sessions.timed:
            progress.deadline = started + left
            timeout = self._untimed if left == self._total else self._bounded(left, None)
        else:
            timeout = self._timeout if left == self._total else self._bounded(left, left)
        if not isinstance(session, aiohttp.ClientSession):
            progress.sent = None
        failure: BaseException | None = None
        response: Response | None = None
        sent = True
        if sessions.own and session is not self._session:
            self._session, self._template = session, template(session, self._base_url)
        direct = (
            self._template is not None and request.method in METHODS and aiohttp.ClientSession._request is REQUEST  # noqa: SLF001
        )
        if not direct:
            PROGRESS.set(progress)
        try:
            response = await self._send(session, direct, request, secret, timeout, permit, progress, attempt)
        except Exception as error:  # noqa: BLE001 - nothing of aiohttp's may pass, whatever its class
            failure, sent = _translate(error, request, self._base_url + request.target, self._redactor, progress)
        except BaseException as error:  # noqa: BLE001 - cancelled, or worse
            failure, sent = bare(error), progress.sent is not False
        if not sessions.own:
            sessions.release(session)
        if not sent:
            permit.unsent()
        if watch is not None or logger.isEnabledFor(logging.DEBUG):
            self._tell(watch, request, response, failure, attempt, permit.waited, started)
        if sys.exc_info()[1] is not None and (failure is None or isinstance(failure, Exception)):
            # A task in pure Python (PyPy, backports.asyncio.runner) resumes a coroutine inside its `except` block, so
            # that exception would become the context of every exception raised until the next `await`.
            await asyncio.sleep(0)
        if response is not None:
            return response
        assert failure is not None
        try:
            raise failure
        finally:
            del failure  # breaks the reference cycle of frame, traceback and error

    async def _send(
        self,
        session: aiohttp.ClientSession,
        direct: bool,
        request: Request,
        secret: Secret,
        timeout: aiohttp.ClientTimeout,
        permit: Permit,
        progress: Progress,
        attempt: int,
    ) -> Response:
        """Send the request and read the response, through `session` or, without it, with `direct` over its pool.

        Only this frame has the credential as plain text in its variables. It is never part of a traceback of
        `exchange`, so tools that record the variables of frames do not record the credential.
        """
        if secret is not self._secret:
            self._prepare(secret)
        target = request.path
        if request.query or self._key:
            target += encode_query(request.query + self._key)
        body = None if request.json is UNSET else request.body()
        status, headers = 0, _NO_HEADERS
        protocol: Any = None
        problem: str | None = None
        end: Callable[[], object] | None = None
        try:
            if direct:
                line = f"{request.method} {self._prefix}{target} HTTP/1.1"
                if line.count(" ") != 2 or not line.isprintable():  # a line break would start a new header
                    raise ValueError("the path is not encoded")
                message = b"%b\r\n%b" % (line.encode("ascii"), self._head)
                if body is not None:
                    message += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                else:
                    message += b"\r\n" if request.method == "GET" else b"Content-Length: 0\r\n\r\n"
                connection = await session.connector.connect(self._template, [], timeout)  # type: ignore[union-attr, arg-type]
                end, release = connection.close, connection.release
                protocol = connection.protocol
                protocol.begin(progress, timeout.sock_read, MAX_HEADER)
                protocol.transport.write(message)
                if timeout.sock_read is not None:
                    protocol.start_timeout()
                head, content = await protocol.read()
                while 100 <= head.code <= 199 and head.code != 101:  # interim responses (RFC 9110, 15.2)
                    head, content = await protocol.read()
                status, headers = head.code, head.headers
            else:
                answer = await session.request(
                    request.method,
                    # encoded=True, because yarl would otherwise decode and re-encode, and so change %2F and %2B.
                    URL(self._base_url + target, encoded=True),
                    data=body,
                    headers=self._headers if body is None else self._headers_with_body,
                    timeout=timeout,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=False,
                    max_line_size=MAX_HEADER,
                    max_field_size=MAX_HEADER,
                )
                end, release = answer.close, answer.release
                # Read the connection now: the response releases it with the last byte.
                protocol = getattr(answer, "_protocol", None)
                status, headers, content = answer.status, answer.headers, answer.content
            progress.answered = True
            permit.observe(status, headers)
            if (
                isinstance(content, aiohttp.StreamReader)
                and content.is_eof()
                and getattr(content, "total_bytes", 0) <= MAX_BODY  # an empty body in aiohttp 3.11 has none
                and CONTENT_ENCODING not in headers
            ):  # the usual case: body and headers arrived together
                received = content.read_nowait()
            else:
                received, problem = await read_body(headers, content)
            if problem is None:
                end = release
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
            if not progress.answered or 200 <= status <= 299:
                raise
            # The status of a refusal is known; only its message is lost.
            received, problem = b"", "the body broke off"
        finally:
            # A connection with unread data must not return to the pool.
            if end is not None:
                end()
        return Response(
            request=request,
            status=status,
            headers=headers,
            body=received,
            url=self._base_url + (request.target if request.query else request.path),
            redactor=self._redactor,
            attempts=attempt,
            problem=problem,
            close=None if protocol is None else protocol.close,
        )

    def _prepare(self, secret: Secret) -> None:
        """Prepare the common parts of all requests with this credential. aiohttp copies headers before it adds
        to them.
        """
        revealed = secret.reveal()
        self._headers = CIMultiDict(
            {
                "Accept": "application/json",
                "Accept-Encoding": ACCEPT_ENCODING,
                "User-Agent": f"aelyst-async/{__version__}",
            }
        )
        self._headers.update(self._extra)
        self._headers.update(self._auth.headers(revealed))
        self._headers_with_body = self._headers.copy()
        self._headers_with_body["Content-Type"] = "application/json"
        self._key = self._auth.query(revealed)
        self._head = head_of(self._base, self._headers)
        self._secret = secret

    def _bounded(self, left: float, total: float | None) -> aiohttp.ClientTimeout:
        """Return the time-outs of one attempt, limited by the call's deadline, and the total time-out."""
        left = max(left, 0.001)
        limits: dict[str, Any] = {name: min(value, left) for name, value in self._limits.items()}
        if left < self._total:
            limits["connect"] = min(limits["connect"], connect_within(left))
        return aiohttp.ClientTimeout(**{**limits, "total": total and max(total, 0.001)})

    def _tell(
        self,
        watch: Watch | None,
        request: Request,
        response: Response | None,
        failure: BaseException | None,
        attempt: int,
        waited: float,
        started: float,
    ) -> None:
        """Log the attempt and report it to the hooks."""
        duration = asyncio.get_running_loop().time() - started
        status = None if response is None else response.status
        error = None if failure is None else type(failure).__name__
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s -> %s in %.1f ms, attempt %d, waited %.1f ms for the rate limit",
                request.method, request.endpoint, status or error, duration * 1000, attempt, waited * 1000,
                extra={
                    "provider": self._provider, "http_method": request.method, "endpoint": request.endpoint,
                    "http_status": status, "error": error, "attempt": attempt, "duration": duration, "waited": waited,
                },
            )  # fmt: skip
        if watch is not None:
            watch.answered(attempt, status, error, waited, duration)


def _translate(
    error: Exception, request: Request, url: str, redactor: Redactor, progress: Progress
) -> tuple[ContactsError, bool]:
    """Return our error, and whether the request may have reached the server.

    `progress` has this; ``sent=`` below is the guess by class, for a session that is not aiohttp's.
    """
    url = redactor.scrub(url)

    def failed(kind: type[TransportError], message: str, *, sent: bool) -> tuple[ContactsError, bool]:
        if progress.sent is not None:
            sent = progress.sent
        applied = sent and request.changes
        message = redactor.scrub(message)
        error = kind(
            message,
            may_have_been_applied=applied,
            repeatable=request.repeatable,
            method=request.method,
            url=url,
            endpoint=request.endpoint,
        )
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
        return failed(RequestTimeoutError, "no connection within the connect time-out", sent=False)
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
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return failed(TransportError, "the answer is not valid HTTP", sent=True)
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return failed(TransportError, f"the connection broke ({type(error).__name__})", sent=True)
    if isinstance(error, (ValueError, TypeError)) and not progress.answered and not progress.sent:
        # aiohttp's errors for arguments, such as a netrc entry for the host in addition to our Authorization header.
        hint = "is there an entry for this host in ~/.netrc?"
        return ConfigurationError(f"aiohttp refused the request ({type(error).__name__}); {hint}"), False
    return failed(TransportError, f"the exchange failed ({type(error).__name__})", sent=True)
