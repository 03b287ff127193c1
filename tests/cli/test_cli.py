"""The command line against a real sandbox: output, streams and exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.cli import main

COLUMNS = "email,first_name,custom_fields.Age:number\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a sandbox in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aelyst_async", "sandbox", "--port", "0", "--quota", "400/s"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def people(name: str, count: int, *, prefix: str, first: str = "Ann") -> str:
    text = COLUMNS + "".join(f"{prefix}{number}@example.com,{first} {number},{number}\n" for number in range(count))
    Path(name).write_text(text)
    return name


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_sync_reports_counts_and_a_second_sync_sends_nothing(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = people("people.csv", 20, prefix="a")
    Path(file).write_text(Path(file).read_text() + "bad,x,1\n")
    words = ("sync", file, "--to", "sandbox", "--base-url", url)
    code, out, err = run(capsys, *words)
    assert code == 1
    assert "    20 created" in out
    assert "1 failed: people.failures.jsonl" in out
    assert "why rows failed:\n     1 × email: not an e-mail address" in out
    assert all(" rows · " in line for line in err.splitlines()), "plain lines without a terminal"
    assert out.startswith(f"people.csv → sandbox {url} (already running)\n")
    assert json.loads(Path("people.failures.jsonl").read_text())["row"] == 21

    people("people.csv", 20, prefix="a")
    code, out, _ = run(capsys, *words, "--progress", "none")
    assert code == 0
    assert "20 unchanged (no request)" in out
    assert "requests" not in out
    assert not Path("people.failures.jsonl").exists(), "the file is from an earlier run"

    code, out, _ = run(capsys, "sync", "status", "people.csv.sandbox.db")
    assert code == 0
    assert "20 sent" in out
    assert "ended with exit code 0" in out

    code, out, _ = run(capsys, "get", "email:a3@example.com", "--from", "sandbox", "--base-url", url)
    assert code == 0
    assert "first_name         Ann 3" in out
    assert "custom_fields.Age  3" in out


def test_sync_json_prints_a_report_and_plain_progress(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = people("people.csv", 5, prefix="b")
    code, out, err = run(
        capsys, "sync", file, "--to", "sandbox", "--base-url", url, "--json", "--progress", "plain", "--journal", "none"
    )
    report = json.loads(out)
    assert (code, report["created"], report["exit_code"], report["version"]) == (0, 5, 0, 1)
    assert report["requests"] == {"POST 200": 5}
    assert "5 of 5 rows" in err
    assert [path.name for path in Path().iterdir()] == ["people.csv"]


def test_dry_run_sends_nothing(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = people("people.csv", 5, prefix="c")
    code, out, _ = run(capsys, "sync", file, "--to", "sandbox", "--base-url", url, "--dry-run")
    assert code == 0
    assert "dry run: nothing was sent" in out
    assert "5 would be created" in out
    code, _, err = run(capsys, "get", "email:c1@example.com", "--from", "sandbox", "--base-url", url)
    assert (code, err) == (1, "aelyst get: no such contact: email:c1@example.com (Contact not found)\n")


def test_sync_reports_its_rate_limiter_to_the_sandbox(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = people("learn.csv", 20, prefix="l")
    assert run(capsys, "sync", file, "--to", "sandbox", "--base-url", url, "--progress", "none")[0] == 0
    reports = json.load(urllib.request.urlopen(f"{url}/_sandbox/limiters", timeout=5))
    newest = min((one for one in reports if one["name"] == "aelyst sync"), key=lambda one: one["silent"])
    assert newest["ended"]
    limits = {one["endpoint"]: (one["limit"], one["enforced"]["limit"]) for one in newest["buckets"]}
    assert limits["POST /contact/create_or_update/{identifier}"] == (400, 400)


def test_sync_starts_an_embedded_sandbox_and_reports_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.cli.target.SANDBOX_URL", "http://127.0.0.1:9")
    file = people("people.csv", 5, prefix="d")
    code, out, err = run(capsys, "sync", file, "--to", "sandbox", "--progress", "none")
    assert code == 0
    assert "5 created" in out
    assert "no sandbox is running: started one for this run" in err
    code, _, err = run(capsys, "get", "id:1", "--from", "sandbox")
    assert code == 2
    assert "start one with: aelyst sandbox" in err


def test_create_update_upsert_and_get_one_contact(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--to", "sandbox", "--base-url", url)
    fields = ("first_name=Zoë", "custom_fields.Vip:checkbox=yes")
    code, out, _ = run(capsys, "create", "email:zoe@example.com", *fields, *at)
    assert (code, out) == (0, "created email:zoe@example.com\n")
    time.sleep(0.1)
    code, out, _ = run(capsys, "update", "email:zoe@example.com", "lastName=Lee", *at, "--json")
    assert (code, json.loads(out)["created"]) == (0, False)
    code, out, _ = run(capsys, "upsert", "email:zoe@example.com", "last_name=", *at)
    assert (code, out.startswith("updated email:zoe@example.com (id ")) == (0, True)
    _, out, _ = run(capsys, "get", "email:zoe@example.com", "--from", "sandbox", "--base-url", url, "--json")
    contact = json.loads(out)
    assert (contact["first_name"], contact["last_name"]) == ("Zoë", None)
    assert contact["custom_fields"] == [{"name": "Vip", "value": True}]
    assert run(capsys, "tags", "email:zoe@example.com", "--from", "sandbox", "--base-url", url)[0] == 0


def test_sync_lists_and_messages_work_with_dmchamp(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMCHAMP_API_KEY", "sandbox-token")
    Path("people.csv").write_text("phoneNumber,firstName\n+60123456789,Ann\n+60123456780,Bo\n")
    at = ("--base-url", f"{url}/dmchamp/v1")
    code, out, err = run(capsys, "sync", "people.csv", "--to", "dmchamp", "--key", "phone", "--progress", "none", *at)
    assert code == 0, err
    assert "2 created" in out
    assert run(capsys, "lists", "add", "phone:+60123456789", "vip", "--to", "dmchamp", *at)[0] == 0
    assert run(capsys, "messages", "phone:+60123456789", "--from", "dmchamp", *at)[0] == 0
    assert "sandbox-token" not in out + err + "".join(path.read_bytes().decode("latin-1") for path in Path().iterdir())


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (None, ["--to", "sandbox"], "people.csv: no such file"),
        ("", ["--to", "aelyst"], "people.csv is empty"),
        (COLUMNS, ["--to", "nope"], "no provider named 'nope'; installed: aelyst"),
        (COLUMNS, ["--to", "callab"], "callab only reads contacts"),
        (COLUMNS, [], "--to is missing"),
        ("email,Colour\n", ["--to", "aelyst"], "column 'Colour' is no field of aelyst"),
        ("email,tags\n", ["--to", "aelyst"], "aelyst shows tags but takes no changes"),
        (COLUMNS, ["--to", "aelyst", "--max-errors", "x"], "--max-errors x: write a number"),
        (COLUMNS, ["--to", "aelyst", "--mapping", "nope.toml"], "nope.toml: no such file"),
        (COLUMNS, ["--to", "aelyst", "--journal", "no/such/state.db"], "no/such/state.db: no such file or directory"),
        (COLUMNS, ["--to", "aelyst", "--failures", "no/such/f"], "--failures no/such/f: no such directory"),
        (COLUMNS, ["--to", "aelyst", "--concurrency", "0"], "--concurrency 0: not a whole number from 1"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_2(
    content: str | None, words: list[str], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AELYST_TOKEN", "secret-token")
    if content is not None:
        Path("people.csv").write_bytes(content.encode("latin-1"))
    code, out, err = run(capsys, "sync", "people.csv", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("aelyst sync: ")
    assert not Path("people.csv.aelyst.db").exists(), "a rejected file leaves no journal"
    assert out == ""
    assert "secret-token" not in err


def test_missing_or_wrong_token_and_no_connection_exit_2(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = people("people.csv", 500, prefix="e")
    code, _, err = run(capsys, "sync", file, "--to", "aelyst")
    assert (code, "set AELYST_TOKEN" in err, err.count("\n")) == (2, True, 1)
    monkeypatch.setenv("AELYST_TOKEN", "wrong-secret")
    words = ("sync", file, "--to", "aelyst", "--progress", "none")
    code, out, err = run(capsys, *words, "--base-url", f"{url}/aelyst/v1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the credential was refused (401" in err
    assert "no contact was written" in err
    code, out, err = run(capsys, *words, "--base-url", "http://127.0.0.1:9/v1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot connect to 127.0.0.1:9" in err
    assert "wrong-secret" not in err


def test_help_version_and_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--help")[0] == 0
    assert run(capsys, "--version")[1].startswith("aelyst-async ")
    assert run(capsys)[0] == 2
    assert run(capsys, "sync")[0] == 2
    assert run(capsys, "sync", "a.csv", "b.csv", "--to", "aelyst")[0] == 2
    for command in ("sync", "get", "create", "update", "upsert", "tags", "messages", "lists", "sandbox"):
        code, out, _ = run(capsys, command, "--help")
        assert (code, "usage: aelyst " + command in out) == (0, True)


def test_sync_reads_a_toml_mapping_and_standard_input(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("map.toml").write_text('key = "email"\n[columns]\n"E-Mail" = "email"\nName = "first_name"\nJunk = ""\n')

    class Standard:
        buffer = __import__("io").BytesIO(b"E-Mail,Name,Junk\nin@example.com,Ann,x\n")

    monkeypatch.setattr(sys, "stdin", Standard)
    code, out, err = run(
        capsys, "sync", "-", "--to", "sandbox", "--base-url", url, "--mapping", "map.toml", "--progress", "none"
    )
    assert code == 0, err
    assert "standard input → sandbox http" in out
    assert "1 created" in out


def test_sync_retry_sends_failed_contacts(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    import urllib.request

    fault = json.dumps({"fault": "status,code:400=100%"}).encode()
    request = urllib.request.Request(
        f"{url}/_sandbox/faults", data=fault, headers={"Content-Type": "application/json"}, method="POST"
    )
    file = people("people.csv", 3, prefix="f")
    words = ("--to", "sandbox", "--base-url", url, "--progress", "none")
    assert json.load(urllib.request.urlopen(request, timeout=5))
    try:
        code, out, _ = run(capsys, "sync", file, *words)
        assert code == 1
        assert "3 failed" in out
    finally:
        urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/faults", method="DELETE"), timeout=5).close()
    code, out, _ = run(capsys, "sync", "status", "people.csv.sandbox.db")
    assert "3 given up" in out
    code, out, err = run(capsys, "sync", "retry", "people.csv.sandbox.db", "--progress", "none")
    assert code == 0, err
    assert "3 created" in out
    code, out, _ = run(capsys, "sync", file, *words)
    assert "3 unchanged" in out


def spawn(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aelyst_async", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(journal: str, state: str, count: int) -> None:
    """Wait until the journal has at least `count` contacts in the state, as seen by another process."""
    from aelyst_async.sync.journal.history import status

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if Path(journal).exists() and Path(journal).stat().st_size:
            try:
                if status(journal)["contacts"].get(state, 0) >= count:
                    return
            except Exception:  # noqa: BLE001 - it is being created
                pass
        time.sleep(0.02)
    raise AssertionError(f"{journal} never had {count} contacts in {state}")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_sync_resumes_after_a_signal(
    number: signal.Signals, code: int, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = people("people.csv", 3000, prefix=f"g{code}x")
    words = ("sync", file, "--to", "sandbox", "--base-url", url, "--progress", "none")
    process = spawn(*words)
    wait_for("people.csv.sandbox.db", "DONE", 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "stopping: finishing requests in progress" in err
    assert f"to continue: aelyst sync {file} --to sandbox" in out
    code, out, _ = run(capsys, *words, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["unchanged"] >= 20
    assert report["unchanged"] + report["created"] + report["updated"] == 3000


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_during_a_command_without_handlers_gives_its_exit_code(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "token")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = spawn("get", "email:a@example.com", "--from", "aelyst", "--base-url", address)
        connection, _ = silent.accept()  # the command now waits for a response
        with connection:
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err


def test_ctrl_c_that_keeps_uvloop_from_closing_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")

    def run(command: Coroutine[Any, Any, int]) -> int:
        command.close()
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("Cannot close a running event loop")

    monkeypatch.setattr(uvloop, "run", run)
    assert main(["sync", people("people.csv", 1, prefix="u"), "--to", "aelyst"]) == 130


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_second_sigterm_ends_the_drain_immediately(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    import urllib.request

    file = people("people.csv", 300, prefix="h")
    words = ("sync", file, "--to", "sandbox", "--base-url", url, "--progress", "none")
    process = spawn(*words, "--drain", "60")
    wait_for("people.csv.sandbox.db", "DONE", 5)
    slow = json.dumps({"fault": "latency,seconds:5=100%"}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/_sandbox/faults", data=slow, headers=headers), timeout=5
    ).close()
    try:
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert time.monotonic() - began < 3
        assert process.returncode == 143
    finally:
        urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/faults", method="DELETE"), timeout=5).close()
    code, out, _ = run(capsys, *words, "--json")
    report = json.loads(out)
    assert (code, report["failed"]) == (0, 0)
    page = json.load(urllib.request.urlopen(f"{url}/_sandbox/contacts/aelyst?search=h&duplicates=1", timeout=5))
    assert page["total"] == 0


def test_second_process_on_a_journal_exits_2(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = people("people.csv", 3000, prefix="i")
    words = ("sync", file, "--to", "sandbox", "--base-url", url, "--progress", "none")
    process = spawn(*words)
    wait_for("people.csv.sandbox.db", "DONE", 1)
    code, _, err = run(capsys, *words)
    assert code == 2
    assert f"people.csv.sandbox.db is in use by process {process.pid} on" in err
    assert err.count("\n") == 1
    code, out, _ = run(capsys, "sync", "status", "people.csv.sandbox.db")
    assert f"running (process {process.pid}" in out
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.usefixtures("uncounted")
def test_help_imports_no_heavy_package() -> None:
    heavy = ["aiohttp", "cattrs", "rich", "sqlite3", "uvloop", "yarl"]
    code = (
        "import sys\nfrom aelyst_async.cli import main\nmain(['--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
