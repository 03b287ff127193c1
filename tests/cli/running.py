"""Runs the command in this process, against a sandbox in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from aelyst_async.cli import main


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of a sandbox in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aelyst_async", "sandbox", "--port", "0", "--quota", "1000/s"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait(10)
    process.stdout.close()


@attrs.frozen
class Cli:
    url: str
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run a command. Return its exit code, stdout and stderr."""
        code = main(list(words))
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def sync(self, file: str, *words: str, to: str = "sandbox") -> tuple[int, str, str]:
        return self("sync", file, "--to", to, "--base-url", self.url, "--progress", "none", *words)

    def control(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Call the sandbox's control API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
