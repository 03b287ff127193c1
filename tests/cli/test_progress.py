"""Progress of a running sync: on terminals of different widths, and without a terminal."""

from __future__ import annotations

import json

import pytest

from aelyst_async.cli.progress import LineView, NoView, RichView, make_view
from aelyst_async.sync.report import Progress


def progress(**given: float) -> Progress:
    values = dict.fromkeys(
        ("total", "read", "created", "updated", "unchanged", "failed", "skipped", "in_flight", "waiting", "concurrency",
         "rate", "requests", "elapsed"), 0,
    )  # fmt: skip
    return Progress(**{**values, "eta": None, "quota": None, **given})  # type: ignore[arg-type]


SOME = progress(total=12_345, created=6_789, failed=3, in_flight=64, waiting=12, rate=123.4, elapsed=3.0)


@pytest.mark.parametrize(("width", "bar"), [(60, False), (120, True)])
def test_progress_hides_the_bar_on_a_narrow_terminal(
    width: int, bar: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    view = RichView()
    try:
        view(SOME)
        view._bar.refresh()
    finally:
        view.close()
    shown = capsys.readouterr().err
    assert ("━" in shown) is bar
    assert "6792/12345" in shown
    assert "123/s" in shown


def test_make_view_chooses_the_view_by_name_and_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = make_view("auto")
    assert isinstance(view, LineView)
    view(SOME)
    assert capsys.readouterr().err.startswith("6,792 of 12,345 rows · 123 rows/s · 64 in flight")
    make_view("json")(SOME)
    assert json.loads(capsys.readouterr().err)["event"] == "progress"
    assert isinstance(make_view("none"), NoView)
