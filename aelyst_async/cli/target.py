"""Opening what ``--to`` and ``--from`` name, and saying in one line what went wrong.

``sandbox`` is the Aelyst adapter against a sandbox: the one that ``--base-url`` names, else the one that answers at
the default address, else (for a sync) one that is started for the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aelyst_async.errors import ContactsError

__all__ = ["CommandError", "add_target", "check_writer", "explain", "open_target", "printable", "run_async", "to_json"]

_SANDBOX_URL = "http://127.0.0.1:8787"
_EMBEDDED_QUOTA = "1000/s"
_SANDBOX_HEADER = "X-Sandbox"


class CommandError(Exception):
    """What is wrong, where, and what to do: one line for stderr. ``code`` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def add_target(parser: argparse.ArgumentParser, option: str, *, required: bool = True) -> None:
    """Add ``--to`` or ``--from``, and ``--base-url``."""
    parser.add_argument(
        option, dest="provider", metavar="PROVIDER", required=required,
        help="aelyst, dmchamp, callab, another installed provider, or sandbox",
    )  # fmt: skip
    parser.add_argument("--base-url", metavar="URL", help="address of the API (of a sandbox: its root)")


def run_async(command: Callable[[], Coroutine[Any, Any, int]], name: str) -> int:
    """Run a command in an event loop; turn the library's errors into one line and an exit code."""
    from aelyst_async.errors import ContactsError

    try:
        return asyncio.run(command())
    except CommandError as error:
        message, code = str(error), error.code
    except ContactsError as error:
        message, code = explain(error)
    print(f"aelyst {name}: {message}", file=sys.stderr)
    return code


async def open_target(
    provider: str,
    base_url: str | None,
    stack: AsyncExitStack,
    *,
    embed: Callable[[str], None] | None = None,
    report: str | None = None,
) -> Any:
    """Return the gateway that `provider` names; `stack` closes it.

    `embed`: where no sandbox runs, start one and call this with its address. `report`: the name by which a sandbox's
    page shows what the gateway's rate limiter learns. Raises `CommandError`, `ConfigurationError`.
    """
    from aelyst_async import open_gateway

    if provider != "sandbox":
        settings = {} if base_url is None else {"base_url": base_url}
        gateway = open_gateway(provider, **settings)
        if hasattr(gateway, "__aexit__"):
            await stack.enter_async_context(gateway)
        return gateway
    if base_url is not None:
        root = base_url.rstrip("/")
        problem = await _probe(root)
        if problem is not None:
            raise CommandError(f"{root}: {problem}; start a sandbox with: aelyst sandbox")
    elif await _probe(_SANDBOX_URL) is None:
        root = _SANDBOX_URL
    elif embed is not None:
        from aelyst_async.sandbox import Sandbox

        sandbox = await stack.enter_async_context(Sandbox(quota=_EMBEDDED_QUOTA))
        root = sandbox.url.rstrip("/")
        embed(root)
    else:
        raise CommandError(f"no sandbox answers at {_SANDBOX_URL}; start one with: aelyst sandbox")
    from aelyst_async.sandbox import DEFAULT_TOKEN, report_limiter

    gateway = open_gateway("aelyst", token=DEFAULT_TOKEN, base_url=f"{root}/aelyst/v1")
    await stack.enter_async_context(gateway)
    if report is not None:
        await stack.enter_async_context(report_limiter(gateway.limiter, root, name=report))
    return gateway


def check_writer(provider: str) -> None:
    """Refuse a provider that only reads as the target of a sync. Raises `CommandError`, `ConfigurationError`."""
    from aelyst_async.registry import gateway_class

    if provider != "sandbox" and not hasattr(gateway_class(provider), "upsert"):
        raise CommandError(f"{provider} only reads contacts, so it cannot be the target of a sync")


async def _probe(root: str) -> str | None:
    """Return None if a sandbox answers at `root`, else why not."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=3)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(f"{root}/aelyst/v1/contact/id:0", allow_redirects=False) as answer,
        ):
            return None if _SANDBOX_HEADER in answer.headers else "something else than a sandbox answers there"
    except (aiohttp.InvalidURL, ValueError):
        return "not an address such as http://127.0.0.1:8787"
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
        return "no sandbox answers there"


def explain(error: ContactsError) -> tuple[str, int]:
    """Return an error of the library as one line with what to do next, and the exit code."""
    from aelyst_async import errors
    from aelyst_async.sync.errors import SyncError

    if isinstance(error, errors.AuthenticationError):
        words = f"the credential was refused ({error.status} {printable(error.message)})"
        return f"{words}; check AELYST_TOKEN, DMCHAMP_API_KEY or CALLAB_TOKEN", 2
    if isinstance(error, errors.ContactNotFoundError):
        return f"no such contact ({printable(error.message)})", 1
    if isinstance(error, (errors.ConfigurationError, errors.InvalidIdentifierError, errors.UnsupportedFieldError)):
        return printable(str(error)), 2
    if isinstance(error, (errors.UnsupportedOperationError, SyncError)):
        return printable(str(error)), 2
    if isinstance(error, errors.TransportError):
        doubt = "; it may have taken effect" if error.may_have_been_applied else ""
        return f"no answer: {printable(error.message)}{doubt}; check --base-url and the network", 1
    return printable(str(error)), 1


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON that the terminal can print: characters as they are where its encoding has them.

    An API's numbers beyond all floats (``1e400``) become texts, since JSON has no infinity.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, or a terminal that is not UTF-8
        return json.dumps(json.loads(text), indent=indent)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def printable(text: str) -> str:
    """Return a text that cannot drive a terminal: control characters are shown as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
