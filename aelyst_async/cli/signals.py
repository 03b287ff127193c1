"""Handles Ctrl-C and SIGTERM during ``aelyst sync``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aelyst_async.sync import ContactSync

__all__ = ["Signals"]


class Signals:
    """The first Ctrl-C or SIGTERM stops the sync, the second one aborts it. Before the sync, one ends the command.

    ``arguments.signal`` is the number of the last signal.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.sync: ContactSync | None = None
        arguments.signal = None
        self._arguments = arguments
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                self._loop.add_signal_handler(number, self._came, int(number))
                self._before[number] = before

    def close(self) -> None:
        """Restore the signal handlers."""
        for number, before in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, before)
        self._before.clear()

    def _came(self, number: int) -> None:
        first = self._arguments.signal is None
        self._arguments.signal = number
        if self.sync is None:
            assert self._task is not None
            self._task.cancel()
        elif first:
            self.sync.stop("interrupted")
            drain = self._arguments.drain
            with contextlib.suppress(OSError):  # stderr is closed
                print(
                    f"\nstopping: finishing requests in progress (at most {drain:g} s); press again to stop at once",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        else:
            self.sync.abort()
