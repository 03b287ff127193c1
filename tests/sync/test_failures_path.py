"""The default path of the failures file."""

from pathlib import Path

import pytest

from aelyst_async.sync import ContactSync, read_contacts
from aelyst_async.sync.failures import beside
from tests.sync.fakes import FakeGateway


@pytest.mark.parametrize(
    ("name", "place"),
    [("people.csv", "people.x"), ("people.csv.gz", "people.x"), ("people", "people.x"), ("a.b.csv", "a.b.x")],
)
def test_beside_replaces_the_suffixes_of_the_table(name: str, place: str) -> None:
    assert beside(Path("/data") / name, "x") == Path("/data") / place


async def test_failures_file_is_beside_the_source_or_else_the_journal(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("email,first_name\nann@example.com,Ann\nnobody,Max\n")
    report = await ContactSync(FakeGateway(), journal=tmp_path / "state.db").run(read_contacts(people))
    assert (report.created, report.failed) == (1, 1)
    assert report.failures == tmp_path / "people.failures.jsonl"
    assert '"row": 2' in (tmp_path / "people.failures.jsonl").read_text()
    rows = [{"email": "nobody", "first_name": "Max"}]
    report = await ContactSync(FakeGateway(), journal=tmp_path / "other.db").run(rows)
    assert report.failures == tmp_path / "other.failures.jsonl"
    assert (await ContactSync(FakeGateway()).run(rows)).failures is None
