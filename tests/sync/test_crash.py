"""A sync killed at any journal transition makes no duplicates, though responses get lost and contacts appear late."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sync.crash_child import POINTS
from tests.sync.other_sandbox import OtherSandbox

CHILD = ("-m", "tests.sync.crash_child")
ROWS = 60
TROUBLE = (
    "--quota", "none", "--assume", "aelyst.visible_after=0.25", "--fault", "reset-after=0.06",
    "--fault", "status,code:500=0.03", "--fault", "reset=0.03", "--fault", "status,code:503=0.02",
)  # fmt: skip

pytestmark = [pytest.mark.hostile, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is of POSIX")]


def write(path: Path, version: int, rows: int = ROWS) -> None:
    lines = ["email,first_name,custom_fields.Version:number"]
    lines += [f"person{row}@example.com,Person {row},{version}" for row in range(rows)]
    path.write_text("\n".join(lines) + "\n")


def spawn(
    sandbox: OtherSandbox,
    folder: Path,
    point: str = "none",
    number: int = 1,
    *,
    look: bool = True,
    upsert: str = "compose",
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, *CHILD, sandbox.base_url, str(folder / "people.csv"), str(folder / "state.db"), point,
            str(number), "yes" if look else "no", upsert,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def finish(sandbox: OtherSandbox, folder: Path, *, look: bool = True, upsert: str = "compose") -> dict[str, object]:
    """Run to the end; return the report."""
    out, err = spawn(sandbox, folder, look=look, upsert=upsert).communicate(timeout=60)
    assert out, err
    report = json.loads(out)
    outcomes = sum(report[name] for name in ("created", "updated", "unchanged", "failed", "skipped", "pending"))
    assert outcomes == report["rows"] == ROWS
    return dict(report)


def check(sandbox: OtherSandbox, version: int) -> None:
    """Every row is there exactly once, in its last state."""
    contacts = sandbox.contacts()
    emails = Counter(contact["email"] for contact in contacts)
    assert {email: count for email, count in emails.items() if count > 1} == {}
    assert set(emails) == {f"person{row}@example.com" for row in range(ROWS)}
    stale = [contact for contact in contacts if contact["custom_fields"] != [{"name": "Version", "value": version}]]
    assert stale == []


@pytest.mark.parametrize(
    ("point", "number", "upsert", "later"),
    [
        pytest.param(point, number, *modes, marks=() if (point, number) == (POINTS[3], 1) else pytest.mark.slow)
        for point in POINTS
        for number, modes in ((1, ("compose", "compose")), (2, ("native", "compose")), (5, ("compose", "compose")))
    ],
)
def test_sync_killed_at_a_journal_transition_resumes_without_duplicates(
    point: str, number: int, upsert: str, later: str, tmp_path: Path, start_sandbox: Callable[..., OtherSandbox]
) -> None:
    """`upsert`: how the killed run upserts; `later`: how the run after it does."""
    sandbox = start_sandbox(*TROUBLE, "--seed", str(number))
    write(tmp_path / "people.csv", 1)
    child = spawn(sandbox, tmp_path, point, number, upsert=upsert)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, "the process never reached the point"
    report = finish(sandbox, tmp_path, upsert=later)
    assert report["resumed"] is True
    assert report["failed"] == 0
    check(sandbox, 1)
    again = finish(sandbox, tmp_path)
    assert again["unchanged"] == ROWS
    assert again["requests"] == {}


def killed_at_random(
    sandbox: OtherSandbox, folder: Path, dice: random.Random, kills: int, *, upsert: str = "compose"
) -> None:
    for _ in range(kills):
        child = spawn(sandbox, folder, upsert=upsert)
        journal = folder / "state.db"
        deadline = time.monotonic() + 10
        while not journal.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.6))
        child.kill()
        child.communicate(timeout=10)


@pytest.mark.slow
def test_sync_killed_at_random_moments_resumes_without_duplicates(
    tmp_path: Path, start_sandbox: Callable[..., OtherSandbox]
) -> None:
    sandbox = start_sandbox(*TROUBLE)
    dice = random.Random(5)
    for version in (1, 2):  # first all are created, then all are updated
        write(tmp_path / "people.csv", version)
        killed_at_random(sandbox, tmp_path, dice, 3)
        assert finish(sandbox, tmp_path)["failed"] == 0
        check(sandbox, version)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "upsert"), [(seed, ("compose", "native")[seed % 2]) for seed in range(10)])
def test_sync_killed_a_hundred_times_resumes_without_duplicates(
    seed: int, upsert: str, tmp_path: Path, start_sandbox: Callable[..., OtherSandbox]
) -> None:
    sandbox = start_sandbox(*TROUBLE, "--seed", str(seed))
    dice = random.Random(seed)
    for version in (1, 2):
        write(tmp_path / "people.csv", version)
        killed_at_random(sandbox, tmp_path, dice, 5, upsert=upsert)
        assert finish(sandbox, tmp_path)["failed"] == 0
        check(sandbox, version)


def test_sync_without_the_look_up_creates_duplicates(
    tmp_path: Path, start_sandbox: Callable[..., OtherSandbox]
) -> None:
    """Control: without duplicates here, the tests above could not fail."""
    sandbox = start_sandbox(*TROUBLE)
    write(tmp_path / "people.csv", 1)
    finish(sandbox, tmp_path, look=False)
    emails = Counter(contact["email"] for contact in sandbox.contacts())
    assert max(emails.values()) > 1
