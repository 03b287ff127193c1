"""A clock that cannot be set, to measure ages across the processes of one boot of the system.

Wall time jumps (NTP, a user), and a jump forward makes a fresh create look old. So ages are measured by the time since
the system started. It is comparable between processes whose `BOOT` is the same.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["BOOT", "uptime"]


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
