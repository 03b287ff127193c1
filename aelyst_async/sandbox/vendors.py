"""Find the installed sandboxes: one `Vendor` for each entry point of the group ``aelyst_async.sandboxes``.

The entry point's name is the vendor's name. A package adds its own sandbox by publishing an entry point (see
`aelyst_async.sandbox.vendor`). Nothing else in this package names a vendor.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from aelyst_async.errors import ConfigurationError
from aelyst_async.sandbox.vendor import Vendor

__all__ = ["default_vendor", "find_vendor", "vendors"]

_GROUP = "aelyst_async.sandboxes"
_OWN = "aelyst_providers."
"""Package of the sandboxes that are published with this distribution."""


@functools.cache
def vendors() -> Mapping[str, Vendor]:
    """Return every installed vendor by name: those of this distribution first, then the others, each group by name.

    Raises `ConfigurationError` if there is none, or if one of them cannot be imported or is no `Vendor`.
    """
    from importlib.metadata import entry_points  # slow to import

    found: dict[str, Vendor] = {}
    for entry in sorted(entry_points(group=_GROUP), key=lambda entry: (not entry.value.startswith(_OWN), entry.name)):
        if entry.name in found:
            raise ConfigurationError(f"two packages have a sandbox named {entry.name!r}; the second is {entry.value}")
        try:
            vendor = entry.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the sandbox {entry.name!r} ({entry.value}) cannot be imported: {error}"
            ) from error
        if not isinstance(vendor, Vendor) or vendor.name != entry.name:
            raise ConfigurationError(f"the sandbox {entry.name!r} ({entry.value}) is not a Vendor of that name")
        found[entry.name] = vendor
    if not found:
        raise ConfigurationError("no sandbox is installed; reinstall the package: pip install aelyst-async, or -e .")
    return MappingProxyType(found)


def default_vendor() -> str:
    """Return the name of the vendor that ``sandbox`` stands for where none is named."""
    return next(iter(vendors()))


def find_vendor(name: str) -> Vendor:
    """Return the vendor of this name. Raises `ValueError` that lists the installed ones."""
    try:
        return vendors()[name]
    except KeyError:
        raise ValueError(f"no vendor named {name!r}; the sandbox has {', '.join(vendors())}") from None
