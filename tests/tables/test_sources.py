"""Files, pipes, frames and iterables become rows; what is wrong with a file is one line with the place."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.contacts import ContactFields
from aelyst_async.sync import SourceError, read_contacts
from aelyst_async.tables import BadRow, ContactSource, as_source

TABLE = "email,first_name\na@b.co,Ann\nb@b.co,Zoë\n"
ROWS = [{"email": "a@b.co", "first_name": "Ann"}, {"email": "b@b.co", "first_name": "Zoë"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE),
        ("bom.csv", "\ufeff" + TABLE),
        ("crlf.csv", TABLE.replace("\n", "\r\n")),
        ("blank.csv", "\n\n" + TABLE + "\n,\n"),
        ("a.tsv", TABLE.replace(",", "\t")),
        ("a.jsonl", LINES),
        ("bom.jsonl", "\ufeff" + LINES),
        ("gaps.ndjson", "\n" + LINES + "\n\n"),
        ("noname", TABLE),
        ("noname2", " " + LINES),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("disguised.csv", gzip.compress(TABLE.encode(), mtime=0)),
    ],
)
def test_formats(tmp_path: Path, name: str, content: str | bytes) -> None:
    source = read_contacts(write(tmp_path, name, content))
    assert list(source) == ROWS
    assert list(source) == ROWS, "a source can be read again"


def test_quoted_cells_keep_their_line(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", 'email,note\na@b.co,"two\nlines, ""quoted"""\nb@b.co,x\n'))
    assert list(source.open()) == [(2, ["a@b.co", 'two\nlines, "quoted"']), (4, ["b@b.co", "x"])]


def test_rows_with_too_many_or_too_few_cells_are_bad_rows(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", "email,x\na@b.co,1,2\nb@b.co\nc@b.co,3\n"))
    rows = list(source.open())
    assert [isinstance(cells, BadRow) for _, cells in rows] == [True, True, False]
    assert [line for line, _ in rows] == [2, 3, 4]
    bad = rows[0][1]
    assert isinstance(bad, BadRow)
    assert bad.rule == "cells"
    assert "3 cells, more than the 2 columns" in bad.message


def test_bad_json_lines_are_bad_rows(tmp_path: Path) -> None:
    deep = "[" * 100_000
    content = LINES + '{"a": NaN}\n{"a": \n5\n{"b": ' + deep + "\n" + '{"email": "c@b.co"}\n'
    rows = list(read_contacts(write(tmp_path, "a.jsonl", content)).open())
    assert [isinstance(cells, BadRow) for _, cells in rows] == [False, False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", r"empty\.csv is empty"),
        ("empty.jsonl", "\n\n", r"is empty"),
        ("latin.csv", b"email,n\na@b.co,J\xfcrgen\n", r"line 2, byte 9 \(0xFC\): not UTF-8"),
        ("latin.jsonl", b'{"a": "\xff"}\n', r"line 1, byte 8"),
        ("latin.csv.gz", gzip.compress(b"email\n\xfc\n", mtime=0), r"line 2, byte 1"),
        ("utf16.csv", "email\na@b.co\n".encode("utf-16"), r"is UTF-16"),
        ("array.json", "[1, 2]", r"is a JSON array"),
        ("quote.csv", 'email\n"a@b.co\nb@b.co\n', r"line 2: .*never closed"),
        ("after.csv", 'email,n\n"a"b@b.co,c\n', r"line 2: not readable as CSV"),
        ("cut.csv.gz", gzip.compress(TABLE.encode() * 999, mtime=0)[:-20], r"damaged or cut off"),
        ("twice.csv", "email,email\n", r"two columns 'email'"),
        ("unnamed.csv", "email,,x\n", r"column 2 has no name"),
        ("semi.csv", "email;name\n", r"separated by ';'; add --delimiter"),
        ("long.jsonl", '{"a": "' + "x" * (1 << 20) + '"}', r"longer than"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words) as refusal:
        list(read_contacts(write(tmp_path, name, content)).open())
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_faults_of_a_path(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file"):
        list(read_contacts(tmp_path / "nope.csv").open())
    with pytest.raises(SourceError, match=r"is a directory"):
        list(read_contacts(tmp_path).open())
    with pytest.raises(SourceError, match=r"one character"):
        read_contacts("a.csv", delimiter=";;")


def test_a_stream_is_read_twice_and_its_copy_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_contacts(io.BytesIO(TABLE.encode()))
    assert list(source) == ROWS
    assert list(source) == ROWS
    source.close()
    source.close()


def test_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE.replace(",", ";"))
    assert list(read_contacts(path, delimiter=";")) == ROWS


async def test_iterables() -> None:
    def once() -> Iterator[dict[str, str]]:
        yield from ROWS

    async def slowly() -> AsyncIterator[dict[str, str]]:
        for row in ROWS:
            yield row

    for rows in (ROWS, tuple(ROWS), once(), slowly()):
        source = await as_source(rows)
        assert list(source) == ROWS
        assert list(source) == ROWS
        source.close()
    given = await as_source([ContactFields(email="a@b.co", last_name=None), "no row"])
    first, second = (cells for _, cells in given.open())
    assert first == {"email": "a@b.co", "last_name": None}
    assert isinstance(second, BadRow)
    with pytest.raises(SourceError, match="got int"):
        await as_source(5)


async def test_parquet_and_frames(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"email": ["a@b.co", "b@b.co"], "custom_fields.Age:number": [41, None]})
    expected = [
        {"email": "a@b.co", "custom_fields.Age:number": 41},
        {"email": "b@b.co", "custom_fields.Age:number": ""},
    ]
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    source = read_contacts(path)
    assert list(source) == expected
    assert source.fingerprint() is not None

    class Frame:
        """What polars is, as far as we look."""

        def __arrow_c_stream__(self, requested: Any = None) -> Any:
            return table.__arrow_c_stream__(requested)

    for frame in (table, Frame()):
        framed = await as_source(frame)
        assert list(framed) == expected
        assert list(framed) == expected
    broken = write(tmp_path, "b.parquet", "not parquet")
    with pytest.raises(SourceError, match="not readable as Parquet"):
        list(read_contacts(broken).open())


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE)
    source: ContactSource = read_contacts(path)
    before = source.fingerprint()
    assert source.fingerprint() == before
    path.write_text(TABLE + "c@b.co,C\n")
    assert source.fingerprint() != before
