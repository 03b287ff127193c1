"""`aelyst export`: the command, its output, and a sync of the exported file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.cli import export, main, sync
from aelyst_async.cli.target import Target
from aelyst_async.sync.journal import Journal, Settled
from tests.export.fakes import Account, aelyst_contact
from tests.servers_external import PASSWORD, PostgresServer, postgres

__all__ = ["postgres"]

CONTACTS = [aelyst_contact(number, phone=None if number % 2 else f"+6012345678{number}") for number in range(1, 6)]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """Return an account in memory, opened for every provider name."""
    made = Account(CONTACTS)

    async def open_target(provider: str, base_url: str | None, *_: object, **__: object) -> Target:
        return Target(gateway=made, name=provider, base_url="")

    monkeypatch.setattr(export, "open_target", open_target)
    monkeypatch.setattr(sync, "open_target", open_target)
    monkeypatch.chdir(tmp_path)
    return made


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_export_prints_a_summary_and_keeps_a_journal(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "export", "--from", "aelyst", "--to", "people.csv")
    assert code == 0
    assert "5 contacts" in out
    assert "aelyst sync people.csv --to aelyst" in out
    assert "5 contacts ·" in err
    assert Path("people.csv.aelyst.db").exists()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "xlsx"])
def test_sync_of_an_unchanged_export_sends_nothing(
    account: Account, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    account.contacts_by_id["9"] = aelyst_contact(9, email=None, phone="+60123456780")
    assert run(capsys, "export", "--from", "aelyst", "--to", f"people.{kind}", "--json")[0] == 0
    account.calls.clear()
    code, out, _ = run(capsys, "sync", f"people.{kind}", "--to", "aelyst", "--progress", "none", "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], account.calls) == (0, 6, {})


def test_sync_of_an_edited_export_sends_the_edited_row(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "export", "--from", "aelyst", "--to", "people.csv")
    file = Path("people.csv")
    file.write_bytes(file.read_bytes().replace(b"P3,", b"Zoe,"))
    account.calls.clear()
    assert run(capsys, "sync", "people.csv", "--to", "aelyst", "--progress", "none")[0] == 0
    assert account.calls == {"PUT": 1}
    assert account.contacts_by_id["3"].first_name == "Zoe"


def test_export_without_a_journal_names_the_key(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "export", "--from", "aelyst", "--to", "people.csv", "--journal", "none", "--key", "email")
    assert "no journal was kept" in out
    assert "--journal none --key email" in out


def test_export_json_prints_a_report(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "export", "--from", "aelyst", "--to", "p.jsonl", "--json", "--progress", "json")
    report = json.loads(out)
    assert (code, report["rows"], report["format"], report["source"]) == (0, 5, "jsonl", "aelyst")
    assert json.loads(err.splitlines()[-1])["done"] == 5


def test_export_joins_conditions_with_and(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aelyst_providers.aelyst import AelystGateway, Field, HasTag

    monkeypatch.setattr(Account, "condition", staticmethod(AelystGateway.condition), raising=False)
    words = ["--where", "email contains @x.com", "--where", "tag vip", "--search", "ann"]
    assert run(capsys, "export", "--from", "aelyst", "--to", "p.csv", *words)[0] == 0
    assert account.asked == [("ann", Field("email").contains("@x.com") & HasTag("vip"))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "p.txt"], "must end in one of"),
        (["--to", "there.csv"], "--force"),
        (["--to", "p.csv", "--where", "x"], "takes no conditions"),
        (["--to", "p.csv", "--key", "name"], "the key must be email, phone"),
        (["--to", "no/p.csv"], "no such directory"),
        (["--to", "p.csv", "--journal", "mysql://db/x"], "mysql is not supported"),
    ],
)
def test_export_rejects_invalid_options_before_listing(
    account: Account, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    Path("there.csv").write_text("mine")
    code, out, err = run(capsys, "export", "--from", "aelyst", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert account.calls == {}
    assert Path("there.csv").read_text() == "mine"


def test_sync_of_an_export_with_a_postgresql_journal_sends_the_edited_row(
    account: Account, capsys: pytest.CaptureFixture[str], postgres: PostgresServer
) -> None:
    journal = postgres.url("exported", lease=60)
    code, out, err = run(capsys, "export", "--from", "aelyst", "--to", "people.csv", "--journal", journal)
    assert code == 0
    assert "schema=exported" in out
    assert PASSWORD not in out + err
    file = Path("people.csv")
    file.write_bytes(file.read_bytes().replace(b"P3,", b"Zoe,"))
    account.calls.clear()
    words = ("sync", "people.csv", "--to", "aelyst", "--journal", journal, "--progress", "none", "--json")
    code, out, _ = run(capsys, *words)
    assert (code, json.loads(out)["unchanged"], account.calls) == (0, 4, {"PUT": 1})
    assert list(Path().glob("*.db")) == []


def test_export_leaves_a_row_alone_that_another_process_has_claimed(
    account: Account, capsys: pytest.CaptureFixture[str], postgres: PostgresServer
) -> None:
    url = postgres.url("claimed", lease=60)
    other = Journal.open(url)
    try:
        key = "email:p1@example.com"
        assert key in other.claim([key])
        intent = Settled(key, "INTENT", "create", None, None, 1, None, 0)
        other.apply([intent])
        assert run(capsys, "export", "--from", "aelyst", "--to", "people.csv", "--journal", url)[0] == 0
        found = other.look_up([key, "email:p2@example.com"])
        assert {name: entry.state for name, entry in found.items()} == {key: "INTENT", "email:p2@example.com": "DONE"}
    finally:
        other.close()


def test_export_rejects_a_provider_without_listing(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "export", "--from", "dmchamp", "--to", "p.csv")
    assert code == 2
    assert "cannot list contacts" in err


def test_sync_uses_the_key_of_the_export_journal(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "export", "--from", "aelyst", "--to", "people.csv", "--key", "phone")
    code, out, _ = run(capsys, "sync", "people.csv", "--to", "aelyst", "--progress", "none", "--json")
    report: dict[str, Any] = json.loads(out)
    assert (code, report["unchanged"], report["failed"]) == (1, 2, 3)  # three contacts have no phone
    code, _, err = run(capsys, "sync", "people.csv", "--to", "aelyst", "--progress", "none", "--key", "email")
    assert code == 2
    assert "matches contacts by phone" in err
