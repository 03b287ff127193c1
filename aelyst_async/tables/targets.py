"""Parses the target of a column in a mapping: ``FIELD``, with a type and transforms.

::

    email                               the column is this field
    custom_fields.Seats:number          a custom field with a type
    custom_fields.Born:date(%d/%m/%Y)   with the format of its dates
    phone:first                         the first of several values in the cell: a ::: b, a; b, a, b
    email:strip:lower                   without blanks around it, in lower case
    language:default(en)                what an empty cell means
    split_name                          a full name, into first_name and last_name
    ignore   (or nothing)               the column is left out

In code a column may also map to a callable from the cell to a mapping of fields (None: no field), or to a pair of a
field and a callable from the cell to the field's value.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aelyst_async.tables.cells import CellError, Changed, Rule, parts_of
from aelyst_async.tables.dates import check_format
from aelyst_async.tables.errors import MappingError

__all__ = ["SPLIT_NAME", "Target", "called", "compose", "flag", "parse_target", "split_name"]

SPLIT_NAME = "split_name"

_SUFFIX = re.compile(r"(.*):(\w+)(?:\(([^()]*)\))?", re.DOTALL)
_TRANSFORMS = ("first", "strip", "lower")


@attrs.frozen
class Target:
    """A parsed target. ``field`` is None for a column that is left out, `SPLIT_NAME` for a full name.

    ``call`` is the caller's function. With a ``field`` it returns the field's value, without one a mapping of fields.
    """

    field: str | None
    transforms: tuple[str, ...] = ()
    date_format: str | None = None
    default: str | None = None
    call: Callable[[Any], Any] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The transforms in their written form."""
        made = list(self.transforms)
        if self.date_format is not None:
            made.append(f"date({self.date_format})")
        if self.default is not None:
            made.append(f"default({self.default})")
        if self.call is not None:
            made.append(getattr(self.call, "__name__", "callable"))
        return tuple(made)


def flag(column: str, field: str = "") -> str:
    """Return the command-line flag that maps a column, ready to paste into a shell."""
    return f"--map {shlex.quote(f'{column}={field}')}"


def parse_target(said: Any, column: str) -> Target:
    """Return the target of `said`: a `str`, a table of a TOML file or a callable. Raises `MappingError`."""
    if callable(said):
        return Target(None, call=said)
    if isinstance(said, tuple) and len(said) == 2 and isinstance(said[0], str) and callable(said[1]):
        return attrs.evolve(_parse(said[0], column), call=said[1])
    if isinstance(said, Mapping):
        return _from_table(said, column)
    if not isinstance(said, str):
        raise MappingError(f"mapping: {column!r} maps to a field, a callable or (field, callable), not {said!r}")
    return _parse(said, column)


def _parse(said: str, column: str) -> Target:
    field = said.strip()
    transforms: list[str] = []
    date_format = default = None
    while (match := _SUFFIX.fullmatch(field)) is not None:
        rest, word, argument = match.groups()
        if word in _TRANSFORMS and argument is None:
            transforms.insert(0, word)
        elif word == "default" and argument is not None:
            default = argument
        elif word == "date" and argument is not None:
            date_format = check_format(argument)
            if rest.startswith(("custom_fields.", "customFields.")):
                rest += ":date"
                field = rest
                break
        elif word in {SPLIT_NAME, "ignore"} and argument is None and not rest:
            field = word
            break
        elif argument is not None:
            raise MappingError(
                f"mapping: {column!r}: {word}({argument}) is not a transform; there are "
                "first, strip, lower, date(FORMAT), default(VALUE), split_name, ignore"
            )
        else:
            break
        field = rest
    if field in {"", "ignore"}:
        return Target(None)
    return Target(field, tuple(transforms), date_format, default)


def _from_table(said: Mapping[str, Any], column: str) -> Target:
    known = {"field", "first", "strip", "lower", "date", "default", "split_name", "ignore"}
    unknown = sorted(set(said) - known)
    wrong = [name for name in ("field", "date", "default") if not isinstance(said.get(name, ""), str)]
    if unknown or wrong:
        what = f"unknown {', '.join(unknown)}" if unknown else f"{wrong[0]} is text"
        raise MappingError(f"mapping: {column!r}: {what}; there are {', '.join(sorted(known))}")
    if said.get("ignore"):
        return Target(None)
    text = SPLIT_NAME if said.get("split_name") else said.get("field", "")
    if said.get("date"):
        text += f":date({said['date']})"
    target = _parse(text, column)
    more = tuple(name for name in _TRANSFORMS if said.get(name))
    return attrs.evolve(target, transforms=target.transforms + more, default=said.get("default", target.default))


def compose(target: Target, rule: Rule) -> Rule:
    """Return a rule that applies the target's transforms, then `rule`."""
    if not target.transforms and target.call is None:
        return rule
    call = target.call

    def run(cell: Any) -> Any:
        changes: list[str] = []
        if call is not None:
            cell = called(call, cell)
        if isinstance(cell, str):
            for transform in target.transforms:
                cell = _transformed(transform, cell, changes)
        made = rule(cell)
        if made.__class__ is Changed:
            changes.append(made.change)
            made = made.value
        return Changed(made, ", ".join(dict.fromkeys(changes))) if changes else made

    return run


def _transformed(transform: str, cell: str, changes: list[str]) -> str:
    if transform == "first":
        parts = parts_of(cell)
        if len(parts) < 2 or "\n" in cell or "\r" in cell:  # a line break means a wrong quote, which the rule refuses
            return cell
        changes.append("the first of several values taken")
        return next((part for part in parts if "@" in part), parts[0])  # a name before an address may contain a comma
    made = cell.strip() if transform == "strip" else cell.lower()
    if made != cell:
        changes.append("blanks around it removed" if transform == "strip" else "written in lower case")
    return made


def called(call: Callable[[Any], Any], cell: Any) -> Any:
    """Call the caller's function with a cell. Its exceptions become a `CellError`."""
    try:
        return call(cell)
    except Exception as error:  # noqa: BLE001 - a row that the caller's code cannot map is a row that fails
        raise CellError(f"the mapping raised {type(error).__name__}: {error}"[:300]) from None


def split_name(cell: Any) -> dict[str, str]:
    """Return the first and the last name of a full name: ``Ann van Lee`` or ``van Lee, Ann``."""
    if not isinstance(cell, str):
        raise CellError(f"expected a name as text, got {type(cell).__name__}")
    last, comma, first = (part.strip() for part in cell.partition(","))
    if not (comma and first and last):
        first, _, last = (part.strip() for part in cell.strip().partition(" "))
    return {"first_name": first, "last_name": last} if last else {"first_name": first}
