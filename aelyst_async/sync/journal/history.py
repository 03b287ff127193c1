"""What a journal tells other programs: the state of its runs, and the rows that were given up. Reads only."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal import sqlite
from aelyst_async.sync.journal.database import given_up_rows, is_url, read_meta, shown
from aelyst_async.sync.journal.process import lives
from aelyst_async.tables.model import RawRow
from aelyst_async.tables.source import ContactSource

__all__ = [
    "GivenUp", "Origin", "given_up", "given_up_source", "key_of", "name_of", "origin_of", "run_of", "status",
]  # fmt: skip

_PLAIN = {"DONE": "sent", "PARKED": "waiting", "AMBIGUOUS": "in_doubt", "INTENT": "in_doubt", "DEAD": "failed"}
"""A contact's state in the journal → the word for people."""

_RUNS = 100
"""Runs that are looked at to find the last one that had rows."""


@attrs.frozen(kw_only=True)
class Origin:
    """What a run was started with, kept in the journal so that another command can repeat it.

    ``target`` and ``base_url`` are what ``--to`` and ``--base-url`` take, ``key`` what contacts are matched by,
    ``settings`` how rows became contacts (JSON-ready), ``failures`` the last run's failures file.
    """

    target: str
    base_url: str | None
    key: str
    settings: Mapping[str, Any]
    failures: str | None = None


class GivenUp(ContactSource):
    """The rows of a journal that were given up, as they were mapped, under the row and line numbers of their source."""

    def __init__(self, name: str, rows: list[tuple[int | None, int | None, dict[str, Any]]]) -> None:
        self.name = name
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def open(self) -> Iterator[RawRow]:
        """Yield the rows."""
        for _, line, record in self._rows:
            yield line, record

    def row_number(self, position: int) -> int:
        """Return the number in the source of the row at `position` (from 1)."""
        return self._rows[position - 1][0] or position


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield statements that only read; what the journal holds and cannot be understood is a `JournalError`."""
    if is_url(path):
        from aelyst_async.sync.journal import postgres

        opened = postgres.reading(str(path))
    else:
        opened = sqlite.reading(path)
    problem = None
    with opened as statements:
        try:
            yield statements
        except JournalError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            problem = type(error).__name__
    if problem is not None:
        raise JournalError(
            f"{name_of(path)} is damaged: an entry cannot be read ({problem}); sync the file itself again, with "
            "another --journal"
        )


def name_of(path: str | os.PathLike[str]) -> str:
    """Return the short name of a journal, as it may be shown."""
    return shown(path) if is_url(path) else Path(path).name


def given_up(path: str | os.PathLike[str]) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the provider, the key, and the mapped rows that were given up. Raises `JournalError`."""
    with _reading(path) as statements:
        meta = read_meta(statements)
    if "provider" not in meta:
        raise JournalError(f"{name_of(path)}: no run has been made with this journal")
    return str(meta["provider"]), str(meta["key"]), list(given_up_source(path))


def given_up_source(path: str | os.PathLike[str]) -> GivenUp:
    """Return the rows that were given up as a source that keeps their numbers. Raises `JournalError`."""
    with _reading(path) as statements:
        whole, damaged = given_up_rows(statements)
        rows = [(one.row, one.line, _record(one.payload)) for one in whole]
    if damaged:
        logging.getLogger(__name__).warning(
            "%s: %d given-up rows do not fit their checksum and are left out; sync their source again",
            shown(path),
            damaged,
        )
    return GivenUp(f"rows given up in {name_of(path)}", rows)


def _record(values: Any) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for target, value in values:
        name, dot, custom = target.partition(".")
        if dot:
            record.setdefault(name, {})[custom] = value
        else:
            record[name] = value
    return record


def origin_of(path: str | os.PathLike[str]) -> Origin:
    """Return what the last run of a journal was started with. Raises `JournalError`."""
    with _reading(path) as statements:
        meta = read_meta(statements)
        run = statements.fetch("SELECT arguments, report FROM run ORDER BY id DESC LIMIT 1")
        arguments = _object(run[0][0] if run else None)
        report = _object(run[0][1] if run else None)
        settings = arguments.get("settings") or {}
        failures = report.get("failures")
        if "provider" in meta:
            return Origin(
                target=str(meta.get("target") or meta["provider"]), base_url=meta.get("base_url"), key=str(meta["key"]),
                settings=dict(settings), failures=None if failures is None else str(failures),
            )  # fmt: skip
    raise JournalError(f"{name_of(path)}: no run has been made with this journal")


def key_of(path: Path | str) -> str | None:
    """Return what a journal that was closed matches contacts by, None where it does not tell.

    Makes no file beside the journal and takes no lock, so it disturbs no sync.
    """
    opened = _reading(path) if is_url(path) else sqlite.reading(path, closed=True)
    with contextlib.suppress(JournalError), opened as statements:
        key = read_meta(statements).get("key")
        return key if isinstance(key, str) else None
    return None


def run_of(failures: Path, journals: Iterable[Path | str], target: str) -> tuple[Path | str, dict[str, Any]] | None:
    """Return the journal of the newest run that wrote this failures file for `target`, and that run's settings.

    A run that was killed names no file: then the one journal counts that is named after the same source.
    """
    names = {failures.name, failures.with_suffix(".jsonl").name}
    stem = failures.name.partition(".failures")[0]
    named: list[tuple[Path | str, dict[str, Any]]] = []
    for path in journals:
        with contextlib.suppress(JournalError), _reading(path) as statements:
            meta = read_meta(statements)
            if (meta.get("target") or meta.get("provider")) != target:
                continue
            runs = statements.fetch("SELECT arguments, report FROM run ORDER BY id DESC LIMIT ?", (_RUNS,))
            for position, (arguments, report) in enumerate(runs):
                settings = dict(_object(arguments).get("settings") or {})
                written = _object(report).get("failures")
                if written is not None and Path(written).name in names:
                    return path, settings
                if position == 0 and name_of(path).startswith(f"{stem}."):
                    named.append((path, settings))
    return named[0] if len(named) == 1 else None


def status(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the journal's contacts by state and the last run that had rows. Raises `JournalError`.

    ``counts`` has the states in plain words. ``run["state"]`` is ``ended``, ``running`` (its process lives on this
    host), ``died`` (it does not, and the run did not end) or ``unknown`` (it ran on another host).
    """
    with _reading(path) as statements:
        meta = read_meta(statements)
        states = dict(statements.fetch("SELECT state, count(*) FROM contact GROUP BY state ORDER BY state"))
        dead = statements.fetch("SELECT count(*) FROM dead")[0][0]
        reasons = statements.fetch(
            "SELECT message, count(*) FROM dead GROUP BY message ORDER BY count(*) DESC, message LIMIT 10"
        )
        found = statements.fetch(
            "SELECT id, started, ended, seen, pid, host, source, exit, report, arguments FROM run "
            "ORDER BY id DESC LIMIT ?",
            (_RUNS,),
        )
        runs = [_run(row) for row in found]
        last = next((run for run in runs if run["state"] == "running" or run["rows"]), runs[0] if runs else None)
        if last is not None:
            last["sent"] = statements.fetch(
                "SELECT count(*) FROM contact WHERE run = ? AND state = 'DONE'", (last["id"],)
            )[0][0]
            if last["ended"] is None and last["report"] is not None:  # written every other second
                known = sum(last["report"].get(name, 0) for name in ("unchanged", "failed", "skipped"))
                last["done"] = max(last["done"], last["sent"] + known)
            if last["ended"] is None and is_url(path):
                from aelyst_async.sync.journal.claims import LIVING

                # Workers on other hosts, too.
                last["state"] = "running" if statements.fetch(f"{LIVING} LIMIT 1") else "died"
            last["later_runs_without_rows"] = runs.index(last)
        counts: dict[str, int] = dict.fromkeys(("sent", "waiting", "in_doubt", "failed"), 0)
        for state, count in states.items():
            counts[_PLAIN[state]] += count
        return {
            "version": 1,
            "journal": shown(path),
            "provider": meta.get("provider"),
            "target": meta.get("target") or meta.get("provider"),
            "base_url": meta.get("base_url"),
            "key": meta.get("key"),
            "contacts": states,
            "counts": counts,
            "given_up": dead,
            "reasons": [{"reason": str(reason), "rows": count} for reason, count in reasons],
            "run": last,
        }


def _run(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("id", "started", "ended", "seen", "pid", "host", "source", "exit")
    run: dict[str, Any] = dict(zip(names, row[:8], strict=True))
    time.localtime(run["started"])  # raises what a damaged one raises
    report = _object(row[8])
    run["report"] = report or None
    outcomes = ("created", "updated", "unchanged", "failed", "skipped")
    run["done"] = sum(report.get(name, 0) for name in outcomes)
    run["rows"] = report.get("rows", report.get("read", 0))
    process = _object(row[9]).get("process") or {"pid": run["pid"], "host": run["host"]}
    alive = None if run["ended"] is not None else lives(process)
    run["state"] = "ended" if run["ended"] is not None else {True: "running", False: "died", None: "unknown"}[alive]
    return run


def _object(text: str | None) -> dict[str, Any]:
    """Return a JSON object of the journal; an absent one is empty. Raises `ValueError`."""
    value = {} if text is None else json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value
