"""Aelyst's JSON: variations of real responses, and the rules for custom values."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import time as clock
from collections import deque
from collections.abc import Iterator
from datetime import date, datetime, time, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import UNSET, Phone, Tag, errors
from aelyst_providers.aelyst import AelystContact, AelystFields, Assignee, CustomField
from aelyst_providers.aelyst.custom_fields import CustomFields, encode_custom_value
from aelyst_providers.aelyst.wire import SCHEMA, read_contact, read_created, read_updated
from tests.providers.reading import answer
from tests.providers.seeds import AELYST_BODY, AELYST_CONTACT, AELYST_FIELDS

IDENTIFIER = Phone("+1")


def read(**changes: Any) -> AelystContact:
    return read_contact(answer({**AELYST_CONTACT, **changes}))


@pytest.mark.parametrize("key", [key for key in AELYST_CONTACT if key != "id"])
def test_read_contact_accepts_null_or_absent_fields(key: str) -> None:
    null = read(**{key: None})
    absent = read_contact(answer({name: value for name, value in AELYST_CONTACT.items() if name != key}))
    assert null == absent
    assert null.id == "12345"
    assert null.raw[key] is None


def test_read_contact_needs_only_an_id() -> None:
    assert read_contact(answer({"id": 1})) == AelystContact(id="1")
    nulls = dict.fromkeys(AELYST_CONTACT)
    assert read_contact(answer({**nulls, "id": 1})) == AelystContact(id="1")


@pytest.mark.parametrize(("given", "kept"), [(7, "7"), ("7", "7"), (2**70, str(2**70)), ("abc", "abc")])
def test_read_contact_accepts_string_and_int_ids(given: Any, kept: str) -> None:
    assert read(id=given).id == kept


@pytest.mark.parametrize("value", [None, "", True, 1.5, [], {}, "\ud800"])
def test_read_contact_rejects_invalid_ids(value: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError, match=r"\$\.id"):
        read(id=value)


def test_read_contact_keeps_values_unchanged() -> None:
    contact = read(firstName="Muhammad ", lastName="  ", phone="60 12", email="NOT AN ADDRESS", language="")
    assert (contact.first_name, contact.last_name, contact.phone) == ("Muhammad ", "  ", "60 12")
    assert (contact.email, contact.language) == ("NOT AN ADDRESS", "")


@pytest.mark.parametrize(
    "status", ["open", "closed", "blocked", "close", "done", "snoozed", "unsnoozed", "NEW ONE", ""]
)
def test_read_contact_accepts_any_status(status: str) -> None:
    assert read(status=status).status == status


def test_read_contact_does_not_split_tags() -> None:
    assert read(tags=["new_customer, sales", "a,b", " c "]).tags == ("new_customer, sales", "a,b", " c ")
    assert read(tags=[]).tags == ()


def test_read_contact_keeps_unknown_keys_in_raw_only() -> None:
    contact = read(locale="ms", updated_at="yesterday", raw="x", first_name="wrong", tags_v2=[1], isBlocked=True)
    assert contact.first_name == "Muhammad "
    assert contact.updated_at is None
    assert contact.is_blocked is True
    assert contact.raw["updated_at"] == "yesterday"
    assert contact.raw["raw"] == "x"


@pytest.mark.parametrize("value", ["text", 5, 1.5, True, False, None, "2024-02-30", ""])
def test_read_contact_keeps_custom_values_unchanged(value: Any) -> None:
    (field,) = read(custom_fields=[{"name": "x", "value": value}]).custom_fields
    assert field == CustomField("x", value)
    assert type(field.value) is type(value)


def test_read_contact_reads_a_missing_custom_value_as_none() -> None:
    assert read(custom_fields=[{"name": "x"}]).custom_fields == (CustomField("x", None),)


def test_read_contact_accepts_an_incomplete_assignee() -> None:
    assert read(assignee={}).assignee == Assignee()
    assert read(assignee={"id": "12", "email": None, "role": "x"}).assignee == Assignee(id=12)


@pytest.mark.parametrize(
    ("changes", "kept", "named"),
    [
        ({"firstName": 5}, {"first_name": None}, "firstName"),
        ({"email": ["a"]}, {"email": None}, "email"),
        ({"phone": 60123456789}, {"phone": None}, "phone"),
        ({"tags": "a,b"}, {"tags": ()}, "tags"),
        ({"tags": [1, "a", None, {}]}, {"tags": ("a",)}, "tags"),
        ({"tags": {}}, {"tags": ()}, "tags"),
        ({"custom_fields": [{"value": 1}, 5, {"name": "y"}]}, {"custom_fields": (CustomField("y"),)}, "custom_fields"),
        ({"custom_fields": [{"name": "x", "value": [1]}]}, {"custom_fields": (CustomField("x"),)}, "custom_fields"),
        ({"custom_fields": {}}, {"custom_fields": ()}, "custom_fields"),
        ({"created_at": "yesterday"}, {"created_at": None}, "created_at"),
        ({"created_at": "2024"}, {"created_at": None}, "created_at"),
        ({"created_at": 10**30}, {"created_at": None}, "created_at"),
        ({"created_at": [1]}, {"created_at": None}, "created_at"),
        ({"created_at": True}, {"created_at": None}, "created_at"),
        ({"isBlocked": "yes"}, {"is_blocked": None}, "isBlocked"),
        ({"isBlocked": 1}, {"is_blocked": None}, "isBlocked"),
        ({"assignee": []}, {"assignee": None}, "assignee"),
        ({"assignee": {"id": "x", "email": 5}}, {"assignee": Assignee()}, "assignee.email, assignee.id"),
        ({"status": 1}, {"status": None}, "status"),
    ],
)
def test_read_contact_drops_and_logs_malformed_fields(
    changes: dict[str, Any], kept: dict[str, Any], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "aelyst_async"):
        contact = read(**changes)
    assert contact == attrs.evolve(read(), **kept)
    assert contact.raw == {**AELYST_CONTACT, **changes}
    (record,) = caplog.records
    assert record.getMessage() == f"aelyst: fields of a contact that are not as documented, read as absent: {named}"


@pytest.mark.parametrize(
    "value",
    [
        1663274081, 1663274081.0, 1663274081000, "1663274081", "1663274081000", "2022-09-15T20:34:41Z",
        "2022-09-15T20:34:41",
    ],
)  # fmt: skip
def test_read_contact_reads_every_time_format(value: Any) -> None:
    assert read(created_at=value).created_at == datetime(2022, 9, 15, 20, 34, 41, tzinfo=timezone.utc)


def test_read_contact_drops_only_the_field_that_is_nan() -> None:
    contact = read_contact(answer(b'{"id": 1, "created_at": NaN, "firstName": "Ann", "custom_fields": [Infinity]}'))
    assert (contact.created_at, contact.first_name) == (None, "Ann")
    assert contact.raw["created_at"] is None


def test_read_contact_is_fast_for_many_malformed_elements() -> None:
    body = {**AELYST_CONTACT, "tags": [1] * 90_000, "custom_fields": [[]] * 50_000}
    response = answer(body)
    began = clock.process_time()
    assert read_contact(response).tags == ()
    assert clock.process_time() - began < 0.5


@pytest.mark.parametrize("body", [[], [AELYST_CONTACT], "text", 5, None, True])
def test_read_contact_rejects_bodies_that_are_no_object(body: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError, match="expected a JSON object"):
        read_contact(answer(body))


@pytest.mark.parametrize("code", ["200", 200, "201", None])
def test_read_created_accepts_2xx_codes(code: Any) -> None:
    receipt = read_created(answer({"code": code, "message": "ok"}, method="POST"), IDENTIFIER)
    assert (receipt.created, receipt.contact_id, receipt.message) == (True, None, "ok")


@pytest.mark.parametrize(("code", "kind"), [("400", errors.BadRequestError), (409, errors.ConflictError), ("500", errors.ServerError)])  # fmt: skip # noqa: E501
def test_write_response_with_an_error_code_in_a_200_raises(code: Any, kind: type[errors.ApiError]) -> None:
    for reader in (read_created, read_updated):
        with pytest.raises(kind) as caught:
            reader(answer({"code": code, "message": "no"}, method="POST"), IDENTIFIER)
        assert (caught.value.status, caught.value.message) == (200, "no")


@pytest.mark.parametrize("body", [{}, {"code": "ok"}, {"code": True}, {"message": 5}, [], b"", b"OK"])
def test_unreadable_create_response_may_have_been_applied(body: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError) as caught:
        read_created(answer(body, method="POST"), IDENTIFIER)
    assert caught.value.may_have_been_applied is True


@pytest.mark.parametrize(
    ("body", "contact_id"),
    [({"code": "200"}, None), ({"code": 201, "message": None}, None), ({"message": "ok", "contactId": 7}, "7")],
)
def test_read_created_needs_a_code_or_a_message(body: Any, contact_id: str | None) -> None:
    receipt = read_created(answer(body, method="POST"), IDENTIFIER)
    assert (receipt.created, receipt.contact_id, receipt.message) == (True, contact_id, body.get("message"))


@pytest.mark.parametrize(("value", "kept"), [(1, "1"), ("1", "1")])
def test_read_updated_returns_the_contact_id(value: Any, kept: str) -> None:
    receipt = read_updated(answer({"contactId": value}, method="PUT"), IDENTIFIER)
    assert (receipt.contact_id, receipt.created) == (kept, False)


@pytest.mark.parametrize("body", [{}, {"contactId": None}, {"contactId": ""}, {"contactId": [1]}, {"contactId": True}])
def test_read_updated_rejects_a_missing_contact_id(body: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError, match=r"\$\.contactId"):
        read_updated(answer(body, method="PUT"), IDENTIFIER)


# ---- writing --------------------------------------------------------------------------------------------------------


def test_encode_produces_the_documented_body() -> None:
    assert SCHEMA.encode(AELYST_FIELDS, "create") == AELYST_BODY
    assert SCHEMA.encode(AELYST_FIELDS, "update") == AELYST_BODY


def test_encode_sends_null_and_omits_unset() -> None:
    assert SCHEMA.encode(AelystFields(), "update") == {}
    fields = AelystFields(
        last_name=None, phone=None, email=None, language=None, profile_pic=None, country_code=None, custom_fields=None
    )
    assert SCHEMA.encode(fields, "update") == {
        "lastName": None, "phone": None, "email": None, "language": None, "profilePic": None, "countryCode": None,
        "custom_fields": None,
    }  # fmt: skip


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("text", '"text"'), ("", '""'), ("5", '"5"'), (None, "null"), (True, "true"), (False, "false"), (5, "5"),
        (-1, "-1"), (1.5, "1.5"), (Decimal(5), "5"), (Decimal("1.50"), "1.5"), (Decimal("1E+3"), "1000"),
        (Decimal("0.1"), "0.1"), (date(2024, 2, 29), '"2024-02-29"'), (time(13, 0), '"13:00"'), (time(0, 5), '"00:05"'),
        (Colour.RED, '"red"'), (Level.HIGH, "3"), (date(9, 1, 1), '"0009-01-01"'),
    ],
)  # fmt: skip
def test_encode_writes_custom_values_as_documented(value: Any, wire: str) -> None:
    body = SCHEMA.encode(AelystFields(custom_fields=(CustomField("x", value),)), "update")
    assert json.dumps(body) == f'{{"custom_fields": [{{"name": "x", "value": {wire}}}]}}'


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None),
        datetime(2024, 1, 1, tzinfo=timezone.utc), time(1, 2, 3), time(1, 2, 0, 5),
        time(1, 2, tzinfo=timezone.utc), float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity"), b"x", [1],
        {"a": 1}, object(), 1j, "\ud800", pytest.param(10**5000, id="huge"),
        Decimal("0.1234567890123456789"), Decimal("1E+400"),
    ],
)  # fmt: skip
def test_aelyst_fields_reject_custom_values_without_a_wire_format(value: Any) -> None:
    for fields in ({"Seats": value}, [CustomField("Seats", value)]):
        with pytest.raises(errors.UnsupportedFieldError, match="custom_fields: 'Seats': ") as caught:
            AelystFields(custom_fields=fields)
        assert isinstance(caught.value, ValueError)
        assert caught.value.__context__ is None
    CustomField("Seats", value)  # a server may send such a value, so the class accepts it


@pytest.mark.parametrize(
    "fields",
    [
        "text", b"x", 5, ({"name": "x", "value": 1},), (CustomField("", 1),), (CustomField(5, 1),),  # type: ignore[arg-type]
        (CustomField("x", 1), CustomField("x", 2)), (None,), (CustomField("\ud800", 1),), CustomField("x", 1), ["x"],
        {5: 1}, {"": 1}, {"x": CustomField("x", 1)}, {"x": {"y": 1}}, [("x", 1)], {"x", "y"}, object(),
    ],
)  # fmt: skip
def test_aelyst_fields_reject_invalid_custom_fields(fields: Any) -> None:
    with pytest.raises(errors.UnsupportedFieldError, match="custom_fields"):
        AelystFields(custom_fields=fields)
    other = AelystFields()
    object.__setattr__(other, "custom_fields", fields)
    with pytest.raises(errors.UnsupportedFieldError, match="custom_fields"):
        SCHEMA.encode(other, "update")


SEATS, PLAN = CustomField("Seats", 3), CustomField("Plan", "pro")


@pytest.mark.parametrize(
    "fields",
    [
        {"Seats": 3, "Plan": "pro"}, MappingProxyType({"Seats": 3, "Plan": "pro"}), [SEATS, PLAN], (SEATS, PLAN),
        deque([SEATS, PLAN]), iter([SEATS, PLAN]), {"a": SEATS, "b": PLAN}.values(),
    ],
)  # fmt: skip
def test_aelyst_fields_store_custom_fields_as_a_tuple(fields: Any) -> None:
    made = AelystFields(custom_fields=fields)
    assert made.custom_fields == (SEATS, PLAN)
    assert attrs.evolve(made, first_name="Ann").custom_fields == (SEATS, PLAN)
    assert hash(made) == hash(AelystFields(custom_fields=(SEATS, PLAN)))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


@pytest.mark.parametrize("kind", [set, frozenset, lambda fields: dict.fromkeys(fields).keys()])
def test_aelyst_fields_sort_custom_fields_of_a_set_by_name(kind: Any) -> None:
    names = [f"n{number}" for number in range(40)]
    made = AelystFields(custom_fields=kind(CustomField(name, 1) for name in names))
    assert made.custom_fields == tuple(CustomField(name, 1) for name in sorted(names))


def test_aelyst_fields_keep_unset_null_and_empty_custom_fields() -> None:
    assert AelystFields().custom_fields is UNSET
    assert AelystFields(custom_fields=UNSET).custom_fields is UNSET
    assert AelystFields(custom_fields=None).custom_fields is None
    empties: list[CustomFields] = [{}, (), set()]
    for empty in empties:
        assert AelystFields(custom_fields=empty).custom_fields == ()
        assert SCHEMA.encode(AelystFields(custom_fields=empty), "update") == {"custom_fields": []}


def test_aelyst_fields_raise_the_error_of_an_iterator() -> None:
    def broken() -> Iterator[CustomField]:
        yield SEATS
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        AelystFields(custom_fields=broken())


def test_custom_field_and_tag_take_positional_arguments() -> None:
    assert CustomField("Seats", 3) == CustomField(name="Seats", value=3)
    assert CustomField("Seats") == CustomField("Seats", None)
    assert Tag("vip") == Tag(name="vip", description=None)
    assert Tag("vip", "pays on time").description == "pays on time"


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.dates(),
        st.times(),
        st.decimals(),
        st.datetimes(),
        st.none(),
        st.binary(),
    )
)
def test_encode_custom_value_returns_json_or_raises_value_error(value: Any) -> None:
    try:
        encoded = encode_custom_value(value)
    except ValueError:
        return
    written = json.loads(json.dumps(encoded, allow_nan=False, ensure_ascii=False).encode())
    assert written == encoded
    if isinstance(value, Decimal):
        assert Decimal(repr(written)) == value
    if isinstance(value, time):
        assert time.fromisoformat(written) == value
    if isinstance(value, date):
        assert date.fromisoformat(written) == value


def test_encode_error_names_all_invalid_fields() -> None:
    fields = AelystFields(first_name=None, last_name=5, email=b"x", profile_pic=object())  # type: ignore[arg-type]
    with pytest.raises(errors.UnsupportedFieldError) as caught:
        SCHEMA.encode(fields, "create")
    for name in ("first_name", "last_name", "email", "profile_pic"):
        assert name in str(caught.value)
    assert {problem.field for problem in SCHEMA.problems(fields, "create")} == {
        "first_name", "last_name", "email", "profile_pic",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"phone": "012"}, "phone: expected + and digits with the country code"),
        ({"language": "german"}, "language: expected a language code of ISO 639-1"),
        ({"country_code": "Malaysia"}, "country_code: expected a country code of ISO 3166-1"),
        ({"email": "ann"}, "email: expected an e-mail address"),
    ],
)
def test_encode_applies_the_value_rules_of_tables(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.UnsupportedFieldError) as refusal:
        SCHEMA.encode(AelystFields(first_name="A", **fields), "create")
    assert words in str(refusal.value)
    assert "german" not in str(refusal.value), "the message contains no personal data"


def test_encode_normalizes_values_as_tables_do() -> None:
    fields = AelystFields(first_name="A", phone="+44 (0)20 7946 0958", language="MS", country_code="my")
    assert SCHEMA.encode(fields, "create") == {
        "firstName": "A", "phone": "+442079460958", "language": "ms", "countryCode": "MY"
    }  # fmt: skip
