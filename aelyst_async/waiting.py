"""Waiting for a future that must be done before something else is closed."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["uninterrupted"]


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
