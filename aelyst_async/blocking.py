"""A blocking facade of a gateway, for scripts, Celery tasks, Django views and notebooks.

::

    with open_gateway("aelyst").blocking() as gateway:
        contact = gateway.get("email:ann@example.com")

The calls run in one event loop in a background thread (`aelyst_async.portal`), so the facade also works where an event
loop already runs, and from several threads at once.

Types: no signature is repeated here. Each operation is a property whose type is computed from the gateway's own method:
a protocol with that one method captures its parameters (PEP 612) and its result. So a `BlockingGateway` has the
signatures of its gateway class without ``async``, also for a third party's class. If the class lacks an operation, mypy
and pyright report an error.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

from typing_extensions import Self

from aelyst_async.bulk import Outcome, add_tags_many, delete_many, get_many, update_many, upsert_many
from aelyst_async.contacts import Contact, ContactFields, Tag, WriteReceipt
from aelyst_async.errors import ConfigurationError
from aelyst_async.gateway import ContactGateway, DeletingGateway, TaggingGateway
from aelyst_async.identifiers import Identifier
from aelyst_async.portal import Feed, Portal, portal

if TYPE_CHECKING:
    from aelyst_async.sync import SyncReport

__all__ = ["BlockingGateway"]

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C", bound=Contact)
C_co = TypeVar("C_co", bound=Contact, covariant=True)
G_co = TypeVar("G_co", covariant=True)


class _Reader(Protocol[C_co]):
    async def get(self, identifier: Identifier | str) -> C_co: ...


class BlockingGateway(Generic[G_co]):
    """A gateway whose methods block the calling thread until they are done.

    `gateway`: an async gateway that has not been used in an event loop. The facade opens it at the first call or by
    ``with``, and closes it in `close`, or when the process exits.

    Methods raise the errors of the gateway's methods. They raise `ConfigurationError` after `close`, in a process that
    was forked after the facade was opened, and in a callback of the gateway (a credential callable, a hook), where the
    call would wait for itself.

    Ctrl-C, and any other exception from a signal handler, cancels the call and is raised after the call has ended.
    """

    def __init__(self, gateway: G_co) -> None:
        if isinstance(gateway, type) or not hasattr(gateway, "get"):
            kind = gateway.__name__ if isinstance(gateway, type) else type(gateway).__name__
            raise ConfigurationError(f"expected a gateway, such as open_gateway(…) returns; got {kind}")
        self._gateway: Any = gateway
        self._lock = threading.Lock()
        self._portal: Portal | None = None
        self._closed = False

    @property
    def gateway(self) -> G_co:
        """The async gateway. Read its attributes, such as ``limiter`` and ``base_url``; call its methods through the
        facade.
        """
        gateway: G_co = self._gateway
        return gateway

    @property
    def get(self: BlockingGateway[_Get[P, T]]) -> Callable[P, T]:
        """Return the contact."""
        return self._method("get")

    @property
    def create(self: BlockingGateway[_Create[P, T]]) -> Callable[P, T]:
        """Create a contact."""
        return self._method("create")

    @property
    def update(self: BlockingGateway[_Update[P, T]]) -> Callable[P, T]:
        """Change the fields given."""
        return self._method("update")

    @property
    def upsert(self: BlockingGateway[_Upsert[P, T]]) -> Callable[P, T]:
        """Update the contact, or create it."""
        return self._method("upsert")

    @property
    def delete(self: BlockingGateway[_Delete[P, T]]) -> Callable[P, T]:
        """Delete the contact."""
        return self._method("delete")

    @property
    def merge(self: BlockingGateway[_Merge[P, T]]) -> Callable[P, T]:
        """Merge two contacts."""
        return self._method("merge")

    @property
    def contacts(self: BlockingGateway[_Contacts[P, T]]) -> Callable[P, Iterator[T]]:
        """Return an iterator over the contacts of the account."""
        return functools.partial(self.iterate, self._attribute("contacts"))

    @property
    def tags(self: BlockingGateway[_Tags[P, T]]) -> Callable[P, T]:
        """Return the tags of a contact."""
        return self._method("tags")

    @property
    def add_tags(self: BlockingGateway[_AddTags[P, T]]) -> Callable[P, T]:
        """Add tags to a contact."""
        return self._method("add_tags")

    @property
    def remove_tags(self: BlockingGateway[_RemoveTags[P, T]]) -> Callable[P, T]:
        """Remove tags from a contact."""
        return self._method("remove_tags")

    @property
    def add_to_list(self: BlockingGateway[_AddToList[P, T]]) -> Callable[P, T]:
        """Put a contact on a list."""
        return self._method("add_to_list")

    @property
    def remove_from_list(self: BlockingGateway[_RemoveFromList[P, T]]) -> Callable[P, T]:
        """Take a contact off a list."""
        return self._method("remove_from_list")

    @property
    def messages(self: BlockingGateway[_Messages[P, T]]) -> Callable[P, T]:
        """Return the messages of a contact."""
        return self._method("messages")

    @property
    def set_lifecycle(self: BlockingGateway[_SetLifecycle[P, T]]) -> Callable[P, T]:
        """Set the lifecycle stage of a contact."""
        return self._method("set_lifecycle")

    @property
    def custom_fields(self: BlockingGateway[_CustomFields[P, T]]) -> Callable[P, T]:
        """Return the definitions of the account's custom fields."""
        return self._method("custom_fields")

    @property
    def request(self: BlockingGateway[_Request[P, T]]) -> Callable[P, T]:
        """Call a route that no method wraps."""
        return self._method("request")

    def get_many(
        self: BlockingGateway[_Reader[C]], identifiers: Iterable[Identifier | str], *, concurrency: int = 64
    ) -> Iterator[Outcome[C]]:
        """Read contacts, at most `concurrency` at a time; yield one `Outcome` each, as they finish.

        See `aelyst_async.get_many`. `identifiers` is read in the calling thread, while that thread waits for the next
        outcome. Closing the iterator cancels the requests in flight.
        """
        return self._many(functools.partial(get_many, concurrency=concurrency), identifiers)

    def upsert_many(
        self: BlockingGateway[ContactGateway],
        pairs: Iterable[tuple[Identifier | str, ContactFields]],
        *,
        concurrency: int = 64,
    ) -> Iterator[Outcome[WriteReceipt]]:
        """Upsert (identifier, fields) pairs; yield one `Outcome` each. See `aelyst_async.upsert_many`, `get_many`."""
        return self._many(functools.partial(upsert_many, concurrency=concurrency), pairs)

    def update_many(
        self: BlockingGateway[ContactGateway],
        pairs: Iterable[tuple[Identifier | str, ContactFields]],
        *,
        concurrency: int = 64,
    ) -> Iterator[Outcome[WriteReceipt]]:
        """Update existing contacts from (identifier, fields) pairs. See `aelyst_async.update_many` and `get_many`."""
        return self._many(functools.partial(update_many, concurrency=concurrency), pairs)

    def delete_many(
        self: BlockingGateway[DeletingGateway], identifiers: Iterable[Identifier | str], *, concurrency: int = 64
    ) -> Iterator[Outcome[WriteReceipt]]:
        """Delete contacts. See `aelyst_async.delete_many` and `get_many`."""
        return self._many(functools.partial(delete_many, concurrency=concurrency), identifiers)

    def add_tags_many(
        self: BlockingGateway[TaggingGateway],
        pairs: Iterable[tuple[Identifier | str, Iterable[Tag | str]]],
        *,
        concurrency: int = 64,
    ) -> Iterator[Outcome[WriteReceipt]]:
        """Add tags from (identifier, tags) pairs. See `aelyst_async.add_tags_many` and `get_many`."""
        return self._many(functools.partial(add_tags_many, concurrency=concurrency), pairs)

    def sync(
        self: BlockingGateway[ContactGateway],
        rows: Any,
        *,
        dry_run: bool = False,
        remote: bool = False,
        **settings: Any,
    ) -> SyncReport:
        """Sync `rows` into the API and return the report. `settings` are the keyword arguments of `ContactSync`.

        A one-time iterable is read in the calling thread. An interrupted sync keeps its journal: the same call resumes.
        """
        from aelyst_async.sync import ContactSync

        sync = ContactSync(self._gateway, **settings)
        lazy = isinstance(rows, Iterator)
        feed: Feed[Any] = Feed(rows if lazy else ())
        return self._open().feed(lambda: sync.run(feed if lazy else rows, dry_run=dry_run, remote=remote), feed)

    def run(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function in the facade's event loop and return its result.

        For methods that the facade does not have: ``facade.run(facade.gateway.account)``.
        """
        return self._open().run(lambda: function(*args, **kwargs))

    def iterate(self, function: Callable[P, AsyncIterable[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Iterate over the async iterable that `function` returns."""
        return self._open().iterate(lambda: function(*args, **kwargs), Feed(()))

    def close(self) -> None:
        """Close the gateway. Idempotent. In a forked child it does nothing, because the connections belong to the
        parent.
        """
        with self._lock:
            opened, self._portal, self._closed = self._portal, None, True
        if opened is not None and opened.alive:
            opened.run(self._exit)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<BlockingGateway of {self._gateway!r}>"

    def _attribute(self, name: str) -> Any:
        try:
            return getattr(self._gateway, name)
        except AttributeError:
            raise AttributeError(f"{type(self._gateway).__name__} has no operation {name!r}") from None

    def _method(self, name: str) -> Callable[..., Any]:
        method = self._attribute(name)

        @functools.wraps(method)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return self.run(method, *args, **kwargs)

        return blocking

    def _many(self, function: Callable[[Any, Any], AsyncIterable[T]], items: Iterable[Any]) -> Iterator[T]:
        if isinstance(items, AsyncIterable) or not isinstance(items, Iterable):
            raise ConfigurationError(f"expected an iterable, got {type(items).__name__}")
        function(self._gateway, items)  # checks the arguments now; the work starts with the iteration
        feed: Feed[Any] = Feed(items)
        return self._open().iterate(lambda: function(self._gateway, feed), feed)

    def _open(self) -> Portal:
        opened = self._portal
        if opened is not None:
            opened.check_usable()
            return opened
        with self._lock:
            if self._closed:
                raise ConfigurationError("this blocking gateway is closed; make a new one")
            if self._portal is None:
                opened = portal()
                opened.run(self._enter)
                self._portal = opened
            return self._portal

    async def _enter(self) -> None:
        enter = getattr(self._gateway, "__aenter__", None)  # a third party's gateway may have none
        if enter is not None:
            await enter()

    async def _exit(self) -> None:
        leave = getattr(self._gateway, "__aexit__", None)
        if leave is not None:
            await leave(None, None, None)


# One protocol for each operation. `P` is bound to its parameters, `T_co` to its result.


class _Get(Protocol[P, T_co]):
    @property
    def get(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Create(Protocol[P, T_co]):
    @property
    def create(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Update(Protocol[P, T_co]):
    @property
    def update(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Upsert(Protocol[P, T_co]):
    @property
    def upsert(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Delete(Protocol[P, T_co]):
    @property
    def delete(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Merge(Protocol[P, T_co]):
    @property
    def merge(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Tags(Protocol[P, T_co]):
    @property
    def tags(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _AddTags(Protocol[P, T_co]):
    @property
    def add_tags(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _RemoveTags(Protocol[P, T_co]):
    @property
    def remove_tags(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _AddToList(Protocol[P, T_co]):
    @property
    def add_to_list(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _RemoveFromList(Protocol[P, T_co]):
    @property
    def remove_from_list(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Messages(Protocol[P, T_co]):
    @property
    def messages(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Contacts(Protocol[P, T_co]):
    @property
    def contacts(self) -> Callable[P, AsyncIterable[T_co]]: ...


class _SetLifecycle(Protocol[P, T_co]):
    @property
    def set_lifecycle(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _CustomFields(Protocol[P, T_co]):
    @property
    def custom_fields(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...


class _Request(Protocol[P, T_co]):
    @property
    def request(self) -> Callable[P, Coroutine[Any, Any, T_co]]: ...
