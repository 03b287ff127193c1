"""The options of ``aelyst sync`` about the file and its columns, as arguments of the library."""

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
    """``rows``: keyword arguments of `ContactSync` for mapping rows. ``source``: those of `read_contacts`."""

    rows: dict[str, Any]
    source: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about columns, values and the file."""
    add = parser.add_argument_group("columns").add_argument
    add("--key", metavar="email|phone|email,phone", help="the field that identifies a contact; of several, the first "
        "that a row has (default: the journal's, else email)")  # fmt: skip
    add("--map", action="append", default=[], metavar="COLUMN=FIELD", help="the field of a column; without FIELD "
        "the column is ignored; may be repeated")  # fmt: skip
    add("--mapping", metavar="TOML", help="a file with the field of each column, as written by --suggest-mapping")
    add("--suggest-mapping", action="store_true", help="write such a file to standard output and send nothing")
    add("--ignore-unknown", action="store_true", default=None, help="ignore the columns that have no field")
    add = parser.add_argument_group("values").add_argument
    add("--empty", choices=["skip", "clear"], help="skip: keep the present value; clear: delete it (default: skip)")
    add(
        "--duplicates",
        choices=["last", "first", "error"],
        help="which of several rows with one key is used (default: last)",
    )
    add("--region", metavar="CC", help="country of phone numbers without a country code, such as MY")
    add("--drop-extensions", action="store_true", default=None, help="drop the extensions of phone numbers")
    add("--date-format", metavar="F", help="format of dates that are not ISO, such as %%d/%%m/%%Y")
    add("--true", action="append", metavar="WORDS", help="further values for a checked checkbox, such as ja,x")
    add("--false", action="append", metavar="WORDS", help="further values for an unchecked checkbox")
    add = parser.add_argument_group("file").add_argument
    add("--format", choices=["csv", "tsv", "jsonl", "excel", "parquet"], help="default: detected from name and content")
    add("--encoding", metavar="NAME", help="encoding of a text file, such as windows-1252 (default: detected)")
    add("--delimiter", metavar="C", help="delimiter of a CSV; tab for a tab character (default: detected)")
    add("--sheet", metavar="NAME", help="sheet of a workbook (default: the first)")
    add("--skip-lines", type=bounded(int, 0, "a number of lines"), metavar="N", help="number of lines above the header")


def read_settings(arguments: argparse.Namespace, recorded: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings: those recorded in a journal, overridden by the mapping file, overridden by the options.

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
    """Return the mapping with the ``--map`` options added; they have precedence."""
    if not known:
        return list(texts)
    if not isinstance(known, dict):
        return [*known, *texts]
    made = dict(known)
    for text in texts:
        # The name of a column may contain "=", so split where the left side is a column of the file.
        cuts = [index for index, character in enumerate(text) if character == "="]
        cut = next((index for index in cuts if text[:index].strip() in known), cuts[0] if cuts else len(text))
        made[text[:cut].strip()] = text[cut + 1 :].strip()
    return made
