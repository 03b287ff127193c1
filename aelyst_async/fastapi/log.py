"""The logger of this package, heard also where nobody has set up logging.

A library should be silent by default, and `aelyst_async` is. But uvicorn sets up only its own loggers, so in an app
that does nothing about logging, a job that fails in the background would leave no trace anywhere. So where no handler
at all would hear a warning of ours, it goes where Python sends those of loggers without handlers: to stderr.
"""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger: logging.Logger = logging.getLogger("aelyst_async.fastapi")


class _LastResort(logging.Handler):
    """Passes a record to Python's handler of last resort if no other will see it."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = logger
        while True:
            if any(handler is not self and not isinstance(handler, logging.NullHandler) for handler in heard.handlers):
                return
            if not heard.propagate or heard.parent is None:
                break
            heard = heard.parent
        if logging.lastResort is not None:
            logging.lastResort.handle(record)


logger.addHandler(_LastResort(logging.WARNING))
