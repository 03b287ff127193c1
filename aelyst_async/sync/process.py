"""Naming a process so that another one can tell later whether it still lives.

A process id alone is used again; with the time at which the process started, and the boot in which it did, it is not
(proc(5): field 22 of ``/proc/PID/stat``, ``/proc/sys/kernel/random/boot_id``). Systems without these files know the
process id only.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

__all__ = ["identity", "lives"]


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
