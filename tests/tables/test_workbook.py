"""Workbooks: typed cells, sheets, title rows, and numbers that Excel has changed."""

from __future__ import annotations

import builtins
import io
import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.tables import BadRow, Mapped, Mapper, SourceError, inspect, read_contacts
from aelyst_providers.aelyst import AelystGateway

openpyxl = pytest.importorskip("openpyxl")
pytest.importorskip("python_calamine")

MAPPER = Mapper(AelystGateway.schema)


def save(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_workbook_cells_keep_their_types(tmp_path: Path) -> None:
    header = [
        "email", "first_name", "custom_fields.Born:date", "custom_fields.At:time", "custom_fields.VIP:checkbox",
        "custom_fields.Seats:number", "custom_fields.Share:number", "custom_fields.Zip",
    ]  # fmt: skip
    row = ["a@b.co", "Zoë", date(2025, 3, 4), time(9, 5), True, 3, 2.5, 1234]
    path = save(tmp_path / "a.xlsx", People=[header, row, [], ["b@b.co", "Bob", datetime(2025, 3, 4)]])  # noqa: DTZ001
    source = read_contacts(path)
    rows = list(source.open())
    assert [line for line, _ in rows] == [2, 4], "row numbers of the sheet"
    assert source.columns is not None
    mapped = MAPPER.plan(source.columns).read(rows[0][1])  # type: ignore[arg-type]
    assert isinstance(mapped, Mapped)
    assert dict(mapped.values) == {
        "email": "a@b.co", "first_name": "Zoë", "custom_fields.Born": "2025-03-04", "custom_fields.At": "09:05",
        "custom_fields.VIP": True, "custom_fields.Seats": 3, "custom_fields.Share": 2.5, "custom_fields.Zip": "1234",
    }  # fmt: skip
    assert [(note.column, note.change) for note in mapped.notes] == [
        ("custom_fields.Zip", "a number written as text")
    ], "a leading zero may be lost"  # fmt: skip
    preview = inspect(source, MAPPER)
    assert (preview.total, preview.valid) == (2, 2)
    assert str(preview.found) == "WORKBOOK, sheet 'People'"


def test_phone_stored_as_a_number_is_a_problem(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", People=[["email", "first_name", "phone"], ["a@b.co", "A", 60123456789]])
    [problem] = inspect(read_contacts(path), MAPPER).problems
    assert "'60123456789' is a number, which has lost a leading + or 0" in problem.message


def test_workbook_with_several_sheets_needs_a_sheet(tmp_path: Path) -> None:
    rows = [["email"], ["a@b.co"]]
    two = save(tmp_path / "two.xlsx", People=rows, Others=rows)
    with pytest.raises(SourceError, match=r"several sheets; choose one: --sheet 'People' or --sheet 'Others'"):
        list(read_contacts(two))
    assert list(read_contacts(two, sheet="Others")) == [{"email": "a@b.co"}]
    with pytest.raises(SourceError, match=r"no sheet 'Nope'; there are 'People', 'Others'"):
        list(read_contacts(two, sheet="Nope"))
    one = save(tmp_path / "one.xlsx", Notes=[], People=rows)
    assert list(read_contacts(one)) == [{"email": "a@b.co"}], "empty sheets are ignored"
    with pytest.raises(SourceError, match="is empty"):
        list(read_contacts(save(tmp_path / "none.xlsx", Notes=[])))


def test_title_rows_and_cells_beyond_the_header_are_reported(tmp_path: Path) -> None:
    rows = [["email", "first_name"], ["a@b.co", "A"], ["b@b.co", "B", "what?"], ["c@b.co"]]
    path = save(tmp_path / "a.xlsx", People=[["Newsletter 2025"], [], *rows])
    with pytest.raises(SourceError, match=r"the header \('Newsletter 2025'\); add --skip-lines 2"):
        list(read_contacts(path))
    found = [cells for _, cells in read_contacts(path, skip_lines=2).open()]
    assert found[0] == ["a@b.co", "A"]
    assert isinstance(found[1], BadRow)
    assert "'what?' stands beyond the last column" in found[1].message
    assert found[2] == ["c@b.co", ""]


def test_workbook_is_recognized_by_content(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", People=[["email"], ["a@b.co"]])
    disguised = path.rename(tmp_path / "people.csv")
    assert list(read_contacts(disguised)) == [{"email": "a@b.co"}]
    stream = read_contacts(io.BytesIO(disguised.read_bytes()))
    assert list(stream) == list(stream) == [{"email": "a@b.co"}]
    stream.close()


def test_missing_excel_extra_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.xlsx", People=[["email"], ["a@b.co"]])
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "python_calamine":
            raise ImportError
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"a\.xlsx is a workbook: pip install 'aelyst-async\[excel\]', or export"):
        list(read_contacts(path))


def test_unreadable_workbook_raises_and_text_named_xlsx_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2_000)
    with pytest.raises(SourceError, match="not readable as a workbook"):
        list(read_contacts(path))
    csv = tmp_path / "b.xlsx"
    csv.write_text("email\na@b.co\n")
    assert list(read_contacts(csv)) == [{"email": "a@b.co"}], "a text table is read under any file name"


def test_sheet_names_a_workbook_on_which_calamine_panics(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", People=[["Email"], ["ann@example.com"]])
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(b'r="A1"', b'r="ZZZZZZ99999999999"'))
    with pytest.raises(SourceError, match="not readable as a workbook"):
        list(read_contacts(path))


def test_a_table_anywhere_in_the_sheet_keeps_the_row_numbers_of_the_sheet(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        [None, None, "email", "first_name"],
        [None, None, "a@b.co", "A"],
        [],
        [],
        [None, None, "b@b.co"],
    ]
    source = read_contacts(save(tmp_path / "a.xlsx", People=[[], [], [], *rows, *[[]] * 60, [None, None, "c@b.co"]]))
    assert list(source.open()) == [(5, ["a@b.co", "A"]), (8, ["b@b.co", ""]), (69, ["c@b.co", ""])]
    preview = inspect(source, MAPPER)
    assert (preview.total, preview.valid) == (3, 3)
