"""Our errors as answers of an app.

Whoever calls the app is not the one who knows the vendor's credential, quota or words. So an answer says what the
caller can do about it and nothing of the vendor's answer: no body, no message, no address.

======================  ======  ======================================================================================
our error               answer  because
======================  ======  ======================================================================================
`RateLimitedError`      503     the app's quota is spent, not the caller's; with Retry-After
`QueuedError` (449)     202     the vendor has taken the contact in and is at work on it
`AuthenticationError`   500     the app's credential is wrong; logged
`ContactNotFoundError`  404
`ConflictError`         409
`BadRequestError`       422     the vendor refuses the data
`RequestTimeoutError`   504     ┐ with ``may_have_been_applied`` where that is so
`TransportError`        502     │
`ServerError`           502     │
`ResponseDecodeError`   502     ┘
`InvalidIdentifierError`, `UnsupportedFieldError`, `InvalidJobError`
                        422     with its text: it quotes what the caller has sent
`JobQueueFullError`     503     with Retry-After
`JobsClosedError`       503     the app is starting or stopping
`JournalError`          503     logged
anything else           500     logged
======================  ======  ======================================================================================
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from aelyst_async import errors
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.store import InvalidJobError, JobQueueFullError, JobsClosedError, JournalError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["add_error_handlers", "error_response"]

_RETRY_AFTER = 5.0
"""Seconds, where the error does not tell."""

# The first that fits counts, so a subclass stands before its base.
_ANSWERS: tuple[tuple[type[errors.ContactsError], int, str], ...] = (
    (errors.RateLimitedError, 503, "the contacts service is at its limit; try again later"),
    (errors.QueuedError, 202, "the contacts service is still at work on this contact"),
    (errors.AuthenticationError, 500, "internal error"),
    (errors.ContactNotFoundError, 404, "no such contact"),
    (errors.ConflictError, 409, "the contact exists already"),
    (errors.BadRequestError, 422, "the contacts service refuses the data"),
    (errors.RequestTimeoutError, 504, "the contacts service did not answer in time"),
    (errors.TransportError, 502, "the contacts service cannot be reached"),
    (errors.ServerError, 502, "the contacts service failed"),
    (errors.ResponseDecodeError, 502, "the contacts service gave an answer that cannot be understood"),
    (JobQueueFullError, 503, "too much work is waiting; try again later"),
    (JobsClosedError, 503, "the service is starting or stopping; try again later"),
    (JournalError, 503, "work cannot be taken on now; try again later"),
)
_QUOTED = (errors.InvalidIdentifierError, errors.UnsupportedFieldError, InvalidJobError)


def add_error_handlers(app: FastAPI) -> None:
    """Let `app` answer our errors as the table above says. An app's own handler for one of the classes goes first."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.ContactsError)
        return error_response(error)

    app.add_exception_handler(errors.ContactsError, handle)


def error_response(error: errors.ContactsError) -> JSONResponse:
    """Return the answer to an error, and log it where the app itself is at fault."""
    if isinstance(error, _QUOTED):
        return _answer(422, error, _printable(str(error)))
    found = ((status, detail) for kind, status, detail in _ANSWERS if isinstance(error, kind))
    status, detail = next(found, (500, "internal error"))
    if status == 500 or isinstance(error, JournalError):
        # Without the text of an API's error, which holds the contact's address.
        what = f"status {error.status}" if isinstance(error, errors.ApiError) else str(error)
        logger.error("answered %d: %s (%s)", status, type(error).__name__, what)
    return _answer(status, error, detail)


def _answer(status: int, error: errors.ContactsError, detail: str) -> JSONResponse:
    content: dict[str, Any] = {"detail": detail}
    if status != 500:
        content["error"] = type(error).__name__
    if getattr(error, "may_have_been_applied", False):
        content["may_have_been_applied"] = True
    headers = {}
    if status in {202, 503}:
        told = getattr(error, "retry_after", None)
        headers["Retry-After"] = str(max(1, math.ceil(_RETRY_AFTER if told is None else told)))
    return JSONResponse(content, status, headers)


def _printable(text: str) -> str:
    # What the caller sent may hold half of a surrogate pair, which no answer can carry.
    return text.encode("utf-8", "backslashreplace").decode()
