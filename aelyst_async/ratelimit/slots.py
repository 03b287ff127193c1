"""Connections as a second thing to wait for, without which a permit is of no use.

A permit that waits for a connection goes to the server later than the books have it: what was learned from its answer
is wrong by as long, and those that piled up leave together when the server answers again. So permit and slot are had in
one step. Nobody holds one while waiting for the other: a slot that waits for a quota would keep another quota's
requests from going.

Lanes whose first waits for nothing but a slot stand in line here; each lets one go in its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aelyst_async.errors import ConfigurationError

if TYPE_CHECKING:
    from aelyst_async.ratelimit.lane import Lane

__all__ = ["Slots"]


class Slots:
    """So many requests may be under way at once, whoever shares them. For one event loop."""

    __slots__ = ("_waiting", "free")

    def __init__(self, number: int) -> None:
        """Raises `ConfigurationError` for anything but a whole number from 1."""
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigurationError(f"Slots: the number must be a whole number from 1, not {number!r}")
        self.free = number
        self._waiting: dict[Lane, Callable[[Lane], None]] = {}

    def wait(self, lane: Lane, wake: Callable[[Lane], None]) -> None:
        """None is free: call `wake` with `lane` when one is."""
        self._waiting.setdefault(lane, wake)

    def give_back(self) -> None:
        """One is free again."""
        self.free += 1
        waiting = self._waiting
        while self.free > 0 and waiting:
            lane = next(iter(waiting))
            waiting.pop(lane)(lane)
