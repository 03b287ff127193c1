"""The exceptions of the library, in one tree. Each class stands for a different reaction of the caller.

::

    ContactsError
    ├── ApiError                        the server responded, but not with a success
    │   ├── BadRequestError      400    correct the data
    │   ├── AuthenticationError  401/403  correct the credential or its rights
    │   ├── ContactNotFoundError 404    create it, or look elsewhere
    │   ├── ConflictError        409    it exists already
    │   ├── RateLimitedError     429    try again after `retry_after`
    │   ├── QueuedError          449    the vendor still processes the contact; try again in minutes
    │   └── ServerError          5xx    `may_have_been_applied` says whether a write may have taken effect
    ├── TransportError                  no usable answer; `may_have_been_applied` likewise
    │   └── RequestTimeoutError
    ├── ResponseDecodeError             the status is a success, but the answer cannot be read
    ├── PartialChangeError              a change of several requests stopped after some of them
    ├── InvalidIdentifierError          ┐
    ├── UnsupportedFieldError           │ raised before anything is sent
    ├── UnsupportedOperationError       │
    └── ConfigurationError              ┘

The last four are also `ValueError` or `TypeError`. No aiohttp or JSON error reaches a caller, not even in ``__cause__``
or ``__context__``, because those objects contain the URL and the headers, and so the credential. The attributes of
these errors are redacted. All errors can be pickled and copied.

``str(error)`` and ``repr(error)`` are written to logs, so they contain no person's data. They show the route's template
instead of the path, and ``…`` instead of an e-mail address or a phone number in the vendor's message. The data is in
attributes: ``identifier`` (the contact of the call), ``url``, ``message`` and ``body``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from aelyst_async.identifiers import Identifier

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "ContactNotFoundError",
    "ContactsError",
    "InvalidIdentifierError",
    "PartialChangeError",
    "QueuedError",
    "RateLimitedError",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "ServerError",
    "TransportError",
    "UnsupportedFieldError",
    "UnsupportedOperationError",
    "error_class_for",
]


_DOUBT = "the call may have taken effect"

_PERSONAL = re.compile(
    r"[^\s@<>\"'(),;:=&?/]{1,64}(?:@|%40)[^\s@<>\"'(),;&?/]{1,255}|(?:\+|%2B)[0-9][0-9 ().-]{4,24}[0-9]", re.IGNORECASE
)
"""An e-mail address or an international phone number."""


def _ending(error: ApiError | ResponseDecodeError) -> Iterator[str]:
    """Yield the end of the message: the server's id of the request, and whether the call may have been applied."""
    if error.request_id is not None:
        yield f"request id {_impersonal(error.request_id, error.identifier)}"
    if error.may_have_been_applied:
        yield _DOUBT


def _impersonal(words: str, identifier: Identifier | None) -> str:
    """Return `words` without the value of `identifier`, and without addresses and phone numbers."""
    kind, value = getattr(identifier, "prefix", ""), getattr(identifier, "value", "")
    if kind == "phone":
        words = words.replace(value, "…").replace(value.lstrip("+"), "…")
    elif kind == "email":
        words = re.sub(re.escape(value), "…", words, flags=re.IGNORECASE)
    return _PERSONAL.sub("…", words)


def _route(method: str, endpoint: str, url: str) -> str:
    # An error without a route was constructed by hand or by a third party, and has only a URL.
    return f"{method} {endpoint or url}".strip()


class ContactsError(Exception):
    """The root of the tree: ``except ContactsError`` catches everything that this library raises itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # attrs' keyword-only exceptions neither pickle nor copy by themselves (python-attrs/attrs#734).
        return _rebuild, (type(self), self.__getstate_fields__(), self.args, self.__getstate_notes__())

    def __getstate_fields__(self) -> dict[str, Any]:
        kind: type[Any] = type(self)
        return {field.name: getattr(self, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}

    def __getstate_notes__(self) -> list[str]:
        return list(getattr(self, "__notes__", ()))


def _rebuild(
    kind: type[ContactsError], fields: dict[str, Any], args: tuple[Any, ...], notes: list[str]
) -> ContactsError:
    error = kind(**fields) if fields else kind(*args)
    if notes:
        vars(error)["__notes__"] = notes
    return error


@attrs.define(slots=False, eq=False, repr=False, init=True)
class ApiError(ContactsError):
    """The server answered, but not with a success.

    - ``status``: the HTTP status. ``code``: the vendor's own code, if it sends one. ``message``: the vendor's text.
    - ``method``, ``endpoint`` (the route's template), ``url``: the request, without the credential.
    - ``identifier``: the contact of the call.
    - ``headers``, ``body``: those of the response. The body is redacted and cut after 2,048 characters.
    - ``retry_after``: seconds after which the server permits another request, if it says so.
    - ``request_id``: the server's id of the request (``X-Request-Id`` and its usual spellings), for its support.
    - ``attempts``: the number of requests that were sent for this call.
    - ``may_have_been_applied``: whether a write may have taken effect although the answer is this error.
    - ``repeatable``: whether the request may be sent again in that case, because twice has the effect of once.
    """

    status: int
    code: int | str | None = None
    message: str = ""
    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: str = ""
    retry_after: float | None = None
    attempts: int = 1
    may_have_been_applied: bool = False
    repeatable: bool = False
    endpoint: str = ""
    identifier: Identifier | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        parts = [f"{self.status} {_impersonal(self.message, self.identifier)}".strip()]
        if self.code is not None and str(self.code) != str(self.status):
            parts.append(f"code {_impersonal(str(self.code), self.identifier)}")
        if route := _route(self.method, self.endpoint, self.url):
            parts.append(route)
        if self.retry_after is not None:
            parts.append(f"retry after {self.retry_after:g} s")
        if self.attempts != 1:
            parts.append(f"{self.attempts} attempts")
        return " · ".join((*parts, *_ending(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class BadRequestError(ApiError):
    """400: the server refuses the data."""


class AuthenticationError(ApiError):
    """401 or 403: the credential is wrong, has expired, or lacks the right."""


class ContactNotFoundError(ApiError):
    """404: no contact has this identifier (or the server has no such route)."""


class ConflictError(ApiError):
    """409: the contact exists already."""


class RateLimitedError(ApiError):
    """429, or a wait for the quota that is longer than the caller permits (then ``attempts`` is 0)."""


class QueuedError(ApiError):
    """449: the vendor still processes this contact. Try again after minutes."""


class ServerError(ApiError):
    """5xx: the server failed. ``may_have_been_applied`` says whether a write may have taken effect."""


@attrs.define(slots=False, eq=False, repr=False, init=True)
class TransportError(ContactsError):
    """There is no usable answer: the connection failed or was closed, or the response is not valid HTTP.

    ``may_have_been_applied`` is `False` if the request cannot have reached the server, or changes nothing there;
    otherwise `True`. ``repeatable``: whether the request may be sent again in that case. ``attempts`` is the number of
    requests sent.
    """

    message: str
    may_have_been_applied: bool = False
    repeatable: bool = False
    method: str = ""
    url: str = ""
    attempts: int = 1
    endpoint: str = ""
    identifier: Identifier | None = None

    def __str__(self) -> str:
        parts = [self.message]
        if route := _route(self.method, self.endpoint, self.url):
            parts.append(route)
        if self.attempts != 1:
            parts.append(f"{self.attempts} attempts")
        if self.may_have_been_applied:
            parts.append(_DOUBT)
        return " · ".join(parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class RequestTimeoutError(TransportError):
    """No answer within the time-out."""


@attrs.define(slots=False, eq=False, repr=False, init=True)
class ResponseDecodeError(ContactsError):
    """The server answered with a success status, but the answer does not match its documentation or exceeds a limit.

    ``problem`` says what was expected and where (a JSON path). ``body`` is the answer, redacted and cut after 2,048
    characters. ``may_have_been_applied`` is `True` for a write, since the server reported a success.
    ``repeatable``: whether the request may be sent again in that case. ``request_id`` is as in `ApiError`.
    """

    problem: str
    status: int = 200
    method: str = ""
    url: str = ""
    body: str = ""
    attempts: int = 1
    may_have_been_applied: bool = False
    repeatable: bool = False
    endpoint: str = ""
    identifier: Identifier | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        parts = [f"cannot understand the answer to {_route(self.method, self.endpoint, self.url)}: {self.problem}"]
        return " · ".join((*parts, *_ending(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


@attrs.define(slots=False, eq=False, repr=False, init=True)
class PartialChangeError(ContactsError):
    """A change that takes several requests stopped after some of them had succeeded.

    ``done`` and ``left``: the values (such as tags) that went through, and those that did not. ``failure``: the error
    of the request that stopped it. Its ``may_have_been_applied`` says whether some of ``left`` may have gone through.
    """

    done: tuple[str, ...]
    left: tuple[str, ...]
    failure: ContactsError
    may_have_been_applied: bool = attrs.field(default=True, init=False)

    def __getstate_fields__(self) -> dict[str, Any]:
        return {"done": self.done, "left": self.left, "failure": self.failure}

    def __str__(self) -> str:
        done, left = (_PERSONAL.sub("…", ", ".join(map(repr, names)))[:200] for names in (self.done, self.left))
        counts = f"{len(self.done)} went through ({done}), {len(self.left)} did not ({left})"
        return f"applied in part: {counts}: {self.failure}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class InvalidIdentifierError(ContactsError, ValueError):
    """The value is not an identifier, or not of a kind that this API accepts.

    ``identifier`` is the given value if it is a `str` or an identifier object.
    """

    def __init__(self, message: str = "", identifier: object = None) -> None:
        super().__init__(message)
        self.identifier = identifier

    def __getstate_fields__(self) -> dict[str, Any]:
        return {"message": str(self), "identifier": self.identifier}


class UnsupportedFieldError(ContactsError, ValueError):
    """The API does not have the field or does not accept it here, has no format for the value, or requires a field."""


class UnsupportedOperationError(ContactsError, TypeError):
    """The provider does not have this operation."""


class ConfigurationError(ContactsError, ValueError):
    """A setting, a credential or an environment variable is missing or wrong, or an object is used incorrectly."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: ContactNotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    449: QueuedError,
}


def error_class_for(status: int) -> type[ApiError]:
    """Return the class for an HTTP status: the table above, `ServerError` for 5xx, else `ApiError` itself."""
    return ServerError if 500 <= status <= 599 else _BY_STATUS.get(status, ApiError)
