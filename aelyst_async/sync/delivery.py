"""Delivery of one row: which method of the gateway is called, and what its result means.

The rule behind every branch: a *create* may be repeated only if it surely did not happen. So its INTENT is on the
disk before the request is sent. If the outcome is in doubt (no response, a reset, a time-out, a 5xx), the contact is
looked up `settle` seconds later, because a contact that was just created may not be visible yet. Two look-ups must miss
it before it is created again. An update may always be repeated, and so may an upsert that is one request of the API's
own (``error.repeatable``). Its journal entry is AMBIGUOUS all the same, because the next run may use another way to
upsert.

A response that asks to wait (429, 449, 503), or a server that cannot be reached, is no failure of the row: the row is
parked and costs no attempt, for at most ``retry.patience`` seconds.

A 401 ends the run. So does a 403 as the first answer; once a request has succeeded, a 403 is about its row, and only
several in a row are about the credential.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import attrs

from aelyst_async.contacts import UNSET, Contact, ContactFields, WriteReceipt
from aelyst_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ContactNotFoundError,
    ContactsError,
    InvalidIdentifierError,
    QueuedError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
    TransportError,
    UnsupportedFieldError,
)
from aelyst_async.gateway import ContactGateway
from aelyst_async.identifiers import ContactId, Identifier
from aelyst_async.sync.journal import Attempt, Dead, Entry, Settled
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.process import uptime
from aelyst_async.sync.reading import Work
from aelyst_async.sync.settings import SyncSettings
from aelyst_async.tables.mapping import Mapper

__all__ = ["Kind", "LocalDryRun", "RemoteDryRun", "RowResult", "RowSender"]

_MAX_FORBIDDEN = 5
"""Answers 403 in a row after which it is the credential that is refused, not each row."""

_HELD = 1.0
"""Seconds after which a row that another process holds is tried again."""

_CREATED_NOW = 60.0
"""Seconds, by the vendor's clock, between a contact's creation and its last change within which both are one event."""


class Kind(enum.Enum):
    """The outcome of a row, or what happens to it next."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    LATER = "later"
    STOP = "stop"


class RowResult(NamedTuple):
    """The result of an attempt. ``delay``: seconds until the next one. ``unreachable``: there was no response.

    ``untold``: the API did not say whether the contact is new, so CREATED is the journal's guess.
    """

    kind: Kind
    delay: float = 0.0
    rule: str = ""
    message: str = ""
    status: int | None = None
    error: ContactsError | None = None
    unreachable: bool = False
    untold: bool = False


class RowSender:
    """Delivers rows through one gateway.

    ``look_first``: whether a row in doubt is looked up (off: to show why it is). ``claim``: claims the key of a row
    that another process holds, as `Reader.claim` says.
    """

    look_first = True
    claim: Callable[[Sequence[str]], Awaitable[Mapping[str, Entry | None]]] | None = None

    def __init__(
        self,
        gateway: ContactGateway,
        mapper: Mapper,
        committer: Committer,
        settings: SyncSettings,
    ) -> None:
        self._gateway = gateway
        self._mapper = mapper
        self._committer = committer
        self._retry = settings.retry
        self._max_attempts = settings.max_attempts
        self._assume_new = settings.assume_new
        self._random = random.Random()  # noqa: S311 - jitter
        self._began = uptime()
        self._succeeded = False
        self._forbidden = 0

    def first_delay(self, work: Work) -> float:
        """Return the seconds before the first attempt; mark a row in doubt if an earlier run left its outcome open."""
        if work.held:
            return _HELD
        entry = work.entry
        if entry is None:
            return 0.0
        settle = self._retry.settle
        if entry.state == "INTENT" and entry.operation == "create":
            # Of a process that died. It is not known when its request was sent, only that the process has ended.
            work.ambiguous = True
            return settle
        if entry.state in {"AMBIGUOUS", "UNREADABLE"}:
            work.ambiguous = True
            return max(0.0, settle - self._age(entry))
        if entry.state == "DONE" and entry.operation == "create":
            return max(0.0, settle - self._age(entry))
        return 0.0

    def _age(self, entry: Entry) -> float:
        """Return the least age of an entry in seconds."""
        now = uptime()
        if entry.uptime is not None and entry.uptime <= now:
            return now - entry.uptime
        return now - self._began  # of another boot: all that is known is that it is older than this run

    async def attempt(self, work: Work) -> RowResult:
        """Make one attempt. Raises `JournalError`."""
        if work.held and (result := await self._claim(work)) is not None:
            return result
        who = self._mapper.identifier(work.values)
        operation = "verify" if work.verify else "look-up" if work.ambiguous else "write"
        try:
            if work.verify:
                result = await self._verify(work, who)
            elif work.ambiguous:
                result = await self._resolve(work, who)
            else:
                result = await self._write(work, who)
            self._accepted()
            return result
        except ContactsError as error:
            if self._committer.error is not None:
                raise
            result = self._judge(work, error)
            number = work.attempts + work.pauses
            outcome = f"{type(error).__name__}: {result.message or _words(error)}"[:500]
            self._committer.put(Attempt(work.key, number, operation, getattr(error, "status", None), outcome))
            return result

    async def _claim(self, work: Work) -> RowResult | None:
        """Claim a row that another process held. None: it may be sent now."""
        assert self.claim is not None
        held = await self.claim([work.key])
        if work.key not in held:
            return RowResult(Kind.LATER, delay=_HELD)
        work.held = False
        work.entry = held[work.key]
        if work.is_done:
            return RowResult(Kind.UNCHANGED)  # the other process has sent it
        delay = self.first_delay(work)
        return RowResult(Kind.LATER, delay=delay) if delay > 0 else None

    async def compare(self, work: Work) -> RowResult:
        """Return what `attempt` would do: one get, no write."""
        try:
            contact = await self._gateway.get(self._mapper.identifier(work.values))
            self._accepted()
        except ContactNotFoundError:
            return RowResult(Kind.CREATED)
        except ContactsError as error:
            return self._judge(work, error)
        same = self._mapper.schema.matches(contact, self._mapper.fields(work.values))
        return RowResult(Kind.UNCHANGED if same else Kind.UPDATED)

    def _accepted(self) -> None:
        """Note that a request succeeded: the credential is good."""
        self._succeeded = True
        self._forbidden = 0

    async def _write(self, work: Work, who: Identifier) -> RowResult:
        fields = self._mapper.fields(work.values)
        entry = work.entry
        if entry is not None and entry.contact_id is not None:
            receipt = await self._update_by_id(work, ContactId(entry.contact_id), fields)
            if receipt is not None:
                return self._done(work, receipt, Kind.UPDATED)
        await self._intend(work, "create")
        if entry is None and self._assume_new:
            return self._done(work, await self._create(who, fields), None)
        return self._done(work, await self._gateway.upsert(who, fields), None)

    async def _update_by_id(self, work: Work, who: ContactId, fields: ContactFields) -> WriteReceipt | None:
        """Update a contact whose id is known; None where that leaves in doubt whether it still exists."""
        only_create = self._mapper.schema.create_only(fields)
        changes = attrs.evolve(fields, **dict.fromkeys(only_create, UNSET))
        await self._intend(work, "update")
        try:
            return await self._gateway.update(who, changes)
        except (
            ContactNotFoundError,
            BadRequestError,
            ResponseDecodeError,
            InvalidIdentifierError,
            UnsupportedFieldError,
        ):
            return None

    async def _create(self, who: Identifier, fields: ContactFields) -> WriteReceipt:
        try:
            return await self._gateway.create(fields, identifier=who)
        except ConflictError:
            pass
        return await self._gateway.upsert(who, fields)

    async def _resolve(self, work: Work, who: Identifier) -> RowResult:
        """Look up the contact of a row in doubt, and update or create it if needed."""
        fields = self._mapper.fields(work.values)
        contact = None
        if self.look_first:
            try:
                contact = await self._gateway.get(who)
            except ContactNotFoundError:
                work.looks += 1
                if work.looks < 2:
                    return RowResult(Kind.LATER, delay=self._retry.settle)
        if contact is None:
            work.looks = 0
            work.ambiguous = False
            await self._intend(work, "create")
            return self._done(work, await self._create(who, fields), None)
        if self._mapper.schema.matches(contact, fields):
            if work.entry is not None and work.entry.state == "UNREADABLE":
                kind = Kind.UNCHANGED
            else:
                kind = Kind.CREATED if self._was_created(work, contact) else Kind.UPDATED
            return self._done(work, WriteReceipt(identifier=who, contact_id=contact.id), kind)
        work.ambiguous = False
        receipt = None
        if (contact_id := _storable(contact.id)) is not None:
            receipt = await self._update_by_id(work, ContactId(contact_id), fields)
        if receipt is None:
            await self._intend(work, "create")
            receipt = await self._gateway.upsert(who, fields)
        return self._done(work, receipt, Kind.CREATED if work.created else Kind.UPDATED)

    async def _verify(self, work: Work, who: Identifier) -> RowResult:
        """Compare a contact with what was sent; send the row again if it differs."""
        try:
            contact = await self._gateway.get(who)
        except ContactNotFoundError:
            contact = None
        if contact is not None and self._mapper.schema.matches(contact, self._mapper.fields(work.values)):
            return RowResult(Kind.UNCHANGED)
        work.verify = False
        return await self._write(work, who)

    @staticmethod
    def _was_created(work: Work, contact: Contact) -> bool:
        """Whether a contact found for a row in doubt was created by this row."""
        if work.created is not None:
            return work.created
        created, updated = contact.created_at, contact.updated_at
        if work.entry is None or created is None or updated is None:
            return True
        # Both times are of the vendor's clock, since ours may be wrong.
        return (updated - created).total_seconds() < _CREATED_NOW

    async def _intend(self, work: Work, operation: str) -> None:
        entry = work.entry
        contact_id = None if entry is None else entry.contact_id
        self._settle(work, "INTENT", operation, contact_id=contact_id)
        await self._committer.durable()

    def _settle(
        self,
        work: Work,
        state: str,
        operation: str | None,
        *,
        contact_id: str | None = None,
        status: int | None = None,
    ) -> None:
        confirmed = work.hash if state == "DONE" else None
        was_dead = work.entry is not None and work.entry.state != "DONE"
        self._committer.put(
            Settled(work.key, state, operation, confirmed, contact_id, work.row, status, work.attempts, was_dead)
        )

    def _done(self, work: Work, receipt: WriteReceipt, kind: Kind | None) -> RowResult:
        known = work.entry is not None and (work.entry.state == "DONE" or work.entry.contact_id is not None)
        untold = kind is None and receipt.created is None and not known
        if kind is None:
            kind = Kind.CREATED if receipt.created or untold else Kind.UPDATED
        entry = work.entry
        contact_id = _storable(receipt.contact_id) or (
            None if entry is None or kind is Kind.CREATED else entry.contact_id
        )
        operation = "create" if kind is Kind.CREATED else "update"
        self._settle(work, "DONE", operation, contact_id=contact_id, status=200)
        return RowResult(kind, status=200, untold=untold)

    def _judge(self, work: Work, error: ContactsError) -> RowResult:
        """Return what an error means for the row."""
        status = error.status if isinstance(error, ApiError) else None
        if isinstance(error, AuthenticationError):
            self._forbidden += 1
            if status == 403 and self._succeeded and self._forbidden < _MAX_FORBIDDEN:
                work.attempts += 1
                return self._give_up(work, _rule(error), _words(error), status)
            if not work.ambiguous:
                self._settle(work, "PARKED", "create", status=status)
            return RowResult(Kind.STOP, error=_about(work, error), status=status)
        if isinstance(error, ConfigurationError):
            # Not an error of the row: a quota that cannot be shared, a closed client. Nothing was sent.
            if not work.ambiguous:
                self._settle(work, "PARKED", "create")
            return RowResult(Kind.STOP, error=error)
        doubt = _in_doubt(error)
        if not doubt and getattr(error, "may_have_been_applied", False) and getattr(error, "method", "") == "POST":
            work.upserted = True
        if doubt:
            work.ambiguous = True
            work.looks = 0
            work.created = True if getattr(error, "method", "") == "POST" else work.created
        if isinstance(error, (RateLimitedError, QueuedError)) or status == 503:
            return self._put_off(work, error, status)
        if isinstance(error, TransportError) and not error.may_have_been_applied:
            # An error of the network, not of the row: no attempt is counted. The engine detects an outage.
            return self._put_off(work, error, status)
        # An update finds no contact that a create found: it is not visible yet. A create without a route is final.
        late = isinstance(error, ConflictError) or (isinstance(error, ContactNotFoundError) and error.method != "POST")
        again = doubt or late or isinstance(error, (ServerError, TransportError, ResponseDecodeError))
        if again:
            work.attempts += 1
            if work.attempts < self._max_attempts:
                self._settle(
                    work, "AMBIGUOUS" if work.ambiguous or work.upserted else "PARKED", "create", status=status
                )
                delay = self._backoff(work.attempts)
                if doubt or late:
                    delay = max(delay, self._retry.settle)
                return RowResult(
                    Kind.LATER, delay=delay, error=error, status=status, unreachable=isinstance(error, TransportError)
                )
        else:
            work.attempts += 1
        return self._give_up(work, _rule(error), _words(error), status)

    def _put_off(self, work: Work, error: ContactsError, status: int | None) -> RowResult:
        now = asyncio.get_running_loop().time()
        if work.parked_since is None:
            work.parked_since = now
        patience = self._retry.patience
        asked = getattr(error, "retry_after", None) or 0.0
        if asked > patience:
            message = f"asked to wait {asked:g} s, longer than the patience of {patience:g} s: {_words(error)}"
            return self._give_up(work, _rule(error), message, status)
        if now - work.parked_since + asked > patience:
            return self._give_up(work, _rule(error), f"put off for over {patience:g} s: {_words(error)}", status)
        work.pauses += 1
        self._settle(work, _open_state(work, "PARKED"), "create", status=status)
        if isinstance(error, QueuedError):
            value = min(self._retry.queued_cap, self._retry.queued * 2 ** min(work.pauses - 1, 16))
            delay = value / 2 + self._random.uniform(0, value / 2)
        else:
            delay = self._backoff(work.pauses)
        if work.ambiguous:
            delay = max(delay, self._retry.settle)
        unreachable = isinstance(error, TransportError)
        return RowResult(Kind.LATER, delay=max(delay, asked), error=error, status=status, unreachable=unreachable)

    def _give_up(self, work: Work, rule: str, message: str, status: int | None) -> RowResult:
        # A create in doubt stays AMBIGUOUS: the next run looks before it sends.
        self._settle(work, _open_state(work, "DEAD"), "create", status=status)
        self._committer.put(Dead(work.key, work.row, work.line, rule, message, status, work.attempts, work.values))
        return RowResult(Kind.FAILED, rule=rule, message=message, status=status)

    def _backoff(self, number: int) -> float:
        value: float = min(self._retry.cap, self._retry.base * 2.0 ** min(number - 1, 16))
        return value / 2 + self._random.uniform(0, value / 2)


class LocalDryRun:
    """A dry run from the journal alone: what it knows would be updated, what it does not would be created."""

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is sent."""
        return 0.0

    async def attempt(self, work: Work) -> RowResult:
        """Decide."""
        entry = work.entry
        known = entry is not None and (entry.state in {"DONE", "UNREADABLE"} or entry.contact_id is not None)
        return RowResult(Kind.UPDATED if known else Kind.CREATED)


class RemoteDryRun:
    """A dry run that asks the API about each row that the journal cannot decide: one get."""

    def __init__(self, sender: RowSender) -> None:
        self._sender = sender

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is written."""
        return 0.0

    async def attempt(self, work: Work) -> RowResult:
        """Look the contact up and decide."""
        return await self._sender.compare(work)


def _open_state(work: Work, state: str) -> str:
    """Return the journal's state of a row that is not done: AMBIGUOUS where its contact may exist, else `state`."""
    return "AMBIGUOUS" if work.ambiguous or work.upserted else state


def _in_doubt(error: ContactsError) -> bool:
    """Whether a create may have happened although it failed."""
    if not getattr(error, "may_have_been_applied", False) or getattr(error, "repeatable", False):
        return False
    # A PUT or DELETE can be sent again without asking; a gateway that does not say what it sent is taken as a POST.
    return getattr(error, "method", "") not in {"PUT", "DELETE", "GET", "HEAD", "PATCH"}


def _storable(contact_id: object) -> str | None:
    """Return an id that the vendor told, if it is one that can be kept and sent again."""
    if not isinstance(contact_id, str):
        return None
    try:
        contact_id.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry
        return None
    return None if not contact_id or "\0" in contact_id else contact_id


def _about(work: Work, error: AuthenticationError) -> AuthenticationError:
    """Return a 403 with the place of its row: rights may depend on the contact. A 401 is about the credential alone."""
    if error.status != 403:
        return error
    place = f"row {work.row}" if work.line is None else f"row {work.row}, line {work.line}"
    return attrs.evolve(error, message=f"{error.message}; {place}".removeprefix("; "))


def _rule(error: ContactsError) -> str:
    if isinstance(error, ApiError):
        return "queued" if isinstance(error, QueuedError) else f"http-{error.status}"
    return {"UnsupportedFieldError": "field", "InvalidIdentifierError": "identifier"}.get(
        type(error).__name__, "no-answer"
    )


def _words(error: ContactsError) -> str:
    """Return the vendor's words where there are any, without the URL: the row says whom it is about."""
    if isinstance(error, ApiError):
        return f"{error.status} {error.message}".strip()
    if isinstance(error, TransportError):
        return error.message
    if isinstance(error, ResponseDecodeError):
        return f"the answer cannot be understood: {error.problem}"
    return str(error)
