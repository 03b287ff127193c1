"""Run by test_mirror_crash.py in a process of its own: mirrors a file, and kills itself at a chosen moment.

    python -m tests.sync.mirror_child BASE_URL TOKEN FILE JOURNAL POINT NUMBER

POINT is one of POINTS or "none"; at its NUMBER-th occurrence the process gets SIGKILL, as from outside.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from aelyst_async.sync import ContactSync, RetrySettings, read_contacts
from aelyst_async.sync.journal import Forgotten, Journal, Settled
from aelyst_async.transport.events import Exchange, Sending
from aelyst_providers.aelyst import AelystGateway
from tests.sync.trap import Trap

POINTS = (
    "before the intent is committed",
    "after the intent is committed",
    "before a delete leaves",
    "after a delete was answered",
    "before the result is committed",
    "after the result is committed",
)


class TrappedJournal(Journal):
    """A journal with a trap around the commits of deletes."""

    trap: Trap

    def apply(self, writes: Iterable[Any], progress: Mapping[str, Any] | None = None) -> None:
        writes = list(writes)
        intent = any(isinstance(write, Settled) and write.operation == "delete" for write in writes)
        forgotten = [key for write in writes if isinstance(write, Forgotten) for key in write.keys]
        result = any(key.startswith("id:") for key in forgotten)
        kinds = [kind for kind, there in (("intent", intent), ("result", result)) if there]
        for kind in kinds:
            self.trap.passed(f"before the {kind} is committed")
        super().apply(writes, progress)
        for kind in kinds:
            self.trap.passed(f"after the {kind} is committed")


async def main(base_url: str, token: str, file: str, journal: str, point: str, number: str) -> None:
    trap = TrappedJournal.trap = Trap(point, int(number))
    contact_sync: Any = sys.modules["aelyst_async.sync.contact_sync"]
    contact_sync.Journal = TrappedJournal

    def sending(event: Sending) -> None:
        if event.method == "DELETE":
            trap.passed("before a delete leaves")

    def answered(event: Exchange) -> None:
        if event.method == "DELETE":
            trap.passed("after a delete was answered")

    async with AelystGateway(token, base_url=base_url) as gateway:
        gateway.subscribe(answered, on_request=sending)
        sync = ContactSync(
            gateway,
            journal=journal,
            retry=RetrySettings(settle=0.01),
            delete_missing=True,
            max_deletes=1.0,
            concurrency=2,
        )
        report = await sync.run(read_contacts(file))
    sys.stdout.write(json.dumps(report.to_dict()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
