"""An event loop whose clock jumps: hours of waiting take milliseconds, and a test that would hang says so.

The loop runs everything that is ready; when only timers are left, it sets its clock to the earliest of them. Nothing
sleeps. Real sockets and threads work as long as something else is not waiting for a timer: the clock does not wait
for them, so a time-out may fire first. For tests across sockets use the ordinary loop.

    def test_something():
        run(main())             # a coroutine, on a fresh loop that starts at second 1,000

    @virtual
    async def test_other(): ...  # the same as a decorator; fixtures work
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

__all__ = ["DeadlockError", "VirtualTimeLoop", "run", "virtual"]

T = TypeVar("T")
P = ParamSpec("P")

_PATIENCE = 5.0
"""Real seconds to wait for a socket or thread when no timer is left; then it is a deadlock."""


class DeadlockError(RuntimeError):
    """Tasks are waiting, but no timer is set and nothing is ready: the program under test hangs."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls, and lets the virtual clock pass instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.patience = _PATIENCE

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(self.patience)
            if not events:
                raise DeadlockError("nothing is ready and no timer is set: something waits for ever")
            return events
        events = super().select(0)
        if not events and timeout > 0:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop in virtual time. ``time()`` starts at 1,000; `advance` adds to it, as a suspended host would."""

    def __init__(self, *, patience: float = _PATIENCE) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.patience = patience
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, without running the timers in between: the host was suspended."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._jumping.now += seconds


def run(coroutine: Coroutine[Any, Any, T], *, patience: float = _PATIENCE) -> T:
    """Run `coroutine` on a fresh virtual-time loop; cancel what it left behind, close the loop, return its result."""
    loop = VirtualTimeLoop(patience=patience)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(coroutine)
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def virtual(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test a plain one that runs in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return wrapper
