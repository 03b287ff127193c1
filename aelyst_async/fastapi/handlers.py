"""This library's errors as responses of an app.

The app's client does not know the vendor, its credential or its quota. So a response says what the client can do, and
contains nothing of the vendor's response: no body, no message, no URL.

An `ExceptionGroup` (of a `TaskGroup`) with only this library's errors is answered like its most severe member:
permanent errors before temporary ones, with the longest Retry-After of all. A group with another error is not handled.

======================  ======  ======================================================================================
error                   status  reason
======================  ======  ======================================================================================
`RateLimitedError`      503     the app's quota is exhausted, not the client's; with Retry-After
`QueuedError` (449)     202     the vendor has accepted the contact and still processes it
`AuthenticationError`   500     the app's credential is wrong; logged
`ContactNotFoundError`  404
`ConflictError`         409
`BadRequestError`       422     the vendor refused the data
`RequestTimeoutError`   504     ┐ with ``may_have_been_applied`` where that is so
`TransportError`        502     │
`ServerError`           502     │
`ResponseDecodeError`   502     ┘
`InvalidIdentifierError`, `UnsupportedFieldError`, `InvalidJobError`
                        422     with its message, which quotes what the client sent
`JobQueueFullError`     503     with Retry-After
`JobsClosedError`       503     the app is starting or stopping
`JournalError`          503     logged
anything else           500     logged
======================  ======  ======================================================================================
"""

from __future__ import annotations

import builtins
import math
import sys
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from aelyst_async import errors
from aelyst_async.fastapi.failures import leaves, retry_after
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.store import InvalidJobError, JobQueueFullError, JobsClosedError, JournalError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["add_error_handlers", "error_response"]

_RETRY_AFTER = 5.0
"""Seconds, if the error has no valid value."""

_MAX_RETRY_AFTER = 86400.0

_PASSING = frozenset({202, 503})
"""Statuses with Retry-After."""

_ExceptionGroup: type[Exception] | None = getattr(builtins, "ExceptionGroup", None) or getattr(
    sys.modules.get("exceptiongroup"), "ExceptionGroup", None
)
"""The class of Python 3.11, or the backport if it was imported (by anyio, which FastAPI uses)."""

# The first match counts, so a subclass must stand before its base class.
_ANSWERS: tuple[tuple[type[errors.ContactsError], int, str], ...] = (
    (errors.RateLimitedError, 503, "the contacts service is at its limit; try again later"),
    (errors.QueuedError, 202, "the contacts service is still processing this contact"),
    (errors.AuthenticationError, 500, "internal error"),
    (errors.ContactNotFoundError, 404, "no such contact"),
    (errors.ConflictError, 409, "the contact already exists"),
    (errors.BadRequestError, 422, "the contacts service refused the data"),
    (errors.RequestTimeoutError, 504, "the contacts service did not answer in time"),
    (errors.TransportError, 502, "the contacts service cannot be reached"),
    (errors.ServerError, 502, "the contacts service failed"),
    (errors.ResponseDecodeError, 502, "the contacts service sent an invalid response"),
    (JobQueueFullError, 503, "too many jobs are waiting; try again later"),
    (JobsClosedError, 503, "the service is starting or stopping; try again later"),
    (JournalError, 503, "jobs cannot be accepted now; try again later"),
)
_QUOTED = (errors.InvalidIdentifierError, errors.UnsupportedFieldError, InvalidJobError)


def add_error_handlers(app: FastAPI) -> None:
    """Add handlers to `app` for the errors of the table above. An app's own handler for a class has precedence."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, errors.ContactsError)
        return error_response(error)

    async def handle_group(_: Request, group: Exception) -> JSONResponse:
        found = [leaf for leaf in leaves(group) if isinstance(leaf, errors.ContactsError)]
        if len(found) < len(leaves(group)):
            raise group
        gravest = max(found, key=_gravity)
        in_doubt = any(getattr(error, "may_have_been_applied", False) for error in found)
        return error_response(gravest, retry_after=retry_after(group), may_have_been_applied=in_doubt)

    app.add_exception_handler(errors.ContactsError, handle)
    if _ExceptionGroup is not None:
        app.exception_handlers.setdefault(_ExceptionGroup, handle_group)


def error_response(
    error: errors.ContactsError, *, retry_after: float | None = None, may_have_been_applied: bool = False
) -> JSONResponse:
    """Return the response to an error, and log it if the app itself is the cause.

    `retry_after`, in seconds, replaces the error's own; `may_have_been_applied` is true if either value is.
    """
    status, detail = _answer_to(error)
    if status == 500 or isinstance(error, JournalError):
        # Without the message of an API's error, which contains the contact's URL.
        what = f"status {error.status}" if isinstance(error, errors.ApiError) else str(error)
        logger.error("answered %d: %s (%s)", status, type(error).__name__, what)
    content: dict[str, Any] = {"detail": detail}
    if status != 500:
        content["error"] = type(error).__name__
    if may_have_been_applied or getattr(error, "may_have_been_applied", False):
        content["may_have_been_applied"] = True
    headers = {}
    if status in _PASSING:
        told = getattr(error, "retry_after", None) if retry_after is None else retry_after
        seconds = _RETRY_AFTER if told is None or not 0 <= told <= _MAX_RETRY_AFTER else told
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return JSONResponse(content, status, headers)


def _answer_to(error: errors.ContactsError) -> tuple[int, str]:
    if isinstance(error, _QUOTED):
        return 422, _printable(str(error))
    found = ((status, detail) for kind, status, detail in _ANSWERS if isinstance(error, kind))
    return next(found, (500, "internal error"))


def _gravity(error: errors.ContactsError) -> tuple[bool, bool, int]:
    status, _ = _answer_to(error)
    return status not in {202, 502, 503, 504}, status in _PASSING, status


def _printable(text: str) -> str:
    # The client may have sent a lone surrogate, which cannot be encoded.
    return text.encode("utf-8", "backslashreplace").decode()
