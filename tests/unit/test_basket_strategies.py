"""The shipped baskets on simulated days, through the event engine: what they hold, and that they see only the past."""

import datetime as dt

import numpy as np
import pytest

from tradealgo import backtest
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.instruments import Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.state import KillCause
from tradealgo.research.basket import basket_candles
from tradealgo.research.event import EventBacktest
from tradealgo.research.lookahead import check_lookahead
from tradealgo.strategies import Hybrid, MomentumScanner, StraddleManager, Target

DAY, SEED = "2026-11-20", 1
#: Nothing of these stops an order, so that what is asked for is what is held.
WIDE = Limits(max_loss_fraction=1.0, fat_finger_fraction=10.0, option_fat_finger_fraction=10.0, max_gross_exposure=1e12)


@pytest.fixture(scope="module")
def day():
    """A day's candles of all that the Hybrid watches: shares, index and chain."""
    return basket_candles(Hybrid(), DAY, SEED)


def holdings(test):
    """After each minute with an order: held units by symbol."""
    held, rows = {}, []
    for order in test.orders.itertuples():
        held[order.instrument] = held.get(order.instrument, 0) + order.quantity
        rows.append((order.time, {k: q for k, q in held.items() if q}))
    return dict(rows)


def test_the_scanner_holds_a_few_that_rose(day):
    """At most `top` shares at once, nothing below `least`, flat at the square-off, equal parts of capital."""
    scanner = MomentumScanner(lookback=30, every=30, top=2, least=0.002)
    test = backtest(scanner, day, engine="event", limits=WIDE)
    assert isinstance(test, EventBacktest)
    held = holdings(test)
    assert max(map(len, held.values())) == 2
    assert list(held.values())[-1] == {}
    closes = {i.key: c["close"] for i, c in day.items()}
    first = test.requests.iloc[0]
    at = int(np.searchsorted(day[test.instruments[0]]["start"], first["start"].value))
    assert closes[first["instrument"]][at] / closes[first["instrument"]][at - 30] - 1.0 > 0.002
    assert first["quantity"] * first["reference_price"] == pytest.approx(450_000, rel=0.01)


def test_the_straddle_is_sold_hedged_stopped_and_moved(day):
    """Two sold legs within two bought ones; a stopped leg leaves alone; all is over at the exit time."""
    straddle = StraddleManager(enter_at="09:30", leg_stop=0.3, recentre=2, hedge=8)
    test = backtest(straddle, day, engine="event", limits=WIDE)
    first = test.requests.iloc[:4]
    assert first["start"].dt.strftime("%H:%M").tolist() == ["09:29"] * 4
    assert first["side"].tolist() == ["BUY", "BUY", "SELL", "SELL"]
    strikes = [i.strike for key in first["instrument"] for i in test.instruments if i.key == key]
    middle = strikes[2]
    assert strikes == [middle - 400, middle + 400, middle, middle]
    reasons = set(test.signals["reason"])
    assert "stop" in reasons
    assert test.requests["start"].nunique() > 3
    assert all(sum(q < 0 for q in held.values()) <= 2 for held in holdings(test).values())
    assert list(holdings(test).values())[-1] == {}


def test_the_hybrid_sells_on_the_side_of_the_trend(day):
    """Puts while shares rise, calls while they fall, each with its bought leg further out; never a naked one."""
    test = backtest(Hybrid(lookback=20), day, engine="event", limits=WIDE)
    entries = test.requests[test.requests["intent"] == "ENTRY"]
    assert {"trend up", "trend down"} <= set(entries["reason"])
    for _, legs in entries.groupby("start"):
        bought, sold = (i for key in legs["instrument"] for i in test.instruments if i.key == key)
        assert legs["side"].tolist() == ["BUY", "SELL"]
        assert bought.kind == sold.kind == ("PE" if legs["reason"].iloc[1] == "trend up" else "CE")
        assert abs(bought.strike - sold.strike) == 300
    for held in holdings(test).values():
        assert sum(held.values()) == 0
        assert len(held) in (0, 2)


@pytest.mark.parametrize("basket", [Hybrid(lookback=20), StraddleManager(), MomentumScanner(lookback=20)], ids=repr)
def test_the_future_changes_nothing(day, basket):
    """With every price after noon changed, all that is said until noon stays."""
    noon = dt.datetime.fromisoformat(f"{DAY}T12:00:00+05:30").timestamp() * 1e9
    changed = {}
    for instrument, candles in day.items():
        copy = candles.copy()
        for name in ("open", "high", "low", "close"):
            copy[name][copy["start"] >= noon] *= 1.5
        changed[instrument] = copy
    plain, other = (backtest(basket, c, engine="event", limits=WIDE) for c in (day, changed))
    until = [[s for s in test.signal_records if s.start < noon] for test in (plain, other)]
    assert until[0] == until[1]
    assert len(until[0]) > 20


@pytest.mark.parametrize(
    ("basket", "said"),
    [
        (Hybrid(stop_loss=0.3), r"leave what it covers naked: use Hybrid\(leg_stop=…\)"),
        (StraddleManager(trailing_stop=0.2), r"StraddleManager\(trailing_stop=0.2\) is judged on each leg by itself"),
        (Hybrid(take_profit=0.5), r"Hybrid\(take_profit=0.5\) is judged on each leg"),
        (Hybrid(hedge=0), "Hybrid.hedge is 0: expected at least 1"),
        (Hybrid(lots=-1), "Hybrid.lots is -1: expected at least 1"),
        (StraddleManager(enter_at="9:30"), "enter_at is '9:30': expected an Indian time as in '09:30'"),
        (Hybrid(enter_until="9:45"), "enter_until is '9:45'"),
        (Hybrid(exit_at="25:00"), "exit_at is '25:00'"),
        (Hybrid(hedge=20), r"watches 20 strikes to each side \(reach\), and its furthest leg is 21 out"),
        (StraddleManager(leg_stop=40.0), "leg_stop is 40.0: expected a fraction from 0 to 10, as 0.4 for 40 %"),
        (Hybrid(enter_breadth=65.0), "enter_breadth is 65.0: expected a fraction from 0 to 1"),
        (MomentumScanner(every=0), "MomentumScanner.every is 0: expected at least 1"),
        (Hybrid(lookback=0), "Hybrid.lookback is 0: expected at least 1"),
        (StraddleManager(reach=8), "its furthest leg is 10 out"),
    ],
    ids=repr,
)
def test_parameters_that_would_sell_naked_or_at_other_times_are_refused(basket, said):
    """A leg's own exit leaves the other naked, no hedge is none, and 9:30 comes after 15:15: nothing is traded, and it is said."""
    with pytest.raises(BadConfig, match=said):
        basket.fresh()


def test_beyond_the_watched_strikes_nothing_is_sold(day):
    """After a gap the nearest strike that is watched is far in the money: no straddle is there, hedged or not."""
    index = next(i for i in day if i.kind is Kind.INDEX)
    spot, told = day[index]["close"][15], {}
    for below in (0.0, 400.0):
        seen = {i: c for i, c in day.items() if not i.is_option or abs(i.strike - spot + below) <= 200.0}
        test = backtest(StraddleManager(hedge=0, recentre=0), seen, engine="event", limits=WIDE)
        told[below] = [s for s in test.request_records if s.reason == "straddle"]
    assert (len(told[0.0]), told[400.0]) == (2, [])


def test_without_a_hedge_a_leg_may_have_the_contracts_exits():
    """There is nothing to uncover; and what leaves all legs at once is no harm."""
    assert StraddleManager(hedge=0, stop_loss=0.3).fresh().stop_loss == 0.3
    assert Hybrid(max_candles=30).fresh().max_candles == 30


def test_figures_add_up_over_days(day):
    """Several days, each with its own chain: trades, equity and charges of one account, flat every evening."""
    basket = StraddleManager(reach=12, hedge=6)
    candles = basket_candles(basket, DAY, SEED, days=3)
    test = backtest(basket, candles, engine="event", limits=WIDE)
    assert test.orders["time"].dt.date.nunique() == 3
    assert test.orders.groupby(test.orders["time"].dt.date)["quantity"].sum().eq(0).all()
    assert test.trades["pnl"].sum() == pytest.approx(test.final_equity - test.capital, abs=0.05)
    assert test.orders["fees"].sum() == pytest.approx(test.charges["total"], abs=0.05)
    assert test.stats()["days"] == 3
    assert (test.equity.index == test.equity.index.sort_values()).all()


def test_every_candle_gives_the_same(day):
    """Quiet candles are skipped: with all of them shown the same orders, fills, verdicts and trips come."""
    from tradealgo.research.basket import basket_backtest

    few = {i: c[c["start"] < c["start"][0] + 90 * 60_000_000_000] for i, c in day.items() if len(c)}
    basket = Hybrid(lookback=10)
    fast, slow = (basket_backtest(basket, few, 1e6, "s", every_candle=every) for every in (False, True))
    assert fast.fill_records == slow.fill_records
    assert [v.code for v in fast.verdicts] == [v.code for v in slow.verdicts]
    assert len(fast.fill_records) >= 2


def test_a_broken_basket_is_among_the_denials(day):
    """Of the basket as a whole there is no side nor quantity, only why it was broken."""
    straddle, tight = StraddleManager(leg_stop=0.3, recentre=2, hedge=8), Limits(max_loss_fraction=0.002)
    denials = backtest(straddle, day, engine="event", limits=tight, slippage=0.002).denials
    broken = denials[denials["quantity"] == 0]
    assert set(broken["code"]) == {"ROLLED_BACK", "BASKET"}


def test_the_loss_line_stands_behind_naked_legs():
    """Six unhedged lots without stops on a day that runs away: the kill trips at 2 % of the capital, and it is flat."""
    naked = StraddleManager(hedge=0, leg_stop=0.0, recentre=0, lots=6)
    test = backtest(naked, basket_candles(naked, DAY, seed=4), engine="event")
    assert [(t.cause, t.kill.value) for t in test.trips] == [(KillCause.MTM, "LOCKED")]
    assert test.trips[0].ts_flat >= test.trips[0].ts_tripped > 0
    assert list(holdings(test).values())[-1] == {}
    assert -0.025 < test.final_equity / test.capital - 1.0 < -0.02


SHARES_DAY = {}


class Peeks(MomentumScanner):
    """Holds what will have risen ten minutes on, as a global tells it."""

    def on_candles(self, candles, book):
        for instrument, candle in candles.items():
            if instrument in SHARES_DAY:
                array = SHARES_DAY[instrument]
                row = min(int(np.searchsorted(array["start"], candle.start)) + 10, len(array) - 1)
                if array["close"][row] > candle.close:
                    return {instrument: Target(lots=1)}
        return {}


class Remembers(MomentumScanner):
    """State in the class outlives a run."""

    runs = 0

    def setup(self):
        super().setup()
        type(self).runs += 1

    def on_candles(self, candles, book):
        return {} if type(self).runs > 1 else {next(iter(candles)): Target(lots=1)}


def test_an_honest_basket_passes_and_its_candles_are_left_as_they_were(day):
    """The shipped ones, on the candles that the paper exchange plays."""
    before = {i: c.copy() for i, c in day.items()}
    found = check_lookahead(Hybrid(lookback=20), day, cuts=20).check()
    assert found.probes == ("again", "future")
    assert all(np.array_equal(before[i], c) for i, c in day.items())


@pytest.mark.parametrize(("cheat", "probe"), [(Peeks, "future"), (Remembers, "again")])
def test_a_basket_that_cheats_is_found(day, cheat, probe):
    """Where it first shows, and by which probe."""
    SHARES_DAY.update({i: c for i, c in day.items() if i.kind is Kind.EQUITY})
    found = check_lookahead(cheat(), SHARES_DAY, cuts=20)
    assert probe in {f.probe for f in found.findings}
    assert found.findings[0].instrument in {i.key for i in SHARES_DAY}
