"""DM Champ's seven operations and Callab's one, over plain HTTP."""

from __future__ import annotations

import uuid

import pytest

from aelyst_async.sandbox import Sandbox
from tests.sandbox.plain_http import Http


async def test_dmchamp_supports_all_seven_operations(http: Http, sandbox: Sandbox) -> None:
    created = (await http("dmchamp", "POST", "/contacts", {"phoneNumber": "+1234567890", "email": "a+b@c.d"})).json
    contact_id = created["data"]["contactId"]
    assert created["success"] is True
    assert contact_id.isalnum()
    assert not contact_id.isdecimal()
    assert (await http("dmchamp", "GET", "/contacts?phoneNumber=%2B1234567890")).json == {
        "success": True,
        "contactId": contact_id,
    }
    assert (await http("dmchamp", "GET", "/contacts?email=a%2Bb@c.d")).json["contactId"] == contact_id
    updated = await http("dmchamp", "PUT", f"/contacts/{contact_id}", {"firstName": "Ann", "is_bot_active": False})
    assert updated.json["success"] is True
    assert "contactId" not in updated.json
    membership = {"contactId": contact_id, "listId": "vip"}
    assert (await http("dmchamp", "POST", "/contacts/lists", membership)).status == 200
    assert sandbox.members("dmchamp", "vip") == [contact_id]
    assert (await http("dmchamp", "DELETE", "/contacts/lists", membership)).status == 200
    assert sandbox.members("dmchamp", "vip") == []
    assert (await http("dmchamp", "GET", f"/contacts/tags/{contact_id}")).json == []
    assert (await http("dmchamp", "GET", f"/contacts/messages/{contact_id}")).json == {"success": True, "data": []}
    (contact,) = sandbox.contacts("dmchamp")
    assert (contact["firstName"], contact["lastName"], contact["is_bot_active"]) == ("Ann", "Unknown", False)


async def test_dmchamp_returns_seeded_tags_and_messages(http: Http, sandbox: Sandbox) -> None:
    contact_id = sandbox.add_contact(
        "dmchamp",
        {
            "phoneNumber": "+1",
            "tags": ["new_customer, sales", {"name": "vip", "description": "pays"}],
            "messages": [{"text": "hi", "odd": [1]}],
        },
    )
    assert (await http("dmchamp", "GET", f"/contacts/tags/{contact_id}")).json == [
        {"name": "new_customer, sales"},
        {"name": "vip", "description": "pays"},
    ]
    assert (await http("dmchamp", "GET", f"/contacts/messages/{contact_id}")).json["data"] == [
        {"text": "hi", "odd": [1]}
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/contacts", None, 400),
        ("GET", "/contacts?phoneNumber=", None, 400),
        ("GET", "/contacts?phoneNumber=%2B404", None, 404),
        ("GET", "/contacts?phoneNumber=+1", None, 404),  # a raw plus in a query means a space
        ("GET", "/contacts?email=%FF", None, 400),
        ("POST", "/contacts", b"{}", 400),
        ("POST", "/contacts", b'{"phoneNumber": "+2", "is_bot_active": "yes"}', 400),
        ("POST", "/contacts", b'{"phoneNumber": "+2", "currentCampaignData": []}', 400),
        ("POST", "/contacts", b'{"phoneNumber": "+2", "email": "none"}', 400),
        ("POST", "/contacts", b'{"phoneNumber": null}', 400),
        ("PUT", "/contacts/unknown", b"{}", 404),
        ("PUT", "/contacts/lists", b"{}", 405),
        ("POST", "/contacts/lists", b'{"contactId": "x"}', 400),
        ("DELETE", "/contacts/lists", b'{"contactId": "x", "listId": "y"}', 404),
        ("GET", "/contacts/tags/unknown", None, 404),
        ("GET", "/contacts/messages/un%2Fknown", None, 404),
        ("GET", "/contacts/tags/", None, 404),
    ],
)
async def test_dmchamp_invalid_requests_get_an_error(
    http: Http, sandbox: Sandbox, method: str, path: str, body: bytes | None, status: int
) -> None:
    sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    answer = await http("dmchamp", method, path, data=body)
    assert answer.status == status
    assert ("error" in answer.json) if status == 400 else (answer.json["success"] is False)
    assert sandbox.counters.contacts["dmchamp"] == 1


async def test_dmchamp_wrong_key_or_bearer_token_gets_401(http: Http) -> None:
    wrong = await http("dmchamp", "GET", "/contacts?email=a@b.c", token="wrong")
    assert (wrong.status, wrong.json) == (401, "Unauthorized")
    bearer = {"Authorization": "Bearer sandbox-token"}
    assert (await http("dmchamp", "GET", "/contacts?email=a@b.c", token=None, headers=bearer)).status == 401


@pytest.mark.parametrize("path", ["contact", "contacts"])
async def test_callab_returns_a_seeded_contact_with_all_19_fields(http: Http, sandbox: Sandbox, path: str) -> None:
    contact_id = sandbox.add_contact("callab", {"firstname": "Ann", "last_call_duration": 12, "workspace_id": "w"})
    assert str(uuid.UUID(contact_id)) == contact_id
    answer = (await http("callab", "GET", f"/{path}/{contact_id}")).json
    assert answer["status"] == "ok"
    data = answer["data"]
    assert (data["id"], data["firstname"], data["last_call_duration"], data["notes"]) == (contact_id, "Ann", 12, None)
    assert data["workspace_id"] == "w"
    assert len(data) == 20
    assert data["created_at"].endswith("Z")


@pytest.mark.parametrize("contact_id", ["3c90c3cc-0d44-4b50-8888-8dd25736052a", "zzz", "a%2Fb", "%00"])
async def test_callab_unknown_id_gets_200_with_status_error(http: Http, contact_id: str) -> None:
    answer = await http("callab", "GET", f"/contact/{contact_id}")
    assert (answer.status, answer.json) == (200, {"status": "error", "message": "Contact not found", "data": ""})


async def test_callab_wrong_token_gets_401(http: Http) -> None:
    assert (await http("callab", "GET", "/contact/x", token="wrong")).status == 401


async def test_ids_depend_only_on_the_seed() -> None:
    made = []
    for seed in (1, 1, 2):
        async with Sandbox(seed=seed) as sandbox:
            made.append([sandbox.add_contact(vendor, {"phoneNumber": "+1"}) for vendor in ("dmchamp", "callab")])
    assert made[0] == made[1]
    assert set(made[0]).isdisjoint(made[2])


async def test_add_contacts_adds_nothing_if_one_id_is_taken(sandbox: Sandbox) -> None:
    sandbox.add_contact("aelyst", {"id": 7})
    with pytest.raises(ValueError, match="already has a contact with this id"):
        sandbox.add_contacts("aelyst", [{"id": 8}, {"id": 7}])
    assert [one["id"] for one in sandbox.contacts("aelyst")] == ["7"]
    with pytest.raises(ValueError, match="is a number"):
        sandbox.add_contact("aelyst", {"id": "seven"})
    with pytest.raises(ValueError, match="no vendor named"):
        sandbox.add_contact("hubspot", {})
