"""What a mapping says of one column: transforms, defaults, formats, and functions that give several fields."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.tables import Mapped, Mapper, MappingError, Problem
from aelyst_async.tables.targets import Target, parse_target
from aelyst_providers.aelyst import AelystGateway

AELYST = AelystGateway.schema
COLUMNS = ("email", "x")


def read_x(mapping: Any, cell: Any, **options: Any) -> dict[str, Any] | list[Problem]:
    """Map a row with the e-mail address a@b.co and the cell in column x."""
    made = Mapper(AELYST, mapping={"x": mapping}, **options).read(COLUMNS, ["a@b.co", cell])
    return dict(made.values) if isinstance(made, Mapped) else made


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ("email", Target("email")),
        ("language:default(en)", Target("language", default="en")),
        ("language:lower:default(en)", Target("language", ("lower",), default="en")),
        ("lifecycle:date(%d/%m/%Y)", Target("lifecycle", date_format="%d/%m/%Y")),
        ("custom_fields.Born:date(%d/%m/%Y)", Target("custom_fields.Born:date", date_format="%d/%m/%Y")),
        ("split_name", Target("split_name")),
        (":split_name", Target("split_name")),
        (":ignore", Target(None)),
        ("", Target(None)),
    ],
)
def test_parse_target(said: str, target: Target) -> None:
    assert parse_target(said, "x") == target


def test_wrong_target_in_a_list_is_a_problem_of_the_header() -> None:
    header = Mapper(AELYST, mapping=["x=language:upper(3)"]).header(COLUMNS)
    [problem] = header.problems
    assert problem.columns == ("x",)
    assert "upper(3) is not a transform" in problem.message


@pytest.mark.parametrize(("cell", "language"), [("", "en"), ("ms", "ms")])
def test_default_stands_for_an_empty_cell(cell: str, language: str) -> None:
    assert read_x("language:default(en)", cell) == {"email": "a@b.co", "language": language}


def test_default_that_the_field_refuses_is_a_problem_of_the_row() -> None:
    found = read_x("language:default(Malay)", "")
    assert isinstance(found, list)
    assert [(problem.column, problem.rule) for problem in found] == [("x", "language")]


def test_default_of_the_key_matches_rows_without_one() -> None:
    mapper = Mapper(AELYST, mapping={"mail": "email:default(desk@b.co)"})
    columns = ("mail", "first_name")
    made = mapper.read(columns, ["", "Ann"])
    assert isinstance(made, Mapped)
    assert made.key == "email:desk@b.co"
    assert mapper.key_of(columns, ["", "Ann"]) == made.key


def test_function_of_a_column_may_give_nothing_for_a_cell() -> None:
    calls: list[Any] = []

    def nothing(cell: Any) -> None:
        calls.append(cell)

    assert read_x(nothing, "Ann") == {"email": "a@b.co"}
    assert read_x(nothing, " ") == {"email": "a@b.co"}
    assert calls == ["Ann"], "an empty cell is not given to the function"


def test_empty_values_of_a_function_are_not_sent() -> None:
    made = read_x(lambda cell: {"first_name": cell, "last_name": "", "language": None}, "Ann")
    assert made == {"email": "a@b.co", "first_name": "Ann"}


@pytest.mark.parametrize(
    ("function", "rule", "words"),
    [
        (lambda _: 42, "mapping", "the mapping returned int, not a mapping of fields"),
        (lambda _: {"nope": 1}, "mapping", "nope"),
        (lambda _: {"phone": "0123"}, "phone", "'0123' is not a phone number"),
    ],
)
def test_wrong_value_of_a_function_fails_the_row(function: Any, rule: str, words: str) -> None:
    found = read_x(function, "Ann")
    assert isinstance(found, list)
    assert [problem.rule for problem in found] == [rule]
    assert words in found[0].message


def test_changed_value_of_a_function_is_noted() -> None:
    made = Mapper(AELYST, mapping={"x": lambda cell: {"phone": cell}}).read(COLUMNS, ["a@b.co", "+60 12-345 6789"])
    assert isinstance(made, Mapped)
    assert dict(made.values)["phone"] == "+60123456789"
    assert [(note.column, note.after) for note in made.notes] == [("x", "'+60123456789'")]


def test_transforms_leave_a_value_that_is_no_string_to_the_rule() -> None:
    made = read_x("custom_fields.Seats:number:strip", 3)
    assert isinstance(made, list) or made["custom_fields.Seats"] == 3
    assert read_x("first_name:lower", 42) == {"email": "a@b.co", "first_name": "42"}


def test_number_is_no_full_name() -> None:
    found = read_x("split_name", 42)
    assert isinstance(found, list)
    assert found[0].message == "expected a name as text, got int"


def test_records_take_functions_and_ignored_keys() -> None:
    mapper = Mapper(AELYST, mapping={"who": "split_name", "note": "ignore"})
    made = mapper.read(None, {"email": "a@b.co", "who": "Ann van Lee", "note": "x"})
    assert isinstance(made, Mapped)
    assert dict(made.values) == {"email": "a@b.co", "first_name": "Ann", "last_name": "van Lee"}
    header = mapper.record_header({"email": "a@b.co", "note": "x"})
    assert [(column.name, column.match) for column in header.columns] == [("email", "exact"), ("note", "ignored")]


def test_null_clears_a_key_field_where_the_row_has_another_key() -> None:
    mapper = Mapper(AELYST, key="email,phone")
    made = mapper.read(None, {"email": None, "phone": "+60123456789"})
    assert isinstance(made, Mapped)
    assert made.key == "phone:+60123456789"
    assert dict(made.values) == {"email": None, "phone": "+60123456789"}
    alone = mapper.read(None, {"email": None, "first_name": "Ann"})
    assert isinstance(alone, list)
    assert [problem.rule for problem in alone] == ["required"]


def test_many_shapes_of_records_are_read_alike() -> None:
    mapper = Mapper(AELYST, ignore_unknown=True)
    for number in range(1_500):
        made = mapper.read(None, {"email": "a@b.co", f"unknown {number}": 1})
        assert isinstance(made, Mapped)
        assert made.values == [("email", "a@b.co")]
    assert len(mapper._plans) <= 1_000


def test_full_name_beside_a_first_name_is_no_question() -> None:
    beside = Mapper(AELYST).header(("email", "first_name", "Name"))
    alone = Mapper(AELYST).header(("email", "Name"))
    assert any(problem.choice for problem in alone.problems)
    assert not any(problem.choice for problem in beside.problems)


def test_key_has_to_be_a_field_of_the_provider() -> None:
    with pytest.raises(MappingError, match="the key must be email, phone"):
        Mapper(AELYST, key="first_name")


def test_function_of_the_whole_row_gives_a_refused_row_no_key() -> None:
    assert Mapper(AELYST, mapping=lambda row: row).key_of(COLUMNS, ["a@b.co", "x"]) is None


def test_first_record_that_cannot_be_flattened_is_left_to_its_row() -> None:
    mapper = Mapper(AELYST)
    record = {"email": "a@b.co", "custom_fields": 3}
    mapper.check_first(record)
    found = mapper.read(None, record)
    assert isinstance(found, list)
    assert [problem.column for problem in found] == ["custom_fields"]
    Mapper(AELYST, mapping=lambda row: row).check_first({"nope": 1})
    with pytest.raises(MappingError, match="nope"):
        mapper.check_first({"nope": 1})
