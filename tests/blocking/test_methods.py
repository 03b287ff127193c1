"""Each method of the facade reaches the gateway's method of that name, with all arguments."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async import BlockingGateway, Contact


class Recorder:
    """A gateway whose methods return their name and arguments."""

    provider = "recorder"

    async def get(self, identifier: Any) -> Contact:
        return Contact(id=str(identifier))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "aclose":
            raise AttributeError(name)

        async def method(*args: Any, **kwargs: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
            return name, args, kwargs

        return method


@pytest.mark.parametrize(
    "name",
    ["create", "update", "upsert", "delete", "merge", "tags", "add_tags", "remove_tags", "add_to_list",
     "remove_from_list", "messages", "set_lifecycle", "custom_fields", "request"],
)  # fmt: skip
def test_methods_pass_their_arguments_on(name: str) -> None:
    facade: Any = BlockingGateway(Recorder())
    try:
        assert getattr(facade, name)("id:1", 2, key="x") == (name, ("id:1", 2), {"key": "x"})
    finally:
        facade.close()


def test_the_gateway_behind_the_facade() -> None:
    gateway = Recorder()
    assert BlockingGateway(gateway).gateway is gateway
