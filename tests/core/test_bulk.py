"""`get_many` and `upsert_many`: order, bounds, failing inputs and early exit. In virtual time, with a fake gateway."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelyst_async import (
    Contact,
    ContactFields,
    Failure,
    Success,
    WriteReceipt,
    errors,
    get_many,
    parse_identifier,
    upsert_many,
)
from aelyst_async.identifiers import Identifier
from tests.virtual_time import run, virtual

pytestmark = pytest.mark.hostile


class CustomBaseException(BaseException):
    """Derives from `BaseException`, not from `Exception`."""


RAISED: dict[str, BaseException] = {
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "custom": CustomBaseException(),
    "generator": GeneratorExit(),
}
if sys.version_info >= (3, 11):
    RAISED["group"] = BaseExceptionGroup("several", [SystemExit(1), CustomBaseException()])  # noqa: F821 - new in 3.11


class FakeGateway:
    """Answers after a short random delay, without a server. An id that ends in 7 is not found."""

    provider = "fake"

    def __init__(self, pause: float = 0.01) -> None:
        self.pause = pause
        self.in_flight = 0
        self.peak = 0
        self.calls = 0
        self.cancelled = 0
        self.draw = random.Random(3)

    async def get(self, identifier: Identifier | str) -> Contact:
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.pause * self.draw.random())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        parsed = parse_identifier(identifier)
        if parsed.value.endswith("7"):
            raise errors.ContactNotFoundError(status=404)
        if parsed.value == "bug":
            raise ZeroDivisionError("a bug")
        if parsed.value == "cancelled":
            raise asyncio.CancelledError
        if parsed.value in RAISED:
            raise RAISED[parsed.value]
        return Contact(id=parsed.value)

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        raise NotImplementedError

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        raise NotImplementedError

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        contact = await self.get(identifier)
        return WriteReceipt(
            identifier=parse_identifier(identifier), contact_id=contact.id, message=str(fields.first_name)
        )


def ids(count: int) -> Iterator[str]:
    return (f"id:{number}" for number in range(count))


async def assert_no_other_tasks() -> None:
    """Assert that the test's own task is the only one."""
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("concurrency", [1, 2, 7, 64, 1_000])
@virtual
async def test_get_many_yields_one_outcome_per_item(concurrency: int) -> None:
    gateway = FakeGateway()
    outcomes = [outcome async for outcome in get_many(gateway, ids(300), concurrency=concurrency)]
    assert sorted(str(outcome.identifier) for outcome in outcomes) == sorted(ids(300))
    for outcome in outcomes:
        assert outcome.ok is (outcome.error is None) is (outcome.value is not None)
        assert outcome.ok is not str(outcome.identifier).endswith("7")
        assert outcome.value is None or f"id:{outcome.value.id}" == outcome.identifier
    assert gateway.peak == min(concurrency, 300)
    await assert_no_other_tasks()


@virtual
async def test_get_many_with_concurrency_one_keeps_input_order() -> None:
    outcomes = [outcome.identifier async for outcome in get_many(FakeGateway(), ids(50), concurrency=1)]
    assert outcomes == list(ids(50))


@virtual
async def test_get_many_yields_outcomes_as_they_finish() -> None:
    gateway = FakeGateway(pause=1.0)
    began = asyncio.get_running_loop().time()
    times = []
    async for _ in get_many(gateway, ids(64), concurrency=64):
        times.append(asyncio.get_running_loop().time() - began)
    assert times == sorted(times)
    assert times[0] < 0.2
    assert times[-1] <= 1.0


@virtual
async def test_upsert_many_yields_one_outcome_per_pair() -> None:
    pairs = ((f"id:{number}", ContactFields(first_name=f"N{number}")) for number in range(100))
    outcomes = [outcome async for outcome in upsert_many(FakeGateway(), pairs)]
    assert len(outcomes) == 100
    for outcome in outcomes:
        assert outcome.value is None or outcome.value.message == f"N{outcome.value.contact_id}"


@virtual
async def test_get_many_yields_nothing_for_empty_input() -> None:
    assert [outcome async for outcome in get_many(FakeGateway(), [])] == []


@virtual
async def test_get_many_pulls_at_most_twice_the_concurrency_ahead() -> None:
    """With concurrency 8, at most 16 of 100,000 items have been pulled and not yet been yielded."""
    pulled = 0

    def counted() -> Iterator[str]:
        nonlocal pulled
        for number in range(100_000):
            pulled += 1
            yield f"id:{number}"

    yielded = 0
    ahead = 0
    async for _ in get_many(FakeGateway(), counted(), concurrency=8):
        yielded += 1
        ahead = max(ahead, pulled - yielded)
        if yielded % 1_000 == 0:
            await asyncio.sleep(1)  # a slow consumer slows the workers down
            assert pulled - yielded <= 16
    assert yielded == pulled == 100_000
    assert ahead <= 16


class Source:
    """An async iterable that records whether it was closed."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.count = count
        self.fails_at = fails_at
        self.closed = False

    async def items(self) -> AsyncIterator[str]:
        try:
            for number in range(self.count):
                await asyncio.sleep(0)
                if number == self.fails_at:
                    raise OSError("the file ends here")
                yield f"id:{number}"
        finally:
            self.closed = True


@virtual
async def test_get_many_accepts_async_iterables_and_closes_them() -> None:
    source = Source(100)
    assert len([outcome async for outcome in get_many(FakeGateway(), source.items(), concurrency=8)]) == 100
    assert source.closed


@pytest.mark.parametrize("kind", ["async", "sync"])
@virtual
async def test_get_many_yields_all_pulled_items_before_the_input_error(kind: str) -> None:
    source = Source(100, fails_at=20)

    def plain() -> Iterator[str]:
        yield from ids(20)
        raise OSError("the file ends here")

    gateway = FakeGateway()
    outcomes: list[Any] = []
    items: Any = source.items() if kind == "async" else plain()

    async def collect() -> None:
        async for outcome in get_many(gateway, items, concurrency=8):
            outcomes.append(outcome)

    with pytest.raises(OSError, match="the file ends here"):
        await collect()
    assert sorted(outcome.identifier for outcome in outcomes) == sorted(ids(20))
    assert gateway.cancelled == 0
    await assert_no_other_tasks()


@pytest.mark.parametrize(("item", "kind"), [("id:bug", ZeroDivisionError), ("id:cancelled", asyncio.CancelledError)])
@virtual
async def test_get_many_stops_on_errors_other_than_contacts_errors(item: str, kind: type[BaseException]) -> None:
    gateway = FakeGateway()

    def items() -> Iterator[str]:
        yield from ids(5)
        yield item
        yield from ids(100_000)

    with pytest.raises(kind):
        async for _ in get_many(gateway, items(), concurrency=4):
            pass
    assert gateway.in_flight == 0
    assert gateway.calls < 100
    await assert_no_other_tasks()


@virtual
async def test_get_many_cancels_calls_when_closed_early() -> None:
    gateway, source = FakeGateway(), Source(1_000)
    async with aclosing(get_many(gateway, source.items(), concurrency=16)) as outcomes:
        async for _ in outcomes:
            break
    assert gateway.in_flight == 0
    assert gateway.cancelled > 0
    assert source.closed
    await assert_no_other_tasks()


@virtual
async def test_get_many_cancels_calls_when_the_consumer_raises() -> None:
    gateway = FakeGateway()

    async def consume() -> None:
        async with aclosing(get_many(gateway, ids(1_000), concurrency=16)) as outcomes:
            async for _ in outcomes:
                raise KeyError

    with pytest.raises(KeyError):
        await consume()
    assert gateway.in_flight == 0
    await assert_no_other_tasks()


@virtual
async def test_get_many_cancels_calls_when_garbage_collected() -> None:
    gateway = FakeGateway()
    async for _ in get_many(gateway, ids(1_000), concurrency=16):
        break
    gc.collect()
    await asyncio.sleep(0.1)
    assert gateway.in_flight == 0
    await assert_no_other_tasks()


@pytest.mark.parametrize("concurrency", [1, 3])
@virtual
async def test_leaving_ends_when_calls_ignore_their_cancellation(concurrency: int) -> None:
    # `asyncio.wait_for` of Python 3.10 and 3.11 returns a result that comes in the same turn as the cancellation.
    class Deaf(FakeGateway):
        async def get(self, identifier: Identifier | str) -> Contact:
            try:
                return await super().get(identifier)
            except asyncio.CancelledError:
                return Contact(id="7")

    gateway = Deaf()
    async with aclosing(get_many(gateway, (f"id:{n}" for n in range(1, 100)), concurrency=concurrency)) as outcomes:
        async for _ in outcomes:
            break
    calls = gateway.calls
    await asyncio.sleep(10)
    assert gateway.calls == calls
    await assert_no_other_tasks()


@pytest.mark.parametrize("concurrency", [1, 3])
@virtual
async def test_leaving_ends_when_the_input_ignores_its_cancellation(concurrency: int) -> None:
    async def deaf() -> AsyncGenerator[str, None]:
        for number in range(1, 100):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(number > 1)
            yield f"id:{number}"

    gateway = FakeGateway()
    async with aclosing(get_many(gateway, deaf(), concurrency=concurrency)) as outcomes:
        async for _ in outcomes:
            break
    assert gateway.calls == 1
    await assert_no_other_tasks()


@virtual
async def test_get_many_cancels_calls_when_the_consumer_is_cancelled() -> None:
    gateway, source = FakeGateway(pause=100), Source(1_000)

    async def consume() -> None:
        async for _ in get_many(gateway, source.items(), concurrency=16):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gateway.in_flight == 0
    assert gateway.cancelled == 16
    assert source.closed
    await assert_no_other_tasks()


@pytest.mark.parametrize("concurrency", [0, -1, None, "8", 1.5, True])
def test_get_many_and_upsert_many_reject_invalid_concurrency(concurrency: Any) -> None:
    for many in (get_many, upsert_many):
        with pytest.raises(errors.ConfigurationError, match="concurrency"):
            many(FakeGateway(), [], concurrency=concurrency)


@virtual
async def test_get_many_rejects_non_iterables() -> None:
    with pytest.raises(TypeError):
        async for _ in get_many(FakeGateway(), 5):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("items", ["id:1", b"id:1", {"id:1": ContactFields()}])
def test_get_many_and_upsert_many_reject_strings_and_mappings(items: Any) -> None:
    """Iterating would give the characters of a `str` and the keys of a mapping."""
    for make in (get_many, upsert_many):
        with pytest.raises(errors.ConfigurationError, match=r"expected an iterable"):
            make(FakeGateway(), items)


def test_outcomes_are_immutable_and_hashable() -> None:
    error = errors.ContactNotFoundError(status=404)
    success, failure = Success("id:1", 1), Failure("id:1", error)
    assert (success.ok, success.value, success.error) == (True, 1, None)
    assert (failure.ok, failure.value, failure.error) == (False, None, error)
    assert success == Success("id:1", 1)
    assert len({success, failure}) == 2
    assert repr(success) == "Success(identifier='id:1', value=1)"
    with pytest.raises(AttributeError):
        success.value = 2  # type: ignore[misc]
    match success:
        case Success(identifier, value):
            assert (identifier, value) == ("id:1", 1)
    match failure:
        case Failure(identifier, reason):
            assert (identifier, reason) == ("id:1", error)


async def iterate_until_error(many: AsyncGenerator[Any, None], taken: list[Any]) -> BaseException | None:
    """Return the exception that ends the iteration. Some would stop the event loop if they left the task."""
    try:
        async for outcome in many:
            taken.append(outcome)
    except BaseException as error:  # noqa: BLE001
        return error
    return None


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("concurrency", [1, 4, 64])
@virtual
async def test_get_many_reraises_base_exceptions_and_leaves_no_task(name: str, concurrency: int) -> None:
    gateway = FakeGateway()

    def items() -> Iterator[str]:
        yield from ids(5)
        yield f"id:{name}"
        yield from ids(100_000)

    taken: list[Any] = []
    assert await iterate_until_error(get_many(gateway, items(), concurrency=concurrency), taken) is RAISED[name]
    assert gateway.in_flight == 0
    assert gateway.calls < 200
    await assert_no_other_tasks()


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("kind", ["async", "sync"])
@virtual
async def test_upsert_many_reraises_base_exceptions_of_its_input(name: str, kind: str) -> None:
    gateway = FakeGateway()

    def plain() -> Iterator[Any]:
        yield from ((f"id:{number}", ContactFields(first_name="N")) for number in range(20))
        raise RAISED[name]

    async def one_by_one() -> AsyncIterator[Any]:
        for item in plain():
            await asyncio.sleep(0)
            yield item

    items: Any = plain() if kind == "sync" else one_by_one()
    assert await iterate_until_error(upsert_many(gateway, items, concurrency=8), []) is RAISED[name]
    assert gateway.in_flight == 0
    await assert_no_other_tasks()


@virtual
async def test_get_many_leaves_no_task_after_repeated_cancellation() -> None:
    class Slow(FakeGateway):
        async def get(self, identifier: Identifier | str) -> Contact:
            try:
                return await super().get(identifier)
            finally:
                await asyncio.sleep(1)  # cancellation takes a second

    gateway = Slow(pause=100)
    task = asyncio.create_task(iterate_until_error(get_many(gateway, ids(100), concurrency=8), []))
    for _ in range(3):
        await asyncio.sleep(0.3)
        task.cancel()
    assert isinstance(await task, asyncio.CancelledError)
    await assert_no_other_tasks()


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_get_many_leaves_no_task_for_any_ending(
    numbers: list[int], concurrency: int, fails_at: int | None, leave_after: int | None
) -> None:
    async def main() -> None:
        gateway = FakeGateway()

        async def items() -> AsyncIterator[str]:
            for position, number in enumerate(numbers):
                await asyncio.sleep(0.001 * (number % 3))
                if position == fails_at:
                    raise OSError
                yield f"id:{number}"

        count = 0
        failed = False
        try:
            async with aclosing(get_many(gateway, items(), concurrency=concurrency)) as outcomes:
                async for _ in outcomes:
                    count += 1
                    if count == leave_after:
                        break
        except OSError:
            failed = True
        expected = len(numbers) if fails_at is None else min(fails_at, len(numbers))
        if leave_after is None or leave_after > expected:
            assert count == expected
            assert failed is (fails_at is not None and fails_at < len(numbers))
        assert gateway.in_flight == 0
        assert gateway.peak <= concurrency
        await assert_no_other_tasks()

    run(main())
