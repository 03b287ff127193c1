"""Fixtures of the sync tests: a sandbox in its own process, and short pauses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from aelyst_async.sync import RetrySettings
from tests.sync.other_sandbox import OtherSandbox


@pytest.fixture
def pauses() -> RetrySettings:
    """RetrySettings short enough for a test on the real clock."""
    return RetrySettings(settle=0.05, base=0.01, cap=0.05, queued=0.05, queued_cap=0.1, patience=2.0)


@pytest.fixture
def start_sandbox() -> Iterator[Callable[..., OtherSandbox]]:
    """Return a function that starts a sandbox process with these options. All are stopped after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> OtherSandbox:
        process = subprocess.Popen(
            [sys.executable, "-m", "aelyst_async", "sandbox", "--port", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        return OtherSandbox(json.loads(process.stdout.readline())["url"])

    yield start
    for process in running:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
