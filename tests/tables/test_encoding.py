"""Encoding detection: by byte order mark and structure, by a guess if it is clear, otherwise an error."""

from __future__ import annotations

import io
import random

import pytest

from aelyst_async.tables import Mapper, SourceError, inspect, read_contacts
from aelyst_async.tables.encoding import Encoding, detect
from aelyst_providers.aelyst import AelystGateway

WESTERN = [("Jürgen", "Müller"), ("Zoë", "François"), ("José", "Núñez"), ("Anaïs", "Lefèvre"), ("Björn", "Ångström")]
CZECH = [("Jiří", "Dvořák"), ("Šárka", "Nováková"), ("Tomáš", "Černý"), ("Zdeněk", "Kříž")]
POLISH = [("Łukasz", "Wójcik"), ("Małgorzata", "Dąbrowska"), ("Zbigniew", "Żółkiewski"), ("Paweł", "Świątek")]
RUSSIAN = [("Иван", "Петров"), ("Мария", "Кузнецова"), ("Ольга", "Сидорова"), ("Дмитрий", "Щербаков")]
GREEK = [("Γιώργος", "Παπαδόπουλος"), ("Ελένη", "Ιωάννου"), ("Νίκος", "Δημητρίου")]
TURKISH = [("Şükrü", "Yıldız"), ("Gökhan", "Çağlar"), ("Ayşe", "Öztürk")]
ARABIC = [("محمد", "الهاشمي"), ("فاطمة", "المنصوري"), ("خالد", "العلي")]
HEBREW = [("יוסי", "כהן"), ("שרה", "לוי"), ("דוד", "מזרחי")]
THAI = [("สมชาย", "ใจดี"), ("สมหญิง", "รักไทย"), ("กมล", "ศรีสุข")]
JAPANESE = [("太郎", "山田"), ("花子", "佐藤"), ("さくら", "鈴木"), ("ケンイチ", "高橋")]
CHINESE = [("伟", "王"), ("芳", "李"), ("秀英", "张"), ("敏", "刘"), ("静", "陈")]
KOREAN = [("민수", "김"), ("지영", "이"), ("서연", "박"), ("현우", "최")]

CASES = [
    ("cp1252", WESTERN), ("cp1250", CZECH), ("cp1250", POLISH), ("cp1251", RUSSIAN), ("koi8_r", RUSSIAN),
    ("cp1253", GREEK), ("cp1254", TURKISH), ("cp1256", ARABIC), ("cp1255", HEBREW), ("cp874", THAI),
    ("shift_jis", JAPANESE), ("euc_jp", JAPANESE), ("gb18030", CHINESE), ("euc_kr", KOREAN), ("mac_roman", WESTERN),
    ("cp850", WESTERN), ("cp866", RUSSIAN), ("iso8859_2", POLISH), ("latin_1", WESTERN),
]  # fmt: skip


def table(names: list[tuple[str, str]]) -> str:
    rows = "".join(f"p{index}@example.com;{first};{last}\r\n" for index, (first, last) in enumerate(names))
    return f"email;first_name;last_name\r\n{rows}"


def detect_bytes(data: bytes, encoding: str | None = None) -> Encoding:
    return detect(io.BufferedReader(io.BytesIO(data)), "people.csv", encoding)


@pytest.mark.parametrize(("encoding", "names"), CASES)
def test_detect_guesses_the_encoding_of_names(encoding: str, names: list[tuple[str, str]]) -> None:
    text = table(names)
    found = detect_bytes(text.encode(encoding))
    assert text.encode(encoding).decode(found.codec) == text
    assert found.told_by == "guess"


@pytest.mark.parametrize(("encoding", "names"), CASES)
def test_detect_never_guesses_wrong_for_few_names(encoding: str, names: list[tuple[str, str]]) -> None:
    dice = random.Random(encoding)
    wrong = 0
    for _ in range(6):
        text = table(dice.sample(names, 2))
        try:
            found = detect_bytes(text.encode(encoding))
        except SourceError:
            continue
        wrong += text.encode(encoding).decode(found.codec) != text
    assert wrong == 0


@pytest.mark.parametrize(
    ("encoding", "name", "by"),
    [
        ("utf-8", "UTF-8", "UTF-8"), ("utf-8-sig", "UTF-8", "BOM"), ("utf-16", "UTF-16", "BOM"),
        ("utf-32", "UTF-32", "BOM"),        ("utf-16-le", "UTF-16LE", "guess"), ("utf-16-be", "UTF-16BE", "guess"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [WESTERN, RUSSIAN, JAPANESE])
def test_detect_recognizes_unicode_encodings(encoding: str, name: str, by: str, names: list[tuple[str, str]]) -> None:
    found = detect_bytes(table(names).encode(encoding))
    assert (found.name, found.told_by) == (name, by)


def test_detect_rejects_a_weak_guess_and_shows_alternatives() -> None:
    data = "email;first_name\r\np@example.com;João\r\n".encode("cp1252")
    with pytest.raises(SourceError) as refusal:
        detect_bytes(data)
    words = str(refusal.value)
    assert "line 2, byte 17 (0xE3): not UTF-8" in words
    assert "--encoding windows-1252: 'João'" in words
    assert "--encoding windows-1250: 'Joăo'" in words
    assert detect_bytes(data, "windows-1252").codec == "cp1252"


def test_detect_reads_the_whole_file() -> None:
    ascii_rows = "".join(f"p{number}@example.com;Ann;Lee\r\n" for number in range(40_000))
    data = (table([]) + ascii_rows + table(CZECH).partition("\n")[2]).encode("cp1250")
    assert detect_bytes(data).codec == "cp1250"


def test_detect_stops_reading_when_the_result_cannot_change() -> None:
    data = table(CZECH * 15_000).encode("cp1250")
    binary: io.BufferedReader = io.BufferedReader(io.BytesIO(data))
    assert detect(binary, "people.csv", None).codec == "cp1250"
    assert binary.tell() < len(data) / 2


def test_detect_reads_a_file_without_line_ends() -> None:
    assert detect_bytes(b"a" + "é".encode() * 1_000_000).codec == "utf-8"


def test_detect_names_the_first_of_several_invalid_bytes() -> None:
    ascii_rows = b"p@example.com;Ann\r\n" * 40_000
    data = b"email;first_name\r\np@example.com;Jo\xe3o\r\n" + ascii_rows + b"p@example.com;Jo\xe3o\r\n"
    with pytest.raises(SourceError, match=r"people.csv, line 2, byte 17 \(0xE3\): not UTF-8"):
        detect_bytes(data)


def test_invalid_bytes_in_utf8_affect_only_their_cells() -> None:
    data = table(WESTERN).encode().replace("Zoë".encode(), b"Zo\xeb")
    source = read_contacts(io.BytesIO(data))
    assert [row["first_name"] for row in source][1] == "Zo\udceb"
    assert source.found is not None
    assert source.found.encoding == "UTF-8"
    source.close()


def test_explicit_encoding_takes_precedence() -> None:
    assert detect_bytes(table(WESTERN).encode(), "latin-1").codec == "iso8859-1"
    assert detect_bytes(table(WESTERN).encode("utf-16"), "utf-16").codec == "utf-16"
    assert detect_bytes(table(WESTERN).encode("utf-8-sig"), "utf-8").codec == "utf-8-sig"


def test_wrong_explicit_encoding_error_names_the_flag() -> None:
    source = read_contacts(io.BytesIO(table(WESTERN).encode("cp1252")), encoding="utf-16")
    with pytest.raises(SourceError, match=r"not valid utf-16; leave out --encoding utf-16, or name another"):
        list(source)
    source.close()


def test_stray_nul_bytes_fail_only_their_rows() -> None:
    rows = [b"p%d@example.com;Ann;Lee\r\n" % number for number in range(20)]
    rows[3] = b"p3@example.com;A\0n;Lee\r\n"
    source = read_contacts(io.BytesIO(b"email;first_name;last_name\r\n" + b"".join(rows)))
    preview = inspect(source, Mapper(AelystGateway.schema))
    assert (preview.total, preview.valid) == (20, 19)
    assert preview.problems[0].message.startswith("the character U+0000 ")
    source.close()


def test_byte_undefined_in_the_explicit_encoding_fails_its_row() -> None:
    data = table(WESTERN).encode("cp1252").replace(b"Zo\xeb", b"Zo\x81")
    source = read_contacts(io.BytesIO(data), encoding="windows-1252")
    preview = inspect(source, Mapper(AelystGateway.schema))
    assert (preview.total, preview.valid) == (5, 4)
    assert "the byte 0x81 is not text in the file's encoding; see --encoding" in preview.problems[0].message
    source.close()
