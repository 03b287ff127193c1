# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Read by mypy --strict and pyright, never run: typical code of users with bulk outcomes."""

from __future__ import annotations

from typing_extensions import assert_type

from aelyst_async import (
    DeletingGateway,
    Failure,
    Outcome,
    Success,
    TaggingGateway,
    WriteReceipt,
    add_tags_many,
    delete_many,
    get_many,
    open_gateway,
    update_many,
    upsert_many,
)
from aelyst_async.errors import ContactsError
from aelyst_providers.aelyst import AelystContact, AelystFields, CustomField


async def an_outcome_narrows_by_ok() -> list[str]:
    names: list[str] = []
    async with open_gateway("aelyst") as gateway:
        async for outcome in get_many(gateway, ["email:ann@example.com", "id:2"]):
            if outcome.ok:
                assert_type(outcome.value, AelystContact)
                assert_type(outcome.value.custom_fields, tuple[CustomField, ...])
                names.append(outcome.value.first_name or "")
                names.append(outcome.value.frist_name)  # type: ignore[attr-defined]
            else:
                assert_type(outcome.error, ContactsError)
                names.append(str(outcome.error))
    return names


async def an_outcome_narrows_by_match() -> None:
    async with open_gateway("aelyst") as gateway:
        pairs = [(f"email:{number}@example.com", AelystFields(custom_fields={"Seats": number})) for number in range(9)]
        async for outcome in upsert_many(gateway, pairs):
            match outcome:
                case Success(_, receipt):
                    assert_type(receipt, WriteReceipt)
                    receipt.craeted  # type: ignore[attr-defined]  # noqa: B018
                case Failure(_, error):
                    assert_type(error, ContactsError)


def an_outcome_in_a_signature(outcome: Outcome[AelystContact]) -> str | None:
    return outcome.value.email if outcome.ok else None


async def other_bulk_writes(deleting: DeletingGateway, tagging: TaggingGateway) -> None:
    async with open_gateway("aelyst") as gateway:
        async for updated in update_many(gateway, [("id:1", AelystFields(first_name="Ann"))], concurrency=8):
            assert_type(updated, Outcome[WriteReceipt])
        update_many(gateway, ["id:1"])  # type: ignore[list-item]
    async for deleted in delete_many(deleting, ["id:1", "id:2"]):
        if deleted.ok:
            assert_type(deleted.value, WriteReceipt)
    async for tagged in add_tags_many(tagging, [("id:1", ["vip"]), ("id:2", ["vip", "lead"])]):
        assert_type(tagged.ok, bool)
    delete_many(tagging, ["id:1"])  # type: ignore[arg-type]
