"""Requests to a real server in another process: how soon each way of sending them is done, and what it was refused.

Every run has a fresh server (answers after 5 to 25 ms, Retry-After in whole seconds) and keeps 100 requests going. How
to read the table:

seconds, and what the rate needs: a client that runs alone has as many requests as the quota's rate gives in the time of
    the second column. A quota gives more than its rate at both ends of a run: a bucket is full at the start, and the
    windows in which the first and the last request fall are whole to whoever takes all of a window at once. The fewer
    windows there are, the more that is: three, of 5 s, are done in 7 s instead of 15 at the soonest.
use: what was let in / (rate × seconds), up to the end of the run, a neighbour's requests included. It is above 1 for
    the same reason. Two clients send as much as they can, and are measured for as long as both run.
refused: of the clients measured, not of a neighbour; in per cent of the requests that they sent.
done: requests answered with 200, and of how many where a run was cut off.
share: what each of two clients got, in per cent, while both ran.

aiolimiter is set by somebody who knows of a neighbour or a second client (half the rate each) but is not told of a
later change. These are single runs: a few per cent up or down say nothing.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import attrs

from benchmarks.ratelimit import clients, plots
from benchmarks.ratelimit.cases import CASES, Case

NEIGHBOUR = "neighbour"
NOTICE = 0.25
"""Seconds before a run in which the processes get the word."""


@attrs.frozen
class Run:
    """What one client, or two of a kind, made of a case."""

    case: Case
    client: str
    seconds: float
    done: int
    let_in: dict[str, list[float]]
    """When the requests of each were let in, in seconds from the first."""
    refused: dict[str, int]

    @property
    def own(self) -> list[str]:
        return ["first"] if self.case.second is None else ["first", "second"]

    @property
    def use(self) -> float:
        begin, end = self._span()
        inside = sum(begin <= at <= end for times in self.let_in.values() for at in times)
        return inside / self.case.quota(begin, end)

    @property
    def shares(self) -> str:
        if self.case.second is None:
            return ""
        begin, end = self._span()
        got = [sum(begin <= at <= end for at in self.let_in.get(who, ())) for who in self.own]
        first = round(100 * got[0] / max(1, sum(got)))
        return f"{first}:{100 - first}"

    def _span(self) -> tuple[float, float]:
        if self.case.second is None:
            return 0.0, self.seconds
        begin = min(self.let_in.get("second", [self.case.second]))
        return begin, begin + self.case.seconds

    def cells(self) -> list[str]:
        refused = sum(self.refused.get(who, 0) for who in self.own)
        sent = refused + sum(len(self.let_in.get(who, ())) for who in self.own)
        alone = self.case.second is None
        whole = not alone or self.done == self.case.count
        return [
            self.case.name,
            self.client,
            f"{self.seconds:.1f}",
            f"{self.case.seconds:g}" if alone else "",
            f"{self.use:.2f}",
            f"{refused}",
            f"{100 * refused / max(1, sent):.1f}",
            f"{self.done}" if whole else f"{self.done} of {self.case.count}",
            self.shares,
        ]


HEAD = ["quota", "client", "seconds", "the rate needs", "use", "refused", "refused, %", "done", "share"]


@contextlib.contextmanager
def served(case: Case) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.ratelimit.server", json.dumps(case.server())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def measure(case: Case, client: str, pool: ProcessPoolExecutor) -> Run:
    other = None
    with served(case) as url:
        begin = time.time() + NOTICE
        if case.neighbour:
            other = pool.submit(clients.neighbour, url, NEIGHBOUR, case.neighbour * case.rate, begin)
        if case.second is None:
            runs = [pool.submit(clients.drive, client, url, "first", case.count, case.by_hand, begin, case.cap)]
        else:
            late = case.second
            runs = [
                pool.submit(clients.drive, client, url, "first", None, case.by_hand, begin, case.cap + late),
                pool.submit(clients.drive, client, url, "second", None, case.by_hand, begin + late, case.cap),
            ]
        ended = [run.result() for run in runs]
        with urllib.request.urlopen(f"{url}/stats") as answer:
            stats = json.load(answer)
    if other is not None:
        other.result()
    seconds = max(seconds for seconds, _ in ended)
    return Run(case, client, seconds, sum(done for _, done in ended), stats["let_in"], stats["refused"])


def goodput(words: Sequence[str] = ()) -> None:
    """Print the table, and write the plots all of whose cases are in it. ``words``: only cases with one in the name."""
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    runs: list[Run] = []
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    # Started, not forked: a client must not inherit what the last run left in this process.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(clients.ready) for _ in range(2)]:
            future.result()
        for case in cases:
            for client in case.clients:
                runs.append(measure(case, client, pool))
                print(f"| {' | '.join(runs[-1].cells())} |", flush=True)
            columns = [[run for run in runs if run.case is one] for one in CASES if one.plot == case.plot]
            if case.plot and all(columns):
                plots.draw(case.plot, columns)
