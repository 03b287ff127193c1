"""`aelyst sync --delete-missing`: options, confirmation on a terminal, and output."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.cli import main, sync
from aelyst_async.cli.target import Target
from tests.cli.running import url
from tests.export.fakes import Account, aelyst_contact

__all__ = ["url"]

WORDS = ["sync", "p.csv", "--to", "aelyst", "--progress", "none"]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """Return an account of four contacts in memory. The file has two of them."""
    made = Account([aelyst_contact(number) for number in range(1, 5)])

    async def open_target(provider: str, base_url: str | None, *_: object, **__: object) -> Target:
        return Target(gateway=made, name=provider, base_url="")

    monkeypatch.setattr(sync, "open_target", open_target)
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text("email,first_name\np1@example.com,P1\np2@example.com,P2\n")
    return made


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main([*WORDS, *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_delete_missing_needs_yes_without_a_terminal(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--delete-missing")
    assert (code, out, account.calls) == (2, "", {})
    assert "--yes" in err
    assert not Path("p.csv.aelyst.db").exists()


def test_delete_missing_with_yes_deletes_without_a_question(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "--delete-missing", "--yes", "--max-deletes", "50%")
    assert code == 0
    assert "2 contacts of the account are not in the file; 2 deleted" in out
    assert sorted(account.contacts_by_id) == ["1", "2"]


def test_delete_missing_default_limit_is_ten_percent(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--delete-missing", "--yes")
    assert code == 1
    assert "2 of 4 contacts are not in the source, more than --max-deletes 10% allows (0)" in out
    assert "--max-deletes 2" in out
    assert len(account.contacts_by_id) == 4


def test_delete_missing_dry_run_lists_the_contacts(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--delete-missing", "--dry-run", "--max-deletes", "2")
    assert code == 0
    assert "2 contacts of the account are not in the file and would be deleted:" in out
    assert "id:3 email:p3@example.com" in out
    assert (len(account.contacts_by_id), account.writes) == (4, 0)


def test_delete_missing_json_report_has_the_counts(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--delete-missing", "--yes", "--max-deletes", "2", "--json")
    report = json.loads(out)
    assert (report["missing"], report["deleted"], report["not_deleted"]) == (2, 2, None)


def test_delete_missing_explains_why_nothing_was_deleted(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("p.csv")
    file.write_text(file.read_text().rstrip("\n"))
    code, out, _ = run(capsys, "--delete-missing", "--yes", "--max-deletes", "2")
    assert code == 1
    assert "nothing was deleted: the last line of p.csv has no line end" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-deletes", "5"], "--max-deletes needs --delete-missing"),
        (["--yes"], "--yes needs --delete-missing"),
        (["--delete-missing", "--yes", "--max-deletes", "x"], "write a number of contacts"),
        (["--delete-missing", "--yes", "--max-deletes", "101%"], "write a number of contacts"),
        (["--delete-missing", "--yes", "--max-deletes", "-1"], "--max-deletes"),
        (["--delete-missing", "--yes", "--journal", "none"], "needs a journal"),
    ],
)
def test_delete_missing_rejects_invalid_options(
    account: Account, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out, account.calls) == (2, "", {})
    assert message in err


def test_delete_missing_rejects_a_failures_file(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.failures.csv").write_text("email,first_name,error\np1@example.com,P1,x\n")
    code = main(["sync", "p.failures.csv", "--to", "aelyst", "--delete-missing", "--yes"])
    assert code == 2
    assert "failed before" in capsys.readouterr().err
    assert account.calls == {}


def test_delete_missing_rejects_a_provider_without_listing(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", "p.csv", "--to", "dmchamp", "--delete-missing", "--yes"]) == 2
    assert "list contacts, which --delete-missing needs" in capsys.readouterr().err
    assert account.calls == {}


class Terminal:
    """The command on a pseudo-terminal."""

    def __init__(self, url: str, tmp_path: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "aelyst_async", "sync", "p.csv", "--to", "sandbox", "--base-url", url]
        self.process = subprocess.Popen(
            [*command, "--delete-missing", "--max-deletes", "100%", *words], stdin=slave, stdout=slave, stderr=slave,
            cwd=tmp_path, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self.master, 4096)
        except OSError:  # Linux reports the end of a pseudo-terminal as an error
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(20)


@pytest.fixture
def sandbox(url: str, tmp_path: Path) -> Any:
    """Return a function that lists the e-mail addresses of the sandbox. It has three contacts, the file has one."""
    from tests.cli.running import Cli

    cli = Cli(url, None)  # type: ignore[arg-type]
    cli.control("reset", {})
    contacts = [{"email": f"p{number}@example.com", "firstName": f"P{number}"} for number in range(3)]
    cli.control("contacts/aelyst", contacts)
    (tmp_path / "p.csv").write_text("email,first_name\np0@example.com,P0\n")
    return lambda: sorted(one["contact"]["email"] for one in cli.control("contacts/aelyst")["items"])


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 1), ("n\n", 1, 3), ("\n", 1, 3)])
def test_delete_missing_asks_for_confirmation_on_a_terminal(
    url: str, sandbox: Any, tmp_path: Path, answer: str, code: int, left: int
) -> None:
    terminal = Terminal(url, tmp_path)
    terminal.until("delete them? [y/N]")
    assert "2 of 3 contacts of the account are not in the file" in terminal.seen
    assert len(sandbox()) == 3
    os.write(terminal.master, answer.encode())
    assert terminal.end() == code, terminal.seen
    assert len(sandbox()) == left


def test_delete_missing_confirmation_can_be_interrupted(url: str, sandbox: Any, tmp_path: Path) -> None:
    terminal = Terminal(url, tmp_path)
    terminal.until("delete them? [y/N]")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130, terminal.seen
    assert "interrupted" in terminal.seen
    assert len(sandbox()) == 3
