"""Reads files in the formats of other tools, and maps their rows to the fields of an API.

===========================  ==================================================================================
`opening`                    a path, a stream, gzip, zip → bytes that can be read twice
`encoding`, `alphabets`      bytes → text; a guess is reported or refused
`dialect`, `delimited`       text → rows of cells; a fault affects one row
`jsonlines`, `workbook`,     the other formats
`parquet`, `records`
`source`, `sources`          the entry points: `read_contacts`, `as_source`
`layouts`, `fields`,         columns → fields
`targets`, `header`
`values`, `cells`, `phones`  cells → values, or the reason for a refusal
`emails`, `dates`
`mapping`, `plan`            rows → payloads: `Mapper`
`duplicates`                 which of several rows with one key is used
`preview`, `mapping_file`    a preview, and mapping files
===========================  ==================================================================================

Nothing here prints or sends. Every result is an attrs class of `model`. ::

    source = read_contacts("people.csv", encoding=None, delimiter=None, sheet=None, skip_lines=None, format=None)
    mapper = Mapper(
        schema_of(gateway), key="email,phone", mapping={"Mail": "email"}, constants={"language": "ms"}, empty="skip",
        ignore_unknown=False, region=None, drop_extensions=False, date_format=None, true=(), false=(),
    )
    preview = inspect(source, mapper, rows=3)

- ``preview.found`` (`Found`; its ``str()`` is a line for people): format, compression, encoding and its origin,
  delimiter, sheet, skipped lines. ``source.found`` is the same value, available once reading has begun.
- ``preview.header.columns`` (`Column`): name, field or None, kind of match, transforms, type, a sample.
- ``preview.header.problems`` (`HeaderProblem`): all problems of the header, each with the flags that solve it. A sync
  raises one `MappingError` with the same ``problems``.
- ``preview.rows`` (`Row`): the first rows as they would be sent, or their problems, and the changes to their values.
- ``preview.total``, ``valid``, ``problems`` (`ProblemCount`), ``notes`` (`NoteCount`): counts over all rows.
- ``suggest_mapping(source, mapper)``: a TOML file with a proposal for every column; ``load_mapping(path)`` reads one.

Errors: `SourceError` for the file, `MappingError` for the header and the settings. Both are a `SyncError` and a
`ValueError`. Each message is one line that names the flag to use.
"""

from aelyst_async.tables.errors import MappingError, SourceError, SyncError
from aelyst_async.tables.fields import schema_of
from aelyst_async.tables.mapping import Mapper
from aelyst_async.tables.mapping_file import MappingFile, load_mapping
from aelyst_async.tables.model import (
    BadRow,
    Column,
    Found,
    Header,
    HeaderProblem,
    Note,
    NoteCount,
    Preview,
    Problem,
    ProblemCount,
    RawRow,
    Row,
)
from aelyst_async.tables.plan import Mapped
from aelyst_async.tables.preview import inspect, suggest_mapping
from aelyst_async.tables.source import ContactSource
from aelyst_async.tables.sources import as_source, read_contacts

__all__ = [
    "BadRow",
    "Column",
    "ContactSource",
    "Found",
    "Header",
    "HeaderProblem",
    "Mapped",
    "Mapper",
    "MappingError",
    "MappingFile",
    "Note",
    "NoteCount",
    "Preview",
    "Problem",
    "ProblemCount",
    "RawRow",
    "Row",
    "SourceError",
    "SyncError",
    "as_source",
    "inspect",
    "load_mapping",
    "read_contacts",
    "schema_of",
    "suggest_mapping",
]
