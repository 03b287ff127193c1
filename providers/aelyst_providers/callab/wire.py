"""Converts Callab AI's JSON to our models. Pure functions.

Responses have an envelope ``{"status": "ok", "message": …, "data": {…}}``. An error has HTTP status 200,
``"status": "error"`` and an empty string as ``data``. The envelope's status and the contact's status are different
fields. Times have a ``Z`` or no zone (then UTC). Unknown keys are only in ``raw``.
"""

from __future__ import annotations

from aelyst_async.codec import Reader, as_id, kind_of
from aelyst_async.errors import ApiError, AuthenticationError, ContactNotFoundError
from aelyst_async.identifiers import Identifier
from aelyst_async.transport.messages import Response
from aelyst_providers.callab.models import CallabContact

__all__ = ["read_contact", "read_error"]


_TYPED: tuple[tuple[str, str, type], ...] = (
    ("first_name", "firstname", str), ("last_name", "lastname", str), ("phone", "phone_number", str),
    ("metadata", "metadata", dict),
    *(
        (name, name, str)
        for name in (
            "company_id", "number_country_code", "last_call_status", "last_call_feedback", "source_name", "tag_name",
            "category_name", "notes", "campaign_id", "status",
        )
    ),
)  # fmt: skip


_LEAST = 1e8
"""Smallest number that is read as a Unix time (1973); this API sends ISO 8601."""


def read_error(response: Response) -> ApiError | None:
    """Return the error in a response, with any HTTP status, or None for a success."""
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


def read_contact(response: Response, who: Identifier | None = None) -> CallabContact:
    """Return the contact from the response to a get of `who`. Raises `ApiError`, `ResponseDecodeError`."""
    error = read_error(response)
    if error is not None:
        raise error
    body = response.json()
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        raise response.undecodable("$.data: expected the contact, an object")
    contact_id = as_id(data.get("id"))
    if contact_id is None:
        raise response.undecodable(f"$.data.id: expected an id, got {kind_of(data.get('id'))}")
    response.check_about(contact_id, who)
    read = Reader(data)
    typed = read.typed(_TYPED)
    tag = typed.get("tag_name")
    contact = CallabContact(
        id=contact_id,
        **typed,
        tags=(tag,) if tag else (),
        last_call_at=read.moment("last_call_at", least=_LEAST),
        last_call_duration=read.number("last_call_duration"),
        created_at=read.moment("created_at", least=_LEAST),
        updated_at=read.moment("updated_at", least=_LEAST),
        raw=body,
    )
    read.log("callab")
    return contact
