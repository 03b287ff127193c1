"""The examples of the vendors' pages as data: request and response, verbatim, and the expected result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

import attrs

from aelyst_async import ContactId, Email, Phone, Tag, WriteReceipt, errors
from aelyst_async.contacts import Message
from aelyst_providers.aelyst import AelystContact, AelystFields, Assignee, CustomField
from aelyst_providers.callab import CallabContact
from aelyst_providers.dmchamp import DmChampContact, DmChampFields


@attrs.frozen(kw_only=True)
class Example:
    """One operation: the call, the request that must arrive, the response, and the expected result."""

    provider: str
    call: Callable[[Any], Awaitable[Any]]
    method: str
    target: str
    """The raw path and query, without the credential."""
    sent: Any = None
    status: int = 200
    answer: Any
    result: Any


AELYST_CONTACT = {
    "id": 12345,
    "firstName": "Muhammad ",
    "lastName": "Mahin",
    "phone": "+60123456789",
    "email": "test@example.com",
    "language": "ms",
    "profilePic": "https://cdn.aelyst.ai/profile_avatar.png",
    "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}],
    "status": "open",
    "tags": ["new_customer, sales"],
    "assignee": {"id": 12345, "firstName": "Muhammad Mahin", "lastName": "Dar", "email": "test@example.com"},
    "lifecycle": "Hot Lead",
    "created_at": 1663274081,
}

AELYST_BODY = {
    "firstName": "Muhammad ",
    "lastName": "Mahin",
    "phone": "+60123456789",
    "email": "test@example.com",
    "language": "ms",
    "profilePic": "https://cdn.aelyst.ai/profile_avatar.png",
    "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}],
}

AELYST_FIELDS = AelystFields(
    first_name="Muhammad ",
    last_name="Mahin",
    phone="+60123456789",
    email="test@example.com",
    language="ms",
    profile_pic="https://cdn.aelyst.ai/profile_avatar.png",
    country_code="MY",
    custom_fields=(CustomField("Company Website", "https://example.com"),),
)

CALLAB_ANSWER = {
    "status": "ok",
    "message": "<string>",
    "data": {
        "id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
        "company_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
        "firstname": "<string>",
        "lastname": "<string>",
        "phone_number": "<string>",
        "metadata": {},
        "number_country_code": "<string>",
        "last_call_status": "<string>",
        "last_call_at": "2023-11-07T05:31:56Z",
        "last_call_duration": 123,
        "last_call_feedback": "<string>",
        "source_name": "<string>",
        "tag_name": "<string>",
        "category_name": "<string>",
        "notes": "<string>",
        "created_at": "2023-11-07T05:31:56Z",
        "updated_at": "2023-11-07T05:31:56Z",
        "campaign_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
        "status": "<string>",
    },
}

_CALLAB_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
_CALLAB_TIME = datetime(2023, 11, 7, 5, 31, 56, tzinfo=timezone.utc)

EXAMPLES: dict[str, Example] = {
    "aelyst get": Example(
        provider="aelyst",
        call=lambda gateway: gateway.get("phone:+60 12-345 6789"),
        method="GET",
        target="/contact/phone:%2B60123456789",
        answer=AELYST_CONTACT,
        result=AelystContact(
            id="12345",
            first_name="Muhammad ",
            last_name="Mahin",
            phone="+60123456789",
            email="test@example.com",
            tags=("new_customer, sales",),
            created_at=datetime(2022, 9, 15, 20, 34, 41, tzinfo=timezone.utc),
            language="ms",
            profile_pic="https://cdn.aelyst.ai/profile_avatar.png",
            country_code="MY",
            custom_fields=(CustomField("Company Website", "https://example.com"),),
            status="open",
            assignee=Assignee(id=12345, first_name="Muhammad Mahin", last_name="Dar", email="test@example.com"),
            lifecycle="Hot Lead",
        ),
    ),
    "aelyst create": Example(
        provider="aelyst",
        call=lambda gateway: gateway.create(AELYST_FIELDS),
        method="POST",
        target="/contact/phone:%2B60123456789",
        sent=AELYST_BODY,
        answer={"code": "200", "message": "Contact added successfully!"},
        result=WriteReceipt(identifier=Phone("+60123456789"), created=True, message="Contact added successfully!"),
    ),
    "aelyst update": Example(
        provider="aelyst",
        call=lambda gateway: gateway.update("id:1", AELYST_FIELDS),
        method="PUT",
        target="/contact/id:1",
        sent=AELYST_BODY,
        answer={"contactId": 1},
        result=WriteReceipt(identifier=ContactId("1"), contact_id="1", created=False),
    ),
    "aelyst tags": Example(
        provider="aelyst",
        call=lambda gateway: gateway.tags("email:abdc@gmail.com"),
        method="GET",
        target="/contact/email:abdc@gmail.com",
        answer=AELYST_CONTACT,
        result=(Tag("new_customer, sales"),),
    ),
    "callab get": Example(
        provider="callab",
        call=lambda gateway: gateway.get(f"id:{_CALLAB_ID}"),
        method="GET",
        target=f"/contact/{_CALLAB_ID}",
        answer=CALLAB_ANSWER,
        result=CallabContact(
            id=_CALLAB_ID,
            company_id=_CALLAB_ID,
            first_name="<string>",
            last_name="<string>",
            phone="<string>",
            metadata={},
            number_country_code="<string>",
            last_call_status="<string>",
            last_call_at=_CALLAB_TIME,
            last_call_duration=123,
            last_call_feedback="<string>",
            source_name="<string>",
            tag_name="<string>",
            tags=("<string>",),
            category_name="<string>",
            notes="<string>",
            created_at=_CALLAB_TIME,
            updated_at=_CALLAB_TIME,
            campaign_id=_CALLAB_ID,
            status="<string>",
        ),
    ),
    "dmchamp get by phone": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.get("phone:+1234567890"),
        method="GET",
        target="/contacts?phoneNumber=%2B1234567890",
        answer={"success": True, "contactId": "abc123"},
        result=DmChampContact(id="abc123"),
    ),
    "dmchamp get by e-mail": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.get(Email("ann+x@example.com")),
        method="GET",
        target="/contacts?email=ann%2Bx%40example.com",
        answer={"success": True, "contactId": "abc123"},
        result=DmChampContact(id="abc123"),
    ),
    "dmchamp create": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.create(
            DmChampFields(
                phone="+1234567890", first_name="Ann", last_name="Lee", email="ann@example.com", instagram_id="ig",
                current_campaign=None, current_campaign_data={"step": 1}, channel="whatsapp", is_chat_window_open=False,
                external_id="x1", custom_channel=None, chat_widget_id="w", is_bot_active=True, do_not_disturb=False,
            )
        ),
        method="POST",
        target="/contacts",
        sent={
            "phoneNumber": "+1234567890", "firstName": "Ann", "lastName": "Lee", "email": "ann@example.com",
            "instagramId": "ig", "currentCampaign": None, "currentCampaignData": {"step": 1}, "channel": "whatsapp",
            "isChatWindowOpen": False, "externalId": "x1", "customChannel": None, "chatWidgetId": "w",
            "is_bot_active": True, "do_not_disturb": False,
        },
        answer={"success": True, "data": {"message": "Contact created successfully", "contactId": "abc123"}},
        result=WriteReceipt(
            identifier=Phone("+1234567890"), contact_id="abc123", created=True, message="Contact created successfully"
        ),
    ),
    "dmchamp create, required fields only": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.create(DmChampFields(phone="+1234567890")),
        method="POST",
        target="/contacts",
        sent={"phoneNumber": "+1234567890"},
        answer={"success": True, "data": {"message": "ok", "contactId": "abc123"}},
        result=WriteReceipt(identifier=Phone("+1234567890"), contact_id="abc123", created=True, message="ok"),
    ),
    "dmchamp update": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.update(
            "id:abc123",
            DmChampFields(
                first_name="Ann", last_name="Lee", email="a@b.c", is_bot_active=False, do_not_disturb=True
            ),
        ),
        method="PUT",
        target="/contacts/abc123",
        sent={"firstName": "Ann", "lastName": "Lee", "email": "a@b.c", "is_bot_active": False, "do_not_disturb": True},
        answer={"success": True, "message": "Contact updated successfully"},
        result=WriteReceipt(
            identifier=ContactId("abc123"), contact_id="abc123", created=False, message="Contact updated successfully"
        ),
    ),
    "dmchamp add to list": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.add_to_list("id:abc123", "list1"),
        method="POST",
        target="/contacts/lists",
        sent={"contactId": "abc123", "listId": "list1"},
        answer={"success": True, "message": "Contact added to list successfully"},
        result=WriteReceipt(
            identifier=ContactId("abc123"), contact_id="abc123", message="Contact added to list successfully"
        ),
    ),
    "dmchamp remove from list": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.remove_from_list("id:abc123", "list1"),
        method="DELETE",
        target="/contacts/lists",
        sent={"contactId": "abc123", "listId": "list1"},
        answer={"success": True, "message": "Contact removed from list successfully"},
        result=WriteReceipt(
            identifier=ContactId("abc123"), contact_id="abc123", message="Contact removed from list successfully"
        ),
    ),
    "dmchamp tags": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.tags("id:abc123"),
        method="GET",
        target="/contacts/tags/abc123",
        answer=[{"name": "vip", "description": "pays"}, {"name": "a, b"}],
        result=(Tag("vip", "pays"), Tag("a, b")),
    ),
    "dmchamp messages": Example(
        provider="dmchamp",
        call=lambda gateway: gateway.messages("id:abc123"),
        method="GET",
        target="/contacts/messages/abc123",
        answer={"success": True, "data": [{"id": "m1", "text": "hi", "direction": "in"}, {"odd": 1}]},
        result=(Message(id="m1", text="hi", direction="in"), Message()),
    ),
}  # fmt: skip

_AELYST_ERRORS: list[tuple[int, str, type[errors.ApiError]]] = [
    (400, "Validation error.", errors.BadRequestError),
    (401, "UN_AUTHORIZED", errors.AuthenticationError),
    (404, "Contact not found", errors.ContactNotFoundError),
    (429, "Too Many Requests", errors.RateLimitedError),
    (
        449,
        "Your request cannot be processed at the moment as it is currently in queue. "  # noqa: ISC004
        "Please try again in a few minutes.",
        errors.QueuedError,
    ),
    (500, "Unexpected error occurred", errors.ServerError),
]


@attrs.frozen(kw_only=True)
class Refusal:
    """A response that is an error, with any status: the expected error class, message and code."""

    provider: str
    status: int
    answer: Any
    kind: type[errors.ApiError]
    message: str
    code: int | str | None = None


REFUSALS: dict[str, Refusal] = {
    **{
        f"aelyst {status}": Refusal(
            provider="aelyst", status=status, answer={"code": status, "message": words}, kind=kind, message=words,
            code=status,
        )
        for status, words, kind in _AELYST_ERRORS
    },
    "aelyst 449, no JSON": Refusal(
        provider="aelyst", status=449, answer=b"currently in queue", kind=errors.QueuedError, message=""
    ),
    "aelyst 403": Refusal(
        provider="aelyst", status=403, answer={"code": 403, "message": "no"}, kind=errors.AuthenticationError,
        message="no", code=403,
    ),
    "dmchamp 400, a string": Refusal(
        provider="dmchamp", status=400, answer="Bad phone", kind=errors.BadRequestError, message="Bad phone"
    ),
    "dmchamp 400, error": Refusal(
        provider="dmchamp", status=400, answer={"error": "Bad phone"}, kind=errors.BadRequestError, message="Bad phone"
    ),
    "dmchamp 401, a string": Refusal(
        provider="dmchamp", status=401, answer="Invalid API key", kind=errors.AuthenticationError,
        message="Invalid API key",
    ),
    "dmchamp 403": Refusal(
        provider="dmchamp", status=403, answer={"error": {"message": "no"}}, kind=errors.AuthenticationError,
        message="no",
    ),
    "dmchamp 404": Refusal(
        provider="dmchamp", status=404, answer={"success": False, "message": "Contact not found"},
        kind=errors.ContactNotFoundError, message="Contact not found",
    ),
    "dmchamp 500": Refusal(
        provider="dmchamp", status=500, answer=b"<html>", kind=errors.ServerError, message="Internal Server Error"
    ),
    "dmchamp 200, success false": Refusal(
        provider="dmchamp", status=200, answer={"success": False, "message": "odd"}, kind=errors.ApiError, message="odd"
    ),
    "dmchamp 200, not found": Refusal(
        provider="dmchamp", status=200, answer={"success": False, "message": "Contact not found"},
        kind=errors.ContactNotFoundError, message="Contact not found",
    ),
    "dmchamp 200, error_code": Refusal(
        provider="dmchamp", status=200, answer={"error_code": 409, "message": "Contact already exists"},
        kind=errors.ConflictError, message="Contact already exists", code=409,
    ),
    "dmchamp 200, error_code as a numeric string": Refusal(
        provider="dmchamp", status=200, answer={"success": True, "error_code": "404", "message": "no"},
        kind=errors.ContactNotFoundError, message="no", code=404,
    ),
    "dmchamp 200, error_code as a name": Refusal(
        provider="dmchamp", status=200, answer={"error_code": "E_LIMIT", "error": "too many"}, kind=errors.ApiError,
        message="too many", code="E_LIMIT",
    ),
    "callab 200, error": Refusal(
        provider="callab", status=200, answer={"status": "error", "message": "Something", "data": ""},
        kind=errors.ApiError, message="Something",
    ),
    "callab 200, not found": Refusal(
        provider="callab", status=200, answer={"status": "error", "message": "Contact not found", "data": ""},
        kind=errors.ContactNotFoundError, message="Contact not found",
    ),
    "callab 200, unauthorized": Refusal(
        provider="callab", status=200, answer={"status": "error", "message": "Unauthorized", "data": ""},
        kind=errors.AuthenticationError, message="Unauthorized",
    ),
    "callab 401": Refusal(
        provider="callab", status=401, answer={"status": "error", "message": "no", "data": ""},
        kind=errors.AuthenticationError, message="no",
    ),
    "callab 404, HTML": Refusal(
        provider="callab", status=404, answer=b"<html>", kind=errors.ContactNotFoundError, message="Not Found"
    ),
}  # fmt: skip
