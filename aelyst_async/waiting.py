"""Waiting that nothing interrupts: for a future, and for blocking calls on a thread, before what they use is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

__all__ = ["Worker", "uninterrupted"]

T = TypeVar("T")
P = ParamSpec("P")


async def uninterrupted(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done. Does not return its result. A cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:  # noqa: PERF203
            cancelled = error
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # breaks the reference cycle of exception and frame


class Worker:
    """One thread for blocking calls. Use as ``with``, inside the ``with`` of everything that its calls use.

    Closing a file or an SQLite connection while a call on a thread uses it raises an error in that call, or crashes the
    process. So leaving the ``with`` block waits for the thread, without an event loop. `closing` tells a call that
    waits for data, such as one that reads from a pipe, to give up.
    """

    def __init__(self, name: str) -> None:
        self.closing: bool = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __enter__(self) -> Worker:  # noqa: PYI034 - no Self before 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        self._executor.shutdown(wait=True)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on the thread and return its result.

        Returns only when the call has ended. A cancellation meanwhile is raised afterwards.
        """

        def call() -> T:
            try:
                return function(*args, **kwargs)
            except StopIteration as error:  # a future cannot carry it: its waiter would wait for ever
                raise RuntimeError("StopIteration was raised") from error

        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.closing = True
            await uninterrupted(future)
            if not future.cancelled():
                future.exception()  # asyncio logs an exception that was never retrieved
            raise
