"""A sync of corrected failures files, as JSON lines or table, with the columns and the journal of their run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.running import Cli, url

__all__ = ["url"]

WORDS = ("--map", "Mail=email", "--map", "Name=first_name", "--map", "Tel=phone", "--map", "Junk=")
EXPORT = "Mail;Name;Tel;Junk\nok@example.com;Ann;;1\nbad;\"=cmd|'/c calc'!A1\";+60123456789;2\n@x;'-1;012;3\n"


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    cli = Cli(url, capsys)
    cli.control("reset", {}, "POST")
    Path("people.csv").write_text(EXPORT, encoding="utf-8")
    code, out, _ = cli.sync("people.csv", *WORDS)
    assert code == 1
    assert "aelyst sync people.failures.csv --to sandbox" in out
    return cli


def read(name: str) -> list[list[str]]:
    with Path(name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=";"))


def corrected(rows: list[list[str]]) -> None:
    with Path("people.failures.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)


def names(cli: Cli) -> dict[str, str]:
    items = cli.control("contacts/aelyst")["items"]
    return {one["contact"]["email"]: one["contact"]["firstName"] for one in items}


def test_failures_table_has_a_bom_and_no_formulas(cli: Cli) -> None:
    assert Path("people.failures.csv").read_bytes().startswith(b"\xef\xbb\xbfMail;Name;Tel;Junk;error\r\n")
    header, first, second = read("people.failures.csv")
    assert header[-1] == "error"
    assert first[:4] == ["bad", "'=cmd|'/c calc'!A1", "'+60123456789", "2"]
    assert second[:4] == ["'@x", "''-1", "012", "3"], "a leading apostrophe is doubled, since reading removes one"
    assert first[4].startswith("Mail: 'bad' is not an e-mail address")
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in (first, second) for cell in row)
    assert Path("people.failures.csv").stat().st_mode & 0o777 == 0o600


def test_corrected_table_is_synced_with_the_journal_of_its_run(cli: Cli) -> None:
    header, first, second = read("people.failures.csv")
    corrected([header, ["bo@example.com", *first[1:]], ["cy@example.com", second[1], "+60123456780", *second[3:]]])
    code, out, err = cli.sync("people.failures.csv", to="sandbox:aelyst")
    assert code == 0, out + err
    assert "with the columns and the journal of people.csv.sandbox.db" in err
    assert names(cli) == {
        "ok@example.com": "Ann", "bo@example.com": "=cmd|'/c calc'!A1", "cy@example.com": "'-1",
    }  # fmt: skip
    assert sorted(path.name for path in Path().glob("*.db")) == ["people.csv.sandbox.db"]
    assert "2 unchanged" in cli.sync("people.failures.csv")[1]


def test_rows_that_fail_again_go_to_a_new_file(cli: Cli) -> None:
    header, first, second = read("people.failures.csv")
    corrected([header, ["bo@example.com", *first[1:]], second])
    code, out, _ = cli.sync("people.failures.csv")
    assert (code, "1 failed: people.failures-2.jsonl" in out) == (1, True)
    assert len(read("people.failures.csv")) == 3, "the corrected file is kept"
    header, only = read("people.failures-2.csv")
    corrected([header, ["cy@example.com", only[1], "+60123456780", *only[3:]]])
    Path("people.failures.csv").rename("people.failures-2.csv")
    assert cli.sync("people.failures-2.csv")[0] == 0


def test_corrected_json_lines_keep_the_row_and_line_numbers_of_the_source(cli: Cli) -> None:
    path = Path("people.failures.jsonl")
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(one["row"], one["line"]) for one in records] == [(2, 3), (3, 4)]
    records[0]["data"]["Mail"] = "bo@example.com"
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    code, out, _ = cli.sync("people.failures.jsonl")
    assert code == 1
    assert "1 created" in out
    (again,) = [json.loads(line) for line in Path("people.failures-2.jsonl").read_text("utf-8").splitlines()]
    assert (again["row"], again["line"], again["data"]["Junk"]) == (3, 4, "3")


def test_corrected_table_without_journal_needs_its_options(cli: Cli) -> None:
    Path("people.csv.sandbox.db").unlink()
    code, _, err = cli.sync("people.failures.csv")
    assert code == 2
    assert "the journal of their run is not here" in err
    code, out, err = cli.sync("people.failures.csv", *WORDS)
    assert code == 1
    assert "2 failed" in out


def test_failures_files_with_other_names_are_recognized(cli: Cli) -> None:
    Path("other.csv").write_text(EXPORT, encoding="utf-8")
    words = ("--journal", "state.db", "--failures", "bad.jsonl")
    assert cli.sync("other.csv", *WORDS, *words)[0] == 1
    assert Path("bad.csv").exists()
    for name in ("bad.csv", "bad.jsonl"):
        code, out, err = cli.sync(name)
        assert code == 1, err
        assert f"{name}: rows that failed before; with the columns and the journal of state.db" in err
        assert "2 failed" in out


def test_failures_of_json_lines_keep_their_types(cli: Cli) -> None:
    rows = [{"email": "bad", "custom_fields": {"Seats": 3}}, {"email": "p@example.com", "first_name": "P"}]
    Path("more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.sync("more.jsonl")[0] == 1
    assert not Path("more.failures.csv").exists(), "records have no columns"
    path = Path("more.failures.jsonl")
    record = json.loads(path.read_text())
    record["data"] |= {"email": "q@example.com", "first_name": "Q"}
    path.write_text(json.dumps(record) + "\n")
    assert cli.sync("more.failures.jsonl")[0] == 0
    found = cli.control("contacts/aelyst?search=q@example.com")["items"][0]["contact"]
    assert found["custom_fields"] == [{"name": "Seats", "value": 3}]


def test_retry_keeps_the_row_and_line_numbers_of_the_source(cli: Cli) -> None:
    cli.control("faults", {"fault": "status,code:400=100%"}, "POST")
    try:
        Path("r.csv").write_text("email,first_name\nnope,X\nr@example.com,R\n")
        assert cli.sync("r.csv")[0] == 1
        code, _, err = cli("sync", "retry", "r.csv.sandbox.db", "--progress", "none")
        assert code == 1, err
    finally:
        cli.control("faults", method="DELETE")
    record = json.loads(Path("r.csv.sandbox.failures.jsonl").read_text())
    assert (record["row"], record["line"]) == (2, 3)
    code, out, _ = cli("sync", "retry", "r.csv.sandbox.db", "--progress", "none")
    assert (code, "1 created" in out) == (0, True)
