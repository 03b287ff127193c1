"""What names a process and a boot of the system, and a clock that measures ages across the processes of one boot.

A process id alone is used again; with the time at which the process started, and the boot in which it did, it is not
(proc(5): field 22 of ``/proc/PID/stat``, ``/proc/sys/kernel/random/boot_id``). Systems without these files know the
process id only.

Wall time jumps (NTP, a user), and a jump forward makes a fresh create look old. So ages are measured by the time since
the system started. It is comparable between processes whose `BOOT` is the same.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["BOOT", "identity", "lives", "uptime"]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return f"process {os.getpid()} {os.urandom(8).hex()}"


BOOT = _boot()
"""Identifies this boot of the system. Where the system does not tell (all but Linux), it identifies this process."""

if hasattr(time, "CLOCK_BOOTTIME"):

    def uptime() -> float:
        """Return the seconds since the system started, including those in suspension."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def uptime() -> float:
        """Return the seconds of a clock that only goes forward."""
        return time.monotonic()


def identity() -> dict[str, Any]:
    """Return what names this process, JSON-ready."""
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "started": _started(pid)}


def lives(process: dict[str, Any]) -> bool | None:
    """Whether the process that `identity` named still runs; None where that cannot be told: another host."""
    if process.get("host") != socket.gethostname():
        return None
    pid, started = process.get("pid"), process.get("started")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31:
        return False
    if started is not None:
        return bool(_started(pid) == started)
    if sys.platform == "win32":
        return None  # os.kill would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's
    return True


def _started(pid: int) -> str | None:
    try:
        # The second field, the program's name in brackets, may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        if fields[0] in {b"Z", b"X"}:
            return None  # dead, not collected by its parent yet
        return f"{boot} {int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return None
