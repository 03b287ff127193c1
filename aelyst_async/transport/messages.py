"""The values of the transport: an adapter's `Request` and a server's `Response`.

A `Request` never contains the credential, so it may be printed. A `Response` can be converted to one of our errors,
with redacted and truncated text.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from aelyst_async.contacts import UNSET, Unset
from aelyst_async.errors import ApiError, ResponseDecodeError, ServerError, error_class_for
from aelyst_async.identifiers import ContactId, Identifier
from aelyst_async.transport.redaction import Redactor
from aelyst_async.waits import retry_after

__all__ = ["Request", "Response", "request_id"]

_PREVIEW = 2048
"""Largest number of characters of a body in an error."""

MAX_VALUES = 250_000
"""Largest number of values in a large JSON body. More would block the event loop for longer than 50 ms."""

_LARGE = 64 * 1024
"""Size in bytes from which the values of a body are counted before it is parsed."""

_STRUCTURE = (b",", b"[", b"{")

_CHARSET = re.compile(
    r"us-ascii|iso-?8859-?[0-9]{1,2}|latin-?[0-9]{1,2}|(?:windows|cp)-?[0-9]{3,4}|koi8-[ru]|shift[_-]?jis"
    r"|euc-?(?:jp|kr)|gb(?:k|2312|18030)|big5|utf-?(?:16|32)(?:[bl]e)?|mac-?roman"
)
"""Accepted charsets. Python has more codecs, some of which take quadratic time."""

_REQUEST_IDS = (
    "X-Request-Id", "Request-Id", "X-RequestId", "X-Correlation-Id", "Correlation-Id", "X-Amzn-RequestId",
    "X-Amz-Request-Id", "X-Amzn-Trace-Id", "X-Trace-Id", "CF-Ray",
)  # fmt: skip
"""Headers in which servers and proxies send a request's id, the most specific first."""

_LONGEST_ID = 128
"""Largest number of characters of a request's id; longer ones are truncated."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Idempotent methods (RFC 9110, 9.2.2): sending twice has the effect of sending once."""


@attrs.frozen(kw_only=True)
class Request:
    """One request, without the credential.

    ``endpoint`` is the route template (``/contact/{identifier}``). It is safe to log and the key of the rate limit.
    ``path`` is the filled-in, percent-encoded path, relative to the base URL. ``json`` is the body, `UNSET` for none.
    ``semantics`` is a method whose semantics (RFC 9110, 9.2) the request has, if they differ from those of its own
    method: GET for a POST that only reads, PUT for an idempotent POST.
    """

    method: str
    endpoint: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Any | Unset = UNSET
    semantics: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again even if it may have been applied."""
        return (self.semantics or self.method) in _REPEATABLE

    @property
    def changes(self) -> bool:
        """Whether the request can change data at the server."""
        return (self.semantics or self.method) not in {"GET", "HEAD"}

    @property
    def target(self) -> str:
        """Encoded path and query: the URL after the base URL, without the credential."""
        return self.path + encode_query(self.query)

    def body(self) -> bytes | None:
        """Return the JSON body as UTF-8, or None."""
        if isinstance(self.json, Unset):
            return None
        return _encode(self.json).encode()


def encode_query(pairs: tuple[tuple[str, str], ...]) -> str:
    """Return ``?a=b&c=d``. All characters but unreserved ones are encoded (a plain ``+`` would mean a blank)."""
    if not pairs:
        return ""
    return "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def request_id(headers: Mapping[str, str], redactor: Redactor | None = None) -> str | None:
    """Return the server's id of a request, or None. Characters other than printable ASCII become ``?``. Truncated to
    128.
    """
    for name in _REQUEST_IDS:
        value = headers.get(name, "").strip()
        if value:
            # Redacted before it is truncated, because a truncated credential would not be found.
            value = value[:_LONGEST_ID] if redactor is None else redactor.preview(value, _LONGEST_ID)
            return re.sub(r"[^!-~]", "?", value)
    return None


@attrs.define(kw_only=True)
class Response:
    """One response: status, headers (case-insensitive), and the whole decompressed body in bytes.

    ``url`` is the request's URL without the credential. ``headers`` are not redacted, so do not show them. ``attempts``
    is the number of requests that this call has sent so far. ``problem`` is set if the body exceeded a limit or could
    not be decompressed; it is relevant only on success. ``close`` closes the connection.
    """

    request: Request
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    url: str
    redactor: Redactor = attrs.field(repr=False)
    attempts: int = 1
    problem: str | None = None
    close: Callable[[], None] | None = attrs.field(default=None, repr=False, eq=False)
    _parsed: tuple[Any, str | None] | None = attrs.field(default=None, init=False, repr=False, eq=False)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next request, if the server sent them."""
        return retry_after(self.headers.get, now=time.time())

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status <= 299

    def json(self) -> Any:
        """Return the decoded JSON body. Raises `ResponseDecodeError`.

        NaN and Infinity, which Python's decoder accepts and JSON does not have (RFC 8259, 6), become None: they could
        not be encoded again, and one invalid field must not lose the others.
        """
        if self._parsed is None:
            if self.problem is None and len(self.body) <= _LARGE:
                # Usually one value in UTF-8. Otherwise the body is decoded again: in another encoding, or to find the
                # error.
                try:
                    text = str(self.body, "utf-8")
                    value, end = _raw_decode(text)
                    if end == len(text) or not text[end:].strip(" \t\n\r"):
                        self._parsed = value, None
                        return value
                except (ValueError, RecursionError):
                    pass
            self._parsed = self._parse_with_care()
        value, problem = self._parsed
        if problem is None:
            return value
        # Raised outside `except`, so that no JSON error, which contains the whole body, is in the chain.
        raise self.undecodable(problem)

    def _parse_with_care(self) -> tuple[Any, str | None]:
        if self.problem is not None:
            return None, self.problem
        body: bytes | str = self.body
        settings: dict[str, Any] = {"parse_constant": _nothing}
        if len(body) > _LARGE:
            # The C parser holds the GIL, in any thread.
            if sum(map(self.body.count, _STRUCTURE)) > MAX_VALUES:
                return None, f"the JSON has more than {MAX_VALUES:,} values"
            settings["parse_int"] = _short_int
        try:
            try:
                return json.loads(body, **settings), None
            except UnicodeDecodeError:
                body = self._declared_text()
                return json.loads(body, **settings), None
        except RecursionError:
            return None, "the JSON is nested too deeply"
        except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, or an int with too many digits
            position = getattr(error, "pos", None)
            where = "" if position is None else f" at character {position}"
            return None, f"not JSON{where}" if self.body else "the body is empty"

    def _declared_text(self) -> str:
        """Return the body by the charset that the server declares. Raises `ValueError`."""
        from email.message import Message

        message = Message()
        message["Content-Type"] = self.headers.get("Content-Type", "")[:200]
        charset = message.get_content_charset() or ""
        if not _CHARSET.fullmatch(charset):
            raise ValueError("no charset, or none that text is sent in")
        try:
            return self.body.decode(charset)
        except LookupError:
            raise ValueError("a charset that Python does not have") from None

    def json_or_none(self) -> Any:
        """Return the decoded JSON body, or None if it is not JSON. For the messages of errors."""
        try:
            return self.json()
        except ResponseDecodeError:
            return None

    def text(self) -> str:
        """Return the body for people: redacted, with escaped control characters, at most 2,048 characters."""
        # Decoded by its byte order, as JSON is, so that the text of a UTF-16 body is readable. Truncated first (a
        # character has at most four bytes), because eight megabytes of escapes would block the event loop.
        start = self.body[: 4 * (self.redactor.reach(_PREVIEW) + 1)]
        plain = start.decode(json.detect_encoding(start), "backslashreplace")
        shown = self.shown(plain)
        return shown + ("…" if len(plain) > _PREVIEW else "")

    def shown(self, text: str) -> str:
        """Return words of the server for people: redacted, control characters escaped, cut at 2,048 characters."""
        # A lone surrogate (an escape in JSON) or a control character must not break or forge a log line.
        plain = self.redactor.preview(text, _PREVIEW)
        return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in plain)

    def error(
        self, message: str | None = None, *, code: int | str | None = None, kind: type[ApiError] | None = None
    ) -> ApiError:
        """Return this response as an error, of class `kind` or else the class for its status."""
        kind = kind or error_class_for(self.status)
        return kind(
            status=self.status,
            code=self.shown(code) if isinstance(code, str) else code,
            message=self.shown(message) if message else _reason(self.status),
            method=self.request.method,
            endpoint=self.request.endpoint,
            url=self.redactor.scrub(self.url),
            headers=self._shown_headers(),
            body=self.text(),
            retry_after=self.retry_after,
            request_id=request_id(self.headers, self.redactor),
            attempts=self.attempts,
            # After a 5xx or a 408 the request may have been applied; other errors are refusals.
            may_have_been_applied=self.request.changes and (issubclass(kind, ServerError) or self.status == 408),
            repeatable=self.request.repeatable,
        )

    def _shown_headers(self) -> Mapping[str, str]:
        from multidict import CIMultiDict

        scrub = self.redactor.scrub
        # Cookies are credentials too.
        return CIMultiDict((scrub(n), scrub(v)) for n, v in self.headers.items() if n.lower() != "set-cookie")

    def check_about(self, contact_id: str, asked: Identifier | str | None) -> None:
        """Raise `ResponseDecodeError` if `asked` is an id and `contact_id` is a different one.

        Such a response belongs to another request: a server or a proxy has mixed up its connections.
        """
        if isinstance(asked, ContactId):
            asked = asked.value
        if isinstance(asked, str) and asked != contact_id and not _same_number(asked, contact_id):
            raise self.undecodable("the answer is about another contact than the one asked for")

    def undecodable(self, problem: str) -> ResponseDecodeError:
        """Return the error for a success whose body is invalid."""
        return ResponseDecodeError(
            problem=self.shown(problem),
            status=self.status,
            method=self.request.method,
            endpoint=self.request.endpoint,
            url=self.redactor.scrub(self.url),
            body=self.text(),
            request_id=request_id(self.headers, self.redactor),
            attempts=self.attempts,
            may_have_been_applied=self.request.changes,
            repeatable=self.request.repeatable,
        )


def _same_number(one: str, other: str) -> bool:
    return one.isdigit() and other.isdigit() and one.lstrip("0") == other.lstrip("0")


def _nothing(constant: str) -> None:  # noqa: ARG001 - as the JSON reader calls it
    return None


_raw_decode = json.JSONDecoder(parse_constant=_nothing).raw_decode


def _short_int(digits: str) -> int | None:
    return int(digits) if len(digits) <= 300 else None


def _reason(status: int) -> str:
    # http.HTTPStatus raises for 449.
    from http.client import responses

    if 300 <= status <= 399:
        return f"{responses.get(status, 'Redirect')}; redirects are not followed: check base_url"
    if 200 <= status <= 299:
        return "an error without words, answered as a success"
    return responses.get(status, "")
