"""The journal in a schema of a PostgreSQL server, which several processes and hosts may use at once (extra `postgres`).

`postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE?schema=NAME&lease=SECONDS`: the schema (default ``aelyst``) is made
where it does not exist, and holds one target's journal. `lease`: seconds after which the rows of a process that died
are free (default 15). All other parameters are asyncpg's, such as ``ssl=require``.

SQLAlchemy's asynchronous engine runs in an event loop of its own, on a thread of its own (`Server`), so that the
journal's blocking methods may be called from any thread. A write whose connection is lost is repeated until the lease
ends: all writes may be repeated. No error of the driver leaves this module, since they quote parameters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal import claims
from aelyst_async.sync.journal.claims import NOW
from aelyst_async.sync.journal.database import (
    SCHEMA,
    SHARED_SCHEMA,
    VERSION,
    OtherKindError,
    Statements,
    redacted,
    sealed_meta,
    write_meta,
)
from aelyst_async.sync.journal.process import uptime

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.engine import Connection

__all__ = ["Postgres", "Server", "exists", "journals", "reading", "schema_of"]

T = TypeVar("T")

OLDEST = (12,)
"""The oldest version of PostgreSQL that is supported."""

LEASE = 15.0

_TYPES = {
    "any": "TEXT",
    "id": "INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "real": "DOUBLE PRECISION",
    "bytes": "BYTEA",
    "table": "",
}

_SIGN = "journal of a sync of aelyst-async, version"
"""The comment on a schema that marks it as a journal."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT = 5.0
"""Seconds for a connection to be made, or to be had from the pool."""

_COMMAND = 30.0
"""Seconds for one statement."""

_POOL = 4

_PARAMETERS = frozenset({"ssl", "passfile", "target_session_attrs", "prepared_statement_cache_size"})
"""Parameters of a URL that are handed to asyncpg, or to SQLAlchemy's dialect of it."""

_WORDS = {
    "28": "the user name or the password was refused",
    "3D": "there is no such database; create it, or name another one",
    "42501": "the user may not do this; it needs CREATE on the database, or its own schema",
    "53100": "the server's disk is full; free some space",
    "53": "the server has no room for another connection",
    "57P03": "the server is starting up; try again",
    "57": "the server is shutting down",
    "08": "the connection was lost",
}
"""The beginning of an SQLSTATE (PostgreSQL's documentation, appendix A) → words for people."""

_PASSING = ("08", "57P", "40001", "40P01", "53300")
"""Beginnings of SQLSTATEs after which the same transaction may succeed."""


class _RefusedError(Exception):
    """What a database error means, in words without a value, an address or a password."""

    def __init__(self, words: str, *, passing: bool) -> None:
        super().__init__(words)
        self.passing = passing


class _Statements:
    """`Statements` on one connection, within a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(self._connection.exec_driver_sql(_numbered(sql), tuple(values)).fetchall())

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._connection.exec_driver_sql(_numbered(sql), tuple(values)).rowcount

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._connection.exec_driver_sql(_numbered(sql), [tuple(row) for row in rows])

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        found = self._connection.exec_driver_sql(f"{_numbered(sql)} RETURNING id", tuple(values))
        return int(found.scalar_one())


@lru_cache(maxsize=1024)
def _numbered(sql: str) -> str:
    """Return SQL with ``$1``, ``$2`` … in place of each ``?``."""
    parts = sql.split("?")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]


def _parse(url: str) -> tuple[URL, str, float]:
    """Return the URL as SQLAlchemy takes it, the schema and the lease. Raises `JournalError`."""
    try:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        raise JournalError("a journal in PostgreSQL needs: pip install 'aelyst-async[postgres]'") from None
    kind = url.partition("://")[0]
    example = "postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE"
    if kind not in {"postgresql+asyncpg", "postgresql", "postgres"}:
        raise JournalError(f"--journal: {kind} is not supported; give a path, or {example}")
    parsed = None
    with contextlib.suppress(ArgumentError, ValueError):
        parsed = make_url(url)
    if parsed is None or not parsed.database:
        raise JournalError(f"--journal: the URL of the database is not of the form {example}")
    query = dict(parsed.query)
    schema, lease = query.pop("schema", "aelyst"), query.pop("lease", str(LEASE))
    if not isinstance(schema, str) or not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise JournalError("--journal: schema= takes lower-case letters, digits and _, at most 63, not first a digit")
    if unknown := set(query) - _PARAMETERS:
        raise JournalError(
            f"--journal: the URL has an unknown parameter {min(unknown)!r}; it takes schema, lease, "
            + ", ".join(sorted(_PARAMETERS))
        )
    try:
        seconds = float(lease if isinstance(lease, str) else "")
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise JournalError("--journal: lease= takes a number of seconds from 0.5 to 3600")
    return parsed.set(drivername="postgresql+asyncpg", query=query), schema, seconds


def schema_of(url: str) -> str:
    """Return the schema that the URL of a journal names. Raises `JournalError`."""
    return _parse(url)[1]


class Server:
    """Connections to one database, and the thread that uses them. `url` as the module says; its schema is not used."""

    schema: str
    lease: float

    def __init__(self, url: str) -> None:
        parsed, self.schema, self.lease = _parse(url)
        self.path: str = redacted(url).partition("?")[0]
        self.name: str = f"{parsed.database} at {parsed.host or 'localhost'}"
        try:
            import asyncpg
            from sqlalchemy.exc import SQLAlchemyError
            from sqlalchemy.ext.asyncio import create_async_engine
        except ImportError:
            raise JournalError("a journal in PostgreSQL needs: pip install 'aelyst-async[postgres]'") from None
        self._errors = (
            SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError,
        )  # fmt: skip
        self._engine = create_async_engine(
            parsed,
            pool_size=_POOL,
            max_overflow=0,
            pool_timeout=_COMMAND,
            hide_parameters=True,
            connect_args={
                "timeout": _CONNECT,
                "command_timeout": _COMMAND,
                "server_settings": {"application_name": "aelyst-async"},
            },
        )
        self._open = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="aelyst-postgres", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the thread and return its result."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        except (RuntimeError, FutureCancelled):
            coroutine.close()
            if self._open:
                raise
        raise JournalError(f"the database {self.name}: the connection was closed")

    def write(self, work: Callable[[Statements], T], *, schema: str) -> T:
        """Do `work` as one transaction in a journal's schema, without an owner of claims. Blocks."""
        return self.call(self.transaction(work, schema=schema))

    async def transaction(self, work: Callable[[Statements], T], *, schema: str | None, patience: float = 0.0) -> T:
        """Do `work` as one transaction, again for `patience` seconds where the connection is lost. In the loop."""
        deadline = self._loop.time() + patience
        while True:
            try:
                return await self._once(work, schema)
            except _RefusedError as refusal:
                if not refusal.passing or self._loop.time() >= deadline:
                    words = str(refusal)
                    break
            await asyncio.sleep(0.1)
        raise JournalError(f"the database {self.name}: {words}")

    async def _once(self, work: Callable[[Statements], T], schema: str | None) -> T:
        def done(connection: Connection) -> T:
            version = connection.dialect.server_version_info or OLDEST
            if version < OLDEST:
                raise JournalError(
                    f"the database {self.name} is PostgreSQL {version[0]}, which is not supported; "
                    f"use version {OLDEST[0]} or newer"
                )
            if schema is not None:
                connection.exec_driver_sql(f'SET LOCAL search_path TO "{schema}"')
            return work(_Statements(connection))

        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(done)
        except self._errors as error:
            refusal = _refusal(error)
        raise refusal  # outside of the handler: the driver's error quotes what was sent, and must not hang on this one

    def close(self) -> None:
        """Close the connections and end the thread; calls that wait raise `JournalError`. Idempotent."""
        if not self._open:
            return
        self._open = False
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):  # a server that is gone: nothing is left to be closed
            await asyncio.wait_for(self._engine.dispose(), _CONNECT)


def _refusal(error: BaseException) -> _RefusedError:
    """Say in our own words what a driver's error means."""
    chain = [error, getattr(error, "orig", None), getattr(getattr(error, "orig", None), "__cause__", None)]
    state = next((str(found) for one in chain if (found := getattr(one, "sqlstate", None))), "")
    if state:
        words = next((words for start, words in _WORDS.items() if state.startswith(start)), "")
        return _RefusedError(
            words or f"PostgreSQL refused a statement (SQLSTATE {state})", passing=state.startswith(_PASSING)
        )
    if any(isinstance(one, asyncio.TimeoutError) for one in chain):
        return _RefusedError("no answer in time; is it the right host and port?", passing=True)
    if any(isinstance(one, OSError) for one in chain) or getattr(error, "connection_invalidated", False):
        return _RefusedError("no server answers there, or the connection was lost", passing=True)
    name = type(chain[2] or chain[1] or error).__name__
    return _RefusedError(f"no PostgreSQL that can be used answers there ({name})", passing="Interface" in name)


class Postgres:
    """One journal's schema, with this process as an owner of claims. Opening it makes it where it does not exist.

    `place`: the URL, or connections to share. `schema`: in place of the URL's. `create`: whether a schema that does
    not exist is made. Raises `JournalError`.
    """

    shared = True
    shift: float = 0.0
    fenced: bool = True
    """Whether nothing is written once the lease has ended. Off for a process that claims no rows."""

    def __init__(self, place: str | Server, *, schema: str | None = None, create: bool = True) -> None:
        self._owned = not isinstance(place, Server)
        self._server = place if isinstance(place, Server) else Server(place)
        self.schema: str = schema or self._server.schema
        if not _NAME.fullmatch(self.schema):
            raise JournalError("a schema's name has lower-case letters, digits and _")
        self.lease: float = self._server.lease
        self.path: str = f"{self._server.path}?schema={self.schema}"
        self.name: str = f"{self.schema} in {self._server.name}"
        self.owner: int = 0
        self._heart: asyncio.Task[None] | None = None
        try:
            self._server.call(self._open(create=create))
        except BaseException:
            self.close()
            raise

    async def _open(self, *, create: bool) -> None:
        name = f"process {os.getpid()} on {socket.gethostname()}"

        def enter(statements: Statements) -> int:
            _check_schema(statements, self.schema, self.name, create=create)
            statements.execute(f'SET LOCAL search_path TO "{self.schema}"')
            return claims.enter(statements, name, self.lease)

        self.owner = await self._server.transaction(enter, schema=None)
        await self._beat()
        self._heart = asyncio.create_task(self._beat_on())

    async def _beat_on(self) -> None:
        """Renew the lease while the journal is open. A failure shows at the next write."""
        while True:
            await asyncio.sleep(self.lease / 3)
            with contextlib.suppress(JournalError):
                await self._beat()

    async def _beat(self) -> None:
        now = await self._server.transaction(
            self._renewed(lambda found: found.fetch(f"SELECT {NOW}")), schema=self.schema
        )
        self.shift = uptime() - float(now[0][0])

    def _renewed(self, work: Callable[[Statements], T]) -> Callable[[Statements], T]:
        """Return `work` behind a renewal of the lease, without which nothing is written."""

        def both(statements: Statements) -> T:
            if not claims.renew(statements, self.owner, self.lease) and self.fenced:
                raise JournalError(
                    f"{self.name}: this process was not heard of for {self.lease:g} s, so its rows are free for "
                    "others; run the same command again"
                )
            return work(statements)

        return both

    def read(self, work: Callable[[Statements], T]) -> T:
        """Return what `work` returns."""
        return self._server.call(self._server.transaction(work, schema=self.schema, patience=self.lease))

    def write(self, work: Callable[[Statements], T]) -> T:
        """Do `work` as one transaction, if the lease has not ended."""
        return self._server.call(self._server.transaction(self._renewed(work), schema=self.schema, patience=self.lease))

    def close(self) -> None:
        """Give up all claims. Idempotent."""
        if self.owner:
            with contextlib.suppress(JournalError):  # then the lease ends by itself
                self._server.call(self._leave())
            self.owner = 0
        if self._owned:
            self._server.close()

    async def _leave(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
        await self._server.transaction(lambda found: claims.leave(found, self.owner), schema=self.schema)


class _Reading:
    """`Statements` that only read, each in a transaction of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._server.call(
            self._server.transaction(lambda found: found.fetch(sql, values), schema=self._server.schema)
        )


@contextmanager
def reading(url: str) -> Iterator[Any]:
    """Read a journal without becoming an owner of claims. Raises `JournalError`."""
    server = Server(url)
    try:
        reader = _Reading(server)
        name = f"{server.schema} in {server.name}"
        found = reader.fetch(_FIND, (server.schema,))
        if not (found and found[0][1]):
            raise JournalError(f"{name}: no such journal")
        _check_comment(found[0][0], name)
        yield reader
    finally:
        server.close()


def exists(url: str) -> bool:
    """Whether the schema has tables. Raises `JournalError`."""
    server = Server(url)
    try:
        found = _Reading(server).fetch(_FIND, (server.schema,))
        return bool(found and found[0][1])
    finally:
        server.close()


def journals(server: Server) -> list[str]:
    """Return the schemas of a database that are journals of this version. Raises `JournalError`."""
    sql = "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') = ? ORDER BY nspname"
    work = lambda found: [str(name) for (name,) in found.fetch(sql, (f"{_SIGN} {VERSION}",))]  # noqa: E731
    return server.call(server.transaction(work, schema=None))


def _check_schema(statements: Statements, schema: str, name: str, *, create: bool) -> None:
    """Make the schema or check that it is a journal of this version. Raises `JournalError`."""
    statements.fetch("SELECT pg_advisory_xact_lock(hashtext(?))", (f"aelyst-async {schema}",))
    found = statements.fetch(_FIND, (schema,))
    comment, used = found[0] if found else (None, False)
    if used:
        _check_comment(comment, name)
        return
    if not create:
        raise JournalError(f"{name}: no such journal")
    salt = secrets.token_bytes(16)
    if not found:
        statements.execute(f'CREATE SCHEMA "{schema}"')
    statements.execute(f"COMMENT ON SCHEMA \"{schema}\" IS '{_SIGN} {VERSION}'")
    statements.execute(f'SET LOCAL search_path TO "{schema}"')
    for statement in (SCHEMA.format(**_TYPES) + SHARED_SCHEMA).split(";"):
        if statement.strip():
            statements.execute(statement)
    write_meta(statements, sealed_meta({"salt": salt.hex()}, salt))


_FIND = (
    "SELECT obj_description(oid, 'pg_namespace'), EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = n.oid) "
    "FROM pg_namespace n WHERE nspname = ?"
)


def _check_comment(comment: str | None, name: str) -> None:
    other = "name another one with ?schema=NAME"
    if comment is None or not comment.startswith(_SIGN):
        raise OtherKindError(f"{name} holds tables of something else, no journal of a sync; {other}")
    version = comment.removeprefix(_SIGN).strip()
    if version != str(VERSION):
        raise OtherKindError(f"{name} has version {version}, this program writes version {VERSION}: {other}")
