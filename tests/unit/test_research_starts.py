"""The look-ahead check's later starts on few candles: who forgets slowly is acquitted, who counts or never forgets isn't."""

from functools import cache

import pytest
from test_research_honesty import Anchored

from tradealgo.research.history import simulated, to_array
from tradealgo.research.lookahead import COUNTS, KEEPS, check_lookahead
from tradealgo.strategies import FLAT, LONG, RSI, SHORT, SMA, VWAP, EmaCross, Strategy

pytestmark = pytest.mark.timeout(300)
SEEDS = range(20)


@cache
def day(seed):
    """A day of the paper market."""
    return to_array(simulated("2026-11-20", seed, ["NSE:INFY"], days=1)["NSE:INFY"])


def started_later(strategy, candles):
    return check_lookahead(strategy, candles, instruments="NSE:INFY", probes=("start",))


class SmaCross(Strategy):
    """Averages of prices in ticks are often equal, so that rounding decides."""

    fast: int = 5
    slow: int = 10

    def setup(self):
        self.averages = SMA(self.fast), SMA(self.slow)

    def on_candle(self, candle):
        fast, slow = (average.update(candle.close) for average in self.averages)
        return LONG if fast > slow else FLAT


class Swings(Strategy):
    span: int = 14

    def setup(self):
        self.rsi = RSI(self.span)

    def on_candle(self, candle):
        value = self.rsi.update(candle.close)
        return LONG if value < 40.0 else SHORT if value > 60.0 else FLAT


class AboveVwap(Strategy):
    """Forgets at the day's end, and not before."""

    def setup(self):
        self.vwap = VWAP()

    def on_candle(self, candle):
        return LONG if candle.close > self.vwap.update(candle) else SHORT


class Counts(Strategy):
    """Looks some candles ahead in a copy that no probe changes, and does something or other after its end."""

    ahead: int = 1
    after: str = "last"

    def setup(self):
        self.closes = day(3)["close"]
        self.heard = 0

    def on_candle(self, candle):
        self.heard += 1
        at = self.heard - 1 + self.ahead
        if self.after == "last":
            at = min(at, len(self.closes) - 1)
        elif self.after == "flat" and at >= len(self.closes):
            return FLAT
        return LONG if self.closes[at % len(self.closes)] > candle.close else SHORT


@pytest.mark.parametrize(("fast", "slow"), [(10, 50), (20, 50), (5, 200)])
@pytest.mark.parametrize("count", [17, 375])
def test_a_crossover_is_never_called_a_look_ahead(fast, slow, count):
    """On a few candles of a session that was killed, and on a whole day, whatever the market."""
    for seed in SEEDS:
        found = started_later(EmaCross(fast=fast, slow=slow), day(seed)[:count])
        assert found.passed, (seed, found.reading)


def test_all_probes_pass_what_a_short_session_heard():
    """As a promotion asks: the sentence claims no warm-up that the candles don't show."""
    found = [check_lookahead(EmaCross(fast=10), day(seed)[:17], instruments="NSE:INFY") for seed in SEEDS]
    assert all(f.passed for f in found)
    late = [f for f in found if not f.warm_up]
    assert late
    assert all(f.reading.endswith("the candles it has heard.") for f in late)


@pytest.mark.parametrize("strategy", [SmaCross(), SmaCross(fast=20, slow=200), Swings(), Swings(span=50), AboveVwap()])
def test_who_forgets_is_acquitted_or_asks_for_more_candles(strategy):
    """A day is enough for most; on 17 candles it may be told that they are too few, and how many would do."""
    for seed in SEEDS[:8]:
        whole, few = (started_later(strategy, day(seed)[:n]) for n in (375, 17))
        assert whole.passed or (strategy.parameters.get("span") == 50 and "are too few to judge" in whole.reading)
        assert few.passed or "17 candles are too few to judge" in few.reading
        assert few.passed or "give about 180" in few.reading


@pytest.mark.parametrize("after", ["last", "flat", "again"])
@pytest.mark.parametrize("ahead", [1, 5, 10])
def test_who_counts_candles_is_found_by_the_start_alone(ahead, after):
    """Whatever it does where its copy ends; on few candles it isn't passed either."""
    found = started_later(Counts(ahead=ahead, after=after), day(3))
    assert [f.meaning for f in found.findings] == [COUNTS]
    assert not started_later(Counts(ahead=ahead, after=after), day(3)[:60]).passed


def test_who_never_forgets_is_told_so():
    """Not that it counts."""
    found = started_later(Anchored(), day(3))
    assert [f.meaning for f in found.findings] == [KEEPS]
    assert "never forgets how it began" in found.reading
