"""What a terminal shows of sessions: never a cut figure or id, at any width."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from tradealgo.cli import main
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.sizing import Sizing
from tradealgo.live.terminal import _table, sessions_text

NAME = "20261123-032810-momentumscanner-e355"
ROW: dict[str, Any] = {
    "session_id": NAME, "status": "STARTING", "mode": "live", "account": "AB1234", "trading": "HALTED",
    "kill": "VERIFIED_FLAT", "mtm": -1_123_456.7, "orders": 12_345, "alerts": 2,
}  # fmt: skip
OTHER = ROW | {"session_id": NAME[:-5], "kill": "ARMED", "mtm": None}


@pytest.mark.parametrize("width", [None, 200, 120, 100, 80])
def test_a_list_of_sessions_fits_and_is_never_cut(width: int | None) -> None:
    """Session, mode, state and MTM are whole; a narrow terminal does without whole columns."""
    heading, first, second = sessions_text([ROW, OTHER], width).splitlines()
    assert all(len(line) <= (width or 200) for line in (heading, first, second))
    assert {NAME, "live", "VERIFIED_FLAT", "-1,123,456.70"} <= set(first.split())
    assert {NAME[:-5], "live", "HALTED"} <= set(second.split())
    assert heading.index("MTM") + 3 == first.index("-1,123,456.70") + 13
    if width is None or width > 110:
        assert heading.split() == ["session", "status", "mode", "account", "state", "MTM", "orders", "alerts"]


def test_the_brokers_brackets_are_no_markup() -> None:
    """A rejection's text is shown whole: rich would leave `[price 100]` out, and raise at `[/b]`."""
    row = {"instrument": "NSE:INFY", "text": "RMS: beyond [price 100] [/b]"}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(_table("last orders", [row], ("instrument", "text")))
    assert row["text"] in console.export_text()


def test_too_narrow_a_terminal_wraps_by_itself() -> None:
    """What is left of the columns stays whole."""
    assert sessions_text([ROW], 20).splitlines()[0].split() == ["session", "mode", "state", "MTM"]


def test_what_is_piped_is_never_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tradealgo status` of many long names, into a program: one line each, whatever COLUMNS says."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "40")
    names = tuple(f"NFO:NIFTY26N24{strike}CE" for strike in range(25_000, 25_250, 50))
    folder = SessionDir(tmp_path / "sessions" / NAME)
    folder.write_manifest(
        Manifest(
            session_id=NAME, mode=Mode.PAPER, account="PAPER1", strategy="m:C", parameters={}, instruments=names,
            capital=1.0, sizing=Sizing(units=1), bus_url="unix:///nowhere/bus.sock",
        )
    )  # fmt: skip
    for words in (("status", "--all"), ("status", NAME)):
        shown = CliRunner().invoke(main, words).stdout
        assert NAME in shown
        assert "…" not in shown
    assert ", ".join(names) in shown
