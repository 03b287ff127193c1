"""The quotas that `goodput` measures, and by which clients.

The easy ones are measured with all clients; those that are hard for somebody with three: ours, `backoff` that obeys
Retry-After, and aiolimiter set by hand to what somebody who knew the case would set.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs

from benchmarks.ratelimit.clients import BY_HAND, CLIENTS, OURS, RETRY_AFTER

ALL = tuple(CLIENTS)
THREE = (OURS, RETRY_AFTER, BY_HAND)
SECONDS = 6.0


@attrs.frozen(kw_only=True)
class Case:
    """One quota. With ``second``, two clients of a kind spend it and are cut off; else one has a number of requests."""

    name: str
    kind: str
    limit: int
    window: float
    more: dict[str, Any] = attrs.field(factory=dict)
    """Further fields of the server."""
    seconds: float = SECONDS
    """For one client: its requests are what the quota's rate gives in this time. For two: how long both run."""
    clients: tuple[str, ...] = ALL
    neighbour: float = 0.0
    """The part of the rate at which a blind neighbour sends."""
    second: float | None = None
    """Seconds after the first at which the second client starts."""
    plot: str = ""
    """The plot that it is part of: `docs/rate-limiter-{plot}.svg`."""

    @property
    def rate(self) -> float:
        return self.limit / self.window

    @property
    def cap(self) -> float:
        """Seconds after which a run is cut off."""
        return self.seconds if self.second is not None else max(18.0, 2 * self.seconds)

    @property
    def by_hand(self) -> float:
        """The rate that a client is told by somebody who knows about the others, but not about a later change."""
        return self.rate * (1 - self.neighbour) / (1 if self.second is None else 2)

    @property
    def count(self) -> int:
        """The requests of a client that runs alone."""
        return round(self.quota(0, self.seconds) * (1 - self.neighbour))

    def server(self) -> dict[str, Any]:
        # The first boundary of a fixed window comes 0.37 windows after the first request.
        phase = 0.37 * self.window if self.kind == "fixed" else 0.0
        return {"kind": self.kind, "limit": self.limit, "window": self.window, "phase": phase, **self.more}

    def steps(self) -> list[tuple[float, float]]:
        """Return from when on the rate is what: (seconds, requests per second)."""
        return [(0.0, self.rate), *((at, limit / self.window) for at, limit in self.more.get("changes", ()))]

    def quota(self, begin: float, end: float) -> float:
        """Return the requests that the rate alone gives between two moments."""
        steps = [*self.steps(), (float("inf"), 0.0)]
        return sum(
            rate * max(0.0, min(end, until) - max(begin, at)) for (at, rate), (until, _) in itertools.pairwise(steps)
        )


def _second(kind: str, *, late: bool) -> Case:
    name = f"two clients, {kind} 200 per 1 s" + (", one 1 s late" if late else "")
    return Case(
        name=name, kind=kind, limit=200, window=1.0, seconds=6.0, clients=THREE,
        second=1.0 if late else 0.0,
    )  # fmt: skip


_200: dict[str, Any] = {"limit": 200, "window": 1.0}
_HARD: dict[str, Any] = {**_200, "kind": "fixed", "clients": THREE}

CASES = [
    Case(name="fixed 200 per 1 s", kind="fixed", **_200, plot="fixed"),
    Case(name="sliding 200 per 1 s", kind="sliding", **_200),
    Case(name="token 200 per 1 s", kind="token", **_200),
    Case(name="anchored 200 per 1 s", kind="anchored", **_200),
    Case(name="fixed 20 per 0.2 s", kind="fixed", limit=20, window=0.2),
    Case(name="fixed 10 per 1 s", kind="fixed", limit=10, window=1.0),
    Case(name="sliding 10 per 1 s", kind="sliding", limit=10, window=1.0),
    # Three windows: with fewer, the one that began before the first request is most of what is seen.
    Case(name="fixed 50 per 5 s", kind="fixed", limit=50, window=5.0, seconds=15.0),
    Case(name="token, 20 filled at 200 per 1 s", kind="token", limit=20, window=0.1),
    # The same bucket behind a server that announces what it is filled with: no answer tells that it holds 20.
    Case(
        name="token, 20 filled at 200 per 1 s, announces 200", kind="token", **_200, more={"burst": 20}, clients=THREE,
    ),
    Case(name="fixed 200 per 1 s, 100 after 3 s", **_HARD, seconds=7.0, more={"changes": [[3.0, 100]]}),
    Case(name="fixed 200 per 1 s, counts on 429 only", **_HARD, more={"headers": "429"}),
    Case(name="fixed 200 per 1 s, Retry-After only", **_HARD, more={"headers": "none"}),
    Case(
        name="fixed 200 per 1 s, no headers at all", **_HARD, more={"headers": "none", "retry_after": "absent"},
    ),
    Case(name="fixed 200 per 1 s, a neighbour takes 40 %", **_HARD, neighbour=0.4),
    *[_second(kind, late=late) for late in (False, True) for kind in ("fixed", "sliding", "token")],
]  # fmt: skip
