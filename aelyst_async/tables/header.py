"""Matches the columns of a header to fields, and collects all problems.

1. The order: 1. The mapping. 2. Exact names: ours, the vendor's, ``custom_fields.NAME``. 3. The *layout* of a known
   tool, recognised by several columns. 4. *Near* names (``E-mail Address``, ``Mobile Phone``), if exactly one column
   fits a field that has no column yet; if several fit, the problem lists the choices. The other columns are unknown,
   and left out only if ``ignore_unknown`` is set. The index column of pandas is always left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aelyst_async.tables.dialect import base_name
from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.fields import CUSTOM, UNTYPED, Field, Fields, UnknownFieldError
from aelyst_async.tables.layouts import bare, folded, near_names, recognise
from aelyst_async.tables.model import Column, Header, HeaderProblem, Match
from aelyst_async.tables.targets import SPLIT_NAME, Target, flag, parse_target

__all__ = ["Matched", "match", "no_fit", "untyped"]

_INDEX = re.compile(r"Unnamed: \d+(?:_level_\d+)?|__index_level_\d+__|level_0")
_LISTED = 40


@attrs.define
class Matched:
    """A column and its target. ``fields`` are the fields that it fills; empty if it is not sent."""

    position: int
    name: str
    match: Match
    target: Target = attrs.field(factory=lambda: Target(None))
    fields: tuple[Field, ...] = ()


def match(
    fields: Fields,
    columns: Sequence[str],
    chosen: Mapping[str, Any],
    *,
    keys: Sequence[str],
    ignore_unknown: bool,
    constants: Sequence[str] = (),
    sample: Sequence[Any] | None = None,
) -> tuple[Header, list[Matched]]:
    """Return the result for a table's header, with its problems, and the columns that are sent."""
    return _Matcher(fields, columns, chosen, keys, constants, sample, ignore_unknown=ignore_unknown).run()


class _Matcher:
    def __init__(
        self,
        fields: Fields,
        columns: Sequence[str],
        chosen: Mapping[str, Any],
        keys: Sequence[str],
        constants: Sequence[str],
        sample: Sequence[Any] | None,
        *,
        ignore_unknown: bool,
    ) -> None:
        self._fields = fields
        self._columns = columns
        self._chosen = chosen
        self._keys = keys
        self._constants = set(constants)
        self._sample = sample
        self._ignore = ignore_unknown
        self._layout = recognise(columns)
        self._problems: list[HeaderProblem] = []
        self._found: dict[str, Matched] = {}
        self._hints: dict[str, UnknownFieldError] = {}
        self._choices: set[str] = set()

    def run(self) -> tuple[Header, list[Matched]]:
        self._mapped()
        for position, column in enumerate(self._columns):
            if column not in self._found:
                self._exact(position, column)
        self._twice()
        self._by_layout()
        self._by_near_name()
        self._index()
        self._unknown()
        self._key()
        made = [self._found[column] for column in self._columns]
        header = Header(
            columns=tuple(map(self._column, made)),
            problems=tuple(self._problems),
            layout=None if self._layout is None else self._layout.name,
        )
        return header, [one for one in made if one.fields or one.target.call is not None]

    def _mapped(self) -> None:
        listed = _listed(self._columns)
        for column, said in self._chosen.items():
            if column not in self._columns:
                if isinstance(said, str) and said.strip() in {
                    "",
                    "ignore",
                }:  # a mapping may be for an export with more columns
                    continue
                words = f"the mapping names a column {column!r}, which is not there; there are {listed}"
                self._problems.append(HeaderProblem(columns=(column,), message=words))
                continue
            position = self._columns.index(column)
            self._found[column] = one = Matched(position, column, "mapped")
            try:
                one.target = parse_target(said, column)
                one.fields = self._fields_of(one.target)
            except UnknownFieldError as error:
                names = ", ".join(self._fields.names())
                self._problem((column,), f"column {column!r} is mapped to {said!r}: {error}; fields: {names}")
            except MappingError as error:
                self._problem((column,), f"column {column!r}: {error}")
            if not one.fields and one.target.call is None:
                one.match = "ignored"

    def _fields_of(self, target: Target) -> tuple[Field, ...]:
        if target.field is None:
            return ()
        if target.field == SPLIT_NAME:
            return self._fields.find("first_name"), self._fields.find("last_name")
        return (self._fields.find(target.field, date_format=target.date_format),)

    def _exact(self, position: int, column: str) -> None:
        name = base_name(column, self._columns)
        one = self._found[column] = Matched(position, column, "unknown")
        try:
            one.target = (
                parse_target(name, column) if name.startswith((f"{CUSTOM}.", "customFields.")) else Target(name)
            )
            field = self._fields.find(one.target.field or name, loose=True, date_format=one.target.date_format)
        except UnknownFieldError as error:
            one.target = Target(None)
            if error.near is not None or error.read_only:
                self._hints[column] = error
        except MappingError as error:
            one.match = "ignored" if self._ignore else "unknown"
            one.target = Target(None)
            self._problem((column,), f"column {column!r}: {error}", (flag(column),))
            self._choices.add(column)
        else:
            one.match, one.fields = "exact", (field,)
            one.target = attrs.evolve(one.target, field=field.name)

    def _twice(self) -> None:
        """Report two columns for one field."""
        first: dict[str, Matched] = {}
        for column in self._columns:
            one = self._found[column]
            for field in one.fields:
                other = first.setdefault(field.name, one)
                if field.name in self._constants:
                    words = f"column {column!r} and a constant both give {field.name}; leave one out"
                    self._problem((column,), words, (flag(column),))
                elif other is not one:
                    self._problem(
                        (other.name, column),
                        f"the columns {other.name!r} and {column!r} both mean {field.name}; leave one out",
                        (flag(other.name), flag(column)),
                        choice=True,
                    )

    def _taken(self) -> set[str]:
        return {field.name for one in self._found.values() for field in one.fields} | self._constants

    def _by_layout(self) -> None:
        if self._layout is None:
            return
        there = {folded(column): column for column in self._columns}
        for name, said in self._layout.columns.items():
            column = there.get(name)
            if column is None:
                continue
            one = self._found[column]
            target = parse_target(said, column)
            try:
                fields = self._fields_of(target)
            except MappingError:  # the API does not have the field
                continue
            free = one.match == "unknown" and fields and not self._taken() & {field.name for field in fields}
            refines = one.match == "exact" and target.transforms and one.target.field == target.field
            if free or refines:
                one.match, one.target, one.fields = "layout", target, fields

    def _by_near_name(self) -> None:
        near: dict[str, list[str]] = {}
        for column in self._columns:
            field = near_names().get(bare(base_name(column, self._columns)))
            if field is not None and self._found[column].match == "unknown" and column not in self._choices:
                near.setdefault(field, []).append(column)
        for field, columns in near.items():
            try:
                fields = self._fields_of(Target(field))
            except MappingError:
                continue
            if self._taken() & {one.name for one in fields}:
                continue
            if len(columns) == 1 and field != SPLIT_NAME:
                one = self._found[columns[0]]
                one.match, one.target, one.fields = "near", Target(field), fields
            elif field == SPLIT_NAME:
                self._ask_name(columns)
            else:
                self._ask(field, columns)

    def _ask(self, field: str, columns: Sequence[str]) -> None:
        names = ", ".join(map(repr, columns[:-1])) + f" and {columns[-1]!r}"
        self._choices.update(columns)
        flags = tuple(flag(column, field) for column in columns)
        self._problem(tuple(columns), f"{names} could each be {field}; choose one", flags, choice=True)

    def _ask_name(self, columns: Sequence[str]) -> None:
        if any("first_name" in {field.name for field in one.fields} for one in self._found.values()):
            return
        self._choices.update(columns)
        flags = tuple(flag(column, field) for column in columns for field in (SPLIT_NAME, "first_name"))
        words = f"{columns[0]!r} looks like a full name; split it into first and last name, or send it as first name"
        self._problem(tuple(columns), words, flags, choice=True)

    def _index(self) -> None:
        for column in self._columns:
            one = self._found[column]
            if one.match != "unknown":
                continue
            added = one.position == 0 and column in {"column 1", "index"}
            if _INDEX.fullmatch(column) or (added and (self._sample is None or self._counts(self._first(one)))):
                one.match = "index"

    @staticmethod
    def _counts(value: Any) -> bool:
        return value is not None and str(value).strip().isdigit()

    def _unknown(self) -> None:
        """Report the columns without a field in one problem; or leave them out, if the settings say so."""
        left = [
            column for column in self._columns if self._found[column].match == "unknown" and column not in self._choices
        ]
        if self._ignore:
            for column in left:
                self._found[column].match = "ignored"
            return
        asked = [column for column in self._choices if self._found[column].match == "unknown"]
        plain = [column for column in left if column not in self._hints]
        for column in left:
            hint = self._hints.get(column)
            if hint is not None:
                flags = (flag(column), flag(column, hint.near)) if hint.near else (flag(column),)
                said = f"column {column!r}: {hint.words}" if hint.read_only else f"column {column!r} {hint.words}"
                self._problem((column,), said, flags, choice=True)
        if left or len(asked) > 1:
            self._problem(tuple(plain), self._left_out(plain), ("--ignore-unknown",))

    def _left_out(self, columns: Sequence[str]) -> str:
        if not columns:
            return "to leave out all columns without a field"
        provider, fields = self._fields.schema.provider, ", ".join(self._fields.names())
        if len(columns) == 1:
            advice = f"map it with {flag(columns[0], 'FIELD')}, or leave it out"
            return f"column {columns[0]!r} is no field of {provider} (fields: {fields}); {advice}"
        advice = "map one with --map 'COLUMN=FIELD', or leave them all out"
        said = f"{len(columns)} columns are no fields of {provider}: {_listed(columns)}"
        return f"{said} (fields: {fields}); {advice}"

    def _key(self) -> None:
        taken = self._taken()
        asked = {column for problem in self._problems if problem.choice for column in problem.columns}
        dynamic = any(one.target.call is not None and not one.fields for one in self._found.values())
        if dynamic or any(key in taken for key in self._keys):
            return
        if any(near_names().get(bare(column)) in self._keys for column in asked):
            return  # the reported choice includes the key
        flags: list[str] = []
        other = next((key for key in ("email", "phone") if key in taken), None)
        if other is not None:
            flags.append(f"--key {other}")
        candidates = [one.name for one in self._found.values() if not one.fields and self._could_be_key(one)]
        flags += [flag(column, self._keys[0]) for column in candidates[:3]]
        words = (
            f"no column for the key {self._keys[0]!r}" if len(self._keys) == 1 else
            f"no column for any key of {', '.join(self._keys)}"
        )  # fmt: skip
        listed = f"; there are {_listed(self._columns)}: name one with --map COLUMN={self._keys[0]}"
        self._problem((), words + listed + (", or choose another key" if other else ""), tuple(flags), choice=True)

    def _could_be_key(self, one: Matched) -> bool:
        value = self._first(one)
        if self._keys[0] == "email":
            return isinstance(value, str) and "@" in value
        return isinstance(value, (str, int)) and sum(map(str.isdigit, str(value))) >= 7

    def _first(self, one: Matched) -> Any:
        return self._sample[one.position] if self._sample is not None and one.position < len(self._sample) else None

    def _problem(
        self, columns: tuple[str, ...], message: str, flags: tuple[str, ...] = (), *, choice: bool = False
    ) -> None:
        self._problems.append(HeaderProblem(columns=columns, message=message, flags=flags, choice=choice))

    def _column(self, one: Matched) -> Column:
        value = self._first(one)
        return Column(
            name=one.name,
            field=",".join(field.name for field in one.fields) or None,
            match=one.match,
            layout=self._layout.name if one.match == "layout" and self._layout is not None else None,
            transforms=(*((SPLIT_NAME,) if one.target.field == SPLIT_NAME else ()), *one.target.words),
            kind=one.fields[0].kind if one.fields else None,
            sample=None if value is None or value == "" else str(value)[:60],
        )


def no_fit(header: Header) -> MappingError:
    """Return one error for all problems of a header, each with its flags."""
    parts = []
    for problem in header.problems:
        words = (" or " if problem.choice else " ").join(problem.flags)
        parts.append(f"{problem.message}: {words}" if words else problem.message)
    known = f"recognised as {header.layout}; " if header.layout else ""
    return MappingError(known + "; ".join(parts), header.problems)


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    return ", ".join(repr(column[:60]) for column in columns[:_LISTED]) + more


def untyped(column: str) -> str:
    """Return the column's name as the user wrote it, without the internal type of nested custom fields."""
    return column.removesuffix(f":{UNTYPED}") if column.startswith(f"{CUSTOM}.") else column
