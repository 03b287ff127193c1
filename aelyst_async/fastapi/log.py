"""The logger of this package. Its warnings are visible even if logging is not configured.

uvicorn configures only its own loggers. In an app without a logging configuration, the failure of a background job
would otherwise leave no trace. So a warning that no handler receives goes to Python's handler of last resort (stderr).
"""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger: logging.Logger = logging.getLogger("aelyst_async.fastapi")


class _LastResort(logging.Handler):
    """Passes a record to Python's handler of last resort if no other handler receives it."""

    def emit(self, record: logging.LogRecord) -> None:
        current = logger
        while True:
            if any(
                handler is not self and not isinstance(handler, logging.NullHandler) for handler in current.handlers
            ):
                return
            if not current.propagate or current.parent is None:
                break
            current = current.parent
        if logging.lastResort is not None:
            logging.lastResort.handle(record)


logger.addHandler(_LastResort(logging.WARNING))
