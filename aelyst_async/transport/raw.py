"""``gateway.with_raw_response``: the answer itself beside the result that the gateway makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import attrs

from aelyst_async.errors import UnsupportedOperationError
from aelyst_async.transport.messages import Response, request_id

if TYPE_CHECKING:
    from aelyst_async.adapter import HttpGateway

__all__ = ["RawCalls", "RawResponse"]

T = TypeVar("T")
G = TypeVar("G", bound="HttpGateway")
P = ParamSpec("P")


@attrs.frozen(kw_only=True, eq=False)
class RawResponse(Generic[T]):
    """The last answer of a call: ``status``, ``headers`` (case-insensitive), ``body`` (unpacked bytes), and ``value``,
    what the call returns by itself. Headers and body are as the server sent them, so they are not in the repr.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    value: T = attrs.field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request, if it sent one."""
        return request_id(self.headers)


class RawCalls(Generic[G]):
    """Makes a gateway's calls return a `RawResponse`.

    ``raw.get("id:1")`` is a `RawResponse` of unchecked type; ``raw(AelystGateway.get, "id:1")`` is the same call with
    the types of the method. Methods that are no coroutine functions (iterators) have no one response.
    """

    def __init__(self, gateway: G, listening: Callable[[list[Response]], G]) -> None:
        self._gateway = gateway
        self._listening = listening

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, RawResponse[Any]]]:
        method = None if name.startswith("_") else getattr(type(self._gateway), name, None)
        if method is None:
            raise AttributeError(f"{type(self._gateway).__name__} has no method {name!r}")
        if not inspect.iscoroutinefunction(method):
            raise UnsupportedOperationError(f"with_raw_response: {name} is no call with one response")
        return partial(self, method)

    async def __call__(
        self, method: Callable[Concatenate[G, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> RawResponse[T]:
        """Call `method` of the gateway's class; return its result with the last answer behind it.

        Raises what the call raises, and `UnsupportedOperationError` where it sent no request.
        """
        answers: list[Response] = []
        value = await method(self._listening(answers), *args, **kwargs)
        if not answers:
            raise UnsupportedOperationError("with_raw_response: the call sent no request, so it has no response")
        last = answers[-1]
        return RawResponse(status=last.status, headers=last.headers, body=last.body, value=value)

    def __repr__(self) -> str:
        return f"<raw responses of {self._gateway!r}>"
