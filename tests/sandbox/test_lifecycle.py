"""Start and stop: ports, databases, kills, open connections, and the exit codes of the command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import aiohttp
import pytest

from aelyst_async.cli import sandbox as command
from aelyst_async.sandbox import Sandbox
from aelyst_async.sandbox.server import SandboxError
from tests.sandbox.plain_http import Http

RUN = (
    "import argparse, sys; from aelyst_async.cli import sandbox; p = argparse.ArgumentParser();"
    " sandbox.add_parser(p.add_subparsers()); a = p.parse_args(['sandbox', *sys.argv[1:]]); sys.exit(a.run(a))"
)


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str], IO[str]]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RUN, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, json.loads(process.stdout.readline()), process.stderr
        finally:
            process.kill()


def _get(url: str) -> dict[str, object]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        value: dict[str, object] = json.load(answer)
        return value


async def test_url_raises_before_the_sandbox_is_started() -> None:
    sandbox = Sandbox(db="/nowhere/at/all.db")
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url
    await sandbox.aclose()


async def test_start_raises_for_a_taken_port() -> None:
    async with Sandbox() as first:
        with pytest.raises(SandboxError, match=r"cannot listen on 127\.0\.0\.1 port .*in use.*--port 0"):
            await Sandbox(port=first.port).start()
    async with Sandbox(port=first.port) as again:
        assert again.port == first.port


async def test_aclose_returns_quickly_with_open_connections(recwarn: pytest.WarningsRecorder) -> None:
    sandbox = Sandbox(faults=["latency,seconds:30=first:1@GET"])
    await sandbox.start()
    session = aiohttp.ClientSession()
    stream = await session.get(f"{sandbox.url}/_sandbox/events")
    headers = {"Authorization": "Bearer sandbox-token"}
    hanging = asyncio.ensure_future(session.get(sandbox.base_url("aelyst") + "/contact/id:1", headers=headers))
    idle = socket.create_connection(("127.0.0.1", sandbox.port))
    half = socket.create_connection(("127.0.0.1", sandbox.port))
    half.sendall(b"POST /aelyst/v1/contact/email:a@b.c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
    while sandbox.counters.in_flight < 2:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    await sandbox.aclose()
    assert time.monotonic() - begun < 2
    assert (await stream.read()).startswith(b"id: ")  # the stream ends as a complete response
    with pytest.raises(aiohttp.ClientError):
        await hanging
    await session.close()
    idle.close()
    half.close()
    await sandbox.aclose()
    await asyncio.sleep(0.05)  # older aiohttp clients close their transports in the next turns of the loop
    gc.collect()
    assert [str(one.message) for one in recwarn] == []


async def test_database_file_keeps_contacts_snapshots_and_ids(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    db = tmp_path / "sandbox.db"
    async with Sandbox(db=db) as sandbox:
        await Http(session, sandbox)("aelyst", "POST", "/contact/email:a@b.c", {"firstName": "Ann"})
        sandbox.snapshot("one")
    async with Sandbox(db=db) as sandbox:
        assert [one["firstName"] for one in sandbox.contacts("aelyst")] == ["Ann"]
        assert sandbox.snapshots() == ["one"]
        assert sandbox.add_contact("aelyst", {}) != sandbox.contacts("aelyst")[0]["id"]


async def test_start_rejects_a_foreign_file_without_changing_it(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("my notes, and long enough to be no database" * 50)
    for path, statement in ((other, "CREATE TABLE mine (x)"), (newer, "PRAGMA user_version = 99")):
        database = sqlite3.connect(path)
        database.execute(statement)
        database.commit()
        database.close()
    before = {path: path.read_bytes() for path in (text, other, newer)}
    for path, reason in (
        (text, "cannot use"),
        (other, "another program"),
        (newer, "newer version"),
        (tmp_path / "no" / "x.db", "cannot open"),
    ):
        with pytest.raises(SandboxError, match=reason):
            await Sandbox(db=path).start()
    assert before == {path: path.read_bytes() for path in (text, other, newer)}


def test_command_prints_a_ready_line_and_exits_0_on_sigterm() -> None:
    with _process("--quota", "5/s") as (process, ready, errors):
        assert ready["token"] == "sandbox-token"
        assert _get(f"{ready['url']}/_sandbox/state")["account"] == "default"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert errors.read() == f"inspector page: {ready['url']}/   stop with Ctrl-C\n"


def test_command_applies_connection_faults_on_its_own_loop() -> None:
    """The command runs on uvloop if installed, which has its own socket code."""
    faults = ["reset-after=nth:1", "truncate=nth:2", "slow-body,seconds:0.1=nth:3", "reset=nth:4"]
    with _process("--quota", "none", *(part for fault in faults for part in ("--fault", fault))) as (_, ready, _err):
        port = int(ready["url"].rpartition(":")[2])
        answers: list[bytes] = []
        for number in range(5):
            body = b'{"firstName":"A"}'
            path = f"/aelyst/v1/contact/email:p{number}@b.c"
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sandbox-token\r\nConnection: close"
            )
            received = b""
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                try:
                    while chunk := connection.recv(65536):
                        received += chunk
                except ConnectionResetError:
                    received = b"reset"
            answers.append(received.partition(b"\r\n\r\n")[2] or received)
        whole = b'{"code":"200","message":"Contact added successfully!"}'
        assert answers == [b"reset", whole[: len(whole) // 2], whole, b"reset", whole]
        counters = _get(f"{ready['url']}/_sandbox/counters")
        assert counters["contacts"] == {"aelyst": 4, "dmchamp": 0, "callab": 0}


def test_kill_during_writes_leaves_each_write_complete_or_absent(tmp_path: Path) -> None:
    db = tmp_path / "sandbox.db"
    with _process("--quota", "none", "--db", str(db)) as (process, ready, _):
        answered: list[int] = []

        def write() -> None:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            for number in range(100_000):
                request = urllib.request.Request(
                    f"{ready['url']}/aelyst/v1/contact/email:p{number}@b.c",
                    json.dumps({"firstName": "x" * 2000}).encode(),
                    {"Authorization": "Bearer sandbox-token", "Content-Type": "application/json"},
                )
                try:
                    opener.open(request, timeout=5).close()
                except OSError:
                    return
                answered.append(number)

        writer = threading.Thread(target=write)
        writer.start()
        while len(answered) < 100:
            time.sleep(0.005)
        process.kill()
        process.wait(5)
        writer.join(10)

    async def reopen() -> list[dict[str, object]]:
        async with Sandbox(db=db) as sandbox:
            contacts = sandbox.contacts("aelyst")
            for one in contacts:
                assert len(sandbox.store.history("default", "aelyst", one["id"])) == 1
            return contacts

    contacts = asyncio.run(reopen())
    stored = {str(one["email"]) for one in contacts}
    assert {f"p{number}@b.c" for number in answered} <= stored
    assert len(contacts) == len(stored) <= len(answered) + 1
    assert all(one["firstName"] == "x" * 2000 for one in contacts)


def _command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["sandbox", *arguments])
    code = parsed.run(parsed)
    out, err = capsys.readouterr()
    return code, out, err


async def test_repr_shows_the_url_and_no_token() -> None:
    sandbox = Sandbox()
    sandbox.set_tokens("dmchamp", "s3cret-key")
    other = sandbox.account("ci")
    assert repr(sandbox) == "<Sandbox not running (aelyst, callab, dmchamp)>"
    async with sandbox:
        assert repr(sandbox) == f"<Sandbox {sandbox.url} (aelyst, callab, dmchamp)>"
        assert repr(other) == f"<Account 'ci' {sandbox.url}/@ci (aelyst, callab, dmchamp)>"
        assert "token" not in repr(sandbox) + repr(other)
    assert "not running" in repr(sandbox)


def test_explain_prints_every_behaviour_and_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _command(capsys, "explain", "--assume", "put_missing=400", "--quota", "7/s")
    assert code == 0
    assert "aelyst.first_match" in out
    assert "= 400   of: 404 | 400 | 200" in out
    assert "= 7/s   of: a quota such as" in out
    code, out, _ = _command(capsys, "explain", "--json")
    rows = json.loads(out)
    assert {row["basis"] for row in rows} == {"documented", "assumed"}
    assert all(row["source"] for row in rows)
    (page,) = {row["url"] for row in rows if row["name"].startswith("dmchamp.") and row["url"]}
    assert f"page:   {page}" in _command(capsys, "explain")[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--quota", "fast"], "write 10/s"),
        (["--fault", "boom=1"], "not a fault"),
        (["--assume", "nothing"], "write SWITCH=VALUE"),
        (["--assume", "nothing=1"], "no switch"),
        (["--port", "99999"], "not a port"),
        (["--host", "256.0.0.1", "--port", "0"], "cannot listen"),
        (["--db", "/nowhere/at/all.db", "--port", "0"], "cannot open"),
        (["--contacts", "/nowhere.csv", "--port", "0"], "No such file"),
    ],
)
def test_command_with_invalid_options_prints_one_line_and_exits_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    code, out, err = _command(capsys, *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert err.startswith("aelyst sandbox: ")
    assert err.count("\n") == 1


def test_command_exits_2_for_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = _command(capsys, "--port", str(taken.getsockname()[1]))
    assert (code, out) == (2, "")
    assert "in use" in err


def test_command_with_public_host_warns_and_checks_host_headers() -> None:
    with _process("--host", "0.0.0.0", "--allow-host", "sandbox") as (process, ready, errors):
        port = int(ready["url"].rpartition(":")[2])
        assert ready["url"].startswith("http://127.0.0.1:")
        for host, status in (("127.0.0.1", b"200"), ("sandbox", b"200"), ("evil.example", b"403")):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(f"GET /_sandbox/state HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                assert connection.recv(12)[9:12] == status
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert "other machines can connect to this sandbox" in errors.read()
