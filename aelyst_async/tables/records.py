"""Sources of mappings and `ContactFields`, in memory or from a one-time iterable.

A one-time iterable is copied to a temporary file, one pickle for each row, because a sync reads its source twice. An
exception raised by a caller's object fails its row.
"""

from __future__ import annotations

import math
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.tables.fields import CUSTOM, UNTYPED
from aelyst_async.tables.model import BadRow, RawRow
from aelyst_async.tables.source import ContactSource
from aelyst_async.transport.settings import shown

__all__ = ["Items", "Spool", "flat_record", "plain"]

_DEPTH = 20


class Items(ContactSource):
    """Rows in a sequence that is in memory already."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start."""
        for item in self._items:
            yield None, _record(item)


class Spool(ContactSource):
    """Rows of a one-time iterable, copied to a temporary file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by close()

    def add(self, item: Any) -> None:
        """Append a row."""
        record = _record(item)
        try:
            packed = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
            pickle.loads(packed)  # noqa: S301 - our own bytes; an object may refuse only here
        except Exception as error:  # noqa: BLE001 - whatever the objects of a row raise: the row fails, not the run
            words = f"a value that cannot be kept for the second reading ({type(error).__name__})"
            packed = pickle.dumps(BadRow("type", words, shown(item)), pickle.HIGHEST_PROTOCOL)
        self._file.write(packed)

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start."""
        self._file.seek(0)
        while True:
            try:
                yield None, pickle.load(self._file)  # noqa: S301 - our own temporary file
            except EOFError:  # noqa: PERF203
                return

    def close(self) -> None:
        """Remove the copy. Idempotent."""
        self._file.close()


def _record(item: Any) -> Mapping[str, Any] | BadRow:
    try:
        if isinstance(item, ContactFields):
            return dict(item.given())
        if isinstance(item, Mapping):
            return dict(item)
    except Exception as error:  # noqa: BLE001 - a mapping of the caller's
        return BadRow("type", f"the row raised {type(error).__name__} when it was read", shown(item))
    return BadRow("type", f"expected a mapping or ContactFields, got {type(item).__name__}", shown(item))


def plain(value: Any, _depth: int = 0) -> Any:
    """Return any value in a form that JSON can encode, for the failures file.

    NaN, infinity, whole numbers with hundreds of digits, cycles, deep nesting, keys that are not `str`, and objects
    become `str`.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 10**400 else f"a number of more than {400} digits"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if _depth >= _DEPTH:
        return "…"
    try:
        if isinstance(value, Mapping):
            return {key if isinstance(key, str) else shown(key): plain(item, _depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item, _depth + 1) for item in value]
        if hasattr(value, "isoformat"):
            return str(value.isoformat())
        return str(value)
    except Exception:  # noqa: BLE001 - an object of the caller's
        return shown(value)


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its custom fields (an object, or a list of names and values) as separate keys."""
    if not all(isinstance(name, str) for name in record):
        raise ValueError("a field's name must be a string")
    given = next((name for name in (CUSTOM, "customFields") if name in record), None)
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
        target = f"{CUSTOM}.{name}:{UNTYPED}"
        if target in flat:
            raise ValueError(f"the custom field {name!r} is given twice")
        flat[target] = value
    return flat


_SHAPE = 'custom_fields: expected {"NAME": VALUE} or [{"name": …, "value": …}]'


def _pair(item: Any) -> tuple[str, Any]:
    """Return name and value of one custom field, which is a mapping or an object such as a `CustomField`."""
    if isinstance(item, Mapping):
        name, value = item.get("name"), item.get("value")
    else:
        name, value = getattr(item, "name", None), getattr(item, "value", None)
    if not isinstance(name, str):
        raise ValueError(_SHAPE)  # noqa: TRY004
    return name, value
