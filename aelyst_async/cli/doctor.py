"""``aelyst doctor`` finds out, with one harmless request, why a provider cannot be used. It prints no secret.

For each provider, in this order: the credential is set; the base URL can be used; the proxy; a TCP and TLS connection;
one GET of a contact that cannot exist, which tells whether the credential is accepted, the server's clock (its
``Date``) and its quota headers. A check that fails ends the checks of its provider, since the next ones depend on it.

Exit codes: 0 all checks passed, 1 the network or the API failed, 2 a credential or a setting is missing or refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import ssl
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from aelyst_async.cli.output import CommandError, printable, say, to_json
from aelyst_async.cli.parser import add_target
from aelyst_async.cli.target import open_target, variables

if TYPE_CHECKING:
    from aelyst_async.errors import ApiError

__all__ = ["add_parser"]

_PROBES = ("email:doctor@aelyst-async.invalid", "id:0")
"""Identifiers of contacts that cannot exist (RFC 2606, 2). The first one that the provider accepts is requested."""
_CONNECT_SECONDS = 5.0
_SKEW_SECONDS = 10.0
"""Difference of clocks from which a warning is printed. ``Date`` has whole seconds, and the response takes time."""
_EXPIRY_DAYS = 14
_NOT_FOR_USERS = {"bench", "dev", "docs", "test"}


@attrs.frozen
class Check:
    """The result of one check. ``state``: ok, warning or failed. ``exit_code``: the command's exit code if this check
    failed.
    """

    name: str
    state: str
    detail: str
    exit_code: int = 0


class _FailedError(Exception):
    def __init__(self, name: str, detail: str, exit_code: int = 1) -> None:
        super().__init__(detail)
        self.check = Check(name, "failed", printable(detail), exit_code)


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor", help="check credential, network, clock and quota",
        description="Check versions, credential, proxy, connection, clock and quota headers, with one GET request. "
        "Without --from: every provider whose credential is set.",
    )  # fmt: skip
    add_target(parser, "--from", required=False)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    names = [arguments.provider] if arguments.provider else _with_credential()
    checks = {name: asyncio.run(_checks(name, arguments.base_url)) for name in names}
    code = max((check.exit_code for found in checks.values() for check in found), default=2)
    if arguments.json:
        plain = {name: [attrs.asdict(check) for check in found] for name, found in checks.items()}
        print(to_json({"version": 1, **_versions(), "providers": plain, "exit_code": code}, indent=2))
        return code
    _print_versions(_versions())
    if not checks:
        say("no provider has a credential; aelyst providers lists the variables")
        say("without an account: aelyst sandbox, and in another terminal aelyst doctor --from sandbox")
    for name, found in checks.items():
        say(printable(name))
        for check in found:
            say(f"  {check.state:<8} {check.name:<11} {check.detail}")
    return code


def _with_credential() -> list[str]:
    from aelyst_async.cli.target import providers_that

    return [name for name in providers_that("get") if os.environ.get(variables(name)[0])]


# --- the checks of one provider --------------------------------------------------------------------------------------


async def _checks(provider: str, base_url: str | None) -> list[Check]:
    from aelyst_async.errors import ConfigurationError

    found: list[Check] = []
    try:
        async with AsyncExitStack() as stack:
            try:
                target = await open_target(provider, base_url, stack)
            except (CommandError, ConfigurationError) as error:
                raise _FailedError("setting", str(error), 2) from None
            if target.started is None:
                found.append(Check("credential", "ok", f"{variables(provider)[0]} is set"))
            address = str(getattr(target.gateway, "base_url", ""))
            if address:
                found.append(Check("address", "ok", address))
                await _connect(address, found)
            await _ask(target.gateway, found)
    except _FailedError as failed:
        found.append(failed.check)
    return found


async def _connect(address: str, found: list[Check]) -> None:
    """Open one connection to the proxy, if there is one, or to the server. Raises `_FailedError`."""
    from urllib.request import getproxies

    from aelyst_async.errors import ConfigurationError
    from aelyst_async.transport.session import proxy_applies

    server = urlsplit(address)
    secure = server.scheme == "https"
    try:
        through = urlsplit(getproxies()[server.scheme]) if proxy_applies(address) else None
    except ConfigurationError as error:
        raise _FailedError("proxy", str(error), 2) from None
    where = server if through is None else through
    host, port = where.hostname or "", where.port or (443 if where.scheme == "https" else 80)
    # Without its user name and password.
    found.append(Check("proxy", "ok", "none" if through is None else f"{host}:{port} (from the environment)"))
    context = ssl.create_default_context() if secure and through is None else None
    began = time.monotonic()
    try:
        connecting = asyncio.open_connection(host, port, ssl=context)
        _, writer = await asyncio.wait_for(connecting, _CONNECT_SECONDS)
    except (asyncio.TimeoutError, TimeoutError):
        raise _FailedError("connection", f"{host}:{port} does not answer within {_CONNECT_SECONDS:g} s") from None
    except ssl.SSLCertVerificationError as error:
        words = f"the certificate of {host} is not accepted: {error.verify_message}; is the traffic intercepted?"
        raise _FailedError("tls", words) from None
    except ssl.SSLError as error:
        raise _FailedError("tls", f"no TLS with {host}:{port}: {error.reason}") from None
    except OSError as error:
        raise _FailedError("connection", f"{host}:{port}: {error.strerror or error}") from None
    found.append(Check("connection", "ok", f"{host}:{port} in {(time.monotonic() - began) * 1000:.0f} ms"))
    try:
        if context is not None:
            found.append(_tls(writer.get_extra_info("ssl_object")))
    finally:
        writer.transport.abort()
    if not secure:
        found.append(Check("tls", "ok", "none: http:// on this machine"))
    elif through is not None:
        found.append(Check("tls", "ok", "checked by the request below, through the proxy"))


def _tls(connection: Any) -> Check:
    seconds = ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"])
    days = (seconds - time.time()) / 86400
    until = time.strftime("%Y-%m-%d", time.gmtime(seconds))
    state = "ok" if days > _EXPIRY_DAYS else "warning"
    return Check("tls", state, f"{connection.version()}, the certificate is valid until {until} ({days:.0f} days)")


async def _ask(gateway: Any, found: list[Check]) -> None:
    """Get a contact that does not exist, once. Raises `_FailedError`."""
    from aelyst_async import errors
    from aelyst_async.transport import RetryPolicy

    with_retry = getattr(gateway, "with_retry", None)
    once: Any = with_retry(RetryPolicy(max_attempts=1, queued=False)) if callable(with_retry) else gateway
    began = time.monotonic()
    answer: errors.ContactsError | None = None
    for probe in _PROBES:
        began = time.monotonic()
        try:
            await once.get(probe)
        except errors.InvalidIdentifierError as error:  # nothing was sent
            answer = error
        except errors.ContactsError as error:
            answer = error
            break
        else:
            answer = None
            break
    took = f"in {(time.monotonic() - began) * 1000:.0f} ms"
    if isinstance(answer, errors.ApiError):
        _read_headers(answer, found)
    if isinstance(answer, errors.AuthenticationError):
        raise _FailedError("accepted", f"the credential was refused: {answer}", 2)
    if isinstance(answer, errors.RateLimitedError):
        found.append(Check("accepted", "warning", printable(f"the quota is used up: {answer}")))
    elif isinstance(answer, errors.ContactNotFoundError) and not _is_json(answer.body):
        raise _FailedError("accepted", f"404 without the API's own error; check the path of the base URL ({took})")
    elif answer is None or isinstance(answer, (errors.ContactNotFoundError, errors.BadRequestError)):
        status = "a contact" if answer is None else str(answer.status)
        found.append(Check("accepted", "ok", f"the API answered {status} {took}"))
    else:
        raise _FailedError("accepted", str(answer))


def _is_json(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _read_headers(answer: ApiError, found: list[Check]) -> None:
    date = answer.headers.get("Date")
    if date is not None and (skew := _skew(date)) is not None:
        state = "ok" if abs(skew) <= _SKEW_SECONDS else "warning"
        side = "ahead of" if skew < 0 else "behind"
        words = "agrees with the server's" if state == "ok" else f"is {abs(skew):.0f} s {side} the server's"
        found.append(Check("clock", state, f"this machine's clock {words}"))
    quota = [
        f"{name}: {value[:40]}"
        for name, value in answer.headers.items()
        if re.search(r"rate-?limit|retry-after", name, re.IGNORECASE)
    ]
    words = ", ".join(quota) if quota else "no quota header; the rate limiter learns from refusals (429)"
    found.append(Check("quota", "ok", printable(words)))


def _skew(date: str) -> float | None:
    """Return the seconds by which the server's clock is ahead of the local clock."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None


# --- versions --------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, Any]:
    from importlib.metadata import requires

    from aelyst_async.version import __version__

    packages: dict[str, str | None] = {}
    extras: dict[str, list[str]] = {}
    for requirement in requires("aelyst-async") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        if name is None or not _applies(requirement) or (extra and extra[1] in _NOT_FOR_USERS):
            continue
        packages[name[0]] = _installed(name[0])
        missing = extras.setdefault(extra[1], []) if extra else []
        if packages[name[0]] is None:
            missing.append(name[0])
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "aelyst_async": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}{'' if gil else ', free-threaded'})",
        "platform": platform.platform(terse=True),
        "packages": packages,
        "extras": {name: {"installed": not missing, "missing": missing} for name, missing in sorted(extras.items())},
    }


def _applies(requirement: str) -> bool:
    """Whether the requirement's markers, of the kinds that this project uses, apply to this environment."""
    below = re.search(r"""python_version < ['"]3\.(\d+)['"]""", requirement)
    if below is not None and sys.version_info >= (3, int(below[1])):
        return False
    return not (sys.platform == "win32" and "sys_platform !=" in requirement)


def _installed(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _print_versions(found: Mapping[str, Any]) -> None:
    say(f"aelyst-async {found['aelyst_async']}, Python {found['python']}, {found['platform']}")
    for name, version in found["packages"].items():
        if version is not None:
            say(f"  {name} {version}")
    missing = [name for name, extra in found["extras"].items() if not extra["installed"]]
    if missing:
        say(f"  extras that are not installed: {', '.join(missing)}")
