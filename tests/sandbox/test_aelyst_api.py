"""The rest of Aelyst's API, with requests as other clients send them: bare pluses, arrays in DELETE bodies, slugs."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.sandbox import Sandbox
from tests.sandbox.plain_http import Http

ANN: dict[str, Any] = {"firstName": "Ann", "email": "a+b@c.d", "phone": "+60123"}


@pytest.fixture
def ann(sandbox: Sandbox) -> int:
    return int(sandbox.add_contact("aelyst", ANN))


EVERY = ["email:a+b@c.d", "phone:+60123", "email:a%2Bb@c.d", "phone:%2B60123"]


@pytest.mark.parametrize("identifier", EVERY)
async def test_every_route_accepts_an_identifier_with_a_bare_plus(http: Http, ann: int, identifier: str) -> None:
    done = {"contactId": ann}
    assert (await http("aelyst", "POST", f"/contact/{identifier}/tag", ["vip", "a, b"])).json == done
    assert (await http("aelyst", "DELETE", f"/contact/{identifier}/tag", ["vip"])).json == done
    stage = await http("aelyst", "POST", f"/contact/{identifier}/lifecycle/update", {"name": "Hot Lead"})
    assert (stage.status, stage.json["code"]) == (200, 200)
    shown = (await http("aelyst", "GET", f"/contact/{identifier}")).json
    assert (shown["tags"], shown["lifecycle"]) == (["a, b"], "Hot Lead")
    await http("aelyst", "POST", f"/contact/{identifier}/lifecycle/update", {"name": None})
    assert (await http("aelyst", "GET", f"/contact/{identifier}")).json["lifecycle"] is None
    upserted = await http("aelyst", "POST", f"/contact/create_or_update/{identifier}", {"firstName": "B"})
    assert upserted.json == done
    channels = await http("aelyst", "GET", f"/contact/{identifier}/channels?limit=100")
    assert channels.json == {"items": [], "pagination": {"next": "", "previous": ""}}
    assert (await http("aelyst", "DELETE", f"/contact/{identifier}")).json == done
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/channels")):
        assert (await http("aelyst", method, f"/contact/{identifier}{path}")).status == 404


async def test_create_or_update_creates_once_and_then_updates(http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.visible_after": 60})
    path = "/contact/create_or_update/phone:+60123"
    first = await http("aelyst", "POST", path, {"firstName": "Ann", "custom_fields": [{"name": "Seats", "value": 1}]})
    second = await http("aelyst", "POST", path, {"lastName": "Lee", "custom_fields": [{"name": "Town", "value": "KL"}]})
    assert first.json == second.json  # also while the contact is not visible yet
    [contact] = sandbox.contacts("aelyst")
    assert (contact["firstName"], contact["lastName"], contact["phone"]) == ("Ann", "Lee", "+60123")
    assert [item["name"] for item in contact["custom_fields"]] == ["Seats", "Town"]
    assert (
        await http("aelyst", "POST", "/contact/create_or_update/email:x@y.z", {"lastName": "No name"})
    ).status == 400
    assert (await http("aelyst", "POST", "/contact/create_or_update/id:999", ANN)).status == 404


async def test_list_returns_all_contacts_over_the_next_links(http: Http, sandbox: Sandbox) -> None:
    made = sandbox.add_contacts("aelyst", [{"email": f"p{number}@x.com"} for number in range(25)])
    seen: list[str] = []
    query = "limit=10"
    while query:
        answer = await http(
            "aelyst", "POST", f"/contact/list?{query}", {"search": "", "timezone": "utc", "filter": {"$or": []}}
        )
        assert answer.status == 200
        seen += [str(item["id"]) for item in answer.json["items"]]
        link = answer.json["pagination"]["next"]
        assert not link or link.startswith("https://api.aelyst.ai/contact/list?limit=10&cursorId=")
        query = link.partition("?")[2]
    assert seen == made
    assert len((await http("aelyst", "POST", "/contact/list", {"filter": {"$and": []}})).json["items"]) == 10
    assert len((await http("aelyst", "POST", "/contact/list?limit=99&cursorId=", {})).json["items"]) == 25


async def test_list_continues_at_the_cursor_after_deletes(http: Http, sandbox: Sandbox) -> None:
    made = sandbox.add_contacts("aelyst", [{"email": f"p{number}@x.com"} for number in range(6)])
    first = (await http("aelyst", "POST", "/contact/list?limit=2", {})).json
    for one in made[:3]:
        assert (await http("aelyst", "DELETE", f"/contact/id:{one}")).status == 200
    query = first["pagination"]["next"].partition("?")[2]
    rest = (await http("aelyst", "POST", f"/contact/list?{query}", {})).json
    assert [str(item["id"]) for item in rest["items"]] == made[3:5]


def condition(field: str | None, operator: Any, value: Any, category: str = "contactField") -> dict[str, Any]:
    return {"category": category, "field": field, "operator": operator, "value": value}


PEOPLE: list[dict[str, Any]] = [
    {"firstName": "Ann", "email": "ann@x.com", "tags": ["vip", "a"], "created_at": 1_700_000_000,
     "custom_fields": [{"name": "Seats", "value": 3}, {"name": "Born", "value": "2000-01-02"}]},
    {"firstName": "Bob", "email": "bob@y.com", "tags": ["a"], "phone": "+601", "created_at": 1_600_000_000,
     "assignee": {"id": 7}, "custom_fields": [{"name": "Agreed", "value": True}, {"name": "Seats", "value": 10}]},
    {"firstName": "Cid", "email": None, "tags": None, "created_at": 1_500_000_000, "custom_fields": None},
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"$and": [condition("email", "contains", "@X.com")]}, ["Ann"]),
        ({"$and": [condition(None, "hasAnyOf", ["vip", "b"], "contactTag")]}, ["Ann"]),
        ({"$and": [condition(None, "hasAllOf", ["vip", "a"], "contactTag")]}, ["Ann"]),
        ({"$and": [condition(None, "hasNoneOf", ["vip"], "contactTag")]}, ["Bob", "Cid"]),
        ({"$and": [condition("firstName", "isEqualTo", "Bob")]}, ["Bob"]),
        ({"$and": [condition("firstName", "isNotEqualTo", "Bob")]}, ["Ann", "Cid"]),
        ({"$and": [condition("Agreed", "isEqualTo", "true")]}, ["Bob"]),
        ({"$and": [condition("assigneeUserId", "isEqualTo", "7")]}, ["Bob"]),
        ({"$and": [condition("email", "exists", None)]}, ["Ann", "Bob"]),
        ({"$and": [condition("email", "doesNotExist", None)]}, ["Cid"]),
        ({"$and": [condition("Seats", "isGreaterThan", "3")]}, ["Bob"]),
        ({"$and": [condition("Seats", "isLessThan", "10")]}, ["Ann"]),
        ({"$and": [condition("Seats", "isBetween", {"from": "3", "to": "10"})]}, ["Ann", "Bob"]),
        ({"$and": [condition("created_at", "isTimestampAfter", "2022-01-01")]}, ["Ann"]),
        ({"$and": [condition("created_at", "isTimestampBefore", "2018-01-01T00:00:00+00:00")]}, ["Cid"]),
        ({"$and": [condition("Born", "isTimestampBetween", {"from": "2000-01-01", "to": "2000-01-02"})]}, ["Ann"]),
        (
            {"$or": [condition("firstName", "isEqualTo", "Cid"), condition(None, "hasAnyOf", ["vip"], "contactTag")]},
            ["Ann", "Cid"],
        ),
        (
            {"$and": [condition("firstName", "isEqualTo", "Ann"), condition("email", "doesNotExist", None)]},
            [],
        ),
        ({"$or": []}, ["Ann", "Bob", "Cid"]),
        ({"$and": []}, ["Ann", "Bob", "Cid"]),
    ],
)
async def test_list_applies_the_filter(http: Http, sandbox: Sandbox, spec: dict[str, Any], found: list[str]) -> None:
    sandbox.add_contacts("aelyst", PEOPLE)
    answer = await http("aelyst", "POST", "/contact/list", {"search": "", "timezone": "UTC", "filter": spec})
    assert [item["firstName"] for item in answer.json["items"]] == found


@pytest.mark.parametrize(
    ("search", "found"),
    [("ANN", ["Ann"]), ("y.com", ["Bob"]), ("+601", ["Bob"]), ("zzz", []), (None, ["Ann", "Bob", "Cid"])],
)
async def test_list_searches_names_emails_and_phones(
    http: Http, sandbox: Sandbox, search: Any, found: list[str]
) -> None:
    sandbox.add_contacts("aelyst", PEOPLE)
    answer = await http(
        "aelyst", "POST", "/contact/list", {"search": search, "timezone": "UTC", "filter": {"$and": []}}
    )
    assert [item["firstName"] for item in answer.json["items"]] == found


async def test_merge_keeps_the_older_contact_in_any_order(http: Http, sandbox: Sandbox) -> None:
    older = int(
        sandbox.add_contact(
            "aelyst", {"firstName": "Ann", "tags": ["a"], "custom_fields": [{"name": "Seats", "value": 1}]}
        )
    )
    newer = int(
        sandbox.add_contact(
            "aelyst",
            {
                "firstName": "Other", "email": "a@b.c", "tags": ["b", "a"],
                "custom_fields": [{"name": "Seats", "value": 2}, {"name": "Town", "value": "KL"}],
            },
        )
    )  # fmt: skip
    answer = await http("aelyst", "POST", "/contact/merge", {"contactIds": [newer, older], "lastName": "Lee"})
    assert answer.json == {"contactId": older}
    [contact] = sandbox.contacts("aelyst")
    assert (contact["id"], contact["firstName"], contact["lastName"]) == (str(older), "Ann", "Lee")
    assert (contact["email"], contact["tags"]) == ("a@b.c", ["a", "b"])
    assert {item["name"]: item["value"] for item in contact["custom_fields"]} == {"Seats": 1, "Town": "KL"}
    assert str((await http("aelyst", "GET", "/contact/email:a@b.c")).json["id"]) == str(older)
    assert (await http("aelyst", "POST", "/contact/merge", {"contactIds": [newer, older]})).status == 404


async def test_custom_fields_are_created_paged_and_set_by_name_or_slug(http: Http, sandbox: Sandbox) -> None:
    tier = {"name": "Tier", "slug": "tier", "dataType": "list", "allowedValues": ["Gold", "Silver"], "description": "x"}
    made = (await http("aelyst", "POST", "/space/custom_field", tier)).json
    assert {**tier, "id": made["id"]} == made
    await http(
        "aelyst", "POST", "/space/custom_field", {"name": "Born", "dataType": "date", "allowedValues": [], "slug": ""}
    )
    first = (await http("aelyst", "GET", "/space/custom_field?limit=1")).json
    assert [item["name"] for item in first["items"]] == ["Tier"]
    query = first["pagination"]["next"].partition("?")[2]
    second = (await http("aelyst", "GET", f"/space/custom_field?{query}")).json
    assert ([item["name"] for item in second["items"]], second["pagination"]["next"]) == (["Born"], "")
    assert (await http("aelyst", "GET", f"/space/custom_field/{made['id']}")).json == made
    assert (await http("aelyst", "GET", "/space/custom_field/999")).json["message"] == "Custom field not found"
    assert (await http("aelyst", "POST", "/space/custom_field", tier)).status == 409
    body = {
        "firstName": "Ann",
        "custom_fields": [{"name": "tier", "value": "Gold"}, {"name": "Born", "value": "2000-01-02"}],
    }
    assert (await http("aelyst", "POST", "/contact/email:a@b.c", body)).status == 200
    shown = (await http("aelyst", "GET", "/contact/email:a@b.c")).json["custom_fields"]
    assert shown == [{"name": "Tier", "value": "Gold"}, {"name": "Born", "value": "2000-01-02"}]


TYPES: list[tuple[str, list[Any], list[Any]]] = [
    ("list", ["Gold", None, ""], ["gold", 5, True]),
    ("number", [3, 1.5, None], ["3", True]),
    ("checkbox", [True, False], ["true", 1]),
    ("date", ["2024-02-29"], ["2024-02-30", "29.02.2024", "20240229", 5]),
    ("time", ["13:00"], ["13", "25:00", "1:00", "13:00:00"]),
    ("text", ["x"], [5]),
]


@pytest.mark.parametrize(("kind", "right", "wrong"), TYPES)
async def test_custom_values_must_match_their_definition(
    http: Http, ann: int, kind: str, right: list[Any], wrong: list[Any]
) -> None:
    field = {"name": "X", "dataType": kind, "allowedValues": ["Gold"] if kind == "list" else None}
    assert (await http("aelyst", "POST", "/space/custom_field", field)).status == 200
    for values, status in ((right, 200), (wrong, 400)):
        for value in values:
            body = {"custom_fields": [{"name": "X", "value": value}]}
            assert (await http("aelyst", "PUT", f"/contact/id:{ann}", body)).status == status, value


REFUSED: list[tuple[str, str, Any, int]] = [
    ("POST", "/contact/id:1/tag", [], 400),
    ("POST", "/contact/id:1/tag", {"tags": ["a"]}, 400),
    ("POST", "/contact/id:1/tag", "a", 400),
    ("POST", "/contact/id:1/tag", ["a", "a"], 400),
    ("POST", "/contact/id:1/tag", [str(number) for number in range(11)], 400),
    ("POST", "/contact/id:1/tag", ["x" * 256], 400),
    ("DELETE", "/contact/id:1/tag", None, 400),
    ("DELETE", "/contact/id:1/tag", ["a"], 404),
    ("GET", "/contact/id:1/tag", None, 405),
    ("POST", "/contact/id:1/lifecycle/update", {}, 400),
    ("POST", "/contact/id:1/lifecycle/update", {"name": 5}, 400),
    ("POST", "/contact/id:1/lifecycle/update", {"name": None}, 404),
    ("GET", "/contact/id:1/channels?limit=0", None, 400),
    ("GET", "/contact/id:1/channels", None, 404),
    ("GET", "/contact/list", None, 405),
    ("POST", "/contact/list?limit=100", {}, 400),
    ("POST", "/contact/list?limit=x", {}, 400),
    ("POST", "/contact/list?cursorId=-1", {}, 400),
    ("POST", "/contact/list?cursorId=%D9%A3", {}, 400),
    ("POST", "/contact/list", [], 400),
    ("POST", "/contact/list", {"search": 5}, 400),
    ("POST", "/contact/list", {"timezone": None}, 400),
    ("POST", "/contact/list", {"filter": []}, 400),
    ("POST", "/contact/list", {"filter": {}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [], "$or": []}}, 400),
    ("POST", "/contact/list", {"filter": {"$not": []}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": {}}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [5]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition("email", "like", "x")]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition("email", "isEqualTo", None)]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition(None, "isEqualTo", "x")]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition(None, "hasAnyOf", "vip", "contactTag")]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition("Seats", "isBetween", {"from": "x", "to": "1"})]}}, 400),
    ("POST", "/contact/list", {"filter": {"$and": [condition("Seats", [], "1")]}}, 400),
    ("POST", "/contact/merge", {}, 400),
    ("POST", "/contact/merge", {"contactIds": [1]}, 400),
    ("POST", "/contact/merge", {"contactIds": [1, 1]}, 400),
    ("POST", "/contact/merge", {"contactIds": ["1", "2"]}, 400),
    ("POST", "/contact/merge", {"contactIds": [1, True]}, 400),
    ("POST", "/contact/merge", {"contactIds": [1, 2]}, 404),
    ("POST", "/contact/create_or_update/ann", {"firstName": "Ann"}, 400),
    ("POST", "/contact/create_or_update/email:a@b.c", [], 400),
    ("GET", "/contact/create_or_update/email:a@b.c", None, 405),
    ("POST", "/space/custom_field", {}, 400),
    ("POST", "/space/custom_field", {"name": "X", "dataType": "colour"}, 400),
    ("POST", "/space/custom_field", {"name": "X", "dataType": "list"}, 400),
    ("POST", "/space/custom_field", {"name": "X", "dataType": "text", "slug": 5}, 400),
    ("POST", "/space/custom_field", {"name": "X", "dataType": "list", "allowedValues": [1]}, 400),
    ("DELETE", "/space/custom_field", None, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
async def test_bad_requests_get_an_error_with_code_and_message(
    http: Http, sandbox: Sandbox, method: str, path: str, body: Any, status: int
) -> None:
    answer = await http("aelyst", method, path, body)
    assert (answer.status, answer.json["code"]) == (status, status)
    assert isinstance(answer.json["message"], str)
    assert sandbox.contacts("aelyst") == []


async def test_delete_updates_the_duplicate_count_and_frees_no_id(http: Http, sandbox: Sandbox) -> None:
    for _ in range(2):
        sandbox.add_contact("aelyst", {"email": "twin@x.com"})
    assert sandbox.counters.duplicates["aelyst"] == 1
    await http("aelyst", "DELETE", "/contact/email:twin@x.com")
    assert (sandbox.counters.duplicates["aelyst"], len(sandbox.contacts("aelyst"))) == (0, 1)
    made = int(sandbox.contacts("aelyst")[0]["id"])
    assert int(sandbox.add_contact("aelyst", {"email": "new@x.com"})) > made  # ids are never reused


async def test_reset_removes_definitions_and_restore_brings_them_back(http: Http, sandbox: Sandbox) -> None:
    await http("aelyst", "POST", "/space/custom_field", {"name": "Born", "dataType": "date"})
    sandbox.snapshot("with")
    sandbox.reset()
    assert (await http("aelyst", "GET", "/space/custom_field")).json["items"] == []
    sandbox.restore("with")
    assert [item["name"] for item in (await http("aelyst", "GET", "/space/custom_field")).json["items"]] == ["Born"]
