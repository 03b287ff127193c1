"""`inspect`, the preview of a sync, and mapping files: suggesting and loading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aelyst_async.tables import (
    Mapper,
    MappingError,
    as_source,
    inspect,
    load_mapping,
    read_contacts,
    suggest_mapping,
)
from aelyst_providers.aelyst import AelystGateway

AELYST = AelystGateway.schema
TABLE = """\
Kontakt;Vorname;Telefon;Junk
Ann <ann@b.co>;Ann;+60 12-345 6789;x
bob@b.co;Bob;012;
nobody;Cid;012;y
dan@b.co;"D"an;;
"""


def write(folder: Path, content: str, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_inspect_shows_an_unusable_header_without_reading_rows(tmp_path: Path) -> None:
    preview = inspect(read_contacts(write(tmp_path, TABLE)), Mapper(AELYST))
    assert [column.sample for column in preview.header.columns] == ["Ann <ann@b.co>", "Ann", "+60 12-345 6789", "x"]
    assert [problem.flags for problem in preview.header.problems] == [
        ("--ignore-unknown",), ("--key phone", "--map Kontakt=email")
    ]  # fmt: skip
    assert (preview.rows, preview.total) == ((), 0)


def test_inspect_counts_problems_and_changes_with_an_example(tmp_path: Path) -> None:
    mapper = Mapper(AELYST, mapping=["Kontakt=email"], ignore_unknown=True)
    preview = inspect(read_contacts(write(tmp_path, TABLE)), mapper, rows=2)
    assert (preview.total, preview.valid, len(preview.rows)) == (4, 1, 2)
    first, second = preview.rows
    assert first.values == {"email": "ann@b.co", "first_name": "Ann", "phone": "+60123456789"}
    assert (second.row, second.line, second.values) == (2, 3, {})
    assert [(one.column, one.rule, one.count, one.row, one.value) for one in preview.problems] == [
        ("Telefon", "phone", 2, 2, "'012'"), ("Kontakt", "email", 1, 3, "'nobody'"), (None, "quote", 1, 4, None),
    ]  # fmt: skip
    assert {(one.column, one.change, one.before) for one in preview.notes} == {
        ("Kontakt", "the name before the address removed", "'Ann <ann@b.co>'"),
        ("Telefon", "written as + and digits", "'+60 12-345 6789'"),
    }


async def test_inspect_previews_records() -> None:
    preview = inspect(await as_source([{"email": "a@b.co", "custom_fields": {"Seats": 3}}]), Mapper(AELYST))
    assert [(one.name, one.field) for one in preview.header.columns] == [
        ("email", "email"), ("custom_fields.Seats", "custom_fields.Seats")
    ]  # fmt: skip
    assert preview.rows[0].values == {"email": "a@b.co", "custom_fields.Seats": 3}
    unknown = inspect(await as_source([{"email": "a@b.co", "foo": 3}]), Mapper(AELYST))
    assert "'foo' is no field of aelyst" in unknown.header.problems[0].message
    assert inspect(await as_source([]), Mapper(AELYST)).total == 0


@pytest.mark.parametrize(
    "header",
    [
        "Kontakt;Vorname;Telefon;Junk", "Email;Mobile Phone;Home Phone;Fav=Colour",
        'Email;"a ""b""";custom_fields.N:number',
        "Name;E-mail Address;Notes", "First Name;Last Name;E-mail 1 - Value;Phone 1 - Value;Labels",
    ],
)  # fmt: skip
def test_suggested_mapping_solves_all_problems_but_a_missing_key(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"{header}\n")
    mapping = write(tmp_path, suggest_mapping(read_contacts(path), Mapper(AELYST)), "mapping.toml")
    loaded = load_mapping(mapping)
    source = read_contacts(path, **loaded.source)
    list(source.open())
    assert source.columns is not None
    mapper = Mapper(AELYST, mapping=loaded.columns, **{"key": "email,phone", **loaded.settings})
    problems = mapper.header(source.columns).problems
    key_only = all("no column for" in problem.message for problem in problems)
    assert key_only, problems
    assert header.startswith("Kontakt") or not problems, "only the table without a key may have a problem"


def test_suggested_mapping_has_samples_and_ignored_columns(tmp_path: Path) -> None:
    suggestion = suggest_mapping(read_contacts(write(tmp_path, TABLE.replace("Kontakt", "E-mail"))), Mapper(AELYST))
    assert '"E-mail" = "email"  # near; e.g. "Ann <ann@b.co>"' in suggestion
    assert '"Junk" = ""  # left out; or "custom_fields.Junk"; e.g. "x"' in suggestion


def test_load_mapping_reads_every_setting(tmp_path: Path) -> None:
    loaded = load_mapping(
        write(
            tmp_path,
            'key = "email,phone"\nregion = "MY"\ntrue = ["ja"]\nencoding = "cp1252"\nskip_lines = 2\n'
            'ignore_unknown = true\n[columns]\n"Mail" = "email:first"\n'
            '"Born" = { field = "custom_fields.Born", date = "%d/%m/%Y" }\n'
            '"Lang" = { field = "language", default = "ms" }\n'
            '"Name" = { split_name = true }\n"X" = { ignore = true }\n[constants]\ncountry_code = "my"\n',
            "m.toml",
        )
    )
    assert loaded.source == {"encoding": "cp1252", "skip_lines": 2}
    mapper = Mapper(AELYST, mapping=loaded.columns, constants=loaded.constants, **loaded.settings)
    columns = ("Mail", "Born", "Lang", "Name", "X", "phone", "Other")
    row = mapper.read(columns, ["a@b.co; b@b.co", "04/03/1990", "", "Ann Lee", "x", "012-345 6789", "y"])
    assert not isinstance(row, list)
    assert dict(row.values) == {
        "email": "a@b.co", "custom_fields.Born": "1990-03-04", "language": "ms", "first_name": "Ann",
        "last_name": "Lee", "phone": "+60123456789", "country_code": "MY",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("key = ", "not TOML"),
        ("kye = 1", "unknown kye; it may hold"),
        ("key = 1", "key is str, not int"),
        ("skip_lines = true", "skip_lines is int, not bool"),
        ("columns = 1", r"\[columns\] and \[constants\] are tables"),
        ("[columns]\na = 1", "'a' maps to a field"),
        ('[columns]\na = { feild = "email" }', "unknown feild"),
        ("[columns]\na = { field = 1 }", "field is text"),
        ('[columns]\na = "email:date(%Q)"', "date format"),
    ],
)
def test_load_mapping_rejects_malformed_files(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(MappingError, match=words) as refusal:
        load_mapping(write(tmp_path, content, "m.toml"))
    assert "m.toml" in str(refusal.value)


def test_load_mapping_raises_for_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no such file"):
        load_mapping(tmp_path / "nope.toml")


def test_inspect_uses_constant_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = write(tmp_path, "email,first_name\n" + "".join(f"p{number}@b.co,Ann\n" for number in range(30_000)))
    kinds: dict[str, Any] = {}
    inspect(read_contacts(path), Mapper(AELYST))
    tracemalloc.start()
    try:
        kinds["preview"] = inspect(read_contacts(path), Mapper(AELYST))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kinds["preview"].total == 30_000
    assert peak < 2_000_000


def test_sample_is_the_first_value_of_a_column(tmp_path: Path) -> None:
    preview = inspect(read_contacts(write(tmp_path, "email,phone\na@b.co,\n,\nb@b.co,+60123456789\n")), Mapper(AELYST))
    assert [column.sample for column in preview.header.columns] == ["a@b.co", "+60123456789"]
    assert preview.total == 2


def test_inspect_keeps_a_bounded_number_of_kinds(tmp_path: Path) -> None:
    names = [f"custom_fields.F{number}:number" for number in range(1_010)]
    for value, kinds in ((" 1", "notes"), ("x", "problems")):
        path = tmp_path / f"{kinds}.csv"
        path.write_text(f"email,{','.join(names)}\na@example.com,{','.join([value] * len(names))}\n")
        preview = inspect(read_contacts(path), Mapper(AELYST))
        assert len(getattr(preview, kinds)) == 1_000


def test_inspect_with_a_function_for_rows_shows_the_columns_as_mapped(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("Address,Name\na@example.com,Ann\n")
    mapper = Mapper(AELYST, mapping=lambda row: {"email": row["Address"]})
    preview = inspect(read_contacts(path), mapper)
    assert [(column.name, column.match) for column in preview.header.columns] == [
        ("Address", "mapped"), ("Name", "mapped"),
    ]  # fmt: skip
    assert (preview.valid, preview.rows[0].values) == (1, {"email": "a@example.com"})
