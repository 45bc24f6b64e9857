"""The same class says the same in all engines, or says that it runs interpreted: idioms in which compilers go their own way."""

import math
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.research.backtest import backtest
from tradealgo.research.sweep import sweep
from tradealgo.strategies import EMA, FLAT, LONG, SMA, Signal, Strategy

pytestmark = pytest.mark.timeout(300)

BAND = 0.0
WEIGHTS = np.array([0.5, 0.5])
settings = types.ModuleType("settings")
settings.BAND = 0.0


def walk(count=2_000, seed=3, step=0.3):
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = 1_795_146_300_000_000_000 + np.arange(count) * MINUTE_NS
    array["close"] = np.round(np.maximum(250.0 + np.cumsum(rng.normal(0.0, step, count)), 5.0) / 0.05) * 0.05
    array["open"] = np.round(np.r_[array["close"][:1], array["close"][:-1]], 2)
    array["high"] = np.maximum(array["open"], array["close"])
    array["low"] = np.minimum(array["open"], array["close"])
    return array


def both(strategy, candles):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fast = backtest(strategy, candles, intraday=False)
        said = [str(w.message) for w in caught if w.category is UserWarning]
        plain = backtest(strategy, candles, intraday=False, engine="interpreted")
    return fast, plain, said


def same(fast, plain):
    a, b = fast.runs[0].signals, plain.runs[0].signals
    return a.target.tobytes() == b.target.tobytes() and a.stop.tobytes() == b.stop.tobytes()


class Figures(Strategy):
    """All that numba by itself rounds otherwise than Python and numpy, weighed into one stop."""

    which: int = 0

    def setup(self):
        self.few, self.some, self.many = np.zeros(5), np.zeros(61), np.zeros(300)
        self.sma = SMA(4)
        self.n = 0

    def on_candle(self, candle):
        self.few[self.n % 5] = self.some[self.n % 61] = self.many[self.n % 300] = candle.close * 1.01
        self.n += 1
        if np.isnan(self.sma.update(candle.close)):
            return FLAT
        stop = 1.0
        if self.which == 0:
            stop = round(candle.close * 0.995, 2)
        elif self.which == 1:
            stop = round(candle.close / 3.0, 1) + round(candle.close * 0.7) + round(candle.open + 0.125, 3)
        elif self.which == 2:
            stop = self.few.mean() + self.some.mean() + self.many.mean()
        elif self.which == 3:
            stop = self.few.std() + self.some.std() + np.std(self.many) + 1.0
        elif self.which == 4:
            stop = np.sum(self.few) + self.some.sum() + np.mean(self.many) + np.var(self.some)
        else:
            stop = (
                math.exp(math.sin(candle.close)) + math.log(candle.close) + math.floor(candle.close) + int(candle.open)
            )
        return Signal(1, stop) if candle.close >= self.some.mean() else Signal(0, stop)


@pytest.mark.parametrize("which", range(6))
def test_rounding_and_sums_have_the_same_last_bit(which):
    """Compiled, and each stop as Python says it."""
    fast, plain, said = both(Figures(which=which), walk())
    assert fast.runs[0].signals.compiled, said
    assert same(fast, plain)
    assert len(set(plain.runs[0].signals.stop.tolist())) > 100


def test_rounding_is_python_s_at_halves_and_near_them():
    """The nearest decimal of what the float is exactly; nan, infinities and -0.0 too."""
    from tradealgo.strategies.checked import _to_digits

    rng = np.random.default_rng(1)
    values = np.r_[rng.normal(0, 1e4, 5_000), rng.integers(-(10**6), 10**6, 20_000) / 200.0, -0.001, np.inf, np.nan]
    values = np.r_[values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf), rng.integers(-99, 99, 99) / 8]
    for digits in (0, 1, 2, 4):
        mine = np.array([_to_digits(v, digits) for v in values])
        assert mine.tobytes() == np.array([round(v, digits) for v in values.tolist()]).tobytes()


def test_sums_are_numpy_s_at_all_lengths():
    """Eight by eight, blocks of 128, halves."""
    from tradealgo.strategies.checked import _mean, _std, _sum

    rng = np.random.default_rng(1)
    for n in (1, 7, 8, 9, 15, 16, 127, 128, 129, 136, 255, 256, 257, 1000, 4097, 20_000):
        a = rng.normal(100.0, 30.0, n)
        assert (_sum(a), _mean(a), _std(a)) == (a.sum(), a.mean(), a.std())


class Root(Strategy):
    def on_candle(self, candle):
        return LONG if math.sqrt(candle.close - 250.0) > 1.0 else FLAT


class Logarithm(Strategy):
    def setup(self):
        self.last = 0.0

    def on_candle(self, candle):
        change = math.log(candle.close - self.last)
        self.last = candle.close
        return LONG if change > 0.0 else FLAT


class Whole(Strategy):
    def setup(self):
        self.average = SMA(5)

    def on_candle(self, candle):
        return LONG if int(self.average.update(candle.close)) < 250 else FLAT


class OneTooFar(Strategy):
    n: int = 20

    def setup(self):
        self.window, self.next = np.zeros(self.n), 0

    def on_candle(self, candle):
        self.window[self.next] = candle.close
        self.next = (self.next + 1) % self.n
        return LONG if candle.close > self.window[self.next + 1] else FLAT


class WritesOn(Strategy):
    def setup(self):
        self.window, self.next = np.zeros(20), 0

    def on_candle(self, candle):
        self.window[self.next] = candle.close
        self.next += 1
        return LONG if candle.close > self.window[0] else FLAT


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Root, "ValueError"),
        (Logarithm, "ValueError"),
        (Whole, "cannot convert float NaN to integer"),
        (OneTooFar, "index 20 is out of bounds"),
        (WritesOn, "index 20 is out of bounds"),
    ],
)
def test_what_raises_in_python_raises_in_every_engine(strategy, words):
    """With the candle and the line; never a nan, or what lies in memory behind an array."""
    fast, plain, said = both(strategy(), walk())
    assert fast.errors == plain.errors
    assert words in fast.errors[0]
    assert any("raised on" in text for text in said)
    assert same(fast, plain)


def test_a_sweep_does_not_read_behind_an_array():
    """Each of its points raised, and has no figures."""
    with pytest.warns(UserWarning, match="points raised"):
        table = sweep(OneTooFar, {"n": [10, 20]}, walk(), progress=False).table
    assert table["net profit"].isna().all()


class Swaps(Strategy):
    def setup(self):
        self.now, self.then, self.n = EMA(3), EMA(9), 0

    def on_candle(self, candle):
        self.n += 1
        if self.n % 30 == 0:
            self.now, self.then = self.then, self.now
        return LONG if self.now.update(candle.close) > self.then.update(candle.high) else FLAT


class Shares(Strategy):
    def setup(self):
        self.a = EMA(5)
        self.b = self.a

    def on_candle(self, candle):
        self.a.update(candle.close)
        return LONG if candle.close > self.b.update(candle.high) else FLAT


class SharesALocal(Shares):
    def setup(self):
        made = EMA(5)
        self.a = made
        self.b = made


class Counts(Strategy):
    def setup(self):
        self.n = 0

    def on_candle(self, candle):
        self.n += 1
        return Signal(1 if self.n % 20 < 10 else 0, reason="after " + str(self.n))


class Names(Strategy):
    side: str = "up"

    def on_candle(self, candle):
        return Signal(1 if candle.close > candle.open else 0, reason="went " + self.side)


class Cubes(Strategy):
    def on_candle(self, candle):
        return Signal(1, candle.close**3 / 1e6)


class Halves(Strategy):
    def setup(self):
        self.w = np.zeros(3, np.float32)

    def on_candle(self, candle):
        self.w[0] = self.w[0] * 0.9 + candle.close * 0.1
        return Signal(1, float(self.w[0]))


class ShortLocal(Strategy):
    def on_candle(self, candle):
        w = np.zeros(3, np.float32)
        w[0] = candle.close * 0.1
        return Signal(1, float(w[0]))


class Logs(Strategy):
    def on_candle(self, candle):
        return Signal(1, float(np.log(candle.close)))


class Powers(Strategy):
    k: int = -1

    def on_candle(self, candle):
        return LONG if candle.close * (2**self.k) > 125.0 else FLAT


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Swaps, "is given an object that has another name already"),
        (Shares, "self.b is given an object that has another name already"),
        (SharesALocal, "is given an object that has another name already"),
        (Counts, "a text is made while it runs"),
        (Names, "a text is made while it runs"),
        (Halves, "arrays of float64, int64 or bool"),
        (ShortLocal, "arrays of float64, int64 or bool"),
        (Logs, "write math.log(x)"),
        (Cubes, "write a square as x * x"),
        (Powers, "x ** y may have another last digit"),
    ],
)
def test_what_would_differ_runs_interpreted_and_says_why(strategy, words):
    """Also in tables of signals and requests."""
    fast, plain, said = both(strategy(), walk())
    assert any(words in text and "test_strategy_same.py" in text for text in said), said
    assert not fast.runs[0].signals.compiled
    assert same(fast, plain)
    assert fast.signals.equals(plain.signals)


class Tuned(Strategy):
    LEVEL = 0.0

    def on_candle(self, candle):
        level = self.LEVEL + BAND + settings.BAND + WEIGHTS[0] - 0.5
        return LONG if candle.close > 250.0 + level + offset() else FLAT


def offset():
    return 0.0


def test_constants_and_functions_that_change_are_seen(monkeypatch):
    """As in a notebook, where one cell is changed and another runs again."""
    candles = walk(count=600)
    monkeypatch.setitem(globals(), "WEIGHTS", WEIGHTS.copy())
    found = [backtest(Tuned, candles)]
    for change in (
        lambda: monkeypatch.setattr(Tuned, "LEVEL", 1.0),
        lambda: monkeypatch.setitem(globals(), "BAND", 1.0),
        lambda: monkeypatch.setattr(settings, "BAND", 1.0),
        lambda: WEIGHTS.__setitem__(0, 1.5),
        lambda: monkeypatch.setitem(globals(), "offset", lambda: 1.0),
    ):
        change()
        found.append(backtest(Tuned, candles))
        plain = backtest(Tuned, candles, engine="interpreted")
        assert found[-1].runs[0].signals.compiled
        assert same(found[-1], plain)
        assert found[-1].runs[0].signals.target.tobytes() != found[-2].runs[0].signals.target.tobytes()


def test_a_function_whose_code_is_replaced_in_place_is_seen(monkeypatch):
    """As an automatic reload of a module does."""
    candles = walk(count=600)
    backtest(Tuned, candles)
    monkeypatch.setattr(offset, "__code__", (lambda: 2.5).__code__)
    assert same(backtest(Tuned, candles), backtest(Tuned, candles, engine="interpreted"))


def test_names_that_compiled_code_does_not_read_compile_nothing_anew(monkeypatch):
    """A notebook's own `close` is no part of a strategy that reads candle.close."""
    from tradealgo.strategies.compiler import compiled

    before = compiled(Tuned())
    monkeypatch.setitem(globals(), "close", 5.0)
    monkeypatch.setitem(globals(), "BAND", float("0.0"))  # another object of the same value
    assert compiled(Tuned()) is before


def test_a_fresh_process_runs_the_same_from_disk(tmp_path, monkeypatch):
    """What stands for numpy's and Python's own arithmetic is loaded with the loop, and works there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = "from test_strategy_same import *; print(backtest(Figures(which=3), walk(400)).runs[0].signals.stop.sum())"
    here = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
    said = [subprocess.run([sys.executable, "-W", "ignore", "-c", run], **here).stdout for _ in "12"]
    assert said[0] == said[1] != ""
