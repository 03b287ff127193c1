"""Invalid input and settings: the error names them and affects only its own row or run."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import ContactFields
from aelyst_async.sync import (
    ContactSync,
    JournalError,
    MappingError,
    RetrySettings,
    SourceError,
    SyncError,
    read_contacts,
)
from aelyst_async.tables import ContactSource, Mapper, RawRow
from aelyst_providers.aelyst.wire import SCHEMA
from tests.sync.fakes import FakeGateway

ROWS = [{"email": "a@b.co", "first_name": "A"}]


def make(**options: Any) -> ContactSync:
    return ContactSync(FakeGateway(), **options)


@pytest.mark.parametrize("way", ["itself", "dots", "symlink", "hard link"])
@pytest.mark.parametrize("option", ["failures", "journal"])
async def test_sync_never_overwrites_its_source_under_any_file_name(tmp_path: Path, way: str, option: str) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email,first_name\nnobody,Ann\n")
    (tmp_path / "sub").mkdir()
    other = {"itself": people, "dots": tmp_path / "sub" / ".." / "people.csv"}.get(way, tmp_path / "other")
    if way == "symlink":
        other.symlink_to(people)
    elif way == "hard link":
        os.link(people, other)
    with pytest.raises(SyncError, match=f"--{option} .* is the source itself"):
        await make(**{option: other}).run(people)
    assert people.read_text() == "email,first_name\nnobody,Ann\n"


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_failures_path_may_not_be_a_file_of_the_journal(tmp_path: Path, ending: str) -> None:
    await ContactSync(FakeGateway(), journal=tmp_path / "state.db").run(ROWS)
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(SyncError, match="belongs to the journal"):
        await ContactSync(FakeGateway(), journal=tmp_path / "state.db", failures=tmp_path / f"state.db{ending}").run(
            [{"email": "nobody"}]
        )
    assert (tmp_path / "state.db").read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta WHERE name = 'salt'", "UPDATE meta SET value = 'zz' WHERE name = 'salt'",
        "UPDATE meta SET value = 'other' WHERE name = 'provider'", "DELETE FROM meta WHERE name = 'seal'",
        "DROP TABLE contact", "DROP TABLE meta", "ALTER TABLE contact RENAME COLUMN hash TO other",
    ],
)  # fmt: skip
async def test_journal_with_damaged_tables_or_values_is_rejected(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.db"
    gateway = AccountGateway()
    await ContactSync(gateway, journal=path).run(ROWS)
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(JournalError, match=r"state\.db is damaged or no journal .*: move it away and run again"):
        await ContactSync(gateway, journal=path).run(ROWS)
    assert len(gateway.contacts) == 1


class AccountGateway(FakeGateway):
    """A gateway with an account name, which needs the journal's salt."""

    async def account(self, key: bytes) -> str:
        return key.hex()[:4]


WRONG: dict[str, list[Any]] = {
    "verify": ["1%", float("nan"), True],
    "max_errors": ["5%", float("nan")],
    "drain": ["20", -1, float("nan")],
    "max_attempts": [0, 1.5],
    "progress": [5],
    "confirm": [5],
    "duplicates": ["both", ["last"]],
    "retry": [None, {"settle": 1.0}],
    "refresh": ["no", 0],
    "target": [5],
    "settings": [5],
    "journal": [5],
    "failures": [5],
    "constants": [5],
    "true": ["ja", 5],
    "max_deletes": [-1, 1.5, True],
    "mapping": [5, "a=b", {"a": 5}, {5: "a"}, [("a", "b")], [5]],
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]])
def test_contact_sync_rejects_settings_of_a_wrong_type_or_range(option: str, value: Any) -> None:
    with pytest.raises(MappingError, match=option if option != "mapping" else "mapping|--map"):
        make(**{option: value})


@pytest.mark.parametrize("setting", ["target", "settings", "progress", "concurrency"])
def test_error_for_a_url_as_a_wrong_setting_shows_no_password(setting: str) -> None:
    wrong: Any = {setting: "postgresql://ann:hunter2@db.example/contacts"}
    with pytest.raises(MappingError, match=setting) as refusal:
        ContactSync(FakeGateway(), **wrong)
    assert "hunter2" not in f"{refusal.value} {refusal.value!r}"


@pytest.mark.parametrize("pause", [-1, "5", float("nan"), None])
def test_retry_settings_reject_pauses_that_are_not_seconds(pause: Any) -> None:
    with pytest.raises(MappingError, match="settle must be a number of seconds from 0"):
        RetrySettings(settle=pause)


@pytest.mark.parametrize(
    "rows", [{"email": "a@b.co"}, b"a@b.co", bytearray(b"x"), ContactFields(email="a@b.co"), 5, None]
)
async def test_run_rejects_sources_that_are_not_tables(rows: Any) -> None:
    with pytest.raises(SourceError, match="expected a path, a table or an iterable of mappings"):
        await ContactSync(FakeGateway()).run(rows)


async def test_unreadable_rows_fail_without_affecting_other_rows(tmp_path: Path) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    rows: list[Any] = [*ROWS, {"email": "b@b.co", "first_name": lambda: 1}, Hostile(), {"email": "c@b.co", 5: 6}, None]
    for source in (iter(rows), rows):
        report = await ContactSync(FakeGateway(), failures=tmp_path / "f.jsonl").run(source)
        assert (report.created, report.failed) == (1, 4)
        assert [json.loads(line)["row"] for line in (tmp_path / "f.jsonl").read_text().splitlines()] == [2, 3, 4, 5]


async def test_failed_row_is_reported_with_its_key_if_that_is_valid(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("E-Mail,first_name,phone\nAnn@B.co,A,junk\nnobody,B,\n,C,\n")
    report = await ContactSync(FakeGateway(), mapping={"E-Mail": "email"}, failures=tmp_path / "f.jsonl").run(table)
    assert report.failed == 3
    assert [json.loads(line)["key"] for line in (tmp_path / "f.jsonl").read_text().splitlines()] == [
        "email:ann@b.co", None, None,
    ]  # fmt: skip
    records = [*ROWS, {"Email": "Ann@b.co", "phone": 5}, {"email": "z@b.co", "unheard-of": 1}, {"email": 5}]
    report = await ContactSync(FakeGateway(), failures=tmp_path / "f.jsonl").run(records)
    assert [json.loads(line)["key"] for line in (tmp_path / "f.jsonl").read_text().splitlines()] == [
        "email:ann@b.co", "email:z@b.co", None,
    ]  # fmt: skip


def test_problem_names_the_column_in_the_users_spelling() -> None:
    problems = Mapper(SCHEMA).read(None, {"email": "a@b.co", "custom_fields": {"Seats": [1]}})
    assert isinstance(problems, list)
    assert [problem.column for problem in problems] == ["custom_fields.Seats"]


@pytest.mark.parametrize("name", ["nofield", "tags", "custom_fields.", "custom_fields.x:nope"])
def test_error_about_record_names_does_not_mention_columns(name: str) -> None:
    for names in ([name], ["first_name", "firstName"]):
        with pytest.raises(MappingError) as caught:
            Mapper(SCHEMA).record_plan(names)
        assert "column" not in str(caught.value)
        assert "--map" not in str(caught.value)


async def test_sync_stopped_while_it_counts_rows_sends_nothing(tmp_path: Path) -> None:
    sync = make(journal=tmp_path / "state.db")

    class Endless(ContactSource):
        columns = ("email", "first_name")

        def open(self) -> Iterator[RawRow]:
            for number in itertools.count():
                if number == 2500:
                    loop.call_soon_threadsafe(sync.stop)
                yield None, [f"p{number}@example.com", "Ann"]

    loop = asyncio.get_running_loop()
    report = await sync.run(Endless())
    assert (report.stopped, report.complete, report.rows, report.requests) == ("interrupted", False, 0, {})
    assert report.total >= 2500


async def test_read_contacts_reads_non_blocking_streams_and_rejects_text_ones() -> None:
    class Hesitant(io.RawIOBase):
        """A non-blocking stream: read() returns None while no data is available."""

        def __init__(self) -> None:
            self.pieces = [b"email,first_name\n", None, b"a@b.co,A\n", None, b"b@b.co,B\n", b""]

        def read(self, _: int = -1) -> Any:
            return self.pieces.pop(0)

    assert (await make().run(read_contacts(Hesitant()))).created == 2  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="open it with mode 'rb'"):
        await make().run(read_contacts(io.StringIO("email\na@b.co\n")))  # type: ignore[arg-type]
