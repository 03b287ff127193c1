"""The models: they are frozen, and a field is a value, None or UNSET."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timezone
from typing import Any

import attrs
import pytest

from aelyst_async import UNSET, Contact, ContactFields, Message, Tag, WriteReceipt, parse_identifier
from aelyst_async.contacts import Unset
from aelyst_providers.aelyst import AelystContact, AelystFields, Assignee, CustomField
from aelyst_providers.callab import CallabContact
from aelyst_providers.dmchamp import DmChampContact, DmChampFields

CLASSES = [
    Contact, ContactFields, Message, Tag, WriteReceipt, AelystContact, AelystFields, Assignee, CustomField,
    CallabContact, DmChampContact, DmChampFields,
]  # fmt: skip

IDENTIFIER = parse_identifier("id:1")

INSTANCES = [
    Contact(id="1", tags=("a, b",), created_at=datetime(2024, 1, 1, tzinfo=timezone.utc), raw={"id": 1}),
    ContactFields(first_name=None, phone="+1"),
    Message(id="m", raw=[1]),
    Tag("vip", "pays"),
    WriteReceipt(identifier=IDENTIFIER, contact_id="1", raw={}),
    AelystContact(id="1", custom_fields=(CustomField("x", 1.5),), assignee=Assignee(id=1)),
    AelystFields(custom_fields=(CustomField("x", None),)),
    CallabContact(id="1", metadata={"a": [1]}),
    DmChampContact(id="1", current_campaign_data={"a": 1}),
    DmChampFields(current_campaign_data={"a": 1}),
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_models_are_slotted_and_frozen(kind: Any) -> None:
    assert "__slots__" in vars(kind)
    assert not hasattr(kind, "__dict__") or "__dict__" not in kind.__slots__
    for attribute in attrs.fields(kind):
        assert attribute.kw_only or (kind in {Tag, CustomField} and attribute.name in {"name", "description", "value"})


@pytest.mark.parametrize("value", INSTANCES, ids=lambda value: type(value).__name__)
def test_models_are_immutable_hashable_and_picklable(value: Any) -> None:
    first = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, first, "other")
    assert not hasattr(value, "__dict__")
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert hash(value) == hash(copy.copy(value))


def test_only_tag_and_custom_field_take_positional_arguments() -> None:
    assert Tag("vip", "d") == Tag(name="vip", description="d")
    assert Tag("vip").description is None
    assert CustomField("a", 1) == CustomField(name="a", value=1)
    with pytest.raises(TypeError):
        Contact("1")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        AelystFields("x")  # type: ignore[call-arg]


def test_raw_is_excluded_from_repr_and_equality() -> None:
    assert Contact(id="1", raw={"secret": 1}) == Contact(id="1")
    assert "secret" not in repr(Contact(id="1", raw={"secret": 1}))
    assert "secret" not in repr(WriteReceipt(identifier=IDENTIFIER, raw="secret")) + repr(Message(raw="secret"))


def test_unset_is_a_falsy_singleton_that_survives_pickle_and_copy() -> None:
    assert not UNSET
    assert UNSET is not None
    assert repr(UNSET) == "UNSET"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(UNSET, protocol)) is UNSET
    assert copy.deepcopy(UNSET) is UNSET
    assert copy.copy(UNSET) is UNSET
    assert isinstance(UNSET, Unset)


def test_given_yields_none_but_not_unset() -> None:
    assert list(ContactFields().given()) == []
    fields = AelystFields(email=None, first_name="", language="ms")
    assert list(fields.given()) == [("first_name", ""), ("email", None), ("language", "ms")]


def test_every_field_is_unset_by_default() -> None:
    for kind in (ContactFields, AelystFields, DmChampFields):
        assert all(getattr(kind(), attribute.name) is UNSET for attribute in attrs.fields(kind))


def test_contacts_offer_vendor_names_as_aliases() -> None:
    contact = CallabContact(id="1", first_name="A", last_name="B", phone="+1")
    assert (contact.firstname, contact.lastname, contact.phone_number) == ("A", "B", "+1")
    assert DmChampContact(id="1", phone="+1").phone_number == "+1"
