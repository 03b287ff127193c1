"""Differential test of the two stores: any sequence of operations has the same results."""

from __future__ import annotations

import asyncio
import tempfile
from operator import methodcaller
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aelyst_async.fastapi.journal import Journal
from aelyst_async.fastapi.store import MemoryStore, Outcome, Store, Submission, union

ENDS = ["done", "failed", "back", "back uncounted"]
OPERATIONS = ["start", *ENDS, "status", "dead"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("ab"), st.sampled_from("xy"), st.booleans()),
        st.tuples(
            st.sampled_from(["start", "done", "failed", "back", "back uncounted", "status", "dead"]), st.integers(0, 9)
        ),
    ),
    max_size=40,
)


async def answers(store: Store, steps: list[Any]) -> list[Any]:
    """Run the steps and return all results, without times."""
    seen: list[Any] = []
    added: list[str] = []
    running: set[str] = set()
    await store.open()
    try:
        for number, (what, *rest) in enumerate(steps):
            if what == "add":
                key, name, mergeable = rest
                job = Submission(
                    id=f"job {number}", key=key, name=name, arguments={"last": number, f"n{number}": True},
                    merge=union if mergeable else None, function=FUNCTIONS[name],
                )  # fmt: skip
                seen.append(await store.add(job, capacity=6))
                if seen[-1] is not None and not seen[-1].merged:
                    added.append(job.id)
                continue
            # As in the runner, only heads are started and only running jobs are ended.
            among = heads(seen, running) if what == "start" else running if what in ENDS else set(added)
            if not among:
                continue
            job_id = sorted(among)[rest[0] % len(among)]
            if what == "start":
                started = await store.ask(methodcaller("start", job_id))
                seen.append(started and (started.key, started.name, started.arguments, started.starts))
                if started is not None:
                    running.add(job_id)
            elif what == "status":
                status = await store.ask(methodcaller("status", job_id))
                assert status is not None
                seen.append((status.name, status.state, status.submissions, status.starts, status.error))
            elif what == "dead":
                failed = await store.ask(methodcaller("failed", job_id))
                seen.append(failed and (failed.key, failed.name, failed.arguments))
            else:
                running.remove(job_id)
                if what.startswith("back"):
                    await store.ask(methodcaller("put_back", job_id, uncounted=what.endswith("uncounted")))
                else:
                    error = "E" if what == "failed" else None
                    outcome = Outcome("failed" if error else "done", error, None)
                    following = await store.ask(methodcaller("finish", job_id, outcome))
                    seen.append(("head", following))
            seen.append(store.open_count)
    finally:
        await store.close()
    return seen


def heads(seen: list[Any], running: set[str]) -> set[str]:
    """Return the jobs reported as head of their key that are not running."""
    found = {item.id for item in seen if getattr(item, "head", False)}
    found |= {item[1] for item in seen if isinstance(item, tuple) and item[:1] == ("head",) and item[1]}
    return found - running


async def x() -> None: ...


async def y() -> None: ...


FUNCTIONS = {"x": x, "y": y}


@settings(max_examples=60)
@given(STEPS)
def test_memory_and_journal_return_the_same_results(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "jobs.db", keep=60, max_starts=5)
        assert asyncio.run(answers(MemoryStore(), steps)) == asyncio.run(answers(journal, steps))


async def test_memory_store_drops_the_oldest_finished_jobs() -> None:
    store = MemoryStore(remembered=2)
    for number in range(4):
        job = Submission(id=str(number), key="k", name="x", arguments={"secret": 1}, merge=None, function=x)
        assert await store.add(job, capacity=9)
        store.start(job.id)
        store.finish(job.id, Outcome("done"))
    assert [store.status(str(number)) is not None for number in range(4)] == [False, False, True, True]
    assert "secret" not in repr(vars(store))
