"""`LockFile`: one holder per slot of a file, under any of its names, until the process ends."""

import contextlib
import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aelyst_async import locks
from aelyst_async.locks import LockFile

HOLD = """
import sys
from aelyst_async.locks import LockFile
lock = LockFile(sys.argv[1])
print(lock.try_lock(int(sys.argv[2])), flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys
from aelyst_async.locks import LockFile
lock = LockFile(sys.argv[1])
assert lock.try_lock()
if os.fork():
    os.kill(os.getpid(), 9)
lock.close()
print("forked", flush=True)
sys.stdin.read()
"""


WRITE = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
"""


def write_elsewhere(path: Path) -> str:
    """Try to write to the database in another process and return its stderr."""
    return subprocess.run([sys.executable, "-c", WRITE, str(path)], capture_output=True, text=True, check=False).stderr


@contextlib.contextmanager
def holder(path: Path, slot: int = 0, code: str = HOLD) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(slot)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
    return path


@pytest.mark.parametrize("alias", ["same", "symlink", "hard link"])
def test_try_lock_fails_in_a_second_process_for_any_file_name(database: Path, alias: str, tmp_path: Path) -> None:
    other = database
    if alias != "same":
        other = tmp_path / "elsewhere" / "other.db"
        other.parent.mkdir()
        (other.symlink_to if alias == "symlink" else other.hardlink_to)(database)
    with holder(other) as (_, answer), contextlib.closing(LockFile(database)) as lock:
        assert answer == "True"
        assert not lock.try_lock()
        assert lock.is_locked()
        assert lock.try_lock(1)  # another slot is free


def test_try_lock_succeeds_after_the_holder_is_killed(database: Path) -> None:
    with contextlib.closing(LockFile(database)) as lock:
        with holder(database):
            assert not lock.try_lock()
        assert lock.try_lock()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_lock_is_released_when_the_owner_of_a_forked_child_dies(database: Path) -> None:
    with holder(database, code=FORK) as (process, answer), contextlib.closing(LockFile(database)) as lock:
        assert answer == "forked"
        process.wait()
        assert lock.try_lock()


def test_lock_files_of_one_process_exclude_each_other_and_keep_sqlite_locks(database: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.hardlink_to(database)
    first, second = LockFile(database), LockFile(link)
    assert first.try_lock()
    assert first.try_lock()  # the holder may lock again
    assert not second.try_lock()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO t VALUES (1)")
        second.close()  # POSIX would drop SQLite's locks here if the descriptor were closed
        assert subprocess.run(  # noqa: PLW1510 - its exit code is the answer
            [
                sys.executable,
                "-c",
                f"import sqlite3; sqlite3.connect({str(database)!r}, timeout=0).execute('BEGIN IMMEDIATE')",
            ],
            stderr=subprocess.DEVNULL,
        ).returncode
        connection.execute("COMMIT")
    first.close()
    with contextlib.closing(LockFile(database)) as third:
        assert third.try_lock()


def test_close_is_idempotent_and_releases_only_its_own_slots(database: Path) -> None:
    first, second = LockFile(database), LockFile(database)
    assert first.try_lock(1)
    assert second.try_lock(2)
    first.unlock(2)  # not its own
    first.close()
    first.close()
    assert not second.is_locked(1)
    assert second.is_locked(2)
    second.close()


def test_lock_file_creates_a_file_with_mode_0600(tmp_path: Path) -> None:
    with contextlib.closing(LockFile(tmp_path / "new.db")):
        assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_try_lock_raises_where_the_file_system_has_no_locks(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", refuse)
    with contextlib.closing(LockFile(database)) as lock, pytest.raises(OSError, match="No locks available"):
        lock.try_lock()
