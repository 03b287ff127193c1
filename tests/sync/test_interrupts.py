"""A sync that is interrupted at a random moment ends with the documented outcome and never crashes its process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("interrupts.py")

pytestmark = [pytest.mark.hostile, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are of POSIX")]


def interrupts(count: int, seed: int, rows: int = 4_000) -> dict[str, int]:
    """Return the number of runs per outcome. Runs in a separate process, because a crash would end the tests."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", str(count), "--seed", str(seed), "--rows", str(rows)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return dict(json.loads(done.stdout))


def test_sync_interrupted_at_random_ends_as_documented() -> None:
    assert sum(interrupts(15, seed=1).values()) == 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 7))
def test_sync_interrupted_five_hundred_times_ends_as_documented(seed: int) -> None:
    ends = interrupts(100, seed)
    assert sum(ends.values()) == 100
    interrupted = sum(number for end, number in ends.items() if not end.endswith("complete"))
    assert interrupted > 50, "most interrupts came during the run"
