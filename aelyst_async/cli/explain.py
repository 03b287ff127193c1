"""The library's errors as one line for the command line, with options and environment variables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.output import CommandError, complain, printable

if TYPE_CHECKING:
    from aelyst_async.errors import ContactsError

__all__ = ["explain", "run_async"]


def run_async(
    command: Callable[[], Coroutine[Any, Any, int]], name: str, *, provider: str = "", whom: str | None = None
) -> int:
    """Run a command in an event loop; turn the library's errors into one line and an exit code."""
    from aelyst_async.errors import ContactsError

    try:
        return asyncio.run(command())
    except CommandError as error:
        message, code = str(error), error.code
    except ContactsError as error:
        message, code = explain(error, provider=provider, whom=whom)
    complain(name, message)
    return code


def explain(error: ContactsError, *, provider: str = "", whom: str | None = None) -> tuple[str, int]:
    """Return one line for an error of the library, with what to do next, and the exit code.

    `provider`: the target as ``--to`` names it. `whom`: the identifier that the command is about.
    """
    from aelyst_async import errors
    from aelyst_async.sync.errors import SyncError

    if isinstance(error, errors.AuthenticationError):
        words = f"the credential was refused ({error.status} {printable(error.message)})"
        return f"{words}; check {_credential(provider)}", 2
    if isinstance(error, errors.ContactNotFoundError):
        return f"no such contact{f': {printable(whom)}' if whom else ''} ({printable(error.message)})", 1
    if isinstance(error, errors.ConfigurationError):
        return _in_variables(printable(str(error)), provider), 2
    if isinstance(error, errors.InvalidIdentifierError):
        return printable(str(error)).replace("expected ContactId, Email, Phone or str", "expected text"), 2
    if isinstance(error, (errors.UnsupportedFieldError, errors.UnsupportedOperationError, SyncError)):
        return printable(str(error)), 2
    if isinstance(error, errors.TransportError):
        doubt = "; it may have taken effect" if error.may_have_been_applied else ""
        return f"no answer: {printable(error.message)}{doubt}; check --base-url and the network", 1
    return printable(str(error)), 1


def _credential(provider: str) -> str:
    from aelyst_async.cli.target import variables
    from aelyst_async.errors import ConfigurationError

    if provider.startswith("sandbox"):
        return "whether the sandbox's tokens were changed"
    try:
        return variables(provider)[0]
    except ConfigurationError:
        return "the provider's environment variable (aelyst providers)"


def _in_variables(message: str, provider: str) -> str:
    """Return the message with the environment variable in place of the constructor's argument."""
    from aelyst_async.errors import ConfigurationError
    from aelyst_async.registry import credential_variable, gateway_class

    try:
        kind = gateway_class(provider)
        parameter, variable = credential_variable(provider, kind)
    except ConfigurationError:
        return message
    return message.replace(f"{kind.__name__} {parameter}", variable)
