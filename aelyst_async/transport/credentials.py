"""Credentials: their sources, and their place in a request.

A credential is a `str`, or a callable (plain or async) that returns one. The callable is called before every attempt,
and once more after a 401, so a rotated credential is used at once. It may have an attribute ``account``: a `str` that
names the account and does not change with the token. `Transport.account`, and so a sync's journal, then depends on that
name instead of the token.

An `Auth` puts the credential into a header or the query. Inside the library a credential is a `Secret`, which is not a
`str` and never shows its value. Only one frame reveals it, the one that adds it to the request.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from aelyst_async.errors import ConfigurationError, ContactsError, RequestTimeoutError

__all__ = ["Auth", "BearerAuth", "Credential", "CredentialSource", "QueryAuth", "Secret", "bare", "sealed", "shielded"]

CredentialSource: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")


class Secret:
    """A credential whose repr is ``***``, also in tools that record the variables of a traceback's frames.

    Compared by value. It cannot be pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the credential. Do not store it in a variable of a frame that may raise."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a credential cannot be pickled")


class _Unusable:
    """A credential that is neither a `str` nor a callable. Stores only the name of its type."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def sealed(source: Any) -> Any:
    """Return a `str` as a `Secret`, a callable unchanged, and a placeholder for anything else.

    A function with a credential argument begins with ``token = sealed(token)``, so that later errors, such as one for a
    wrong setting, have no frame with the credential. `Credential` checks the value.
    """
    if isinstance(source, (Secret, _Unusable)) or callable(source):
        return source
    return Secret(source) if isinstance(source, str) else _Unusable(type(source).__name__)


def bare(error: E) -> E:
    """Return `error` without its traceback, cause and context, which may contain a credential.

    For errors that leave a function with access to a credential. Raise the result outside of ``except``, so that Python
    does not set its context again.
    """
    for inner in getattr(error, "exceptions", ()):  # if it is an exception group
        bare(inner)
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def shielded(make: Callable[[], T]) -> T:
    """Return the result of `make`, whose frames may have a credential; our errors are raised without these frames."""
    refusal: ContactsError
    try:
        return make()
    except ContactsError as error:
        refusal = bare(error)
    try:
        raise refusal
    finally:
        del refusal


class Auth(Protocol):
    """Puts a credential on a request."""

    def headers(self, secret: str) -> dict[str, str]:
        """Return the headers to add."""
        ...

    def query(self, secret: str) -> tuple[tuple[str, str], ...]:
        """Return the query parameters to add."""
        ...


class BearerAuth:
    """``Authorization: Bearer <token>`` (RFC 6750, 2.1)."""

    def headers(self, secret: str) -> dict[str, str]:
        """Return the Authorization header."""
        return {"Authorization": f"Bearer {secret}"}

    def query(self, secret: str) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the protocol's signature
        """Return nothing."""
        return ()


class QueryAuth:
    """``?name=<key>``: the key is part of the URL, so URLs are never shown with their query."""

    def __init__(self, name: str) -> None:
        self._name = name

    def headers(self, secret: str) -> dict[str, str]:  # noqa: ARG002 - the protocol's signature
        """Return nothing."""
        return {}

    def query(self, secret: str) -> tuple[tuple[str, str], ...]:
        """Return the parameter."""
        return ((self._name, secret),)


class Credential:
    """A checked source of a credential. Raises `ConfigurationError` for an invalid one."""

    __slots__ = ("_name", "_source", "account")

    account: str | None
    """The name of the account that the source declares, or None."""

    def __init__(self, source: CredentialSource | Secret, name: str) -> None:
        self._name = name
        source = sealed(source)
        self.account = None
        if not callable(source):
            self._source: Any = _checked(source, name)
            return
        self._source = source
        account = getattr(source, "account", None)
        if account == "":
            raise ConfigurationError(f"{name}: the callable's `account` is empty")
        if isinstance(account, str):  # an attribute of another type, such as a method, has another meaning
            self.account = account

    @property
    def fixed(self) -> bool:
        """Whether the credential never changes."""
        return isinstance(self._source, Secret)

    async def resolve(self, within: float) -> Secret:
        """Return the current credential.

        Raises `ConfigurationError` if the callable fails or returns an invalid value, and `RequestTimeoutError`, with
        ``attempts`` 0, if an async callable takes longer than `within` seconds. A plain callable cannot be interrupted:
        it blocks the event loop.
        """
        if isinstance(self._source, Secret):
            return self._source
        failure: BaseException
        try:
            return _checked(await _asked(self._source, within), self._name)
        except ConfigurationError as error:
            failure = bare(error)
        except _TooSlowError:
            message = f"{self._name}: the callable that should return it took longer than {within:g} s"
            failure = RequestTimeoutError(message, attempts=0)
        except Exception as error:  # noqa: BLE001 - what a vault's client raises may hold the secret
            problem = f"{self._name}: the callable that should return it raised {type(error).__name__}"
            failure = ConfigurationError(problem)
        except BaseException as error:  # noqa: BLE001 - cancelled: the frames of the callable may hold the secret
            failure = bare(error)
        try:
            raise failure
        finally:
            del failure  # breaks the reference cycle of frame, traceback and error

    def __repr__(self) -> str:
        return f"<Credential {self._name}: ***>"


class _TooSlowError(Exception):
    pass


async def _asked(source: Callable[[], Any], within: float) -> Any:
    """Call the callable. Its result is sealed before anything can raise."""
    answer = source()
    if not inspect.isawaitable(answer):
        return sealed(answer)
    # A separate task, so that a callable that ignores its cancellation does not delay the call. Its result is sealed,
    # because asyncio's debug log shows results.
    task = asyncio.ensure_future(_sealed_later(answer))
    try:
        await asyncio.wait((task,), timeout=within)
    finally:
        if not task.done():
            task.add_done_callback(_ignored)
            task.cancel()
    if not task.done():
        raise _TooSlowError
    return task.result()


async def _sealed_later(answer: Awaitable[Any]) -> Any:
    return sealed(await answer)


def _ignored(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # so that asyncio does not log it as never retrieved


def fingerprint(secret: str, *context: str, key: bytes = b"") -> str:
    """Return a keyed hash (BLAKE2b) of the credential and its context as 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16, key=key[:64], person=b"aelyst-async")
    for part in (*context, secret):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _checked(value: object, name: str) -> Secret:
    if not isinstance(value, Secret):
        got = value.kind if isinstance(value, _Unusable) else type(value).__name__
        raise ConfigurationError(f"{name}: expected a str or a callable that returns one, got {got}")
    if value == Secret(""):
        raise ConfigurationError(f"{name} is empty")
    if not all("!" <= character <= "~" for character in value.reveal()):
        # A line break would end the header. Blanks around a key are usual if it was read from a file.
        raise ConfigurationError(f"{name} contains a blank, a line break or a character outside ASCII; strip it")
    return value
