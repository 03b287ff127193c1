"""docs/guarantees.md: each command on the page selects tests that `make test-hostile` runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"`pytest ([^`]+)`", (ROOT / "docs" / "guarantees.md").read_text("utf-8"))

# One process for all commands, because the imports cost more than the collections.
COLLECT = """
import shlex, sys, pytest
collect = ["-m", "hostile", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
for command in sys.argv[1:]:
    if pytest.main([*shlex.split(command), *collect]) != pytest.ExitCode.OK:
        print("selects no test:", command)
"""


def test_guarantees_page_has_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.slow
def test_each_guarantees_command_selects_hostile_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *COMMANDS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "selects no test" not in done.stdout
    assert len(re.findall(r"tests? collected", done.stdout)) == len(COMMANDS), done.stdout[-2000:]
