"""Each value of each switch has its effect on the wire, and the table is complete."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime

import pytest

from aelyst_async.sandbox import Sandbox
from aelyst_async.sandbox.account import all_behaviours
from tests.sandbox.plain_http import Http

Check = Callable[[Http, Sandbox, str], Awaitable[object]]
"""Returns one comparable observation of the effect of a switch value."""

ANN = {"firstName": "Ann"}


async def _aelyst_put_missing(http: Http, sandbox: Sandbox, _: str) -> object:
    status = (await http("aelyst", "PUT", "/contact/email:new@b.c", ANN)).status
    return status, len(sandbox.contacts("aelyst"))


async def _aelyst_create_existing(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    status = (await http("aelyst", "POST", "/contact/email:a@b.c", ANN)).status
    return status, len(sandbox.contacts("aelyst"))


async def _put_first_name(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    return (await http("aelyst", "PUT", "/contact/email:a@b.c", {"lastName": "B"})).status


async def _create_or_update(http: Http, sandbox: Sandbox, _: str) -> object:
    status = (await http("aelyst", "POST", "/contact/create_or_update/email:a@b.c", ANN)).status
    return status, len(sandbox.contacts("aelyst"))


async def _tags_of_contact(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("aelyst", {"email": "a@b.c", "tags": [str(number) for number in range(10)]})
    status = (await http("aelyst", "POST", "/contact/email:a@b.c/tag", ["one more"])).status
    return status, len(sandbox.contacts("aelyst")[0]["tags"])


async def _contains(http: Http, _: Sandbox, __: str) -> object:
    condition = {"category": "contactField", "field": "email", "operator": "contains", "value": "@"}
    return (await http("aelyst", "POST", "/contact/list", {"filter": {"$and": [condition]}})).status


async def _last_page(http: Http, _: Sandbox, __: str) -> object:
    return (await http("aelyst", "POST", "/contact/list", {"filter": {"$or": []}})).json["pagination"]


TIER = {"name": "Tier", "dataType": "list", "allowedValues": ["Gold"]}


async def _custom_field_list(http: Http, _: Sandbox, __: str) -> object:
    await http("aelyst", "POST", "/space/custom_field", TIER)
    return type((await http("aelyst", "GET", "/space/custom_field")).json).__name__


async def _allowed_values(http: Http, _: Sandbox, __: str) -> object:
    await http("aelyst", "POST", "/space/custom_field", TIER)
    return (await http("aelyst", "GET", "/space/custom_field")).json["items"][0]["allowedValues"]


async def _unknown_custom_fields(http: Http, sandbox: Sandbox, _: str) -> object:
    await http("aelyst", "POST", "/space/custom_field", TIER)
    values = [{"name": "Tier", "value": "Gold"}, {"name": "Town", "value": "KL"}]
    status = (await http("aelyst", "POST", "/contact/email:a@b.c", {**ANN, "custom_fields": values})).status
    return status, [item["name"] for one in sandbox.contacts("aelyst") for item in one["custom_fields"]]


async def _custom_fields(http: Http, sandbox: Sandbox, _: str) -> object:
    kept = [{"name": "Age", "value": 5}]
    sandbox.add_contact("aelyst", {"email": "a@b.c", "custom_fields": kept})
    await http("aelyst", "PUT", "/contact/email:a@b.c", {"custom_fields": [{"name": "Town", "value": "KL"}]})
    return [field["name"] for field in sandbox.contacts("aelyst")[0]["custom_fields"]]


async def _aelyst_unknown_fields(http: Http, sandbox: Sandbox, _: str) -> object:
    status = (await http("aelyst", "POST", "/contact/email:a@b.c", {**ANN, "shoeSize": "9"})).status
    return status, [("shoeSize" in one) for one in sandbox.contacts("aelyst")]


async def _bare_identifier(http: Http, _: Sandbox, __: str) -> object:
    return (await http("aelyst", "GET", "/contact/ann")).status


async def _email_case(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("aelyst", {"email": "Ann@b.c"})
    statuses = [(await http("aelyst", "GET", f"/contact/email:{one}@b.c")).status for one in ("ann", "Ann")]
    return tuple(statuses)


async def _id_form(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    return type((await http("aelyst", "GET", "/contact/email:a@b.c")).json["id"]).__name__


async def _invisible_as(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.assume(visible_after=60)
    await http("aelyst", "POST", "/contact/email:a@b.c", ANN)
    early = (await http("aelyst", "GET", "/contact/email:a@b.c")).status
    sandbox.advance(60)
    return early, (await http("aelyst", "GET", "/contact/email:a@b.c")).status


async def _dmchamp_create_existing(http: Http, sandbox: Sandbox, _: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    answer = await http("dmchamp", "POST", "/contacts", {"phoneNumber": "+1"})
    body = answer.json
    same = body.get("data", {}).get("contactId") == contact_id
    return answer.status, len(sandbox.contacts("dmchamp")), body.get("error_code"), same


async def _dmchamp_put_missing(http: Http, sandbox: Sandbox, _: str) -> object:
    status = (await http("dmchamp", "PUT", "/contacts/new", ANN)).status
    return status, [one["id"] for one in sandbox.contacts("dmchamp")]


async def _id_field(http: Http, sandbox: Sandbox, value: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    answer = (await http("dmchamp", "GET", "/contacts?phoneNumber=%2B1")).json
    created = (await http("dmchamp", "POST", "/contacts", {"phoneNumber": "+2"})).json
    path = value.split(".")
    found, new = answer, created if value != "contactId" else created["data"]
    for step in path:
        found, new = found[step], new[step]
    return found == contact_id and new == sandbox.contacts("dmchamp")[1]["id"]


async def _get_answer(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.add_contact("dmchamp", {"phoneNumber": "+1", "firstName": "Ann"})
    return "firstName" in (await http("dmchamp", "GET", "/contacts?phoneNumber=%2B1")).json


async def _tags_answer(http: Http, sandbox: Sandbox, _: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1", "tags": ["vip"]})
    return type((await http("dmchamp", "GET", f"/contacts/tags/{contact_id}")).json).__name__


async def _messages_answer(http: Http, sandbox: Sandbox, _: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    return type((await http("dmchamp", "GET", f"/contacts/messages/{contact_id}")).json).__name__


async def _bad_request_body(http: Http, _: Sandbox, __: str) -> object:
    return type((await http("dmchamp", "POST", "/contacts", {})).json).__name__


async def _dmchamp_unauthorized(http: Http, _: Sandbox, __: str) -> object:
    return (await http("dmchamp", "GET", "/contacts?email=a@b.c", token="no")).status


async def _dmchamp_unknown_fields(http: Http, sandbox: Sandbox, _: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    status = (await http("dmchamp", "PUT", f"/contacts/{contact_id}", {"phoneNumber": "+2"})).status
    return status, sandbox.contacts("dmchamp")[0]["phoneNumber"]


async def _remove_not_listed(http: Http, sandbox: Sandbox, _: str) -> object:
    contact_id = sandbox.add_contact("dmchamp", {"phoneNumber": "+1"})
    return (await http("dmchamp", "DELETE", "/contacts/lists", {"contactId": contact_id, "listId": "x"})).status


async def _error_status(http: Http, _: Sandbox, __: str) -> object:
    return (await http("callab", "GET", "/contact/none")).status


async def _callab_unauthorized(http: Http, _: Sandbox, __: str) -> object:
    answer = await http("callab", "GET", "/contact/none", token="no")
    return answer.status, answer.json["status"]


async def _path(http: Http, sandbox: Sandbox, _: str) -> object:
    one = sandbox.add_contact("callab", {})
    return tuple([(await http("callab", "GET", f"/{path}/{one}")).status for path in ("contact", "contacts")])


async def _timestamps(http: Http, sandbox: Sandbox, _: str) -> object:
    one = sandbox.add_contact("callab", {})
    return (await http("callab", "GET", f"/contact/{one}")).json["data"]["created_at"][-1] == "Z"


# --- switches of every vendor, tested with Aelyst; a test below checks that all vendors have them ------------------


async def _statuses(http: Http, count: int, path: str = "/contact/id:1", method: str = "GET") -> list[int]:
    return [(await http("aelyst", method, path)).status for _ in range(count)]


async def _quota(http: Http, _: Sandbox, __: str) -> object:
    return (await _statuses(http, 4)).count(429)


async def _quota_scope(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.assume({"aelyst.quota": "2/h"})
    statuses = await _statuses(http, 2)
    other_path = await _statuses(http, 1, "/contact/id:2")
    other_endpoint = await _statuses(http, 1, "/contact/id:1", "PUT")
    return statuses, other_path == [429], other_endpoint == [429]


async def _quota_window(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.clock.freeze()
    # 6 calls late in a window: the number of calls allowed right after its end differs for each rule.
    sandbox.clock.advance(100 - sandbox.clock.now() % 100)
    sandbox.assume({"aelyst.quota": "6/100s"})
    sandbox.advance(98)
    assert (await _statuses(http, 7)).count(404) == 6
    sandbox.advance(20)
    return (await _statuses(http, 6)).count(404)


async def _refused_count(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.clock.freeze()
    sandbox.assume({"aelyst.quota": "2/10s", "aelyst.quota_window": "sliding"})
    await _statuses(http, 2)
    sandbox.advance(6)
    await _statuses(http, 2)
    sandbox.advance(6)
    return (await _statuses(http, 1))[0]


async def _quota_headers(http: Http, sandbox: Sandbox, _: str) -> object:
    sandbox.assume({"aelyst.quota": "1/h"})
    answers = [await http("aelyst", "GET", "/contact/id:1") for _ in range(2)]
    assert [answer.status for answer in answers] == [404, 429]
    return tuple(answer.headers.get("X-RateLimit-Limit") for answer in answers)


async def _retry_after(http: Http, sandbox: Sandbox, value: str) -> object:
    sandbox.clock.freeze()
    sandbox.clock.advance(100.5 - sandbox.clock.now() % 100)
    sandbox.assume({"aelyst.quota": "1/100s"})
    await _statuses(http, 1)
    text = (await http("aelyst", "GET", "/contact/id:1")).headers.get("Retry-After")
    if value == "date" and text:
        return parsedate_to_datetime(text).timestamp() - sandbox.clock.now()
    return None if text is None else round(float(text), 2)


async def _visible_after(http: Http, sandbox: Sandbox, _: str) -> object:
    await http("aelyst", "POST", "/contact/email:a@b.c", ANN)
    at_once = (await _statuses(http, 1, "/contact/email:a@b.c"))[0]
    sandbox.advance(4)
    before = (await _statuses(http, 1, "/contact/email:a@b.c"))[0]
    sandbox.advance(1)
    return at_once, before, (await _statuses(http, 1, "/contact/email:a@b.c"))[0]


TABLE: dict[str, tuple[Check, dict[str, object]]] = {
    "aelyst.put_missing": (_aelyst_put_missing, {"404": (404, 0), "400": (400, 0), "200": (200, 1)}),
    "aelyst.create_existing": (_aelyst_create_existing, {"duplicate": (200, 2), "400": (400, 1), "409": (409, 1)}),
    "aelyst.put_first_name": (_put_first_name, {"optional": 200, "required": 400}),
    "aelyst.custom_fields": (_custom_fields, {"merge": ["Age", "Town"], "replace": ["Town"]}),
    "aelyst.unknown_fields": (_aelyst_unknown_fields, {"ignore": (200, [False]), "400": (400, [])}),
    "aelyst.bare_identifier": (_bare_identifier, {"400": 400, "404": 404}),
    "aelyst.email_case": (_email_case, {"any": (200, 200), "exact": (404, 200)}),
    "aelyst.id_form": (_id_form, {"number": "int", "text": "str"}),
    "aelyst.invisible_as": (_invisible_as, {"404": (404, 200), "449": (449, 200)}),
    "aelyst.create_or_update": (_create_or_update, {"200": (200, 1), "404": (404, 0), "405": (405, 0)}),
    "aelyst.tags_of_contact": (_tags_of_contact, {"any": (200, 11), "10": (400, 10)}),
    "aelyst.contains": (_contains, {"yes": 200, "400": 400}),
    "aelyst.last_page": (
        _last_page,
        {"empty": {"next": "", "previous": ""}, "null": {"next": None, "previous": None}, "absent": {}},
    ),
    "aelyst.custom_field_list": (_custom_field_list, {"page": "dict", "array": "list"}),
    "aelyst.allowed_values": (_allowed_values, {"array": ["Gold"], "object": {"listValues": ["Gold"]}}),
    "aelyst.unknown_custom_fields": (
        _unknown_custom_fields,
        {"keep": (200, ["Tier", "Town"]), "400": (400, []), "ignore": (200, ["Tier"])},
    ),
    "dmchamp.create_existing": (
        _dmchamp_create_existing,
        {
            "existing": (200, 1, None, True),
            "duplicate": (200, 2, None, False),
            "400": (400, 1, None, False),
            "409": (409, 1, None, False),
            "200": (200, 1, 409, False),
        },
    ),
    "dmchamp.put_missing": (_dmchamp_put_missing, {"404": (404, []), "400": (400, []), "200": (200, ["new"])}),
    "dmchamp.id_field": (
        _id_field,
        dict.fromkeys(["contactId", "contact_id", "contact.id", "id", "_id", "data.contactId"], True),
    ),
    "dmchamp.get_answer": (_get_answer, {"id": False, "contact": True}),
    "dmchamp.tags_answer": (_tags_answer, {"array": "list", "envelope": "dict"}),
    "dmchamp.messages_answer": (_messages_answer, {"envelope": "dict", "array": "list"}),
    "dmchamp.bad_request_body": (_bad_request_body, {"object": "dict", "string": "str"}),
    "dmchamp.unauthorized": (_dmchamp_unauthorized, {"401": 401, "403": 403}),
    "dmchamp.unknown_fields": (_dmchamp_unknown_fields, {"ignore": (200, "+1"), "400": (400, "+1")}),
    "dmchamp.remove_not_listed": (_remove_not_listed, {"200": 200, "404": 404}),
    "callab.error_status": (_error_status, {"200": 200, "404": 404}),
    "callab.unauthorized": (_callab_unauthorized, {"401": (401, "error"), "200": (200, "error")}),
    "callab.path": (_path, {"both": (200, 200), "contact": (200, 404), "contacts": (404, 200)}),
    "callab.timestamps": (_timestamps, {"zone": True, "naive": False}),
    "quota": (_quota, {"none": 0, "3/h": 1, "1/60min": 3}),
    "quota_scope": (
        _quota_scope,
        {
            "endpoint": ([404, 404], True, False),
            "path": ([404, 404], False, False),
            "account": ([404, 404], True, True),
        },
    ),
    # 20 s later: a new window allows all 6, the sliding window none, and the bucket has refilled 20/100 of 6.
    "quota_window": (_quota_window, {"fixed": 6, "sliding": 0, "token": 1}),
    "refused_count": (_refused_count, {"no": 404, "yes": 429}),
    "quota_headers": (_quota_headers, {"all": ("1", "1"), "429": (None, "1"), "none": (None, None)}),
    "retry_after": (_retry_after, {"seconds": 100.0, "decimal": 99.5, "date": 99.5, "absent": None}),
    "visible_after": (_visible_after, {"0": (200, 200, 200), "5": (404, 404, 200)}),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, values) in TABLE.items() for value in values])
async def test_switch_value_has_its_effect_on_the_wire(http: Http, sandbox: Sandbox, name: str, value: str) -> None:
    check, expected = TABLE[name]
    sandbox.assume({name: value})
    assert await check(http, sandbox, value) == expected[value]


def vendor_of(name: str) -> str:
    return name.partition(".")[0]


def test_every_switch_value_has_a_check() -> None:
    for behaviour in all_behaviours():
        if behaviour.switch:
            vendor, bare = vendor_of(behaviour.name), behaviour.name.partition(".")[2]
            _, tested = TABLE.get(behaviour.name) or TABLE[bare]
            assert behaviour.parse or set(behaviour.values) == set(tested), behaviour.name
            assert behaviour.basis == "assumed"
            assert vendor in {"aelyst", "dmchamp", "callab"}
            assert behaviour.check(behaviour.default) == behaviour.default
        else:
            assert behaviour.basis == "assumed" or behaviour.url, f"{behaviour.name} is documented: on which page?"
        assert behaviour.source
        assert not behaviour.url or re.fullmatch(
            rf"https://[a-z]+\.{vendor_of(behaviour.name)}\.[a-z]+/\S*", behaviour.url
        )
        # A source that mentions a vendor page has its URL.
        assert behaviour.url or not re.search(r"^page|\bpage (says|lists|marks|shows)", behaviour.source), (
            behaviour.name
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"put_nothing": 1}, "no switch 'put_nothing'"),
        ({"aelyst.put_missing": "maybe"}, "not one of 404, 400, 200"),
        ({"quota": "fast"}, "not a quota"),
        ({"visible_after": "-1"}, "not seconds"),
        ({"visible_after": "nan"}, "not seconds"),
        ({"aelyst.errors": "x"}, "documented and cannot be set"),
        ({"put_missing": None}, "not a value"),
    ],
)
def test_assume_with_an_invalid_switch_changes_nothing(changes: dict[str, object], reason: str) -> None:
    sandbox = Sandbox()
    before = sandbox.settings.values()
    with pytest.raises(ValueError, match=reason):
        sandbox.assume({"aelyst.id_form": "text", **changes})
    assert sandbox.settings.values() == before


def test_assume_with_a_bare_name_sets_the_switch_of_every_vendor() -> None:
    sandbox = Sandbox()
    assert sandbox.assume(put_missing=400) == {"aelyst.put_missing": "400", "dmchamp.put_missing": "400"}
