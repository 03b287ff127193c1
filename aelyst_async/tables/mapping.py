"""Maps a row of the source to the fields of a contact, and collects the problems of the row.

Columns are resolved into a `Plan`, a list of steps (position, field, rule): once for a table (`header`), and once for
each set of keys of records. All problems of a row are collected with their columns, and every change to a value is
recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from aelyst_async.contacts import ContactFields
from aelyst_async.identifiers import Email, Identifier, Phone
from aelyst_async.schema import ContactSchema
from aelyst_async.tables.cells import CellError, Changed, shown
from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.fields import CUSTOM, Fields, UnknownFieldError, schema_of
from aelyst_async.tables.header import Matched, match, no_fit, untyped
from aelyst_async.tables.model import Column, Header, HeaderProblem, Match, Problem
from aelyst_async.tables.plan import Mapped, Plan, Spread, Step
from aelyst_async.tables.records import flat_record
from aelyst_async.tables.targets import SPLIT_NAME, called, compose, parse_target, split_name
from aelyst_async.tables.values import Rules

__all__ = ["Empty", "Mapped", "Mapper", "Plan", "schema_of"]

Empty: TypeAlias = Literal["skip", "clear"]

_PLANS = 512
"""Largest number of cached plans for sets of record keys."""


class Mapper:
    """Maps rows to the contacts of one API.

    - `key`: the field by which contacts are matched: ``email``, ``phone``, or ``email,phone`` for the first that a row
      has.
    - `mapping`: a mapping from column to target (``""`` leaves the column out), an iterable of ``COLUMN=TARGET``, or a
      callable from a row (a mapping) to a mapping of fields.
    - `constants`: field → value for every row.
    - `empty`: the meaning of an empty cell: ``skip`` keeps the server's value, ``clear`` sends null.
    - `ignore_unknown`: whether columns without a field are left out.
    - `region`: the country of phone numbers without a country code, ISO 3166-1 alpha-2. `drop_extensions`: whether
      extensions of phone numbers are removed.
    - `date_format`: the format of dates that are not ISO 8601, as in `datetime.strptime`.
    - `true`, `false`: additional words for checkboxes.

    Raises `MappingError`.
    """

    def __init__(
        self,
        schema: ContactSchema,
        *,
        key: str = "email",
        mapping: Mapping[str, Any] | Iterable[str] | Callable[[Mapping[str, Any]], Any] | None = None,
        constants: Mapping[str, Any] | None = None,
        empty: Empty = "skip",
        ignore_unknown: bool = False,
        region: str | None = None,
        drop_extensions: bool = False,
        date_format: str | None = None,
        true: Iterable[str] = (),
        false: Iterable[str] = (),
    ) -> None:
        self.keys: tuple[str, ...] = _keys(key, schema)
        self.key: str = ",".join(self.keys)
        if empty not in {"skip", "clear"}:
            raise MappingError(f"empty must be skip or clear, not {empty!r}")
        self.schema = schema
        self.transform: Callable[[Mapping[str, Any]], Any] | None = mapping if callable(mapping) else None
        self.clears: bool = empty == "clear"
        self._ignore = ignore_unknown
        self._chosen: dict[str, Any] = {}
        self._texts: list[str] = []
        self._read_mapping(mapping)
        if constants is not None and not isinstance(constants, Mapping):
            raise MappingError(f"constants must be a mapping of fields to values, not {constants!r}")
        for option, words in (("true", true), ("false", false)):
            if isinstance(words, str) or not isinstance(words, Iterable):
                raise MappingError(f"{option} must be an iterable of words such as ['ja'], not {words!r}")
        rules = Rules(region=region, drop_extensions=drop_extensions, date_format=date_format, true=true, false=false)
        self.fields_by_name: Fields = Fields(schema, rules)
        self.constants: list[tuple[str, Any]] = self._constants(constants or {})
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._steps: dict[str, Step] = {}

    def _read_mapping(self, mapping: Any) -> None:
        if isinstance(mapping, Mapping):
            for column, said in mapping.items():
                if not isinstance(column, str):
                    raise MappingError(f"mapping: the name of a column must be a str, not {column!r}")
                parse_target(said, column)
                self._chosen[column] = said
        elif mapping is not None and not callable(mapping):
            if not isinstance(mapping, Iterable) or isinstance(mapping, str):
                raise MappingError(
                    f"mapping: expected a mapping, a list of COLUMN=FIELD or a callable, not {mapping!r}"
                )
            self._texts = list(mapping)
            for text in self._texts:
                if not isinstance(text, str) or "=" not in text:
                    raise MappingError(f"--map {text}: expected COLUMN=FIELD (nothing after = leaves the column out)")

    def _constants(self, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
        made = []
        for name, value in given.items():
            try:
                field = self.fields_by_name.find(name)
                sent = field.rule(value)
            except (MappingError, ValueError) as error:
                raise MappingError(f"the constant {name!r}: {error}") from None
            made.append((field.name, sent.value if isinstance(sent, Changed) else sent))
        return made

    def header(self, columns: Sequence[str], sample: Sequence[Any] | None = None) -> Header:
        """Return the fields of a table's columns, and all problems. `sample`: the cells of the first row."""
        return self._match(columns, sample)[0]

    def plan(self, columns: Sequence[str], sample: Sequence[Any] | None = None) -> Plan:
        """Return the plan for rows of a table with these columns. Raises `MappingError` with all problems."""
        columns = tuple(columns)
        header, matched = self._match(columns, sample)
        if header.problems:
            raise no_fit(header)
        made = self._plans[columns] = Plan(self, [step for one in matched for step in self._steps_of(one)])
        return made

    def _match(self, columns: Sequence[str], sample: Sequence[Any] | None) -> tuple[Header, list[Matched]]:
        return match(
            self.fields_by_name, tuple(columns), self._choices(columns), keys=self.keys, ignore_unknown=self._ignore,
            constants=[name for name, _ in self.constants], sample=sample,
        )  # fmt: skip

    def _choices(self, columns: Sequence[str]) -> dict[str, Any]:
        chosen = dict(self._chosen)
        for text in self._texts:
            # A column's name may contain "=", so split where the left side is a column.
            cuts = [index for index, character in enumerate(text) if character == "="]
            cut = next((index for index in cuts if text[:index].strip() in columns), cuts[0])
            chosen[text[:cut].strip()] = text[cut + 1 :].strip()
        return chosen

    @staticmethod
    def _steps_of(one: Matched) -> list[Step | Spread]:
        target = one.target
        if target.field == SPLIT_NAME:
            return [Spread(one.position, one.name, split_name)]
        if target.field is None:
            call = target.call
            assert call is not None
            return [Spread(one.position, one.name, lambda cell: called(call, cell))]
        [field] = one.fields
        column = untyped(one.name)
        rule = compose(target, field.rule)
        return [Step(one.position, column, field.name, rule, field.kind, field.nullable, target.default)]

    def record_plan(self, names: Sequence[str]) -> Plan:
        """Return the plan for records with these keys: by exact names or the mapping. Raises `MappingError`."""
        columns = tuple(names)
        found = self._plans.get(columns)
        if found is not None:
            return found
        chosen = self._choices(columns)
        steps: dict[str, Step] = {}
        spreads: list[Step | Spread] = []
        for position, name in enumerate(columns):
            try:
                step = self._record_step(position, name, chosen)
            except UnknownFieldError as error:
                known = "" if error.read_only else f"; fields: {', '.join(self.fields_by_name.names())}"
                raise MappingError(f"{error}{known}") from None
            except MappingError as error:
                raise MappingError(f"{untyped(name)!r}: {error}") from None
            if isinstance(step, Step):
                other = steps.setdefault(step.target, step)
                if other is not step:
                    raise MappingError(f"{other.column!r} and {name!r} both mean {step.target}; give one of them")
            elif step is not None:
                spreads.append(step)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        made = self._plans[columns] = Plan(self, [*steps.values(), *spreads])
        return made

    def _record_step(self, position: int, name: str, chosen: Mapping[str, Any]) -> Step | Spread | None:
        said = chosen.get(name, name)
        if said == name and not name.startswith(f"{CUSTOM}."):
            try:
                field = self.fields_by_name.find(name, loose=True)
            except UnknownFieldError:
                if self._ignore:
                    return None
                raise
            return Step(position, name, field.name, field.rule, field.kind, field.nullable)
        target = parse_target(said, name)
        if target.field is None and target.call is None:
            return None
        fields = () if target.field in {None, SPLIT_NAME} else (
            self.fields_by_name.find(str(target.field), date_format=target.date_format),
        )  # fmt: skip
        [step] = self._steps_of(Matched(position, name, "mapped", target, fields))
        return step

    def record_header(self, record: Mapping[str, Any]) -> Header:
        """Return the fields of a record's keys, and their problem."""
        try:
            flat = flat_record(record)
            self.record_plan(tuple(flat))
        except (MappingError, ValueError) as error:
            return Header(columns=(), problems=(HeaderProblem(columns=(), message=str(error)),))
        columns = []
        for name, value in flat.items():
            step = self._record_step(0, name, self._choices(tuple(flat)))
            field, kind = (step.target, step.kind) if isinstance(step, Step) else (None, None)
            match: Match = "exact" if field == name else "mapped" if step else "ignored"
            columns.append(Column(name=untyped(name), field=field, match=match, kind=kind, sample=shown(value)))
        return Header(columns=tuple(columns))

    def step(self, name: str) -> Step:
        """Return the step for a field of a spread. Raises `MappingError`."""
        found = self._steps.get(name)
        if found is None:
            made = self._record_step(0, name, {})
            assert isinstance(made, Step)
            found = self._steps[name] = made
        return found

    def read(self, columns: tuple[str, ...] | None, row: Any) -> Mapped | list[Problem]:
        """Return the mapped row, or its problems. Raises `MappingError` if the columns of the table do not fit."""
        if self.transform is not None:
            return self._transformed(dict(zip(columns, row, strict=True)) if columns is not None else row)
        if columns is not None:
            return (self._plans.get(columns) or self.plan(columns)).read(row)
        return self._record(row)

    def key_of(self, columns: tuple[str, ...] | None, row: Any) -> str | None:
        """Return the match key of a refused row, or None if it cannot be read."""
        if self.transform is not None:
            return None
        if columns is not None:
            return (self._plans.get(columns) or self.plan(columns)).key_of(row)
        for name, value in row.items():
            # Each name separately, because another name may be the invalid one.
            with contextlib.suppress(MappingError, AttributeError):  # a name that is not a `str`
                if (key := self.record_plan((name,)).key_of([value])) is not None:
                    return key
        return None

    def _transformed(self, row: Mapping[str, Any]) -> Mapped | list[Problem]:
        assert self.transform is not None
        try:
            made = called(self.transform, row)
        except CellError as error:
            return [Problem(None, "mapping", str(error))]
        if isinstance(made, ContactFields):
            return self._record(dict(made.given()))
        if isinstance(made, Mapping):
            return self._record(made)
        return [Problem(None, "mapping", f"the mapping returned {type(made).__name__}, not a mapping")]

    def _record(self, record: Mapping[str, Any]) -> Mapped | list[Problem]:
        try:
            flat = flat_record(record)
        except ValueError as error:
            return [Problem(CUSTOM, "type", str(error))]
        try:
            found = self.record_plan(tuple(flat))
        except MappingError as error:
            return [Problem(None, "unknown", str(error))]
        return found.read(list(flat.values()))

    def check_first(self, record: Mapping[str, Any]) -> None:
        """Raise `MappingError` if the first record does not fit, because the mistake then probably affects the whole
        file.
        """
        if self.transform is None:
            try:
                flat = flat_record(record)
            except ValueError:
                return
            self.record_plan(tuple(flat))

    def fields(self, values: Iterable[tuple[str, Any]]) -> ContactFields:
        """Return the values as the provider's `ContactFields`."""
        given: dict[str, Any] = {}
        customs: list[Any] = []
        for target, value in values:
            name, dot, custom = target.partition(".")
            if dot and name == CUSTOM:
                rule = self.schema.rule(CUSTOM)
                assert rule is not None
                assert rule.item is not None
                customs.append(rule.item(custom, value))
            else:
                given[name] = value
        if customs:
            given[CUSTOM] = tuple(customs)
        return self.schema.fields_type(**given)

    def identifier(self, values: Iterable[tuple[str, Any]]) -> Identifier:
        """Return the identifier by the first key that the row has, as written in the row."""
        given = dict(values)
        key = next(key for key in self.keys if given.get(key) is not None)
        return Email(given[key]) if key == "email" else Phone(given[key])


def _keys(key: str, schema: ContactSchema) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in key.split(",")) if isinstance(key, str) else ()
    if not keys or not set(keys) <= {"email", "phone"} or len(set(keys)) != len(keys):
        raise MappingError(f"the key must be email, phone, or email,phone (the first that a row has), not {key!r}")
    for one in keys:
        if schema.rule(one) is None:
            raise MappingError(f"{schema.provider} has no field {one!r} to match contacts by")
    return keys
