"""Reads a mapping file (TOML), such as ``--suggest-mapping`` writes.

::

    key = "email"                     # also empty, region, date_format, encoding, … like the flags
    [columns]
    "E-mail 1 - Value" = "email:first"
    "Born" = { field = "custom_fields.Birthday", date = "%d/%m/%Y" }
    "Notes" = ""                      # left out
    [constants]
    language = "ms"
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.opening import display_name, reason
from aelyst_async.tables.targets import parse_target

__all__ = ["MappingFile", "load_mapping"]

_MAPPER = {
    "key": str, "empty": str, "duplicates": str, "region": str, "date_format": str, "ignore_unknown": bool,
    "drop_extensions": bool, "true": list, "false": list,
}  # fmt: skip
_SOURCE = {"encoding": str, "delimiter": str, "sheet": str, "skip_lines": int, "format": str}


@attrs.frozen
class MappingFile:
    """The contents of a mapping file: ``columns``, ``constants``, ``settings`` (keyword arguments of `Mapper` and
    `ContactSync`) and ``source`` (keyword arguments of `read_contacts`).
    """

    columns: Mapping[str, Any]
    constants: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: Mapping[str, Any]


def load_mapping(path: str | os.PathLike[str]) -> MappingFile:
    """Return the contents of the file. Raises `MappingError`."""
    file = Path(path)
    name = display_name(file)
    try:
        tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MappingError("--mapping needs Python 3.11, or: pip install 'aelyst-async[cli]'") from None
    try:
        document = tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise MappingError(f"{name}: {reason(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{name}: not TOML: {error}") from None
    columns = document.pop("columns", {})
    constants = document.pop("constants", {})
    known = {**_MAPPER, **_SOURCE}
    unknown = sorted(set(document) - set(known))
    if unknown:
        listed = ", ".join(sorted(known))
        raise MappingError(f"{name}: unknown {', '.join(unknown)}; it may hold [columns], [constants], {listed}")
    for key, value in document.items():
        if type(value) is not known[key]:
            raise MappingError(f"{name}: {key} is {known[key].__name__}, not {type(value).__name__}")
    if not isinstance(columns, dict) or not isinstance(constants, dict):
        raise MappingError(f'{name}: [columns] and [constants] are tables of COLUMN = "FIELD" and FIELD = VALUE')
    for column, said in columns.items():
        try:
            parse_target(said, column)
        except MappingError as error:  # noqa: PERF203
            raise MappingError(f"{name}: {error}") from None
    return MappingFile(
        columns,
        constants,
        {key: value for key, value in document.items() if key in _MAPPER},
        {key: value for key, value in document.items() if key in _SOURCE},
    )
