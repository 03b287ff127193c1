"""An event loop in virtual time: hours of waiting take milliseconds, and a deadlock raises an error.

The loop runs everything that is ready. When only timers are left, it sets its clock to the earliest of them. Nothing
sleeps. The clock does not wait for sockets and threads while a timer is set, so a timeout may fire first. Tests that
use sockets need the ordinary loop.

    def test_something():
        run(main())             # runs a coroutine on a new loop; the clock starts at 1,000 s

    @virtual
    async def test_other(): ...  # the same as a decorator, with fixtures
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
"""Real seconds to wait for a socket or thread before a loop without timers raises `DeadlockError`."""


class DeadlockError(RuntimeError):
    """Tasks wait, but no timer is set and nothing is ready."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls, and advances the virtual clock instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.patience = _PATIENCE

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = super().select(self.patience)
            if not events:
                raise DeadlockError("tasks wait, but nothing is ready and no timer is set")
            return events
        events = super().select(0)
        if not events and timeout > 0:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop in virtual time. ``time()`` starts at 1,000 seconds."""

    def __init__(self, *, patience: float = _PATIENCE) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.patience = patience
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def advance(self, seconds: float) -> None:
        """Advance the clock without running the timers in between, as after a suspended host resumes."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._jumping.now += seconds


def run(coroutine: Coroutine[Any, Any, T], *, patience: float = _PATIENCE) -> T:
    """Run `coroutine` on a new virtual-time loop and return its result. Tasks that are left are cancelled."""
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
    """Decorate an async test so that it runs in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return wrapper
