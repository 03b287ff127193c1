"""Which provider satisfies which protocol, checked with `isinstance` and by signature."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import aelyst_async
from aelyst_async import (
    ContactGateway,
    ContactReader,
    DeletingGateway,
    ListGateway,
    ListingGateway,
    MessageGateway,
    TagGateway,
    TaggingGateway,
    errors,
)
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway

ALL = [
    ContactReader,
    ContactGateway,
    DeletingGateway,
    ListGateway,
    ListingGateway,
    TagGateway,
    TaggingGateway,
    MessageGateway,
]
SATISFIED: dict[Any, set[Any]] = {
    AelystGateway: {
        *(ContactReader, ContactGateway, DeletingGateway, ListingGateway, TagGateway, TaggingGateway),
    },
    DmChampGateway: {ContactReader, ContactGateway, ListGateway, TagGateway, MessageGateway},
    CallabGateway: {ContactReader},
}


@pytest.mark.parametrize("kind", SATISFIED)
def test_gateways_satisfy_exactly_their_protocols(kind: Any) -> None:
    assert {protocol for protocol in ALL if isinstance(kind("t"), protocol)} == SATISFIED[kind]


@pytest.mark.parametrize("kind", SATISFIED)
@pytest.mark.parametrize("protocol", ALL)
def test_gateway_methods_match_the_protocol_signatures(kind: Any, protocol: Any) -> None:
    """A method takes at least the parameters of its protocol, under the same names."""
    if protocol not in SATISFIED[kind]:
        return
    for name, promised in inspect.getmembers(protocol, inspect.isfunction):
        if name.startswith("_"):
            continue
        mine = inspect.signature(getattr(kind, name)).parameters
        for parameter in inspect.signature(promised).parameters.values():
            assert mine[parameter.name].kind is parameter.kind
            assert mine[parameter.name].default == parameter.default
        assert inspect.iscoroutinefunction(getattr(kind, name)) is inspect.iscoroutinefunction(promised)


@pytest.mark.parametrize("kind", SATISFIED)
def test_only_writable_gateways_have_a_schema(kind: Any) -> None:
    assert hasattr(kind, "schema") is (ContactGateway in SATISFIED[kind])
    assert kind.provider in {"aelyst", "dmchamp", "callab"}


def test_package_exports_the_promised_names() -> None:
    promised = {
        "ContactReader", "ContactGateway", "ListGateway", "TagGateway", "MessageGateway", "Contact", "ContactFields",
        "DeletingGateway", "ListingGateway", "TaggingGateway", "Page",
        "UNSET", "WriteReceipt", "Tag", "Message", "ContactId", "Email", "Phone", "parse_identifier", "RateLimiter",
        "RetryPolicy", "open_gateway", "get_many", "upsert_many", "Outcome", "errors",
    }  # fmt: skip
    assert promised <= set(aelyst_async.__all__)
    for name in aelyst_async.__all__:
        assert getattr(aelyst_async, name) is not None
    assert aelyst_async.errors is errors
    assert promised <= set(dir(aelyst_async))
