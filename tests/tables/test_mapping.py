"""Columns become fields: by our names, the vendor's, a mapping; the misfits are named before the first row."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.sync import MappingError
from aelyst_async.tables import Mapped, Mapper, Problem, schema_of
from aelyst_providers.aelyst import AelystFields, AelystGateway, CustomField
from aelyst_providers.dmchamp import DmChampGateway
from tests.sync.fakes import FakeGateway

AELYST = AelystGateway.schema
DMCHAMP = DmChampGateway.schema


def read(mapper: Mapper, columns: str, *cells: Any) -> Mapped:
    mapped = mapper.read(tuple(columns.split(",")), list(cells))
    assert isinstance(mapped, Mapped), mapped
    return mapped


def problems(mapper: Mapper, columns: str, *cells: Any) -> list[Problem]:
    found = mapper.read(tuple(columns.split(",")), list(cells))
    assert isinstance(found, list), found
    return found


@pytest.mark.parametrize("columns", ["email,first_name,phone", "email,firstName,phone", "Email,First Name,PHONE"])
def test_names_of_columns(columns: str) -> None:
    mapper = Mapper(AELYST)
    mapped = read(mapper, columns, "Ann@Example.com", "Ann ", "+60 12-3456789")
    assert mapper.fields(mapped.values) == AelystFields(
        email="Ann@Example.com", first_name="Ann ", phone="+60123456789"
    )
    assert mapped.key == "email:ann@example.com"
    assert str(mapper.identifier(mapped.values)) == "email:Ann@Example.com"


def test_custom_fields_with_types_and_colons() -> None:
    mapper = Mapper(AELYST)
    columns = "email,custom_fields.Age:number,custom_fields.Note,custom_fields.A:b:text,custom_fields.Ratio 1:2"
    mapped = read(mapper, columns, "a@b.co", "41", "41", "x", "y")
    assert mapper.fields(mapped.values).custom_fields == (  # type: ignore[attr-defined]
        CustomField("A:b", "x"),
        CustomField("Age", 41),
        CustomField("Note", "41"),
        CustomField("Ratio 1:2", "y"),
    )


def test_records_nest_their_custom_fields() -> None:
    mapper = Mapper(AELYST)
    one = mapper.read(None, {"email": "a@b.co", "custom_fields": {"Age:x": 41, "Vip": True}})
    two = mapper.read(
        None, {"custom_fields": [{"name": "Vip", "value": True}, {"name": "Age:x", "value": 41}], "email": "a@b.co"}
    )
    assert isinstance(one, Mapped)
    assert isinstance(two, Mapped)
    assert one.hash == two.hash, "the order of keys is no change"
    assert mapper.fields(one.values) == AelystFields(
        email="a@b.co", custom_fields=(CustomField("Age:x", 41), CustomField("Vip", True))
    )


def test_the_hash_tells_values_types_and_fields_apart() -> None:
    mapper = Mapper(AELYST)
    base: dict[str, Any] = {"email": "a@b.co", "first_name": "Ann"}
    variants: list[dict[str, Any]] = [
        base,
        {**base, "first_name": "Ann "},
        {**base, "last_name": None},
        {"email": "a@b.co", "last_name": "Ann"},
        {**base, "custom_fields": {"A": 1}},
        {**base, "custom_fields": {"A": "1"}},
        {**base, "custom_fields": {"A": True}},
    ]
    hashes = []
    for variant in variants:
        mapped = mapper.read(None, variant)
        assert isinstance(mapped, Mapped)
        hashes.append(mapped.hash)
    assert len(set(hashes)) == len(variants)


def test_empty_cells() -> None:
    skip, clear = Mapper(AELYST), Mapper(AELYST, empty="clear")
    assert skip.fields(read(skip, "email,last_name", "a@b.co", " ").values).last_name is UNSET
    assert clear.fields(read(clear, "email,last_name", "a@b.co", " ").values).last_name is None
    assert problems(clear, "email,first_name", "a@b.co", "") == [
        Problem("first_name", "null", "first_name cannot be cleared")
    ]


def test_null_in_a_record_clears_and_absent_keeps() -> None:
    mapper = Mapper(AELYST)
    mapped = mapper.read(None, {"email": "a@b.co", "last_name": None, "custom_fields": None})
    assert isinstance(mapped, Mapped)
    assert dict(mapper.fields(mapped.values).given()) == {"email": "a@b.co", "last_name": None, "custom_fields": None}


def test_all_problems_of_a_row_with_their_columns() -> None:
    mapper = Mapper(AELYST, mapping=["E-Mail=email"])
    found = problems(mapper, "E-Mail,phone,language,countryCode", "ann", "12", "Malay", "XX")
    assert {(problem.column, problem.rule) for problem in found} == {
        ("E-Mail", "email"), ("phone", "phone"), ("language", "language"), ("countryCode", "country")
    }  # fmt: skip
    [missing] = problems(mapper, "E-Mail,phone", "", "")
    assert (missing.column, missing.rule) == ("E-Mail", "required")


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ("email,Fav Colour", {}, r"'Fav Colour' is no field of aelyst"),
        ("email,frist_name", {}, r"did you mean first_name"),
        ("email,status", {}, r"'status': aelyst shows status but takes no changes"),
        ("email,isBlocked", {}, r"shows isBlocked"),
        ("email,first_name,firstName", {}, r"'first_name' and 'firstName' both mean first_name"),
        ("email,custom_fields.A,custom_fields.A:number", {}, r"both mean custom_fields.A"),
        ("email,custom_fields.", {}, r"has no name"),
        ("email,custom_fields.A:nubmer", {}, r"'nubmer' is no type"),
        ("email,custom_fields", {}, None),
        ("first_name", {}, r"no column for the key 'email'"),
        ("email,x", {"mapping": {"Y": "first_name"}}, r"no column 'Y'"),
        ("email,x", {"mapping": ["x"]}, r"expected COLUMN=FIELD"),
        ("email,x", {"mapping": {"x": "nope"}}, r"'x' is mapped to 'nope'"),
        ("email", {"key": "id"}, r"the key is email or phone"),
        ("email", {"empty": "maybe"}, r"skip or to clear"),
    ],
)
def test_misfits(columns: str, options: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert problems(Mapper(AELYST), columns, "a@b.co", "x")[0].rule == "custom_fields"
        return
    with pytest.raises(MappingError, match=words) as refusal:
        Mapper(AELYST, **options).plan(columns.split(","))
    assert "\n" not in str(refusal.value)


def test_mappings_leave_out_rename_and_split_at_the_right_equals_sign() -> None:
    mapper = Mapper(AELYST, mapping=["a=b=first_name", "Junk=", "Mail=email"])
    mapped = read(mapper, "a=b,Junk,Mail", "Ann", "x", "a@b.co")
    assert mapped.values == [("email", "a@b.co"), ("first_name", "Ann")]


def test_a_callable_maps_rows_to_fields() -> None:
    mapper = Mapper(AELYST, mapping=lambda row: {"email": row["mail"], "first_name": row["name"].title()})
    assert read(mapper, "mail,name", "a@b.co", "ann").values == [("email", "a@b.co"), ("first_name", "Ann")]
    fields = Mapper(AELYST, mapping=lambda row: ContactFields(email=row["mail"], first_name="A"))
    assert isinstance(fields.read(("mail",), ["a@b.co"]), Mapped)
    custom = AelystFields(email="a@b.co", first_name="A", custom_fields=(CustomField("Age", 4),))
    mapped = Mapper(AELYST, mapping=lambda _: custom).read(("mail",), ["x"])
    assert isinstance(mapped, Mapped)
    assert Mapper(AELYST).fields(mapped.values) == custom
    nothing = Mapper(AELYST, mapping=lambda _: None)
    [problem] = problems(nothing, "mail", "x")
    assert problem.rule == "mapping"
    [problem] = problems(Mapper(AELYST, mapping=lambda row: {"email": row["nope"]}), "mail", "x")
    assert problem.message == "the mapping raised KeyError: 'nope'"


def test_an_unknown_key_in_a_later_record_is_the_rows_fault() -> None:
    mapper = Mapper(AELYST)
    found = mapper.read(None, {"email": "a@b.co", "foo": 1})
    assert isinstance(found, list)
    assert found[0].rule == "unknown"
    with pytest.raises(MappingError, match="foo"):
        mapper.check_first({"email": "a@b.co", "foo": 1})


@pytest.mark.parametrize("custom", ["x", [1], {"A": {"nested": 1}}, [{"name": 5}], [{"name": "A"}, {"name": "A"}]])
def test_custom_fields_of_a_wrong_shape(custom: Any) -> None:
    found = Mapper(AELYST).read(None, {"email": "a@b.co", "custom_fields": custom})
    assert isinstance(found, list)
    assert found


def test_another_vendors_schema() -> None:
    mapper = Mapper(DMCHAMP, key="phone")
    mapped = read(
        mapper, "phoneNumber,firstName,do_not_disturb,currentCampaignData", "+60123456789", "A", "no", '{"a":1}'
    )
    assert dict(mapped.values)["do_not_disturb"] is False
    assert mapped.key == "phone:+60123456789"
    with pytest.raises(MappingError, match="no custom fields"):
        mapper.plan(["phone", "custom_fields.A"])


def test_a_gateway_without_a_schema_has_the_common_fields() -> None:
    schema = schema_of(FakeGateway())
    assert [rule.name for rule in schema.rules] == ["first_name", "last_name", "phone", "email"]
    assert schema.provider == "fake"
