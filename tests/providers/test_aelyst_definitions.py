"""Typed custom fields: definitions from the API, decoding and encoding of values, and rejected values."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import UNSET, errors
from aelyst_async.schema import ContactSchema
from aelyst_providers.aelyst import AelystFields, CustomField, CustomFieldDefinition
from tests.doubles import Answer, ScriptedSession, scripted
from tests.providers.conftest import make
from tests.virtual_time import virtual

TIER = CustomFieldDefinition(name="Tier", slug="tier", data_type="list", options=("Gold", "Silver"))
DEFINITIONS = (
    TIER,
    CustomFieldDefinition(name="Company", data_type="text"),
    CustomFieldDefinition(name="Seats", slug="seats", data_type="number"),
    CustomFieldDefinition(name="Agreed", data_type="checkbox"),
    CustomFieldDefinition(name="Born", data_type="date"),
    CustomFieldDefinition(name="Call at", data_type="time"),
    CustomFieldDefinition(name="Mail", data_type="email"),
    CustomFieldDefinition(name="Site", data_type="url"),
    CustomFieldDefinition(name="New kind", data_type="colour"),
)
BY_NAME = {one.name: one for one in DEFINITIONS}


def play(script: Any, **settings: Any) -> tuple[ScriptedSession, Any]:
    session, lent = scripted(script)
    return session, make("aelyst", session=lent, base_url="http://127.0.0.1:9", **settings)


DOCUMENTED = {"id": 1, "name": "Tier", "description": "", "dataType": "list", "allowedValues": ["Gold", "Silver"]}
RESPONDIO_FORM = {
    "id": "2", "slug": "tier", "name": "Tier", "dataType": "list", "allowedValues": {"listValues": ["Gold", "Silver"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "definition"),
    [
        (DOCUMENTED, attrs.evolve(TIER, id="1", slug=None, description="")),
        (RESPONDIO_FORM, attrs.evolve(TIER, id="2")),
        ({"name": "X"}, CustomFieldDefinition(name="X")),
        (
            {"id": [1], "name": "X", "slug": 5, "description": None, "dataType": None, "allowedValues": None},
            CustomFieldDefinition(name="X"),
        ),
        (
            {"name": "X", "dataType": "colour", "allowedValues": [1, "a"]},
            CustomFieldDefinition(name="X", data_type="colour", options=("a",)),
        ),
        ({"name": "X", "allowedValues": {"listValues": None}}, CustomFieldDefinition(name="X")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bare", [False, True])
@virtual
async def test_custom_fields_reads_every_documented_form(
    item: Any, definition: CustomFieldDefinition, bare: bool
) -> None:
    items = [item, {"id": 3}, 5, {"name": ""}]  # definitions without a name are ignored
    session, gateway = play([Answer(200, items if bare else {"items": items, "pagination": {"next": ""}})])
    [found] = await gateway.custom_fields()
    assert found == definition
    assert found.raw == item
    assert session.sent[0].url == "http://127.0.0.1:9/space/custom_field?limit=99"


@virtual
async def test_custom_fields_reads_all_pages_and_stops_at_a_repeated_cursor() -> None:
    def page(name: str, cursor: int | None) -> Answer:
        following = None if cursor is None else f"https://evil.example/space/custom_field?cursorId={cursor}"
        return Answer(200, {"items": [{"name": name}], "pagination": {"next": following}})

    session, gateway = play([page("A", 5), page("B", None)])
    assert [one.name for one in await gateway.custom_fields()] == ["A", "B"]
    assert session.sent[1].url == "http://127.0.0.1:9/space/custom_field?limit=99&cursorId=5"
    session, gateway = play([page("A", 5), page("B", 5)])
    assert [one.name for one in await gateway.custom_fields()] == ["A", "B"]


@pytest.mark.parametrize("body", [{}, {"items": {}}, "x", 5, None])
@virtual
async def test_custom_fields_rejects_responses_without_an_array(body: Any) -> None:
    _, gateway = play([Answer(200, body)])
    with pytest.raises(errors.ResponseDecodeError, match=r"\$\.items"):
        await gateway.custom_fields()


@pytest.mark.parametrize(
    ("name", "wire", "value"),
    [
        ("Seats", 3, 3), ("Seats", 1.5, Decimal("1.5")), ("Seats", "3", 3), ("Seats", " 0.10 ", Decimal("0.10")),
        ("Seats", 2**60, 2**60), ("Agreed", True, True), ("Agreed", "TRUE", True), ("Agreed", "false", False),
        ("Born", "2024-02-29", date(2024, 2, 29)), ("Call at", "13:00", time(13)), ("Tier", "Gold", "Gold"),
        ("Tier", "no option any more", "no option any more"), ("Company", "3", "3"), ("New kind", "x", "x"),
        # Values that do not match the type of their field stay unchanged.
        ("Seats", "many", "many"), ("Seats", "nan", "nan"), ("Seats", "", ""), ("Seats", True, True),
        ("Agreed", "yes", "yes"),
        ("Agreed", 1, 1), ("Born", "2024-02-30", "2024-02-30"), ("Born", "20240229", "20240229"), ("Born", 5, 5),
        ("Call at", "25:00", "25:00"), ("Call at", "1300", "1300"), ("Undefined", "2024-02-29", "2024-02-29"),
        ("Seats", None, None), ("Born", None, None),
    ],
)  # fmt: skip
@virtual
async def test_value_is_decoded_by_its_definition(name: str, wire: Any, value: Any) -> None:
    _, gateway = play([Answer(200, {"id": 1, "custom_fields": [{"name": name, "value": wire}]})])
    plain = await gateway.get("id:1")
    assert plain.custom_fields == (CustomField(name, wire),)
    [field] = (await gateway.with_custom_fields(DEFINITIONS).get("id:1")).custom_fields
    assert (field.name, field.value, type(field.value)) == (name, value, type(value))


@virtual
async def test_listed_contacts_have_typed_values() -> None:
    items = [{"id": 1, "custom_fields": [{"name": "Born", "value": "2024-02-29"}]}]
    _, gateway = play([Answer(200, {"items": items})])
    [contact] = [one async for one in gateway.with_custom_fields(DEFINITIONS).contacts()]
    assert contact.custom_fields == (CustomField("Born", date(2024, 2, 29)),)


@pytest.mark.parametrize(
    ("fields", "wire"),
    [
        ({"Seats": Decimal("1.5"), "Agreed": False}, {"Seats": 1.5, "Agreed": False}),
        ({"seats": 3}, {"Seats": 3}),  # by its slug
        ({"Born": date(2024, 2, 29), "Call at": time(13)}, {"Born": "2024-02-29", "Call at": "13:00"}),
        ({"Born": "2024-02-29", "Call at": "13:00"}, {"Born": "2024-02-29", "Call at": "13:00"}),
        ({"Tier": "Gold", "Mail": "a@b.c", "Site": "b.c"}, {"Tier": "Gold", "Mail": "a@b.c", "Site": "b.c"}),
        ({"New kind": 5}, {"New kind": 5}),
        (dict.fromkeys(BY_NAME), dict.fromkeys(BY_NAME)),
    ],
)
@virtual
async def test_value_is_encoded_by_its_definition(fields: dict[str, Any], wire: dict[str, Any]) -> None:
    session, gateway = play([Answer(200, {"contactId": 1})])
    await gateway.with_custom_fields(DEFINITIONS).update("id:1", AelystFields(custom_fields=fields))
    assert session.sent[0].json == {"custom_fields": [{"name": name, "value": value} for name, value in wire.items()]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"Seat": 3}, "there is no custom field 'Seat'; did you mean 'Seats'"),
    ({"zzz": 3}, "there is no custom field 'zzz'; there are 'Agreed', 'Born'"),
    ({"Tier": "gold"}, "'Tier': 'gold' is not an option; did you mean 'Gold'"),
    ({"Tier": "Bronze"}, "'Bronze' is not an option; there are 'Gold', 'Silver'"),
    ({"Tier": 5}, "'Tier': expected text, got int"),
    ({"Seats": "3"}, "'Seats': expected a number, got str"),
    ({"Seats": True}, "'Seats': expected a number, got bool"),
    ({"Agreed": "yes"}, "'Agreed': expected True or False"),
    ({"Agreed": 1}, "'Agreed': expected True or False"),
    ({"Born": "29.02.2024"}, "not a date of the form yyyy-mm-dd"),
    ({"Born": "2024-02-30"}, "not a date of the form yyyy-mm-dd"),
    ({"Born": time(1)}, "'Born': expected a date, got time"),
    ({"Call at": "1 pm"}, "not a time of the form HH:MM"),
    ({"Call at": date(2024, 1, 1)}, "'Call at': expected a time, got date"),
    ({"Mail": "nobody"}, "'Mail': expected an e-mail address"),
    ({"Company": 3}, "'Company': expected text, got int"),
    ({"Seats": 1, "seats": 2}, "'Seats' is given twice"),
]


@pytest.mark.parametrize(("fields", "words"), WRONG)
@virtual
async def test_value_of_the_wrong_type_raises_before_anything_is_sent(fields: dict[str, Any], words: str) -> None:
    session, gateway = play([Answer(200, {"contactId": 1})])
    typed = gateway.with_custom_fields(DEFINITIONS)
    given = AelystFields(first_name="Ann", custom_fields=fields)
    for call in (typed.update, typed.upsert):
        with pytest.raises(errors.UnsupportedFieldError, match=words):
            await call("id:1", given)
    with pytest.raises(errors.UnsupportedFieldError, match=words):
        await typed.create(given, identifier="email:a@b.c")
    assert session.sent == []
    await gateway.update("id:1", given)  # the gateway itself is unchanged


def test_with_custom_fields_view_shares_the_limiter_and_keeps_its_schema() -> None:
    _, gateway = play([Answer(200)])
    typed = gateway.with_custom_fields(iter(DEFINITIONS))
    assert typed.limiter is gateway.limiter
    schema = typed.schema
    assert isinstance(schema, ContactSchema)
    assert typed.with_retry(typed._retry).schema is schema
    assert typed.with_custom_fields([]).schema.rule("custom_fields").items == {}
    assert gateway.schema.rule("custom_fields").items is None


@pytest.mark.parametrize("definitions", [["Seats"], [{"name": "Seats"}], 5, None, TIER])
def test_with_custom_fields_rejects_other_types(definitions: Any) -> None:
    _, gateway = play([Answer(200)])
    with pytest.raises(errors.ConfigurationError, match="expected CustomFieldDefinition objects"):
        gateway.with_custom_fields(definitions if definitions is not TIER else "Tier")


numbers = st.integers(-(10**15), 10**15) | st.decimals(-1000, 1000, allow_nan=False, places=3)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Tier": st.sampled_from(TIER.options),
    "Company": st.text(st.characters(exclude_categories=["Cs"])),
    "Seats": numbers,
    "Agreed": st.booleans(),
    "Born": st.dates(),
    "Call at": st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
    "Mail": st.just("ann@example.com"),
    "Site": st.just("www.example.com"),
}


@pytest.mark.parametrize("name", VALUES)
@given(st.data())
def test_value_survives_encode_and_decode(name: str, data: st.DataObject) -> None:
    value = data.draw(st.none() | VALUES[name])
    definition = BY_NAME[name]
    again = definition.decode(definition.encode(value))
    assert again == value
    assert isinstance(again, bool) is isinstance(value, bool)
    assert not isinstance(again, float)


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["nan", "1e999999999", "٣"])
    )
)
def test_decode_never_raises(value: Any) -> None:
    for definition in DEFINITIONS:
        definition.decode(value)


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates(), st.times(),
        st.datetimes(), st.decimals(), st.lists(st.integers()), st.just(UNSET),
    )
)  # fmt: skip
def test_encode_returns_json_or_raises_value_error(value: Any) -> None:
    for definition in DEFINITIONS:
        try:
            wire = definition.encode(value)
        except ValueError:
            continue
        assert wire is None or isinstance(wire, (str, int, float, bool))
        assert not isinstance(value, datetime)
