"""Output before and after a sync: preview, matched columns, changes, and problems of a header."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aelyst_async.cli import main
from tests.cli.running import Cli, url

__all__ = ["url"]

EXPORT = (
    "First Name,E-mail Address,Mobile Phone,Notes\n"
    "Ann,ann@example.com,+60 12 345 6789,x\n"
    "Bob,bob@@x,0123,y\n"
    "Cy,cy@example.com,+60123456780,\n"
)


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(EXPORT)
    return Cli(url, capsys)


def test_dry_run_shows_target_columns_rows_and_problems(cli: Cli) -> None:
    code, out, _ = cli.sync("people.csv", "--dry-run", "--ignore-unknown")
    assert code == 1
    assert out.startswith(f"people.csv → sandbox {cli.url} (already running) (dry run: nothing was sent)\n")
    assert "read as CSV, UTF-8, delimiter ','" in out
    assert "E-mail Address  email       email  ann@example.com  near name" in out
    assert "Notes           –" in out
    assert "row 1 (line 2) would be sent as:\n  firstName  Ann\n  phone      +60123456789\n" in out
    assert "row 2 (line 3) would be refused:\n  E-mail Address: 'bob@@x' is not an e-mail address" in out
    assert "     2 would be created\n" in out
    assert "     1 × Mobile Phone: not a phone number\n         in row 2, line 3: '0123'" in out
    assert "(row 1: '+60 12 345 6789' → '+60123456789')" in out
    assert [path.name for path in Path().iterdir()] == ["people.csv"], "a dry run writes no file"


def test_dry_run_json_has_the_preview(cli: Cli) -> None:
    code, out, _ = cli.sync("people.csv", "--dry-run", "--ignore-unknown", "--json")
    report = json.loads(out)
    preview = report["preview"]
    assert (code, report["target"], report["sandbox"]) == (1, f"sandbox {cli.url}", "running")
    assert (preview["found"]["delimiter"], preview["total"], preview["valid"]) == (",", 3, 2)
    assert preview["rows"][0]["sent"] == {"firstName": "Ann", "phone": "+60123456789", "email": "ann@example.com"}
    assert {one["row"] for one in report["problems"]} == {2}
    assert report["changes"][0]["before"] == "'+60 12 345 6789'"


def test_summary_shows_matches_changes_and_failed_rows(cli: Cli) -> None:
    code, out, _ = cli.sync("people.csv", "--ignore-unknown")
    assert code == 1
    assert (
        "matched by similar names: 'E-mail Address' is email, 'Mobile Phone' is phone (--map sets another field)" in out
    )
    assert "left out: 'Notes'" in out
    assert (
        "why rows failed:\n     1 × E-mail Address: not an e-mail address\n         in row 2, line 3: 'bob@@x'" in out
    )
    assert "values that were changed:\n" in out


def test_header_error_lists_all_problems_with_their_flags(cli: Cli) -> None:
    Path("people.csv").write_text("email,tags,Foo,first_name\na@example.com,x,y,Ann\n")
    code, out, err = cli.sync("people.csv")
    assert (code, out) == (2, "")
    assert "'tags': aelyst shows tags but takes no changes to it" in err
    assert "'Foo'" in err
    assert "--map tags=" in err
    assert "--ignore-unknown" in err
    assert [path.name for path in Path().iterdir()] == ["people.csv"]
    assert cli.sync("people.csv", "--ignore-unknown")[0] == 0


def test_suggest_mapping_needs_no_sandbox_and_no_credential(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AELYST_TOKEN", raising=False)
    assert main(["sync", "people.csv", "--to", "aelyst", "--suggest-mapping"]) == 0
    text = capsys.readouterr().out
    assert '"E-mail Address" = "email"' in text
    Path("map.toml").write_text(text, encoding="utf-8")
    code, out, err = cli.sync("people.csv", "--mapping", "map.toml", "--map", "Notes=custom_fields.Notes", "--dry-run")
    assert code == 1, err
    assert "custom_fields.Notes" in out


def test_value_flags_affect_the_preview(cli: Cli) -> None:
    Path("people.csv").write_text(
        "Title line\nemail;Born;Vip;phone\na@example.com;24/12/1990;ja;012-345 6789\n;1/2/1990;nein;+60123456781\n"
    )
    code, out, err = cli.sync(
        "people.csv", "--dry-run", "--json", "--skip-lines", "1", "--delimiter", ";", "--key", "email,phone",
        "--map", "Born=custom_fields.Born:date", "--map", "Vip=custom_fields.Vip:checkbox", "--date-format", "%d/%m/%Y",
        "--true", "ja,x", "--false", "nein", "--region", "MY",
    )  # fmt: skip
    assert code == 0, err + out
    first, second = json.loads(out)["preview"]["rows"]
    assert first["values"]["custom_fields.Born"] == "1990-12-24"
    assert (first["values"]["custom_fields.Vip"], second["values"]["custom_fields.Vip"]) == (True, False)
    assert first["values"]["phone"] == "+60123456789"


def test_sync_accepts_other_apis_of_the_sandbox(cli: Cli) -> None:
    code, out, err = cli.sync("people.csv", "--ignore-unknown", "--key", "phone", to="sandbox:dmchamp")
    assert code == 1, err
    assert out.startswith(f"people.csv → sandbox:dmchamp {cli.url} (already running)\n")
    assert Path("people.csv.sandbox-dmchamp.db").exists()
    code, _, err = cli.sync("people.csv", to="sandbox:callab")
    assert (code, "only reads contacts" in err) == (2, True)
    code, _, err = cli.sync("people.csv", to="sandbox:nope")
    assert (code, "no provider named 'nope'" in err) == (2, True)


@pytest.mark.parametrize("width", [60, 120])
def test_preview_fits_the_terminal_width(
    cli: Cli, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    long = f"{'x' * 40}@example.com"
    Path("people.csv").write_text(f"First Name,E-mail Address,Notes [red]\nAnn,{long},n\nBob,not an address at all,n\n")
    code, out, _ = cli.sync("people.csv", "--ignore-unknown", "--dry-run")
    assert code == 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert [line for line in plain.splitlines() if len(line) > width] == []
    assert "Notes [red]" in out, "text of the file is not read as markup"


def test_preview_on_a_terminal_without_rich_is_a_plain_table(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    for module in ("rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, module, None)
    code, out, _ = cli.sync("people.csv", "--ignore-unknown", "--dry-run")
    assert code == 1
    assert "column          field       type   sample           how\n" in out
    assert "E-mail Address  email       email  ann@example.com  near name\n" in out


def test_preview_and_summary_name_the_recognised_layout(cli: Cli) -> None:
    Path("people.csv").write_text(
        "First Name,Middle Name,Last Name,E-mail 1 - Label,E-mail 1 - Value,Labels\n"
        "Ann,,Lee,*,ann@example.com,* myContacts\n"
    )
    code, out, _ = cli.sync("people.csv", "--dry-run", "--ignore-unknown")
    assert code == 0
    assert re.search(r"^recognised as .*Google", out, re.MULTILINE), out
