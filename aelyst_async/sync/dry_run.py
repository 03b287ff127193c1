"""A dry run's stand-ins for `RowSender`: they decide what would be done and send no write."""

from __future__ import annotations

from typing import Any

from aelyst_async.errors import ContactNotFoundError, ContactsError
from aelyst_async.sync.compare import matches
from aelyst_async.sync.delivery import Kind, RowResult, RowSender
from aelyst_async.sync.reading import Work
from aelyst_async.tables.mapping import Mapper

__all__ = ["LocalDryRun", "RemoteDryRun"]


def _known(work: Work) -> bool:
    return work.entry is not None and (work.entry.state in {"DONE", "UNREADABLE"} or work.entry.contact_id is not None)


class LocalDryRun:
    """Decides from the journal alone: what it knows would be updated, what it does not would be created."""

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is sent."""
        return 0.0

    async def attempt(self, work: Work) -> RowResult:
        """Decide."""
        return RowResult(Kind.UPDATED if _known(work) else Kind.CREATED)


class RemoteDryRun:
    """Asks the API about each row that the journal cannot decide: one get."""

    def __init__(self, sender: RowSender, gateway: Any, mapper: Mapper) -> None:
        self._sender = sender
        self._gateway = gateway
        self._mapper = mapper

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is sent."""
        return 0.0

    async def attempt(self, work: Work) -> RowResult:
        """Look the contact up and decide."""
        try:
            contact = await self._gateway.get(self._mapper.identifier(work.values))
            self._sender.succeeded()
        except ContactNotFoundError:
            return RowResult(Kind.CREATED)
        except ContactsError as error:
            return self._sender.judge_read(work, error)
        same = matches(self._mapper.schema, contact, self._mapper.fields(work.values))
        return RowResult(Kind.UNCHANGED if same else Kind.UPDATED)
