"""Callab AI: one contact by its id (the vendor's page *Get Contact by ID*).

Responses have an envelope ``{status, message, data}``; according to the vendor's newer pages an error is
HTTP 200 with ``status: "error"``. The API only reads, so contacts are added by `Account.add_contact` or the control
API.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aelyst_async.sandbox.vendor import (
    Behaviour,
    Call,
    Reply,
    Route,
    Vendor,
    assumed,
    bearer_token,
    common_behaviours,
    phrase,
    reply,
)

__all__ = ["CALLAB"]

_PAGE_URL = "https://docs.callab.ai/api-reference/Contacts/get-by-id"
_FIELDS = (
    "id",
    "company_id",
    "firstname",
    "lastname",
    "phone_number",
    "metadata",
    "number_country_code",
    "last_call_status",
    "last_call_at",
    "last_call_duration",
    "last_call_feedback",
    "source_name",
    "tag_name",
    "category_name",
    "notes",
    "created_at",
    "updated_at",
    "campaign_id",
    "status",
)
_TIMES = ("last_call_at", "created_at", "updated_at")


def error(status: int, message: str = "") -> Reply:
    """Return the error envelope; ``data`` is an empty string."""
    default = {401: "Unauthorized", 404: "Contact not found", 429: "Too many requests"}
    return reply(status, {"status": "error", "message": message or default.get(status, phrase(status)), "data": ""})


def _enveloped(call: Call, status: int) -> Reply:
    answer = error(status)
    return Reply(200, answer.body) if call.switch("error_status") == "200" else answer


def _unauthorized(call: Call) -> Reply:
    return _enveloped(call, 401) if call.switch("unauthorized") == "200" else error(401)


def _get(call: Call, template: str) -> Reply:
    if call.switch("path") not in {"both", template}:
        return error(404, "Not Found")
    record = call.store.by_id(call.account, call.vendor, call.params["id"].lower())
    if record is None or not call.visible(record):
        return _enveloped(call, 404)
    data = dict(record.document)
    if call.switch("timestamps") == "naive":
        data.update({name: data[name].removesuffix("Z") for name in _TIMES if isinstance(data.get(name), str)})
    return reply(200, {"status": "ok", "message": "Contact found", "data": data})


def get_contact(call: Call) -> Reply:
    """GET /contact/{id}, the path of the older page."""
    return _get(call, "contact")


def get_contact_new_path(call: Call) -> Reply:
    """GET /contacts/{id}, the path of the newer page."""
    return _get(call, "contacts")


def _add(call: Call, data: Mapping[str, Any]) -> str:
    unique = call.mint(call.store.next_number(call.account, call.vendor))
    contact_id = str(data.get("id") or unique).lower()
    now = datetime.fromtimestamp(call.now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    document: dict[str, Any] = dict.fromkeys(_FIELDS)
    document.update({"created_at": now, "updated_at": now, "status": "new", **data, "id": contact_id})
    if document["company_id"] is None:
        document["company_id"] = _mint(0, 0)
    call.insert(document, email=None, phone=document.get("phone_number"), contact_id=contact_id)
    return contact_id


def _mint(number: int, seed: int) -> str:
    digest = hashlib.blake2b(f"{seed}/callab/{number}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def _documented(name: str, summary: str) -> Behaviour:
    source = "page 'Get Contact by ID'"
    return Behaviour(name=f"callab.{name}", summary=summary, source=source, url=_PAGE_URL, basis="documented")


CALLAB = Vendor(
    name="callab",
    title="Callab AI",
    credential=bearer_token,
    error=error,
    unauthorized=_unauthorized,
    routes=(
        Route("GET", "/contact/{id}", get_contact),
        Route("GET", "/contacts/{id}", get_contact_new_path),
    ),
    add=_add,
    mint=_mint,
    openapi=Path(__file__).with_name("openapi.json"),
    field_names={"first_name": "firstname", "last_name": "lastname", "phone": "phone_number"},
    behaviours=(
        _documented("bearer", "Authorization: Bearer <token>"),
        _documented("envelope", "{status, message, data}, the contact in data with the page's 19 fields"),
        assumed(
            "callab.error_status",
            "the HTTP status of 'not found'",
            "the vendor's newer page says 200 with status 'error'",
            "200",
            "404",
            url=_PAGE_URL,
        ),
        assumed("callab.unauthorized", "the HTTP status of a wrong token", "not on the page", "401", "200"),
        assumed(
            "callab.path",
            "which paths exist",
            "the older page says /contact, the newer one /contacts",
            "both",
            "contact",
            "contacts",
            url=_PAGE_URL,
        ),
        assumed(
            "callab.timestamps",
            "time stamps with Z or without a zone",
            "both were seen by clients of the API",
            "zone",
            "naive",
        ),
        *common_behaviours("callab", quota="none"),
    ),
)
