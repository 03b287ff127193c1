"""Mirror: contacts that the source no longer has are deleted from the account, after everything else.

::

    all rows in, none refused ──▶ list the account ──▶ missing contacts ──▶ not too many? confirmed? ──▶ delete each
              │                                                                     │
              └── else nothing is deleted, and the report says why ◀────────────────┘

A contact is kept if one of its keys is in the source, if it has no key, or if the journal says that a row of the
source went to it: a listing may be older than the last write. Phone numbers are compared by their digits. Whatever
makes this comparison wrong makes it keep too much. A listing that ends early can only miss contacts.

Contacts are deleted by id. Before a request leaves, the journal forgets the contact's rows and notes the intention, in
one transaction. So a row that comes back is sent as new. A delete whose answer was lost is settled by a look-up, by
this run or, after a crash, by the next one.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing
from hashlib import blake2b
from typing import IO, Any

import attrs

from aelyst_async.bulk import each
from aelyst_async.errors import (
    ApiError,
    AuthenticationError,
    ContactNotFoundError,
    ContactsError,
    ResponseDecodeError,
    TransportError,
)
from aelyst_async.gateway import DeletingGateway, ListingGateway
from aelyst_async.identifiers import ContactId
from aelyst_async.sync.errors import MappingError
from aelyst_async.sync.failures import FailedRows
from aelyst_async.sync.journal import Attempt, Forgotten, Journal, Settled
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.settings import MirrorPlan, SyncSettings
from aelyst_async.tables.emails import fold_email
from aelyst_async.tables.mapping import Mapped, Mapper
from aelyst_async.tables.source import ContactSource
from aelyst_async.waiting import Worker

__all__ = ["Mirror", "Mirrored"]

NAMED = 1_000
"""Missing contacts that a report names."""

_LOOKS = 3
"""Deletes of one contact, each followed by a look-up where the answer was lost."""

_HOPELESS = 10
"""Failed deletes, with none that succeeded, after which no more are tried: the credential may lack the right."""

_ID = "id:"
"""What the journal's keys of deletes begin with."""


@attrs.frozen(kw_only=True)
class Mirrored:
    """What a mirror has done. ``not_deleted`` says why fewer were deleted than are missing."""

    listed: int = 0
    missing: int = 0
    deleted: int = 0
    names: tuple[str, ...] = ()
    not_deleted: str | None = None


class Mirror:
    """Decides what is missing and deletes it, as `SyncSettings` says.

    Raises `MappingError` for a gateway that cannot list or delete.
    """

    def __init__(self, gateway: Any, mapper: Mapper, settings: SyncSettings) -> None:
        self._gateway: Any = gateway
        name = mapper.schema.provider
        for able, what in ((ListingGateway, "list"), (DeletingGateway, "delete")):
            if not isinstance(gateway, able):
                raise MappingError(f"delete_missing: {name} cannot {what} contacts")
        self._mapper = mapper
        self._settings = settings
        self._keys: set[bytes] = set()
        self._stop = asyncio.Event()

    def saw(self, mapped: Mapped) -> None:
        """Keep the contact of a row of the source. Memory: 8 bytes of a hash for each key, and what a set needs."""
        given = dict(mapped.values)
        self._keys.update(_digest(key, value) for key in self._mapper.keys if (value := given.get(key)))

    def stop(self) -> None:
        """Delete no more; what is in flight finishes."""
        self._stop.set()

    def refusal(
        self, source: ContactSource, journal: Journal | None, *, failed: int, stopped: str | None
    ) -> str | None:
        """Return why nothing may be deleted after such a run, or None."""
        if isinstance(source, FailedRows):
            return "the source holds the rows that failed before, not all rows"
        if stopped is not None:
            return "the run ended early"
        if failed:
            return f"{failed:,} rows failed, so their contacts cannot be told from missing ones"
        if not self._keys:
            return "the source has no rows"
        if journal is not None and journal.holds_selection(source.name):
            return "the source was exported as a selection (--search, --where), so it lacks most of the account"
        return source.cut_short()

    async def run(self, journal: Journal | None, worker: Worker, *, dry_run: bool) -> Mirrored:
        """List the account and delete what is missing.

        Raises what the listing raises, `JournalError`, `AuthenticationError`.
        """
        earlier = 0
        known: dict[str, list[str]] = {}
        if journal is not None:
            if not dry_run:
                earlier = await self._settle_earlier(journal)
            known = await worker.run(self._journalled, journal)
        with _Missing() as missing:
            listed = await self._list(missing)
            found = Mirrored(
                listed=listed, missing=missing.count + earlier, deleted=earlier, names=tuple(missing.names)
            )
            problem = "interrupted" if self._stop.is_set() else self._too_many(missing.count, listed)
            if problem is None and missing.count and not dry_run:
                plan = MirrorPlan(missing=missing.count, listed=listed, names=found.names)
                if not await self._agreed(plan):
                    problem = "interrupted" if self._stop.is_set() else "the deletion was not confirmed"
            if problem is not None or dry_run or not missing.count:
                return attrs.evolve(found, not_deleted=problem)
            assert journal is not None
            async with Committer(journal) as committer:
                eraser = _Eraser(self._gateway, committer, known, self._settings)
                return await self._delete(eraser, missing, found)

    async def _delete(self, eraser: _Eraser, missing: _Missing, found: Mirrored) -> Mirrored:
        deleted, problems = 0, 0
        problem: str | None = None
        async with aclosing(each(eraser.delete, self._until_stopped(missing), self._settings.concurrency)) as outcomes:
            async for outcome in outcomes:
                if not outcome:
                    deleted += 1
                    continue
                problems += 1
                problem = outcome
                if problems >= _HOPELESS and not deleted:
                    self.stop()
        if problem is not None:
            problem = f"{problems:,} could not be deleted ({problem})"
        elif deleted < missing.count:
            problem = "interrupted"
        return attrs.evolve(found, deleted=found.deleted + deleted, not_deleted=problem)

    async def _list(self, missing: _Missing) -> int:
        listed = 0
        async with aclosing(self._gateway.contacts().pages()) as pages:
            async for page in pages:
                if self._stop.is_set():
                    break
                for contact in page.items:
                    listed += 1
                    keys = [(key, value) for key in self._mapper.keys if (value := getattr(contact, key, None))]
                    # One without a key cannot be missing: the source has no way to name it.
                    if keys and not any(_digest(*key) in self._keys for key in [("id", contact.id), *keys]):
                        missing.add(contact.id, [f"{key}:{value}" for key, value in keys])
                await asyncio.sleep(0)
        return listed

    def _journalled(self, journal: Journal) -> dict[str, list[str]]:
        """Keep the contacts that rows of the source went to; return the journal's keys of all others, by id."""
        known: dict[str, list[str]] = {}
        kept: set[bytes] = set()
        for key, contact_id in journal.contact_ids():
            prefix, _, value = key.partition(":")
            if _digest(prefix, value) in self._keys:
                kept.add(_digest("id", contact_id))
            else:
                known.setdefault(contact_id, []).append(key)
        self._keys |= kept
        return known

    def _too_many(self, missing: int, listed: int) -> str | None:
        given = self._settings.max_deletes
        share = isinstance(given, float)
        most = int(given * listed) if share else int(given)
        if missing <= most:
            return None
        limit = f"{given * 100:g}%" if share else f"{given:,}"
        return (
            f"{missing:,} of {listed:,} contacts are not in the source, more than --max-deletes {limit} allows "
            f"({most:,}); look at them with --dry-run, then allow it with --max-deletes {missing}"
        )

    async def _agreed(self, plan: MirrorPlan) -> bool:
        confirm = self._settings.confirm
        answer = True if confirm is None else confirm(plan)
        if not inspect.isawaitable(answer):
            return bool(answer)
        asked = asyncio.ensure_future(_awaited(answer))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((asked, stopped), return_when=asyncio.FIRST_COMPLETED)
            return asked.done() and bool(asked.result()) and not self._stop.is_set()
        finally:
            for task in (asked, stopped):
                task.cancel()
            await asyncio.gather(asked, stopped, return_exceptions=True)

    async def _until_stopped(self, missing: _Missing) -> AsyncIterator[tuple[str, list[str]]]:
        for one in missing:
            if self._stop.is_set():
                return
            yield one

    async def _settle_earlier(self, journal: Journal) -> int:
        """Look up the contacts whose delete an earlier run left open; return how many are gone."""
        gone = 0
        for contact_id in journal.open_deletes():
            try:
                await self._gateway.get(ContactId(contact_id))
            except ContactNotFoundError:
                gone += 1
            except ContactsError as error:
                if isinstance(error, AuthenticationError) and error.status == 401:
                    raise
                continue  # it stays open; if it is listed, it is deleted again
            journal.apply([Forgotten((_ID + contact_id,))])  # one that is still there will be listed
        return gone


class _Eraser:
    """Deletes contacts one at a time each, and keeps the journal."""

    def __init__(self, gateway: Any, committer: Committer, known: dict[str, list[str]], settings: SyncSettings) -> None:
        self._gateway = gateway
        self._committer = committer
        self._known = known
        self._settle = settings.retry.settle
        self._attempts = min(settings.max_attempts, _LOOKS)

    async def delete(self, one: tuple[str, list[str]]) -> str:
        """Delete a contact; return why that failed, or ``""``. Raises `AuthenticationError` (401), `JournalError`."""
        contact_id, _ = one
        key, who = _ID + contact_id, ContactId(contact_id)
        put = self._committer.put
        put(Forgotten(tuple(self._known.get(contact_id, ()))))
        put(Settled(key, "INTENT", "delete", None, contact_id, None, None, 0))
        await self._committer.durable()
        problem = ""
        for number in range(1, self._attempts + 1):
            error = await self._request(who)
            status = 200 if error is None else getattr(error, "status", None)
            put(Attempt(key, number, "delete", status, "deleted" if error is None else type(error).__name__))
            problem = "" if error is None else _words(error)
            if error is None or not _in_doubt(error):
                break
            if await self._is_gone(who):
                problem = ""
                break
        else:
            return f"in doubt, the next run looks it up: {problem}"
        put(Forgotten((key,)))
        return problem

    async def _request(self, who: ContactId) -> ContactsError | None:
        try:
            await self._gateway.delete(who)
        except ContactNotFoundError:
            return None  # by an attempt whose answer was lost, or by another client
        except ContactsError as error:
            if isinstance(error, AuthenticationError) and error.status == 401:
                raise
            if self._committer.error is not None:
                raise
            return error
        return None

    async def _is_gone(self, who: ContactId) -> bool:
        await asyncio.sleep(self._settle)
        try:
            await self._gateway.get(who)
        except ContactNotFoundError:
            return True
        except ContactsError:
            pass
        return False


class _Missing:
    """The missing contacts, in a temporary file: their number may be wrong by the whole account."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> _Missing:  # noqa: PYI034 - no Self before 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, contact_id: str, keys: list[str]) -> None:
        self.count += 1
        if self.count <= NAMED:
            self.names.append(" ".join([f"{_ID}{contact_id}", *keys]))
        pickle.dump((contact_id, keys), self._file, pickle.HIGHEST_PROTOCOL)

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        self._file.seek(0)
        for _ in range(self.count):
            yield pickle.load(self._file)  # noqa: S301 - our own temporary file


async def _awaited(answer: Awaitable[bool]) -> bool:
    return await answer


def _digest(key: str, value: Any) -> bytes:
    """Return a hash of a key by which a contact is found, equal for all spellings that a vendor may take for one."""
    text = str(value).strip()
    if key == "email":
        text = fold_email(text)
    elif key == "phone":
        digits = "".join(character for character in text if character.isdigit()).lstrip("0")
        text = digits or text
    return blake2b(f"{key}:{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _in_doubt(error: ContactsError) -> bool:
    return bool(getattr(error, "may_have_been_applied", False))


def _words(error: ContactsError) -> str:
    """Return why a delete failed, without the person."""
    if isinstance(error, ApiError):
        return f"{error.status}"
    if isinstance(error, TransportError):
        return error.message
    return "the answer cannot be understood" if isinstance(error, ResponseDecodeError) else type(error).__name__
