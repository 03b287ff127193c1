"""Claims on rows of a journal that several processes use at once: owners, leases, and what they hold.

- **A process opens the journal**: it becomes an *owner*, whose lease ends a few seconds later. Each of its writes, and
  a heartbeat, renews the lease.
- **It wants to send a row**: it *claims* the row's key. A key that another owner holds is not claimed; the row waits.
  What the journal knows of the row is read after the claim, in the same transaction, so it is the newest.
- **The row is decided, or the process ends**: the claim is deleted.
- **The process dies**: its lease ends. The next claim deletes the owner, and with it all its claims. From then on
  every write of that owner fails, should it only have been asleep.

Leases are compared by the database server's clock alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from aelyst_async.sync.journal.database import Statements

__all__ = ["LIVING", "NOW", "enter", "leave", "release", "renew", "take"]

NOW = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
"""The server's time in seconds, in SQL."""

LIVING = f"SELECT id FROM owner WHERE until >= {NOW}"
"""The owners whose lease has not ended, in SQL."""

_PART = 500


def enter(statements: Statements, name: str, lease: float) -> int:
    """Return a new owner. `name` says for people who it is."""
    sql = f"INSERT INTO owner (name, until) VALUES (?, {NOW} + ?)"
    return statements.insert(sql, (name, lease))


def renew(statements: Statements, owner: int, lease: float) -> bool:
    """Extend the lease; False if it has ended and others may hold the rows."""
    sql = f"UPDATE owner SET until = {NOW} + ? WHERE id = ? AND until >= {NOW}"
    return statements.execute(sql, (lease, owner)) == 1


def take(statements: Statements, owner: int, keys: Sequence[str]) -> list[str]:
    """Claim `keys`; return those that `owner` holds now."""
    # Waits for a transaction of such an owner that is about to commit; then either it has renewed, or it will fail.
    statements.execute(f"DELETE FROM owner WHERE until < {NOW}")
    # One order for all processes, so that two of them never wait for each other.
    rows = [(key, owner) for key in sorted(set(keys))]
    statements.many("INSERT INTO claim (key, owner) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", rows)
    held: list[str] = []
    for start in range(0, len(rows), _PART):
        part = [key for key, _ in rows[start : start + _PART]]
        marks = ",".join("?" * len(part))
        sql = f"SELECT key FROM claim WHERE owner = ? AND key IN ({marks})"
        held += [key for (key,) in statements.fetch(sql, (owner, *part))]
    return held


def release(statements: Statements, owner: int, keys: Sequence[str]) -> None:
    """Delete the claims of `owner` on `keys`."""
    statements.many("DELETE FROM claim WHERE key = ? AND owner = ?", [(key, owner) for key in keys])


def leave(statements: Statements, owner: int) -> None:
    """Delete the owner with all its claims."""
    statements.execute("DELETE FROM owner WHERE id = ?", (owner,))
