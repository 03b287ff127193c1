"""Sends SIGKILL to its own process at a chosen point."""

from __future__ import annotations

import os
import signal


class Trap:
    """Kills the process when `point` is passed for the `number`-th time."""

    def __init__(self, point: str, number: int) -> None:
        self.point = point
        self.left = number

    def passed(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
