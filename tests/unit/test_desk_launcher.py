"""The form that launches a strategy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradealgo.desk import launcher
from tradealgo.strategies import EmaCross


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No session of anybody's is near."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    return tmp_path


def test_each_parameter_is_a_field() -> None:
    """With its default, its own before the contract's exits; it shows as a widget, and as a line of text."""
    form = launcher(EmaCross, ["NSE:INFY"])
    assert list(form.fields)[-4:] != list(form.fields)[:4]
    assert {name: field.value for name, field in form.fields.items()} == {
        name: parameter.default for name, parameter in EmaCross.declared.items()
    }
    assert "application/vnd.jupyter.widget-view+json" in form._repr_mimebundle_()
    assert repr(form) == f"Launcher of EmaCross(fast={form.fields['fast'].value}, slow=50), paper: nothing launched yet"


def test_what_is_refused_is_said_and_nothing_starts(home: Path) -> None:
    """A click with an instrument that isn't there: the sentence under the button, escaped, and no session."""
    form = launcher(EmaCross, ["NSE:<NO>"])
    form.button.click()
    assert "Not launched" in form.says.value
    assert "&lt;NO&gt;" in form.says.value
    assert form.session is None
    assert not form.button.disabled
    assert not list(home.glob("sessions/*/manifest.json"))


def test_what_nobody_foresaw_is_said_too(home: Path) -> None:
    """An option that launch() doesn't take, a value of the wrong kind: a click has no cell that could show a traceback."""
    form = launcher(EmaCross, ["NSE:INFY"], colour="red")
    form.button.click()
    assert "Not launched" in form.says.value
    assert "colour" in form.says.value
    assert not form.button.disabled
    assert not list(home.glob("sessions/*/manifest.json"))


def test_live_needs_a_tick_for_each_launch() -> None:
    """The button is dead until the box is ticked, and again after a click."""
    form = launcher(EmaCross, ["NSE:INFY"], mode="live")
    assert form.button.disabled
    form.agreed.value = True
    assert not form.button.disabled
    form.button.click()  # refused: this environment has no credentials
    assert "Not launched" in form.says.value
    assert form.button.disabled
    assert not form.agreed.value


def test_another_mode_is_refused() -> None:
    """With the modes that there are."""
    with pytest.raises(ValueError, match="paper, live"):
        launcher(EmaCross, mode="demo")
