"""Each optional dependency that is missing: one line that names the extra, or the same without it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.tables import MappingError, SourceError, load_mapping, read_contacts
from aelyst_async.tables.values import Rules


def parquet(folder: Path) -> Any:
    (folder / "people.parquet").write_bytes(b"PAR1")
    return list(read_contacts(folder / "people.parquet").open())


def region(_: Path) -> Any:
    return Rules(region="DE")


def mapping(folder: Path) -> Any:
    (folder / "mapping.toml").write_text("")
    return load_mapping(folder / "mapping.toml")


def postgres(_: Path) -> Any:
    from aelyst_async.sync.journal.postgres import Server

    return Server("postgresql+asyncpg://localhost/x")


TOML = "tomllib" if sys.version_info >= (3, 11) else "tomli"


@pytest.mark.parametrize(
    ("modules", "use", "extra"),
    [
        (["pyarrow", "pyarrow.parquet"], parquet, "parquet"),
        (["phonenumbers"], region, "phone"),
        ([TOML], mapping, "cli"),
        (["sqlalchemy", "sqlalchemy.exc"], postgres, "postgres"),
        (["sqlalchemy.ext.asyncio"], postgres, "postgres"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    modules: list[str], use: Callable[[Path], Any], extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Exception, match=rf"pip install 'aelyst-async\[{extra}\]'") as refusal:
        use(tmp_path)
    assert isinstance(refusal.value, (MappingError, SourceError)) or extra == "postgres"
    assert refusal.value.__cause__ is None


def test_numbers_with_a_country_code_need_no_phonenumbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    assert str(Rules().of_field("phone")("+60123456789")) == "+60123456789"


def test_without_charset_normalizer_an_encoding_is_still_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    rows = "".join(f"person{number}@example.com,Jürgen Müller,Straße {number}\n" for number in range(50))
    file = tmp_path / "people.csv"
    file.write_bytes(f"email,name,street\n{rows}".encode("cp1252"))
    source = read_contacts(file)
    assert next(iter(source))["name"] == "Jürgen Müller"
