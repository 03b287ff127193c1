"""Models as JSON-ready values and back, by cattrs: for a cache, a queue, a database, or an API of your own.

::

    converter = make_converter()
    stored = converter.unstructure(contact)  # {"id": "1", "created_at": "2023-11-07T05:31:56+00:00", …}
    contact = converter.structure(stored, AelystContact)

An identifier becomes its string (``"email:ann@example.com"``), and a datetime, a date or a time becomes an ISO 8601
string. ``raw`` and fields that are `UNSET` are left out, so the converter restores `UNSET`, `None` and values as they
were.

Imports cattrs, which is slow; import this module where it is needed.
"""

from __future__ import annotations

import functools
from datetime import date, time
from decimal import Decimal
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs
import cattrs.gen
from cattrs.preconf.json import JsonConverter
from cattrs.preconf.json import make_converter as make_json_converter

from aelyst_async.contacts import ContactFields, Unset, WriteReceipt
from aelyst_async.identifiers import ContactId, Email, Identifier, Phone, parse_identifier

__all__ = ["make_converter"]

_IDENTIFIERS = (ContactId, Email, Phone)
_SCALARS = frozenset({str, int, float, bool, Decimal, date, time, type(None)})


def make_converter() -> JsonConverter:
    """Return a new cattrs converter for the models of this package and of all providers.

    ``structure`` raises cattrs' errors, and `InvalidIdentifierError` for an invalid identifier. You can register your
    own hooks, as with any cattrs converter.
    """
    attrs.resolve_types(WriteReceipt, localns={"Identifier": Identifier})  # imported for type checkers only
    converter = make_json_converter()
    converter.register_unstructure_hook_factory(attrs.has, functools.partial(_leave_out, converter))
    converter.register_unstructure_hook(time, time.isoformat)
    converter.register_unstructure_hook(Decimal, _number)
    converter.register_unstructure_hook_func(_is_identifier, str)
    converter.register_structure_hook_func(_is_identifier, lambda value, _: parse_identifier(value))
    converter.register_structure_hook_func(_is_scalar, lambda value, _: value)
    converter.register_structure_hook_func(
        _may_be_unset, lambda value, kind: converter.structure(value, _without_unset(kind))
    )
    return converter


def _leave_out(converter: JsonConverter, kind: type[Any]) -> Any:
    return cattrs.gen.make_dict_unstructure_fn(
        kind,
        converter,
        _cattrs_omit_if_default=issubclass(kind, ContactFields),  # their default is UNSET
        raw=cattrs.gen.override(omit=True),
    )


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else ()


def _may_be_unset(kind: Any) -> bool:
    return Unset in _members(kind)


def _without_unset(kind: Any) -> Any:
    return functools.reduce(lambda one, other: one | other, [part for part in _members(kind) if part is not Unset])


def _is_scalar(kind: Any) -> bool:
    """Whether it is a union of types that JSON distinguishes or that arrive as strings; values are not changed."""
    members = _members(kind)
    return len(members) > 2 and _SCALARS.issuperset(members)


def _is_identifier(kind: Any) -> bool:
    return kind in _IDENTIFIERS or kind == Identifier


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
