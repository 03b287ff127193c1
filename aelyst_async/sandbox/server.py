"""The sandbox's life: start, the accounts, stop.

A `Sandbox` is the server and its own first account, so that the common case needs no second object. The constructor
does no I/O; ``async with`` binds the port (0: any free one), opens the database, and on the way out ends every
connection within a fraction of a second, event streams included.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from aelyst_async.sandbox.account import DEFAULT_ACCOUNT, DEFAULT_TOKEN, Account
from aelyst_async.sandbox.faults import Fault
from aelyst_async.sandbox.guard import Guard
from aelyst_async.sandbox.quota import parse_quota
from aelyst_async.sandbox.store import Store, StoreError

if TYPE_CHECKING:
    from aiohttp import web
    from typing_extensions import Self

__all__ = ["DEFAULT_TOKEN", "Sandbox", "SandboxError", "is_loopback"]

_GRACE = 0.2
"""Seconds that requests in flight get when the server stops."""


class SandboxError(Exception):
    """The sandbox cannot start: the port is taken, or the database cannot be used. The text says what to do."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server_logger() -> logging.Logger:
    """Return aiohttp's logger for our server: input that is not HTTP is answered with 400 and not logged."""
    from aiohttp.http_exceptions import HttpProcessingError

    def ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    logger = logging.getLogger("aelyst_async.sandbox.http")
    if not logger.filters:
        logger.addFilter(ours)
    return logger


class Sandbox(Account):
    """The vendors' APIs on this machine.

    ``quota`` (``"10/s"``, ``"none"``) and ``scope`` (endpoint, path, account) set every vendor's quota; by default
    each vendor has the quota of its documentation, or none. ``switches`` are the assumptions
    (``{"put_missing": 400}``), ``faults`` are `Fault` objects or their `str` form, ``seed`` determines the ids and
    the random draws of faults. ``db`` is a file that keeps the contacts; `None` keeps them in memory.
    ``hosts`` are further names under which the server may be called.

    Raises `ValueError` for a setting that does not exist, and on entering `SandboxError`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        db: str | Path | None = None,
        quota: str | None = None,
        scope: str | None = None,
        switches: Mapping[str, object] | None = None,
        faults: Iterable[Fault | str] = (),
        seed: int = 0,
        hosts: Iterable[str] = (),
    ) -> None:
        chosen = dict(switches or {})
        if quota is not None:
            parse_quota(quota)
            chosen["quota"] = quota
        if scope is not None:
            chosen["quota_scope"] = scope
        super().__init__(DEFAULT_ACCOUNT, Store(db), seed=seed, switches=chosen, faults=faults)
        if not 0 <= port <= 65535:
            # uvloop would take it modulo 65536 and listen somewhere else.
            raise ValueError(f"{port} is not a port; 0 to 65535, and 0 takes any free one")
        self.host = host
        self._port = port
        self._guard = Guard(hosts if host in {"", "0.0.0.0", "::"} else (*hosts, host))  # noqa: S104 - compared only
        self._accounts: dict[str, Account] = {DEFAULT_ACCOUNT: self}
        self._runner: web.ServerRunner | None = None
        self.stopping = asyncio.Event()
        """Set when the server stops, so that streams end."""

    @property
    def port(self) -> int:
        """The port in use, once it runs."""
        return self._port

    async def start(self) -> None:
        """Open the database and listen. Raises `SandboxError`."""
        from aiohttp import web

        from aelyst_async.sandbox.control import Control
        from aelyst_async.sandbox.http import Frontend

        if self._runner is not None:
            raise SandboxError("the sandbox is running already")
        try:
            self.store.open()
        except StoreError as error:
            raise SandboxError(str(error)) from None
        frontend = Frontend(self._accounts.get, self._guard, Control(self).handle)
        # Bodies stay as they were sent: the log shows them so, and nothing is unpacked that could be a bomb.
        server = web.Server(frontend.handle, access_log=None, auto_decompress=False, logger=_server_logger())
        runner = web.ServerRunner(server, shutdown_timeout=_GRACE, handle_signals=False)
        try:
            await runner.setup()
            site = web.TCPSite(runner, self.host, self._port, backlog=1024)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            self.store.close()
            reason = getattr(error, "strerror", None) or error
            raise SandboxError(
                f"cannot listen on {self.host} port {self._port}: {reason}; --port 0 takes any free port"
            ) from None
        self._port = runner.addresses[0][1]
        self._runner = runner
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        root = f"http://[{shown}]:{self._port}" if ":" in shown else f"http://{shown}:{self._port}"
        for account in self._accounts.values():
            account.located_at(root)

    async def aclose(self) -> None:
        """Stop listening, end every connection, close the database; a second call does nothing."""
        self.stopping.set()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()
        self.store.close()
        for account in self._accounts.values():
            account.located_at("")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- the other accounts ------------------------------------------------------------------------------------

    def account(
        self,
        name: str | None = None,
        *,
        switches: Mapping[str, object] | None = None,
        faults: Iterable[Fault | str] = (),
    ) -> Account:
        """Return the account of this name, made with these settings if there is none; `None` makes a new name.

        It starts with the sandbox's own defaults and the sandbox's seed. Raises `ValueError`.
        """
        name = name or f"account-{secrets.token_hex(6)}"
        found = self._accounts.get(name)
        if found is None:
            if not name.isprintable() or len(name) > 100 or "/" in name:
                raise ValueError(f"{name!r} is not a name for an account")
            found = Account(
                name, self.store, seed=self.seed, switches={**self._initial, **(switches or {})}, faults=faults
            )
            if self._root:
                found.located_at(self._root)
            self._accounts[name] = found
        return found

    def accounts(self) -> tuple[Account, ...]:
        """Return all accounts, the first one first."""
        return tuple(self._accounts.values())

    def remove_account(self, name: str) -> bool:
        """Delete an account and all it holds; `False` if there is none. The first account cannot be removed."""
        if name == DEFAULT_ACCOUNT:
            raise ValueError("the first account cannot be removed; reset() empties it")
        account = self._accounts.pop(name, None)
        if account is None:
            return False
        self.store.clear(name, snapshots=True)
        account.located_at("")
        return True
