"""The blocking facade: calls, threads, running loops, interrupts, forks, iterators, and rejected input."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import BlockingGateway, Contact, ContactFields, RateLimiter, open_gateway
from aelyst_async.errors import ConfigurationError, ContactNotFoundError
from aelyst_async.identifiers import Identifier
from aelyst_async.pytest_plugin import SandboxFixture
from aelyst_async.registry import gateway_class, provider_names
from aelyst_providers.aelyst import AelystContact, AelystFields, AelystGateway


@pytest.fixture
def aelyst(sandbox: SandboxFixture) -> Iterator[BlockingGateway[AelystGateway]]:
    with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0).blocking() as gateway:
        yield gateway


class Memory:
    """A third party's gateway, with the methods of the protocol and nothing else."""

    provider = "memory"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.hook: Any = None
        self.cancelled = 0

    async def get(self, identifier: Identifier | str) -> Contact:
        if self.hook is not None:
            await self.hook()
        return Contact(id=str(identifier))

    async def wait(self) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1

    async def contacts(self, count: int = 3) -> AsyncIterator[Contact]:
        try:
            for number in range(count):
                yield Contact(id=str(number))
        finally:
            self.cancelled += 1


def test_facade_operations_return_and_raise_like_the_gateway(
    aelyst: BlockingGateway[AelystGateway], sandbox: SandboxFixture
) -> None:
    receipt = aelyst.create(AelystFields(first_name="Ann", email="ann@example.com"))
    assert str(receipt.identifier) == "email:ann@example.com"
    aelyst.update("email:ann@example.com", ContactFields(last_name="Lee"))
    contact = aelyst.get("email:ann@example.com")
    assert isinstance(contact, AelystContact)
    assert (contact.first_name, contact.last_name) == ("Ann", "Lee")
    aelyst.upsert("email:bo@example.com", ContactFields(first_name="Bo"))
    aelyst.add_tags("email:bo@example.com", ["vip"])
    assert [tag.name for tag in aelyst.tags("email:bo@example.com")] == ["vip"]
    assert {one.first_name for one in aelyst.contacts()} == {"Ann", "Bo"}
    with pytest.raises(ContactNotFoundError) as caught:
        aelyst.get("email:nobody@example.com")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert len(sandbox.contacts("aelyst")) == 2


async def test_facade_works_in_a_thread_with_a_running_loop(aelyst: BlockingGateway[AelystGateway]) -> None:
    aelyst.upsert("email:ann@example.com", AelystFields(first_name="Ann"))
    assert aelyst.get("email:ann@example.com").first_name == "Ann"


def test_facade_can_be_used_from_several_threads(
    aelyst: BlockingGateway[AelystGateway], sandbox: SandboxFixture
) -> None:
    def write(number: int) -> None:
        aelyst.upsert(f"email:{number}@example.com", AelystFields(first_name=str(number)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(40)))
    assert {contact["firstName"] for contact in sandbox.contacts("aelyst")} == {str(number) for number in range(40)}


def test_facades_share_one_thread_and_can_share_a_limiter(sandbox: SandboxFixture) -> None:
    limiter = RateLimiter()
    for _ in range(2):
        gateway = AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), limiter=limiter)
        with gateway.blocking() as facade, pytest.raises(ContactNotFoundError):
            facade.get("id:1")
    assert len(limiter.snapshot()) == 1
    assert sum(thread.name == "aelyst-async-blocking" for thread in threading.enumerate()) == 1


def test_facade_opens_on_first_call_and_close_is_idempotent(sandbox: SandboxFixture) -> None:
    facade = open_gateway("aelyst", token=sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")).blocking()
    with pytest.raises(ContactNotFoundError):
        facade.get("id:1")
    facade.close()
    facade.close()
    with pytest.raises(ConfigurationError, match="is closed; make a new one"):
        facade.get("id:1")
    unused = BlockingGateway(Memory())
    unused.close()
    with pytest.raises(ConfigurationError, match="is closed"), unused:
        pass


def test_facade_has_only_the_operations_of_its_gateway() -> None:
    facade = BlockingGateway(Memory())
    assert hasattr(facade, "get")
    assert not hasattr(facade, "add_to_list")
    assert "Memory" in repr(facade)
    with pytest.raises(AttributeError, match="Memory has no operation 'upsert'"):
        facade.upsert  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018


@pytest.mark.parametrize("provider", provider_names())
def test_every_public_coroutine_of_a_provider_has_a_blocking_form(provider: str) -> None:
    kind = gateway_class(provider)
    asynchronous = {
        name for name in dir(kind) if not name.startswith("_") and inspect.iscoroutinefunction(getattr(kind, name))
    }
    assert asynchronous - set(dir(BlockingGateway)) <= {"account", "aclose"}


@pytest.mark.parametrize("given", [AelystGateway, "aelyst", None])
def test_facade_rejects_objects_that_are_no_gateway(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a gateway, such as open_gateway"):
        BlockingGateway(given)


def test_call_runs_in_the_context_of_the_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    memory = Memory()
    seen = []

    async def hook() -> None:
        seen.append(variable.get())

    memory.hook = hook
    with BlockingGateway(memory) as facade:
        variable.set("set")
        facade.get("id:1")
    assert seen == ["set"]


def test_call_from_a_callback_raises_instead_of_deadlocking() -> None:
    memory = Memory()
    facade = BlockingGateway(memory)

    async def hook() -> None:
        facade.get("id:2")

    memory.hook = hook
    with facade, pytest.raises(ConfigurationError, match="would wait for itself"):
        facade.get("id:1")


# --- interrupts ------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Raised by the signal handler of these tests, like KeyboardInterrupt by Python's handler."""


@pytest.fixture
def interrupt() -> Iterator[Any]:
    """Return a coroutine function that sends this process a signal whose handler raises `Interrupted`."""

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)

    async def send() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    yield send
    signal.signal(signal.SIGUSR1, before)


def test_interrupt_cancels_the_call_and_waits_for_its_end(interrupt: Any) -> None:
    memory = Memory()

    async def wait() -> None:
        await interrupt()
        await memory.wait()

    memory.hook = wait
    with BlockingGateway(memory) as facade:
        with pytest.raises(Interrupted):
            facade.get("id:1")
        assert memory.cancelled == 1
        memory.hook = None
        assert facade.get("id:2").id == "id:2"


def test_second_interrupt_is_raised_immediately(interrupt: Any) -> None:
    memory = Memory()
    stubborn = asyncio.Event()

    async def wait() -> None:
        await interrupt()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await interrupt()
            await stubborn.wait()

    memory.hook = wait
    with BlockingGateway(memory) as facade:
        with pytest.raises(Interrupted):
            facade.get("id:1")

        async def release() -> None:
            stubborn.set()

        facade.run(release)


def test_interrupt_ends_and_closes_an_iteration(interrupt: Any) -> None:
    memory = Memory()
    memory.hook = memory.wait

    def identifiers() -> Iterator[str]:
        yield from ("id:1", "id:2")
        os.kill(os.getpid(), signal.SIGUSR1)
        yield "id:3"

    with BlockingGateway(memory) as facade:
        with pytest.raises(Interrupted):
            list(facade.get_many(identifiers()))
        assert memory.cancelled == 2


def test_system_exit_in_a_callback_is_raised_in_the_caller() -> None:
    memory = Memory()

    async def leave() -> None:
        raise SystemExit(3)

    memory.hook = leave
    with BlockingGateway(memory) as facade:
        with pytest.raises(SystemExit):
            facade.get("id:1")
        memory.hook = None
        assert facade.get("id:1").id == "id:1"


# --- iterators -------------------------------------------------------------------------------------------------------


def test_contacts_iterator_closes_its_async_source() -> None:
    memory = Memory()
    with BlockingGateway(memory) as facade:
        assert [contact.id for contact in facade.contacts(count=4)] == ["0", "1", "2", "3"]
        assert memory.cancelled == 1
        iterator = facade.contacts()
        assert next(iterator).id == "0"
        iterator.close()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        assert memory.cancelled == 2


def test_bulk_operations_return_plain_iterators(aelyst: BlockingGateway[AelystGateway]) -> None:
    people = [(f"email:{number}@example.com", AelystFields(first_name=str(number))) for number in range(30)]
    assert all(outcome.ok for outcome in aelyst.upsert_many(people, concurrency=8))
    assert all(outcome.ok for outcome in aelyst.update_many(people))
    assert all(outcome.ok for outcome in aelyst.add_tags_many((identifier, ["new"]) for identifier, _ in people))
    outcomes = list(aelyst.get_many([*(identifier for identifier, _ in people), "email:nobody@example.com"]))
    assert sum(outcome.ok for outcome in outcomes) == 30
    assert {type(outcome.error) for outcome in outcomes if not outcome.ok} == {ContactNotFoundError}
    assert all(outcome.ok for outcome in aelyst.delete_many(identifier for identifier, _ in people))
    assert not list(aelyst.contacts())


def test_get_many_reads_its_input_lazily_in_the_calling_thread() -> None:
    threads, read = set(), []

    def identifiers() -> Iterator[str]:
        for number in range(10):
            threads.add(threading.get_ident())
            read.append(number)
            yield f"id:{number}"

    with BlockingGateway(Memory()) as facade:
        outcomes = facade.get_many(identifiers(), concurrency=2)
        next(outcomes)
        assert len(read) <= 4  # two in flight, one outcome waiting, one returned
        assert len(list(outcomes)) == 9
    assert threads == {threading.get_ident()}


def test_get_many_raises_an_input_error_after_the_outcomes() -> None:
    def identifiers() -> Iterator[str]:
        yield "id:1"
        raise LookupError("the database is gone")

    with BlockingGateway(Memory()) as facade:
        outcomes = facade.get_many(identifiers())
        assert next(outcomes).ok
        with pytest.raises(LookupError, match="the database is gone"):
            next(outcomes)


@pytest.mark.parametrize("given", ["id:1", {"id:1": 1}, 5, None, Memory().contacts()])
def test_get_many_rejects_other_inputs(given: Any) -> None:
    with BlockingGateway(Memory()) as facade, pytest.raises(ConfigurationError, match="expected an iterable"):
        facade.get_many(given)


def test_iterator_closed_in_the_loop_thread_does_not_deadlock() -> None:
    memory = Memory()
    with BlockingGateway(memory) as facade:
        iterator: Any = facade.contacts()
        next(iterator)

        async def collect() -> None:
            nonlocal iterator
            iterator = None  # garbage collection may run in any thread
            gc.collect()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        facade.run(collect)
        assert memory.cancelled == 1


def test_sync_reads_its_rows_in_the_calling_thread(
    aelyst: BlockingGateway[AelystGateway], sandbox: SandboxFixture, tmp_path: Path
) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE people (email, name); INSERT INTO people VALUES ('ann@example.com', 'Ann')")
    rows = ({"email": email, "first_name": name} for email, name in database.execute("SELECT * FROM people"))
    report = aelyst.sync(rows, journal=tmp_path / "state.db")
    assert (report.created, report.failed) == (1, 0)
    assert aelyst.sync([{"email": "bo@example.com", "first_name": "Bo"}], dry_run=True).created == 1
    assert [contact["firstName"] for contact in sandbox.contacts("aelyst")] == ["Ann"]
    database.close()


# --- processes -------------------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, os, sys, warnings
from aelyst_async import BlockingGateway, Contact, errors

class Memory:
    provider = "memory"
    async def get(self, identifier):
        await asyncio.sleep(0)
        return Contact(id=str(identifier))
"""


def run_program(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + textwrap.dedent(text)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_forked_child_must_open_its_own_facade() -> None:
    out = run_program("""
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        opened, unused = BlockingGateway(Memory()), BlockingGateway(Memory())
        opened.get("id:1")
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                opened.get("id:2")
            except errors.ConfigurationError as error:
                print(error)
            opened.close()
            print(unused.get("id:3").id)
            unused.close()
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(opened.get("id:4").id)
    """)
    assert out.splitlines() == [
        "this blocking gateway was opened before the process was forked; open one in each worker process",
        "id:3",
        "id:4",
    ]


def test_process_exits_cleanly_with_an_open_facade() -> None:
    out = run_program("""
        import threading
        class Slow(Memory):
            async def get(self, identifier):
                started.set()
                await asyncio.Event().wait()
        started = threading.Event()
        facade = BlockingGateway(Slow())
        def call():
            try:
                facade.get("id:1")
            except errors.ConfigurationError as error:
                print(error, flush=True)
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        started.wait()
        from aelyst_async.portal import portal
        portal().stop()
        thread.join()
        try:
            facade.get("id:2")
        except errors.ConfigurationError as error:
            print(error)
        facade.close()
    """)
    assert out.splitlines() == [
        "the interpreter is exiting: the call was cancelled",
        "the interpreter is exiting: no call can be made",
    ]
