"""The settings of a sync, each described and checked once. `ContactSync` takes them as keyword arguments."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, get_args

import attrs

from aelyst_async.schema import ContactSchema
from aelyst_async.sync.errors import MappingError
from aelyst_async.sync.journal.database import is_url, without_password
from aelyst_async.sync.report import Progress
from aelyst_async.tables.duplicates import Duplicates
from aelyst_async.tables.mapping import Empty, Mapper
from aelyst_async.transport.settings import LONGEST

__all__ = ["Confirm", "MirrorPlan", "RetrySettings", "SyncSettings", "check_count"]


_Validator: TypeAlias = Callable[[Any, Any, Any], None]


def _must_be(words: str, fits: Callable[[Any], bool]) -> _Validator:
    """Return a validator that raises `MappingError`: ``FIELD must be WORDS, not VALUE``."""

    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not fits(value):
            shown = without_password(value) if isinstance(value, str) else value  # a URL given for the wrong setting
            raise MappingError(f"{field.name} must be {words}, not {shown!r}")

    return check


def _is_number(value: object, most: float = math.inf) -> bool:
    """Whether a value is a number from 0 to `most`. NaN is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _is_number_or_share(value: object) -> bool:
    return _is_number(value, 1 if isinstance(value, float) else math.inf)


check_count: _Validator = _must_be(
    "a whole number from 1", lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1
)
_check_seconds = _must_be(f"a number of seconds from 0 to {LONGEST:g}", lambda value: _is_number(value, LONGEST))
_check_flag = _must_be("True or False", lambda value: isinstance(value, bool))
_check_callable = _must_be("a callable or None", lambda value: value is None or callable(value))


@attrs.frozen(kw_only=True)
class RetrySettings:
    """How long a row waits, in seconds.

    ``settle``: from a write in doubt to the look-up. ``base`` / ``cap``: the exponential backoff of attempts.
    ``queued`` / ``queued_cap``: of a 449, "try again in a few minutes". ``patience``: for how long a row may be put
    off ("not now", or no connection) before it counts as failed. A row whose server asks for a longer wait
    (Retry-After) fails at once.
    """

    settle: float = attrs.field(default=5.0, validator=_check_seconds)
    base: float = attrs.field(default=0.5, validator=_check_seconds)
    cap: float = attrs.field(default=30.0, validator=_check_seconds)
    queued: float = attrs.field(default=60.0, validator=_check_seconds)
    queued_cap: float = attrs.field(default=300.0, validator=_check_seconds)
    patience: float = attrs.field(default=3600.0, validator=_check_seconds)


@attrs.frozen(kw_only=True)
class MirrorPlan:
    """What a mirror is about to delete: ``missing`` of the ``listed`` contacts; ``names`` of the first of them."""

    missing: int
    listed: int
    names: tuple[str, ...]


Confirm: TypeAlias = Callable[[MirrorPlan], "bool | Awaitable[bool]"]


def _check_duplicates(_: object, __: object, value: object) -> None:  # type checkers lose the Literal by `_must_be`
    if value not in get_args(Duplicates):
        raise MappingError(f"duplicates must be last, first or error, not {value!r}")


def _path(name: str, given: Any) -> Path | None:
    try:
        return None if given is None else Path(given)
    except TypeError:
        raise MappingError(f"{name} must be a path, not {type(given).__name__}") from None


def _journal(given: str | os.PathLike[str] | None) -> Path | str | None:
    return str(given) if given is not None and is_url(given) else _path("journal", given)


def _failures(given: str | os.PathLike[str] | None) -> Path | None:
    return _path("failures", given)


def _json(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise MappingError(f"settings must be a mapping or None, not {type(given).__name__}")
    return dict(given or {})


@attrs.define(kw_only=True, eq=False, repr=False, on_setattr=attrs.setters.frozen)  # a journal's URL has a password
class SyncSettings:
    """What a sync sends, what it keeps, and how it runs. Raises `MappingError` for a setting that cannot work.

    What is sent:

    - `key`: the field that identifies a contact; of ``"email,phone"``, the first that a row has.
    - `mapping`, `constants`, `empty`, `region`, `ignore_unknown`, `drop_extensions`, `date_format`, `true`, `false`:
      how columns become fields, as `Mapper` says.
    - `duplicates`: which of several rows with one key is used: ``"last"``, ``"first"``, or ``"error"`` for none.
    - `refresh`: also send unchanged rows. `verify`: the share (0 to 1) of unchanged rows that are compared with the
      vendor's data. `assume_new`: create contacts that the journal does not know without a look-up; only for an account
      that is empty.
    - `delete_missing`: after a run in which every row went in, delete the contacts of the account that the source does
      not have (`aelyst_async.sync.mirror`); needs a journal. `max_deletes`: the number of contacts (an ``int``), or the
      share of the account's (a ``float`` from 0 to 1), above which none is deleted. `confirm`: a plain or async
      callable that gets a `MirrorPlan` before the first delete and returns whether to continue.

    What is kept:

    - `journal`: the path of an SQLite file, or the URL of a PostgreSQL database (`aelyst_async.sync.journal.postgres`).
      With None nothing is remembered, and every row is sent.
    - `rebind`: the credential was replaced, but the account of the journal is the same.
    - `failures`: where failed rows are written. By default beside the source, or beside the journal if the rows are no
      file; ``report.failures`` is the path.
    - `target` (``target``, ``base_url``, ``instance``) and `settings` (JSON-ready) are stored in the journal, so that
      another program can repeat the run. A sandbox with another ``instance`` is another account.

    How it runs:

    - `concurrency`: the most rows in flight; fewer if quota and latency need no more.
    - `max_attempts` of a row, and the pauses between them (`retry`).
    - `max_errors`: the number of failed rows (an ``int``), or a share such as 0.05, that ends the run.
    - `drain`: seconds that `ContactSync.stop` gives the requests in flight.
    - `progress`: called with a `Progress` a few times a second.
    """

    journal: Path | str | None = attrs.field(default=None, converter=_journal)
    key: str = "email"
    concurrency: int = attrs.field(default=64, validator=check_count)
    mapping: Mapping[str, Any] | Iterable[str] | Callable[[Mapping[str, Any]], Any] | None = None
    empty: Empty = "skip"
    region: str | None = None
    constants: Mapping[str, Any] | None = None
    ignore_unknown: bool = attrs.field(default=False, validator=_check_flag)
    drop_extensions: bool = attrs.field(default=False, validator=_check_flag)
    date_format: str | None = None
    true: Iterable[str] = ()
    false: Iterable[str] = ()
    duplicates: Duplicates = attrs.field(default="last", validator=_check_duplicates)
    failures: Path | None = attrs.field(default=None, converter=_failures)
    refresh: bool = attrs.field(default=False, validator=_check_flag)
    verify: float = attrs.field(
        default=0.0, validator=_must_be("a share from 0 to 1", lambda value: _is_number(value, 1))
    )
    max_errors: float | None = attrs.field(
        default=None,
        validator=_must_be(
            "a number of rows, or a share up to 1.0 such as 0.05",
            lambda value: value is None or _is_number_or_share(value),
        ),
    )
    drain: float = attrs.field(default=20.0, validator=_check_seconds)
    max_attempts: int = attrs.field(default=5, validator=check_count)
    assume_new: bool = attrs.field(default=False, validator=_check_flag)
    retry: RetrySettings = attrs.field(
        default=RetrySettings(),
        validator=_must_be("RetrySettings(…)", lambda value: isinstance(value, RetrySettings)),
    )
    progress: Callable[[Progress], None] | None = attrs.field(default=None, validator=_check_callable)
    rebind: bool = attrs.field(default=False, validator=_check_flag)
    target: Mapping[str, str | None] | None = attrs.field(
        default=None,
        validator=_must_be("a mapping or None", lambda value: value is None or isinstance(value, Mapping)),
    )
    settings: dict[str, Any] = attrs.field(default=None, converter=_json)
    delete_missing: bool = attrs.field(default=False, validator=_check_flag)
    max_deletes: float = attrs.field(
        default=0.1,
        validator=_must_be("a number of contacts, or a share of them up to 1.0 such as 0.1", _is_number_or_share),
    )
    confirm: Confirm | None = attrs.field(default=None, validator=_check_callable)

    def __attrs_post_init__(self) -> None:
        if self.delete_missing and self.journal is None:
            raise MappingError("delete_missing needs a journal, which makes deletes safe to repeat; name one")

    def mapper_for(self, schema: ContactSchema) -> Mapper:
        """Return what maps rows to contacts of this API. Raises `MappingError`."""
        return Mapper(
            schema, key=self.key, mapping=self.mapping, constants=self.constants, empty=self.empty, region=self.region,
            ignore_unknown=self.ignore_unknown, drop_extensions=self.drop_extensions, date_format=self.date_format,
            true=self.true, false=self.false,
        )  # fmt: skip
