"""Finds providers by name, and opens gateways with settings from the environment.

A provider is a class under the entry-point group ``aelyst_async.providers`` (name → gateway class), so a third party
adds one by publishing a package. Credential and base URL come from the environment by one rule: the first parameter of
the class is the credential, and the variables are ``NAME_PARAMETER`` and ``NAME_BASE_URL`` in upper case. So
``AelystGateway(token, …, base_url=…)``, published as ``aelyst``, reads ``AELYST_TOKEN`` and ``AELYST_BASE_URL``;
``DmChampGateway(api_key, …)`` reads ``DMCHAMP_API_KEY``.

Types: at run time this module knows no provider. For type checkers, `open_gateway` has an overload for each name that
this distribution publishes, with imports under ``TYPE_CHECKING``. A stub file would hide the implementation from the
checkers, and a protocol would lose the provider's own models. For a third party's provider, pass the gateway class
instead of the name to get its type.
"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from aelyst_async.errors import ConfigurationError
from aelyst_async.gateway import ContactReader
from aelyst_async.transport.credentials import Credential, Secret, sealed, shielded

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from aelyst_providers.aelyst import AelystGateway, RespondIoGateway
    from aelyst_providers.callab import CallabGateway
    from aelyst_providers.dmchamp import DmChampGateway

__all__ = ["credential_variable", "gateway_class", "open_gateway", "provider_names"]

G = TypeVar("G", bound=ContactReader)

_GROUP = "aelyst_async.providers"


def _found() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # slow to import

    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def provider_names() -> tuple[str, ...]:
    """Return the names of the installed providers, sorted."""
    return tuple(sorted(_found()))


def gateway_class(provider: str) -> type[Any]:
    """Return the gateway class of a provider. Raises `ConfigurationError` for a name that is not installed."""
    entry = _found().get(provider)
    if entry is None:
        known = ", ".join(provider_names()) or "none: is aelyst-async installed with pip?"
        raise ConfigurationError(f"no provider named {provider!r}; installed: {known}")
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the provider {provider!r} ({entry.value}) cannot be imported: {error}") from error
    if not isinstance(kind, type):
        raise ConfigurationError(f"the provider {provider!r} ({entry.value}) is not a class")
    return kind


def credential_variable(provider: str, kind: type[Any]) -> tuple[str, str]:
    """Return the name of the credential parameter of `kind`, and of the environment variable that holds it."""
    parameter = next(iter(inspect.signature(kind).parameters), "token")
    return parameter, _variable(provider, parameter)


@overload
def open_gateway(provider: Literal["aelyst"], /, **settings: Any) -> AelystGateway: ...
@overload
def open_gateway(provider: Literal["dmchamp"], /, **settings: Any) -> DmChampGateway: ...
@overload
def open_gateway(provider: Literal["callab"], /, **settings: Any) -> CallabGateway: ...
@overload
def open_gateway(provider: Literal["respondio"], /, **settings: Any) -> RespondIoGateway: ...
@overload
def open_gateway(provider: type[G], /, **settings: Any) -> G: ...
@overload
def open_gateway(provider: str, /, **settings: Any) -> Any: ...
def open_gateway(provider: str | type[Any], /, **settings: Any) -> Any:
    """Return a gateway of `provider`, with its credential and base URL from the environment.

    ``open_gateway("aelyst")`` reads ``AELYST_TOKEN`` and, if set, ``AELYST_BASE_URL``. Keyword arguments are those of
    the class and take precedence. This is a plain function: no connection is opened before the first call. The result
    is at least a `ContactReader`; use it with ``async with``.

    Type checkers know the gateway's class for the names "aelyst", "dmchamp", "callab" and "respondio". For any other
    provider pass its gateway class instead of the name: ``open_gateway(AcmeGateway)``. The class need not be published;
    the variables begin with its ``provider`` attribute. For a name that is known only at run time, the type is `Any`.

    Raises `ConfigurationError` for an unknown provider, a missing credential, or an invalid setting.
    """
    if isinstance(provider, type):
        kind, provider = provider, _name_of(provider)
    else:
        kind = gateway_class(provider)
    parameter, variable = credential_variable(provider, kind)
    if parameter not in settings:
        if not os.environ.get(variable):
            raise ConfigurationError(f"{provider}: no credential; set {variable}, or pass {parameter}=…")
        settings[parameter] = os.environ[variable]
    # If the code below raises, no frame of the traceback may have the credential in a variable.
    settings[parameter] = secret = sealed(settings[parameter])
    parameters = inspect.signature(kind).parameters
    base_url = os.environ.get(_variable(provider, "base_url"))
    if base_url and "base_url" in parameters:
        settings.setdefault("base_url", base_url)
    base_url = None
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    unknown = [] if takes_any else sorted(set(settings) - set(parameters))
    if unknown:
        settings.clear()
        raise ConfigurationError(
            f"{provider}: no setting named {', '.join(unknown)}; the settings are {', '.join(parameters)}"
        )
    try:
        if isinstance(secret, Secret):  # a third party's class expects the credential unwrapped
            gateway = shielded(lambda: kind(**{**settings, parameter: secret.reveal()}))
        else:
            Credential(secret, f"{provider} {parameter}")  # raises if it is neither a str nor a callable
            gateway = shielded(lambda: kind(**settings))
    except ConfigurationError:
        settings.clear()  # a base URL may contain a password
        raise
    if not isinstance(gateway, ContactReader):
        raise ConfigurationError(f"the provider {provider!r} ({kind.__name__}) has no `provider` or no `get`")
    return gateway


def _name_of(kind: type[Any]) -> str:
    name = getattr(kind, "provider", None)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f'{kind.__name__} needs a class attribute such as provider = "acme"')
    return name


def _variable(provider: str, parameter: str) -> str:
    name = "".join(character if character.isalnum() else "_" for character in provider)
    return f"{name}_{parameter}".upper()
