"""Workers of taskiq in processes of their own: kills, lost answers, restarts of servers, and the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.errors import ConfigurationError
from tests.servers_external import PASSWORD, PostgresServer, Server, nats, postgres, redis
from tests.sync.other_sandbox import OtherSandbox

__all__ = ["nats", "postgres", "redis"]

pytest.importorskip("taskiq")

LEASE = 2.0
TROUBLE = (
    "--quota", "none", "--assume", "aelyst.visible_after=0.2", "--fault", "reset-after=0.05",
    "--fault", "status,code:500=0.02",
)  # fmt: skip
WORKER = """
import sys
from taskiq.cli.worker.run import run_worker
from taskiq.cli.worker.args import WorkerArgs
run_worker(WorkerArgs.from_cli(["aelyst_async.sync.distributed:broker", "--workers", "1", "--max-async-tasks", "4"]))
"""


class Cluster:
    """A sandbox, a database, a queue, and processes that use them."""

    def __init__(self, folder: Path, sandbox: OtherSandbox, journal: str, broker: str) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.journal = journal
        self.broker = broker
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env = {
            **os.environ, "AELYST_BROKER": broker, "AELYST_JOURNAL": journal, "AELYST_TOKEN": "sandbox-token",
            "AELYST_BASE_URL": sandbox.base_url, "PYTHONWARNINGS": "",
        }  # fmt: skip

    def write(self, rows: int, name: str = "people.csv") -> Path:
        path = self.folder / name
        lines = ["email,first_name", *(f"person{row}@example.com,Person {row}" for row in range(rows))]
        path.write_text("\n".join(lines) + "\n")
        return path

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        number = len(self.processes)
        with (self.folder / f"stderr-{number}").open("w") as words, (self.folder / f"stdout-{number}").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, *command], env=self.env, stdout=out, stderr=words, start_new_session=True
            )
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        return self.spawn("-c", WORKER)

    def sync(self, path: Path, *options: str) -> subprocess.Popen[bytes]:
        return self.spawn(
            "-m", "aelyst_async.cli", "sync", str(path), "--to", "aelyst", "--broker", self.broker,
            "--journal", self.journal, "--json", "--progress", "json", *options,
        )  # fmt: skip

    def report(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        process.wait(timeout=90)
        out = (self.folder / f"stdout-{self.processes.index(process)}").read_text()
        assert out, self.words()
        return dict(json.loads(out))

    def words(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("stderr-*")))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process and its children."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def contacts(self) -> Counter[str]:
        return Counter(contact["email"] for contact in self.sandbox.contacts())

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, self.words()
            time.sleep(0.05)
        return time.monotonic() - began

    def check(self, report: dict[str, Any], rows: int) -> None:
        """Every row has one outcome, and is there once."""
        outcomes = {name: report[name] for name in ("created", "updated", "unchanged", "failed", "skipped", "pending")}
        assert sum(outcomes.values()) == report["rows"] == rows, outcomes
        assert outcomes["failed"] == outcomes["pending"] == 0, (outcomes, report["reasons"], self.words())
        contacts = self.contacts()
        assert {email: count for email, count in contacts.items() if count > 1} == {}
        assert len(contacts) == rows


@pytest.fixture
def cluster_of(
    tmp_path: Path, postgres: PostgresServer, start_sandbox: Callable[..., OtherSandbox]
) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(broker: str, *sandbox: str) -> Cluster:
        schema = f"distributed_{time.time_ns()}"
        cluster = Cluster(tmp_path, start_sandbox(*(sandbox or TROUBLE)), postgres.url(schema, lease=LEASE), broker)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        for process in cluster.processes:
            if process.poll() is None:
                cluster.kill(process)
        assert PASSWORD not in cluster.words()
        assert "Traceback" not in cluster.words(), cluster.words()


def nats_url(server: Server) -> str:
    return f"nats://127.0.0.1:{server.port}"


def test_a_sync_through_workers_reports_like_one_without(cluster_of: Callable[..., Cluster], nats: Server) -> None:
    cluster = cluster_of(nats_url(nats))
    path = cluster.write(60)
    cluster.worker()
    report = cluster.report(cluster.sync(path))
    cluster.check(report, 60)
    assert report["requests"]
    again = cluster.report(cluster.sync(path))
    assert again["unchanged"] == 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_one_of_two_workers_is_killed_at_random_moments(
    seed: int, cluster_of: Callable[..., Cluster], nats: Server
) -> None:
    dice = random.Random(seed)
    cluster = cluster_of(nats_url(nats), *TROUBLE, "--seed", str(seed), "--fault", "latency,seconds:0.02=100%")
    path = cluster.write(60)
    workers = [cluster.worker(), cluster.worker()]
    sync = cluster.sync(path)
    cluster.wait_for(lambda: len(cluster.contacts()) > dice.randrange(5, 40) or sync.poll() is not None)
    cluster.kill(workers[dice.randrange(2)])
    cluster.check(cluster.report(sync), 60)


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["nats", "redis"])
def test_the_work_of_the_last_worker_with_messages_is_recovered_within_twice_the_lease(
    queue: str, cluster_of: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(queue)
    cluster = cluster_of(
        f"{queue}://127.0.0.1:{server.port}", "--quota", "none", "--fault", "latency,seconds:0.15=100%"
    )
    path = cluster.write(150)
    busy = cluster.worker()
    sync = cluster.sync(path)
    cluster.wait_for(lambda: len(cluster.contacts()) >= 10)
    os.killpg(sync.pid, signal.SIGKILL)  # no message comes from there any more
    idle = cluster.worker()
    cluster.wait_for(lambda: "Starting" in cluster.words() or True)
    time.sleep(2.0)  # the second worker listens
    cluster.kill(busy)
    seen = sum(cluster.contacts().values())
    waited = cluster.wait_for(lambda: sum(cluster.contacts().values()) > seen + 1)
    assert idle.poll() is None
    assert waited <= 2 * LEASE + 1.0, "one second for the requests themselves"
    cluster.wait_for(lambda: len(cluster.contacts()) == 150)
    assert set(cluster.contacts().values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["nats", "redis"])
def test_a_restart_of_the_queue_loses_nothing(
    queue: str, cluster_of: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(queue)
    cluster = cluster_of(f"{queue}://127.0.0.1:{server.port}", *TROUBLE, "--fault", "latency,seconds:0.03=100%")
    path = cluster.write(120)
    cluster.worker()
    sync = cluster.sync(path)
    cluster.wait_for(lambda: len(cluster.contacts()) >= 10)
    server.kill()
    time.sleep(1.0)
    server.start()
    cluster.check(cluster.report(sync), 120)
    more = cluster.write(130)
    cluster.check(cluster.report(cluster.sync(more)), 130)


@pytest.mark.slow
def test_a_restart_of_the_database_loses_nothing(
    cluster_of: Callable[..., Cluster], nats: Server, postgres: PostgresServer
) -> None:
    cluster = cluster_of(nats_url(nats), *TROUBLE, "--fault", "latency,seconds:0.03=100%")
    path = cluster.write(120)
    cluster.worker()
    sync = cluster.sync(path)
    cluster.wait_for(lambda: len(cluster.contacts()) >= 10)
    postgres.kill()
    (postgres.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
    postgres.start()
    sync.wait(60)
    if sync.returncode:  # it was away for longer than the lease: the same command goes on
        sync = cluster.sync(path)
    cluster.check(cluster.report(sync), 120)


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(
    cluster_of: Callable[..., Cluster], nats: Server
) -> None:
    cluster = cluster_of(nats_url(nats), *TROUBLE, "--fault", "latency,seconds:0.1=100%")
    path = cluster.write(200)
    cluster.worker()
    sync = cluster.sync(path)
    cluster.wait_for(lambda: len(cluster.contacts()) >= 10)
    sync.send_signal(signal.SIGINT)
    report = cluster.report(sync)
    assert sync.returncode == 130
    assert report["pending"] > 0
    assert PASSWORD not in json.dumps(report)
    seen = sum(cluster.contacts().values())
    time.sleep(1.5)
    assert sum(cluster.contacts().values()) == seen, "no worker goes on"
    cluster.check(cluster.report(cluster.sync(path)), 200)


def test_messages_hold_neither_a_row_nor_a_credential() -> None:
    from aelyst_async.sync.shard import ShardSpec

    spec = ShardSpec(schema="aelyst", run=1, number=2, provider="aelyst")
    assert spec.to_dict() == {"schema": "aelyst", "run": 1, "number": 2, "provider": "aelyst"}
    assert ShardSpec.from_dict(spec.to_dict()) == spec


def test_make_broker_refuses_what_it_cannot_use_in_one_line() -> None:
    from aelyst_async.sync.distributed import make_broker

    for url in ("amqp://user:secret@host", "host", "nats://user:secret@host:port"):
        with pytest.raises(ConfigurationError, match="--broker: ") as refusal:
            make_broker(url)
        assert "secret" not in str(refusal.value)


def test_the_module_says_which_variable_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from aelyst_async.sync import distributed

    monkeypatch.delenv("AELYST_BROKER", raising=False)
    with pytest.raises(ConfigurationError, match="set AELYST_BROKER in the environment, such as nats://"):
        _ = distributed.broker


def test_cli_refuses_a_broker_without_a_shared_journal_and_one_that_is_not_there(
    postgres: PostgresServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aelyst_async.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AELYST_TOKEN", "token")
    monkeypatch.delenv("AELYST_JOURNAL", raising=False)
    Path("people.csv").write_text("email\na@example.com\n")
    assert main(["sync", "people.csv", "--to", "aelyst", "--broker", "nats://127.0.0.1:1"]) == 2
    assert "--broker needs a journal that the workers share" in capsys.readouterr().err
    journal = postgres.url("cli")
    command = ["sync", "people.csv", "--to", "aelyst", "--broker", "nats://u:secret@127.0.0.1:1", "--journal", journal]
    monkeypatch.setattr("aelyst_async.cli.workers._CONNECT", 0.5)
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "--broker: no broker that can be used answers there" in err
    assert "secret" not in err
    assert PASSWORD not in err
