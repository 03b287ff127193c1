"""Matching of columns to fields: exact names, layouts of known tools, near names, and problems with their flags."""

# ruff: noqa: E501, ISC004 - headers as the tools write them
from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest

from aelyst_async.tables import Header, Mapper, MappingError
from aelyst_async.tables.layouts import layouts, recognise
from aelyst_async.tables.targets import parse_target
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.dmchamp import DmChampGateway

AELYST = AelystGateway.schema
DMCHAMP = DmChampGateway.schema


def header(columns: str, sample: Sequence[Any] | None = None, **options: Any) -> Header:
    return Mapper(AELYST, **options).header(columns.split(","), sample)


def fields(made: Header) -> dict[str, str]:
    return {column.name: column.field for column in made.columns if column.field}


def flags(made: Header) -> list[str]:
    return [flag for problem in made.problems for flag in problem.flags]


# Headers as the tools write them, and the fields that are sent with --ignore-unknown.
EXPORTS = {
    "Google Contacts": (
        "First Name,Middle Name,Last Name,Phonetic First Name,Nickname,File As,Labels,E-mail 1 - Label,E-mail 1 - Value,"
        "E-mail 2 - Label,E-mail 2 - Value,Phone 1 - Label,Phone 1 - Value,Website 1 - Label,Website 1 - Value",
        {"First Name": "first_name", "Last Name": "last_name", "E-mail 1 - Value": "email", "Phone 1 - Value": "phone"},
    ),
    "Google Contacts, phones only": (
        "First Name,Last Name,Phonetic First Name,Labels,Phone 1 - Label,Phone 1 - Value",
        {"First Name": "first_name", "Last Name": "last_name", "Phone 1 - Value": "phone"},
    ),
    "Google Contacts (until 2024)": (
        "Name,Given Name,Additional Name,Family Name,Yomi Name,Group Membership,E-mail 1 - Type,E-mail 1 - Value,"
        "Phone 1 - Type,Phone 1 - Value,Organization 1 - Name",
        {
            "Given Name": "first_name", "Family Name": "last_name", "E-mail 1 - Value": "email",
            "Phone 1 - Value": "phone",
        },
    ),
    "Outlook": (
        "First Name,Middle Name,Last Name,Title,Suffix,Web Page,Notes,E-mail Address,E-mail 2 Address,E-mail 3 Address,"
        "Primary Phone,Home Phone,Home Phone 2,Mobile Phone,Pager,Home Fax,Home Street,Company,Job Title",
        {"First Name": "first_name", "Last Name": "last_name", "E-mail Address": "email", "Mobile Phone": "phone"},
    ),
    "Outlook without a mobile phone": (
        "First Name,Last Name,E-mail Address,E-mail 2 Address,Business Phone,Home Phone,Business Street,Home Street",
        {"First Name": "first_name", "Last Name": "last_name", "E-mail Address": "email", "Business Phone": "phone"},
    ),
    "HubSpot": (
        "Record ID - Contact,First Name,Last Name,Email,Phone Number,Mobile Phone Number,Contact owner,Lifecycle Stage,"
        "Create Date",
        {"First Name": "first_name", "Last Name": "last_name", "Email": "email", "Phone Number": "phone"},
    ),
    "Salesforce Data Loader": (
        "ID,ISDELETED,MASTERRECORDID,ACCOUNTID,LASTNAME,FIRSTNAME,SALUTATION,NAME,PHONE,FAX,MOBILEPHONE,HOMEPHONE,EMAIL,"
        "TITLE,LEADSOURCE,OWNERID,HASOPTEDOUTOFEMAIL,SYSTEMMODSTAMP",
        {"LASTNAME": "last_name", "FIRSTNAME": "first_name", "PHONE": "phone", "EMAIL": "email"},
    ),
    "Zoho CRM": (
        "Record Id,Contact Owner.id,Contact Owner,Lead Source,First Name,Last Name,Account Name,Email,Phone,Created Time",
        {"First Name": "first_name", "Last Name": "last_name", "Email": "email", "Phone": "phone"},
    ),
    "Mailchimp, short": (
        "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME",
        {"Email Address": "email", "First Name": "first_name", "Last Name": "last_name"},
    ),
    "Pipedrive": (
        "Person - Name,Person - First name,Person - Last name,Person - Label,Person - Email - Work,Person - Phone - Work",
        {
            "Person - First name": "first_name", "Person - Last name": "last_name",
            "Person - Email - Work": "email", "Person - Phone - Work": "phone",
        },
    ),
    "Pipedrive, full name": (
        "Person - Name,Person - Organization,Person - Email,Person - Phone",
        {"Person - Name": "first_name,last_name", "Person - Email": "email", "Person - Phone": "phone"},
    ),
    "Pipedrive, list view": (
        "Name,Label,Organization,Email,Phone,Open deals,Closed deals,Next activity date,Owner",
        {"Name": "first_name,last_name", "Email": "email", "Phone": "phone"},
    ),
    "respond.io": (
        "Contact ID,First Name,Last Name,Phone Number,Email,Country,Language,Tags,Assignee,Lifecycle,Channels",
        {
            "First Name": "first_name", "Last Name": "last_name", "Phone Number": "phone", "Email": "email",
            "Country": "country_code", "Language": "language",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", EXPORTS)
def test_exports_of_known_tools_need_only_ignore_unknown(tool: str) -> None:
    columns, expected = EXPORTS[tool]
    key = "email" if "email" in expected.values() else "phone"
    first = header(columns, key=key)
    assert first.layout is not None
    assert tool.startswith(first.layout)
    assert flags(first) == ["--ignore-unknown"]
    second = header(columns, key=key, ignore_unknown=True)
    assert second.problems == ()
    assert fields(second) == expected
    assert {column.match for column in second.columns} <= {"exact", "layout", "near", "ignored"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_layouts_match_in_any_case_and_order(shuffled: bool) -> None:
    for columns, expected in EXPORTS.values():
        names = columns.upper().split(",")
        made = Mapper(AELYST, key="email,phone", ignore_unknown=True).header(names[::-1] if shuffled else names)
        assert fields(made) == {name.upper(): field for name, field in expected.items()}


def test_layout_files_are_valid() -> None:
    for layout in layouts():
        assert len(layout.marks) >= 8, layout.name
        for column, text in layout.columns.items():
            target = parse_target(text, column)
            fields = {"first_name", "last_name", "email", "phone", "language", "country_code", "profile_pic"}
            assert target.field in {None, "split_name", *fields}
        marks = list(layout.marks)
        assert recognise(marks) in [one for one in layouts() if set(marks) & one.marks]
    near = json.loads((resources.files("aelyst_async.tables.layouts") / "near.json").read_text("utf-8"))
    assert set(near) <= {
        "email", "phone", "first_name", "last_name", "split_name", "language", "country_code", "profile_pic"
    }  # fmt: skip


def test_generic_column_names_match_no_layout() -> None:
    for columns in (
        "First Name,Last Name,Email,Phone", "Email Address,First name,Surname,Mobile Phone",
        "Name,Email,Phone,Company,City,Country,Notes,Birthday",
    ):  # fmt: skip
        assert recognise(columns.split(",")) is None


def test_near_names_match_if_one_column_fits() -> None:
    made = header("E-mail Address,First name,Surname,Mobile Phone")
    assert made.problems == ()
    assert [(column.field, column.match) for column in made.columns] == [
        ("email", "near"), ("first_name", "exact"), ("last_name", "near"), ("phone", "near")
    ]  # fmt: skip
    assert fields(header("Correo electrónico,Prénom,Nachname,Telefon")) == {
        "Correo electrónico": "email", "Prénom": "first_name", "Nachname": "last_name", "Telefon": "phone"
    }  # fmt: skip


def test_several_near_names_are_a_problem_with_all_flags() -> None:
    made = header("Email,Mobile Phone,Home Phone,Company")
    assert flags(made) == ["--map 'Mobile Phone=phone'", "--map 'Home Phone=phone'", "--ignore-unknown"]
    assert made.problems[0].choice
    again = header("Email,Mobile Phone,Home Phone,Company", mapping=["Home Phone=phone"], ignore_unknown=True)
    assert again.problems == ()
    assert fields(again) == {"Email": "email", "Home Phone": "phone"}


def test_ambiguous_names_are_a_problem_despite_ignore_unknown() -> None:
    made = header("Work Email,Private Email", ignore_unknown=True)
    assert flags(made) == ["--map 'Work Email=email'", "--map 'Private Email=email'"], "and no second problem"


def test_exact_name_takes_precedence_over_near_names() -> None:
    assert fields(header("email,phone,Mobile Phone", ignore_unknown=True)) == {"email": "email", "phone": "phone"}


def test_full_name_column_is_a_problem_with_two_flags() -> None:
    made = header("Email,Name")
    assert flags(made) == ["--map Name=split_name", "--map Name=first_name"]
    assert fields(header("Email,Name,First name", ignore_unknown=True)) == {
        "Email": "email",
        "First name": "first_name",
    }


def test_header_reports_all_problems_at_once() -> None:
    made = header(
        "email,frist_name,status,Fav,Mobile,Tel,firstName,first_name,custom_fields.A:nubmer", mapping={"X": "email"}
    )
    messages = [problem.message for problem in made.problems]
    assert len(messages) == 7
    for words in (
        "names a column 'X', which is not there", "'nubmer' is not a type", "'firstName' and 'first_name' both mean",
        "'Mobile' and 'Tel' could each be phone", "'frist_name' is no field of aelyst (did you mean first_name?)",
        "aelyst shows status but takes no changes to it", "column 'Fav' is no field of aelyst",
    ):  # fmt: skip
        assert sum(words in one for one in messages) == 1, words
    with pytest.raises(MappingError) as refusal:
        Mapper(AELYST, mapping={"X": "email"}).plan(["email", "frist_name", "status", "Fav", "Mobile", "Tel"])
    assert "\n" not in str(refusal.value)
    assert all(flag in str(refusal.value) for problem in refusal.value.problems for flag in problem.flags)
    assert "--map frist_name=first_name" in str(refusal.value)


@pytest.mark.parametrize(
    ("columns", "sample", "options", "expected"),
    [
        ("phone,first_name", None, {}, ["--key phone"]),
        ("Kontakt,first_name", ["ann@b.co", "A"], {"ignore_unknown": True}, ["--map Kontakt=email"]),
        ("Nr.,first_name", ["+60 123456789", "A"], {"ignore_unknown": True, "key": "phone"}, ["--map Nr.=phone"]),
        ("first_name", ["A"], {"key": "phone,email"}, []),
    ],
)
def test_missing_key_problem_suggests_columns(
    columns: str, sample: Any, options: dict[str, Any], expected: list[str]
) -> None:
    made = header(columns, sample, **options)
    assert "no column for " in made.problems[-1].message
    assert flags(made) == expected


def test_flags_are_quoted_for_the_shell() -> None:
    [problem] = header("email,it's $HOME").problems
    assert """--map 'it'"'"'s $HOME=FIELD'""" in problem.message


@pytest.mark.parametrize("name", ["Unnamed: 0", "__index_level_0__", "column 1", "index"])
def test_index_column_of_pandas_is_left_out(name: str) -> None:
    made = header(f"{name},email", [0, "a@b.co"])
    assert made.problems == ()
    assert made.columns[0].match == "index"
    named = header("column 1,email", ["Ann", "a@b.co"])
    assert flags(named) == ["--ignore-unknown"]


def test_columns_have_type_transforms_and_sample() -> None:
    made = header(
        "email,custom_fields.Seats:number,Born,Junk", ["a@b.co", "3", "4/3/2025", "x"],
        mapping={"Born": "custom_fields.Born:date(%d/%m/%Y)", "Junk": ""},
    )  # fmt: skip
    assert [(one.field, one.match, one.kind, one.transforms, one.sample) for one in made.columns] == [
        ("email", "exact", "email", (), "a@b.co"),
        ("custom_fields.Seats", "exact", "number", (), "3"),
        ("custom_fields.Born", "mapped", "date", ("date(%d/%m/%Y)",), "4/3/2025"),
        (None, "ignored", None, (), "x"),
    ]


def test_column_name_may_contain_a_date_format() -> None:
    mapper = Mapper(AELYST)
    mapped = mapper.plan(["email", "custom_fields.Born:date(%d/%m/%Y)"]).read(["a@b.co", "04/03/2025"])
    assert not isinstance(mapped, list)
    assert dict(mapped.values)["custom_fields.Born"] == "2025-03-04"


def test_layout_is_matched_to_the_fields_of_another_provider() -> None:
    columns, _ = EXPORTS["respond.io"]
    made = Mapper(DMCHAMP, key="phone", ignore_unknown=True).header(columns.split(","))
    assert fields(made) == {
        "First Name": "first_name", "Last Name": "last_name", "Phone Number": "phone", "Email": "email"
    }  # fmt: skip


def test_duplicate_column_names_are_a_problem() -> None:
    made = header("email,phone,phone (2)")
    assert flags(made)[:2] == ["--map phone=", "--map 'phone (2)='"]
    assert header("email,phone,phone (2)", mapping={"phone (2)": ""}).problems == ()


def test_wide_header_is_matched_with_a_bounded_message() -> None:
    made = header(",".join(["email", *(f"Property {number}" for number in range(1_999))]))
    assert len(made.columns) == 2_000
    assert len(made.problems[0].message) < 2_000


def test_mapping_may_ignore_missing_columns() -> None:
    assert header("email", mapping={"Notes": "", "Fax": "ignore"}).problems == ()


def test_column_and_constant_for_one_field_are_a_problem() -> None:
    [problem] = header("email,language", constants={"language": "ms"}).problems
    assert problem.message == "column 'language' and a constant both give language; leave one out"
    assert problem.flags == ("--map language=",)
