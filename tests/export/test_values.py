"""What an export makes of custom values, of an account that hides its fields, and of a disk that refuses the file."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.export import ExportError, export_contacts, writers
from aelyst_providers.aelyst import CustomField
from tests.export.fakes import Account, Definition, aelyst_contact


async def exported(account: Account, file: Path) -> list[dict[str, Any]]:
    await export_contacts(account, file)
    return read_lines(file)


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (time(9, 30), "09:30"),
        (date(2025, 4, 3), "2025-04-03"),
        (datetime(2025, 4, 3, 9, 30, tzinfo=timezone.utc), "2025-04-03T09:30:00+00:00"),
        (Decimal("3.00"), 3),
        (Decimal("2.5"), 2.5),
        (["é", 1], '["é", 1]'),
        ({"a": None}, '{"a": null}'),
        (None, None),
    ],
)
async def test_custom_values_become_text_numbers_and_booleans(tmp_path: Path, value: Any, written: Any) -> None:
    account = Account([aelyst_contact(1, custom_fields=(CustomField("X", value), CustomField(" ", "no name")))])
    account.definitions = [Definition(" ", "text")]
    [row] = await exported(account, tmp_path / "people.jsonl")
    custom = {one: value for name, value in row.items() for one in [name.removeprefix("custom_fields.")] if one != name}
    custom |= row.get("custom_fields", {}) if isinstance(row.get("custom_fields"), dict) else {}
    assert {name.partition(":")[0]: value for name, value in custom.items() if value is not None} == (
        {} if written is None else {"X": written}
    )


@pytest.mark.parametrize("status", [403, 404, 405, 501])
async def test_an_account_that_hides_its_custom_fields_is_exported_all_the_same(tmp_path: Path, status: int) -> None:
    account = Account([aelyst_contact(1)])
    account.custom_fields = _failing(status)  # type: ignore[method-assign]
    assert len(await exported(account, tmp_path / "people.jsonl")) == 1


async def test_another_error_of_the_custom_fields_ends_the_export(tmp_path: Path) -> None:
    account = Account([aelyst_contact(1)])
    account.custom_fields = _failing(500)  # type: ignore[method-assign]
    with pytest.raises(errors.ServerError):
        await exported(account, tmp_path / "people.jsonl")
    assert files(tmp_path) == []


def _failing(status: int) -> Any:
    async def custom_fields() -> Any:
        kind = errors.ServerError if status == 500 else errors.ApiError
        raise kind(status=status, message="no", method="GET")

    return custom_fields


@pytest.mark.parametrize("method", ["open", "replace"])
async def test_a_disk_that_refuses_the_file_is_one_clear_error(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, method, full)
    with pytest.raises(ExportError, match=r"people\.csv cannot be written: no space left on device"):
        await export_contacts(Account([aelyst_contact(1)]), tmp_path / "people.csv")
    monkeypatch.undo()
    assert files(tmp_path) == [], "no half of a file is left"


async def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        await export_contacts(Account([aelyst_contact(1)]), tmp_path / "none" / "people.csv")


async def test_a_sheet_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xlsxwriter")
    monkeypatch.setattr(writers, "_MAX_ROWS", 3)
    few, many = ([aelyst_contact(number) for number in range(1, last)] for last in (3, 4))
    await export_contacts(Account(few), tmp_path / "few.xlsx")
    with pytest.raises(ExportError, match=r"a sheet has at most 3 rows; export to \.csv"):
        await export_contacts(Account(many), tmp_path / "many.xlsx")
    assert not (tmp_path / "many.xlsx").exists()


async def test_parquet_in_several_batches_has_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(writers, "_BATCH", 2)
    await export_contacts(Account([aelyst_contact(number) for number in range(1, 6)]), tmp_path / "people.parquet")
    column = parquet.read_table(tmp_path / "people.parquet").column("email").to_pylist()
    assert column == [f"p{number}@example.com" for number in range(1, 6)]


@pytest.mark.parametrize(("kind", "extra"), [("xlsx", "excel"), ("parquet", "parquet")])
async def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExportError, match=rf"pip install 'aelyst-async\[{extra}\]'"):
        await export_contacts(Account([aelyst_contact(1)]), tmp_path / f"people.{kind}")
