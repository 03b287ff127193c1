"""The number of worker processes, and a warning about the quota.

Every worker process has its own `RateLimiter`, and each uses the whole quota. N workers together send up to N times
the quota and get responses with 429. So an app with several workers and no shared quota logs a warning, once for each
gateway and worker.

A worker is not told the number of workers. It is read from the settings of servers (``WEB_CONCURRENCY``,
``UVICORN_WORKERS``, ``GUNICORN_CMD_ARGS``), the command line, which workers inherit, and uvicorn's configuration in a
process that uvicorn spawned.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence

from aelyst_async.fastapi.log import logger
from aelyst_async.ratelimit import RateLimiter

__all__ = ["warn_of_split_quota", "worker_count"]

_SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian", "fastapi")


def worker_count(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Return the number of worker processes of this app, as far as it is known; else 1.

    `arguments` is the command line, the program first (default: this process's).
    """
    arguments = sys.argv if arguments is None else arguments
    environment = os.environ if environment is None else environment
    told = [
        _number(environment.get("WEB_CONCURRENCY")),
        _number(environment.get("UVICORN_WORKERS")),
        _option(_words(environment.get("GUNICORN_CMD_ARGS", ""))),
        _spawned_by_uvicorn(),
    ]
    # Only the option --workers of a known server counts.
    if any(server in word for word in arguments[:1] for server in _SERVERS):
        told.append(_option(arguments[1:]))
    return max(1, *told)


def warn_of_split_quota(limiter: object, what: str) -> bool:
    """Log a warning if several workers each have their own limiter for one account. Returns whether it was logged."""
    workers = worker_count()
    if workers == 1 or not isinstance(limiter, RateLimiter) or getattr(limiter, "shared", None) is not None:
        return False
    logger.warning(
        "%s: %d worker processes share one account, and each has a rate limiter of its own; together they will send "
        "up to %d times the quota and be refused with 429. Run one worker, or share one quota between them: "
        "RateLimiter(shared=RedisQuota(url))",
        what, workers, workers,
    )  # fmt: skip
    return True


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdecimal() else 1


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _option(arguments: Iterable[str]) -> int:
    """Return the value of ``--workers N``, ``--workers=N``, ``-w N`` or ``-wN``."""
    words = iter(arguments)
    for word in words:
        if word in {"--workers", "-w"}:
            return _number(next(words, None))
        for prefix in ("--workers=", "-w"):
            if word.startswith(prefix) and word != prefix:
                return _number(word[len(prefix) :])
    return 1


def _spawned_by_uvicorn() -> int:
    """Return N of ``uvicorn.run(..., workers=N)``, which is in neither the environment nor the command line."""
    configuration = getattr(multiprocessing.current_process(), "_kwargs", {}).get("config")
    workers = getattr(configuration, "workers", 1)
    return workers if isinstance(workers, int) and not getattr(configuration, "reload", False) else 1
