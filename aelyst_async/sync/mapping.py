"""From a row of the source to the fields of a contact: which column is which field, and what is wrong with a row.

A column names a field by our name (``first_name``), by the vendor's (``firstName``), or by a mapping; a custom field
is ``custom_fields.NAME``, with a type where it is not a text: ``custom_fields.Age:number``. What the target does not
have, and what it only shows, is refused before the first row.

Columns are resolved once for a table and once for each set of keys among records, into a `Layout`: a list of steps
(position, field, rule). Reading a row then is one call per cell that is not empty. All problems of a row are
collected, with the column they stand in.

What is hashed to tell a changed row from an unchanged one is the mapped payload: names and values as they will be
sent, in one fixed order, with the version of the rules that made them.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.identifiers import Email, Identifier, Phone
from aelyst_async.schema import ContactSchema, FieldRule
from aelyst_async.sync.errors import MappingError
from aelyst_async.sync.values import CUSTOM_TYPES, Rule, fold_email, phone, phone_rule, rule_for

__all__ = ["Empty", "Key", "Layout", "Mapped", "Mapper", "Problem", "schema_of"]

Key: TypeAlias = Literal["email", "phone"]
Empty: TypeAlias = Literal["skip", "clear"]

RULES_VERSION = 1
"""Raised when a rule of `values` gives another value for the same cell: then every row counts as changed."""

_CUSTOM = "custom_fields"
_UNTYPED = "any"
"""The "type" of a custom field whose name comes from a nested object: its value has a type already."""

_LAYOUTS = 512
"""Sets of record keys whose layout is remembered."""


@attrs.frozen
class Problem:
    """What is wrong with a row: the column (None: the row as a whole), the rule in one word, and words for people."""

    column: str | None
    rule: str
    message: str


class Mapped(NamedTuple):
    """A row that fits: the values to send, the match key as it is compared, and the hash of the payload."""

    values: list[tuple[str, Any]]
    key: str
    hash: bytes


@attrs.frozen
class _Step:
    position: int
    column: str
    target: str
    rule: Rule
    kind: str
    nullable: bool


def schema_of(gateway: Any) -> ContactSchema:
    """Return the gateway's schema; for one that has none, the four fields that every provider knows."""
    schema = getattr(gateway, "schema", None)
    if isinstance(schema, ContactSchema):
        return schema
    kinds: dict[str, Literal["email", "phone"]] = {"email": "email", "phone": "phone"}
    return ContactSchema(
        provider=str(getattr(gateway, "provider", "") or type(gateway).__name__),
        fields_type=ContactFields,
        rules=tuple(
            FieldRule(name=field.name, wire=field.name, kind=kinds.get(field.name, "text"))
            for field in attrs.fields(ContactFields)
        ),
    )


class Mapper:
    """How rows become contacts of one API.

    `mapping`: column → field ("" leaves the column out), a list of texts ``COLUMN=FIELD``, or a callable from a
    row (a mapping) to a mapping of fields. `empty`: what an empty cell means. `region`: the country of phone
    numbers written without a country code. `table`: whether names stand over columns, so that a message may speak of
    columns and of ``--map``. Raises `MappingError`.
    """

    def __init__(
        self,
        schema: ContactSchema,
        *,
        key: Key = "email",
        mapping: Mapping[str, str] | Iterable[str] | Callable[[Mapping[str, Any]], Any] | None = None,
        empty: Empty = "skip",
        region: str | None = None,
        table: bool = True,
    ) -> None:
        if key not in {"email", "phone"}:
            raise MappingError(f"the key is email or phone, not {key!r}")
        if empty not in {"skip", "clear"}:
            raise MappingError(f"an empty cell is to skip or to clear, not {empty!r}")
        if schema.rule(key) is None:
            raise MappingError(f"{schema.provider} has no field {key!r} to match contacts by")
        self.schema = schema
        self.key = key
        self.transform = mapping if callable(mapping) else None
        self._clears = empty == "clear"
        self._noun = "column " if table else ""
        self._advises = table
        self._strict_phone = phone_rule(region)
        self._national = region is not None
        self._chosen: dict[str, str] = {}
        self._texts: list[str] = []
        if isinstance(mapping, Mapping):
            self._chosen = dict(mapping)
            for column, field in self._chosen.items():
                if not isinstance(column, str) or not isinstance(field, str):
                    raise MappingError(f"mapping: a column and its field are texts, not {column!r} and {field!r}")
        elif mapping is not None and not callable(mapping):
            if not isinstance(mapping, Iterable) or isinstance(mapping, str):
                raise MappingError(
                    f"mapping: expected a mapping, a list of COLUMN=FIELD or a callable, not {mapping!r}"
                )
            self._texts = list(mapping)
            for text in self._texts:
                if not isinstance(text, str) or "=" not in text:
                    raise MappingError(f"--map {text}: expected COLUMN=FIELD (nothing after = leaves the column out)")
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._phones = {rule.name for rule in schema.rules if rule.kind == "phone"} - {key}

    def layout(self, columns: Sequence[str], *, table: bool = True) -> Layout:
        """Return how rows with these columns are read. Raises `MappingError`, for a table also where a mapping names
        a column that is not there or the key has no column.
        """
        chosen = self._choices(columns, check=table)
        steps: dict[str, _Step] = {}
        for position, column in enumerate(columns):
            wanted = chosen.get(column, column)
            if wanted == "":
                continue
            step = self._step(position, column, wanted, mapped=column in chosen)
            other = steps.setdefault(step.target, step)
            if other is not step:
                both = f"{other.column!r} and {column!r} both mean {step.target}; "
                if not self._advises:
                    raise MappingError(f"{both}give one of them")
                raise MappingError(f"the columns {both}leave one out: --map {column!r}=")
        if table and self.key not in steps:
            raise MappingError(
                f"no column for the key {self.key!r}; there are {', '.join(map(repr, columns))}: "
                f"name one with --map COLUMN={self.key}, or choose another --key"
            )
        return Layout(self, tuple(sorted(steps.values(), key=lambda step: step.target)))

    def read(self, columns: tuple[str, ...] | None, row: Any) -> Mapped | list[Problem]:
        """Return what a row of a source means. Raises `MappingError` for a table whose columns do not fit."""
        if self.transform is not None:
            return self._transformed(dict(zip(columns, row, strict=True)) if columns is not None else row)
        if columns is not None:
            return self._known(columns, table=True).read(row)
        return self._record(row)

    def key_of(self, columns: tuple[str, ...] | None, row: Any) -> str | None:
        """Return the match key of a row that was refused, where it can be read all the same."""
        if self.transform is not None:
            return None
        if columns is not None:
            return self._known(columns, table=True).key_of(row)
        for name, value in row.items():
            # Each name by itself: what is wrong may be another one's.
            with contextlib.suppress(MappingError, AttributeError):  # a name that is no text
                if (key := self._known((name,), table=False).key_of([value])) is not None:
                    return key
        return None

    def _transformed(self, row: Mapping[str, Any]) -> Mapped | list[Problem]:
        assert self.transform is not None
        try:
            made = self.transform(row)
        except Exception as error:  # noqa: BLE001 - a row that the user's code cannot map is a row that fails
            return [Problem(None, "mapping", f"the mapping raised {type(error).__name__}: {error}"[:300])]
        if isinstance(made, ContactFields):
            return self._record(dict(made.given()))
        if isinstance(made, Mapping):
            return self._record(made)
        return [Problem(None, "mapping", f"the mapping returned {type(made).__name__}, not a mapping")]

    def _record(self, record: Mapping[str, Any]) -> Mapped | list[Problem]:
        try:
            flat = _flat(record)
        except ValueError as error:
            return [Problem(_CUSTOM, "type", str(error))]
        names = tuple(flat)
        try:
            found = self._known(names, table=False)
        except MappingError as error:
            return [Problem(None, "unknown", str(error))]
        return found.read(list(flat.values()))

    def check_first(self, record: Mapping[str, Any]) -> None:
        """Raise `MappingError` if the first record does not fit: then the mistake is the file's, not the row's."""
        if self.transform is None:
            try:
                flat = _flat(record)
            except ValueError:
                return
            self.layout(tuple(flat), table=False)

    def fields(self, values: Iterable[tuple[str, Any]]) -> ContactFields:
        """Return the values as the provider's `ContactFields`."""
        given: dict[str, Any] = {}
        customs: list[Any] = []
        for target, value in values:
            name, dot, custom = target.partition(".")
            if dot and name == _CUSTOM:
                rule = self.schema.rule(_CUSTOM)
                assert rule is not None
                assert rule.item is not None
                customs.append(rule.item(custom, value))
            else:
                given[name] = value
        if customs:
            given[_CUSTOM] = tuple(customs)
        return self.schema.fields_type(**given)

    def confirm(self, mapped: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], list[Problem]]:
        """Apply the rules that are too slow for rows which may turn out to be unchanged: return the values to send, and
        the problems.
        """
        strict = self._strict_phone
        if strict is None:
            return mapped, []
        values: list[tuple[str, Any]] = []
        problems: list[Problem] = []
        for target, value in mapped:
            if value is not None and target in self._phones:
                try:
                    value = strict(value)  # noqa: PLW2901
                except ValueError as error:
                    problems.append(Problem(target, "phone", str(error)))
            values.append((target, value))
        return values, problems

    def _phone(self, name: str) -> Rule:
        """Return the rule for a phone column: strict at once for the key, and for a number without a country code."""
        strict = self._strict_phone
        if strict is None:
            return phone
        if name == self.key:
            return strict
        if not self._national:
            return phone
        return lambda value: phone(value) if str(value).lstrip().startswith("+") else strict(value)

    def identifier(self, values: Iterable[tuple[str, Any]]) -> Identifier:
        """Return the identifier in the key column, as it is written there."""
        value = next(value for target, value in values if target == self.key)
        return Email(value) if self.key == "email" else Phone(value)

    def _known(self, columns: tuple[str, ...], *, table: bool) -> Layout:
        found = self._layouts.get(columns)
        if found is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            found = self._layouts[columns] = self.layout(columns, table=table)
        return found

    def _choices(self, columns: Sequence[str], *, check: bool) -> dict[str, str]:
        chosen = dict(self._chosen)
        for text in self._texts:
            # A column's name may hold "=": the split is where the left side is a column.
            cuts = [index for index, character in enumerate(text) if character == "="]
            cut = next((index for index in cuts if text[:index].strip() in columns), cuts[0])
            chosen[text[:cut].strip()] = text[cut + 1 :].strip()
        if check:
            for column, field in chosen.items():
                if column not in columns:
                    raise MappingError(
                        f"--map {column}={field}: no column {column!r}; there are {', '.join(map(repr, columns))}"
                    )
        return chosen

    def _step(self, position: int, column: str, wanted: str, *, mapped: bool) -> _Step:
        name, dot, custom = wanted.partition(".")
        if dot and name in {_CUSTOM, "customFields"}:
            return self._custom_step(position, column, custom)
        rule = self.schema.rule(wanted)
        if rule is None and not mapped:
            # "First Name" is first_name, "Email" is email.
            rule = self.schema.rule(wanted.strip().lower().replace(" ", "_").replace("-", "_"))
        if rule is not None:
            check = self._phone(rule.name) if rule.kind == "phone" else rule_for(rule.kind)
            if rule.kind == "custom_fields":
                check = _no_whole
            return _Step(position, column, rule.name, check, rule.kind, rule.nullable)
        leave_out = f"; leave it out with --map {column!r}=" if self._advises else ""
        read_only = {*self.schema.read_only, *self.schema.read_only.values()}
        if wanted in read_only:
            raise MappingError(
                f"{self._noun}{column!r}: {self.schema.provider} shows {wanted} but takes no changes to it{leave_out}"
            )
        known = [rule.name for rule in self.schema.rules if rule.kind != "custom_fields"]
        if self._has_custom:
            known.append("custom_fields.NAME")
        near = difflib.get_close_matches(wanted.lower(), known, 1, 0.6)
        guess = f" (did you mean {near[0]}?)" if near else ""
        said = f"{self._noun}{column!r}" if wanted == column else f"column {column!r} is mapped to {wanted!r}: that"
        advice = f"; name one with --map {column!r}=FIELD or {leave_out[2:]}" if self._advises else ""
        raise MappingError(f"{said} is no field of {self.schema.provider}{guess}{advice}; fields: {', '.join(known)}")

    @property
    def _has_custom(self) -> bool:
        rule = self.schema.rule(_CUSTOM)
        return rule is not None and rule.item is not None

    def _custom_step(self, position: int, column: str, custom: str) -> _Step:
        if not self._has_custom:
            leave_out = f"; leave it out with --map {column!r}=" if self._advises else ""
            raise MappingError(f"{self._noun}{column!r}: {self.schema.provider} has no custom fields{leave_out}")
        name, colon, kind = custom.rpartition(":")
        typed: str | None = None
        if colon and kind in CUSTOM_TYPES:
            custom, typed = name, kind
        elif colon and kind == _UNTYPED:
            custom = name
        elif colon and kind.isalpha() and name:
            raise MappingError(
                f"{self._noun}{column!r}: {kind!r} is no type of a custom field; there are {', '.join(CUSTOM_TYPES)} "
                f"(for a name with a colon, add :text)"
            )
        if not custom.strip():
            raise MappingError(f"{self._noun}{column!r}: the custom field has no name")
        check = rule_for("custom_fields", custom_type=typed)
        column = column.removesuffix(f":{_UNTYPED}") if kind == _UNTYPED and colon else column  # not the user's word
        return _Step(position, column, f"{_CUSTOM}.{custom}", check, typed or "text", nullable=True)

    @property
    def clears(self) -> bool:
        """Whether an empty cell clears the field."""
        return self._clears


class Layout:
    """The columns of one table, or one set of record keys, resolved."""

    def __init__(self, mapper: Mapper, steps: tuple[_Step, ...]) -> None:
        self._mapper = mapper
        self._steps = steps
        self._plain = tuple((step.position, step.target, step.rule, step) for step in steps)
        self._key = mapper.key
        self._key_step = next((step for step in steps if step.target == self._key), None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The fields that are written, in the order in which they are hashed."""
        return tuple(step.target for step in self._steps)

    def key_of(self, cells: Sequence[Any]) -> str | None:
        """Return the match key of a row as `read` would, or None where it has none: cheap, for the first reading."""
        step = self._key_step
        if step is None:
            return None
        try:
            return self._folded(step.rule(cells[step.position]))
        except ValueError:
            return None

    def read(self, cells: Sequence[Any]) -> Mapped | list[Problem]:
        """Return what the row means, or everything that is wrong with it."""
        values, problems, key = self.values(cells)
        column = self._key if self._key_step is None else self._key_step.column
        if key is None and not any(problem.column == column for problem in problems):
            problems.append(
                Problem(column, "required", f"empty: without the {self._key} the contact cannot be matched")
            )
        if problems or key is None:
            return problems
        return Mapped(values, key, digest(values))

    def values(self, cells: Sequence[Any]) -> tuple[list[tuple[str, Any]], list[Problem], str | None]:
        """Return the values to send, what is wrong with the others, and the match key if the row has one."""
        values: list[tuple[str, Any]] = []
        problems: list[Problem] = []
        key: str | None = None
        for position, target, rule, step in self._plain:
            cell = cells[position]
            if cell is None:  # JSON's null is meant
                value = None
            elif cell.__class__ is str and not cell.strip():
                if not self._mapper.clears or target == self._key:
                    continue
                value = None
            else:
                try:
                    value = rule(cell)
                except ValueError as error:
                    problems.append(Problem(step.column, step.kind, str(error)))
                    continue
                if target == self._key:
                    key = self._folded(value)
            if value is None and target != self._key and not step.nullable:
                problems.append(Problem(step.column, "null", f"{target} cannot be cleared"))
                continue
            if value is None and target == self._key:
                continue
            values.append((target, value))
        return values, problems, key

    def _folded(self, value: str) -> str:
        if self._key == "email":
            return f"email:{value.lower() if value.isascii() else fold_email(value)}"
        return f"phone:{value}"


_VERSION = f"rules {RULES_VERSION}".encode()


def digest(values: list[tuple[str, Any]]) -> bytes:
    """Return the hash (16 bytes) of a mapped payload under the rules' version."""
    # ascii() of texts, numbers, true, false, null: one form for each value, the same in every version of Python.
    return blake2b(ascii(values).encode("ascii"), digest_size=16, key=_VERSION).digest()


def _no_whole(_: Any) -> Any:
    raise ValueError("give each custom field its own column: custom_fields.NAME")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its custom fields (an object, or a list of names and values) as keys of their own."""
    if not all(isinstance(name, str) for name in record):
        raise ValueError("a field's name must be text")
    given = next((name for name in (_CUSTOM, "customFields") if name in record), None)
    if given is None or record[given] is None or record[given] is UNSET:
        return {name: value for name, value in record.items() if value is not UNSET}
    flat = {name: value for name, value in record.items() if name != given and value is not UNSET}
    custom = record[given]
    if isinstance(custom, Mapping):
        pairs = list(custom.items())
    elif isinstance(custom, (list, tuple)):
        pairs = [_pair(item) for item in custom]
    else:
        raise ValueError(_SHAPE)  # noqa: TRY004
    for name, value in pairs:
        target = f"{_CUSTOM}.{name}:{_UNTYPED}"
        if target in flat:
            raise ValueError(f"the custom field {name!r} is given twice")
        flat[target] = value
    return flat


_SHAPE = 'custom_fields: expected {"NAME": VALUE} or [{"name": …, "value": …}]'


def _pair(item: Any) -> tuple[str, Any]:
    """Return the name and the value of one custom field: a mapping, or an object such as a `CustomField`."""
    if isinstance(item, Mapping):
        name, value = item.get("name"), item.get("value")
    else:
        name, value = getattr(item, "name", None), getattr(item, "value", None)
    if not isinstance(name, str):
        raise ValueError(_SHAPE)  # noqa: TRY004
    return name, value
