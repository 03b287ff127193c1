"""Files as people have them → rows that fit an API.

===========================  ==================================================================================
`opening`                    a path, a stream, gzip, zip → bytes that can be read twice
`encoding`, `alphabets`      bytes → text, the guess stated or refused
`dialect`, `delimited`       text → rows of cells; a fault costs its row
`jsonlines`, `workbook`,     the other formats
`parquet`, `records`
`source`, `sources`          the front door for all of them: `read_contacts`, `as_source`
`layouts`, `fields`,         columns → fields
`targets`, `header`
`values`, `cells`, `phones`  cells → values, or the reason why not
`emails`, `dates`
`mapping`, `plan`            rows → payloads: `Mapper`
`duplicates`                 which of several rows with one key stands
`preview`, `mapping_file`    what a user looks at before the first request
===========================  ==================================================================================

How it is used. Nothing here prints or sends; every result is an attrs value of `model`. ::

    source = read_contacts("people.csv", encoding=None, delimiter=None, sheet=None, skip_lines=None, format=None)
    mapper = Mapper(
        schema_of(gateway), key="email,phone", mapping={"Mail": "email"}, constants={"language": "ms"}, empty="skip",
        ignore_unknown=False, region=None, drop_extensions=False, date_format=None, true=(), false=(),
    )
    preview = inspect(source, mapper, rows=3)

- ``preview.found`` (`Found`; ``str()`` of it is a line for people): format, compression, encoding and how it was
  told, delimiter, sheet, lines skipped. ``source.found`` is the same, once the reading has begun.
- ``preview.header.columns`` (`Column`): name, field or None, how it was matched, transforms, type, a sample.
- ``preview.header.problems`` (`HeaderProblem`): all that is wrong with the header, each with the flags that solve it.
  A sync raises one `MappingError` for them, whose ``problems`` are the same values.
- ``preview.rows`` (`Row`): the first rows as they would be sent, or their problems, and the changes made to values.
- ``preview.total``, ``valid``, ``problems`` (`ProblemCount`), ``notes`` (`NoteCount`): counts over all rows.
- ``suggest_mapping(source, mapper)``: a TOML file with a proposal for every column; ``load_mapping(path)`` reads one.

Errors: `SourceError` for the file as a whole, `MappingError` for the header and the settings, both `SyncError` and
`ValueError`, each one line that names the flag which helps.
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
