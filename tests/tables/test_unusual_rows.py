"""Rows with unusual values: each fails alone, is written as JSON, and does not affect the choice among duplicates."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.sync import ContactSync
from aelyst_async.tables.duplicates import Duplicates
from tests.sync.fakes import FakeGateway


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class NotATime(datetime):
    """Like pandas' NaT: a datetime that equals nothing."""

    def __ne__(self, other: object) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


def unusual_rows() -> list[Any]:
    cycle: dict[str, Any] = {}
    cycle["x"] = cycle
    deep: Any = []
    for _ in range(3_000):
        deep = [deep]
    values = [
        NotATime(2025, 1, 1),
        float("nan"),
        float("inf"),
        10**5_000,
        cycle,
        deep,
        Hostile(),
        ["a"],
        {"a"},
        b"x",
        "\ud800",
        lambda: 1,
    ]
    rows: list[Any] = [{"email": f"p{number}@b.co", "first_name": value} for number, value in enumerate(values)]
    rows += [{("email", 1): "a@b.co"}, {"email": Hostile()}, {"phone": 10**5_000, "email": "q@b.co"}, Hostile(), None]
    return rows


@pytest.mark.parametrize("once", [False, True])
async def test_unusual_values_fail_only_their_rows(tmp_path: Path, once: bool) -> None:
    rows: list[Any] = [
        {"email": "first@b.co", "first_name": "A"},
        *unusual_rows(),
        {"email": "z@b.co", "first_name": "Z"},
    ]
    report = await ContactSync(FakeGateway(), failures=tmp_path / "f.jsonl").run(iter(rows) if once else rows)
    assert (report.created, report.failed) == (2, len(rows) - 2)
    for line in (tmp_path / "f.jsonl").read_text("utf-8").splitlines():
        failure = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert failure["errors"]
        assert len(line) < 10_000


@pytest.mark.parametrize(("duplicates", "expected"), [("last", "Second"), ("first", "First"), ("error", None)])
async def test_duplicates_policy_chooses_among_valid_rows_only(
    tmp_path: Path, duplicates: Duplicates, expected: str | None
) -> None:
    """A phone number that is impossible in its country makes the row invalid before the choice."""
    table = tmp_path / "people.csv"
    table.write_text(
        "email,first_name,phone\na@b.co,Bad,+4912\na@b.co,First,+60123456789\nA@b.co,Second,+60123456780\n"
        "a@b.co,Worse,+601\na@b.co,,+999\n"
    )
    gateway = FakeGateway()
    report = await ContactSync(gateway, duplicates=duplicates, failures=tmp_path / "f.jsonl").run(table)
    if expected is None:
        assert (report.created, report.failed, report.skipped) == (0, 5, 0)
    else:
        assert (report.created, report.failed, report.skipped) == (1, 3, 1)
        assert [stored.fields["first_name"] for stored in gateway.contacts] == [expected]


async def test_sharp_s_and_double_s_are_different_keys(tmp_path: Path) -> None:
    rows = [{"email": f"{name}@b.co", "first_name": "A"} for name in ("strasse", "straße", "STRASSE")]
    report = await ContactSync(FakeGateway()).run(rows)
    assert (report.created, report.skipped) == (2, 1)


async def test_report_lists_every_change(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("email,first_name,phone\nmailto:a@b.co,A,+60 12-345 6789\nmailto:b@b.co,B,\n")
    report = await ContactSync(FakeGateway()).run(table)
    assert [(note.column, note.change, note.count) for note in report.changes] == [
        ("email", "mailto: removed", 2), ("phone", "written as + and digits", 1),
    ]  # fmt: skip
    assert report.to_dict()["changes"][0] == {
        "column": "email", "change": "mailto: removed", "count": 2, "row": 1, "before": "'mailto:a@b.co'",
        "after": "'a@b.co'",
    }  # fmt: skip
