"""Kills the own process at a chosen moment, with SIGKILL, as from outside."""

from __future__ import annotations

import os
import signal


class Trap:
    """Counts how often a point is passed, and kills the process at the chosen time."""

    def __init__(self, point: str, number: int) -> None:
        self.point = point
        self.left = number

    def passed(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
