"""The files in examples/files: the runs and flags that each needs, and how many contacts arrive."""

# ruff: noqa: E501 - one file per line
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from aelyst_async.sandbox import Sandbox
from aelyst_async.sync import ContactSync, SyncError, read_contacts
from aelyst_providers.aelyst import AelystGateway

FILES = Path(__file__).parents[2] / "examples" / "files"


@attrs.frozen
class Run:
    """The flags of a run (as arguments), the flag that its output must name (None in the last run), and the counts."""

    source: dict[str, Any] = attrs.Factory(dict)
    sync: dict[str, Any] = attrs.Factory(dict)
    names: str | None = None
    arrive: int = 0
    fail: int = 0
    note: str | None = None


def one(arrive: int, fail: int = 0, note: str | None = None) -> list[Run]:
    return [Run(arrive=arrive, fail=fail, note=note)]


def two(names: str, arrive: int, fail: int = 0, note: str | None = None, **options: Any) -> list[Run]:
    """Two runs: the output of the first names the flag that the second uses."""
    source: dict[str, Any] = {
        name: options.pop(name) for name in ("encoding", "skip_lines", "sheet") if name in options
    }
    return [Run(names=names), Run(source, options, arrive=arrive, fail=fail, note=note)]


REST: dict[str, Any] = {"names": "--ignore-unknown", "ignore_unknown": True}
TABLE: dict[str, list[Run]] = {
    "google_contacts.csv": two(**REST, arrive=6, note="the first of several values taken"),
    "google_contacts_old.csv": two(**REST, arrive=6),
    "outlook_classic.csv": two(**REST, arrive=6),
    "outlook_new.csv": two(**REST, arrive=6),
    "hubspot.csv": two(**REST, arrive=6),
    "salesforce.csv": two(**REST, arrive=6),
    "mailchimp.csv": two(**REST, arrive=6, note="written in capitals"),
    "pipedrive.csv": two(**REST, arrive=6, note="split into first and last name"),
    "respond_io.csv": two(**REST, arrive=6),
    "windows-1252.csv": one(6),
    "windows-1250.csv": one(4),
    "windows-1251.csv": one(4),
    "shift_jis.csv": one(4),
    "mac_roman.csv": one(6),
    "utf-16.txt": one(6),
    "utf-16-no-bom.csv": one(6),
    "utf-8-bom.csv": one(6),
    "weak_guess.csv": two("--encoding windows-1252", 1, encoding="windows-1252"),
    "damaged_utf-8.csv": one(4, 1),
    "title_lines.csv": two("--skip-lines 3", 6, skip_lines=3),
    "titled.xlsx": two("--skip-lines 2", 1, skip_lines=2),
    "sep_line.csv": one(6),
    "pipes.csv": one(6),
    "empty_columns.csv": one(6),
    "short_rows.csv": one(2, 1),  # one row has no first name, which Aelyst requires
    "long_row.csv": one(1, 1),
    "bad_quote.csv": one(3, 1),
    "swallowed.csv": one(1, 1),
    "people.csv.gz": one(6),
    "people.zip": one(6),
    "pandas.csv": one(6),
    "pandas_twice.csv": one(6),
    "near_names.csv": one(1),
    "two_phones.csv": two(
        "--map 'Mobile Phone=phone'", 1, mapping=["Mobile Phone=phone"], ignore_unknown=True
    ),
    "full_name.csv": two("--map Name=split_name", 2, mapping=["Name=split_name"]),
    "phone_only.csv": [Run(arrive=1, fail=2, names="--key email,phone"), Run(sync={"key": "email,phone"}, arrive=2, fail=1)],
    "phones.csv": [
        Run(arrive=5, fail=4, names="--region"),
        Run(sync={"region": "MY", "drop_extensions": True, "mapping": ["phone=phone:first"]}, arrive=8, fail=1),
    ],
    "emails.csv": [Run(arrive=7, fail=2, names="email:first"), Run(sync={"mapping": ["email=email:first"]}, arrive=8, fail=1)],
    "dates.csv": [Run(arrive=1, fail=2, names="--date-format %d/%m/%Y"), Run(sync={"date_format": "%d/%m/%Y"}, arrive=3)],
    "checkboxes.csv": [
        Run(arrive=1, fail=3, names="--true"), Run(sync={"true": ["ja", "✓"], "false": ["nein"]}, arrive=4),
    ],
    "workbook.xlsx": one(2, 1, "a number written as text"),
    "two_sheets.xlsx": two("--sheet 'People'", 1, sheet="People"),
    "card.vcf": [Run(names="is a vCard file")],
    "login.csv": [Run(names="is an HTML page")],
    "array.json": [Run(names="is a JSON array")],
    "report.pdf": [Run(names="is a PDF document")],
}  # fmt: skip


def test_every_example_file_has_an_entry() -> None:
    assert set(TABLE) == {path.name for path in FILES.iterdir() if path.suffix not in {".py", ".pyc", ".md"}} - {
        "__pycache__"
    }


def test_example_files_match_their_script(tmp_path: Path) -> None:
    script = (FILES / "make_files.py").read_text("utf-8")
    (tmp_path / "make_files.py").write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    subprocess.run([sys.executable, tmp_path / "make_files.py"], check=True, env=environment, capture_output=True)
    for name in TABLE:
        assert (tmp_path / name).read_bytes() == (FILES / name).read_bytes(), name


@pytest.mark.parametrize("name", TABLE)
async def test_example_file_needs_the_expected_runs_and_flags(tmp_path: Path, name: str) -> None:
    async with Sandbox(port=0, quota="none") as sandbox:
        for run in TABLE[name]:
            sandbox.reset()
            async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway:
                sync = ContactSync(gateway, failures=tmp_path / "failures.jsonl", assume_new=True, **run.sync)
                report, refusal = None, ""
                try:
                    report = await sync.run(read_contacts(FILES / name, **run.source))
                except SyncError as error:
                    refusal = str(error)
            if report is None:
                assert run.names is not None, refusal
                assert run.names in refusal
                assert "\n" not in refusal
                assert (run.arrive, run.fail) == (0, 0)
                assert not (tmp_path / "failures.jsonl").exists()
                continue
            assert (report.created, report.failed) == (run.arrive, run.fail)
            reasons = (tmp_path / "failures.jsonl").read_text("utf-8") if report.failed else ""
            assert run.names is None or run.names in reasons
            assert run.note is None or run.note in {note.change for note in report.changes}
