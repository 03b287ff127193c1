"""Opens the target that ``--to`` or ``--from`` names.

A target is a provider, ``sandbox`` (the first API of a sandbox) or ``sandbox:NAME`` (another of its APIs). The sandbox
is the one at ``--base-url``, else the one at the default address, else (for a sync) one that is started for the run.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import attrs

from aelyst_async.cli.output import CommandError, printable

__all__ = [
    "Target",
    "canonical",
    "check_name",
    "journal_of",
    "open_target",
    "providers_that",
    "schema_for",
    "variables",
]

SANDBOX_URL = "http://127.0.0.1:8787"
_EMBEDDED_QUOTA = "1000/s"
_SANDBOX_HEADER = "X-Sandbox"
_NOBODY = "no sandbox answers there"
_ANSWER_BOUND = 64 << 10
"""Largest number of bytes read from the response of a possible sandbox."""


@attrs.frozen(kw_only=True)
class Target:
    """An open gateway and how to name it.

    ``name`` and ``base_url`` are values for ``--to`` and ``--base-url``. ``instance`` identifies the contents of a
    sandbox. ``started``: whether a sandbox was started for this command; None for another target.
    """

    gateway: Any
    name: str
    base_url: str
    instance: str | None = None
    started: bool | None = None
    why: str = ""
    """Why a sandbox was started."""

    @property
    def label(self) -> str:
        """The name of the target in reports; of a sandbox with its URL."""
        return self.name if self.started is None else f"{self.name} {self.base_url}"


@attrs.frozen
class _Found:
    """A sandbox that answers: its instance, and its APIs with their paths."""

    instance: str
    paths: dict[str, str]


def providers_that(can: str) -> list[str]:
    """Return the names of the installed providers whose class has the method `can`."""
    from aelyst_async.errors import ConfigurationError
    from aelyst_async.registry import gateway_class, provider_names

    found = []
    for name in provider_names():
        try:
            if hasattr(gateway_class(name), can):
                found.append(name)
        except ConfigurationError:  # noqa: PERF203 - a provider that cannot be imported is not listed
            continue
    return found


def check_name(provider: str, can: str, purpose: str) -> None:
    """Check that a target is installed and has the method `can`. Raises `CommandError`, `ConfigurationError`."""
    from aelyst_async.registry import gateway_class, provider_names

    name = provider
    if provider == "sandbox":
        return
    if provider.startswith("sandbox:"):
        name = provider.partition(":")[2]
    able = providers_that(can)
    if name not in provider_names():
        raise CommandError(f"no provider named {printable(name)!r}; installed: {', '.join(able)}, and sandbox")
    kind = gateway_class(name)
    if not hasattr(kind, can):
        why = "only reads contacts, so it cannot" if not hasattr(kind, "update") else "cannot"
        raise CommandError(f"{name} {why} {purpose}; these can: {', '.join(able)}")


def canonical(provider: str) -> str:
    """Return the canonical name of a target: ``sandbox`` for the first API of a sandbox."""
    if not provider.startswith("sandbox:"):
        return provider
    from aelyst_async.sandbox.vendors import default_vendor

    return "sandbox" if provider == f"sandbox:{default_vendor()}" else provider


def journal_of(file: Path, target: str) -> Path:
    """Return the default journal of a sync of `file`, to the target as `canonical` names it."""
    return file.with_name(f"{file.name}.{target.replace(':', '-')}.db")


def schema_for(provider: str, can: str, purpose: str) -> Any:
    """Return the schema of a target's gateway class. Raises `CommandError`, `ConfigurationError`."""
    from aelyst_async.registry import gateway_class
    from aelyst_async.tables import schema_of

    check_name(provider, can, purpose)
    name = provider.removeprefix("sandbox:")
    if name == "sandbox":
        from aelyst_async.sandbox.vendors import default_vendor

        name = default_vendor()
    return schema_of(gateway_class(name))


def variables(provider: str) -> tuple[str, str]:
    """Return the environment variables of a provider: of its credential and of its base URL."""
    from aelyst_async.registry import credential_variable, gateway_class

    _, variable = credential_variable(provider, gateway_class(provider))
    name = "".join(character if character.isalnum() else "_" for character in provider)
    return variable, f"{name}_BASE_URL".upper()


async def open_target(
    provider: str,
    base_url: str | None,
    stack: AsyncExitStack,
    *,
    embed: bool = False,
    report: str | None = None,
    limiter: Any = None,
) -> Target:
    """Open the gateway that `provider` names; `stack` closes it.

    `embed`: start a sandbox if none runs. `report`: the name of this client on the sandbox's page, which shows what the
    gateway's rate limiter has learned. `limiter`: the gateway's, in place of its own. Raises `CommandError`,
    `ConfigurationError`.
    """
    if provider == "sandbox" or provider.startswith("sandbox:"):
        vendor = provider.partition(":")[2]
        return await _open_sandbox(vendor, base_url, stack, embed=embed, report=report, limiter=limiter)
    from aelyst_async import open_gateway

    credential, address = variables(provider)
    if not os.environ.get(credential):
        raise CommandError(f"{provider}: no credential; set {credential} in the environment")
    _check_address(base_url or os.environ.get(address), "--base-url" if base_url else address, credential)
    settings = {"base_url": base_url, "limiter": limiter}
    gateway = open_gateway(provider, **{name: value for name, value in settings.items() if value is not None})
    if hasattr(gateway, "__aexit__"):
        await stack.enter_async_context(gateway)
    return Target(gateway=gateway, name=provider, base_url=str(getattr(gateway, "base_url", "")))


def _check_address(address: str | None, where: str, credential: str) -> None:
    from aelyst_async.errors import ConfigurationError
    from aelyst_async.transport.settings import check_base_url

    if address is None:
        return
    try:
        check_base_url(address, allow_insecure=False)
    except ConfigurationError as error:
        # The library's messages name its arguments.
        words = str(error).replace("base_url", where).replace(", or allow_insecure=True", "")
        words = words.replace("pass the credential separately", f"the credential goes into {credential}")
    else:
        return
    raise CommandError(words)


async def _open_sandbox(
    vendor: str, base_url: str | None, stack: AsyncExitStack, *, embed: bool, report: str | None, limiter: Any
) -> Target:
    from aelyst_async.registry import credential_variable, gateway_class

    root = (base_url or SANDBOX_URL).rstrip("/")
    found = await _probe(root)
    started, why = False, ""
    if isinstance(found, str):
        if base_url is not None:
            raise CommandError(f"{printable(root)}: {found}; start a sandbox with: aelyst sandbox")
        if not embed:
            raise CommandError(f"no sandbox answers at {root}; start one with: aelyst sandbox")
        from aelyst_async.sandbox import Sandbox

        why = "no sandbox is running" if found == _NOBODY else f"{root}: {found}"
        sandbox = await stack.enter_async_context(Sandbox(quota=_EMBEDDED_QUOTA))
        root, started = sandbox.url.rstrip("/"), True
        found = await _probe(root)
        if isinstance(found, str):
            raise CommandError(f"the sandbox started at {root} does not answer: {found}")
    first = next(iter(found.paths))
    path = found.paths.get(vendor or first)
    if path is None:
        raise CommandError(
            f"the sandbox at {root} has no API named {printable(vendor)!r}; it has "
            + ", ".join(f"sandbox:{name}" for name in found.paths)
        )
    from aelyst_async import open_gateway
    from aelyst_async.sandbox import DEFAULT_TOKEN, report_limiter

    vendor = vendor or first
    parameter, _ = credential_variable(vendor, gateway_class(vendor))
    parts = urlsplit(root)
    address = f"{parts.scheme}://{parts.netloc}{path}"
    gateway = open_gateway(vendor, **{parameter: DEFAULT_TOKEN, "base_url": address, "limiter": limiter})
    await stack.enter_async_context(gateway)
    if report is not None:
        await stack.enter_async_context(report_limiter(gateway.limiter, root, name=report))
    name = "sandbox" if vendor == first else f"sandbox:{vendor}"
    return Target(gateway=gateway, name=name, base_url=root, instance=found.instance, started=started, why=why)


async def _probe(root: str) -> _Found | str:
    """Return the sandbox at `root`, or why there is none. The request is not in the sandbox's log."""
    import aiohttp

    refused = "not a URL such as http://127.0.0.1:8787"
    try:
        parts = urlsplit(root)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            return refused
    except ValueError:
        return refused
    # http://…/@NAME is the URL of an account.
    account = unquote(parts.path[2:]) if parts.path.startswith("/@") else "default"
    if parts.path and not parts.path.startswith("/@"):
        return "give the root of the sandbox, such as http://127.0.0.1:8787"
    url = f"{parts.scheme}://{parts.netloc}/_sandbox/instance?account={quote(account, safe='')}"
    timeout = aiohttp.ClientTimeout(total=3)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if _SANDBOX_HEADER not in answer.headers:
                return "the server there is not a sandbox"
            body = json.loads(await answer.content.read(_ANSWER_BOUND))
            if answer.status != 200:
                return str(body["message"])
            paths = {str(name): str(path) for name, path in body["paths"].items() if str(path).startswith("/")}
            return _Found(str(body["instance"]), paths)
    except (aiohttp.InvalidURL, KeyError, TypeError, AttributeError, ValueError):
        return "the sandbox there has another version"
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
        return _NOBODY
