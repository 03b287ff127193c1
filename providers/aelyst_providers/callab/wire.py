"""Callab AI's JSON and our models. Pure functions.

Answers come in an envelope ``{"status": "ok", "message": …, "data": {…}}``, and so do errors, with HTTP status 200,
``"status": "error"`` and ``data`` an empty text. The envelope's status and the contact's are different fields. Times
come with a ``Z`` or without a zone (then UTC). Extra keys are kept in ``raw`` only.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from aelyst_async.errors import ApiError, AuthenticationError, ContactNotFoundError
from aelyst_async.transport.messages import Response
from aelyst_providers.callab.models import CallabContact

if TYPE_CHECKING:
    import cattrs

__all__ = ["read_contact", "read_error"]


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


@cache
def _converter() -> cattrs.Converter:
    from aelyst_async import codec

    converter = codec.make_converter()
    codec.rename(
        converter,
        CallabContact,
        {"first_name": "firstname", "last_name": "lastname", "phone": "phone_number"},
        absent={"email"},
        id=codec.numeric_id,
        metadata=_metadata,
        last_call_at=codec.iso_datetime,
        created_at=codec.iso_datetime,
        updated_at=codec.iso_datetime,
    )
    return converter


def read_error(response: Response) -> ApiError | None:
    """Return the error that an answer is, whatever its HTTP status, or None for a success."""
    body = response.json_or_none()
    words = body if isinstance(body, str) else body.get("message") if isinstance(body, dict) else None
    words = words if isinstance(words, str) else None
    if not response.ok:
        return response.error(words)
    if not isinstance(body, dict):
        return None
    status = str(body.get("status")).lower()
    if status == "ok" or (status != "error" and isinstance(body.get("data"), dict)):
        return None  # or another word for "ok", with a contact
    if body.get("status") is None and words is None:
        return None  # nothing that this API says, so not one of its errors either
    lower = (words or "").lower()
    kind: type[ApiError] = ApiError
    if "not found" in lower or "not exist" in lower:
        kind = ContactNotFoundError
    elif "unauthor" in lower or "unauthenticated" in lower or "invalid token" in lower:
        kind = AuthenticationError
    return response.error(words, kind=kind)


def read_contact(response: Response) -> CallabContact:
    """Return the contact of a get. Raises `ApiError`, `ResponseDecodeError`."""
    from aelyst_async import codec

    error = read_error(response)
    if error is not None:
        raise error
    body = response.json()
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        raise response.undecodable("$.data: expected the contact, an object")
    # "tags" is our model's, not the vendor's: an extra key of that name must not be taken for it.
    tag = data.get("tag_name")
    return codec.decode(_converter(), {**data, "tags": [tag] if tag else []}, CallabContact, response, raw=body)
