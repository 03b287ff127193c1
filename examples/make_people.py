"""Writes examples/people.csv: 2,000 rows like those of a real customer list. Every run gives the same bytes.

Names in several scripts, ``+`` and quotes in e-mail addresses, custom fields of every type, 20 rows whose e-mail occurs
again in a later row, and 15 that break a rule. Run ``python examples/make_people.py`` after a change.
"""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

ROWS = 2_000
DUPLICATES = 20
BROKEN = 15
TARGET = Path(__file__).with_name("people.csv")

# Country, language, calling code, digits after it, first names, last names.
REGIONS = [
    ("MY", "ms", "+60", 9, ["Aisyah", "Muhammad", "Nurul", "Hafiz", "Siti"],
     ["Rahman", "Ismail", "binti Yusof", "Abdullah"]),
    ("CN", "zh", "+86", 11, ["伟", "芳", "娜", "秀英", "敏"], ["王", "李", "张", "刘", "陈"]),
    ("AE", "ar", "+971", 9, ["محمد", "فاطمة", "عائشة", "خالد", "نور"], ["الهاشمي", "المنصوري", "العلي"]),
    ("IN", "hi", "+91", 10, ["आरव", "दीया", "विवान", "अनन्या", "ईशान"], ["शर्मा", "पटेल", "सिंह", "गुप्ता"]),
    ("GR", "el", "+30", 10, ["Γιώργος", "Ελένη", "Νίκος", "Μαρία"], ["Παπαδόπουλος", "Ιωάννου", "Δημητρίου"]),
    ("UA", "uk", "+380", 9, ["Олена", "Андрій", "Софія", "Тарас"], ["Шевченко", "Коваленко", "Бойко"]),
    ("JP", "ja", "+81", 10, ["さくら", "翔太", "陽菜", "蓮"], ["佐藤", "鈴木", "高橋", "田中"]),
    ("IE", "en", "+353", 9, ["Aoife", "Seán", "Niamh", "Conor"], ["O'Brien", "O'Connor", "Ní Dhomhnaill", "Walsh"]),
    ("BR", "pt", "+55", 11, ["João", "Conceição", "Luíza", "Antônio"], ["da Silva", "Gonçalves", "dos Santos"]),
    ("DE", "de", "+49", 10, ["Jürgen", "Zoë", "Björn", "Anna-Lena"],
     ["Müller", "Weiß", "von der Heide", 'Schmidt "Schmiddi"']),
]  # fmt: skip

COLUMNS = [
    "email", "first_name", "last_name", "phone", "language", "countryCode", "Profile Picture",
    "custom_fields.Company", "custom_fields.Seats:number", "custom_fields.Newsletter:checkbox",
    "custom_fields.Birthday:date", "custom_fields.Call me at:time", "custom_fields.Plan:list",
    "custom_fields.Website:url", "custom_fields.Billing e-mail:email",
]  # fmt: skip

PLANS = ["Free", "Team", "Business, yearly", "Enterprise"]


def person(dice: random.Random, number: int) -> list[str]:
    """Return a valid row."""
    country, language, code, digits, firsts, lasts = dice.choice(REGIONS)
    mailbox = f"{dice.choice(['ana', 'info', 'lee', 'm.rahman', 'sales', 'zoe'])}{number}"
    style = dice.random()
    if style < 0.15:
        mailbox += "+newsletter"
    elif style < 0.22:
        mailbox = f"o'{mailbox}"
    elif style < 0.25:
        mailbox = f'"{mailbox}"'
    company = f"{dice.choice(['Kedai', 'Studio', 'Łódź', 'Café', 'A/B; Söhne,'])} {dice.randint(1, 400)}"

    def some(chance: float, value: str) -> str:
        return value if dice.random() < chance else ""

    return [
        f"{mailbox}@example.{dice.choice(['com', 'org', 'net'])}",
        dice.choice(firsts) + some(0.03, " "),
        some(0.95, dice.choice(lasts)),
        some(0.9, code + "".join(str(dice.randint(1, 9)) for _ in range(digits))),
        language,
        country,
        some(0.3, f"https://cdn.example.com/avatars/{number}.png?size=64&v=2"),
        some(0.7, company),
        some(0.6, dice.choice([str(dice.randint(1, 500)), f"{dice.randint(1, 99)}.5"])),
        some(0.8, dice.choice(["true", "false", "yes", "no"])),
        some(0.5, f"{dice.randint(1950, 2005)}-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}"),
        some(0.4, f"{dice.randint(8, 20):02d}:{dice.choice(['00', '15', '30'])}"),
        some(0.8, dice.choice(PLANS)),
        some(0.4, dice.choice([f"www.shop{number}.example.com", f"https://shop{number}.example.com/?q=a+b"])),
        some(0.3, f"billing+{number}@example.com"),
    ]


# Column and invalid cell of each broken row.
MISTAKES = [
    ("email", "no-at-sign.example.com"), ("email", ""), ("email", "two@@example.com"),
    ("email", "blank in@example.com"),
    ("phone", "0123456789"), ("phone", "+60 12 CALL ME"), ("language", "Malay"), ("countryCode", "XX"),
    ("Profile Picture", "not a link"), ("custom_fields.Seats:number", "a dozen"),
    ("custom_fields.Newsletter:checkbox", "maybe"), ("custom_fields.Birthday:date", "31/12/1999"),
    ("custom_fields.Birthday:date", "2001-02-29"), ("custom_fields.Call me at:time", "9pm"),
    ("custom_fields.Billing e-mail:email", "accounts"),
]  # fmt: skip


def table() -> list[list[str]]:
    """Return all rows."""
    dice = random.Random(20261121)
    count = ROWS - DUPLICATES
    placed = [(float(number), person(dice, number)) for number in range(1, count + 1)]
    chosen = dice.sample(range(count), BROKEN + DUPLICATES)
    for (column, cell), index in zip(MISTAKES, chosen, strict=False):
        placed[index][1][COLUMNS.index(column)] = cell
    for index in chosen[BROKEN:]:
        # The same person in a later row with a change; a sync uses the later row.
        number, row = placed[index]
        placed.append((dice.uniform(number + 0.1, count + 1), [row[0], *person(dice, index)[1:]]))
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def text() -> str:
    """Return the contents of the file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(table())
    return out.getvalue()


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET.name}: {ROWS:,} rows")
