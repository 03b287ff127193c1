"""The sandbox's clock: real time plus what a test has added.

Quotas, visibility, queues and time stamps use this clock. A test that needs a window to pass calls ``advance(60)``
instead of sleeping. The clock starts at the wall clock and follows the monotonic one, so that setting the host's
clock back does not reopen a window. Latency and slow bodies use real time, because the client under test waits in
real time.
"""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """A clock in Unix seconds that can be advanced and stopped."""

    __slots__ = ("_frozen_at", "_offset")

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen_at: float | None = None
        self.reset()

    def reset(self) -> None:
        """Return to the real time."""
        self._offset = time.time() - time.monotonic()
        self._frozen_at = None

    def now(self) -> float:
        """Return Unix seconds."""
        return time.monotonic() + self._offset if self._frozen_at is None else self._frozen_at

    @property
    def frozen(self) -> bool:
        """Whether the clock is stopped."""
        return self._frozen_at is not None

    def advance(self, seconds: float) -> float:
        """Advance by `seconds` (finite, not negative) and return the new time. Raises `ValueError`."""
        if not 0 <= seconds < 1e10:
            raise ValueError(f"a clock advances by 0 to 1e10 seconds, not by {seconds!r}")
        if self._frozen_at is None:
            self._offset += seconds
        else:
            self._frozen_at += seconds
        return self.now()

    def freeze(self) -> None:
        """Stop the clock. Only `advance` changes the time then."""
        self._frozen_at = self.now()

    def resume(self) -> None:
        """Start the clock again, from the time it shows."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - time.monotonic()
            self._frozen_at = None
