"""What the options of ``aelyst sync`` say about the file and its columns, as the library takes it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.cli.parser import bounded

__all__ = ["Settings", "add_options", "read_settings"]

_MAPPER = ("key", "empty", "duplicates", "region", "date_format", "ignore_unknown", "drop_extensions", "true", "false")
_SOURCE = ("format", "encoding", "delimiter", "sheet", "skip_lines")


@attrs.frozen(kw_only=True)
class Settings:
    """``rows``: the keyword arguments of `ContactSync` that make contacts of rows. ``source``: of `read_contacts`."""

    rows: dict[str, Any]
    source: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about columns, values and the file."""
    add = parser.add_argument_group("columns").add_argument
    add("--key", metavar="email|phone|email,phone", help="what contacts are matched by; the first of several that a "
        "row has (default: the journal's, else email)")  # fmt: skip
    add("--map", action="append", default=[], metavar="COLUMN=FIELD", help="a column's field; nothing after = leaves "
        "the column out; may be repeated")  # fmt: skip
    add("--mapping", metavar="TOML", help="a file that says what each column is, as --suggest-mapping writes it")
    add("--suggest-mapping", action="store_true", help="write such a file to standard output, and send nothing")
    add("--ignore-unknown", action="store_true", default=None, help="leave out the columns that have no field")
    add = parser.add_argument_group("values").add_argument
    add("--empty", choices=["skip", "clear"], help="what an empty cell does (default: skip, the value is kept)")
    add("--duplicates", choices=["last", "first", "error"], help="which row of one key stands (default: last)")
    add("--region", metavar="CC", help="country of phone numbers without a country code, such as MY")
    add("--drop-extensions", action="store_true", default=None, help="drop the extensions of phone numbers")
    add("--date-format", metavar="F", help="of dates that are not ISO, such as %%d/%%m/%%Y")
    add("--true", action="append", metavar="WORDS", help="further words of a checked checkbox, such as ja,x")
    add("--false", action="append", metavar="WORDS", help="further words of an unchecked one")
    add = parser.add_argument_group("file").add_argument
    add("--format", choices=["csv", "tsv", "jsonl", "excel", "parquet"], help="default: by the name and the content")
    add("--encoding", metavar="NAME", help="of text, such as windows-1252 (default: told from the file)")
    add("--delimiter", metavar="C", help="of CSV; tab for a tabulator (default: told from the file)")
    add("--sheet", metavar="NAME", help="of a workbook (default: the first)")
    add("--skip-lines", type=bounded(int, 0, "a number of lines"), metavar="N", help="lines above the header")


def read_settings(arguments: argparse.Namespace, recorded: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings: those that a journal recorded, then the mapping file's, then the options'.

    Raises `MappingError`.
    """
    rows: dict[str, Any] = dict(recorded or {})
    source: dict[str, Any] = {}
    if arguments.mapping is not None:
        from aelyst_async.tables import load_mapping

        file = load_mapping(Path(arguments.mapping))
        rows.update(file.settings)
        source.update(file.source)
        rows["mapping"] = dict(file.columns)
        if file.constants:
            rows["constants"] = dict(file.constants)
    given = vars(arguments)
    for name in _MAPPER:
        if given[name] is not None:
            rows[name] = given[name]
    for name in ("true", "false"):
        if given[name] is not None:
            rows[name] = [word.strip() for words in given[name] for word in words.split(",") if word.strip()]
    source.update({name: given[name] for name in _SOURCE if given[name] is not None})
    if source.get("delimiter") in {"\\t", "tab"}:
        source["delimiter"] = "\t"
    if arguments.map:
        rows["mapping"] = _joined(rows.get("mapping"), arguments.map)
    return Settings(rows=rows, source=source)


def _joined(known: Any, texts: list[str]) -> Any:
    """Return the mapping with the ``--map`` options, which win, added."""
    if not known:
        return list(texts)
    if not isinstance(known, dict):
        return [*known, *texts]
    made = dict(known)
    for text in texts:
        # A column's name may hold "=": the split is where the left side is a column of the file.
        cuts = [index for index, character in enumerate(text) if character == "="]
        cut = next((index for index in cuts if text[:index].strip() in known), cuts[0] if cuts else len(text))
        made[text[:cut].strip()] = text[cut + 1 :].strip()
    return made
