"""Many at once: order, bounds, failing inputs, and leaving in the middle. In virtual time, over a gateway of air."""

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


class Odd(BaseException):
    """An exception that is no `Exception`."""


RAISED: dict[str, BaseException] = {
    "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "odd": Odd(), "generator": GeneratorExit(),
}  # fmt: skip
if sys.version_info >= (3, 11):
    RAISED["group"] = BaseExceptionGroup("several", [SystemExit(1), Odd()])  # noqa: F821 - new in 3.11


class AirGateway:
    """Answers after a moment, without a server; an id that ends in 7 is not found."""

    provider = "air"

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
        who = parse_identifier(identifier)
        if who.value.endswith("7"):
            raise errors.ContactNotFoundError(status=404)
        if who.value == "bug":
            raise ZeroDivisionError("a bug")
        if who.value == "cancelled":
            raise asyncio.CancelledError
        if who.value in RAISED:
            raise RAISED[who.value]
        return Contact(id=who.value)

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


async def alone() -> None:
    """Assert that no task but the test's own is left."""
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("concurrency", [1, 2, 7, 64, 1_000])
@virtual
async def test_each_item_has_one_outcome(concurrency: int) -> None:
    gateway = AirGateway()
    outcomes = [outcome async for outcome in get_many(gateway, ids(300), concurrency=concurrency)]
    assert sorted(str(outcome.identifier) for outcome in outcomes) == sorted(ids(300))
    for outcome in outcomes:
        assert outcome.ok is (outcome.error is None) is (outcome.value is not None)
        assert outcome.ok is not str(outcome.identifier).endswith("7")
        assert outcome.value is None or f"id:{outcome.value.id}" == outcome.identifier
    assert gateway.peak == min(concurrency, 300)
    await alone()


@virtual
async def test_one_at_a_time_keeps_the_order() -> None:
    outcomes = [outcome.identifier async for outcome in get_many(AirGateway(), ids(50), concurrency=1)]
    assert outcomes == list(ids(50))


@virtual
async def test_outcomes_come_as_they_finish() -> None:
    gateway = AirGateway(pause=1.0)
    began = asyncio.get_running_loop().time()
    times = []
    async for _ in get_many(gateway, ids(64), concurrency=64):
        times.append(asyncio.get_running_loop().time() - began)
    assert times == sorted(times)
    assert times[0] < 0.2
    assert times[-1] <= 1.0


@virtual
async def test_upsert_many() -> None:
    pairs = ((f"id:{number}", ContactFields(first_name=f"N{number}")) for number in range(100))
    outcomes = [outcome async for outcome in upsert_many(AirGateway(), pairs)]
    assert len(outcomes) == 100
    for outcome in outcomes:
        assert outcome.value is None or outcome.value.message == f"N{outcome.value.contact_id}"


@virtual
async def test_no_input() -> None:
    assert [outcome async for outcome in get_many(AirGateway(), [])] == []


@virtual
async def test_an_endless_input_is_not_pulled_ahead() -> None:
    """100,000 items, eight at a time: never more than sixteen have been taken and not yet been given out."""
    pulled = 0

    def counted() -> Iterator[str]:
        nonlocal pulled
        for number in range(100_000):
            pulled += 1
            yield f"id:{number}"

    given_out = 0
    ahead = 0
    async for _ in get_many(AirGateway(), counted(), concurrency=8):
        given_out += 1
        ahead = max(ahead, pulled - given_out)
        if given_out % 1_000 == 0:
            await asyncio.sleep(1)  # a slow consumer slows the workers down
            assert pulled - given_out <= 16
    assert given_out == pulled == 100_000
    assert ahead <= 16


class Source:
    """An async iterable that says what became of it."""

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
async def test_async_iterables() -> None:
    source = Source(100)
    assert len([outcome async for outcome in get_many(AirGateway(), source.items(), concurrency=8)]) == 100
    assert source.closed


@pytest.mark.parametrize("kind", ["async", "sync"])
@virtual
async def test_a_failing_input_loses_nothing_that_was_taken(kind: str) -> None:
    source = Source(100, fails_at=20)

    def plain() -> Iterator[str]:
        yield from ids(20)
        raise OSError("the file ends here")

    gateway = AirGateway()
    outcomes: list[Any] = []
    items: Any = source.items() if kind == "async" else plain()

    async def collect() -> None:
        async for outcome in get_many(gateway, items, concurrency=8):
            outcomes.append(outcome)

    with pytest.raises(OSError, match="the file ends here"):
        await collect()
    assert sorted(outcome.identifier for outcome in outcomes) == sorted(ids(20))
    assert gateway.cancelled == 0
    await alone()


@pytest.mark.parametrize(("item", "kind"), [("id:bug", ZeroDivisionError), ("id:cancelled", asyncio.CancelledError)])
@virtual
async def test_what_is_not_ours_ends_the_run(item: str, kind: type[BaseException]) -> None:
    gateway = AirGateway()

    def items() -> Iterator[str]:
        yield from ids(5)
        yield item
        yield from ids(100_000)

    with pytest.raises(kind):
        async for _ in get_many(gateway, items(), concurrency=4):
            pass
    assert gateway.in_flight == 0
    assert gateway.calls < 100
    await alone()


@virtual
async def test_leaving_in_the_middle() -> None:
    gateway, source = AirGateway(), Source(1_000)
    async with aclosing(get_many(gateway, source.items(), concurrency=16)) as outcomes:
        async for _ in outcomes:
            break
    assert gateway.in_flight == 0
    assert gateway.cancelled > 0
    assert source.closed
    await alone()


@virtual
async def test_an_error_of_the_consumer() -> None:
    gateway = AirGateway()

    async def consume() -> None:
        async with aclosing(get_many(gateway, ids(1_000), concurrency=16)) as outcomes:
            async for _ in outcomes:
                raise KeyError

    with pytest.raises(KeyError):
        await consume()
    assert gateway.in_flight == 0
    await alone()


@virtual
async def test_break_without_closing_is_cleaned_up_too() -> None:
    gateway = AirGateway()
    async for _ in get_many(gateway, ids(1_000), concurrency=16):
        break
    gc.collect()
    await asyncio.sleep(0.1)
    assert gateway.in_flight == 0
    await alone()


@pytest.mark.parametrize("concurrency", [1, 3])
@virtual
async def test_leaving_ends_when_calls_ignore_their_cancellation(concurrency: int) -> None:
    # `asyncio.wait_for` of Python 3.10 and 3.11 returns a result that comes in the same turn as the cancellation.
    class Deaf(AirGateway):
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
    await alone()


@pytest.mark.parametrize("concurrency", [1, 3])
@virtual
async def test_leaving_ends_when_the_input_ignores_its_cancellation(concurrency: int) -> None:
    async def deaf() -> AsyncGenerator[str, None]:
        for number in range(1, 100):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(number > 1)
            yield f"id:{number}"

    gateway = AirGateway()
    async with aclosing(get_many(gateway, deaf(), concurrency=concurrency)) as outcomes:
        async for _ in outcomes:
            break
    assert gateway.calls == 1
    await alone()


@virtual
async def test_cancelling_the_consumer() -> None:
    gateway, source = AirGateway(pause=100), Source(1_000)

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
    await alone()


@pytest.mark.parametrize("concurrency", [0, -1, None, "8", 1.5, True])
def test_a_concurrency_that_cannot_be_is_refused_at_once(concurrency: Any) -> None:
    for many in (get_many, upsert_many):
        with pytest.raises(errors.ConfigurationError, match="concurrency"):
            many(AirGateway(), [], concurrency=concurrency)


@virtual
async def test_what_is_no_iterable() -> None:
    with pytest.raises(TypeError):
        async for _ in get_many(AirGateway(), 5):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("items", ["id:1", b"id:1", {"id:1": ContactFields()}])
def test_what_is_not_many_is_refused_at_once(items: Any) -> None:
    """A text would be taken letter by letter, a mapping by its keys."""
    for make in (get_many, upsert_many):
        with pytest.raises(errors.ConfigurationError, match=r"expected an iterable"):
            make(AirGateway(), items)


def test_outcomes_are_values() -> None:
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


async def caught(many: AsyncGenerator[Any, None], taken: list[Any]) -> BaseException | None:
    """Return what ends the iteration: some exceptions would end the loop once they leave the task."""
    try:
        async for outcome in many:
            taken.append(outcome)
    except BaseException as error:  # noqa: BLE001
        return error
    return None


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("concurrency", [1, 4, 64])
@virtual
async def test_get_many_raises_what_is_no_exception_and_leaves_nothing_behind(name: str, concurrency: int) -> None:
    gateway = AirGateway()

    def items() -> Iterator[str]:
        yield from ids(5)
        yield f"id:{name}"
        yield from ids(100_000)

    taken: list[Any] = []
    assert await caught(get_many(gateway, items(), concurrency=concurrency), taken) is RAISED[name]
    assert gateway.in_flight == 0
    assert gateway.calls < 200
    await alone()


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("kind", ["async", "sync"])
@virtual
async def test_upsert_many_raises_what_is_no_exception_of_its_input(name: str, kind: str) -> None:
    gateway = AirGateway()

    def plain() -> Iterator[Any]:
        yield from ((f"id:{number}", ContactFields(first_name="N")) for number in range(20))
        raise RAISED[name]

    async def one_by_one() -> AsyncIterator[Any]:
        for item in plain():
            await asyncio.sleep(0)
            yield item

    items: Any = plain() if kind == "sync" else one_by_one()
    assert await caught(upsert_many(gateway, items, concurrency=8), []) is RAISED[name]
    assert gateway.in_flight == 0
    await alone()


@virtual
async def test_cancelling_twice_leaves_nothing_behind() -> None:
    class Slow(AirGateway):
        async def get(self, identifier: Identifier | str) -> Contact:
            try:
                return await super().get(identifier)
            finally:
                await asyncio.sleep(1)  # it needs a moment to stop

    gateway = Slow(pause=100)
    task = asyncio.create_task(caught(get_many(gateway, ids(100), concurrency=8), []))
    for _ in range(3):
        await asyncio.sleep(0.3)
        task.cancel()
    assert isinstance(await task, asyncio.CancelledError)
    await alone()


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(0, 60)),
    st.one_of(st.none(), st.integers(1, 60)),
)
def test_however_it_ends_nothing_is_left(
    numbers: list[int], concurrency: int, fails_at: int | None, leave_after: int | None
) -> None:
    async def main() -> None:
        gateway = AirGateway()

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
        await alone()

    run(main())
