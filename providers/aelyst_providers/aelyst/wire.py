"""Converts between Aelyst's JSON and our models. Pure functions.

Reading is strict only about the id (`aelyst_async.codec`), which may be a string of digits. Every other field may be
null, absent or of another type; ``status`` is an open set; unknown keys are only in ``raw``. A tag is never split: the
page's example ``"new_customer, sales"`` is one tag. The response to a create is ``{"code": "200", "message": …}``, with
the code as a string and no id; to a change of the lifecycle ``{"code": 200, "message": …}``; to every other write
``{"contactId": 1}``.

Writing is strict. The rules for custom values are in `aelyst_providers.aelyst.custom_fields`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from aelyst_async.codec import Reader, as_id, kind_of
from aelyst_async.contacts import Tag, WriteReceipt
from aelyst_async.errors import ApiError, UnsupportedFieldError, error_class_for
from aelyst_async.identifiers import ContactId, Identifier
from aelyst_async.schema import ContactSchema, FieldRule, text
from aelyst_async.transport.events import logger
from aelyst_async.transport.messages import Response
from aelyst_providers.aelyst.custom_fields import CustomField, encode_custom_fields
from aelyst_providers.aelyst.definitions import CustomFieldDefinition, CustomFieldTypes
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee

__all__ = [
    "SCHEMA",
    "checked",
    "contact_of",
    "definitions_of",
    "encode_tags",
    "is_no_contact",
    "read_changed",
    "read_contact",
    "read_created",
    "read_error",
    "read_merged",
    "read_updated",
    "schema_of",
]

_MAX_TAG = 255
"""Largest number of characters of a tag, according to a client of the vendor family."""


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


def schema_of(provider: str, types: CustomFieldTypes | None) -> ContactSchema:
    """Return the schema of a provider, with the account's custom fields if they are known."""
    if types is None:
        return attrs.evolve(SCHEMA, provider=provider)
    rules = tuple(
        attrs.evolve(rule, encode=types.encode, items=types.items) if rule.item is CustomField else rule
        for rule in SCHEMA.rules
    )
    return attrs.evolve(SCHEMA, provider=provider, rules=rules)


_TYPED = (
    ("first_name", "firstName", str), ("last_name", "lastName", str), ("phone", "phone", str), ("email", "email", str),
    ("language", "language", str), ("profile_pic", "profilePic", str), ("country_code", "countryCode", str),
    ("status", "status", str), ("lifecycle", "lifecycle", str), ("is_blocked", "isBlocked", bool),
)  # fmt: skip

_ASSIGNEE = (("first_name", "firstName"), ("last_name", "lastName"), ("email", "email"))


def _custom_fields(items: Any, odd: list[str], types: CustomFieldTypes | None) -> tuple[CustomField, ...]:
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
        found.append(CustomField(name, value if types is None else types.decode(name, value)))
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
    """Return the error in a response (`{code, message}`, or a body that is not JSON), or None for a success.

    A 2xx with the ``code`` of an error is an error.
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
    # The code in the response to a create is a string, and may be an error's.
    number = code if isinstance(code, int) else int(code[:9]) if code and code.isascii() and code.isdigit() else 200
    return response.error(words, code=code, kind=error_class_for(number)) if 400 <= number <= 599 else None


def is_no_contact(error: ApiError) -> bool:
    """Whether a 404 is the documented one for a missing contact, not the one for an unknown route."""
    return error.code is not None and error.message.strip(" .").lower() == "contact not found"


def checked(response: Response) -> Any:
    """Return the decoded body of a success. Raises `ApiError`, `ResponseDecodeError`."""
    error = read_error(response)
    if error is not None:
        raise error
    return response.json()


def _body(response: Response) -> dict[str, Any]:
    if 200 <= response.status <= 299:
        body: Any = response.json()
        if body.__class__ is dict and "code" not in body:  # a contact, or the receipt of an update
            return body
    body = checked(response)
    if not isinstance(body, dict):
        raise response.undecodable("expected a JSON object")
    return body


def read_contact(
    response: Response, who: Identifier | None = None, types: CustomFieldTypes | None = None
) -> AelystContact:
    """Return the contact from the response to a get of `who`. Raises `ApiError`, `ResponseDecodeError`."""
    contact = contact_of(response, _body(response), types)
    if isinstance(who, ContactId) and who.value != contact.id:
        response.check_about(contact.id, who)
    return contact


def contact_of(response: Response, body: Any, types: CustomFieldTypes | None, place: str = "$") -> AelystContact:
    """Return the contact in a JSON value. `place`: its position in the response. Raises `ResponseDecodeError`."""
    given = body.get("id") if isinstance(body, dict) else None
    contact_id = str(given) if given.__class__ is int else as_id(given)
    if contact_id is None:
        raise response.undecodable(f"{place}.id: expected an id, got {kind_of(given)}")
    read = Reader(body)
    contact = AelystContact(
        id=contact_id,
        **read.typed(_TYPED),
        tags=read.strings("tags"),
        created_at=read.moment("created_at"),
        custom_fields=_custom_fields(body.get("custom_fields"), read.odd, types),
        assignee=_assignee(body.get("assignee"), read.odd),
        raw=body,
    )
    if read.odd:
        read.log("aelyst")
    return contact


def read_created(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of a create. The page documents a code and a message; one of them is sufficient. It documents
    no id, but an id in the response is used. Raises `ApiError`, `ResponseDecodeError`.
    """
    body = _body(response)
    message = body.get("message")
    told = response.shown(message) if isinstance(message, str) else None
    if told is None and str(body.get("code")) not in {"200", "201"}:
        raise response.undecodable("$.message: expected text, or the code of a success under $.code")
    return WriteReceipt(
        identifier=identifier, contact_id=as_id(body.get("contactId")), created=True, message=told, raw=body
    )


def read_updated(response: Response, identifier: Identifier, created: bool | None = False) -> WriteReceipt:
    """Return the receipt of a write whose response has ``contactId``. Raises `ApiError`, `ResponseDecodeError`."""
    body = _body(response)
    contact_id = as_id(body.get("contactId"))
    if contact_id is None:
        raise response.undecodable(f"$.contactId: expected an id, got {kind_of(body.get('contactId'))}")
    response.check_about(contact_id, identifier)
    message = body.get("message")
    return WriteReceipt(
        identifier=identifier,
        contact_id=contact_id,
        created=created,
        message=response.shown(message) if isinstance(message, str) else None,
        raw=body,
    )


def read_merged(response: Response, merged: tuple[ContactId, ContactId]) -> WriteReceipt:
    """Return the receipt of a merge, with the identifier of the primary contact. Raises as `read_updated` does."""
    contact_id = as_id(_body(response).get("contactId")) or ""
    primary = next((who for who in merged if who.value.lstrip("0") == contact_id.lstrip("0")), None)
    if primary is None:
        raise response.undecodable("$.contactId: expected the id of one of the merged contacts")
    return read_updated(response, primary)


def read_changed(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of a change whose response has a code and a message. Raises `ApiError`,
    `ResponseDecodeError`.
    """
    return attrs.evolve(read_created(response, identifier), created=False)


def encode_tags(tags: Iterable[Tag | str], operation: str) -> list[str]:
    """Return the unique names of `tags`, in their order. Raises `UnsupportedFieldError` for an invalid tag."""
    problem = f"expected names or Tag objects in a list, got {type(tags).__name__}"
    if isinstance(tags, Iterable) and not isinstance(tags, (str, bytes, Mapping)):
        names: dict[str, None] = {}
        problem = ""
        for tag in tags:
            try:
                name = text(tag.name if isinstance(tag, Tag) else tag)
            except ValueError as refusal:
                problem = f"a tag is a name or a Tag: {refusal}"
                break
            if not name.strip() or len(name) > _MAX_TAG:
                problem = f"a tag has 1 to {_MAX_TAG} characters, not all of them blanks; one has {len(name)}"
                break
            names[name] = None
        problem = problem or ("" if names else "no tag is given, so nothing would change")
        if not problem:
            return list(names)
    raise UnsupportedFieldError(f"aelyst {operation}: {problem}")


def definitions_of(items: list[Any]) -> list[CustomFieldDefinition]:
    """Return the definitions of custom fields, without those that have no name.

    ``allowedValues`` is an array, or an object with an array ``listValues``.
    """
    found = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            logger.debug("aelyst: a custom field without a name was left out")
            continue
        read = Reader(item)
        options = item.get("allowedValues")
        if isinstance(options, dict):
            options = options.get("listValues")
        data_type = item.get("dataType")
        found.append(
            CustomFieldDefinition(
                name=name,
                id=as_id(item.get("id")),
                **read.typed((("slug", "slug", str), ("description", "description", str))),
                data_type=data_type if isinstance(data_type, str) and data_type else "text",
                options=Reader({"allowedValues": options}).strings("allowedValues"),
                raw=item,
            )
        )
    return found
