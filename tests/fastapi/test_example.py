"""The example app under real uvicorn: no webhook is lost when it is stopped, killed, or run by two workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aelyst_async.sandbox import Sandbox
from tests.fastapi.helpers import until
from tests.servers_external import RedisServer

COUNTS = [400, pytest.param(2000, marks=pytest.mark.slow)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_app"


class Service:
    """The example app in its own process. It can be restarted on the same port with the same journal."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.environment = {
            **os.environ,
            "AELYST_TOKEN": sandbox.token("aelyst"),
            "AELYST_BASE_URL": sandbox.base_url("aelyst"),
            "JOBS_JOURNAL": str(folder / "jobs.db"),
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(EXAMPLE), "--port", str(self.port),
                "--log-level", "warning", "--timeout-graceful-shutdown", "3",
                # uvicorn replaces a worker that is silent for 5 s, as one that imports is on a busy machine.
                "--timeout-worker-healthcheck", "60", *options,
                env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def stop(self, within: float) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), within)

    async def kill(self) -> None:
        """Kill the process and its workers."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()


_LATE = 9
"""Number of people whose only webhook is first sent while the service is down. They are the last ones."""


class Sender:
    """Sends each webhook until it gets a 202, and records the accepted ones."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._session = session
        self.accepted: dict[str, dict[str, Any]] = {}
        self.job_ids: set[str] = set()
        self.refusals: Counter[object] = Counter()
        self._sending: list[asyncio.Task[None]] = []

    async def send(self, person: dict[str, Any]) -> None:
        while True:
            try:
                async with self._session.post(self._service.url + "/webhooks/contact", json=person) as answer:
                    if answer.status == 202:
                        self.job_ids.add((await answer.json())["job_id"])
                        self.accepted[person["email"]] = {**self.accepted.get(person["email"], {}), **person}
                        return
                    assert answer.status == 503, await answer.text()
                    assert int(answer.headers["Retry-After"]) >= 1
                    self.refusals[503] += 1
            except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
                self.refusals[type(error).__name__] += 1
            await asyncio.sleep(0.1)

    async def send_all(self, people: list[dict[str, Any]]) -> None:
        waiting = iter(people)

        async def one_after_another() -> None:
            for person in waiting:
                await self.send(person)

        await asyncio.gather(*[one_after_another() for _ in range(40)])

    def start(self, people: list[dict[str, Any]]) -> asyncio.Task[None]:
        """Begin to send. `stop` cancels it, so that a failing test leaves no task."""
        self._sending.append(asyncio.create_task(self.send_all(people)))
        return self._sending[-1]

    async def stop(self) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def ask(self, path: str) -> Any:
        async with self._session.get(self._service.url + path) as answer:
            return await answer.json()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        yield running


@pytest.fixture
async def service(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Service]:
    running = Service(sandbox, tmp_path)
    yield running
    await running.kill()
    await asyncio.sleep(0.01)  # the transport of a killed child closes on a later turn of the loop


@pytest.fixture
async def sender(service: Service) -> AsyncIterator[Sender]:
    # One connection per request: these tests are not about idle connections of a stopping server.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session:
        sender = Sender(service, session)
        yield sender
        await sender.stop()


def people(count: int) -> list[dict[str, Any]]:
    """Return webhooks: one per person, and a second one with the last name for every tenth person."""
    first = [{"email": f"p{n}@example.com", "first_name": f"First {n}"} for n in range(count)]
    second = [{**person, "last_name": f"Last {n}"} for n, person in enumerate(first) if n % 10 == 0]
    return first + second


def written(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Return the sandbox's contacts by e-mail. Fail the test if two have the same."""
    found = sandbox.contacts("aelyst")
    counted = Counter(contact["email"] for contact in found)
    assert not [email for email, times in counted.items() if times > 1]
    return {contact["email"]: contact for contact in found}


def settled(sandbox: Sandbox, sender: Sender) -> bool:
    found = {contact["email"]: contact for contact in sandbox.contacts("aelyst")}
    return all(
        email in found and found[email].get("lastName") == person.get("last_name")
        for email, person in sender.accepted.items()
    )


async def wait_until_ready(sender: Sender) -> None:
    for _ in range(1200):
        try:
            if (await sender.ask("/readyz"))["status"] == "ready":
                return
        except (aiohttp.ClientError, ConnectionError):
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("the service did not start")


async def assert_written_once(sandbox: Sandbox, sender: Sender, count: int) -> None:
    assert len(sender.accepted) == count
    await until(lambda: settled(sandbox, sender), within=120)
    found = written(sandbox)
    assert {email: contact["firstName"] for email, contact in found.items()} == {
        person["email"]: person["first_name"] for person in people(count)
    }


async def run_with_interruption(sandbox: Sandbox, service: Service, sender: Sender, count: int, how: str) -> None:
    await service.start()
    await wait_until_ready(sender)
    webhooks = people(count)
    early, late = webhooks[: count - _LATE] + webhooks[count:], webhooks[count - _LATE : count]
    sending = sender.start(early)
    await until(lambda: len(sandbox.contacts("aelyst")) > count // 5, within=120)
    if how == "SIGTERM":
        await service.stop(within=16)  # 3 s for requests, 8 s for jobs, 2 s of grace
    else:
        await service.kill()
    accepted, arrived = len(sender.accepted), len(sandbox.contacts("aelyst"))
    assert arrived < count, "the interruption came too late to show anything"
    # A slow machine may accept all early webhooks before it writes a fifth, so others are sent now.
    sending_late = sender.start(late)
    await asyncio.sleep(0.3)
    assert len(sandbox.contacts("aelyst")) <= arrived + 16, "the service is down"
    await service.start()
    await asyncio.wait_for(asyncio.gather(sending, sending_late), 100)
    assert len(sender.accepted) > accepted
    await assert_written_once(sandbox, sender, count)
    states = {(await sender.ask(f"/jobs/{job_id}"))["state"] for job_id in sorted(sender.job_ids)[:200]}
    assert states <= {"done", "running", "waiting"}
    await service.stop(within=16)
    assert sandbox.token("aelyst") not in service.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
async def test_interrupted_service_neither_loses_nor_repeats_webhooks(
    sandbox: Sandbox, service: Service, sender: Sender, how: str, count: int
) -> None:
    await run_with_interruption(sandbox, service, sender, count, how)


@pytest.mark.slow
async def test_quota_delays_jobs_but_not_responses_and_the_drain_is_bounded(
    sandbox: Sandbox, service: Service, sender: Sender
) -> None:
    sandbox.assume(quota="5/s")
    await service.start()
    await wait_until_ready(sender)
    clock = asyncio.get_running_loop().time
    began = clock()
    await sender.send_all(people(100))
    assert clock() - began < 10, "110 jobs of two requests at 5 a second would take 40 s"
    began = clock()
    await service.stop(within=16)
    assert clock() - began < 14
    assert len(sandbox.contacts("aelyst")) < 100
    sandbox.assume(quota="none")
    await service.start()
    await wait_until_ready(sender)
    await assert_written_once(sandbox, sender, 100)


def worker_processes(parent: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # the process has ended
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.parametrize("count", COUNTS)
async def test_killed_worker_loses_no_job_of_the_shared_journal(
    sandbox: Sandbox, service: Service, sender: Sender, count: int
) -> None:
    await service.start("--workers", "2")
    await wait_until_ready(sender)
    assert service.process is not None
    supervisor = service.process.pid
    await until(lambda: len(worker_processes(supervisor)) == 2, within=120)
    sending = sender.start(people(count))
    await until(lambda: len(sandbox.contacts("aelyst")) > count // 5, within=120)
    os.kill(worker_processes(supervisor)[0], signal.SIGKILL)
    await asyncio.wait_for(sending, 100)
    await assert_written_once(sandbox, sender, count)
    await service.stop(within=20)
    log = service.log.read_text()
    assert log.count("2 worker processes share one account") >= 2
    assert "Traceback" not in log
    assert sandbox.token("aelyst") not in log


@pytest.mark.slow
async def test_workers_with_a_redis_quota_respect_it_without_warning(
    sandbox: Sandbox, service: Service, sender: Sender
) -> None:
    sandbox.assume(quota="40/s", quota_window="sliding")
    with RedisServer() as redis:
        service.environment["REDIS_URL"] = redis.url + "?socket_timeout=2&socket_connect_timeout=2"
        await service.start("--workers", "2")
        await wait_until_ready(sender)
        await sender.send_all(people(100))
        await assert_written_once(sandbox, sender, 100)
        await service.stop(within=30)
    log = service.log.read_text()
    assert "worker processes share one account" not in log
    assert "Traceback" not in log
    assert redis.url not in log
