"""The sync with the account's custom fields known: rows are checked offline, and values are compared by type."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.sandbox import Sandbox
from aelyst_async.sync import ContactSync, MappingError, RetrySettings
from aelyst_providers.aelyst import AelystGateway, CustomFieldDefinition

DEFINITIONS = (
    CustomFieldDefinition(name="Tier", slug="tier", data_type="list", options=("Gold", "Silver")),
    CustomFieldDefinition(name="Seats", data_type="number"),
    CustomFieldDefinition(name="Born", data_type="date"),
    CustomFieldDefinition(name="New kind", data_type="colour"),
)


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([f"email,first_name,{header}", *rows]) + "\n")
    return path


async def test_values_are_parsed_by_definition_without_a_type_in_the_column(tmp_path: Path) -> None:
    file = write(
        tmp_path / "people.csv", "custom_fields.tier,custom_fields.Seats,custom_fields.Born,custom_fields.New kind",
        "a@b.c,Ann,Gold,3,2024-02-29,red",
    )  # fmt: skip
    async with (
        Sandbox() as sandbox,
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as gateway,
    ):
        typed = gateway.with_custom_fields(DEFINITIONS)
        report = await ContactSync(typed, journal=tmp_path / "state.db").run(file)
        assert (report.created, report.failed) == (1, 0)
        [contact] = sandbox.contacts("aelyst")
        values = {item["name"]: item["value"] for item in contact["custom_fields"]}
        assert values == {"Tier": "Gold", "Seats": 3, "Born": "2024-02-29", "New kind": "red"}
        assert {field.name: field.value for field in (await typed.get("email:a@b.c")).custom_fields}["Born"] == date(
            2024, 2, 29
        )
        # What is there already is recognised: typed values and written ones compare as equal.
        pauses = RetrySettings(settle=0)
        verified = await ContactSync(typed, journal=tmp_path / "state.db", verify=1.0, retry=pauses).run(file)
        assert (verified.unchanged, verified.requests) == (1, {"GET 200": 1})


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("custom_fields.Seat", r"no custom field of this aelyst account \(did you mean custom_fields.Seats\?\)"),
        ("custom_fields.zzz", r"\(fields: .*, custom_fields.Born, custom_fields.New kind, custom_fields.Seats, "),
        ("custom_fields.Seats:text", "'Seats' is of the type number, not text"),
    ],
)
async def test_column_that_contradicts_the_definitions_raises_mapping_error(
    header: str, words: str, tmp_path: Path
) -> None:
    typed = AelystGateway("t", base_url="http://127.0.0.1:9").with_custom_fields(DEFINITIONS)
    with pytest.raises(MappingError, match=words):
        await ContactSync(typed).run(write(tmp_path / "people.csv", header, "a@b.c,Ann,3"))


async def test_unknown_custom_field_of_a_record_is_rejected_by_name() -> None:
    typed = AelystGateway("t", base_url="http://127.0.0.1:9").with_custom_fields(DEFINITIONS)
    record = {"email": "a@b.c", "first_name": "Ann", "custom_fields": {"Seat": 3}}
    with pytest.raises(MappingError, match=r"did you mean custom_fields\.Seats"):
        await ContactSync(typed).run([record])


@pytest.mark.parametrize(
    ("header", "cell", "rule", "words"),
    [
        ("custom_fields.Tier", "Bronze", "list", "the options are 'Gold', 'Silver'"),
        ("custom_fields.Tier", "gold", "list", "did you mean 'Gold'"),
        ("custom_fields.Seats", "many", "number", "not a number"),
        ("custom_fields.Born", "29/02/2024", "date", "2024-02-29"),
    ],
)
async def test_cell_that_is_invalid_for_its_field_fails_without_a_request(
    header: str, cell: str, rule: str, words: str, tmp_path: Path
) -> None:
    typed = AelystGateway("t", base_url="http://127.0.0.1:9").with_custom_fields(DEFINITIONS)
    report = await ContactSync(typed).run(write(tmp_path / "people.csv", header, f"a@b.c,Ann,{cell}"))
    assert (report.failed, report.requests) == (1, {})
    [problem] = report.problems
    assert problem.rule == rule
    assert words in problem.message + str(problem.remedy)


async def test_untyped_values_of_records_are_checked_against_the_definitions() -> None:
    typed = AelystGateway("t", base_url="http://127.0.0.1:9").with_custom_fields(DEFINITIONS)
    rows: list[dict[str, Any]] = [
        {"email": "a@b.c", "first_name": "Ann", "custom_fields": {"Seats": "many"}},
        {"email": "b@b.c", "first_name": "Bob", "custom_fields": {"Tier": "Bronze"}},
    ]
    report = await ContactSync(typed).run(rows)
    assert (report.failed, report.requests) == (2, {})
