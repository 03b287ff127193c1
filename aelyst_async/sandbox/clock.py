"""The sandbox's time: real time plus what a test has added to it.

Quotas, visibility, queues and time stamps read this clock and no other, so a test that wants to see a window pass
says ``advance(60)`` instead of sleeping. It starts at the wall clock and then follows the monotonic one: a host
whose clock is set back does not reopen a window. Latency and slow bodies are real time, because the client under
test waits for them in real time.
"""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Seconds since the epoch that can be advanced, and stopped."""

    __slots__ = ("_frozen_at", "_offset")

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen_at: float | None = None
        self.reset()

    def reset(self) -> None:
        """Show the real time again."""
        self._offset = time.time() - time.monotonic()
        self._frozen_at = None

    def now(self) -> float:
        """Return Unix seconds."""
        return time.monotonic() + self._offset if self._frozen_at is None else self._frozen_at

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still between calls of `advance`."""
        return self._frozen_at is not None

    def advance(self, seconds: float) -> float:
        """Move on by `seconds` (finite, not negative) and return the new time. Raises `ValueError`."""
        if not 0 <= seconds < 1e10:
            raise ValueError(f"a clock advances by 0 to 1e10 seconds, not by {seconds!r}")
        if self._frozen_at is None:
            self._offset += seconds
        else:
            self._frozen_at += seconds
        return self.now()

    def freeze(self) -> None:
        """Stand still: only `advance` moves the time on."""
        self._frozen_at = self.now()

    def resume(self) -> None:
        """Run again, from the time shown now."""
        if self._frozen_at is not None:
            self._offset = self._frozen_at - time.monotonic()
            self._frozen_at = None
