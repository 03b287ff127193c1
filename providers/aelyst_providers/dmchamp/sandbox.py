"""DM Champ: contacts found by phone or e-mail, lists, tags, messages (the vendor's page *Contacts*).

The key is in the query (``?apiKey=``). Ids are opaque strings. The page describes the requests but not the bodies of
the responses, so most of their format is assumed and can be switched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aelyst_async.sandbox.vendor import (
    Behaviour,
    Call,
    Record,
    Refusal,
    Reply,
    Route,
    Vendor,
    assumed,
    common_behaviours,
    phrase,
    reply,
)

__all__ = ["DMCHAMP"]

_TEXT, _NULLABLE_TEXT, _NULLABLE_OBJECT, _BOOLEAN = "text", "text or null", "object or null", "boolean"
_CREATE_FIELDS = {
    "phoneNumber": _TEXT,
    "firstName": _TEXT,
    "lastName": _TEXT,
    "email": _TEXT,
    "instagramId": _NULLABLE_TEXT,
    "currentCampaign": _NULLABLE_TEXT,
    "currentCampaignData": _NULLABLE_OBJECT,
    "channel": _NULLABLE_TEXT,
    "isChatWindowOpen": _BOOLEAN,
    "externalId": _NULLABLE_TEXT,
    "customChannel": _NULLABLE_TEXT,
    "chatWidgetId": _NULLABLE_TEXT,
    "is_bot_active": _BOOLEAN,
    "do_not_disturb": _BOOLEAN,
}
_UPDATE_FIELDS = {
    name: _CREATE_FIELDS[name] for name in ("firstName", "lastName", "email", "is_bot_active", "do_not_disturb")
}
_DEFAULTS: dict[str, Any] = {
    "firstName": "Unknown",
    "lastName": "Unknown",
    "isChatWindowOpen": False,
    "is_bot_active": True,
    "do_not_disturb": False,
}
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def error(status: int, message: str = "") -> Reply:
    """Return the documented shape of a status: 401 is a bare JSON string, 400 an object with ``error``."""
    if status in {401, 403}:
        return reply(status, message or ("Unauthorized" if status == 401 else "Forbidden"))
    if status in {400, 413}:
        return reply(status, {"error": message or "Bad request"})
    default = {404: "Contact not found", 429: "Too many requests", 449: "In queue", 500: "Internal server error"}
    return reply(status, {"success": False, "message": message or default.get(status, phrase(status))})


def _bad(call: Call, message: str) -> Refusal:
    return Refusal(reply(400, message) if call.switch("bad_request_body") == "string" else error(400, message))


def _unauthorized(call: Call) -> Reply:
    return error(int(call.switch("unauthorized")))


def _credential(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    return query.get("apiKey") or None


def _with_id(call: Call, contact_id: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Add the id at the position that the switch selects."""
    form = call.switch("id_field")
    outer, dot, inner = form.partition(".")
    if dot:
        answer[outer] = {**answer.get(outer, {}), inner: contact_id}
    else:
        answer[form] = contact_id
    return answer


def _fields(call: Call, known: Mapping[str, str]) -> dict[str, Any]:
    body = call.json_object(error)
    for name in body:
        if name not in known and call.switch("unknown_fields") == "400":
            raise _bad(call, f"unknown field {name!r}")
    fields = {name: value for name, value in body.items() if name in known}
    for name, value in fields.items():
        kind = known[name]
        fits = (
            isinstance(value, bool)
            if kind is _BOOLEAN
            else (value is None and kind in {_NULLABLE_TEXT, _NULLABLE_OBJECT})
            or isinstance(value, dict if kind is _NULLABLE_OBJECT else str)
        )
        if not fits:
            raise _bad(call, f"{name} is not {kind}")
    if "@" not in fields.get("email", "@"):
        raise _bad(call, "email is not an e-mail address")
    return fields


def _by_id(call: Call, contact_id: str) -> Record | None:
    record = call.store.by_id(call.account, call.vendor, contact_id)
    return record if record and call.visible(record) else None


def _first(call: Call, phone: str | None, email: str | None) -> Record | None:
    found = (
        call.store.by_phone(call.account, call.vendor, phone)
        if phone
        else call.store.by_email(call.account, call.vendor, email or "")
    )
    return next((record for record in found if call.visible(record)), None)


def get_contact(call: Call) -> Reply:
    """GET /contacts?phoneNumber= or ?email=."""
    phone, email = call.query.get("phoneNumber"), call.query.get("email")
    if not phone and not email:
        raise _bad(call, "phoneNumber or email is required")
    record = _first(call, phone, email)
    if record is None:
        return error(404)
    answer: dict[str, Any] = {"success": True}
    if call.switch("get_answer") == "contact":
        answer.update({name: value for name, value in record.document.items() if name != "tags"})
    return reply(200, _with_id(call, record.id, answer))


def create_contact(call: Call) -> Reply:
    """POST /contacts."""
    fields = _fields(call, _CREATE_FIELDS)
    if not fields.get("phoneNumber"):
        raise _bad(call, "phoneNumber is required")
    existing = next(call.store.by_phone(call.account, call.vendor, fields["phoneNumber"]), None)
    rule = call.switch("create_existing")
    if existing is not None and rule != "duplicate":
        text = "Contact already exists"
        if rule == "200":
            return reply(200, {"success": False, "error_code": 409, "message": text})
        if rule != "existing":
            raise _bad(call, text) if rule == "400" else Refusal(error(409, text))
        return reply(200, _created(call, existing.id, text))
    record = _insert(call, fields)
    return reply(200, _created(call, record.id, "Contact created successfully"))


def _created(call: Call, contact_id: str, message: str) -> dict[str, Any]:
    form = call.switch("id_field")
    if form in {"contactId", "data.contactId"}:
        return {"success": True, "data": {"message": message, "contactId": contact_id}}
    return _with_id(call, contact_id, {"success": True, "message": message})


def _insert(call: Call, fields: Mapping[str, Any], contact_id: str | None = None) -> Record:
    document = {**_DEFAULTS, **fields}
    document.setdefault("tags", [])
    return call.insert(document, email=document.get("email"), phone=document.get("phoneNumber"), contact_id=contact_id)


def update_contact(call: Call) -> Reply:
    """PUT /contacts/{contactId}: the phone cannot be changed."""
    fields = _fields(call, _UPDATE_FIELDS)
    done = reply(200, {"success": True, "message": "Contact updated successfully"})
    record = _by_id(call, call.params["contactId"])
    if record is None:
        missing = call.switch("put_missing")
        if missing == "200":
            if call.store.by_id(call.account, call.vendor, call.params["contactId"]) is None:
                _insert(call, fields, call.params["contactId"])
            return done
        raise _bad(call, "Contact not found") if missing == "400" else Refusal(error(404))
    document = {**record.document, **fields}
    call.update(record, document, email=document.get("email"), phone=document.get("phoneNumber"))
    return done


def _membership(call: Call) -> tuple[Record, str]:
    body = call.json_object(error)
    for name in ("contactId", "listId"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise _bad(call, f"{name} is required")
    record = _by_id(call, body["contactId"])
    if record is None:
        raise Refusal(error(404))
    return record, body["listId"]


def add_to_list(call: Call) -> Reply:
    """POST /contacts/lists."""
    record, list_id = _membership(call)
    if call.store.add_member(call.account, call.vendor, list_id, record.id):
        call.store.note(
            call.account, call.vendor, record.id, now=call.now, request=call.number, event=f"added to list {list_id}"
        )
    return reply(200, {"success": True, "message": "Contact added to list successfully"})


def remove_from_list(call: Call) -> Reply:
    """DELETE /contacts/lists, with a JSON body."""
    record, list_id = _membership(call)
    if call.store.remove_member(call.account, call.vendor, list_id, record.id):
        call.store.note(
            call.account,
            call.vendor,
            record.id,
            now=call.now,
            request=call.number,
            event=f"removed from list {list_id}",
        )
    elif call.switch("remove_not_listed") == "404":
        raise Refusal(error(404, "Contact is not on the list"))
    return reply(200, {"success": True, "message": "Contact removed from list successfully"})


def _listed(call: Call, switch: str, items: list[Any]) -> Reply:
    return reply(200, items if call.switch(switch) == "array" else {"success": True, "data": items})


def get_tags(call: Call) -> Reply:
    """GET /contacts/tags/{contactId}."""
    record = _by_id(call, call.params["contactId"])
    return error(404) if record is None else _listed(call, "tags_answer", record.document.get("tags") or [])


def get_messages(call: Call) -> Reply:
    """GET /contacts/messages/{contactId}."""
    record = _by_id(call, call.params["contactId"])
    if record is None:
        return error(404)
    return _listed(call, "messages_answer", call.store.messages(call.account, call.vendor, record.id))


def _add(call: Call, data: Mapping[str, Any]) -> str:
    fields = dict(data)
    contact_id = fields.pop("contactId", None)
    tags = [{"name": tag} if isinstance(tag, str) else dict(tag) for tag in fields.pop("tags", None) or ()]
    messages = list(fields.pop("messages", None) or ())
    lists = list(fields.pop("lists", None) or ())
    record = _insert(call, {**fields, "tags": tags}, None if contact_id is None else str(contact_id))
    for message in messages:
        call.store.add_message(call.account, call.vendor, record.id, message)
    for list_id in lists:
        call.store.add_member(call.account, call.vendor, str(list_id), record.id)
    return record.id


def _mint(number: int, seed: int) -> str:
    """Return 20 random-looking letters and digits, like the ids of a document store."""
    digest = hashlib.blake2b(f"{seed}/dmchamp/{number}".encode(), digest_size=20).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)


_PAGE_URL = "https://help.dmchamp.com/contacts"


def _documented(name: str, summary: str) -> Behaviour:
    return Behaviour(
        name=f"dmchamp.{name}", summary=summary, source="page 'Contacts'", url=_PAGE_URL, basis="documented"
    )


_NO_BODY = "the page shows no response bodies"

DMCHAMP = Vendor(
    name="dmchamp",
    title="DM Champ",
    credential=_credential,
    error=error,
    unauthorized=_unauthorized,
    routes=(
        Route("GET", "/contacts", get_contact),
        Route("POST", "/contacts", create_contact),
        Route("POST", "/contacts/lists", add_to_list),
        Route("DELETE", "/contacts/lists", remove_from_list),
        Route("PUT", "/contacts/{contactId}", update_contact),
        Route("GET", "/contacts/tags/{contactId}", get_tags),
        Route("GET", "/contacts/messages/{contactId}", get_messages),
    ),
    add=_add,
    mint=_mint,
    openapi=Path(__file__).with_name("openapi.json"),
    field_names={
        "id": "contactId",
        "first_name": "firstName",
        "last_name": "lastName",
        "phone": "phoneNumber",
        "instagram_id": "instagramId",
        "current_campaign": "currentCampaign",
        "external_id": "externalId",
        "custom_channel": "customChannel",
        "chat_widget_id": "chatWidgetId",
        "is_chat_window_open": "isChatWindowOpen",
    },
    behaviours=(
        _documented("api_key", "the key is the query parameter apiKey"),
        _documented("create_fields", "phoneNumber is required; the other fields have the page's defaults"),
        _documented("update_fields", "PUT takes firstName, lastName, email, is_bot_active, do_not_disturb"),
        _documented("list_body", "lists take a JSON body, the DELETE too"),
        assumed(
            "dmchamp.create_existing",
            "POST with a phone number that a contact has (200: success false and error_code 409)",
            "409, 200 and the existing contact were all seen by clients of the API",
            "existing",
            "duplicate",
            "400",
            "409",
            "200",
        ),
        assumed(
            "dmchamp.put_missing",
            "PUT on an id that does not exist (200: it is created)",
            "the page lists only 200",
            "404",
            "400",
            "200",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.id_field",
            "where an answer holds the contact's id",
            "all were seen by clients of the API",
            "contactId",
            "contact_id",
            "contact.id",
            "id",
            "_id",
            "data.contactId",
        ),
        assumed(
            "dmchamp.get_answer",
            "GET /contacts tells the id, or the whole contact",
            _NO_BODY,
            "id",
            "contact",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.tags_answer",
            "tags as a bare array or in an envelope",
            _NO_BODY,
            "array",
            "envelope",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.messages_answer",
            "messages in an envelope or as a bare array",
            _NO_BODY,
            "envelope",
            "array",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.bad_request_body",
            "the body of 400",
            "the vendor's documentation has both",
            "object",
            "string",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.unauthorized",
            "the status of a wrong key",
            "the vendor's documentation has both",
            "401",
            "403",
            url=_PAGE_URL,
        ),
        assumed(
            "dmchamp.unknown_fields",
            "a field that the page does not list for the operation",
            "not documented",
            "ignore",
            "400",
        ),
        assumed(
            "dmchamp.remove_not_listed", "DELETE of a contact that is not on the list", "not documented", "200", "404"
        ),
        *common_behaviours("dmchamp", quota="none"),
    ),
)
