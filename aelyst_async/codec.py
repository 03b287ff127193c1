"""Decoding JSON into models with cattrs: strict about types, tolerant about what real answers leave out.

cattrs' own converter coerces (``str({})`` is a text to it); here a text is a text, a number a number and a boolean
neither. What may vary is said by each provider's ``wire.py``, next to the page that says so. A failure names the
place as a JSON path and quotes no value.

cattrs is slow to import, so this module is imported when an answer is first decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timezone
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from aelyst_async.contacts import Contact
from aelyst_async.transport.messages import Response

__all__ = ["decode", "iso_datetime", "make_converter", "numeric_id", "rename", "unix_datetime"]

C = TypeVar("C", bound=Contact)


def make_converter() -> cattrs.Converter:
    """Return a converter that accepts each JSON type only as itself."""
    converter = cattrs.Converter(detailed_validation=True)
    for kind, hook in _STRICT.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(_is_tuple, lambda value, kind: _array(value, kind, converter))
    return converter


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _array(value: Any, kind: Any, converter: cattrs.Converter) -> tuple[Any, ...]:
    if not isinstance(value, list):  # a text would be taken letter by letter
        raise TypeError(f"expected an array, got {_name(value)}")
    items: Any = list[get_args(kind)[0]]  # type: ignore[misc]  # a type known only at run time
    return tuple(converter.structure(value, items))


def _strictly(kind: type[Any]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        right = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not right or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"expected {_NAMES[kind]}, got {_name(value)}")
        return value

    return structure


_NAMES: dict[type[Any], str] = {
    str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "an array",
}  # fmt: skip

_STRICT = {kind: _strictly(kind) for kind in (str, bool, int, float)}


def _strict_hook(kind: Any) -> Callable[[Any, Any], Any] | None:
    """Return the strict hook for ``T`` or ``T | None`` where T is one of JSON's plain types, else None."""
    plain = [option for option in get_args(kind) if option is not type(None)] or [kind]
    return _STRICT.get(plain[0]) if len(plain) == 1 else None


def _name(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def rename(
    converter: cattrs.Converter,
    kind: type[Any],
    names: dict[str, str],
    *,
    absent: Collection[str] = (),
    **hooks: Callable[[Any], Any],
) -> None:
    """Let `converter` read `kind` from JSON whose keys are ``names[attribute]`` (default: the attribute's own name).

    `absent` are the attributes that this API does not tell: should a key of that name turn up, it means something
    else. `hooks` read single attributes. A key that is absent leaves the default; unknown keys are passed over; a null
    for an attribute with a default means the default, as "every field but the id may be null or absent".
    """
    _WIRE_NAMES[kind] = names
    overrides: dict[str, Any] = {}
    for name, field in attrs.fields_dict(attrs.resolve_types(kind)).items():
        if name == "raw" or name in absent:
            overrides[name] = override(omit=True)
            continue
        read = hooks.get(name)
        # Nulls are taken out below, so what is left of "text or null" is "text": no need to ask cattrs each time.
        hook = _strict_hook(field.type) if read is None else _untyped(read)
        overrides[name] = override(rename=names.get(name, name), struct_hook=hook)
    structure = make_dict_structure_fn(kind, converter, **overrides)

    def without_nulls(value: Any, target: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {_name(value)}")
        return structure({key: item for key, item in value.items() if item is not None}, target)

    converter.register_structure_hook(kind, without_nulls)


def _untyped(read: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: read(value)


def decode(converter: cattrs.Converter, value: Any, kind: type[C], response: Response, *, raw: Any) -> C:
    """Return `value` as the contact `kind`, with `raw` as its ``raw``.

    Raises `ResponseDecodeError`, with the JSON path of what is wrong.
    """
    try:
        contact = converter.structure(value, kind)
    except (
        cattrs.BaseValidationError,
        TypeError,
        ValueError,
        KeyError,
        OverflowError,
        RecursionError,
    ) as error:
        problem = _explain(error)
    else:
        # Frozen, but ours alone until it is returned; attrs.evolve would cost as much as half of the decoding.
        object.__setattr__(contact, "raw", raw)
        return contact
    # Outside `except`: the cattrs error holds the values.
    raise response.undecodable(problem)


_WIRE_NAMES: dict[type[Any], dict[str, str]] = {}
"""The vendor's key of each attribute, by class: an error shows the place in the JSON, not in our model."""


def _with_wire_names(error: BaseException) -> None:
    if isinstance(error, cattrs.ClassValidationError):
        names = _WIRE_NAMES.get(error.cl, {})
        for _, note in error.group_exceptions()[0]:
            note.name = names.get(note.name, note.name)
    for inner in getattr(error, "exceptions", ()):
        _with_wire_names(inner)


def _explain(error: Exception) -> str:
    _with_wire_names(error)
    lines = cattrs.transform_error(error, path="$", format_exception=_words)
    return "; ".join(lines[:5]) + ("; …" if len(lines) > 5 else "")


def _words(error: BaseException, _: type[Any] | None) -> str:
    if isinstance(error, KeyError):
        return f"the field {error.args[0]!r} is missing"
    return str(error) or type(error).__name__


def numeric_id(value: Any) -> str:
    """Read an id that comes as a number or as a text of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise TypeError(f"expected an id, got {_name(value) if value != '' else 'an empty text'}")


def unix_datetime(value: Any) -> datetime:
    """Read Unix seconds as an aware datetime in UTC."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected Unix seconds, got {_name(value)}")
    try:
        return datetime.fromtimestamp(value, timezone.utc)
    except (OverflowError, OSError, ValueError):
        raise ValueError("expected Unix seconds, got a number outside the calendar") from None


def iso_datetime(value: Any) -> datetime:
    """Read an ISO 8601 time as an aware datetime; one without a zone is UTC."""
    if not isinstance(value, str):
        raise TypeError(f"expected a time, got {_name(value)}")
    # Until Python 3.11, fromisoformat takes neither "Z" nor other than 3 or 6 digits of a second's fraction.
    text = value.strip()
    if text[-1:] in {"Z", "z"}:
        text = text[:-1] + "+00:00"
    head, point, tail = text.partition(".")
    if point:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a time such as 2023-11-07T05:31:56Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
