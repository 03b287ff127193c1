"""`Mapper`: maps columns to fields by name or mapping, and reports an unusable header before the first row."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.tables import Mapped, Mapper, MappingError, Problem, schema_of
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
def test_columns_match_in_every_spelling_of_a_field(columns: str) -> None:
    mapper = Mapper(AELYST)
    mapped = read(mapper, columns, "Ann@Example.com", "Ann ", "+60 12-3456789")
    assert mapper.fields(mapped.values) == AelystFields(
        email="Ann@Example.com", first_name="Ann ", phone="+60123456789"
    )
    assert mapped.key == "email:ann@example.com"
    assert str(mapper.identifier(mapped.values)) == "email:Ann@Example.com"


def test_custom_field_columns_may_have_types_and_colons() -> None:
    mapper = Mapper(AELYST)
    columns = "email,custom_fields.Age:number,custom_fields.Note,custom_fields.A:b:text,custom_fields.Ratio 1:2"
    mapped = read(mapper, columns, "a@b.co", "41", "41", "x", "y")
    assert mapper.fields(mapped.values).custom_fields == (  # type: ignore[attr-defined]
        CustomField("A:b", "x"),
        CustomField("Age", 41),
        CustomField("Note", "41"),
        CustomField("Ratio 1:2", "y"),
    )


def test_records_have_nested_custom_fields() -> None:
    mapper = Mapper(AELYST)
    one = mapper.read(None, {"email": "a@b.co", "custom_fields": {"Age:x": 41, "Vip": True}})
    two = mapper.read(
        None, {"custom_fields": [{"name": "Vip", "value": True}, {"name": "Age:x", "value": 41}], "email": "a@b.co"}
    )
    assert isinstance(one, Mapped)
    assert isinstance(two, Mapped)
    assert one.hash == two.hash, "the order of keys does not change the hash"
    assert mapper.fields(one.values) == AelystFields(
        email="a@b.co", custom_fields=(CustomField("Age:x", 41), CustomField("Vip", True))
    )


def test_row_hash_depends_on_values_types_and_fields() -> None:
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


def test_empty_cells_are_skipped_or_cleared() -> None:
    skip, clear = Mapper(AELYST), Mapper(AELYST, empty="clear")
    assert skip.fields(read(skip, "email,last_name", "a@b.co", " ").values).last_name is UNSET
    assert clear.fields(read(clear, "email,last_name", "a@b.co", " ").values).last_name is None
    assert problems(clear, "email,first_name", "a@b.co", "") == [
        Problem("first_name", "null", "first_name cannot be cleared")
    ]


def test_null_in_a_record_clears_and_a_missing_key_keeps() -> None:
    mapper = Mapper(AELYST)
    mapped = mapper.read(None, {"email": "a@b.co", "last_name": None, "custom_fields": None})
    assert isinstance(mapped, Mapped)
    assert dict(mapper.fields(mapped.values).given()) == {"email": "a@b.co", "last_name": None, "custom_fields": None}


def test_row_reports_all_problems_with_their_columns() -> None:
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
        (
            "email,Fav Colour",
            {},
            r"column 'Fav Colour' is no field of aelyst.*--map 'Fav Colour=FIELD'.*--ignore-unknown",
        ),
        ("email,frist_name", {}, r"did you mean first_name"),
        ("email,status", {}, r"'status': aelyst shows status but takes no changes"),
        ("email,isBlocked", {}, r"shows isBlocked"),
        ("email,first_name,firstName", {}, r"'first_name' and 'firstName' both mean first_name"),
        ("email,custom_fields.A,custom_fields.A:number", {}, r"both mean custom_fields.A"),
        ("email,custom_fields.", {}, r"has no name"),
        ("email,custom_fields.A:nubmer", {}, r"'nubmer' is not a type"),
        ("email,custom_fields", {}, None),
        ("first_name", {}, r"no column for the key 'email'"),
        ("email,x", {"mapping": {"Y": "first_name"}}, r"names a column 'Y', which is not there"),
        ("email,x", {"mapping": ["x"]}, r"expected COLUMN=FIELD"),
        ("email,x", {"mapping": {"x": "nope"}}, r"'x' is mapped to 'nope'"),
        ("email", {"key": "id"}, r"the key must be email, phone"),
        ("email", {"key": "email,email"}, r"the key must be email, phone"),
        ("email,x", {"mapping": {"x": "custom_fields.A:date(%Q)"}}, r"date format"),
        ("email,x", {"mapping": {"x": "email:upper(3)"}}, r"upper\(3\) is not a transform"),
        ("email,x", {"constants": {"language": "german"}}, r"the constant 'language': .*not a language"),
        ("email", {"empty": "maybe"}, r"must be skip or clear"),
    ],
)
def test_invalid_headers_and_options_raise_mapping_error(
    columns: str, options: dict[str, Any], words: str | None
) -> None:
    if words is None:
        assert problems(Mapper(AELYST), columns, "a@b.co", "x")[0].rule == "custom_fields"
        return
    with pytest.raises(MappingError, match=words) as refusal:
        Mapper(AELYST, **options).plan(columns.split(","))
    assert "\n" not in str(refusal.value)


def test_mappings_split_at_the_right_equals_sign() -> None:
    mapper = Mapper(AELYST, mapping=["a=b=first_name", "Junk=", "Mail=email"])
    mapped = read(mapper, "a=b,Junk,Mail", "Ann", "x", "a@b.co")
    assert mapped.values == [("email", "a@b.co"), ("first_name", "Ann")]


def test_callable_mapping_maps_rows_to_fields() -> None:
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


def test_unknown_key_in_a_later_record_fails_its_row() -> None:
    mapper = Mapper(AELYST)
    found = mapper.read(None, {"email": "a@b.co", "foo": 1})
    assert isinstance(found, list)
    assert found[0].rule == "unknown"
    with pytest.raises(MappingError, match="foo"):
        mapper.check_first({"email": "a@b.co", "foo": 1})


@pytest.mark.parametrize("custom", ["x", [1], {"A": {"nested": 1}}, [{"name": 5}], [{"name": "A"}, {"name": "A"}]])
def test_malformed_custom_fields_fail_the_row(custom: Any) -> None:
    found = Mapper(AELYST).read(None, {"email": "a@b.co", "custom_fields": custom})
    assert isinstance(found, list)
    assert found


def test_mapper_works_with_the_dmchamp_schema() -> None:
    mapper = Mapper(DMCHAMP, key="phone")
    mapped = read(
        mapper, "phoneNumber,firstName,do_not_disturb,currentCampaignData", "+60123456789", "A", "no", '{"a":1}'
    )
    assert dict(mapped.values)["do_not_disturb"] is False
    assert mapped.key == "phone:+60123456789"
    with pytest.raises(MappingError, match="no custom fields"):
        mapper.plan(["phone", "custom_fields.A"])


def test_schema_of_a_gateway_without_schema_has_the_common_fields() -> None:
    schema = schema_of(FakeGateway())
    assert [rule.name for rule in schema.rules] == ["first_name", "last_name", "phone", "email"]
    assert schema.provider == "fake"


def test_first_non_empty_key_identifies_the_row() -> None:
    mapper = Mapper(AELYST, key="email,phone", empty="clear")
    columns = "email,phone,last_name"
    both = read(mapper, columns, "A@b.co", "+60123456789", "")
    assert both.key == "email:a@b.co"
    assert dict(both.values) == {"email": "A@b.co", "phone": "+60123456789", "last_name": None}
    other = read(mapper, columns, "", "+60 12 345 6789", "L")
    assert other.key == "phone:+60123456789"
    assert str(mapper.identifier(other.values)) == "phone:+60123456789"
    assert dict(other.values)["email"] is None, "the unused key column is an ordinary field"
    [problem] = problems(mapper, columns, " ", "", "L")
    assert problem.message == "empty: without the email or the phone the contact cannot be matched"
    assert mapper.plan(["phone"]).key_of(["+60123456789"]) == "phone:+60123456789", "one column is enough"
    with pytest.raises(MappingError, match="no column for any key of email, phone"):
        mapper.plan(["first_name"])


def test_invalid_first_key_fails_the_row_without_fallback() -> None:
    found = problems(Mapper(AELYST, key="email,phone"), "email,phone", "nobody", "+60123456789")
    assert [problem.rule for problem in found] == ["email"]


def test_transforms_change_values_and_add_notes() -> None:
    mapper = Mapper(
        AELYST,
        mapping={
            "Mail": "email:first:lower",
            "Full name": "split_name",
            "Born": "custom_fields.Birthday:date(%d/%m/%Y)",
            "Lang": {"field": "language", "default": "ms"},
            "Seats": "custom_fields.Seats:number",
            "Junk": "ignore",
        },
        constants={"country_code": "my"},
    )
    columns = "Mail,Full name,Born,Lang,Seats,Junk"
    mapped = read(mapper, columns, "Ann@B.co ::: b@b.co", "Lee, Ann Marie", "04/03/1990", "", "3", "x")
    assert mapped.values == [
        ("country_code", "MY"), ("custom_fields.Birthday", "1990-03-04"), ("custom_fields.Seats", 3),
        ("email", "ann@b.co"), ("first_name", "Ann Marie"), ("language", "ms"), ("last_name", "Lee"),
    ]  # fmt: skip
    assert {(note.column, note.change) for note in mapped.notes} == {
        ("Mail", "the first of several values taken, written in lower case"),
        ("Full name", "split into first and last name"),
        ("Born", "date read as %d/%m/%Y"),
        ("Lang", "the default for an empty cell"),
    }
    one = read(mapper, columns, "a@b.co", "Ann van der Lee", "", "en", "", "")
    assert dict(one.values)["last_name"] == "van der Lee"
    assert read(mapper, columns, "a@b.co", "Ann", "", "en", "", "").values[2] == ("first_name", "Ann")


def test_columns_can_map_to_callables() -> None:
    def people(cell: str) -> dict[str, Any]:
        return {"first_name": cell.upper(), "custom_fields.Length:number": len(cell)}

    mapper = Mapper(AELYST, mapping={"Name": people, "Mail": ("email", lambda cell: f"{cell}@b.co")})
    assert read(mapper, "Name,Mail", "ann", "a").values == [
        ("custom_fields.Length", 3), ("email", "a@b.co"), ("first_name", "ANN"),
    ]  # fmt: skip
    assert mapper.plan(["Name", "Mail"]).key_of(["ann", "A"]) == "email:a@b.co"
    failing = Mapper(AELYST, mapping={"Name": lambda cell: cell["x"], "Mail": ("email", lambda cell: 1 / 0)})
    found = problems(failing, "Name,Mail", "ann", "a")
    assert ["ZeroDivisionError" in found[0].message, "TypeError" in found[1].message] == [True, True]
    with pytest.raises(MappingError, match="maps to a field, a callable"):
        Mapper(AELYST, mapping={"Name": 5})
    twice = Mapper(AELYST, mapping={"Name": lambda cell: {"email": "x@y.zz"}})
    [problem] = problems(twice, "Name,email", "ann", "a@b.co")
    assert "given by another column" in problem.message


def test_ignore_unknown_drops_unknown_keys_of_records() -> None:
    mapped = Mapper(AELYST, ignore_unknown=True).read(None, {"email": "a@b.co", "foo": 1, "status": "x"})
    assert isinstance(mapped, Mapped)
    assert mapped.values == [("email", "a@b.co")]


def test_changed_values_are_in_the_notes() -> None:
    mapped = read(Mapper(AELYST), "email,phone,language,first_name", "a@b.co ", "+60 12-345 6789", "MS", "Ann ")
    assert [(note.column, note.before, note.after) for note in mapped.notes] == [
        ("email", "'a@b.co '", "'a@b.co'"),
        ("language", "'MS'", "'ms'"),
        ("phone", "'+60 12-345 6789'", "'+60123456789'"),
    ]


def test_problem_has_value_and_remedy() -> None:
    [problem] = problems(Mapper(AELYST), "email,phone", "a@b.co", "012-345 6789")
    assert (problem.column, problem.rule, problem.value) == ("phone", "phone", "'012-345 6789'")
    assert problem.remedy is not None
    assert problem.remedy in problem.message


def test_remedy_for_several_values_contains_the_flag() -> None:
    mapper = Mapper(AELYST, mapping=["Mobile no.=phone"])
    [problem] = problems(mapper, "email,Mobile no.", "a@b.co", "+6012345678; +6012345679")
    assert problem.remedy == "leave one, or add --map 'Mobile no.=phone:first'"
    assert problem.message.endswith(problem.remedy)


def test_cell_of_invisible_characters_is_empty() -> None:
    skip, clear = Mapper(AELYST), Mapper(AELYST, empty="clear")
    assert dict(read(skip, "email,last_name", "a@b.co", "\u200b").values) == {"email": "a@b.co"}
    assert dict(read(clear, "email,last_name", "a@b.co", "\u200b").values)["last_name"] is None


@pytest.mark.parametrize(
    ("cell", "first"),
    [
        ("a@b.co b@b.co", "a@b.co"), ("Lee, Ann <a@b.co>; Bob <b@b.co>", "a@b.co"), ("a@b.co", "a@b.co"),
        ("a@b.co ::: b@b.co ::: c@b.co", "a@b.co"), ("a@b.co,b@b.co", "a@b.co"),
    ],
)  # fmt: skip
def test_first_transform_takes_the_first_address(cell: str, first: str) -> None:
    mapper = Mapper(AELYST, mapping=["Mail=email:first"])
    assert read(mapper, "Mail", cell).values == [("email", first)]
    [problem] = problems(mapper, "Mail", f"{cell}\nBob,b@b.co")
    assert "probably not closed" in problem.message, "rows inside an unclosed quote are not several values"
