"""The standard streams of the command: silent, closed and full ones, and signals while it waits for input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aelyst_async.cli import main
from aelyst_async.sync.journal import Journal
from tests.cli.test_unusual_responses import Serve, serve
from tests.servers import reply

__all__ = ["serve"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and signals of POSIX")

SYNC = [sys.executable, "-m", "aelyst_async", "sync"]
QUIET = ["--to", "aelyst", "--progress", "none"]
TABLE = "email,first_name\n" + "".join(f"p{number}@example.com,Ann\n" for number in range(5))
UPDATED = reply(200, {"contactId": 1})


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("source", ["-", "pipe", "no writer"])
def test_sync_from_a_silent_pipe_can_be_interrupted(
    serve: Serve, source: str, number: signal.Signals, code: int
) -> None:
    serve(UPDATED)
    os.mkfifo("pipe")
    Journal.open("s.db").close()
    process = subprocess.Popen(
        [*SYNC, "-" if source == "-" else "pipe", *QUIET, "--journal", "s.db"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writer = os.open("pipe", os.O_RDWR) if source == "pipe" else None
    try:
        while not Path("s.db-wal").exists():  # an existing journal is opened just before the source is read
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        if writer is not None:
            os.close(writer)
    assert process.returncode == code, err
    assert "stopped early: interrupted" in out


def test_sync_reads_a_pipe_once(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(UPDATED)
    os.mkfifo("pipe")
    for words in ("5 created", "5 unchanged (no request)"):
        writer = threading.Thread(target=lambda: Path("pipe").write_text(TABLE))
        writer.start()
        assert main(["sync", "pipe", *QUIET]) == 0
        writer.join(10)
        assert words in capsys.readouterr().out
    assert Path("stdin.aelyst.db").exists()


@pytest.mark.parametrize(
    "closed", ["<&- >&- 2>&-", *(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", ">&-", "2>&-"))]
)
def test_sync_works_with_closed_standard_streams(serve: Serve, closed: str) -> None:
    """A plain cron job closes them. Sockets would then get their numbers, which makes libuv abort."""
    serve(UPDATED)
    Path("people.csv").write_text(TABLE)
    command = f'"{sys.executable}" -m aelyst_async sync people.csv --to aelyst --json {closed}'
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_device_behind_the_standard_streams_is_reported(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)  # empty: the output is flushed only when Python exits
    serve(UPDATED)
    Path("people.csv").write_text(TABLE)
    for redirected, code, words in (
        (">/dev/full", 2, "aelyst: cannot print: no space left on device"),
        ("2>/dev/full", 0, ""),
    ):
        command = f'"{sys.executable}" -m aelyst_async sync people.csv --to aelyst --progress plain {redirected}'
        process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert process.returncode == code
        assert words in process.stderr
        assert "Traceback" not in process.stderr
