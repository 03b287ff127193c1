"""Reads JSON lines: one object on each line. An invalid line fails alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, RawRow

__all__ = ["read_json_lines"]

_MAX_DIGITS = 400
"""Largest number of digits of a whole number. No field accepts more, and Python refuses 4,300."""


def read_json_lines(lines: Iterable[str], name: str) -> Iterator[RawRow]:
    """Yield the object of each line. Raises `SourceError` for JSON that is not JSON lines."""
    some = False
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped:
            continue
        if not some:
            if stripped[0] == "[":
                raise SourceError(f"{name} is a JSON array; write one object on each line (jq -c '.[]' FILE)")
            if stripped == "{":
                raise SourceError(f"{name} is JSON over several lines; write one object on each line (jq -c . FILE)")
        some = True
        try:
            record = _DECODER.decode(stripped)
        except RecursionError:
            yield number, BadRow("json", "the JSON is nested too deeply", stripped[:2000])
        except ValueError as error:
            yield number, BadRow("json", f"not JSON: {getattr(error, 'msg', None) or error}", stripped[:2000])
        else:
            if isinstance(record, dict):
                yield number, record
            else:
                yield number, BadRow("json", f"expected a JSON object, got {type(record).__name__}", stripped[:2000])
    if not some:
        raise SourceError(f"{name} is empty: one JSON object on each line is expected")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} occurs twice in one object")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_whole_number)
