"""docs/guarantees.md: each command on the page selects tests that `make test-hostile` runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"`pytest ([^`]+)`", (ROOT / "docs" / "guarantees.md").read_text("utf-8"))


def test_guarantees_page_has_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_guarantees_command_selects_hostile_tests(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *shlex.split(command), "-m", "hostile", "--collect-only", "-q", "-n", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:]
