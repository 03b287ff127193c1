"""Credentials: where they come from and how they ride on a request.

A credential is a text, or a callable (plain or async) that returns one: it is asked before every attempt, so a
rotated credential is used at once. An `Auth` says where the text goes. Neither shows it in ``repr``.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from aelyst_async.errors import ConfigurationError

__all__ = ["Auth", "BearerAuth", "Credential", "CredentialSource", "QueryAuth", "sealed"]

CredentialSource: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]


class Secret(str):
    """A credential's text that does not show itself in a ``repr``: a traceback printed with its frames' variables, as
    error trackers do, has ``'***'`` in its place.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class _Unusable:
    """Stands for what was given as a credential and is neither a text nor a callable: only its type is told."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def sealed(source: Any) -> Any:
    """Return `source` in a form that does not show itself in a ``repr``.

    For whoever takes a credential as an argument: ``token = sealed(token)`` first, so that an error raised later, of a
    wrong setting say, has no frame with the credential in it. Checks nothing; `Credential` does.
    """
    if isinstance(source, (Secret, _Unusable)) or callable(source):
        return source
    return Secret(source) if isinstance(source, str) else _Unusable(type(source).__name__)


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
    """``?name=<key>``: the key is part of the URL, which is why URLs with a query are never shown."""

    def __init__(self, name: str) -> None:
        self._name = name

    def headers(self, secret: str) -> dict[str, str]:  # noqa: ARG002 - the protocol's signature
        """Return nothing."""
        return {}

    def query(self, secret: str) -> tuple[tuple[str, str], ...]:
        """Return the parameter."""
        return ((self._name, secret),)


class Credential:
    """A credential's source, checked. Raises `ConfigurationError` for one that cannot be used."""

    __slots__ = ("_name", "_source")

    def __init__(self, source: CredentialSource, name: str) -> None:
        self._name = name
        source = sealed(source)
        self._source: Any = source if callable(source) else _check(source, name)

    async def resolve(self) -> Secret:
        """Return the credential as it is now. Raises `ConfigurationError`."""
        if isinstance(self._source, Secret):
            return self._source
        failure: str | None = None
        value: object = None
        try:
            value = self._source()
            value = sealed(await value if inspect.isawaitable(value) else value)
        except Exception as error:  # noqa: BLE001 - whatever a vault client raises may hold the secret
            failure = type(error).__name__
        if failure is not None:
            raise ConfigurationError(f"{self._name}: the callable that should return it raised {failure}")
        return _check(value, self._name)

    def __repr__(self) -> str:
        return f"<Credential {self._name}: ***>"


def fingerprint(secret: str, *context: str, key: bytes = b"") -> str:
    """Return 32 hex digits that name the credential in its context without telling it (keyed BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=16, key=key[:64], person=b"aelyst-async")
    for part in (*context, secret):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _check(value: object, name: str) -> Secret:
    if not isinstance(value, Secret):
        got = value.kind if isinstance(value, _Unusable) else type(value).__name__
        raise ConfigurationError(f"{name}: expected text or a callable returning text, got {got}")
    if not value:
        raise ConfigurationError(f"{name} is empty")
    if not all("!" <= character <= "~" for character in value):
        # A line break would end the header; a blank around a key read from a file is the usual accident.
        raise ConfigurationError(f"{name} holds a blank, a line break or a character outside ASCII; strip it")
    return value
