"""taskiq workers in their own processes: kills, lost responses, server restarts, and the command line."""

from __future__ import annotations

import asyncio
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

pytest.importorskip("taskiq")
pytest.importorskip("asyncpg")

from aelyst_async.sync import RetrySettings, SyncReport
from aelyst_async.sync.distributed import make_broker, register
from aelyst_async.sync.distributed.submitting import SubmittedSync
from aelyst_async.sync.journal.history import status
from aelyst_async.sync.journal.postgres import reading, schema_of
from aelyst_providers.aelyst import AelystGateway

__all__ = ["nats", "postgres", "redis"]

LEASE = 1.5
PAUSES = RetrySettings(settle=0.4, base=0.05, cap=0.3)
TROUBLE = (
    "--quota", "none", "--assume", "aelyst.visible_after=0.2", "--fault", "reset-after=0.05",
    "--fault", "status,code:500=0.02",
)  # fmt: skip
WORKER = ("worker", "aelyst_async.sync.distributed:broker", "--workers", "1", "--max-async-tasks", "4")


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

    def worker(self, *, managed: bool = False) -> subprocess.Popen[bytes]:
        """Start a worker; `managed`: by taskiq's own command, which is slower to start."""
        command = ("-m", "taskiq", *WORKER) if managed else (str(Path(__file__).with_name("worker_child.py")),)
        return self.spawn(*command)

    async def submit(self, prefix: str, rows: int) -> SyncReport:
        """Submit rows and follow them, as ``aelyst sync --broker`` does, with shorter pauses."""
        broker = make_broker(self.broker, schema_of(self.journal))
        submit = register(broker)
        await broker.startup()
        try:
            async with AelystGateway("sandbox-token", base_url=self.sandbox.base_url) as gateway:
                sync = SubmittedSync(
                    gateway, journal=self.journal, submit=submit, max_attempts=50,
                    retry=PAUSES,
                )  # fmt: skip
                return await sync.run(
                    [{"email": f"{prefix}{row}@example.com", "first_name": f"P{row}"} for row in range(rows)]
                )
        finally:
            await broker.shutdown()

    def sync(self, path: Path, *options: str) -> subprocess.Popen[bytes]:
        return self.spawn(
            "-m", "aelyst_async", "sync", str(path), "--to", "aelyst", "--broker", self.broker,
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

    def claims(self, pid: int) -> int:
        """Return how many rows a worker holds."""
        with reading(self.journal) as found:
            sql = "SELECT count(*) FROM claim JOIN owner ON owner.id = claim.owner WHERE owner.name LIKE ?"
            return int(found.fetch(sql, (f"process {pid} on %",))[0][0])

    def count(self, prefix: str) -> int:
        return sum(count for email, count in self.contacts().items() if email.startswith(prefix))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> float:
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, self.words()
            time.sleep(0.05)
        return time.monotonic() - began

    def check(self, report: dict[str, Any], rows: int, prefix: str = "person") -> None:
        """Every row has one outcome, and is there once."""
        outcomes = {name: report[name] for name in ("created", "updated", "unchanged", "failed", "skipped", "pending")}
        assert sum(outcomes.values()) == report["rows"] == rows, outcomes
        assert outcomes["failed"] == outcomes["pending"] == 0, (outcomes, report["reasons"], self.words())
        contacts = Counter({email: count for email, count in self.contacts().items() if email.startswith(prefix)})
        assert {email: count for email, count in contacts.items() if count > 1} == {}
        assert len(contacts) == rows


@pytest.fixture
def cluster_of(
    tmp_path: Path, postgres: PostgresServer, start_sandbox: Callable[..., OtherSandbox]
) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(broker: str, *sandbox: str, lease: float = LEASE) -> Cluster:
        schema = f"distributed_{time.time_ns()}"
        cluster = Cluster(tmp_path, start_sandbox(*(sandbox or TROUBLE)), postgres.url(schema, lease=lease), broker)
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


@pytest.mark.slow
def test_sync_through_workers_applies_and_reports_every_row(cluster_of: Callable[..., Cluster], nats: Server) -> None:
    cluster = cluster_of(nats_url(nats))
    path = cluster.write(60)
    cluster.worker(managed=True)
    report = cluster.report(cluster.sync(path))
    cluster.check(report, 60)
    assert report["requests"]
    again = cluster.report(cluster.sync(path))
    assert again["unchanged"] == 60


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait for a condition, which may block for a moment; return how long it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began < seconds
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.slow
async def test_rows_of_a_worker_killed_at_random_are_applied_once(
    cluster_of: Callable[..., Cluster], nats: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.sync.distributed.submitting.ROWS", 10)
    cluster = cluster_of(nats_url(nats), *TROUBLE, "--fault", "latency,seconds:0.02=100%")
    workers = [cluster.worker(), cluster.worker()]
    hits = 0
    for seed in range(12):
        dice = random.Random(seed)
        prefix, moment, victim = f"seed-{seed}-", dice.randrange(1, 38), dice.randrange(2)
        sync = asyncio.create_task(cluster.submit(prefix, 40))
        await until(lambda: cluster.count(prefix) >= moment or sync.done())  # noqa: B023
        hits += cluster.claims(workers[victim].pid) > 0
        cluster.kill(workers[victim])
        workers[victim] = cluster.worker()
        report = await asyncio.wait_for(sync, 60)
        try:
            cluster.check(report.to_dict(), 40, prefix)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert hits >= 5, f"only {hits} of 12 kills met a worker that held rows"


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["nats", "redis"])
async def test_idle_worker_takes_over_a_dead_workers_shards_within_two_leases(
    queue: str, cluster_of: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(queue)
    trouble = ("--quota", "none", "--fault", "latency,seconds:1=100%")
    cluster = cluster_of(f"{queue}://127.0.0.1:{server.port}", *trouble)
    busy = cluster.worker()
    sync = asyncio.create_task(cluster.submit("p", 150))
    await until(lambda: cluster.count("p") >= 1)
    sync.cancel()  # the submitter sends no further messages
    await asyncio.wait([sync])
    cluster.worker()
    await until(lambda: "Listening started" in (cluster.folder / "stderr-1").read_text())
    cluster.kill(busy)
    seen = cluster.count("p")
    assert seen < 140
    cluster.sandbox.ask("faults", method="DELETE")
    waited = await until(lambda: cluster.count("p") > seen)
    assert waited <= 2 * LEASE + 1.0, f"{waited:.1f} s, of which a second is for the requests themselves"
    await until(lambda: len(cluster.contacts()) == 150)
    assert set(cluster.contacts().values()) == {1}
    await until(lambda: status(cluster.journal)["run"]["state"] == "ended")
    assert status(cluster.journal)["run"]["exit"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["nats", "redis"])
async def test_queue_restart_loses_no_rows(
    queue: str, cluster_of: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(queue)
    cluster = cluster_of(f"{queue}://127.0.0.1:{server.port}", *TROUBLE, "--fault", "latency,seconds:0.03=100%")
    cluster.worker()
    sync = asyncio.create_task(cluster.submit("p", 80))
    await until(lambda: cluster.count("p") >= 10)
    server.kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(server.start)
    cluster.check((await asyncio.wait_for(sync, 60)).to_dict(), 80, "p")
    cluster.check((await asyncio.wait_for(cluster.submit("q", 20), 60)).to_dict(), 20, "q")


@pytest.mark.slow
async def test_database_restart_loses_no_rows(
    cluster_of: Callable[..., Cluster], nats: Server, postgres: PostgresServer
) -> None:
    cluster = cluster_of(nats_url(nats), *TROUBLE, "--fault", "latency,seconds:0.03=100%", lease=4)
    cluster.worker()
    sync = asyncio.create_task(cluster.submit("p", 80))
    await until(lambda: cluster.count("p") >= 10)
    postgres.kill()
    await asyncio.to_thread(postgres.start)
    cluster.check((await asyncio.wait_for(sync, 60)).to_dict(), 80, "p")


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_the_same_command_resumes(
    cluster_of: Callable[..., Cluster], nats: Server
) -> None:
    cluster = cluster_of(nats_url(nats), "--quota", "none", "--fault", "latency,seconds:0.5=100%")
    path = cluster.write(80)
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
    cluster.sandbox.ask("faults", method="DELETE")
    cluster.check(cluster.report(cluster.sync(path)), 80)


@pytest.mark.slow
async def test_workers_share_one_quota_through_redis(
    cluster_of: Callable[..., Cluster], nats: Server, redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.sync.distributed.submitting.ROWS", 20)
    cluster = cluster_of(nats_url(nats), "--quota", "40/s")
    cluster.env["AELYST_QUOTA"] = f"redis://127.0.0.1:{redis.port}"
    workers = [cluster.worker(), cluster.worker()]
    report = await asyncio.wait_for(cluster.submit("p", 160), 90)
    cluster.check(report.to_dict(), 160, "p")
    refused = sum(count for name, count in report.requests.items() if name.endswith("429"))
    assert refused <= 5, report.requests
    assert all(worker.poll() is None for worker in workers)


def test_shard_message_contains_only_schema_run_number_and_provider() -> None:
    from aelyst_async.sync.distributed.shard import ShardSpec

    spec = ShardSpec(schema="aelyst", run=1, number=2, provider="aelyst")
    assert spec.to_dict() == {"schema": "aelyst", "run": 1, "number": 2, "provider": "aelyst"}
    assert ShardSpec.from_dict(spec.to_dict()) == spec


def test_make_broker_rejects_unusable_urls_without_showing_the_password() -> None:
    for url in ("amqp://user:secret@host", "host", "nats://user:secret@host:port"):
        with pytest.raises(ConfigurationError, match="--broker: ") as refusal:
            make_broker(url, "aelyst")
        assert "secret" not in str(refusal.value)


def test_broker_attribute_raises_an_error_that_names_the_missing_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from aelyst_async.sync import distributed

    monkeypatch.delenv("AELYST_BROKER", raising=False)
    with pytest.raises(ConfigurationError, match="set AELYST_BROKER in the environment, such as nats://"):
        _ = distributed.broker


def test_cli_rejects_an_unreachable_broker_or_one_without_shared_journal(
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
    assert "--broker: cannot connect to the broker" in err
    assert "secret" not in err
    assert PASSWORD not in err
