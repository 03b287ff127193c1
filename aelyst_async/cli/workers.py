"""The options ``--broker`` (workers send the rows) and ``--quota`` (a shared quota) of ``aelyst sync``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from aelyst_async.cli.output import CommandError
from aelyst_async.errors import ConfigurationError

__all__ = ["UNUSED", "add_options", "limiter_of", "place", "sync_class"]

UNUSED = {"broker": None, "quota": None}
"""The values of the options for a command without them."""

_CONNECT = 10.0
"""Seconds to wait for the broker."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("several processes and hosts").add_argument
    add("--broker", metavar="URL", help="have workers send the rows: nats://HOST or redis://HOST; they share the "
        "--journal, a PostgreSQL database (default: AELYST_JOURNAL)")  # fmt: skip
    add("--quota", metavar="URL", help="share the quota with other processes: redis://HOST")


def place(journal: str) -> Path | str:
    """Return the value of ``--journal``: a path, or the URL of a server."""
    return journal if "://" in journal else Path(journal)


class _Told(logging.Handler):
    """Prints warnings of the shared quota, which the library logs to nobody by default."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"aelyst sync: {record.getMessage()}", file=sys.stderr, flush=True)


async def limiter_of(arguments: argparse.Namespace, stack: AsyncExitStack) -> Any:
    """Return a limiter that shares its quota, or None; `stack` closes it. Raises `ConfigurationError`.

    While it is open, a line on stderr says when the shared quota cannot be reached, and when it can again.
    """
    if arguments.quota is None:
        return None
    from aelyst_async.sync.pace import shared_limiter

    told, logger = _Told(logging.WARNING), logging.getLogger("aelyst_async.ratelimit")
    logger.addHandler(told)
    stack.callback(logger.removeHandler, told)
    return await stack.enter_async_context(shared_limiter(arguments.quota))


async def sync_class(arguments: argparse.Namespace, stack: AsyncExitStack) -> Callable[..., Any]:
    """Return `ContactSync`, or with ``--broker`` a class whose rows are sent by workers; `stack` closes the broker.

    Raises `CommandError`, `ConfigurationError`.
    """
    from aelyst_async.sync import ContactSync

    if arguments.broker is None:
        return ContactSync
    if arguments.journal is None:
        arguments.journal = os.environ.get("AELYST_JOURNAL")
    if arguments.journal is None or "://" not in arguments.journal:
        raise CommandError("--broker needs a journal that the workers share: --journal postgresql+asyncpg://HOST/NAME")
    if arguments.verify or arguments.delete_missing:
        raise CommandError("--verify and --delete-missing are not for rows that workers send; leave out --broker")
    from aelyst_async.sync.distributed import make_broker, register
    from aelyst_async.sync.distributed.submitting import SubmittedSync
    from aelyst_async.sync.journal.postgres import schema_of

    broker = make_broker(arguments.broker, schema_of(arguments.journal))
    submit = register(broker)
    problem = ""
    if not arguments.dry_run:
        try:
            await asyncio.wait_for(broker.startup(), _CONNECT)
        except Exception as error:  # noqa: BLE001 - the queue's own errors, which may quote the password
            problem = type(error).__name__
        if problem:
            await _shut_down(broker)
            raise ConfigurationError(f"--broker: cannot connect to the broker ({problem})")
        stack.push_async_callback(_shut_down, broker)
    return partial(SubmittedSync, submit=submit)


async def _shut_down(broker: Any) -> None:
    with contextlib.suppress(Exception):  # the connection is lost already
        await asyncio.wait_for(broker.shutdown(), _CONNECT)
