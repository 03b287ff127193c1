"""A bounded soak: twenty gateways against a sandbox with every fault, calls cancelled at random, credentials rotating.

    make soak SECONDS=600

It asks one question: is everything back where it began? Counted are open connections, tasks, threads, limiter buckets,
permits in flight, callers that wait, free connection slots, Python objects and memory. A first part warms up (code is
imported, buckets are made, caches fill); then the counts must not grow. Exit code 1 where something is left over.

The sandbox runs in a process of its own, so that its memory is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from aelyst_async import ContactFields, RateLimiter, RetryPolicy, errors, get_many
from aelyst_async.sandbox.faults import KINDS
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from benchmarks.sandbox import other_sandbox

VENDORS = (("aelyst", AelystGateway, 8), ("dmchamp", DmChampGateway, 8), ("callab", CallabGateway, 4))
CALLS = ("get", "create", "update", "upsert", "tags", "many")
WORKERS = 4
"""Concurrent callers of each gateway."""
PEOPLE = 40
"""Contacts that all callers read and write."""
ROTATION = 1.0
"""Seconds for which a credential is valid."""
CANCELLED = 0.1
"""Share of calls that are cancelled while they run."""
WARM_UP = 0.2
"""Share of the time after which the counts are first taken."""
QUIET = 9.0
"""Seconds after which the pool has dropped idle connections: it looks every four seconds for those of four seconds."""
PATIENCE = 120.0
"""Seconds that the last calls of a part may take. One call is several requests of 10 seconds each at the most."""
OBJECTS_MAY_GROW = 0.03
MEMORY_MAY_GROW = 12 << 20
FAULTS = {"status": "503,applied:no=2%", "latency": "latency,seconds:0.05=3%", "slow-body": "slow-body,seconds:0.1=1%",
          "queued": "queued,seconds:1=0.3%", "late": "late,seconds:0.5=2%"}  # fmt: skip
MORE_FAULTS = ("500,applied:yes=1%", "429,retry_after:0.2=1%")


@attrs.frozen
class Counts:
    """What must not be left over."""

    connections: int
    tasks: int
    threads: int
    buckets: int
    in_flight: int
    waiting: int
    slots_taken: int
    objects: int
    memory: int


class Vault:
    """A credential that rotates: the server accepts the newest one only."""

    def __init__(self, url: str, vendor: str) -> None:
        self._url = f"{url}/_sandbox/tokens/{vendor}"
        self.account = vendor
        self.token = ""
        self.rotations = 0

    async def __call__(self) -> str:
        return self.token

    async def rotate(self) -> None:
        self.rotations += 1
        fresh = f"{self.account}-{self.rotations}"
        await asyncio.to_thread(control, self._url, [fresh], "PUT")
        self.token = fresh  # calls that took the old one meanwhile get a 401, and ask once more


def control(url: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def count(gateways: list[Any], pid: int) -> Counts:
    """Count what is there, once the loop is quiet."""
    for _ in range(3):
        gc.collect()
    limiters = {gateway.limiter for gateway in gateways}
    buckets = [bucket for limiter in limiters for bucket in limiter.snapshot()]
    return Counts(
        connections=sum(_is_socket(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()),
        tasks=len(asyncio.all_tasks()) - 1,
        threads=threading.active_count(),
        buckets=len(buckets),
        in_flight=sum(bucket.in_flight for bucket in buckets),
        waiting=sum(bucket.waiting for bucket in buckets),
        slots_taken=sum(100 - gateway._transport._session.slots.free for gateway in gateways),
        objects=len(gc.get_objects()),
        memory=int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _is_socket(entry: Path) -> bool:
    try:
        return str(entry.readlink()).startswith("socket:")
    except OSError:  # the descriptor of the directory itself
        return False


async def one_call(gateway: Any, kind: str, chance: random.Random) -> None:
    number = chance.randrange(PEOPLE)
    if gateway.provider == "callab":
        await gateway.get(f"id:{number}")
        return
    who = f"phone:+6012345{number:04}"
    fields = ContactFields(first_name=f"N{number}")
    if kind == "get":
        await gateway.get(who)
    elif kind == "create":
        await gateway.create(ContactFields(first_name="N", phone=f"+60999{chance.randrange(10**7):07}"))
    elif kind == "update":
        await gateway.update(who, fields)
    elif kind == "upsert":
        await gateway.upsert(who, fields)
    elif kind == "tags":
        await gateway.tags(who)
    else:
        async for _ in get_many(gateway, [who] * 5, concurrency=3):
            if chance.random() < 0.05:
                break  # the iterator is closed by the garbage collector, as in careless code


async def caller(gateway: Any, chance: random.Random, until: float, seen: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    first = list(CALLS)  # each once and to its end, so that every bucket exists after the warm-up
    while first or loop.time() < until:
        cancel = not first and chance.random() < CANCELLED
        task = asyncio.create_task(one_call(gateway, first.pop() if first else chance.choice(CALLS), chance))
        if cancel:
            loop.call_later(chance.expovariate(20), task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            if not cancel:
                raise
            seen["cancelled"] += 1
        except errors.ContactsError as error:
            seen[type(error).__name__] += 1
        else:
            seen["answered"] += 1


async def rotating(vaults: list[Vault]) -> None:
    while True:
        for vault in vaults:
            await vault.rotate()
        await asyncio.sleep(ROTATION)


async def part(gateways: list[Any], seconds: float, seed: int) -> Counter[str]:
    """Let all callers call for `seconds`, and wait until the last call has ended."""
    until = asyncio.get_running_loop().time() + seconds
    seen: Counter[str] = Counter()
    callers = [
        asyncio.create_task(caller(gateway, random.Random(f"{seed}/{number}/{worker}"), until, seen))
        for number, gateway in enumerate(gateways)
        for worker in range(WORKERS)
    ]
    done, hung = await asyncio.wait(callers, timeout=seconds + PATIENCE)
    if hung:
        for task in asyncio.all_tasks():
            task.print_stack()
        for limiter in {gateway.limiter for gateway in gateways}:
            print(limiter.snapshot(), file=sys.stderr)
        raise TimeoutError(f"{len(hung)} callers hang {PATIENCE:g} s after their last call has begun")
    for task in done:
        task.result()
    return seen


async def soak(url: str, seconds: float, seed: int) -> int:
    before = count([], os.getpid())
    vaults = {vendor: Vault(url, vendor) for vendor, _, _ in VENDORS}
    shared = RateLimiter()
    policy = RetryPolicy(max_attempts=3, total=10)
    gateways: list[Any] = []
    for vendor, kind, number in VENDORS:
        for index in range(number):
            gateway: Any = kind(
                vaults[vendor], base_url=f"{url}/{vendor}/v1", limiter=shared if index % 2 else None,
                retry=policy, timeout=3, settle=0.05,
            )  # fmt: skip
            gateways.append(gateway)
    for number in range(PEOPLE):
        phone = f"+6012345{number:04}"
        control(f"{url}/_sandbox/contacts/aelyst", {"firstName": "N", "phone": phone}, "POST")
        control(f"{url}/_sandbox/contacts/dmchamp", {"firstName": "N", "phoneNumber": phone}, "POST")
        control(f"{url}/_sandbox/contacts/callab", {"id": str(number), "firstname": "N"}, "POST")
    for text in (*(FAULTS.get(kind, f"{kind}=1%") for kind in KINDS), *MORE_FAULTS):
        control(f"{url}/_sandbox/faults", {"fault": text}, "POST")
    for vault in vaults.values():
        await vault.rotate()
    rotation = asyncio.create_task(rotating(list(vaults.values())))
    warm = await part(gateways, seconds * WARM_UP, seed)
    await asyncio.sleep(QUIET)
    first = count(gateways, os.getpid())
    seen = await part(gateways, seconds * (1 - WARM_UP), seed + 1)
    await asyncio.sleep(QUIET)
    last = count(gateways, os.getpid())
    rotation.cancel()
    with suppress(asyncio.CancelledError):  # and not the error by which a rotation has failed
        await rotation
    struck = {
        f"{fault['kind']} {fault.get('status', '')}".strip(): fault["fired"]
        for fault in control(f"{url}/_sandbox/faults")
    }
    for gateway in gateways:
        await gateway.aclose()
    gateways.clear()
    await asyncio.sleep(0.1)
    after = count([], os.getpid())

    calls = sum((warm + seen).values())
    print(f"{calls:,} calls in {seconds:g} s over {sum(number for *_, number in VENDORS)} gateways")
    print(f"  {sum(vault.rotations for vault in vaults.values())} credentials rotated")
    print("  " + ", ".join(f"{number:,} {name}" for name, number in (warm + seen).most_common()))
    print("  faults that struck: " + ", ".join(f"{name} {number:,}" for name, number in struck.items()))
    print(f"\n{'':<14}{'at the start':>14}{'after warm-up':>15}{'at the end':>14}{'all closed':>14}")
    for field in attrs.fields(Counts):
        row = (getattr(counts, field.name) for counts in (before, first, last, after))
        print(
            f"{field.name:<14}"
            + "".join(f"{value:>{width},}" for value, width in zip(row, (14, 15, 14, 14), strict=True))
        )
    problems = [
        *(f"{name} {number} at the end" for name, number in attrs.asdict(last).items()
          if name in {"in_flight", "waiting", "slots_taken"} and number),
        *(f"the fault {name} never struck" for name, number in struck.items() if not number),
    ]  # fmt: skip
    if last.tasks > first.tasks or after.tasks > before.tasks:
        problems.append("tasks are left over")
    if last.connections > first.connections or after.connections > before.connections:
        problems.append("connections are left over")
    if last.buckets > first.buckets:
        problems.append("buckets grow")
    if last.objects > first.objects * (1 + OBJECTS_MAY_GROW):
        problems.append("objects grow")
    if last.memory > first.memory + MEMORY_MAY_GROW:
        problems.append("memory grows")
    print("\nleft over: " + ("; ".join(problems) or "nothing"))
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with other_sandbox("400/s") as server:
        began = time.monotonic()
        code = asyncio.run(soak(server.url, arguments.seconds, arguments.seed))
    print(f"took {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
