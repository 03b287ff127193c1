"""Aelyst's JSON and our models, both ways. Pure functions.

Reading is strict about the id only (`aelyst_async.codec`): every other field may be null, absent or of another type,
the id may be a string of digits, ``status`` is an open set, unknown keys are kept in ``raw`` only. A tag is never
split: the page's own example ``"new_customer, sales"`` is one tag. Create answers ``{"code": "200", "message": …}``
with the code as a string and no id; update answers ``{"contactId": 1}``.

Writing is strict; the rules for custom values are in `aelyst_providers.aelyst.custom_fields`.
"""

from __future__ import annotations

from typing import Any

from aelyst_async.codec import Reader, as_id, kind_of
from aelyst_async.contacts import WriteReceipt
from aelyst_async.errors import ApiError, error_class_for
from aelyst_async.identifiers import ContactId, Identifier
from aelyst_async.schema import ContactSchema, FieldRule
from aelyst_async.transport.messages import Response
from aelyst_providers.aelyst.custom_fields import CustomField, encode_custom_fields
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee

__all__ = ["SCHEMA", "read_contact", "read_created", "read_error", "read_updated"]


SCHEMA = ContactSchema(
    provider="aelyst",
    fields_type=AelystFields,
    rules=(
        FieldRule(name="first_name", wire="firstName", nullable=False, required=True),
        FieldRule(name="last_name", wire="lastName"),
        FieldRule(name="phone", wire="phone", kind="phone"),
        FieldRule(name="email", wire="email", kind="email"),
        FieldRule(name="language", wire="language", kind="language"),
        FieldRule(name="profile_pic", wire="profilePic", kind="url"),
        FieldRule(name="country_code", wire="countryCode", kind="country"),
        FieldRule(
            name="custom_fields",
            wire="custom_fields",
            kind="custom_fields",
            encode=encode_custom_fields,
            item=CustomField,
        ),
    ),
    read_only={
        "id": "id",
        "status": "status",
        "tags": "tags",
        "assignee": "assignee",
        "lifecycle": "lifecycle",
        "created_at": "created_at",
        "isBlocked": "is_blocked",
    },
)


_TYPED = (
    ("first_name", "firstName", str), ("last_name", "lastName", str), ("phone", "phone", str), ("email", "email", str),
    ("language", "language", str), ("profile_pic", "profilePic", str), ("country_code", "countryCode", str),
    ("status", "status", str), ("lifecycle", "lifecycle", str), ("is_blocked", "isBlocked", bool),
)  # fmt: skip

_ASSIGNEE = (("first_name", "firstName"), ("last_name", "lastName"), ("email", "email"))


def _custom_fields(items: Any, odd: list[str]) -> tuple[CustomField, ...]:
    if items.__class__ is not list:
        if items is not None:
            odd.append("custom_fields")
        return ()
    found: list[CustomField] = []
    for item in items:
        name = item.get("name") if item.__class__ is dict else None
        if not isinstance(name, str):
            odd.append("custom_fields")
            continue
        value = item.get("value")
        if value is not None and not isinstance(value, (str, int, float, bool)):
            odd.append("custom_fields")
            value = None
        found.append(CustomField(name, value))
    return tuple(found)


def _assignee(value: Any, odd: list[str]) -> Assignee | None:
    if value.__class__ is not dict:
        if value is not None:
            odd.append("assignee")
        return None
    found: dict[str, Any] = {}
    for ours, theirs in _ASSIGNEE:
        text = value.get(theirs)
        if text.__class__ is str:
            found[ours] = text
        elif text is not None:
            odd.append(f"assignee.{theirs}")
    number = value.get("id")
    if number.__class__ is not int and number is not None:
        if isinstance(number, str) and len(number) < 19 and number.isascii() and number.isdigit():
            number = int(number)
        else:
            odd.append("assignee.id")
            number = None
    return Assignee(id=number, **found)


def read_error(response: Response) -> ApiError | None:
    """Return the error that an answer is (`{code, message}`, the body perhaps not JSON), or None for a success.

    A 2xx whose ``code`` is that of an error is one.
    """
    body = response.json_or_none()
    if not isinstance(body, dict):
        return None if response.ok else response.error()
    message = body.get("message")
    code = body.get("code")
    words = message if isinstance(message, str) else None
    code = code if isinstance(code, (int, str)) and not isinstance(code, bool) else None
    if not response.ok:
        return response.error(words, code=code)
    # Create answers with its code as a string. One that is not a success must not be taken for one.
    number = code if isinstance(code, int) else int(code[:9]) if code and code.isascii() and code.isdigit() else 200
    return response.error(words, code=code, kind=error_class_for(number)) if 400 <= number <= 599 else None


def _body(response: Response) -> dict[str, Any]:
    if 200 <= response.status <= 299:
        body: Any = response.json()
        if body.__class__ is dict and "code" not in body:  # a contact, or the receipt of an update
            return body
    error = read_error(response)
    if error is not None:
        raise error
    body = response.json()
    if not isinstance(body, dict):
        raise response.undecodable("expected a JSON object")
    return body


def read_contact(response: Response, who: Identifier | None = None) -> AelystContact:
    """Return the contact of a get for `who`. Raises `ApiError`, `ResponseDecodeError`."""
    body = _body(response)
    given = body.get("id")
    contact_id = str(given) if given.__class__ is int else as_id(given)
    if contact_id is None:
        raise response.undecodable(f"$.id: expected an id, got {kind_of(body.get('id'))}")
    if isinstance(who, ContactId) and who.value != contact_id:
        response.check_about(contact_id, who)
    read = Reader(body)
    contact = AelystContact(
        id=contact_id,
        **read.typed(_TYPED),
        tags=read.strings("tags"),
        created_at=read.moment("created_at"),
        custom_fields=_custom_fields(body.get("custom_fields"), read.odd),
        assignee=_assignee(body.get("assignee"), read.odd),
        raw=body,
    )
    if read.odd:
        read.log("aelyst")
    return contact


def read_created(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of a create. The page has a code and a message; one of the two will do. It has no id, but one
    that is there is taken. Raises `ApiError`, `ResponseDecodeError`.
    """
    body = _body(response)
    message = body.get("message")
    told = message if isinstance(message, str) else None
    if told is None and str(body.get("code")) not in {"200", "201"}:
        raise response.undecodable("$.message: expected text, or the code of a success under $.code")
    return WriteReceipt(
        identifier=identifier, contact_id=as_id(body.get("contactId")), created=True, message=told, raw=body
    )


def read_updated(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of an update. Raises `ApiError`, `ResponseDecodeError`."""
    body = _body(response)
    contact_id = as_id(body.get("contactId"))
    if contact_id is None:
        raise response.undecodable(f"$.contactId: expected an id, got {kind_of(body.get('contactId'))}")
    response.check_about(contact_id, identifier)
    message = body.get("message")
    return WriteReceipt(
        identifier=identifier,
        contact_id=contact_id,
        created=False,
        message=message if isinstance(message, str) else None,
        raw=body,
    )
