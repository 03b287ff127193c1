"""Writes the files in this directory: exports of other tools, and files with one problem each. Every run gives the same
bytes.

Run ``python examples/files/make_files.py`` after a change. The table in ``tests/tables/test_files.py`` has the options
and the result of each file.
"""

# ruff: noqa: E501 - headers as the tools write them
from __future__ import annotations

import csv
import gzip
import io
import random
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
PEOPLE = 6

NAMES = [
    ("Jürgen", "Müller"),
    ("Zoë", "François"),
    ("José", "Núñez"),
    ("Ann", "Lee"),
    ("Siân", "O'Brien"),
    ("João", "da Silva"),
]
CZECH = [("Jiří", "Dvořák"), ("Šárka", "Nováková"), ("Łukasz", "Żółkiewski"), ("Zofia", "Dąbrowska")]
RUSSIAN = [("Иван", "Петров"), ("Мария", "Кузнецова"), ("Ольга", "Сидорова"), ("Дмитрий", "Соколов")]
JAPANESE = [("太郎", "山田"), ("花子", "佐藤"), ("さくら", "鈴木"), ("健一", "高橋")]


def write(name: str, content: str | bytes, encoding: str = "utf-8") -> None:
    data = content if isinstance(content, bytes) else content.encode(encoding)
    (FOLDER / name).write_bytes(data)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ",", end: str = "\r\n") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def export(name: str, header: str, filled: dict[str, list[str]], encoding: str = "utf-8") -> None:
    """Write an export: the complete header of the tool, and values in some of its columns."""
    columns = header.split(",")
    count = len(next(iter(filled.values())))
    rows = [[filled.get(column, [""] * count)[index] for column in columns] for index in range(count)]
    write(name, table(columns, rows), encoding)


def people(dice: random.Random) -> dict[str, list[str]]:
    numbers = [f"+6012{dice.randint(1_000_000, 9_999_999)}" for _ in range(PEOPLE)]
    return {
        "first": [first for first, _ in NAMES],
        "last": [last for _, last in NAMES],
        "full": [f"{first} {last}" for first, last in NAMES],
        "email": [f"person{index}@example.com" for index in range(PEOPLE)],
        "phone": numbers,
    }


def exports(dice: random.Random) -> None:
    one = people(dice)
    export(
        "google_contacts.csv",
        "First Name,Middle Name,Last Name,Phonetic First Name,Phonetic Middle Name,Phonetic Last Name,Name Prefix,"
        "Name Suffix,Nickname,File As,Organization Name,Organization Title,Organization Department,Birthday,Notes,Photo,"
        "Labels,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Label,E-mail 2 - Value,Phone 1 - Label,Phone 1 - Value,"
        "Address 1 - Label,Address 1 - Formatted,Address 1 - Street,Address 1 - City,Address 1 - PO Box,"
        "Address 1 - Region,Address 1 - Postal Code,Address 1 - Country",
        {
            "First Name": one["first"], "Last Name": one["last"], "E-mail 1 - Value": one["email"],
            "Labels": ["* myContacts"] * PEOPLE, "E-mail 1 - Label": ["* "] * PEOPLE, "Phone 1 - Label": ["Mobile"] * PEOPLE,
            "Phone 1 - Value": [f"{one['phone'][0]} ::: +41319280960", *one["phone"][1:]],
            "Notes": ["two\nlines"] * PEOPLE,
        },
    )  # fmt: skip
    export(
        "google_contacts_old.csv",
        "Name,Given Name,Additional Name,Family Name,Yomi Name,Given Name Yomi,Additional Name Yomi,Family Name Yomi,"
        "Name Prefix,Name Suffix,Initials,Nickname,Short Name,Maiden Name,Birthday,Gender,Location,Billing Information,"
        "Directory Server,Mileage,Occupation,Hobby,Sensitivity,Priority,Subject,Notes,Language,Photo,Group Membership,"
        "E-mail 1 - Type,E-mail 1 - Value,Phone 1 - Type,Phone 1 - Value",
        {
            "Name": one["full"], "Given Name": one["first"], "Family Name": one["last"], "E-mail 1 - Value": one["email"],
            "Phone 1 - Value": one["phone"], "Group Membership": ["* myContacts"] * PEOPLE,
        },
    )  # fmt: skip
    export(
        "outlook_classic.csv",
        "Title,First Name,Middle Name,Last Name,Suffix,Company,Department,Job Title,Business Street,Business City,"
        "Business Postal Code,Business Country/Region,Business Fax,Business Phone,Home Phone,Mobile Phone,Categories,"
        "E-mail Address,E-mail Type,E-mail Display Name",
        {
            "First Name": one["first"], "Last Name": one["last"], "E-mail Address": one["email"],
            "Mobile Phone": one["phone"], "Business Phone": ["+60 3-1234 5678"] * PEOPLE, "E-mail Type": ["SMTP"] * PEOPLE,
            "E-mail Display Name": one["full"],
        },
        "cp1252",
    )  # fmt: skip
    export(
        "outlook_new.csv",
        "First Name,Middle Name,Last Name,Title,Suffix,Nickname,Given Yomi,Surname Yomi,E-mail Address,E-mail 2 Address,"
        "E-mail 3 Address,Home Phone,Home Phone 2,Business Phone,Business Phone 2,Mobile Phone,Car Phone,Other Phone,"
        "Primary Phone,Pager,Business Fax,Home Fax,Other Fax,Company Main Phone,Callback,Radio Phone,Telex,TTY/TDD Phone,"
        "IMAddress,Job Title,Department,Company,Office Location,Manager's Name,Assistant's Name,Assistant's Phone",
        {
            "First Name": one["first"], "Last Name": one["last"], "E-mail Address": one["email"], "Mobile Phone": one["phone"],
        },
    )  # fmt: skip
    export(
        "hubspot.csv",
        "Record ID,First Name,Last Name,Email,Phone Number,Contact owner,Associated Company,Last Activity Date,Lead Status,"
        "Marketing contact status,Create Date",
        {
            "Record ID": [str(151 + index) for index in range(PEOPLE)], "First Name": one["first"], "Last Name": one["last"],
            "Email": one["email"], "Phone Number": one["phone"], "Create Date": ["2025-03-04 10:11"] * PEOPLE,
        },
    )  # fmt: skip
    export(
        "salesforce.csv",
        "Salutation,First Name,Last Name,Title,Account Name,Mailing Street,Mailing City,Mailing State/Province,"
        "Mailing Zip/Postal Code,Mailing Country,Phone,Fax,Mobile,Email,Account Owner",
        {
            "First Name": one["first"], "Last Name": one["last"], "Phone": one["phone"], "Email": one["email"],
            "Account Name": ["Kedai Ñ"] * PEOPLE,
        },
        "cp1252",
    )  # fmt: skip
    export(
        "mailchimp.csv",
        "Email Address,First Name,Last Name,Address,Phone Number,Birthday,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,"
        "CONFIRM_IP,LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES,TAGS",
        {
            "Email Address": one["email"], "First Name": one["first"], "Last Name": one["last"],
            "Phone Number": one["phone"], "CC": ["my"] * PEOPLE, "MEMBER_RATING": ["2"] * PEOPLE,
            "TAGS": ['"VIP","Blog"'] * PEOPLE,
        },
    )  # fmt: skip
    export(
        "pipedrive.csv",
        "Person - ID,Person - Name,Person - Organization,Person - Email - Work,Person - Email - Home,Person - Email - Other,"
        "Person - Phone - Work,Person - Phone - Home,Person - Phone - Mobile,Person - Phone - Other,Person - Open deals,"
        "Person - Closed deals,Person - Next activity date,Person - Owner",
        {
            "Person - Name": one["full"], "Person - Email - Work": [f"{one['email'][0]}, {one['email'][1]}x", *one["email"][1:]],
            "Person - Phone - Mobile": one["phone"], "Person - Owner": ["Ann Lee"] * PEOPLE,
        },
    )  # fmt: skip
    export(
        "respond_io.csv",
        "Contact ID,First Name,Last Name,Phone Number,Email,Country,Language,Tags,Status,Lifecycle,Assignee,"
        "Last Interaction Time,Channels,DateTime Created",
        {
            "Contact ID": [str(index) for index in range(PEOPLE)], "First Name": one["first"], "Last Name": one["last"],
            "Phone Number": one["phone"], "Email": one["email"], "Country": ["MY"] * PEOPLE, "Language": ["ms"] * PEOPLE,
        },
    )  # fmt: skip


def encodings() -> None:
    for name, encoding, names, delimiter in (
        ("windows-1252.csv", "cp1252", NAMES, ";"),
        ("windows-1250.csv", "cp1250", CZECH, ";"),
        ("windows-1251.csv", "cp1251", RUSSIAN, ";"),
        ("shift_jis.csv", "cp932", JAPANESE, ","),
        ("mac_roman.csv", "mac_roman", NAMES, ","),
        ("utf-16.txt", "utf-16", NAMES, "\t"),
        ("utf-16-no-bom.csv", "utf-16-le", NAMES, ","),
        ("utf-8-bom.csv", "utf-8-sig", NAMES, ","),
    ):
        rows = [(f"p{index}@example.com", first, last) for index, (first, last) in enumerate(names)]
        write(name, table(("email", "first_name", "last_name"), rows, delimiter), encoding)
    # One accented word that is a plausible word both in Windows-1252 and in Windows-1250.
    write("weak_guess.csv", table(("email", "first_name"), [("p0@example.com", "João")]), "cp1252")
    damaged = table(("email", "first_name"), [(f"p{i}@example.com", "Zoë") for i in range(5)]).encode()
    write("damaged_utf-8.csv", damaged.replace("Zoë".encode(), b"Zo\xeb", 1))


def shapes() -> None:
    rows = [(f"p{index}@example.com", first, last) for index, (first, last) in enumerate(NAMES)]
    header = ("email", "first_name", "last_name")
    write("title_lines.csv", "Newsletter 2025\r\nexported on Monday\r\n\r\n" + table(header, rows))
    write("sep_line.csv", "sep=;\r\n" + table(header, rows, ";"))
    write("pipes.csv", table(header, rows, "|"))
    write("empty_columns.csv", table((*header, "", ""), [(*row, "", "") for row in rows]))
    write("short_rows.csv", "email,first_name,last_name\np0@example.com,Ann\np1@example.com\np2@example.com,Bob,Lee\n")
    write("long_row.csv", "email,first_name,last_name\np0@example.com,Ann,Lee, Jr.\np1@example.com,Bob,Lee\n")
    write(
        "bad_quote.csv",
        'email,first_name,last_name\np0@example.com,"Ann,Lee\np1@example.com,Bob,Lee\np2@example.com,"Cid",Lee\n'
        "p3@example.com,Dan,Lee\n",
    )
    write("swallowed.csv", 'email,first_name\np0@example.com,"Ann\np1@example.com,Bob"\np2@example.com,Cid\n')
    packed = table(header, rows).encode()
    zipped = io.BytesIO()
    with gzip.GzipFile("", "wb", 0, zipped, mtime=0) as stored:  # not compressed: the same with every zlib
        stored.write(packed)
    write("people.csv.gz", zipped.getvalue())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("people.csv", (2025, 1, 1, 0, 0, 0)), packed)
    write("people.zip", archive.getvalue())
    write("pandas.csv", table(("", *header), [(index, *row) for index, row in enumerate(rows)]))
    write("pandas_twice.csv", table(("Unnamed: 0", *header), [(index, *row) for index, row in enumerate(rows)]))
    write(
        "two_phones.csv",
        table(("E-mail", "First name", "Mobile Phone", "Home Phone"), [("p0@example.com", "Ann", "+60123456789", "")]),
    )
    write(
        "near_names.csv",
        table(
            ("E-mail Address", "First name", "Surname", "Mobile Phone"),
            [("p0@example.com", "Ann", "Lee", "+60123456789")],
        ),
    )
    write(
        "full_name.csv", table(("Name", "Email"), [("Ann van Lee", "p0@example.com"), ("Lee, Bob", "p1@example.com")])
    )
    write(
        "phone_only.csv",
        table(
            ("email", "phone", "first_name"),
            [("", "+60123456789", "Ann"), ("p1@example.com", "", "Bob"), ("", "", "Cid")],
        ),
    )


def values() -> None:
    phones = [
        "+60 12-345 6781", "'+60123456782", "0060123456783", "tel:+60-12-345-6784", "+44 (0)20 7946 0958",
        "012-345 6786", "+60123456787 ext. 12", "+60123456788; +60198765432", "6.01235E+10",
    ]  # fmt: skip
    write(
        "phones.csv",
        table(("email", "first_name", "phone"), [(f"p{i}@example.com", "Ann", one) for i, one in enumerate(phones)]),
    )
    emails = [
        "mailto:p0@example.com", "Ann Lee <p1@example.com>", "p2@example.com.", " p3@example.com ", "p4@उदाहरण.भारत",
        "\u200bp5@example.com", "p6@exam\u00adple.com", "p7@example.com, p8@example.com", "p9@bu\u0308cher.example",
    ]  # fmt: skip
    write("emails.csv", table(("email", "first_name"), [(one, "Ann") for one in emails]))
    dates = ["2025-04-03", "03/04/2025", "25/12/2025"]
    write(
        "dates.csv",
        table(
            ("email", "first_name", "custom_fields.Birthday:date"),
            [(f"p{i}@example.com", "Ann", one) for i, one in enumerate(dates)],
        ),
    )
    ticks = ["ja", "nein", "✓", "true"]
    write(
        "checkboxes.csv",
        table(
            ("email", "first_name", "custom_fields.VIP:checkbox"),
            [(f"p{i}@example.com", "Ann", one) for i, one in enumerate(ticks)],
        ),
    )


def no_tables() -> None:
    write("card.vcf", "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann Lee\r\nEND:VCARD\r\n")
    write("login.csv", "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n")
    write("array.json", '[{"email": "p0@example.com"}]\n')
    write("report.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")


def cell(reference: str, value: object) -> str:
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, tuple):  # a day number, shown as a date
        return f'<c r="{reference}" s="1"><v>{value[0]}</v></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{reference}"><v>{value}</v></c>'
    return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'


def sheet(rows: Sequence[Sequence[object]]) -> str:
    lines = "".join(
        f'<row r="{number}">'
        + "".join(cell(f"{chr(65 + index)}{number}", one) for index, one in enumerate(row))
        + "</row>"
        for number, row in enumerate(rows, 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{lines}</sheetData></worksheet>"
    )


def workbook(name: str, sheets: dict[str, Sequence[Sequence[object]]]) -> None:
    """Write a minimal workbook."""
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    spreadsheet = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    xml = '<?xml version="1.0" encoding="UTF-8"?>'
    numbers = range(1, len(sheets) + 1)
    parts = {
        "[Content_Types].xml": f'{xml}<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{spreadsheet}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{spreadsheet}.styles+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{spreadsheet}.worksheet+xml"/>'
            for n in numbers
        )
        + "</Types>",
        "_rels/.rels": f'{xml}<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{kind}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{xml}<workbook xmlns="{main}" xmlns:r="{kind}"><sheets>'
        + "".join(f'<sheet name="{title}" sheetId="{n}" r:id="r{n}"/>' for n, title in enumerate(sheets, 1))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'{xml}<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{n}" Type="{kind}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
        )
        + f'<Relationship Id="s" Type="{kind}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'{xml}<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/>'
        '<xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>',
    }
    parts.update({f"xl/worksheets/sheet{n}.xml": sheet(rows) for n, rows in enumerate(sheets.values(), 1)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in parts.items():
            archive.writestr(zipfile.ZipInfo(path, (2025, 1, 1, 0, 0, 0)), content)
    write(name, out.getvalue())


def workbooks() -> None:
    header: list[object] = [
        "email",
        "first_name",
        "phone",
        "custom_fields.Birthday:date",
        "custom_fields.VIP:checkbox",
        "custom_fields.Seats:number",
        "custom_fields.Zip",
    ]
    rows: list[list[object]] = [
        ["p0@example.com", "Zoë", "+60123456780", (45720,), True, 3, "01234"],
        ["p1@example.com", "Ann", 60123456781, (45721,), False, 2.5, 1234],
        ["p2@example.com", "Bob", "", "", "", "", 50450],
    ]
    workbook("workbook.xlsx", {"People": [header, *rows], "Empty": []})
    workbook("two_sheets.xlsx", {"People": [header, *rows[:1]], "Others": [header, *rows[2:]]})
    workbook("titled.xlsx", {"People": [["Newsletter 2025"], [], header, rows[0]]})


def main() -> None:
    dice = random.Random(20251127)
    exports(dice)
    encodings()
    shapes()
    values()
    no_tables()
    workbooks()


if __name__ == "__main__":
    main()
    print(f"{len(list(FOLDER.iterdir())) - 1} files in {FOLDER.name}")
