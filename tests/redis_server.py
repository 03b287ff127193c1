"""A private redis-server on a free loopback port, for tests and benchmarks. Nothing is written to disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from types import TracebackType

import pytest

__all__ = ["PROGRAM", "RedisServer", "needs_redis"]

PROGRAM = shutil.which("redis-server")

needs_redis = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"),  # in CI the tests fail instead
    reason="redis-server is not installed; on Debian: apt-get install redis-server",
)


class RedisServer:
    """``with RedisServer() as server: … server.url``. It may be killed and started again on the same port."""

    def __init__(self, *options: str) -> None:
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:  # noqa: PYI034 - typing has no Self on 3.10
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, empty, and return when it accepts connections."""
        if PROGRAM is None:
            raise RuntimeError("redis-server is not installed")
        self._process = subprocess.Popen(
            [PROGRAM, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise RuntimeError("redis-server did not start within 10 seconds")

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
