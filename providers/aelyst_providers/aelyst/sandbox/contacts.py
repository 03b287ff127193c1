"""The sandbox's calls for one contact, from the vendor's three pages and from its more complete documentation.

Identifiers have a prefix: ``id:123``, ``email:a@b.c``, ``phone:+60…``. Ids are numbers. Several contacts of an account
may have one e-mail address; calls use the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aelyst_async.sandbox.vendor import Call, Record, Refusal, Reply, reply
from aelyst_providers.aelyst.sandbox.answers import error, receipt
from aelyst_providers.aelyst.sandbox.fields import check_values

__all__ = [
    "add_tags",
    "create_contact",
    "create_or_update",
    "delete_contact",
    "find",
    "get_contact",
    "insert",
    "merge_contacts",
    "remove_tags",
    "set_lifecycle",
    "shown",
    "update_contact",
]

_WRITABLE = ("firstName", "lastName", "phone", "email", "language", "profilePic", "countryCode", "custom_fields")
_SHOWN_EMPTY: dict[str, Any] = {
    "firstName": "",
    "lastName": None,
    "phone": None,
    "email": None,
    "language": None,
    "profilePic": None,
    "countryCode": None,
    "custom_fields": None,
    "status": "open",
    "tags": [],
    "assignee": None,
    "lifecycle": None,
}


def _identify(call: Call) -> tuple[str, str]:
    prefix, colon, value = call.params["identifier"].partition(":")
    if not colon or prefix not in {"id", "email", "phone"} or not value:
        raise Refusal(error(int(call.switch("bare_identifier")), "identifier: use id:, email: or phone:"))
    if prefix == "id" and not (value.isascii() and value.isdecimal()):
        raise Refusal(error(400, "identifier: an id is a number"))
    return prefix, value


def _find_all(call: Call, prefix: str, value: str) -> list[Record]:
    if prefix == "id":
        found = call.store.by_id(call.account, call.vendor, str(int(value)) if len(value) < 20 else value)
        return [found] if found else []
    if prefix == "email":
        exact = call.switch("email_case") == "exact"
        return list(call.store.by_email(call.account, call.vendor, value, exact=exact))
    return list(call.store.by_phone(call.account, call.vendor, value))


def find(call: Call) -> Record | None:
    """Return the first visible contact. Raises `Refusal` with 449 for one that is still in the queue."""
    found = _find_all(call, *_identify(call))
    for record in found:
        if call.visible(record):
            return record
    if found and call.switch("invisible_as") == "449":
        raise Refusal(error(449))
    return None


def _check(call: Call, body: dict[str, Any], *, creating: bool) -> dict[str, Any]:
    """Return the fields to write. Raises `Refusal`."""
    if unknown := [name for name in body if name not in _WRITABLE]:
        if call.switch("unknown_fields") == "400":
            raise Refusal(error(400, f"unknown field {unknown[0]!r}"))
        body = {name: value for name, value in body.items() if name in _WRITABLE}
    for name, value in list(body.items()):
        if value is None:
            if name == "firstName":
                raise Refusal(error(400, "firstName cannot be null"))
        elif name == "custom_fields":
            body = {**body, name: check_values(call, value)}
        elif not isinstance(value, str):
            raise Refusal(error(400, f"{name} is not a string"))
    if "firstName" not in body and (creating or call.switch("put_first_name") == "required"):
        raise Refusal(error(400, "firstName is required"))
    return body


def shown(call: Call, record: Record) -> dict[str, Any]:
    """Return a contact as the API shows it."""
    number: int | str = int(record.id) if call.switch("id_form") == "number" else record.id
    return {"id": number, **record.document}


def get_contact(call: Call) -> Reply:
    """GET /contact/{identifier}."""
    record = find(call)
    return error(404) if record is None else reply(200, shown(call, record))


def create_contact(call: Call) -> Reply:
    """POST /contact/{identifier}: a new contact is named by e-mail or phone only."""
    prefix, value = _identify(call)
    if prefix == "id":
        raise Refusal(error(400, "identifier: a contact is created by email: or phone:"))
    fields = _check(call, call.json_object(error), creating=True)
    existing = call.switch("create_existing")
    if existing != "duplicate" and _find_all(call, prefix, value):
        raise Refusal(error(int(existing), "the contact exists"))
    _create(call, prefix, value, fields)
    return reply(200, {"code": "200", "message": "Contact added successfully!"})


def _create(call: Call, prefix: str, value: str, fields: dict[str, Any]) -> Record:
    document = {**_SHOWN_EMPTY, **fields}
    if prefix in {"email", "phone"} and not document[prefix]:
        document[prefix] = value
    document["created_at"] = int(call.now)
    document["isBlocked"] = False
    return call.insert(document, email=document["email"], phone=document["phone"])


def update_contact(call: Call) -> Reply:
    """PUT /contact/{identifier}: only the fields in the body change; null clears."""
    fields = _check(call, call.json_object(error), creating=False)
    record = find(call)
    if record is None:
        missing = call.switch("put_missing")
        if missing != "200":
            raise Refusal(error(int(missing), "no such contact"))
        prefix, value = _identify(call)
        return receipt(_create(call, prefix, value, fields))
    return _change(call, record, fields)


def _change(call: Call, record: Record, fields: dict[str, Any]) -> Reply:
    if isinstance(fields.get("custom_fields"), list) and call.switch("custom_fields") == "merge":
        fields = {
            **fields,
            "custom_fields": _merged(record.document.get("custom_fields"), fields["custom_fields"]) or [],
        }
    document = {**record.document, **fields}
    call.update(record, document, email=document.get("email"), phone=document.get("phone"))
    return receipt(record)


def delete_contact(call: Call) -> Reply:
    """DELETE /contact/{identifier}: of several contacts with the identifier, the first one is deleted."""
    record = _found(call)
    call.delete(record)
    return receipt(record)


def create_or_update(call: Call) -> Reply:
    """POST /contact/create_or_update/{identifier}: a contact that is not visible yet is updated too, never created
    twice.
    """
    if (known := call.switch("create_or_update")) != "200":
        # The response of a web framework for a missing route, which differs from an error about a contact.
        raise Refusal(reply(int(known), {"statusCode": int(known), "message": "Cannot POST this route"}))
    prefix, value = _identify(call)
    body = call.json_object(error)
    found = _find_all(call, prefix, value)
    record = next((one for one in found if call.visible(one)), found[0] if found else None)
    if record is not None:
        if not call.visible(record) and call.switch("invisible_as") == "449":
            raise Refusal(error(449))
        return _change(call, record, _check(call, body, creating=False))
    if prefix == "id":
        raise Refusal(error(404))
    return receipt(_create(call, prefix, value, _check(call, body, creating=True)))


def merge_contacts(call: Call) -> Reply:
    """POST /contact/merge: the older contact becomes the primary one, the other is deleted.

    Fields that the primary contact lacks are taken from the other one; fields of the body have precedence.
    """
    body = call.json_object(error)
    ids = body.pop("contactIds", None)
    if not isinstance(ids, list) or len(ids) != 2 or ids[0] == ids[1] or not all(map(_is_id, ids)):
        raise Refusal(error(400, "contactIds is an array of two different ids"))
    fields = _check(call, body, creating=False) if body else {}
    found = [call.store.by_id(call.account, call.vendor, str(int(one))) for one in ids]
    records = [one for one in found if one is not None and call.visible(one)]
    if len(records) != 2:
        raise Refusal(error(404))
    primary, other = sorted(records, key=lambda record: record.seq)
    document = {**primary.document}
    for name, value in other.document.items():
        if document.get(name) in (None, ""):
            document[name] = value
    document["tags"] = list(dict.fromkeys([*_tags(primary), *_tags(other)]))
    document["custom_fields"] = _merged(other.document.get("custom_fields"), primary.document.get("custom_fields"))
    with call.store.transaction():
        call.delete(other)
        merged = attrs.evolve(primary, document=document)
        call.update(primary, document, email=document.get("email"), phone=document.get("phone"))
        return _change(call, merged, fields) if fields else receipt(primary)


def add_tags(call: Call) -> Reply:
    """POST /contact/{identifier}/tag."""
    names, record = _given_tags(call), _found(call)
    tags = list(dict.fromkeys([*_tags(record), *names]))
    if call.switch("tags_of_contact") == "10" and len(tags) > 10:
        raise Refusal(error(400, "a contact has at most 10 tags"))
    return _change(call, record, {"tags": tags})


def remove_tags(call: Call) -> Reply:
    """DELETE /contact/{identifier}/tag, with a body."""
    names, record = _given_tags(call), _found(call)
    return _change(call, record, {"tags": [tag for tag in _tags(record) if tag not in names]})


def set_lifecycle(call: Call) -> Reply:
    """POST /contact/{identifier}/lifecycle/update: null or an empty name removes the stage."""
    body = call.json_object(error)
    name = body.get("name")
    if "name" not in body or not isinstance(name, str | None):
        raise Refusal(error(400, "name is a string or null"))
    _change(call, _found(call), {"lifecycle": name or None})
    return reply(200, {"code": 200, "message": "Lifecycle updated successfully"})


def _found(call: Call) -> Record:
    record = find(call)
    if record is None:
        raise Refusal(error(404))
    return record


def _is_id(value: Any) -> bool:
    # JSON has one type of number: 7.0 is an integer, too.
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**15 and value == int(value)
    )


def _tags(record: Record) -> list[str]:
    return [tag for tag in record.document.get("tags") or () if isinstance(tag, str)]


def _given_tags(call: Call) -> list[str]:
    names = call.json(error)
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) and 0 < len(name) <= 255 for name in names)
        or not 1 <= len(names) == len(set(names)) <= 10
    ):
        raise Refusal(error(400, "the body is an array of 1 to 10 different tags"))
    return names


def _merged(*lists: Any) -> list[Any] | None:
    """Merge arrays of custom fields; the last value of a name is used."""
    items = {item["name"]: item for one in lists for item in one or () if isinstance(item, dict) and "name" in item}
    return list(items.values()) or None


def insert(call: Call, data: Mapping[str, Any]) -> str:
    """Insert a contact as given by a test. Raises `ValueError` for an id that is not a number."""
    document = {**_SHOWN_EMPTY, "created_at": int(call.now), "isBlocked": False, **data}
    contact_id = document.pop("id", None)
    if contact_id is not None and not str(contact_id).isdecimal():
        raise ValueError(f"an id of Aelyst is a number, not {contact_id!r}")
    record = call.insert(
        document,
        email=document.get("email"),
        phone=document.get("phone"),
        contact_id=None if contact_id is None else str(int(contact_id)),
    )
    return record.id
