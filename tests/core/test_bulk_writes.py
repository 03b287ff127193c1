"""`update_many`, `delete_many`, `add_tags_many`: one call per item, and the promises of `get_many`.

The order, the bounds and the cancellation are those of one shared function, which `test_bulk` attacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import pytest

from aelyst_async import ContactFields, Failure, Success, WriteReceipt, bulk, errors, parse_identifier
from aelyst_async.identifiers import Identifier
from tests.virtual_time import run

FIELDS = ContactFields(first_name="Ann")


class Air:
    """Notes its calls; an id that ends in 7 is not found."""

    provider = "air"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.in_flight = self.peak = 0

    async def _call(self, *call: Any) -> WriteReceipt:
        self.calls.append(call)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(1)
        finally:
            self.in_flight -= 1
        if str(call[1]).endswith("7"):
            raise errors.ContactNotFoundError(status=404)
        return WriteReceipt(identifier=parse_identifier(call[1]))

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        return await self._call("update", identifier, fields)

    async def delete(self, identifier: Identifier | str) -> WriteReceipt:
        return await self._call("delete", identifier)

    async def add_tags(self, identifier: Identifier | str, tags: Iterable[Any]) -> WriteReceipt:
        return await self._call("add_tags", identifier, tuple(tags))


def update_many(gateway: Any, names: Iterable[str], **options: Any) -> Any:
    return bulk.update_many(gateway, ((name, FIELDS) for name in names), **options)


def delete_many(gateway: Any, names: Iterable[str], **options: Any) -> Any:
    return bulk.delete_many(gateway, iter(names), **options)


def add_tags_many(gateway: Any, names: Iterable[str], **options: Any) -> Any:
    return bulk.add_tags_many(gateway, ((name, ["vip"]) for name in names), **options)


ALL = pytest.mark.parametrize("many", [update_many, delete_many, add_tags_many])


@ALL
def test_bulk_write_gives_each_item_one_outcome_and_one_call(many: Callable[..., Any]) -> None:
    async def main() -> None:
        gateway = Air()
        names = [f"id:{number}" for number in range(50)]
        outcomes = [outcome async for outcome in many(gateway, names, concurrency=8)]
        assert sorted(outcome.identifier for outcome in outcomes) == sorted(names)
        assert sorted(call[1] for call in gateway.calls) == sorted(names)
        assert {call[0] for call in gateway.calls} == {many.__name__.removesuffix("_many")}
        assert gateway.peak == 8
        for outcome in outcomes:
            lost = outcome.identifier.endswith("7")
            assert isinstance(outcome, Failure if lost else Success)
            assert isinstance(
                outcome.error if lost else outcome.value, errors.ContactNotFoundError if lost else WriteReceipt
            )

    run(main())


@ALL
def test_bulk_write_left_early_leaves_nothing_in_flight(many: Callable[..., Any]) -> None:
    async def main() -> None:
        gateway = Air()
        async with aclosing(many(gateway, (f"id:{number}" for number in range(10**9)), concurrency=4)) as outcomes:
            async for _ in outcomes:
                break
        assert gateway.in_flight == 0
        assert len(gateway.calls) <= 16

    run(main())


def test_bulk_write_passes_the_arguments_on() -> None:
    async def main() -> None:
        gateway = Air()
        async for _ in bulk.update_many(gateway, [("id:1", FIELDS)]):  # type: ignore[arg-type]
            pass
        async for _ in bulk.add_tags_many(gateway, [("id:2", ("a", "b"))]):  # type: ignore[arg-type]
            pass
        assert gateway.calls == [("update", "id:1", FIELDS), ("add_tags", "id:2", ("a", "b"))]

    run(main())


async def _endless() -> AsyncIterator[str]:
    yield "id:1"
    raise OSError("the input broke")


def test_delete_many_raises_what_its_input_raises_after_the_outcomes() -> None:
    async def main() -> None:
        outcomes = bulk.delete_many(Air(), _endless())
        assert (await outcomes.__anext__()).ok
        with pytest.raises(OSError, match="broke"):
            await outcomes.__anext__()

    run(main())


@ALL
def test_bulk_write_refuses_a_gateway_that_cannot(many: Callable[..., Any]) -> None:
    with pytest.raises(errors.UnsupportedOperationError, match=many.__name__.removesuffix("_many")):
        many(object(), ["id:1"])


@pytest.mark.parametrize("items", ["id:1", {"id:1": FIELDS}, b"id:1"])
def test_bulk_write_refuses_items_that_are_no_list(items: Any) -> None:
    for many in (bulk.update_many, bulk.delete_many, bulk.add_tags_many):
        with pytest.raises(errors.ConfigurationError):
            many(Air(), items)  # type: ignore[arg-type]


@ALL
def test_bulk_write_refuses_a_concurrency_below_one(many: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match="concurrency"):
        many(Air(), [], concurrency=0)
