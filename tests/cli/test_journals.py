"""Journals: bound to the contents of a sandbox, not left behind by a rejected file, and shown by `sync status`."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.cli import main
from aelyst_async.sandbox import Sandbox
from aelyst_async.sync.journal.history import status
from aelyst_async.sync.journal.process import identity, lives
from tests.cli.running import Cli, url

__all__ = ["url"]

TABLE = "email,first_name\nann@example.com,Ann\nbo@example.com,Bo\n"


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(TABLE)
    cli = Cli(url, capsys)
    cli.control("reset", {}, "POST")
    return cli


def test_reset_sandbox_is_another_account(cli: Cli) -> None:
    assert cli.sync("people.csv")[0] == 0
    assert "2 unchanged" in cli.sync("people.csv")[1]
    cli.control("reset", {}, "POST")
    code, out, err = cli.sync("people.csv")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"belongs to another account: the sandbox at {cli.url} was started or reset since" in err
    assert cli.sync("people.csv", "--journal", "new.db")[0] == 0


def test_restored_snapshot_is_another_account(cli: Cli) -> None:
    cli.control("snapshots/empty", {}, "PUT")
    assert cli.sync("people.csv")[0] == 0
    cli.control("snapshots/empty/restore", {}, "POST")
    assert cli.sync("people.csv")[0] == 2


async def test_sandbox_with_a_database_file_keeps_its_instance_id(tmp_path: Path) -> None:
    async with Sandbox(db=tmp_path / "s.db") as first:
        instance = first.instance
        assert first.account("other").instance != instance
    async with Sandbox(db=tmp_path / "s.db") as again:
        assert again.instance == instance
        again.reset()
        assert again.instance != instance
    async with Sandbox() as one, Sandbox() as other:
        assert one.instance != other.instance


def test_files_with_the_same_stem_have_different_journals(cli: Cli) -> None:
    Path("people.jsonl").write_text('{"email": "cy@example.com", "first_name": "Cy"}\n')
    assert cli.sync("people.csv")[0] == cli.sync("people.jsonl")[0] == 0
    assert sorted(path.name for path in Path().glob("*.db")) == ["people.csv.sandbox.db", "people.jsonl.sandbox.db"]


@pytest.mark.parametrize(
    "content",
    ["", "first_name\nAnn\n", "email,Colour,Shape\na@example.com,red,round\n", '{"email": "a@b.co", "x": 1}\n'],
)
def test_rejected_file_leaves_no_journal(cli: Cli, content: str) -> None:
    name = "people.jsonl" if content.startswith("{") else "people.csv"
    Path("people.csv").unlink()
    Path(name).write_text(content)
    code, out, err = cli.sync(name)
    assert (code, out, "Traceback" in err) == (2, "", False)
    assert [path.name for path in Path().iterdir()] == [name]


def test_sandbox_log_does_not_contain_the_probe_request(cli: Cli) -> None:
    cli.control("requests", method="DELETE")
    cli("get", "email:ann@example.com", "--from", "sandbox", "--base-url", cli.url)
    paths = [one["path"] for one in cli.control("requests")["requests"]]
    assert paths == ["/contact/email:ann@example.com"]


def test_status_shows_counts_and_the_last_run(cli: Cli) -> None:
    assert cli.sync("people.csv", "--journal", "s.db")[0] == 0
    _, out, _ = cli("sync", "status", "s.db")
    assert out.startswith(
        f"s.db: contacts of sandbox at {cli.url}, matched by email\n         2 sent\nrun 1 of people.csv"
    )
    assert "2 of 2 rows done: 2 created" in out
    with sqlite3.connect("s.db") as journal:
        journal.execute("UPDATE contact SET state = 'PARKED' WHERE key = 'email:bo@example.com'")
        journal.execute("INSERT INTO run (started, seen, ended, exit, report) VALUES (1, 1, 1, 2, NULL)")
    journal.close()
    _, out, _ = cli("sync", "status", "s.db")
    assert "         1 sent\n         1 waiting\nrun 1 of people.csv" in out
    assert "1 later run ended before the first row" in out
    found = json.loads(cli("sync", "status", "s.db", "--json")[1])
    assert found["counts"] == {"sent": 1, "waiting": 1, "in_doubt": 0, "failed": 0}


def test_status_of_a_run_without_its_process_is_died(cli: Cli) -> None:
    assert cli.sync("people.csv", "--journal", "s.db")[0] == 0
    gone = json.loads(subprocess.check_output([sys.executable, "-c", IDENTITY], text=True))
    for process, state in ((gone, "died"), (identity(), "running"), ({**identity(), "host": "elsewhere"}, "unknown")):
        with sqlite3.connect("s.db") as journal:
            arguments = json.dumps({"process": process})
            journal.execute(
                "UPDATE run SET ended = NULL, exit = NULL, seen = 9e9, arguments = ?, host = ?",
                (arguments, process["host"]),
            )
        journal.close()
        run = status("s.db")["run"]
        assert (run["state"], run["done"]) == (state, 2)
    assert "ran on elsewhere" in cli("sync", "status", "s.db")[1]


IDENTITY = "import json\nfrom aelyst_async.sync.journal.process import identity\nprint(json.dumps(identity()))"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes of Linux")
def test_lives_distinguishes_reused_process_ids() -> None:
    assert lives(identity()) is True
    assert lives({**identity(), "started": "another boot 1"}) is False
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert lives({**identity(), "pid": child.pid}) is False
    child.wait()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET report = '{'", "UPDATE run SET report = '[1]'", "UPDATE run SET arguments = '\"x\"'",
        "UPDATE run SET started = 'yesterday'", "UPDATE run SET report = '{\"created\": \"x\"}'",
        "UPDATE contact SET state = 'BOGUS'",
    ],
)  # fmt: skip
def test_damaged_journal_prints_one_line(cli: Cli, statement: str) -> None:
    assert cli.sync("people.csv", "--journal", "s.db")[0] == 0
    with sqlite3.connect("s.db") as journal:
        journal.execute(statement)
    journal.close()
    for words in (("status", "s.db"), ("retry", "s.db", "--progress", "none")):
        code, _, err = cli("sync", *words)
        if words[0] == "retry" and ("started" in statement or "contact" in statement or '"created"' in statement):
            continue  # retry does not read this value
        assert (code, err.count("\n")) == (2, 1), err
        assert err.startswith(f"aelyst sync {words[0]}: s.db is damaged")


def test_foreign_database_as_journal_prints_one_line(cli: Cli) -> None:
    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE job (id)")
        other.execute(f"PRAGMA application_id = {0x61656C79}")
    other.close()
    for words in (("status",), ("retry",), ("people.csv", "--to", "sandbox", "--base-url", cli.url, "--journal")):
        code, _, err = cli("sync", *words, "other.db")
        assert (code, err.count("\n")) == (2, 1)
        assert "no journal of a sync" in err
        assert "move it away" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="file names of bytes")
def test_non_utf8_file_names_are_escaped_in_all_outputs(cli: Cli) -> None:
    name = os.fsdecode(b"p\xff\xfe.csv")
    Path(name).write_text(TABLE + "bad,x\n")
    for words in ((), ("--json",), ("--dry-run",), ("--dry-run", "--json"), ("--suggest-mapping",)):
        code, out, err = cli.sync(name, *words)
        assert code in {0, 1}, err
        out.encode()
        err.encode()
    assert "p\\xff\\xfe.csv" in cli.sync(name)[1]
    journal = f"{name}.sandbox.db"
    for rest in (("status", journal), ("status", journal, "--json"), ("retry", journal, "--progress", "none")):
        code, out, err = cli("sync", *rest)
        assert code == 0, err
        out.encode()
    assert cli.sync(f"{name.removesuffix('.csv')}.failures.csv")[0] == 1
    assert main(["sync", os.fsdecode(b"\xff.csv"), "--to", "sandbox"]) == 2
