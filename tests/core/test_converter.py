"""`make_converter`: every model can be written as JSON and read back."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelyst_async import UNSET, Contact, ContactFields, ContactId, Email, Message, Phone, Tag, WriteReceipt, errors
from aelyst_async.converter import make_converter
from aelyst_providers.aelyst import AelystContact, AelystFields, Assignee, CustomField, CustomFieldDefinition
from aelyst_providers.callab import CallabContact
from aelyst_providers.dmchamp import DmChampContact, DmChampFields

NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)

MODELS: list[Any] = [
    Contact(id="1"),
    Contact(id="1", first_name="Ann", tags=("a, b", "c"), created_at=NOON),
    AelystContact(
        id="1", custom_fields=(CustomField("Seats", 3), CustomField("Plan", None), CustomField("VIP", True)),
        assignee=Assignee(id=7, email="x@example.com"), is_blocked=False,
    ),
    CallabContact(id="c", metadata={"a": [1, {"b": None}]}, last_call_duration=1.5, last_call_at=NOON),
    DmChampContact(id="d", current_campaign_data={"x": 1}, is_bot_active=True),
    Tag("vip", "pays"),
    Message(id="m", text="hello", created_at=NOON),
    ContactFields(),
    ContactFields(first_name="Ann", last_name=None),
    AelystFields(email="a@example.com", custom_fields={"Seats": 3}, language=None),
    DmChampFields(is_bot_active=False, current_campaign_data=None),
    WriteReceipt(identifier=Email("a@example.com"), created=None, not_applied=("phone",)),
    WriteReceipt(identifier=Phone("+60123456789"), contact_id="9"),
    WriteReceipt(identifier=ContactId("9")),
]  # fmt: skip


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe = st.none() | texts
moments = st.none() | st.datetimes(timezones=st.just(timezone.utc))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5)
identifiers = st.sampled_from([Email("a@example.com"), Phone("+60123456789"), ContactId("9")])
unset = st.just(UNSET)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "id": texts, "first_name": maybe, "last_name": maybe, "phone": maybe, "email": maybe,
    "tags": st.lists(texts).map(tuple), "created_at": moments, "updated_at": moments,
}  # fmt: skip
FIELDS = dict.fromkeys(("first_name", "last_name", "phone", "email"), unset | maybe)
customs = st.lists(st.builds(CustomField, texts.filter(bool), scalars), unique_by=lambda one: one.name).map(tuple)
BUILT: dict[Any, st.SearchStrategy[Any]] = {
    Contact: st.builds(Contact, **COMMON),
    AelystContact: st.builds(
        AelystContact, **COMMON, language=maybe, profile_pic=maybe, country_code=maybe, status=maybe, lifecycle=maybe,
        custom_fields=customs, is_blocked=st.none() | st.booleans(),
        assignee=st.none() | st.builds(Assignee, id=st.none() | st.integers(), first_name=maybe, email=maybe),
    ),
    CallabContact: st.builds(
        CallabContact, **COMMON, metadata=st.none() | st.dictionaries(texts, json_values), last_call_at=moments
    ),
    DmChampContact: st.builds(
        DmChampContact, **COMMON, current_campaign_data=st.none() | st.dictionaries(texts, json_values),
        is_bot_active=st.none() | st.booleans(),
    ),
    ContactFields: st.builds(ContactFields, **FIELDS),
    AelystFields: st.builds(AelystFields, **FIELDS, language=unset | maybe, custom_fields=unset | st.none() | customs),
    DmChampFields: st.builds(DmChampFields, **FIELDS, is_bot_active=unset | st.booleans()),
    CustomFieldDefinition: st.builds(
        CustomFieldDefinition, name=texts, id=maybe, slug=maybe, description=maybe, data_type=texts,
        options=st.lists(texts).map(tuple),
    ),
    Tag: st.builds(Tag, texts, maybe),
    Message: st.builds(Message, id=maybe, text=maybe, direction=maybe, created_at=moments),
    WriteReceipt: st.builds(
        WriteReceipt, identifier=identifiers, contact_id=maybe, created=st.none() | st.booleans(), message=maybe,
        not_applied=st.lists(texts).map(tuple),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BUILT, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(st.data())
def test_generated_models_survive_a_json_round_trip(kind: Any, data: st.DataObject) -> None:
    model = data.draw(BUILT[kind])
    converter = make_converter()
    assert converter.structure(json.loads(json.dumps(converter.unstructure(model))), kind) == model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_example_models_survive_a_json_round_trip(model: Any) -> None:
    converter = make_converter()
    stored = json.loads(json.dumps(converter.unstructure(model)))
    assert converter.structure(stored, type(model)) == model


def test_unstructure_omits_raw_and_unset_but_keeps_none() -> None:
    converter = make_converter()
    assert "raw" not in converter.unstructure(Contact(id="1", raw={"secret": 1}))
    assert converter.unstructure(ContactFields(first_name=None)) == {"first_name": None}
    assert converter.structure({}, ContactFields).first_name is UNSET


def test_unstructure_writes_dates_as_strings_and_decimals_as_numbers() -> None:
    converter = make_converter()
    assert converter.unstructure(WriteReceipt(identifier=Email("a@example.com")))["identifier"] == "email:a@example.com"
    assert converter.unstructure(Contact(id="1", created_at=NOON))["created_at"] == "2026-11-27T12:00:00+00:00"
    fields = AelystFields(custom_fields={"Born": date(1990, 5, 1), "Price": Decimal("1.5"), "Seats": Decimal(3)})
    assert [one["value"] for one in converter.unstructure(fields)["custom_fields"]] == ["1990-05-01", 1.5, 3]


def test_structure_rejects_invalid_identifiers() -> None:
    with pytest.raises(BaseException) as caught:
        make_converter().structure({"identifier": "nobody"}, WriteReceipt)
    inner = getattr(caught.value, "exceptions", [caught.value])
    assert any(isinstance(error, errors.InvalidIdentifierError) for error in inner)
