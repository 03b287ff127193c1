"""The command's own streams: pipes that are silent, closed or full, and signals while it waits for one."""

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
from tests.cli.test_odd_answers import Serve, serve
from tests.servers import reply

__all__ = ["serve"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and signals of POSIX")

SYNC = [sys.executable, "-m", "aelyst_async", "sync"]
QUIET = ["--to", "aelyst", "--progress", "none"]
TABLE = "email,first_name\n" + "".join(f"p{number}@example.com,Ann\n" for number in range(5))
UPDATED = reply(200, {"contactId": 1})


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("source", ["-", "pipe", "nobody writes"])
def test_a_silent_pipe_can_be_interrupted(serve: Serve, source: str, number: signal.Signals, code: int) -> None:
    serve(UPDATED)
    os.mkfifo("pipe")
    Journal.open("s.db").close()
    process = subprocess.Popen(
        [*SYNC, "-" if source == "-" else "pipe", *QUIET, "--journal", "s.db"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writer = os.open("pipe", os.O_RDWR) if source == "pipe" else None
    try:
        while not Path("s.db-wal").exists():  # a journal that exists is opened just before the source is read
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


def test_a_pipe_is_read_once_and_synced_whole(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(UPDATED)
    os.mkfifo("pipe")
    for words in ("5 created", "5 unchanged (no request)"):
        writer = threading.Thread(target=lambda: Path("pipe").write_text(TABLE))
        writer.start()
        assert main(["sync", "pipe", *QUIET]) == 0
        writer.join(10)
        assert words in capsys.readouterr().out
    assert Path("stdin.aelyst.db").exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(serve: Serve, closed: str) -> None:
    """A bare cron closes them; the numbers would go to sockets, which libuv answers with an abort."""
    serve(UPDATED)
    Path("people.csv").write_text(TABLE)
    command = f'"{sys.executable}" -m aelyst_async sync people.csv --to aelyst --json {closed}'
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_streams(serve: Serve, monkeypatch: pytest.MonkeyPatch, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)  # empty: what is printed is still there when Python ends
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
