"""Sources of rows: files, streams, frames and iterables. A broken file raises a one-line error."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async.contacts import ContactFields
from aelyst_async.tables import BadRow, ContactSource, SourceError, as_source, read_contacts
from aelyst_async.tables.records import plain

TABLE = "email,first_name\na@b.co,Ann\nb@b.co,Zoë\n"
ROWS = [{"email": "a@b.co", "first_name": "Ann"}, {"email": "b@b.co", "first_name": "Zoë"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(**members: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE),
        ("bom.csv", "\ufeff" + TABLE),
        ("crlf.csv", TABLE.replace("\n", "\r\n")),
        ("mac.csv", TABLE.replace("\n", "\r")),
        ("blank.csv", "\n\n" + TABLE + "\n,\n"),
        ("a.tsv", TABLE.replace(",", "\t")),
        ("tabs.csv", TABLE.replace(",", "\t")),
        ("semicolons.csv", TABLE.replace(",", ";")),
        ("pipes.txt", TABLE.replace(",", "|")),
        ("sep.csv", "sep=;\r\n" + TABLE.replace(",", ";")),
        ("sep2.csv", '"sep=|"\n' + TABLE.replace(",", "|")),
        ("trailing.csv", TABLE.replace("\n", ",,\n")),
        ("a.jsonl", LINES),
        ("bom.jsonl", "\ufeff" + LINES),
        ("gaps.ndjson", "\n" + LINES + "\n\n"),
        ("noname", TABLE),
        ("noname2", " " + LINES),
        ("utf16.csv", TABLE.encode("utf-16")),
        ("utf16le.csv", TABLE.encode("utf-16-le")),
        ("utf16be.csv", TABLE.encode("utf-16-be")),
        ("utf32.csv", TABLE.encode("utf-32")),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("disguised.csv", gzip.compress(TABLE.encode(), mtime=0)),
        ("a.zip", zipped(**{"people.csv": TABLE})),
        ("a.csv.zip", zipped(**{"__MACOSX/x": "", "people.jsonl": LINES})),
    ],
)
def test_read_contacts_reads_every_format_repeatedly(tmp_path: Path, name: str, content: str | bytes) -> None:
    source = read_contacts(write(tmp_path, name, content))
    assert list(source) == ROWS
    assert list(source) == ROWS, "a source can be read again"
    stream = read_contacts(io.BytesIO(content if isinstance(content, bytes) else content.encode()))
    assert list(stream) == ROWS
    stream.close()


def test_source_describes_the_detected_format(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv.gz", gzip.compress(TABLE.replace(",", ";").encode("utf-16"))))
    list(source)
    found = source.found
    assert found is not None
    assert (found.format, found.compression, found.encoding, found.encoding_from) == ("csv", "gzip", "UTF-16", "BOM")
    assert (found.delimiter, found.delimiter_from) == (";", "content")
    assert str(found) == "CSV, gzip, UTF-16 (by its byte order mark), delimiter ';'"


def test_delimiter_is_detected_if_cells_contain_others(tmp_path: Path) -> None:
    table = "name;address;amount\n" + "Ann;1, Main St, KL;3,5\nBob;2, Main St, KL;4,5\n" * 3
    source = read_contacts(write(tmp_path, "a.csv", table))
    assert next(iter(source)) == {"name": "Ann", "address": "1, Main St, KL", "amount": "3,5"}
    quoted = read_contacts(write(tmp_path, "b.csv", 'email,note\na@b.co,"a;b;c;d"\nb@b.co,"a;b;c;d"\n'))
    assert next(iter(quoted))["note"] == "a;b;c;d"


def test_quoted_cells_keep_their_line(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", 'email,note\na@b.co,"two\nlines, ""quoted"""\nb@b.co,x\n'))
    assert list(source.open()) == [(2, ["a@b.co", 'two\nlines, "quoted"']), (4, ["b@b.co", "x"])]


def test_short_rows_are_filled_and_long_rows_are_bad(tmp_path: Path) -> None:
    table = 'email,x,y\na@b.co,1,2,"3"\nb@b.co\nc@b.co,3,4,,\nd@b.co,5 "in,6,7\n'
    rows = list(read_contacts(write(tmp_path, "a.csv", table)).open())
    assert [line for line, _ in rows] == [2, 3, 4, 5]
    assert [cells for _, cells in rows[1:3]] == [["b@b.co", "", ""], ["c@b.co", "3", "4"]]
    first, last = rows[0][1], rows[3][1]
    assert isinstance(first, BadRow)
    assert isinstance(last, BadRow)
    assert "4 cells, more than the 3 columns: '3' would be left over" in first.message
    assert "look at the quotes in '5 \"in'" in last.message


SWALLOWED = 'email,first_name,note\na@b.co,"Ann,x\nb@b.co,Bob,y\nc@b.co,Cid,"z\nd@b.co,Dan,z"\ne@b.co,Eve,\n'


@pytest.mark.parametrize(
    ("table", "bad", "kept"),
    [
        (SWALLOWED, [2], ["b@b.co", "c@b.co", "e@b.co"]),
        ('email,n,m\n"a@b.co,A,\nb@b.co,B,\nc@b.co,C,\n', [2], ["b@b.co", "c@b.co"]),
        ('email,n,m\na@b.co,"A"x,\nb@b.co,B,\n', [2], ["b@b.co"]),
        ('email,n,m\na@b.co,A,"x\nb@b.co,B,y\nc@b.co,C,"\nd@b.co,D,\n', [2, 4], ["b@b.co", "d@b.co"]),
    ],
)
def test_misplaced_quote_fails_only_its_row(tmp_path: Path, table: str, bad: list[int], kept: list[str]) -> None:
    rows = list(read_contacts(write(tmp_path, "a.csv", table)).open())
    assert [line for line, cells in rows if isinstance(cells, BadRow)] == bad
    assert all(cells.rule == "quote" for _, cells in rows if isinstance(cells, BadRow))
    emails = [cells[0] for _, cells in rows if isinstance(cells, list)]
    assert [email for email in emails if email in kept] == kept


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0@\x1a\r", exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.lists(CELLS | st.text(',;"\n| a', max_size=8), min_size=2, max_size=2), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_output_of_the_csv_module_is_read_back(rows: list[list[str]], delimiter: str, end: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    table = [[f"p{number}@b.co", *cells] for number, cells in enumerate(rows)]
    writer.writerows([["email", "first_name", "note"], *table])
    with contextlib.closing(read_contacts(io.BytesIO(out.getvalue().encode()), delimiter=delimiter)) as source:
        assert [cells for _, cells in source.open()] == table


def test_multi_line_cells_are_no_misplaced_quotes(tmp_path: Path) -> None:
    note = "Dear Ann,\nwe met, talked, and\nwill meet, again, soon,\n\nBob"
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["email", "first_name", "note"], ["a@b.co", "Ann", note], ["b@b.co", "B", ""]])
    assert [cells for _, cells in read_contacts(path).open()] == [["a@b.co", "Ann", note], ["b@b.co", "B", ""]]


def test_unclosed_quote_uses_bounded_memory(tmp_path: Path) -> None:
    rows = "".join(f"p{number}@b.co,Ann\n" for number in range(20_000))
    path = write(tmp_path, "a.csv", 'email,n\n"x@b.co,Ann\n' + rows)
    found = read_contacts(path)
    list(found.open())
    tracemalloc.start()
    try:
        count = bad = 0
        for _, cells in found.open():
            count += 1
            bad += isinstance(cells, BadRow)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (count, bad) == (20_001, 1)
    assert peak < 3_000_000


def test_too_long_cells_fail_only_their_rows(tmp_path: Path) -> None:
    content = 'email,n\n"' + "y" * 200_000 + '"\n"' + "y" * 1_000_000 + "\n" + "a@b.co,A\n" * 3
    rows = [cells for _, cells in read_contacts(write(tmp_path, "a.csv", content)).open()]
    assert [isinstance(cells, BadRow) for cells in rows] == [True, True, False, False, False]


def test_bad_json_lines_are_bad_rows(tmp_path: Path) -> None:
    bad = [
        '{"a": NaN}', '{"a": ', "5", '{"b": ' + "[" * 100_000, '{"email": "a", "email": "b"}',
        '{"a": {"b": 1, "b": 2}}', '{"a": ' + "1" * 5_000 + "}", '{"a": -Infinity}',
    ]  # fmt: skip
    content = LINES + "\n".join(bad) + "\n" + '{"email": "c@b.co"}\n'
    rows = list(read_contacts(write(tmp_path, "a.jsonl", content)).open())
    assert [isinstance(cells, BadRow) for _, cells in rows] == [False, False, *[True] * len(bad), False]
    twice = rows[6][1]
    assert isinstance(twice, BadRow)
    assert twice.message == "not JSON: the key 'email' occurs twice in one object"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", r"empty\.csv is empty"),
        ("empty.jsonl", "\n\n", r"is empty"),
        ("latin.jsonl", '{"a": "Jürgen"}\n'.encode("cp1252"), r"not UTF-8, which JSON has to be"),
        ("array.json", "[1, 2]", r"is a JSON array; write one object on each line"),
        ("pretty.json", '{\n "email": 1\n}\n', r"JSON over several lines"),
        ("cut.csv.gz", gzip.compress(TABLE.encode() * 999, mtime=0)[:-20], r"damaged or cut off"),
        ("cut.zip", zipped(**{"a.csv": TABLE * 999})[:-40], r"damaged or cut off"),
        ("two.zip", zipped(**{"a.csv": TABLE, "b.csv": TABLE}), r"zip archive of 2 files \(a\.csv, b\.csv\)"),
        ("none.zip", zipped(), r"zip"),
        (
            "nested.zip",
            zipped(**{"a.zip": zipped(**{"a.csv": TABLE})}),
            r"contains a\.zip, another zip archive; unpack",
        ),
        ("long.jsonl", '{"a": "' + "x" * (1 << 20) + '"}', r"line 1: longer than"),
        ("long.csv", "email\n" + "x" * (1 << 21), r"line 2: longer than"),
        ("wide.csv", ",".join(f"c{n}" for n in range(20_000)) + "\n", r"20,000 columns; at most 2,000"),
        ("title.csv", "People of 2025\n\nemail,first_name,x\na@b.co,Ann,1\nb@b.co,B,2\n", r"add --skip-lines 2"),
        ("groups.csv", "Person,,Contact,\nFirst,Last,Email,Phone\nAnn,Lee,a@b.co,+49151\n", r"add --skip-lines 1$"),
        (
            "title and groups.csv",
            "People\n\n,Person,,Contact\nNo,First,Last,Email\n1,A,B,a@b.co\n",
            r"add --skip-lines 3$",
        ),
        ("title2.csv", "People of 2025,,\nemail,first_name,x\na@b.co,Ann,1\nb@b.co,B,2\n", r"add --skip-lines 1"),
        ("blank.csv.gz", gzip.compress(b"email,n\n" + b"\n" * 2_000_002, mtime=0), r"2,000,000 blank lines"),
        ("headless.csv", "a@b.co,Ann\nb@b.co,Bob\n", r"looks like a row, not like a header \('a@b\.co'\)"),
        ("binary.csv", bytes(range(256)) * 20, r"not a text file"),
        ("a.pdf", b"%PDF-1.7\n", r"is a PDF document; export the table as CSV"),
        ("a.vcf", "BEGIN:VCARD\nVERSION:3.0\n", r"is a vCard file"),
        ("a.csv", "<!doctype html><html>", r"is an HTML page"),
        ("a.xls", "<html><table>", r"is an HTML page"),
        ("a.xml", "<?xml version='1.0'?>", r"is XML"),
        ("a.db", b"SQLite format 3\0" + b"x" * 100, r"is an SQLite database"),
        ("a.xlsx", b"PK\x03\x04" + b"x" * 100, r"damaged|not readable"),
        ("a.csv.bz2", b"BZh91AY", r"packed with bzip2"),
    ],
)
def test_unreadable_files_raise_a_one_line_error(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words) as refusal:
        list(read_contacts(write(tmp_path, name, content)).open())
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_header_may_contain_dates_and_numbers(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", "email,2025-01-01,60123456789\na@b.co,1,2\n"))
    assert next(iter(source)) == {"email": "a@b.co", "2025-01-01": "1", "60123456789": "2"}


def test_skip_lines_keeps_the_line_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "title.csv", "People\n\nemail,first_name\na@b.co,Ann\n")
    source = read_contacts(path, skip_lines=2)
    assert list(source.open()) == [(4, ["a@b.co", "Ann"])]
    assert source.found is not None
    assert source.found.skipped_lines == 2
    one_column = write(tmp_path, "one.csv", "email\na@b.co\nb@b.co\n")
    assert len(list(read_contacts(one_column))) == 2


def test_column_names_are_made_unique(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", "email, phone ,,phone,\nx,1,2,3,\n"))
    assert next(iter(source)) == {"email": "x", "phone": "1", "column 3": "2", "phone (2)": "3"}


def test_read_contacts_rejects_invalid_paths_and_options(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file"):
        list(read_contacts(tmp_path / "nope.csv").open())
    with pytest.raises(SourceError, match=r"is a directory"):
        list(read_contacts(tmp_path).open())
    for wrong in (";;", "", '"', "\n"):
        with pytest.raises(SourceError, match=r"one character"):
            read_contacts("a.csv", delimiter=wrong)
    with pytest.raises(SourceError, match=r"--encoding klingon: not an encoding"):
        read_contacts("a.csv", encoding="klingon")
    with pytest.raises(SourceError, match=r"skip_lines must be a whole number"):
        read_contacts("a.csv", skip_lines=-1)
    with pytest.raises(SourceError):
        list(read_contacts("a\0b.csv").open())


def test_non_utf8_file_names_are_escaped(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/J\xfcrgen.csv"
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - bytes
            file.write(TABLE.encode())
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    source = read_contacts(os.fsdecode(path))
    assert list(source) == ROWS
    assert source.name == "J\\xfcrgen.csv"
    assert source.fingerprint() is not None
    with pytest.raises(SourceError) as refusal:
        list(read_contacts(os.fsdecode(path + b"x")).open())
    str(refusal.value).encode()


def test_stream_can_be_read_twice_and_closed() -> None:
    source = read_contacts(io.BytesIO(TABLE.encode()))
    assert list(source) == ROWS
    assert list(source) == ROWS
    source.close()
    source.close()


async def test_as_source_accepts_sync_and_async_iterables() -> None:
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


def test_plain_makes_any_value_json_serializable() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    cycle: dict[str, Any] = {}
    cycle["x"] = cycle
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    row = {("a", 1): 1, "nan": float("nan"), "inf": [float("-inf")], "big": 10**5_000, "bad": Hostile(), "c": cycle,
           "deep": deep, "when": datetime(2025, 1, 2), "half": "\ud800", "set": {1}}  # fmt: skip # noqa: DTZ001
    json.dumps(plain(row), allow_nan=False)
    assert plain(row)["nan"] == "nan"
    assert plain({"a": [1, 2.5, None, True, "x"]}) == {"a": [1, 2.5, None, True, "x"]}


async def test_parquet_files_and_arrow_frames_are_read(tmp_path: Path) -> None:
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
        """A data frame with only the Arrow interface, as polars has it."""

        def __arrow_c_stream__(self, requested: Any = None) -> Any:
            return table.__arrow_c_stream__(requested)

    for frame in (table, Frame()):
        framed = await as_source(frame)
        assert list(framed) == expected
        assert list(framed) == expected
    broken = write(tmp_path, "b.parquet", "not parquet")
    with pytest.raises(SourceError, match="not readable as Parquet"):
        list(read_contacts(broken).open())


def test_unsupported_parquet_values_fail_only_their_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    bad_text = pa.Array.from_buffers(
        pa.utf8(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")]
    )
    table = pa.table(
        {
            "email": ["a@b.co", "b@b.co", "c@b.co"],
            "ns": pa.array([1, 1_000, 86_400 * 10**9], pa.timestamp("ns")),
            "far": pa.array([0, 10**9, 0], pa.date32()),
            "text": bad_text,
        }
    )
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    rows = [cells for _, cells in read_contacts(path).open()]
    assert [isinstance(cells, BadRow) for cells in rows] == [True, True, False]
    message = [cells.message for cells in rows if isinstance(cells, BadRow)]
    assert message[0].startswith("ns: ")
    assert message[1].startswith("far: ")
    json.dumps(plain([cells.data for cells in rows if isinstance(cells, BadRow)]))


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE)
    source: ContactSource = read_contacts(path)
    before = source.fingerprint()
    assert source.fingerprint() == before
    path.write_text(TABLE + "c@b.co,C\n")
    assert source.fingerprint() != before


def with_zip_bits(archive: bytes, *, flags: int = 0, method: int = 8) -> bytes:
    """Return a zip archive of one file whose directory tells other flags and another compression."""
    at = archive.index(b"PK\x01\x02") + 8
    return archive[:at] + flags.to_bytes(2, "little") + method.to_bytes(2, "little") + archive[at + 4 :]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("secret.zip", with_zip_bits(zipped(**{"a.csv": TABLE}), flags=1), r"zip archive with a password"),
        ("odd.zip", with_zip_bits(zipped(**{"a.csv": TABLE}), method=99), r"a compression that Python lacks"),
        ("a.docx", zipped(**{"[Content_Types].xml": "", "word/document.xml": ""}), r"export the table as CSV"),
        ("quote.csv", '"e"mail,first_name\na@b.co,Ann\n', r"line 1: not readable as a header"),
        ("tilde.csv", "email~first_name\na@b.co~Ann\n", r"the columns look separated by '~'; add --delimiter"),
        ("table.csv", b"PAR1" + b"\0" * 20 + b"PAR1", r"is a Parquet file; add --format parquet"),
    ],
)
def test_files_that_are_refused_with_a_remedy(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        list(read_contacts(write(tmp_path, name, content)).open())


def test_fingerprint_of_a_file_that_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE)
    source = read_contacts(path)
    path.unlink()
    with pytest.raises(SourceError, match="no such file"):
        source.fingerprint()


def test_a_row_that_cannot_be_read_ends_a_plain_iteration(tmp_path: Path) -> None:
    rows = iter(read_contacts(write(tmp_path, "a.jsonl", LINES + "[1]\n")))
    assert [next(rows), next(rows)] == ROWS
    with pytest.raises(SourceError, match=r"a\.jsonl: "):
        next(rows)


def test_skipped_lines_are_told(tmp_path: Path) -> None:
    source = read_contacts(write(tmp_path, "a.csv", "People\n" + TABLE), skip_lines=1)
    list(source.open())
    assert "1 line above the header skipped" in str(source.found)


def damaged_zip(damage: str) -> bytes:
    method = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}.get(damage, zipfile.ZIP_STORED)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("é.csv", TABLE * 50)
    data = bytearray(buffer.getvalue())
    if damage == "version":
        data[data.rfind(b"PK\1\2") + 6] = 90
    elif damage == "name":
        data = data.replace("é".encode(), b"\xff\xff")
    else:
        data[60:80] = b"\xff" * 20
    return bytes(data)


@pytest.mark.parametrize("damage", ["lzma", "bzip2", "version", "name"])
def test_read_contacts_names_a_damaged_zip_archive(tmp_path: Path, damage: str) -> None:
    with pytest.raises(SourceError, match="zip data is damaged or cut off"):
        list(read_contacts(write(tmp_path, "a.zip", damaged_zip(damage))))


def test_end_of_file_mark_of_dos_is_not_a_row(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"email,first_name\na@example.com,Ann\n\x1a")
    assert [cells for _, cells in read_contacts(tmp_path / "p.csv").open()] == [["a@example.com", "Ann"]]


def test_cells_over_several_lines_are_kept_in_header_and_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('first_name,"two\nlines"\nAnn,"a\nb"\n')
    source = read_contacts(tmp_path / "p.csv")
    assert [cells for _, cells in source.open()] == [["Ann", "a\nb"]]
    assert source.columns == ("first_name", "two\nlines")


def test_quote_that_joins_lines_into_too_many_cells_fails_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('email,first_name\na@example.com,"Ann\nb@example.com,Bo",x\nc@example.com,Cy\n')
    (_, bad), *rest = read_contacts(tmp_path / "p.csv").open()
    assert isinstance(bad, BadRow)
    assert bad.message == "a quote is opened here and closed in line 3 only, which gives 3 cells instead of 2"
    assert rest[-1] == (4, ["c@example.com", "Cy"])
