"""Rows that wait in the journal's database to be sent by workers, and the shards that they are cut into.

A *submission* is one run whose rows are stored (``pending``) and cut into *shards*: ranges of a few hundred rows. A
message to a worker names a shard; it carries no row. The table ``shard`` decides who does what, the messages only say
that there is something to do, so a message that is lost or comes twice does no harm:

- A shard is *queued* when a message is sent for it, for at most one lease; then another message may be sent.
- A worker *takes* it: it has an owner (`claims`). If the owner's lease ends, it is free again.
- The worker *hands it back* with what is left, and when that may be tried (``due``), or it is *done*.

At most ``width`` shards of one submission are queued or taken at once, those that have waited longest first. So a
submission of many rows leaves room in the queue for others.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from aelyst_async.sync.journal.claims import LIVING, NOW
from aelyst_async.sync.journal.database import Statements
from aelyst_async.sync.reading import Work, work_data

__all__ = [
    "Counts",
    "State",
    "Submission",
    "close_run",
    "failures",
    "finish_reading",
    "hand_back",
    "note_trouble",
    "open_rows",
    "schedule",
    "state",
    "stop",
    "store",
    "submission",
    "submit",
    "take",
    "unfinished",
    "unqueue",
]

_KEPT = ("attempts", "looks", "ambiguous", "upserted", "pauses", "created")
"""What is known of a `Work` that goes from one worker to the next."""

_FREE = f"NOT done AND (owner IS NULL OR owner NOT IN ({LIVING}))"


@attrs.frozen(kw_only=True)
class Submission:
    """A run whose rows are stored. ``settings`` (JSON-ready) are those of `run_shard`; ``stopped``: why it ended."""

    run: int
    provider: str
    settings: Mapping[str, Any]
    stopped: str | None


@attrs.frozen
class Counts:
    """Requests by method and result, and the seconds that they waited for the quota and took."""

    requests: Mapping[str, int] = attrs.Factory(dict)
    waited: float = 0.0
    network: float = 0.0

    def added(self, text: str) -> Counts:
        """Return the sum with other counts, given as `to_json` writes them; an empty string is none."""
        if not text:
            return self
        requests, waited, network = json.loads(text)
        return Counts(dict(Counter(self.requests) + Counter(requests)), self.waited + waited, self.network + network)

    def to_json(self) -> str:
        """Return the counts as text."""
        return json.dumps([dict(self.requests), round(self.waited, 3), round(self.network, 3)])


class State(NamedTuple):
    """How far a submission is: outcomes, rows that wait for a later time, shards at work, what went wrong last."""

    outcomes: Counter[str]
    waiting: int
    working: int
    trouble: str | None
    stopped: str | None
    requests: Counts
    left: int
    """Shards that are not done."""


def submit(statements: Statements, run: int, provider: str, settings: Mapping[str, Any], width: int) -> None:
    """Begin a submission. It takes the place of every earlier one in this journal."""
    statements.execute("UPDATE submission SET stopped = 'the sync was started again' WHERE stopped IS NULL")
    statements.execute("DELETE FROM pending WHERE run <> ?", (run,))
    statements.execute("DELETE FROM shard WHERE run <> ?", (run,))
    statements.execute(
        "INSERT INTO submission (run, provider, settings, width, reading) VALUES (?, ?, ?, ?, TRUE) "
        "ON CONFLICT (run) DO NOTHING",
        (run, provider, json.dumps(dict(settings)), width),
    )


def store(statements: Statements, run: int, shards: Sequence[tuple[int, Sequence[Work]]]) -> None:
    """Store rows as shards, each with its number. A row that is stored already stays as it is."""
    rows = [
        (run, work.row, work.line, work.key, work.hash, json.dumps(work.values), json.dumps(work_data(work)))
        for _, works in shards
        for work in works
    ]
    statements.many(
        "INSERT INTO pending (run, row, line, key, hash, payload, data) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (run, row) DO NOTHING",
        rows,
    )
    statements.many(
        f"INSERT INTO shard (run, number, first, last, due, queued, done, requests) "
        f"VALUES (?, ?, ?, ?, {NOW}, FALSE, FALSE, '') ON CONFLICT (run, number) DO NOTHING",
        [(run, number, works[0].row, works[-1].row) for number, works in shards],
    )


def finish_reading(statements: Statements, run: int, base: Mapping[str, Any]) -> None:
    """Note that all rows are stored. `base`: the report on the rows that were decided without a worker."""
    statements.execute("UPDATE submission SET reading = FALSE, base = ? WHERE run = ?", (json.dumps(dict(base)), run))


def submission(statements: Statements, run: int) -> Submission | None:
    """Return a submission, or None if there is none with this number."""
    found = statements.fetch("SELECT provider, settings, stopped FROM submission WHERE run = ?", (run,))
    if not found:
        return None
    provider, settings, stopped = found[0]
    return Submission(run=run, provider=provider, settings=json.loads(settings), stopped=stopped)


def unfinished(statements: Statements) -> list[tuple[int, str]]:
    """Return run and provider of the submissions that have shards to be done, or whose run is not ended."""
    return [
        (run, provider)
        for run, provider in statements.fetch(
            "SELECT s.run, s.provider FROM submission s JOIN run r ON r.id = s.run "
            "WHERE s.stopped IS NULL AND (r.ended IS NULL OR EXISTS "
            " (SELECT 1 FROM shard WHERE shard.run = s.run AND NOT done)) ORDER BY s.run"
        )
    ]


def stop(statements: Statements, run: int, reason: str) -> None:
    """Have the workers end what they are doing, and take no more shards."""
    statements.execute("UPDATE submission SET stopped = ? WHERE run = ? AND stopped IS NULL", (reason, run))


def schedule(statements: Statements, run: int, lease: float) -> list[int]:
    """Return the shards that a message is to be sent for now, and count them as queued."""
    # One at a time decides for a submission: the row is locked.
    found = statements.fetch("SELECT width FROM submission WHERE run = ? AND stopped IS NULL FOR UPDATE", (run,))
    if not found:
        return []
    [(busy,)] = statements.fetch(
        f"SELECT count(*) FROM shard WHERE run = ? AND NOT done AND (owner IN ({LIVING}) OR (queued AND due > {NOW}))",
        (run,),
    )
    numbers = [
        number
        for (number,) in statements.fetch(
            f"SELECT number FROM shard WHERE run = ? AND {_FREE} AND due <= {NOW} ORDER BY due, number LIMIT ?",
            (run, max(0, found[0][0] - busy)),
        )
    ]
    statements.many(
        f"UPDATE shard SET queued = TRUE, due = {NOW} + ?, owner = NULL WHERE run = ? AND number = ?",
        [(lease, run, number) for number in numbers],
    )
    return numbers


def unqueue(statements: Statements, run: int, numbers: Sequence[int]) -> None:
    """Note that no message could be sent for these shards."""
    statements.many(
        f"UPDATE shard SET queued = FALSE, due = {NOW} WHERE run = ? AND number = ? AND queued",
        [(run, number) for number in numbers],
    )


def take(statements: Statements, owner: int, run: int, number: int) -> tuple[int, int] | None:
    """Take a shard and return its first and last row; None if it is done, stopped, or another worker's."""
    taken = statements.execute(
        f"UPDATE shard SET owner = ?, queued = FALSE WHERE run = ? AND number = ? AND {_FREE} "
        "AND EXISTS (SELECT 1 FROM submission WHERE run = ? AND stopped IS NULL)",
        (owner, run, number, run),
    )
    if not taken:
        return None
    [(first, last)] = statements.fetch("SELECT first, last FROM shard WHERE run = ? AND number = ?", (run, number))
    return first, last


def open_rows(statements: Statements, run: int, first: int, last: int) -> tuple[list[Work], set[int]]:
    """Return the rows that may be tried now, and those that were given up without that being noted as the outcome."""
    works: list[Work] = []
    for row, line, key, digest, payload, progress in statements.fetch(
        "SELECT row, line, key, hash, payload, progress FROM pending WHERE run = ? AND row BETWEEN ? AND ? "
        f"AND outcome IS NULL AND (due IS NULL OR due <= {NOW}) ORDER BY row",
        (run, first, last),
    ):
        values = [(name, value) for name, value in json.loads(payload)]
        work = Work(row, line, key, values, digest, None, None)
        kept = json.loads(progress or "{}")
        if (put_off := kept.pop("put_off", None)) is not None:
            work.parked_since = time.monotonic() - max(0.0, time.time() - put_off)
        for name, value in kept.items():
            setattr(work, name, value)
        works.append(work)
    dead = statements.fetch("SELECT row FROM dead WHERE run = ? AND row BETWEEN ? AND ?", (run, first, last))
    return works, {row for (row,) in dead}


def hand_back(
    statements: Statements,
    owner: int,
    run: int,
    number: int,
    *,
    later: Sequence[tuple[Work, float]],
    rest: float,
    trouble: str | None,
    requests: Counts,
) -> tuple[int, float]:
    """Give a shard back; return how many of its rows are left, and the seconds until the first may be tried.

    `later`: rows that are to be tried again, and in how many seconds. `rest`: seconds before the shard is sent again at
    all. `trouble`: what kept it from going on.
    """
    for work, delay in later:
        progress = {name: getattr(work, name) for name in _KEPT}
        if work.parked_since is not None:  # by a clock of this process
            progress["put_off"] = time.time() - (time.monotonic() - work.parked_since)
        statements.execute(
            f"UPDATE pending SET due = {NOW} + ?, progress = ? WHERE run = ? AND row = ? AND outcome IS NULL",
            (delay, json.dumps(progress), run, work.row),
        )
    [(left, wait)] = statements.fetch(
        f"SELECT count(*), COALESCE(min(COALESCE(due, 0)), 0) - {NOW} FROM pending, "
        "(SELECT first, last FROM shard WHERE run = ? AND number = ?) s "
        "WHERE run = ? AND row BETWEEN s.first AND s.last AND outcome IS NULL",
        (run, number, run),
    )
    delay = max(0.0, rest, float(wait)) if left else 0.0
    [(before,)] = statements.fetch("SELECT requests FROM shard WHERE run = ? AND number = ?", (run, number)) or [("",)]
    statements.execute(
        f"UPDATE shard SET owner = NULL, done = ?, due = {NOW} + ?, trouble = ?, requests = ? "
        "WHERE run = ? AND number = ? AND owner = ?",
        (left == 0, delay, trouble, requests.added(before).to_json(), run, number, owner),
    )
    return left, delay


def note_trouble(statements: Statements, run: int, number: int, trouble: str) -> None:
    """Note why a worker could not take a shard."""
    statements.execute(
        "UPDATE shard SET trouble = ? WHERE run = ? AND number = ? AND owner IS NULL", (trouble, run, number)
    )


def state(statements: Statements, run: int) -> State:
    """Return how far a submission is."""
    outcomes: Counter[str] = Counter()
    waiting = 0
    for outcome, count, later in statements.fetch(
        f"SELECT outcome, count(*), count(*) FILTER (WHERE due > {NOW}) FROM pending WHERE run = ? GROUP BY outcome",
        (run,),
    ):
        if outcome is None:
            waiting = later
        else:
            outcomes[outcome] = count
    shards = statements.fetch(
        f"SELECT owner IN ({LIVING}), trouble, requests, done FROM shard WHERE run = ?",
        (run,),
    )
    requests = Counts()
    for _, _, text, _ in shards:
        requests = requests.added(text)
    found = submission(statements, run)
    return State(
        outcomes=outcomes,
        waiting=waiting,
        working=sum(bool(living) for living, _, _, _ in shards),
        trouble=next((trouble for _, trouble, _, _ in shards if trouble), None),
        stopped="it is no longer stored" if found is None else found.stopped,
        requests=requests,
        left=sum(not done for _, _, _, done in shards),
    )


def close_run(statements: Statements, run: int) -> None:
    """End a run whose rows all have an outcome, with its report, unless its follower has done so."""
    found = statements.fetch(
        "SELECT base FROM submission s JOIN run r ON r.id = s.run WHERE s.run = ? AND NOT s.reading AND "
        "r.ended IS NULL AND NOT EXISTS (SELECT 1 FROM shard WHERE shard.run = s.run AND NOT done)",
        (run,),
    )
    if not found:
        return
    report = json.loads(found[0][0])
    for outcome, number in state(statements, run).outcomes.items():
        report[outcome] += number
    report["pending"] = 0
    now = time.time()
    statements.execute(
        "UPDATE run SET ended = ?, seen = ?, exit = ?, report = ? WHERE id = ?",
        (now, now, int(report["failed"] > 0), json.dumps(report), run),
    )


def failures(statements: Statements, run: int) -> list[Any]:
    """Return the rows that failed: row, line, key, rule, message, status, attempts, and the row as it was read."""
    return [
        (*values, None if data is None else json.loads(data))
        for *values, data in statements.fetch(
            "SELECT p.row, p.line, p.key, d.rule, d.message, d.status, d.attempts, p.data FROM pending p "
            "JOIN dead d ON d.key = p.key AND d.run = p.run WHERE p.run = ? AND p.outcome = 'failed' ORDER BY p.row",
            (run,),
        )
    ]
