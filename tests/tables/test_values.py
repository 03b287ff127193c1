"""The rules of cells: accepted values, conversions and rejected values."""

from __future__ import annotations

import contextlib
import math
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aelyst_async.identifiers import Email, Phone
from aelyst_async.tables import MappingError
from aelyst_async.tables.cells import CellError, Changed
from aelyst_async.tables.emails import fold_email
from aelyst_async.tables.phones import phone_rule
from aelyst_async.tables.values import CUSTOM_TYPES, Rules

RULES = Rules()


def plain(made: Any) -> Any:
    return made.value if isinstance(made, Changed) else made


def field(kind: str, cell: Any) -> Any:
    return plain(RULES.of_field(kind)(cell))


def custom(kind: str | None, cell: Any) -> Any:
    return plain(RULES.of_custom(kind)(cell))


ACCEPTED: list[tuple[str, Any, Any]] = [
    ("email", " ann+news@example.com ", "ann+news@example.com"),
    ("email", "o'brien@example.co.uk", "o'brien@example.co.uk"),
    ("email", '"ann.lee"@example.com', '"ann.lee"@example.com'),
    ("email", "用户@例子.广告", "用户@例子.广告"),
    ("phone", "+60 12-345 6789", "+60123456789"),
    ("phone", "+1 (415) 555.2671", "+14155552671"),
    ("url", "www.website.com", "www.website.com"),
    ("url", "https://www.website.com/a?b=c#d", "https://www.website.com/a?b=c#d"),
    ("url", "website.com", "website.com"),
    ("url", "http://website.com:8080/x", "http://website.com:8080/x"),
    ("language", "MS", "ms"),
    ("country", "my", "MY"),
    ("bool", "Yes", True),
    ("bool", False, False),
    ("object", '{"a": 1}', {"a": 1}),
    ("text", "Muhammad ", "Muhammad "),
    ("text", "line\nbreak\ttab", "line\nbreak\ttab"),
    ("text", 42, "42"),
    ("text", 3.5, "3.5"),
    ("text", 41.0, "41"),
]
REFUSED: list[tuple[str, Any]] = [
    ("email", "ann"),
    ("email", "ann@localhost"),
    ("email", "a b@example.com"),
    ("email", "a..b@example.com"),
    ("email", ".a@example.com"),
    ("email", "a@-example.com"),
    ("email", "a@example..com"),
    ("email", "a@b@example.com"),
    ("email", "a" * 65 + "@example.com"),
    ("email", "a\u0085b@example.com"),
    ("email", "[email protected]"),
    ("email", 7),
    ("phone", "0123456789"),
    ("phone", "+0123456789"),
    ("phone", "+1234567890123456"),
    ("phone", "+60 12 CALL"),
    ("phone", "+٦٠١٢٣٤٥٦٧"),
    ("url", "not a link"),
    ("url", "javascript:alert(1)"),
    ("url", "ftp://website.com"),
    ("language", "Malay"),
    ("language", "xx"),
    ("country", "UK"),
    ("bool", "maybe"),
    ("bool", 2),
    ("object", "[1]"),
    ("text", "bell\x07"),
    ("text", "half \ud800"),
    ("text", ["a"]),
    ("text", True),
]


@pytest.mark.parametrize(("kind", "cell", "value"), ACCEPTED)
def test_field_rules_accept_and_normalize_values(kind: str, cell: Any, value: Any) -> None:
    made = field(kind, cell)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(("kind", "cell"), REFUSED)
def test_field_rules_reject_invalid_values_in_one_line(kind: str, cell: Any) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        field(kind, cell)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


CUSTOM: list[tuple[str | None, Any, Any]] = [
    ("number", "41", 41),
    ("number", "-3.5", -3.5),
    ("number", "007", 7),
    ("number", "1e3", 1000),
    ("number", Decimal("2.5"), 2.5),
    ("checkbox", "TRUE", True),
    ("checkbox", "0", False),
    ("date", "2024-02-29", "2024-02-29"),
    ("date", date(2026, 11, 21), "2026-11-21"),
    ("time", "13:00", "13:00"),
    ("time", time(9, 5), "09:05"),
    ("list", " Gold ", "Gold"),
    ("text", "true", "true"),
    (None, "true", "true"),
    (None, 5, 5),
    (None, True, True),
    (None, 2.5, 2.5),
    (None, date(2026, 1, 2), "2026-01-02"),
]


@pytest.mark.parametrize(("kind", "cell", "value"), CUSTOM)
def test_custom_rules_accept_and_convert_values(kind: str | None, cell: Any, value: Any) -> None:
    made = custom(kind, cell)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("number", "1,000"), ("number", "12 apples"), ("number", True), ("number", math.nan), ("number", "1e999"),
        ("number", "0.1234567890123456789"), ("number", "٤١"), ("number", ""), ("date", "2023-02-29"),
        ("date", "21/11/2026"), ("date", "2026-1-2"), ("date", datetime(2026, 1, 2, tzinfo=timezone.utc)),
        ("time", "24:00"), ("time", "9:30"), ("time", "1pm"), ("time", time(1, 2, 3)), ("checkbox", "ja"),
        (None, math.inf), (None, {"a": 1}), ("url", "x"), ("email", "x"),
    ],
)  # fmt: skip
def test_custom_rules_reject_invalid_values(kind: str | None, cell: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        custom(kind, cell)


@given(st.text(), st.sampled_from(["email", "phone", "url", "language", "country", "bool", "text", "object"]))
def test_field_rules_raise_only_value_error(cell: str, kind: str) -> None:
    with contextlib.suppress(ValueError):
        field(kind, cell)


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary()),
    st.sampled_from(CUSTOM_TYPES),
)
def test_custom_rules_raise_only_value_error(cell: Any, kind: str) -> None:
    with contextlib.suppress(ValueError):
        custom(kind, cell)


@given(st.emails() | st.text(max_size=40))
def test_accepted_email_is_a_valid_identifier(cell: str) -> None:
    """A value that the sync accepts must not be rejected later, when the request is built."""
    try:
        address = field("email", cell)
    except ValueError:
        return
    assert Email(address).value == address


@given(st.from_regex(r"[+ 0-9().\-]{1,20}", fullmatch=True))
def test_accepted_phone_is_a_valid_identifier(cell: str) -> None:
    try:
        number = field("phone", cell)
    except ValueError:
        return
    assert Phone(number).value == number


def test_national_numbers_need_a_region() -> None:
    with pytest.raises(ValueError, match="--region"):
        field("phone", "012-345 6789")
    malaysian = phone_rule("my")
    assert plain(malaysian("012-345 6789")) == "+60123456789"
    assert plain(malaysian("+1 415 555 2671")) == "+14155552671"
    assert plain(malaysian("+44 (0)20 7946 0958")) == "+442079460958"
    with pytest.raises(ValueError, match="possible"):
        malaysian("12")
    with pytest.raises(MappingError, match="ISO 3166"):
        phone_rule("XX")


def test_fold_email_ignores_case_and_normalization() -> None:
    assert fold_email("Ann@Example.COM") == fold_email("ann@example.com")
    assert fold_email("Zoe\u0308@example.com") == fold_email("zo\u00eb@example.com")
    assert fold_email("strasse@example.com") != fold_email("stra\u00dfe@example.com"), "they are two mailboxes"


PHONES: list[tuple[str, str, str | None]] = [
    ("+60123456789", "+60123456789", None),
    ("+60 12-345 6789", "+60123456789", "written as + and digits"),
    ("'+60123456789", "+60123456789", "the spreadsheet's apostrophe removed"),
    ('="+60123456789"', "+60123456789", "the spreadsheet's quotes removed"),
    ("0060123456789", "+60123456789", "00 written as +"),
    ("00 60 12 345 6789", "+60123456789", "00 written as +"),
    ("tel:+60-12-345-6789", "+60123456789", "tel: removed"),
    ("TEL:0060123456789", "+60123456789", "TEL: removed, 00 written as +"),
    ("+44 (0)20 7946 0958", "+442079460958", "the 0 in brackets removed"),
    ("+44(0) 20 7946 0958", "+442079460958", "the 0 in brackets removed"),
    ("+49 (0) 151 / 123 45 678", "+4915112345678", "the 0 in brackets removed"),
    ("+44 1632 / 960123", "+441632960123", "written as + and digits"),
    ("+49 (030) 901820", "+4930901820", "the 0 in brackets removed"),
    ("+39 (0)6 6982", "+39066982", "written as + and digits"),
    ("\uff0b\uff16\uff10123456789", "+60123456789", "full-width characters written as ASCII"),
    ("whatsapp:+60123456789", "+60123456789", "whatsapp: removed"),
    ("\u202a+60123456789\u202c", "+60123456789", "invisible characters removed"),
    ("+44 020 7946 0958", "+442079460958", "the 0 that is dialled only inside the country removed"),
]


@pytest.mark.parametrize(("cell", "number", "change"), PHONES)
def test_phone_rule_normalizes_spellings_and_describes_the_change(cell: str, number: str, change: str | None) -> None:
    made = phone_rule()(cell)
    assert plain(made) == number
    if change is None:
        assert not isinstance(made, Changed)
    else:
        assert change in made.change
    region = phone_rule("DE")(cell)
    assert plain(region) == number, "a region changes no number with a country code"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("6.01235E+10", "digits are lost; export the column as text"),
        ("6,01235e10", "digits are lost"),
        ("6E+10", "digits are lost"),
        ("+60123456789 ext. 12", "extension 12, which cannot be sent; remove it, or add --drop-extensions"),
        ("+60123456789x12", "--drop-extensions"),
        ("+60123456789;ext=12", "--drop-extensions"),
        ("+60123456789 #12", "--drop-extensions"),
        ("+60123456789; +60198765432", "several numbers; leave one, or map the column with :first"),
        ("+60123456789 ::: +60198765432", "several numbers"),
        ("+60123456789/+60198765432", "several numbers"),
        ("+60 3 1234567 / 1234568", "several numbers"),
        ("+60 3 1234567 / 8", "several endings; leave one number"),
        ("+49 30-901820/21", "several endings; leave one number"),
        ("+60123456789, 0198765432", "several numbers"),
        ("+60123456789 or +60198765432", "several numbers"),
        ("+60123456789 +60198765432", "several numbers"),
        ("+60123456789,,5", "--drop-extensions"),
        ("60123456789.0", "converted to a decimal number; read the column as text"),
        ("+60123456789.0", "converted to a decimal number"),
        ("Ann 012-345 6789", "not a phone number"),
        ("1-800-FLOWERS", "not a phone number"),
        ("+60123456789\nBob", "a quote before it is probably not closed"),
        ("+6012\u200b3456789", r"U\+200B ZERO WIDTH SPACE"),
        ("#N/A", "is a spreadsheet error"),
        ("+999123456789", "known country code|possible"),
        ("+60 12", "not a phone number"),
    ],
)
def test_phone_rule_rejects_values_with_a_remedy(cell: str, words: str) -> None:
    with pytest.raises(CellError, match=words) as refusal:
        phone_rule()(cell)
    assert "\n" not in str(refusal.value)
    with pytest.raises(CellError):
        phone_rule("MY")(cell)


def test_numeric_phone_cell_needs_a_region() -> None:
    with pytest.raises(CellError, match=r"lost a leading \+ or 0; format the column as text"):
        phone_rule()(60123456789)
    assert plain(phone_rule("MY")(123456789)) == "+60123456789"


def test_drop_extensions_removes_the_extension() -> None:
    made = phone_rule(drop_extensions=True)("+60 12-345 6789 ext 42")
    assert plain(made) == "+60123456789"
    assert made.change == "the extension dropped"


@given(st.integers(1, 999), st.text("0123456789", min_size=4, max_size=12))
def test_phone_rule_agrees_with_phonenumbers(code: int, rest: str) -> None:
    """The fast check of `phones` gives the same result as parsing the number."""
    import phonenumbers

    number = f"+{code}{rest}"
    assume(8 <= len(number) <= 16)  # the length of E.164, which the rule checks first
    try:
        parsed = phonenumbers.parse(number, None)
        expected = (
            phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
            if phonenumbers.is_possible_number(parsed)
            else None
        )
    except phonenumbers.NumberParseException:
        expected = None
    try:
        made = plain(phone_rule()(number))
    except CellError:
        made = None
    assert made == expected


EMAILS: list[tuple[str, str, str | None]] = [
    ("mailto:ann@example.com", "ann@example.com", "mailto: removed"),
    ("mailto:ann@example.com?subject=Hi", "ann@example.com", "mailto: removed"),
    ("Ann Lee <ann@example.com>", "ann@example.com", "the name before the address removed"),
    ('"Lee, Ann" <ann@example.com>', "ann@example.com", "the name before the address removed"),
    ("<ann@example.com>", "ann@example.com", "the name before the address removed"),
    ("ann@example.com.", "ann@example.com", "punctuation around the address removed"),
    ("ann@example.com; ", "ann@example.com", "punctuation around the address removed"),
    (" ann@example.com ", "ann@example.com", "blanks around it removed"),
    ("ann@example.com\u00a0", "ann@example.com", "blanks around it removed"),
    ("\ufeffann@example.com\u200b", "ann@example.com", "ZERO WIDTH NO-BREAK SPACE), U|U\\+FEFF"),
    ("अन@उदाहरण.भारत", "अन@उदाहरण.भारत", None),
    ("ann@ตัวอย่าง.ไทย", "ann@ตัวอย่าง.ไทย", None),
    ("ann@bu\u0308cher.example", "ann@b\u00fccher.example", "NFC"),
    ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example", None),
]


@pytest.mark.parametrize(("cell", "address", "change"), EMAILS)
def test_email_rule_normalizes_spellings_and_describes_the_change(cell: str, address: str, change: str | None) -> None:
    made = RULES.of_field("email")(cell)
    assert plain(made) == address
    if change is None:
        assert not isinstance(made, Changed)
    else:
        assert isinstance(made, Changed)
        assert change in made.change or "FEFF" in made.change
    assert Email(address).value == address


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("ann@example.com, bob@example.com", "several addresses; leave one, or map the column with :first"),
        ("ann@example.com;bob@example.com", "several addresses"),
        ("a@b.co ::: b@b.co", "several addresses"),
        ("a@b.co b@b.co", "several addresses"),
        ("a@b.co/b@b.co", "several addresses"),
        ("Ann <a@b.co>, Bob <b@b.co>", "several addresses"),
        ("ann@example.com\nBob,bob@example.com", "probably not closed"),
        ("a\u00adnn@example.com", r"U\+00AD SOFT HYPHEN"),
        ("ann@exam\u200bple.com", r"U\+200B ZERO WIDTH SPACE"),
        ("\u202eann@x\u202emoc.com", r"U\+202E"),
    ],
)
def test_email_rule_rejects_values_with_a_remedy(cell: str, words: str) -> None:
    with pytest.raises(CellError, match=words) as refusal:
        field("email", cell)
    assert "\n" not in str(refusal.value)


NAMES: list[tuple[str, str]] = [
    ("Muhammad ", "Muhammad "),
    ("\u200bAnn", "Ann"),
    ("Ann\u200e", "Ann"),
    ("علی\u200cرضا", "علی\u200cرضا"),  # the joiner belongs to the name
    ("👩\u200d💻", "👩\u200d💻"),
]


@pytest.mark.parametrize(("cell", "made"), NAMES)
def test_name_rule_removes_outer_invisible_characters(cell: str, made: str) -> None:
    assert field("name", cell) == made


@pytest.mark.parametrize(("cell", "words"), [("An\u00adn", "SOFT HYPHEN"), ("Ann\nBob", "probably not closed")])
def test_name_rule_rejects_soft_hyphens_and_line_breaks(cell: str, words: str) -> None:
    with pytest.raises(CellError, match=words):
        field("name", cell)


DATES: list[tuple[Any, str | None, str]] = [
    ("2025-03-04", None, "2025-03-04"),
    ("2025-03-04 00:00:00", None, "2025-03-04"),
    ("2025-03-04T00:00:00.000", None, "2025-03-04"),
    (datetime(2025, 3, 4), None, "2025-03-04"),  # noqa: DTZ001
    ("04/03/2025", "%d/%m/%Y", "2025-03-04"),
    ("2025-03-04", "%d/%m/%Y", "2025-03-04"),
    ("4 Mar 2025", "%d %b %Y", "2025-03-04"),
    ("04/03/2025 0:00", "%d/%m/%Y %H:%M", "2025-03-04"),
]


@pytest.mark.parametrize(("cell", "date_format", "made"), DATES)
def test_date_rule_reads_iso_dates_and_the_given_format(cell: Any, date_format: str | None, made: str) -> None:
    assert plain(Rules(date_format=date_format).of_custom("date")(cell)) == made


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("03/04/2025", "is 2025-04-03 or 2025-03-04; say which: --date-format %d/%m/%Y or --date-format %m/%d/%Y"),
        ("03.04.2025", "2025-04-03 or 2025-03-04"),
        ("25/12/2025", "--date-format %d/%m/%Y"),
        ("12/25/2025", "--date-format %m/%d/%Y"),
        ("2025/12/25", "--date-format %Y/%m/%d"),
        ("25/12/2025 0:00", "--date-format '%d/%m/%Y %H:%M'"),
        ("2025-3-4", "--date-format %Y-%m-%d"),
        ("45720", "Excel's for 2025-03-04"),
        ("25 Dec 2025", "--date-format '%d %b %Y'"),
        ("2025-03-04 10:00:00", "has a time of day"),
        (datetime(2025, 3, 4, 1), "has a time of day"),  # noqa: DTZ001
        (datetime(2025, 3, 4, tzinfo=timezone.utc), "time zone"),
        (45720, "Excel's for 2025-03-04; format the column as a date"),
        ("2025-02-30", "not in the calendar"),
        ("soon", "see --date-format"),
    ],
)
def test_date_rule_rejects_values_with_a_remedy(cell: Any, words: str) -> None:
    with pytest.raises(CellError) as refusal:
        custom("date", cell)
    assert words in str(refusal.value)


def test_date_rule_rejects_a_time_of_day() -> None:
    with pytest.raises(CellError, match="has a time of day"):
        Rules(date_format="%d/%m/%Y %H:%M").day("04/03/2025 10:30")


@pytest.mark.parametrize("bad", ["%d/%m", "%Q", "nonsense", "%d/%m/%Y%", 5])
def test_date_format_must_have_year_month_and_day(bad: Any) -> None:
    with pytest.raises(MappingError, match="date format"):
        Rules(date_format=bad)


def test_checkbox_rule_accepts_custom_words() -> None:
    rules = Rules(true=["ja", "x", "✓"], false=["nein"])
    assert [rules.checkbox(cell) for cell in ("Ja", "✓", "X", "nein", "no", 1.0, 0)] == [
        True, True, True, False, False, True, False,
    ]  # fmt: skip
    with pytest.raises(CellError, match=r"checked mean true; .*unchecked mean false\); name it with --true or --false"):
        RULES.checkbox("ja")
    with pytest.raises(MappingError, match="both"):
        Rules(true=["no"])


@given(st.one_of(st.text(), st.emails(), st.from_regex(r"[+0-9 ()/.x-]{5,20}", fullmatch=True)))
def test_changed_strings_are_always_reported(cell: str) -> None:
    for kind in ("email", "phone", "text", "name", "language", "country", "url"):
        with contextlib.suppress(ValueError):
            made = RULES.of_field(kind)(cell)
            assert isinstance(made, Changed) or made == cell
