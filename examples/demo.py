"""``make demo``: sync examples/people.csv into a sandbox on this machine, then read one contact back.

Real HTTP over loopback through the real client: the Aelyst adapter, the rate limiter, the sync. The sandbox has a
quota (300 requests a second for each endpoint), which the client is not told and learns from the headers.
"""

from __future__ import annotations

import asyncio
import csv
import tempfile
from pathlib import Path

import attrs

from aelyst_async.cli.contacts import show
from aelyst_async.cli.progress import make_view
from aelyst_async.cli.summary import lines
from aelyst_async.sandbox import Sandbox, report_limiter
from aelyst_async.sync import ContactSync, read_contacts
from aelyst_providers.aelyst import AelystGateway

PEOPLE = Path(__file__).with_name("people.csv")
MAPPING = {"Profile Picture": "profile_pic"}


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="aelyst-demo-") as folder:
        async with (
            Sandbox(quota="300/s") as sandbox,
            AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway,
            report_limiter(gateway.limiter, sandbox.url, name="make demo"),
        ):
            print(f"a sandbox with a quota of 300 requests a second runs at {sandbox.url}\n")
            for title in ("the first run: everything is new", "the same file again: nothing is sent"):
                print(f"── {title}")
                view = make_view("auto")
                sync = ContactSync(
                    gateway,
                    journal=Path(folder, "state.db"),
                    failures=Path("people.failures.jsonl"),
                    mapping=MAPPING,
                    progress=view,
                )
                try:
                    report = await sync.run(read_contacts(PEOPLE))
                finally:
                    view.close()
                report = attrs.evolve(report, target=f"sandbox {sandbox.url}")
                print("\n".join(lines(report, resume="make demo")), end="\n\n")

            with PEOPLE.open(encoding="utf-8", newline="") as file:
                someone = next(row for row in csv.DictReader(file) if "'" in row["email"])
            print(f"── read back: email:{someone['email']}")
            show(await gateway.get(f"email:{someone['email']}"))


if __name__ == "__main__":
    asyncio.run(main())
