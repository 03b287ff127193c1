"""``gateway.with_raw_response``: returns the response together with the result of a call.

No signature is repeated here: as in `aelyst_async.blocking`, the type of an operation is computed from the gateway's
own method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import attrs

from aelyst_async.errors import UnsupportedOperationError
from aelyst_async.transport.messages import Response, request_id

if TYPE_CHECKING:
    from aelyst_async.blocking import (
        _AddTags,
        _AddToList,
        _Create,
        _Delete,
        _Get,
        _Merge,
        _Messages,
        _RemoveFromList,
        _RemoveTags,
        _Tags,
        _Update,
        _Upsert,
    )

__all__ = ["RawCalls", "RawResponse"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
G = TypeVar("G")
G_co = TypeVar("G_co", covariant=True)
P = ParamSpec("P")


@attrs.frozen(kw_only=True, eq=False)
class RawResponse(Generic[T]):
    """The last response of a call, and its result.

    ``status`` is an `int`, ``headers`` are case-insensitive, ``body`` is decompressed `bytes`, ``value`` is the call's
    result. Headers and body are not redacted, so the repr does not contain them.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    value: T = attrs.field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, if it sent one."""
        return request_id(self.headers)


class RawCalls(Generic[G_co]):
    """A gateway's calls, each of which returns a `RawResponse`. If a call sends several requests, it is the last
    response.

    Pass an operation that has no property here as a method: ``raw(AelystGateway.set_lifecycle, "id:1", "Lead")``.
    """

    def __init__(self, gateway: G_co, listening: Callable[[list[Response]], Any]) -> None:
        self._gateway = gateway
        self._listening = listening

    @property
    def get(self: RawCalls[_Get[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Return the contact."""
        return self._method("get")

    @property
    def create(self: RawCalls[_Create[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Create a contact."""
        return self._method("create")

    @property
    def update(self: RawCalls[_Update[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Change the fields given."""
        return self._method("update")

    @property
    def upsert(self: RawCalls[_Upsert[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Update the contact, or create it."""
        return self._method("upsert")

    @property
    def delete(self: RawCalls[_Delete[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Delete the contact."""
        return self._method("delete")

    @property
    def merge(self: RawCalls[_Merge[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Merge two contacts."""
        return self._method("merge")

    @property
    def tags(self: RawCalls[_Tags[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Return the tags of a contact."""
        return self._method("tags")

    @property
    def add_tags(self: RawCalls[_AddTags[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Add tags to a contact."""
        return self._method("add_tags")

    @property
    def remove_tags(self: RawCalls[_RemoveTags[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Remove tags from a contact."""
        return self._method("remove_tags")

    @property
    def add_to_list(self: RawCalls[_AddToList[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Put a contact on a list."""
        return self._method("add_to_list")

    @property
    def remove_from_list(self: RawCalls[_RemoveFromList[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Take a contact off a list."""
        return self._method("remove_from_list")

    @property
    def messages(self: RawCalls[_Messages[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Return the messages of a contact."""
        return self._method("messages")

    @property
    def request(self: RawCalls[_Request[P, T]]) -> Callable[P, Coroutine[Any, Any, RawResponse[T]]]:
        """Call a route that no method wraps."""
        return self._method("request")

    async def __call__(
        self: RawCalls[G], method: Callable[Concatenate[G, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> RawResponse[T]:
        """Call `method` of the gateway's class; return its result with the last response.

        Raises the errors of the call, and `UnsupportedOperationError` if it sent no request.
        """
        answers: list[Response] = []
        value = await method(self._listening(answers), *args, **kwargs)
        if not answers:
            raise UnsupportedOperationError("with_raw_response: the call sent no request, so it has no response")
        last = answers[-1]
        return RawResponse(status=last.status, headers=last.headers, body=last.body, value=value)

    def _method(self, name: str) -> Callable[..., Any]:
        method = getattr(type(self._gateway), name, None)
        if method is None:
            raise AttributeError(f"{type(self._gateway).__name__} has no operation {name!r}")
        return partial(self, method)

    def __repr__(self) -> str:
        return f"<raw responses of {self._gateway!r}>"


class _Request(Protocol[P, T_co]):
    @property
    def request(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...
