"""Strategy classes that travel to another process by name or as source."""

import math
import subprocess
import sys

import pytest

from tradealgo.domain.errors import BadConfig
from tradealgo.strategies import FLAT, LONG, EmaCross, Strategy, describe, load

LEVEL = 100.0
UNCARRIED = object()


def above(price, level):
    return math.floor(price) > level


class FromHere(Strategy):
    """Uses a constant, a function and an import of its module."""

    level: float = LEVEL

    def on_candle(self, candle):
        return LONG if above(candle.close, self.level) else FLAT


class UsesAnObject(Strategy):
    def on_candle(self, candle):
        return LONG if UNCARRIED else FLAT


def test_an_installed_class_travels_by_name():
    """EmaCross needs no source."""
    assert describe(EmaCross) == ("tradealgo.strategies.ema_cross:EmaCross", None)
    assert load("tradealgo.strategies.ema_cross:EmaCross") is EmaCross


def test_a_local_class_travels_as_source(tmp_path):
    """Its file holds the function, the constant and the import that it uses, and works in another process."""
    path, source = describe(FromHere)
    assert path == "strategy.py:FromHere"
    (tmp_path / "strategy.py").write_text(source)
    assert load(path, tmp_path)(level=1.0).parameters == {"level": 1.0}
    code = (
        "from tradealgo.strategies import Candle, load; from pathlib import Path;"
        f"s = load({path!r}, Path({str(tmp_path)!r}))().fresh(); print(s.on_candle(Candle(0, 1., 1., 1., 101.5)).target)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_class_of_a_notebook_cell_travels_as_source(tmp_path):
    """What IPython runs has no file; the cell's text is found all the same."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    cell = """
from tradealgo.strategies import *
SPAN = 7
class Mine(Strategy):
    span: int = SPAN
    def setup(self):
        self.ema = EMA(self.span)
    def on_candle(self, candle):
        return LONG if candle.close > self.ema.update(candle.close) else FLAT
"""
    assert shell.run_cell(cell, store_history=True).success
    path, source = describe(shell.user_ns["Mine"])
    (tmp_path / "strategy.py").write_text(source)
    assert load(path, tmp_path)().parameters == {"span": 7}


def test_what_cannot_be_carried_is_refused_by_name():
    """An object of the module can't travel; the sentence names it."""
    with pytest.raises(BadConfig, match="'UNCARRIED', a object, which can't be carried"):
        describe(UsesAnObject)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("EmaCross", "expected module:Class"),
        ("tradealgo.strategies:EmaCros", "no strategy class 'EmaCros'"),
        ("no.such.module:X", "ModuleNotFoundError"),
        ("strategy.py:X", "there is no file"),
    ],
)
def test_a_wrong_path_gets_a_sentence(path, words, tmp_path):
    """What was given and what is expected."""
    with pytest.raises(BadConfig, match=words):
        load(path, tmp_path)
