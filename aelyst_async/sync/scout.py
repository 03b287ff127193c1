"""A dry run's stand-ins for `Courier`: they decide what would be done and send no write."""

from __future__ import annotations

from typing import Any

from aelyst_async.errors import ContactNotFoundError, ContactsError
from aelyst_async.sync.compare import matches
from aelyst_async.sync.delivery import Courier, Kind, Verdict
from aelyst_async.sync.reading import Work
from aelyst_async.tables.mapping import Mapper

__all__ = ["LocalScout", "RemoteScout"]


def _known(work: Work) -> bool:
    return work.entry is not None and (work.entry.state in {"DONE", "UNREADABLE"} or work.entry.contact_id is not None)


class LocalScout:
    """Decides from the journal alone: what it knows would be updated, what it does not would be created."""

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is sent."""
        return 0.0

    async def attempt(self, work: Work) -> Verdict:
        """Decide."""
        return Verdict(Kind.UPDATED if _known(work) else Kind.CREATED)


class RemoteScout:
    """Asks the API about each row that the journal cannot decide: one get."""

    def __init__(self, courier: Courier, gateway: Any, mapper: Mapper) -> None:
        self._courier = courier
        self._gateway = gateway
        self._mapper = mapper

    def first_delay(self, _: Work) -> float:
        """Return 0: nothing is sent."""
        return 0.0

    async def attempt(self, work: Work) -> Verdict:
        """Look the contact up and decide."""
        try:
            contact = await self._gateway.get(self._mapper.identifier(work.values))
            self._courier.succeeded()
        except ContactNotFoundError:
            return Verdict(Kind.CREATED)
        except ContactsError as error:
            return self._courier.judge_read(work, error)
        same = matches(self._mapper.schema, contact, self._mapper.fields(work.values))
        return Verdict(Kind.UNCHANGED if same else Kind.UPDATED)
