"""The lines that commands print of a report, a journal or a contact, and what they refuse before anything is sent."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import Message, Tag, WriteReceipt, errors
from aelyst_async.cli import contacts, main, mirror, related, summary
from aelyst_async.cli.explain import explain
from aelyst_async.cli.export import _lines as export_lines
from aelyst_async.cli.preview import change_lines, header_answer
from aelyst_async.cli.progress import LineView, duration, make_view, one_line
from aelyst_async.cli.target import Target
from aelyst_async.export import ExportReport
from aelyst_async.sync import MirrorPlan, SyncReport
from aelyst_async.sync.report import Progress
from aelyst_async.tables.model import HeaderProblem, NoteCount
from aelyst_providers.dmchamp import DmChampGateway

Capsys = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
     (3599.6, "1 h 00 min"), (10_020, "2 h 47 min")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_of_progress_says_quota_and_remaining_time() -> None:
    values: dict[str, Any] = dict.fromkeys(Progress.__annotations__, 0)
    line = one_line(Progress(**{**values, "total": 100, "created": 10, "quota": 9.5, "eta": 90.0, "elapsed": 5.0}))
    assert "quota 9.5/s" in line
    assert "1 min 30 s left" in line
    done = one_line(Progress(**{**values, "total": 10, "created": 10, "quota": None, "eta": 0.0}))
    assert "quota" not in done
    assert "left" not in done


def test_without_rich_progress_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert isinstance(make_view("rich"), LineView)


def test_summary_of_a_resumed_run_that_waited() -> None:
    report = SyncReport(
        source="a.csv", target="aelyst", rows=5, total=5, created=3, skipped=2, resumed=True, requests={"POST 200": 4},
        waited=8.0, network=2.0, quota_used=0.875,
    )  # fmt: skip
    lines = summary.lines(report, resume="aelyst sync a.csv")
    assert "the last run was interrupted; this run continued from its journal" in lines
    assert "     2 skipped: another row of the file has the same key" in lines
    assert lines[-1].endswith("500 ms a request, 0.0 s computing, 2.0 s a request waiting for the quota; "
                              "88% of the quota used")  # fmt: skip
    plain = summary.lines(SyncReport(rows=1, total=1, created=1, requests={"POST 200": 1}), resume="x")
    assert not [line for line in plain if "quota" in line or "skipped" in line or "interrupted" in line]


def test_more_kinds_of_changes_than_are_shown_are_counted() -> None:
    changes = [
        NoteCount(column=f"c{row}", change="trimmed", count=1, row=row, before=" a", after="a") for row in range(1, 21)
    ]
    lines = list(change_lines(changes, 6))
    assert f"and {len(changes) - len(lines) + 1} more kinds of changes" in lines[-1]


def problem(message: str, *flags: str, choice: bool = False) -> HeaderProblem:
    return HeaderProblem(columns=(), message=message, flags=flags, choice=choice)


def test_header_answer_has_one_command_if_every_problem_has_one_remedy() -> None:
    found = [problem("'Tags': read-only", "--map Tags="), problem("2 unknown columns", "--ignore-unknown")]
    assert header_answer(found, "a.csv", ["sync", "a.csv"]).splitlines() == [
        "a.csv: 2 problems with its columns; nothing was sent",
        "  - 'Tags': read-only", "      --map Tags=",
        "  - 2 unknown columns", "      --ignore-unknown",
        "all together: aelyst sync a.csv --map Tags= --ignore-unknown",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (problem("no key"), ["  - no key"]),
        (
            problem("two e-mail columns", "--map A=email", "--map B=email", choice=True),
            ["  - two e-mail columns", "      --map A=email   or   --map B=email"],
        ),
    ],
    ids=["no remedy", "a choice"],
)
def test_header_answer_has_no_common_command_if_one_problem_needs_a_decision(
    other: HeaderProblem, shown: list[str]
) -> None:
    answer = header_answer([problem("'Tags': read-only", "--map Tags="), other], "a.csv", ["sync", "a.csv"])
    assert answer.splitlines()[3:] == shown


def test_export_says_what_it_left_out_and_what_a_spreadsheet_would_calculate() -> None:
    report = ExportReport(file=Path("a.csv"), format="csv", rows=1_234, key="email", empty=2, changed=3, formulas=1)
    lines = export_lines(report, "aelyst", "aelyst sync a.csv")
    assert lines[0].startswith("aelyst → a.csv: 1,234 contacts in ")
    assert "2 contacts have no value in any exported field and were left out" in lines
    assert [line for line in lines if line.startswith("3 rows have values that a sync writes in another form")]
    assert [line for line in lines if line.startswith("1 cell begins like a formula")]
    assert "no journal was kept, so a sync sends every row" in lines
    several = export_lines(ExportReport(file=Path("a.csv"), format="csv", rows=1, key="email", formulas=2), "x", "y")
    assert [line for line in several if line.startswith("2 cells begin like a formula")]


class Gateway:
    """An API in memory that every provider's name opens."""

    schema = DmChampGateway.schema
    removed: list[tuple[str, str]]

    def __init__(self) -> None:
        self.removed = []

    async def tags(self, who: Any) -> tuple[Tag, ...]:
        return (Tag("vip"), Tag("new", "since March"))

    async def messages(self, who: Any) -> tuple[Message, ...]:
        return (
            Message(id="1", text="hi", direction="in", created_at=None, raw={}),
            Message(id="2", text=None, direction=None, created_at=None, raw={"audio": "é"}),
        )

    async def remove_from_list(self, who: Any, list_id: str) -> WriteReceipt:
        self.removed.append((str(who), list_id))
        return WriteReceipt(identifier=who)

    async def upsert(self, who: Any, fields: Any) -> WriteReceipt:
        return WriteReceipt(identifier=who, created=False, not_applied=("phone", "email"))


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()

    async def open_target(provider: str, base_url: str | None, *_: object, **__: object) -> Target:
        return Target(gateway=made, name=provider, base_url="")

    monkeypatch.setattr(related, "open_target", open_target)
    monkeypatch.setattr(contacts, "open_target", open_target)
    return made


def test_tags_and_messages_are_a_line_each(gateway: Gateway, capsys: Capsys) -> None:
    assert main(["tags", "phone:+60123456789", "--from", "dmchamp"]) == 0
    assert capsys.readouterr().out == "vip\nnew: since March\n"
    assert main(["messages", "phone:+60123456789", "--from", "dmchamp"]) == 0
    assert capsys.readouterr().out == '[in] hi\n{"audio": "é"}\n'


def test_lists_remove(gateway: Gateway, capsys: Capsys) -> None:
    assert main(["lists", "remove", "phone:+60123456789", "vip", "--to", "dmchamp"]) == 0
    assert capsys.readouterr().out == "phone:+60123456789 removed from vip\n"
    assert gateway.removed == [("phone:+60123456789", "vip")]


def test_a_write_says_which_fields_were_not_applied(gateway: Gateway, capsys: Capsys) -> None:
    assert main(["upsert", "phone:+60123456789", "first_name=Ann", "--to", "dmchamp"]) == 0
    assert "not applied, because the contact exists: phone, email\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["first_name"], "'first_name': write FIELD=VALUE"),
        (["phone=0123", "email=x"], "phone: '0123' is not a phone number"),
    ],
)
def test_wrong_fields_are_refused_before_the_write(
    gateway: Gateway, words: list[str], message: str, capsys: Capsys
) -> None:
    assert main(["upsert", "phone:+60123456789", *words, "--to", "dmchamp"]) == 2
    assert message in capsys.readouterr().err


def test_identifier_of_no_kind_is_usage(capsys: Capsys) -> None:
    assert main(["get", "nobody", "--from", "aelyst"]) == 2
    assert capsys.readouterr().err.startswith("aelyst get: ")


@pytest.mark.parametrize(
    ("provider", "advice"),
    [
        ("sandbox", "check whether the sandbox's tokens were changed"),
        ("aelyst", "check AELYST_TOKEN"),
        ("gone", "check the provider's environment variable (aelyst providers)"),
    ],
)
def test_a_refused_credential_names_where_it_is_from(provider: str, advice: str) -> None:
    error = errors.AuthenticationError(status=401, message="bad key", method="GET")
    assert explain(error, provider=provider) == (f"the credential was refused (401 bad key); {advice}", 2)


def test_a_wrong_setting_of_an_unknown_provider_keeps_its_words() -> None:
    assert explain(errors.ConfigurationError("base_url: no"), provider="gone") == ("base_url: no", 2)


def test_a_provider_that_cannot_be_imported_is_named_and_not_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    from aelyst_async import registry

    broken = EntryPoint("broken", "no_such_module:Gateway", "aelyst_async.providers")
    found = registry._found()
    monkeypatch.setattr(registry, "_found", lambda: {**found, "broken": broken})
    assert main(["providers"]) == 0
    assert "broken\n  cannot be used: " in capsys.readouterr().out
    assert "broken" not in {one["name"] for one in json.loads(_json(capsys)) if "can" in one}
    assert main(["sync", "--help"]) == 0
    assert "broken" not in capsys.readouterr().out


def _json(capsys: Capsys) -> str:
    assert main(["providers", "--json"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-errors", "2%%"], "--max-errors 2%%: write a share such as 1%"),
        (["--max-errors", "200%"], "--max-errors 200%: write a share such as 1%"),
        (["--max-deletes", "x%"], "--max-deletes x%: write a number of contacts, or a share such as 5%"),
        (["--concurrency", "many"], "--concurrency many: not a whole number from 1"),
        (["--broker", "nats://h", "--journal", "postgresql+asyncpg://h/d", "--verify", "1%"],
            "--verify and --delete-missing are not for rows that workers send"),
    ],
)  # fmt: skip
def test_options_that_sync_refuses(
    words: list[str], message: str, capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AELYST_TOKEN", "token")
    Path("people.csv").write_text("email\na@example.com\n")
    assert main(["sync", "people.csv", "--to", "aelyst", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_directory_is_no_file_of_contacts(capsys: Capsys, tmp_path: Path) -> None:
    assert main(["sync", str(tmp_path), "--to", "aelyst"]) == 2
    assert "is a directory; name a CSV, JSONL or Parquet file" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://h", "http://h:0", "http://[::1", "h"])
def test_the_address_of_a_sandbox_is_a_url(url: str, capsys: Capsys) -> None:
    assert main(["get", "id:1", "--from", "sandbox", "--base-url", url]) == 2
    assert "not a URL such as http://127.0.0.1:8787" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rest", "ending"), [(0, []), (1_200, ["  … and 1,200 more"])], ids=["all named", "more than are named"]
)
def test_summary_of_a_mirror_names_the_missing_contacts(rest: int, ending: list[str]) -> None:
    report = SyncReport(dry_run=True, missing=2 + rest, missing_contacts=("id:1", "id:2"))
    assert mirror.mirror_lines(report)[1:] == ["  id:1", "  id:2", *ending]


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), (" YES \n", True), ("\n", False), ("", False)])
async def test_confirmation_names_ten_contacts_and_counts_the_rest(
    answer: str, agreed: bool, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def line() -> str:
        return answer

    monkeypatch.setattr(mirror, "_line", line)
    confirm = mirror.settings(argparse.Namespace(delete_missing=True, max_deletes=None, yes=False), lambda: None)[
        "confirm"
    ]
    plan = MirrorPlan(missing=12, listed=100, names=tuple(f"id:{number}" for number in range(12)))
    assert await confirm(plan) is agreed
    err = capsys.readouterr().err
    assert err.startswith("12 of 100 contacts of the account are not in the file:\n  id:0\n")
    assert "  id:9\n  … and 2 more (--dry-run names them)\ndelete them? [y/N] " in err
