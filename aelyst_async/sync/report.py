"""What a run has done: one dataclass for a real run and for a dry one, and the counters behind it.

Every row that was read has exactly one outcome, and `Tally.report` asserts that they add up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.tables.model import NoteCount, Problem, ProblemCount
from aelyst_async.tables.preview import Tallies

__all__ = ["REPORT_VERSION", "Progress", "SyncReport", "Tally"]

REPORT_VERSION = 1

_REASONS = 10


@attrs.frozen(kw_only=True)
class SyncReport:
    """The account of a run.

    ``rows`` were read, of ``total`` in the source. Each is ``created``, ``updated``, ``unchanged`` (no request),
    ``failed`` (in the file ``failures``), ``skipped`` (another row with its key is used) or ``pending``
    (the run ended before it was decided; the same command goes on with it). In a dry run the first two say what would
    be done. Times in seconds: ``waited`` for the quota and ``network`` are sums over requests that ran side by side,
    ``computing`` is processor time. ``quota_used``: share of the learned quota that the requests took, 0 to 1.
    ``reasons`` are the most frequent ones for which rows failed, ``problems`` the same with the first row, its value
    and the remedy, ``changes`` what was changed in values before they were sent. ``stopped`` says why the run ended
    early. ``notes``: what else the user should know, a sentence each.

    Of a mirror (``delete_missing``): ``missing`` contacts of the account are not in the source, ``deleted`` of them
    were deleted, and ``not_deleted`` says why not all. In a dry run ``missing_contacts`` names the first 1,000.
    """

    version: int = REPORT_VERSION
    dry_run: bool = False
    run: int | None = None
    source: str = ""
    target: str = ""
    rows: int = 0
    total: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    failures: Path | None = None
    journal: Path | str | None = None
    requests: dict[str, int] = attrs.Factory(dict)
    waited: float = 0.0
    network: float = 0.0
    computing: float = 0.0
    elapsed: float = 0.0
    quota_used: float | None = None
    reasons: tuple[tuple[str, int], ...] = ()
    problems: tuple[ProblemCount, ...] = ()
    changes: tuple[NoteCount, ...] = ()
    stopped: str | None = None
    resumed: bool = False
    notes: tuple[str, ...] = ()
    missing: int = 0
    deleted: int = 0
    not_deleted: str | None = None
    missing_contacts: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every row of the source was decided."""
        return self.stopped is None and not self.pending

    @property
    def exit_code(self) -> int:
        """0: all rows in; 1: some failed, the run ended early, or a mirror did not delete what is missing."""
        return 0 if self.complete and not self.failed and self.not_deleted is None else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        values = attrs.asdict(self, recurse=False)
        values["failures"] = None if self.failures is None else str(self.failures)
        values["journal"] = None if self.journal is None else str(self.journal)
        values["problems"] = [attrs.asdict(one) for one in self.problems]
        values["changes"] = [attrs.asdict(one) for one in self.changes]
        values["reasons"] = [{"reason": reason, "rows": count} for reason, count in self.reasons]
        for name in ("waited", "network", "computing", "elapsed", "quota_used"):
            if values[name] is not None:
                values[name] = round(values[name], 4)
        return values


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run is. ``rate`` in rows per second over the last seconds; ``eta`` in seconds, None if not known.

    ``waiting``: rows put off until the vendor takes them. ``quota`` is the learned limit in requests per second,
    where there is one.
    """

    total: int
    read: int
    created: int
    updated: int
    unchanged: int
    failed: int
    skipped: int
    in_flight: int
    waiting: int
    concurrency: int
    rate: float
    eta: float | None
    quota: float | None
    requests: int
    elapsed: float

    @property
    def done(self) -> int:
        """The rows with an outcome."""
        return self.created + self.updated + self.unchanged + self.failed + self.skipped


class Tally:
    """The counters of a run. ``untold``: of the created contacts, those that the API did not call new."""

    def __init__(self) -> None:
        self.read = 0
        self.created = 0
        self.untold = 0
        self.updated = 0
        self.unchanged = 0
        self.failed = 0
        self.skipped = 0
        self.requests: Counter[str] = Counter()
        self.waited: float = 0.0
        self.network: float = 0.0
        self._reasons: Counter[str] = Counter()
        self._tallies = Tallies()
        self._started = time.monotonic()
        self._computing = time.process_time()

    @property
    def decided(self) -> int:
        """The rows with an outcome."""
        return self.created + self.updated + self.unchanged + self.failed + self.skipped

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def answered(self) -> int:
        """The number of requests that were answered."""
        return sum(count for name, count in self.requests.items() if name[-1].isdigit())

    def reason(self, text: str) -> None:
        """Count a reason for a failure. The number of different ones that are kept is bounded."""
        text = text[:200]
        if text in self._reasons or len(self._reasons) < 1_000:
            self._reasons[text] += 1
        else:
            self._reasons["other reasons"] += 1

    def problems(self, row: int, line: int | None, problems: Sequence[Problem]) -> None:
        """Count what is wrong with a row, for the examples in the report."""
        self._tallies.add_problems(row, line, problems)

    def report(self, *, pending: int, **facts: Any) -> SyncReport:
        """Return the report; asserts that each row that was read has exactly one outcome."""
        assert self.decided + pending == self.read, (self.decided, pending, self.read)
        return SyncReport(
            rows=self.read,
            created=self.created,
            updated=self.updated,
            unchanged=self.unchanged,
            failed=self.failed,
            skipped=self.skipped,
            pending=pending,
            requests=dict(sorted(self.requests.items())),
            waited=self.waited,
            network=self.network,
            computing=time.process_time() - self._computing,
            elapsed=self.elapsed,
            reasons=tuple(self._reasons.most_common(_REASONS)),
            problems=self._tallies.problems[:_REASONS],
            **facts,
        )
