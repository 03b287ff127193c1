"""Callab AI's JSON and our models. Pure functions.

Answers come in an envelope ``{"status": "ok", "message": …, "data": {…}}``, and so do errors, with HTTP status 200,
``"status": "error"`` and ``data`` an empty text. The envelope's status and the contact's are different fields. Times
come with a ``Z`` or without a zone (then UTC). Extra keys are kept in ``raw`` only.
"""

from __future__ import annotations

from aelyst_async.codec import Reader, as_id, kind_of
from aelyst_async.errors import ApiError, AuthenticationError, ContactNotFoundError
from aelyst_async.identifiers import Identifier
from aelyst_async.transport.messages import Response
from aelyst_providers.callab.models import CallabContact

__all__ = ["read_contact", "read_error"]


_TEXTS = (
    ("first_name", "firstname"), ("last_name", "lastname"), ("phone", "phone_number"),
    *(
        (name, name)
        for name in (
            "company_id", "number_country_code", "last_call_status", "last_call_feedback", "source_name", "tag_name",
            "category_name", "notes", "campaign_id", "status",
        )
    ),
)  # fmt: skip


_LEAST = 1e8
"""Times are ISO 8601 here. A number below this (1973) is no Unix time."""


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


def read_contact(response: Response, who: Identifier | None = None) -> CallabContact:
    """Return the contact of a get for `who`. Raises `ApiError`, `ResponseDecodeError`."""
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
    texts = read.texts(_TEXTS)
    tag = texts.get("tag_name")
    contact = CallabContact(
        id=contact_id,
        **texts,
        tags=(tag,) if tag else (),
        metadata=read.of("metadata", dict),
        last_call_at=read.moment("last_call_at", least=_LEAST),
        last_call_duration=read.number("last_call_duration"),
        created_at=read.moment("created_at", least=_LEAST),
        updated_at=read.moment("updated_at", least=_LEAST),
        raw=body,
    )
    read.log("callab")
    return contact
