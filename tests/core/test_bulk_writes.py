"""`update_many`, `delete_many`, `add_tags_many`: one call per item, with the guarantees of `get_many`.

One shared function implements order, bounds and cancellation; `test_bulk` tests it.
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


class FakeGateway:
    """Records its calls. An id that ends in 7 is not found."""

    provider = "fake"

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
def test_bulk_writes_make_one_call_and_one_outcome_per_item(many: Callable[..., Any]) -> None:
    async def main() -> None:
        gateway = FakeGateway()
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
def test_bulk_writes_cancel_calls_when_closed_early(many: Callable[..., Any]) -> None:
    async def main() -> None:
        gateway = FakeGateway()
        async with aclosing(many(gateway, (f"id:{number}" for number in range(10**9)), concurrency=4)) as outcomes:
            async for _ in outcomes:
                break
        assert gateway.in_flight == 0
        assert len(gateway.calls) <= 16

    run(main())


def test_bulk_writes_pass_their_arguments_to_the_gateway() -> None:
    async def main() -> None:
        gateway = FakeGateway()
        async for _ in bulk.update_many(gateway, [("id:1", FIELDS)]):  # type: ignore[arg-type]
            pass
        async for _ in bulk.add_tags_many(gateway, [("id:2", ("a", "b"))]):  # type: ignore[arg-type]
            pass
        assert gateway.calls == [("update", "id:1", FIELDS), ("add_tags", "id:2", ("a", "b"))]

    run(main())


async def _failing_input() -> AsyncIterator[str]:
    yield "id:1"
    raise OSError("the input broke")


def test_delete_many_raises_the_input_error_after_the_outcomes() -> None:
    async def main() -> None:
        outcomes = bulk.delete_many(FakeGateway(), _failing_input())
        assert (await outcomes.__anext__()).ok
        with pytest.raises(OSError, match="broke"):
            await outcomes.__anext__()

    run(main())


@ALL
def test_bulk_writes_reject_gateways_without_the_operation(many: Callable[..., Any]) -> None:
    with pytest.raises(errors.UnsupportedOperationError, match=many.__name__.removesuffix("_many")):
        many(object(), ["id:1"])


@pytest.mark.parametrize("items", ["id:1", {"id:1": FIELDS}, b"id:1"])
def test_bulk_writes_reject_strings_and_mappings(items: Any) -> None:
    for many in (bulk.update_many, bulk.delete_many, bulk.add_tags_many):
        with pytest.raises(errors.ConfigurationError):
            many(FakeGateway(), items)  # type: ignore[arg-type]


@ALL
def test_bulk_writes_reject_concurrency_below_one(many: Callable[..., Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match="concurrency"):
        many(FakeGateway(), [], concurrency=0)
