"""What the compiler refuses, and how it says so; what it keeps on disk."""

import subprocess
import sys

import numpy as np
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import NotCompilable
from tradealgo.research.backtest import backtest
from tradealgo.strategies import EMA, FLAT, LONG, SHORT, EmaCross, Signal, Strategy
from tradealgo.strategies.compiler import compiled

pytestmark = pytest.mark.timeout(300)


def told(caught):
    """The user's warnings; one of Python's own, of what some other test left unclosed, may come at any moment."""
    return [str(w.message) for w in caught if w.category is UserWarning]


def walk(count=200, seed=3):
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = 1_795_146_300_000_000_000 + np.arange(count) * MINUTE_NS
    array["close"] = 100.0 + np.cumsum(rng.normal(0.0, 0.3, count))
    array["open"] = array["high"] = array["low"] = array["close"]
    return array


class KeepsAList(Strategy):
    def setup(self):
        self.closes = []

    def on_candle(self, candle):
        self.closes.append(candle.close)
        return LONG if candle.close > self.closes[0] else FLAT


class ChangesType(Strategy):
    def setup(self):
        self.last = 0

    def on_candle(self, candle):
        up = candle.close > self.last
        self.last = candle.close
        return LONG if up else FLAT


class UsesTooMuch(Strategy):
    def on_candle(self, candle):
        text = f"{candle.close:.2f}"
        return LONG if text.endswith("1") else FLAT


class Heir(EmaCross):
    def on_candle(self, candle):
        signal = super().on_candle(candle)
        return signal if candle.close > 1.0 else FLAT


class Divides(Strategy):
    def on_candle(self, candle):
        return LONG if 1.0 / (candle.close - candle.open) > 0.0 else FLAT


class WrongTarget(Strategy):
    def setup(self):
        self.seen = 0

    def on_candle(self, candle):
        self.seen += 1
        return Signal((self.seen - 1) // 50)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (KeepsAList, "KeepsAList.closes is [] (list) after setup()"),
        (ChangesType, "self.last is int64 after setup() and is given a float64 later"),
        (UsesTooMuch, "UsesTooMuch can't be compiled (test_strategy_compiler.py, line"),
        (Heir, "Heir.on_candle calls super(), which numba can't"),
    ],
)
def test_what_cannot_be_compiled_runs_interpreted_and_says_why(strategy, words):
    """A warning names the file and the reason; the result is that of the class as Python runs it."""
    with pytest.warns(UserWarning, match="runs interpreted") as caught:
        result = backtest(strategy(), walk())
    assert words in told(caught)[0]
    assert not result.runs[0].signals.compiled
    plain = backtest(strategy(), walk(), engine="interpreted")
    assert result.signal_records == plain.signal_records or str(result.signal_records) == str(plain.signal_records)


def test_a_refusal_is_not_compiled_again():
    """The second run of a class that can't be compiled costs no second attempt."""
    with pytest.raises(NotCompilable) as first:
        compiled(KeepsAList())
    with pytest.raises(NotCompilable) as second:
        compiled(KeepsAList())
    assert first.value is second.value


@pytest.mark.parametrize(("strategy", "words"), [(Divides, "ZeroDivisionError"), (WrongTarget, "target 2: expected 1")])
def test_a_strategy_that_raises_is_stopped_as_in_a_session(strategy, words):
    """Signals end before the candle; the error names it; what was held is left."""
    array = walk()
    array["open"] -= 0.01
    array["low"] -= 0.01
    array["open"][100] = array["close"][100]
    with pytest.warns(UserWarning, match=f"{strategy.__name__} raised on .*trades no more") as caught:
        result = backtest(strategy(), array)
    assert len(told(caught)) == 1
    assert words in result.errors[0]
    assert repr(result).startswith("Backtest(RAISED, ")
    assert result.errors[0] in repr(result)
    assert len(result.signal_records) == 100
    last = result.request_records[-1]
    assert (last.reason, last.position_after, last.start) == ("strategy raised", 0, int(array["start"][100]))


def test_a_class_defined_anew_is_compiled_anew():
    """As in a notebook, where a cell is changed and run again: same name, same attributes, other code."""

    def define(sign):
        class Mine(Strategy):
            def setup(self):
                self.ema = EMA(5)

            def on_candle(self, candle):
                above = candle.close > self.ema.update(candle.close)
                return (LONG if sign > 0 else SHORT) if above else FLAT

        return Mine

    up, down = (backtest(define(s)(), walk()).runs[0].signals for s in (1, -1))
    assert up.compiled
    assert down.compiled
    np.testing.assert_array_equal(up.target, -down.target)


def test_a_fresh_process_finds_what_was_compiled(tmp_path, monkeypatch):
    """The second process loads the loop from disk: numba counts a hit."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = (
        "from tradealgo.strategies.compiler import compiled; from tradealgo.strategies import EmaCross;"
        "k = compiled(EmaCross()).signals; print(sum(k.stats.cache_hits.values()), sum(k.stats.cache_misses.values()))"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "12"
    ]
    assert said == ["0 1\n", "1 0\n"]


def test_parameters_do_not_compile_again():
    """A sweep's points share one compiled loop."""
    assert compiled(EmaCross(fast=3)) is compiled(EmaCross(slow=77, stop_loss=0.5))
