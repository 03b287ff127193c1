"""DM Champ's JSON: places of the id, bodies with and without an envelope, and errors in a 200."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from aelyst_async import Phone, RetryPolicy, Tag, errors
from aelyst_async.contacts import Message
from aelyst_async.sandbox import Sandbox
from aelyst_providers.dmchamp import DmChampContact, DmChampFields, DmChampGateway
from aelyst_providers.dmchamp.wire import (
    SCHEMA,
    holds,
    read_contact,
    read_created,
    read_done,
    read_id,
    read_messages,
    read_tags,
)
from tests.providers.conftest import Opener
from tests.providers.reading import answer

IDENTIFIER = Phone("+1")

WITH_ID: list[Any] = [
    {"success": True, "contactId": "abc123"},
    {"contact_id": "abc123"},
    {"id": "abc123"},
    {"_id": "abc123"},
    {"contact": {"id": "abc123"}},
    {"contact": {"contactId": "abc123"}},
    {"data": {"contactId": "abc123"}},
    {"data": {"_id": "abc123"}},
    {"data": {"contact": {"id": "abc123"}}},
    {"success": True, "data": [{"id": "abc123"}]},
    [{"id": "abc123"}],
    {"contactId": "abc123", "contact": None, "data": None, "id": None},
    {"contactId": None, "data": {"contactId": None, "id": "abc123"}},
    {"contactId": "abc123", "success": None},
]


@pytest.mark.parametrize("body", WITH_ID)
def test_dmchamp_id_is_found_in_every_known_place(body: Any) -> None:
    contact = read_contact(answer(body))
    assert contact == DmChampContact(id="abc123")
    assert contact.raw == body
    receipt = read_created(answer(body, method="POST"), IDENTIFIER)
    assert (receipt.contact_id, receipt.created) == ("abc123", True)


def test_dmchamp_numeric_id_becomes_a_string() -> None:
    assert read_contact(answer({"contactId": 12})).id == "12"


WHOLE = {
    "id": "abc123", "phoneNumber": "+1 ", "firstName": "Unknown", "lastName": "Unknown", "email": "a@b.c",
    "instagramId": "ig", "currentCampaign": "c", "currentCampaignData": {"step": 1}, "channel": "wa",
    "isChatWindowOpen": False, "externalId": "x", "customChannel": "cc", "chatWidgetId": "w", "is_bot_active": True,
    "do_not_disturb": False, "tags": ["a, b", {"name": "c"}], "createdAt": "2024-01-01T00:00:00.123456789Z",
    "updatedAt": 1704067200, "workspace": {"unknown": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [lambda c: c, lambda c: {"success": True, "data": c}, lambda c: {"contact": c}, lambda c: [c]],
    ids=["bare", "data", "contact", "array"],
)
def test_dmchamp_full_contact_is_read_in_every_envelope(wrap: Any) -> None:
    contact = read_contact(answer(wrap(WHOLE)))
    assert contact == DmChampContact(
        id="abc123", phone="+1 ", first_name="Unknown", last_name="Unknown", email="a@b.c", instagram_id="ig",
        current_campaign="c", current_campaign_data={"step": 1}, channel="wa", is_chat_window_open=False,
        external_id="x", custom_channel="cc", chat_widget_id="w", is_bot_active=True, do_not_disturb=False,
        tags=("a, b", "c"), created_at=datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=timezone.utc),
        updated_at=datetime(2024, 1, 1, tzinfo=timezone.utc),
    )  # fmt: skip
    # A create that returns a full contact may have found an existing one.
    assert read_created(answer(wrap(WHOLE), method="POST"), IDENTIFIER).created is None
    assert read_created(answer(wrap(WHOLE), 201, "POST"), IDENTIFIER).created is True


def test_dmchamp_contact_accepts_null_fields() -> None:
    assert read_contact(answer({**dict.fromkeys(WHOLE), "id": "1"})) == DmChampContact(id="1")


@pytest.mark.parametrize("moment", ["soon", "", 10**400, -(10**30), [], {}, True])
def test_dmchamp_invalid_times_are_read_as_none(moment: Any) -> None:
    assert read_contact(answer({"id": "1", "createdAt": moment})).created_at is None


@pytest.mark.parametrize("tags", [None, "a,b", 5, {}, [1, None, {"name": 5}, [], {"x": 1}]])
def test_dmchamp_invalid_tags_of_a_contact_are_dropped(tags: Any) -> None:
    assert read_contact(answer({"id": "1", "tags": tags})).tags == ()


@pytest.mark.parametrize(
    "body", [[], {"success": True, "data": []}, {"data": None}, {"contactId": None}, {"success": True, "contact": {}}]
)
def test_dmchamp_success_without_a_contact_means_not_found(body: Any) -> None:
    with pytest.raises(errors.ContactNotFoundError):
        read_contact(answer(body))


@pytest.mark.parametrize(
    "body",
    [{}, {"success": True}, "abc123", 5, None, [{"id": "1"}, {"id": "2"}], {"contactId": []}, {"contactId": True}],
)
def test_dmchamp_response_without_an_id_raises(body: Any) -> None:
    kinds: Any = errors.ContactNotFoundError if body == {"contactId": []} else errors.ResponseDecodeError
    with pytest.raises(kinds):
        read_contact(answer(body))
    with pytest.raises(errors.ResponseDecodeError) as caught:
        read_created(answer(body, method="POST"), IDENTIFIER)
    assert caught.value.may_have_been_applied is True


def test_dmchamp_created_is_false_if_the_message_says_exists() -> None:
    body = {"success": True, "data": {"message": "Contact already exists", "contactId": "a"}}
    assert read_created(answer(body, method="POST"), IDENTIFIER).created is False


@pytest.mark.parametrize("status", [200, 201, 202])
def test_dmchamp_read_done_returns_a_receipt(status: int) -> None:
    receipt = read_done(answer({"success": True, "message": "ok"}, status), IDENTIFIER, "1", created=None)
    assert (receipt.identifier, receipt.contact_id, receipt.created, receipt.message) == (IDENTIFIER, "1", None, "ok")


def test_dmchamp_read_done_accepts_an_empty_body_only_with_204() -> None:
    assert read_done(answer(b"", 204), IDENTIFIER, "1", created=False).created is False
    with pytest.raises(errors.ResponseDecodeError):
        read_done(answer(b"", 200), IDENTIFIER, "1", created=False)


@pytest.mark.parametrize(
    "body",
    [{"success": "false"}, {"success": 0, "message": "no"}, {"error": "no such list"}, {"success": None, "error": "x"}],
)
def test_dmchamp_other_error_forms_in_a_200_raise(body: Any) -> None:
    with pytest.raises(errors.ApiError) as caught:
        read_done(answer(body, method="POST"), IDENTIFIER, "1", created=None)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    "body", [{"success": True, "error": None}, {"success": True, "error": "a warning"}, {"error": ""}]
)
def test_dmchamp_error_text_next_to_success_is_ignored(body: Any) -> None:
    assert read_done(answer(body, method="POST"), IDENTIFIER, "1", created=None).raw == body


@pytest.mark.parametrize("body", [{"contactId": "c1", "phoneNumber": 601, "tags": 5}, [{"_id": "c1", "firstName": []}]])
def test_dmchamp_read_id_ignores_the_other_fields(body: Any) -> None:
    assert read_id(answer(body)) == "c1"


@pytest.mark.parametrize("bad", ["..", "lists", "a\nb", "\ud800", " a", "x" * 321])
def test_dmchamp_read_id_rejects_ids_that_cannot_be_in_a_path(bad: str) -> None:
    with pytest.raises(errors.ResponseDecodeError, match="the contact's id cannot be used"):
        read_id(answer({"success": True, "contactId": bad}))


@pytest.mark.parametrize(
    "wrap", [lambda items: items, lambda items: {"success": True, "data": items}], ids=["bare", "data"]
)
def test_dmchamp_tags_and_messages_are_read_bare_or_in_an_envelope(wrap: Any) -> None:
    assert read_tags(answer(wrap([{"name": "a, b"}, {"name": "c", "description": "d"}]))) == (
        Tag("a, b"),
        Tag("c", "d"),
    )
    assert read_tags(answer(wrap([]))) == ()
    assert read_tags(answer(wrap(["vip", {"name": "x"}]))) == (Tag("vip"), Tag("x"))
    assert read_messages(answer(wrap([]))) == ()


@pytest.mark.parametrize("items", [[5], [{}], [{"name": None}], [{"name": "a", "description": 5}], None, "a", {"x": 1}])
def test_dmchamp_read_tags_rejects_malformed_tags(items: Any) -> None:
    for body in (items, {"data": items}):
        with pytest.raises(errors.ResponseDecodeError):
            read_tags(answer(body))


def test_dmchamp_messages_keep_their_raw_item() -> None:
    items: list[Any] = [
        {"id": 5, "body": "hi", "direction": "out", "createdAt": "2024-01-01T00:00:00Z", "media": [1]},
        {"_id": "m", "content": "x", "timestamp": 1704067200},
        {"text": {"rich": 1}, "timestamp": 10**400, "direction": 5},
        "a text", 5, None, [1],
    ]  # fmt: skip
    moment = datetime(2024, 1, 1, tzinfo=timezone.utc)
    messages = read_messages(answer(items))
    assert messages == (
        Message(id="5", text="hi", direction="out", created_at=moment),
        Message(id="m", text="x", created_at=moment),
        Message(),
        Message(text="a text"),
        Message(),
        Message(),
        Message(),
    )
    assert [message.raw for message in messages] == items


@pytest.mark.parametrize("code", [None, 0, "", "0", 200, "200", 201, False])
def test_dmchamp_empty_or_success_error_code_is_ignored(code: Any) -> None:
    assert read_done(answer({"success": True, "error_code": code}), IDENTIFIER, "1", created=None).contact_id == "1"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"success": False}, errors.ApiError),
        ({"success": False, "error": "Contact already exists"}, errors.ConflictError),
        ({"success": True, "error_code": 409}, errors.ConflictError),
        ({"error_code": 404, "contactId": "a"}, errors.ContactNotFoundError),
        ({"error_code": 429}, errors.RateLimitedError),
        ({"error_code": 500}, errors.ServerError),
        ({"error_code": "DUPLICATE"}, errors.ApiError),
        ({"error_code": -5}, errors.ApiError),
    ],
)
def test_dmchamp_errors_in_a_200_raise_the_matching_class(body: Any, kind: type[errors.ApiError]) -> None:
    for read in (read_contact, read_tags, read_messages):
        with pytest.raises(kind) as caught:
            read(answer(body))
        assert type(caught.value) is kind
        assert caught.value.status == 200


def test_holds_compares_sent_fields_with_the_response() -> None:
    assert holds({"data": {"id": "a", "firstName": "Ann", "x": 1}}, {"firstName": "Ann"})
    assert not holds({"data": {"id": "a", "firstName": "Bob"}}, {"firstName": "Ann"})
    assert not holds({"contactId": "a"}, {"firstName": "Ann"})
    assert not holds({"contactId": "a"}, {"currentCampaign": None})


@pytest.mark.parametrize(
    "name", ["phone", "first_name", "last_name", "email", "is_bot_active", "do_not_disturb", "is_chat_window_open"]
)
def test_dmchamp_encode_rejects_null_for_non_nullable_fields(name: str) -> None:
    nulled: dict[str, Any] = {"phone": "+1", name: None}
    with pytest.raises(errors.UnsupportedFieldError, match=name):
        SCHEMA.encode(DmChampFields(**nulled), "create")


@pytest.mark.parametrize("value", [1, "true", 0])
def test_dmchamp_encode_rejects_non_booleans(value: Any) -> None:
    with pytest.raises(errors.UnsupportedFieldError, match="do_not_disturb"):
        SCHEMA.encode(DmChampFields(do_not_disturb=value), "update")


@pytest.mark.parametrize(
    "value", [[1], "x", {"a": {1}}, {"a": float("nan")}, {"a": "\ud800"}, {"a": 10**5000}, {"a": b"x"}]
)
def test_dmchamp_encode_rejects_campaign_data_that_is_no_json_object(value: Any) -> None:
    with pytest.raises(errors.UnsupportedFieldError, match="current_campaign_data"):
        SCHEMA.encode(DmChampFields(phone="+1", current_campaign_data=value), "create")


def test_dmchamp_encode_normalizes_the_phone() -> None:
    assert SCHEMA.encode(DmChampFields(phone="+60 12-345 (6789)"), "create") == {"phoneNumber": "+60123456789"}


def test_dmchamp_update_takes_five_fields() -> None:
    taken = {rule.name for rule in SCHEMA.rules if rule.update}
    assert taken == {"first_name", "last_name", "email", "is_bot_active", "do_not_disturb"}


@pytest.mark.parametrize(
    ("identifier", "fields", "words"),
    [
        ("email:a@b.co", DmChampFields(email="other@b.co", phone="+60123456789"), "the email of the fields is not"),
        ("phone:+60123456780", DmChampFields(phone="+60123456789"), "the phone of the fields is not"),
        ("email:a@b.co", DmChampFields(first_name="Ann"), "phone is required"),
    ],
)
async def test_create_refuses_fields_that_contradict_the_identifier(
    gateway: Opener, identifier: str, fields: DmChampFields, words: str
) -> None:
    with pytest.raises(errors.UnsupportedFieldError, match=words):
        await gateway("dmchamp").create(fields, identifier=identifier)


async def test_create_by_email_sends_the_email_of_the_identifier_and_waits_until_it_is_readable() -> None:
    async with (
        Sandbox(quota="none", switches={"dmchamp.visible_after": "0.2"}) as sandbox,
        DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp")) as opened,
    ):
        await opened.create(DmChampFields(phone="+60123456789"), identifier="email:ann@example.com", wait=True)
        once = opened.with_retry(RetryPolicy(max_attempts=1))
        assert (await once.get("phone:+60123456789")).id
        assert [contact["email"] for contact in sandbox.contacts("dmchamp")] == ["ann@example.com"]
        same = DmChampFields(phone="+60123456789", email="ann@example.com", first_name="Ann")
        receipt = await opened.upsert("email:ann@example.com", same)
        assert (receipt.created, receipt.not_applied) == (False, ("phone",))


async def test_upsert_by_id_refuses_what_no_update_takes(gateway: Opener) -> None:
    with pytest.raises(errors.UnsupportedFieldError):
        await gateway("dmchamp").upsert("id:abc", DmChampFields(phone="+60123456789"))
