"""The server: start, accounts, stop.

A `Sandbox` is the server and its first account, so that the common case needs one object. The constructor does no
I/O. ``async with`` opens the database and binds the port (0: any free one). On exit it ends all connections, event
streams included, within a fraction of a second.
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
"""Seconds for requests in progress when the server stops."""


class SandboxError(Exception):
    """The sandbox cannot start: the port is in use, or the database cannot be used. The message says what to do."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _server_logger() -> logging.Logger:
    """Return the logger of the HTTP server. Invalid HTTP is answered with 400 and not logged."""
    from aiohttp.http_exceptions import HttpProcessingError

    def ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    logger = logging.getLogger("aelyst_async.sandbox.http")
    if not logger.filters:
        logger.addFilter(ours)
    return logger


class Sandbox(Account):
    """A server for the vendors' APIs on this machine.

    ``quota`` (``"10/s"``, ``"none"``) and ``scope`` (endpoint, path, account) set every vendor's quota; by default
    each vendor has the quota of its documentation, or none. ``switches`` are the assumptions
    (``{"put_missing": 400}``), ``faults`` are `Fault` objects or their `str` form, ``seed`` determines the ids and
    the random draws of faults. ``db`` is a file for the contacts; with `None` they are in memory.
    ``hosts`` are further host names that requests may use.

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
            # uvloop would use it modulo 65536.
            raise ValueError(f"{port} is not a port; give 0 to 65535 (0: any free port)")
        self.host = host
        self._port = port
        self._guard = Guard(hosts if host in {"", "0.0.0.0", "::"} else (*hosts, host))  # noqa: S104 - compared only
        self._accounts: dict[str, Account] = {DEFAULT_ACCOUNT: self}
        self._runner: web.ServerRunner | None = None
        self.stopping: asyncio.Event = asyncio.Event()
        """Set when the server stops. Ends event streams."""

    @property
    def port(self) -> int:
        """The port; if 0 was given, the port in use once the server runs."""
        return self._port

    async def start(self) -> None:
        """Open the database and listen. Raises `SandboxError`."""
        from aiohttp import web

        from aelyst_async.sandbox.control import Control
        from aelyst_async.sandbox.http import Frontend

        if self._runner is not None:
            raise SandboxError("the sandbox is already running")
        try:
            self.store.open()
        except StoreError as error:
            raise SandboxError(str(error)) from None
        frontend = Frontend(self._accounts.get, self._guard, Control(self).handle)
        # Bodies are not decompressed: the log has them as they were sent, and a compression bomb has no effect.
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
                f"cannot listen on {self.host} port {self._port}: {reason}; use --port 0 for any free port"
            ) from None
        self._port = runner.addresses[0][1]
        self._runner = runner
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        root = f"http://[{shown}]:{self._port}" if ":" in shown else f"http://{shown}:{self._port}"
        for account in self._accounts.values():
            account.located_at(root)

    async def aclose(self) -> None:
        """Stop listening, close all connections and the database. Idempotent."""
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

    # --- accounts ------------------------------------------------------------------------------------------

    def account(
        self,
        name: str | None = None,
        *,
        switches: Mapping[str, object] | None = None,
        faults: Iterable[Fault | str] = (),
    ) -> Account:
        """Return the account of this name; create it with these settings if there is none. `None`: a new name.

        A new account has the sandbox's defaults and seed. Raises `ValueError` for a name that is not possible.
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
        """Return all accounts in the order of their creation."""
        return tuple(self._accounts.values())

    def remove_account(self, name: str) -> bool:
        """Delete an account and its contents. Returns `False` if there is none.

        Raises `ValueError` for the first account, which cannot be removed.
        """
        if name == DEFAULT_ACCOUNT:
            raise ValueError("the first account cannot be removed; reset() empties it")
        account = self._accounts.pop(name, None)
        if account is None:
            return False
        self.store.clear(name, snapshots=True)
        account.located_at("")
        return True
