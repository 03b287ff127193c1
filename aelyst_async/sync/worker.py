"""Blocking calls of a run, on one thread that is always waited for.

Closing a file or an SQLite connection while a call on a thread uses it raises an error in that call, or crashes the
process. So the thread ends before anything that its calls use is closed:

* `Worker.run` returns only when its call has ended. A cancellation that comes meanwhile is raised afterwards.
* Leaving the ``with`` block of a `Worker` waits for the thread, without an event loop.

`Worker.closing` tells a call that waits for data, such as one that reads from a pipe, to give up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from aelyst_async.waiting import uninterrupted

__all__ = ["Worker"]

T = TypeVar("T")
P = ParamSpec("P")


class Worker:
    """One thread. Use as ``with``, inside the ``with`` of everything that its calls use."""

    def __init__(self, name: str) -> None:
        self.closing: bool = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __enter__(self) -> Worker:  # noqa: PYI034 - no Self before 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        self._executor.shutdown(wait=True)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on the thread and return its result. A cancelled caller waits for the end of the call."""

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
