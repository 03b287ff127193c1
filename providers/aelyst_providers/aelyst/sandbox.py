"""Aelyst: get, create and update a contact at ``/contact/{identifier}`` (the vendor's three pages).

Identifiers carry a prefix: ``id:123``, ``email:a@b.c``, ``phone:+60…``. Ids are numbers. An account may hold
several contacts with one e-mail address; the first is the one that is read and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aelyst_async.sandbox.assumptions import Behaviour, common_behaviours
from aelyst_async.sandbox.store import Record
from aelyst_async.sandbox.vendor import Call, Refusal, Reply, Route, Vendor, phrase, reply

__all__ = ["AELYST"]

_FRONT = "https://developers.aelyst.ai/"
_GET, _CREATE, _UPDATE = "Get a contact", "Create a contact", "Update a contact"
_URLS = {
    _GET: f"{_FRONT}api/operations/getcontact/",
    _CREATE: f"{_FRONT}api/operations/createcontact/",
    _UPDATE: f"{_FRONT}api/operations/updatecontact/",
}
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


def error(status: int, message: str = "") -> Reply:
    """Return ``{code, message}``. The documented text wins; a detail is added to a validation error."""
    text = _MESSAGES.get(status, message or phrase(status))
    if status == 400 and message:
        text = f"{text} {message}"
    return reply(status, {"code": status, "message": text})


def _unauthorized(call: Call) -> Reply:  # noqa: ARG001
    return error(401)


def _credential(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


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


def _find(call: Call) -> Record | None:
    """Return the first contact that can be seen. Raises `Refusal` with 449 for one that is still in the queue."""
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
    for name, value in body.items():
        if value is None:
            if name == "firstName":
                raise Refusal(error(400, "firstName cannot be null"))
        elif name == "custom_fields":
            _check_custom_fields(value)
        elif not isinstance(value, str):
            raise Refusal(error(400, f"{name} is not a string"))
    if "firstName" not in body and (creating or call.switch("put_first_name") == "required"):
        raise Refusal(error(400, "firstName is required"))
    return body


def _check_custom_fields(value: Any) -> None:
    if not isinstance(value, list):
        raise Refusal(error(400, "custom_fields is not an array"))
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Refusal(error(400, "custom_fields: each needs a name"))
        if isinstance(item.get("value"), (dict, list)):
            raise Refusal(error(400, f"custom_fields: the value of {item['name']!r} is not a scalar"))


def _shown(call: Call, record: Record) -> dict[str, Any]:
    number: int | str = int(record.id) if call.switch("id_form") == "number" else record.id
    return {"id": number, **record.document}


def get_contact(call: Call) -> Reply:
    """GET /contact/{identifier}."""
    record = _find(call)
    return error(404) if record is None else reply(200, _shown(call, record))


def create_contact(call: Call) -> Reply:
    """POST /contact/{identifier}: only e-mail and phone name a contact that does not exist yet."""
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
    record = _find(call)
    if record is None:
        missing = call.switch("put_missing")
        if missing != "200":
            raise Refusal(error(int(missing), "no such contact"))
        prefix, value = _identify(call)
        return reply(200, {"contactId": int(_create(call, prefix, value, fields).id)})
    if isinstance(fields.get("custom_fields"), list) and call.switch("custom_fields") == "merge":
        merged = {item["name"]: item for item in record.document.get("custom_fields") or ()}
        merged.update({item["name"]: item for item in fields["custom_fields"]})
        fields = {**fields, "custom_fields": list(merged.values())}
    document = {**record.document, **fields}
    call.update(record, document, email=document.get("email"), phone=document.get("phone"))
    return reply(200, {"contactId": int(record.id)})


def _add(call: Call, data: Mapping[str, Any]) -> str:
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


def _mint(number: int, seed: int) -> str:  # noqa: ARG001
    return str(100_000 + number)


def _documented(name: str, summary: str, page: str) -> Behaviour:
    source = f"page '{page}'"
    return Behaviour(name=f"aelyst.{name}", summary=summary, source=source, url=_URLS[page], basis="documented")


def _assumed(name: str, summary: str, source: str, *values: str, url: str = "") -> Behaviour:
    return Behaviour(name=f"aelyst.{name}", summary=summary, source=source, url=url, values=values, default=values[0])


AELYST = Vendor(
    name="aelyst",
    title="Aelyst",
    credential=_credential,
    error=error,
    unauthorized=_unauthorized,
    routes=(
        Route("GET", "/contact/{identifier}", get_contact),
        Route("POST", "/contact/{identifier}", create_contact),
        Route("PUT", "/contact/{identifier}", update_contact),
    ),
    add=_add,
    mint=_mint,
    openapi=Path(__file__).with_name("openapi.json"),
    field_names={
        "first_name": "firstName",
        "last_name": "lastName",
        "profile_pic": "profilePic",
        "country_code": "countryCode",
        "is_blocked": "isBlocked",
    },
    behaviours=(
        _documented("identifier", "id:, email: and phone: name a contact; create takes email: and phone:", _CREATE),
        _documented("create_answer", '{"code": "200", "message": …}: the code is a string, there is no id', _CREATE),
        _documented("update_answer", '{"contactId": number}', _UPDATE),
        _documented("partial_update", "fields that are not in the body are kept; null clears", _UPDATE),
        _documented("first_match", "of several contacts with one identifier the first is updated", _UPDATE),
        _documented("first_name", "firstName is required to create, and cannot be null", _CREATE),
        _documented("errors", "{code, message} with 400, 401, 404, 429, 449 and 500", _GET),
        _documented("rate_limit_headers", "X-RateLimit-Limit, X-RateLimit-Remaining, Retry-After", _GET),
        _assumed(
            "put_missing",
            "PUT on a contact that does not exist (200: it is created)",
            "the update page lists no 404",
            "404",
            "400",
            "200",
            url=_URLS[_UPDATE],
        ),
        _assumed(
            "create_existing",
            "POST with an identifier that a contact has",
            "the update page mentions duplicates, the create page lists no conflict",
            "duplicate",
            "400",
            "409",
            url=_URLS[_CREATE],
        ),
        _assumed(
            "put_first_name",
            "whether PUT demands firstName",
            "the update page marks it required and calls the update partial",
            "optional",
            "required",
            url=_URLS[_UPDATE],
        ),
        _assumed(
            "custom_fields",
            "PUT with custom_fields: the others are kept, or the whole array is replaced",
            "'only the contact fields that are included' may mean either",
            "merge",
            "replace",
            url=_URLS[_UPDATE],
        ),
        _assumed("unknown_fields", "a field that the pages do not name", "not documented", "ignore", "400"),
        _assumed("bare_identifier", "an identifier without a prefix", "not documented", "400", "404"),
        _assumed("email_case", "whether the case of an e-mail address matters", "not documented", "any", "exact"),
        _assumed(
            "id_form",
            "the id as a number or as a numeric string",
            "both were seen by clients of the API",
            "number",
            "text",
        ),
        _assumed(
            "invisible_as",
            "what a contact answers that was created and is not visible yet",
            "404 and 449 are both documented errors",
            "404",
            "449",
            url=_URLS[_UPDATE],
        ),
        *common_behaviours(
            "aelyst",
            quota="10/s",
            page=f"page '{_GET}': the example's limit is 10",
            url=_URLS[_GET],
            front_url=_FRONT,
            create_url=_URLS[_CREATE],
        ),
    ),
)
