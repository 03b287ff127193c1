"""Run by test_crash.py in a process of its own: syncs a file, and kills itself at a chosen journal transition.

    python -m tests.sync.crash_child BASE_URL CSV JOURNAL POINT NUMBER LOOK_FIRST UPSERT

POINT is one of POINTS or "none"; at its NUMBER-th occurrence the process gets SIGKILL, as from outside.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from aelyst_async.sync import ContactSync, RetrySettings, read_contacts
from aelyst_async.sync.delivery import RowSender
from aelyst_async.sync.journal import Journal, Settled
from aelyst_async.transport.events import Exchange
from aelyst_providers.aelyst import AelystGateway
from tests.sync.trap import Trap

POINTS = (
    "before the intent is committed",
    "after the intent is committed",
    "before a request leaves",
    "after a write was answered",
    "before the result is committed",
    "after the result is committed",
    "before doubt is committed",
    "after doubt is committed",
)
STATES = {"intent": {"INTENT"}, "result": {"DONE", "DEAD"}, "doubt": {"AMBIGUOUS", "PARKED"}}


class TrappedJournal(Journal):
    """A journal with a trap around each commit."""

    trap: Trap

    def apply(self, writes: Iterable[Any], progress: Mapping[str, Any] | None = None) -> None:
        writes = list(writes)
        states = {write.state for write in writes if isinstance(write, Settled)}
        kinds = [kind for kind, members in STATES.items() if states & members]
        for kind in kinds:
            self.trap.passed(f"before {'the ' if kind != 'doubt' else ''}{kind} is committed")
        super().apply(writes, progress)
        for kind in kinds:
            self.trap.passed(f"after {'the ' if kind != 'doubt' else ''}{kind} is committed")


async def main() -> None:
    base_url, csv, journal, point, number, look_first, mode = sys.argv[1:]
    upsert: Any = mode
    trap = Trap(point, int(number))
    TrappedJournal.trap = trap
    import aelyst_async.sync.contact_sync as module

    module.Journal = TrappedJournal  # type: ignore[attr-defined]
    async with AelystGateway("sandbox-token", base_url=base_url, timeout=3, settle=0, upsert=upsert) as gateway:

        def heard(exchange: Exchange) -> None:
            if exchange.method in {"POST", "PUT"}:
                trap.passed("after a write was answered")

        gateway.subscribe(heard)
        permit = gateway.limiter.permit

        def leaving(endpoint: str, **facts: Any) -> Any:
            trap.passed("before a request leaves")
            return permit(endpoint, **facts)

        gateway.limiter.permit = leaving  # type: ignore[method-assign]
        sync = ContactSync(
            gateway, journal=journal, concurrency=16, max_attempts=50,
            retry=RetrySettings(settle=0.4, base=0.05, cap=0.3, queued=0.3, queued_cap=0.5),
        )  # fmt: skip
        RowSender.look_first = look_first == "yes"
        report = await sync.run(read_contacts(csv))
    sys.stdout.write(json.dumps(report.to_dict()))


if __name__ == "__main__":
    asyncio.run(main())
