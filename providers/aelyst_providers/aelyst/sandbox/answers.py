"""The formats of Aelyst's responses: errors, receipts, pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aelyst_async.sandbox.vendor import Call, Record, Refusal, Reply, phrase, reply

__all__ = ["error", "page", "paging", "receipt"]

_MESSAGES = {
    400: "Validation error.",
    401: "UN_AUTHORIZED",
    404: "Contact not found",
    405: "Method Not Allowed",
    409: "Contact already exists",
    413: "Payload Too Large",
    429: "Too Many Requests",
    449: "Your request cannot be processed at the moment as it is currently in queue."
    " Please try again in a few minutes.",
    500: "Unexpected error occurred",
}
_DEFAULT_LIMIT = 10


def error(status: int, message: str = "") -> Reply:
    """Return ``{code, message}`` with the documented text. A detail is added only to a validation error."""
    text = _MESSAGES.get(status, message or phrase(status))
    if status == 400 and message:
        text = f"{text} {message}"
    return reply(status, {"code": status, "message": text})


def receipt(record: Record) -> Reply:
    """Return ``{"contactId": number}``."""
    return reply(200, {"contactId": int(record.id)})


def paging(call: Call, most: int) -> tuple[int, int]:
    """Return the limit (1 to `most`) and the cursor of a call's query. Raises `Refusal` with 400."""
    return _number(call, "limit", _DEFAULT_LIMIT, 1, most), _number(call, "cursorId", 0, 0, 2**63 - 1)


def _number(call: Call, name: str, default: int, least: int, most: int) -> int:
    text = call.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise Refusal(error(400, f"{name} is a whole number from {least} to {most}"))
    return int(text)


def page(call: Call, path: str, items: Sequence[Any], limit: int, following: int | None) -> Reply:
    """Return ``{items, pagination: {next, previous}}``. `following`: the cursor of the next page, if there is one.

    As documented, ``next`` is a full URL of the vendor's own host, without the version in its path.
    """
    links: dict[str, Any] = {"next": "", "previous": ""}
    if following is not None:
        links["next"] = f"https://api.aelyst.ai{quote(path, safe='/:@')}?limit={limit}&cursorId={following}"
    elif (form := call.switch("last_page")) == "null":
        links = {"next": None, "previous": None}
    elif form == "absent":
        links = {}
    return reply(200, {"items": list(items), "pagination": links})
