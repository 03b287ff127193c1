"""Reads the rows of one table, or the records with one set of keys: one call for each cell that is not empty.

The hash of the mapped payload detects changed rows. It covers names and values as they will be sent, in a fixed order,
and the version of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from aelyst_async.tables.cells import TAKE_FIRST, CellError, Changed, Rule, shown
from aelyst_async.tables.emails import fold_email
from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.model import Note, Problem
from aelyst_async.tables.targets import flag, split_name

if TYPE_CHECKING:
    from aelyst_async.tables.mapping import Mapper

__all__ = ["Mapped", "Plan", "Spread", "Step", "digest"]

RULES_VERSION = 2
"""Increased when a rule of `values` gives another value for the same cell. Every row then counts as changed."""


class Mapped(NamedTuple):
    """A valid row: the values to send, the match key for comparison, the hash of the payload, the changes."""

    values: list[tuple[str, Any]]
    key: str
    hash: bytes
    notes: tuple[Note, ...] = ()


@attrs.frozen
class Step:
    """A column, or a record's key, that gives one field."""

    position: int
    column: str
    target: str
    rule: Rule
    kind: str
    nullable: bool
    default: str | None = None


@attrs.frozen
class Spread:
    """A column that gives several fields."""

    position: int
    column: str
    call: Callable[[Any], Any]


class Plan:
    """The columns of one table, or one set of record keys, resolved."""

    def __init__(self, mapper: Mapper, steps: Sequence[Step | Spread]) -> None:
        self._mapper = mapper
        single = sorted((step for step in steps if isinstance(step, Step)), key=lambda step: step.target)
        self._plain = tuple((step.position, step.target, step.rule, step) for step in single)
        self._spreads = [step for step in steps if isinstance(step, Spread)]
        self._unsorted = bool(self._spreads or mapper.constants)
        by_target = {step.target: step for step in single}
        self._keys = tuple((key, by_target.get(key)) for key in mapper.keys)
        self._names = frozenset(mapper.keys)

    def key_of(self, cells: Sequence[Any]) -> str | None:
        """Return the match key of a row as `read` would, or None. Fast, for the first pass."""
        if self._unsorted:
            return self._evaluated(cells)[2]
        for key, step in self._keys:
            if step is None:
                continue
            cell = cells[step.position]
            if cell is None or (cell.__class__ is str and not cell.strip()):
                if step.default is None:
                    continue
                cell = step.default
            try:
                made = step.rule(cell)
            except ValueError:
                return None
            return _folded(key, made.value if made.__class__ is Changed else made)
        return None

    def read(self, cells: Sequence[Any]) -> Mapped | list[Problem]:
        """Return the mapped row, or all its problems."""
        values, problems, key, notes = self._evaluated(cells)
        if key is None and not any(problem.rule in self._names for problem in problems):
            what = " or the ".join(self._mapper.keys)
            column = next((step.column for _, step in self._keys if step is not None), self._mapper.keys[0])
            words = f"empty: without the {what} the contact cannot be matched"
            other = next((name for name, value in values if name in {"email", "phone"} and value is not None), None)
            remedy = f"--key {self._mapper.key},{other} matches such rows by the {other}" if other else None
            problems.append(Problem(column, "required", f"{words}; {remedy}" if remedy else words, "''", remedy))
        if problems or key is None:
            return problems
        return Mapped(values, key, digest(values), tuple(notes))

    def values(self, cells: Sequence[Any]) -> tuple[list[tuple[str, Any]], list[Problem]]:
        """Return the values to send and the problems of the others, with or without a key."""
        values, problems, _, _ = self._evaluated(cells)
        return values, problems

    def _evaluated(self, cells: Sequence[Any]) -> tuple[list[tuple[str, Any]], list[Problem], str | None, list[Note]]:
        values: list[tuple[str, Any]] = []
        problems: list[Problem] = []
        notes: list[Note] = []
        names = self._names
        clears = self._mapper.clears
        cleared: list[Step] = []
        for position, target, rule, step in self._plain:
            cell = cells[position]
            if cell is None:  # an explicit null in JSON
                if target in names:
                    cleared.append(step)
                    continue
                value = None
            elif cell.__class__ is str and not cell.strip():
                if step.default is not None:
                    self._one(step, step.default, values, problems, notes, default=True)
                    continue
                if not clears:
                    continue
                if target in names:
                    cleared.append(step)
                    continue
                value = None
            else:
                try:
                    value = rule(cell)
                except ValueError as error:
                    problems.append(_problem(step, cell, error))
                    continue
                if value.__class__ is Changed:
                    notes.append(Note(step.column, value.change, shown(cell), shown(value.value)))
                    value = value.value
                    if value == "":  # all characters were removed
                        if not clears:
                            continue
                        value = None
            if value is None and not step.nullable:
                problems.append(_cannot_clear(step))
                continue
            values.append((target, value))
        if self._unsorted:
            self._spread(cells, values, problems, notes)
        given = dict(values)
        key = next((_folded(name, given[name]) for name in self._mapper.keys if given.get(name) is not None), None)
        if cleared and key is not None:  # the row has another key, so this is an ordinary field
            values += [(step.target, None) for step in cleared if step.nullable]
            problems += [_cannot_clear(step) for step in cleared if not step.nullable]
            values.sort(key=lambda pair: pair[0])
        return values, problems, key, notes

    def _spread(
        self, cells: Sequence[Any], values: list[tuple[str, Any]], problems: list[Problem], notes: list[Note]
    ) -> None:
        """Add the values of columns with several fields, and of constants, in the fixed order."""
        for spread in self._spreads:
            cell = cells[spread.position]
            if cell is None or (cell.__class__ is str and not cell.strip()):
                continue
            try:
                made = spread.call(cell)
                if made is None:
                    continue
                if not isinstance(made, Mapping):
                    raise CellError(f"the mapping returned {type(made).__name__}, not a mapping of fields")  # noqa: TRY301
                for name, value in made.items():
                    step = attrs.evolve(self._mapper.step(name), column=spread.column)
                    if any(step.target == target for target, _ in values):
                        raise CellError(f"{step.target} is given by another column too")  # noqa: TRY301
                    if value is not None and value != "":
                        self._one(step, value, values, problems, notes)
            except (CellError, MappingError) as error:
                problems.append(Problem(spread.column, "mapping", str(error), shown(cell)))
            else:
                if spread.call is split_name:
                    after = " + ".join(shown(value) for value in made.values())
                    notes.append(Note(spread.column, "split into first and last name", shown(cell), after))
        values.extend(self._mapper.constants)
        values.sort(key=lambda pair: pair[0])

    @staticmethod
    def _one(
        step: Step, cell: Any, values: list[tuple[str, Any]], problems: list[Problem], notes: list[Note],
        *, default: bool = False,
    ) -> None:  # fmt: skip
        try:
            value = step.rule(cell)
        except ValueError as error:
            problems.append(_problem(step, cell, error))
            return
        if value.__class__ is Changed:
            notes.append(Note(step.column, value.change, shown(cell), shown(value.value)))
            value = value.value
        if default:
            notes.append(Note(step.column, "the default for an empty cell", "''", shown(value)))
        values.append((step.target, value))


def _cannot_clear(step: Step) -> Problem:
    return Problem(step.column, "null", f"{step.target} cannot be cleared")


def _problem(step: Step, cell: Any, error: ValueError) -> Problem:
    words, remedy = str(error), getattr(error, "remedy", None)
    if remedy is not None and TAKE_FIRST in remedy:
        advice = f"add {flag(step.column, f'{step.target}:first')}"
        words, remedy = words.replace(TAKE_FIRST, advice), remedy.replace(TAKE_FIRST, advice)
    return Problem(step.column, step.kind, words, shown(cell), remedy)


def _folded(key: str, value: str) -> str:
    if key == "email":
        return f"email:{value.lower() if value.isascii() else fold_email(value)}"
    return f"phone:{value}"


_VERSION = f"rules {RULES_VERSION}".encode()


def digest(values: list[tuple[str, Any]]) -> bytes:
    """Return the hash (16 bytes) of a mapped payload under the rules' version."""
    # ascii() of strings, numbers, booleans and None is the same in every version of Python.
    return blake2b(ascii(values).encode("ascii"), digest_size=16, key=_VERSION).digest()
