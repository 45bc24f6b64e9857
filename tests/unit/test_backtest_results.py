"""What backtest() accepts, refuses and shows."""

import datetime as dt
import math
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import tradealgo
from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadCandles, BadConfig, ParityBroken, UnknownInstrument
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.research.figures import label_times
from tradealgo.research.parity import parity
from tradealgo.research.report import write_report
from tradealgo.strategies import EMA, FLAT, EmaCross, Strategy

pytestmark = pytest.mark.timeout(300)
OPEN = at(dt.date(2026, 11, 20), dt.time(9, 15))


def day(seed=1, count=360):
    rng = np.random.default_rng(seed)
    array = np.zeros(count, CANDLE)
    array["start"] = OPEN + np.arange(count) * MINUTE_NS
    array["close"] = np.round(1_500.0 + np.cumsum(rng.normal(0.0, 0.8, count)), 2)
    array["open"] = np.r_[1_500.0, array["close"][:-1]]
    array["high"] = np.maximum(array["open"], array["close"]) + 0.1
    array["low"] = np.minimum(array["open"], array["close"]) - 0.1
    return array


def frame(seed=1):
    array = day(seed)
    index = pd.DatetimeIndex(array["start"], tz="UTC", name="start").tz_convert("Asia/Kolkata")
    return pd.DataFrame({n: array[n] for n in ("open", "high", "low", "close")}, index=index)


@pytest.fixture(scope="module")
def result():
    return backtest(EmaCross(fast=5, slow=15), {"NSE:INFY": day(1), "NSE:TCS": day(2)})


def test_frames_arrays_and_indian_times_without_a_zone_are_the_same_candles():
    """A frame, its array, another time unit, and a naive index."""
    wanted = repr(backtest(EmaCross(), day()).signal_records)
    naive = frame().tz_localize(None)
    coarse = frame().set_axis(frame().index.as_unit("s"))
    for candles in (frame(), naive, coarse):
        assert repr(backtest(EmaCross(), candles).signal_records) == wanted


def test_a_day_squares_off_and_adds_up(result):
    """Trades, equity, charges and statistics agree with each other."""
    stats = result.stats()
    assert stats["trades"] == len(result.trades) > 10
    assert (result.trades["status"] == "closed").all()
    assert result.trades["pnl"].sum() == pytest.approx(stats["net profit"], abs=0.01)
    assert result.equity.iloc[-1] == pytest.approx(result.final_equity)
    assert result.charges["total"] == pytest.approx(result.charges.drop("total").sum(), abs=0.05)
    assert result.drawdown.min() == stats["max drawdown"] <= 0.0
    late = result.signals.between_time("15:09", "15:30")
    assert set(late["reason"]) == {"square-off"}
    assert len(result.requests) == len(result.orders) == result.order_count
    assert "Backtest of EmaCross" in result._repr_html_()


def test_figures_are_shown_with_their_units(result):
    """Percent, rupees, candles, a dash for what a day can't tell; the values stay what they are."""
    stats, text = result.stats(), result._repr_html_()
    for words in (
        "20 Nov 2026 09:15 IST", f"Rs {stats['net profit']:+,.2f}", f"{stats['return']:+.2%}", f"{stats['win rate']:.2%}",
        f"{stats['average candles held']:.1f} candles", "Rs 1,000,000.00", "<td>720</td>",
    ):  # fmt: skip
        assert words in text
    assert math.isnan(stats["return a year"])
    assert re.search(r"<th>return a year</th>\s*<td>–</td>", text)


@pytest.mark.parametrize(("days", "known"), [(20, False), (21, True)])
def test_a_return_a_year_needs_a_month(days, known):
    """Of 21 trading days; less says nothing of a year."""
    candles = np.concatenate([day(seed) for seed in range(days)])
    candles["start"] += np.repeat(np.arange(days), 360) * 86_400 * 10**9
    stats = backtest(EmaCross(fast=5, slow=15), candles).stats()
    assert stats["days"] == days
    assert math.isfinite(stats["return a year"]) is known
    if known:
        assert stats["return a year"] == pytest.approx((1.0 + stats["return"]) ** (252 / days) - 1.0)


def test_costs_make_it_worse():
    """Charges and slippage each take money; a fraction charges that fraction of turnover."""
    free, charged, slipped = (
        backtest(EmaCross(fast=5, slow=15), day(), **k)
        for k in ({"charges": False}, {"charges": 0.001}, {"charges": False, "slippage": 0.001})
    )
    turnover = (charged.orders["quantity"].abs() * charged.orders["price"]).sum()
    assert free.charges["total"] == 0.0
    assert charged.charges["total"] == pytest.approx(turnover * 0.001, abs=0.01)
    assert slipped.final_equity == pytest.approx(free.final_equity - turnover * 0.001, rel=1e-6)


def test_the_instrument_decides_lots_and_charges():
    """A future by its Instrument, or by its key alone."""
    future = Instrument(
        instrument_token=9, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE, lot_size=65, name="NIFTY"
    )
    sizing = Sizing(lots=2)
    by_object = backtest(EmaCross(), {"NFO:NIFTY26NOVFUT": day()}, instruments=[future], sizing=sizing)
    by_name = backtest(EmaCross(), {"NFO:NIFTY26NOVFUT": day()}, sizing=sizing)
    assert set(by_object.orders["quantity"].abs()) == {130}
    assert by_object.final_equity == by_name.final_equity
    assert {r.instrument_token for r in by_object.request_records} == {9}


def shaken(change):
    array = day()
    change(array)
    return array


@pytest.mark.parametrize(
    ("candles", "error", "words"),
    [
        (shaken(lambda a: a["close"].__setitem__(7, np.nan)), BadCandles, "row 7 (2026-11-20 09:22:00 IST) has"),
        (shaken(lambda a: a["low"].__setitem__(3, 0.0)), BadCandles, "expected positive prices"),
        (day()[::-1].copy(), BadCandles, "sort the candles"),
        (day()[:0], BadCandles, "is empty"),
        (np.zeros(3), BadCandles, "expected tradealgo.domain.candles.CANDLE"),
        (frame().drop(columns="close"), BadCandles, "has no column close"),
        (frame().reset_index(drop=True), BadCandles, "expected the candles' start times"),
        (frame().resample("1D").last().assign(high=9e9), BadConfig, "pass intraday=False"),
    ],
)
def test_bad_candles_get_a_sentence(candles, error, words):
    """With the row and its time."""
    candles = pd.concat([candles, candles.shift(freq="1D")]) if error is BadConfig else candles
    with pytest.raises(error) as caught:
        backtest(EmaCross(), candles)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"fill": "open"}, BadConfig, "'next_open' or 'close'"),
        ({"capital": 0}, BadConfig, "rupees above 0"),
        ({"charges": 5}, BadConfig, "fraction of turnover"),
        ({"slippage": -1}, BadConfig, "fraction of the price"),
        ({"engine": "fast"}, BadConfig, "'compiled', 'interpreted' or 'event'"),
    ],
)
def test_bad_options_get_a_sentence(options, error, words):
    """What was received and what is expected."""
    with pytest.raises(error, match=re.escape(words)):
        backtest(EmaCross(), day(), **options)
    with pytest.raises(BadConfig, match="expected a Strategy"):
        backtest("EmaCross", day())


def test_unknown_instruments_are_named():
    """The key must be among the instruments that were given."""
    known = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)
    with pytest.raises(UnknownInstrument, match="did you mean NSE:INFY"):
        backtest(EmaCross(), {"NSE:INFI": day()}, instruments=[known])
    with pytest.raises(UnknownInstrument, match="the backtest has no 'TCS'"):
        backtest(EmaCross(), {"NSE:INFY": day()}).plot("TCS")


def test_figures_show_every_entry_and_exit(result):
    """Markers are the orders of the instrument; three panes share the time axis."""
    figure = result.plot("NSE:TCS")
    marks = {t.name: len(t.x) for t in figure.data if t.mode == "markers"}
    orders = result.orders[result.orders["instrument"] == "NSE:TCS"]
    assert marks == {"buy": (orders["quantity"] > 0).sum(), "sell": (orders["quantity"] < 0).sum()}
    assert {t.yaxis for t in figure.data} == {"y", "y2", "y3"}


def test_each_instrument_can_be_chosen_in_the_figure(result):
    """Its price and orders are shown, and the title and the axis say whose they are; equity and drawdown always are."""
    figure = result.plot()
    assert "in 2 instruments, shown: NSE:INFY" in figure.layout.title.text
    buttons = figure.layout.updatemenus[0].buttons
    assert [t.visible for t in figure.data] == [True] * 3 + [False] * 3 + [True] * 2
    alone = {t.name: t for t in result.plot("NSE:TCS").data}
    changed, layout = buttons[1].args
    shown = [t for t, visible in zip(figure.data, changed["visible"], strict=True) if visible]
    assert [t.name for t in shown] == ["close", "buy", "sell", "equity", "drawdown"]
    assert all(np.array_equal(t.y, alone[t.name].y) for t in shown)
    assert "shown: NSE:TCS" in layout["title.text"]
    assert layout["yaxis.title.text"] == "TCS"
    assert "shown" not in backtest(EmaCross(), day()).plot().layout.title.text


@pytest.mark.parametrize(
    ("count", "times"),
    [
        (1, ["09:15"]),
        (20, ["09:16", "09:18", "09:20", "09:22", "09:24", "09:26", "09:28", "09:30", "09:32", "09:34"]),
        (117, ["09:15", "09:30", "09:45", "10:00", "10:15", "10:30", "10:45", "11:00"]),
        (360, ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]),
    ],
)
def test_times_are_round(count, times):
    """On the axis, whose numbers count candles."""
    axis = backtest(EmaCross(), day(count=count)).plot().layout.xaxis
    assert list(axis.ticktext) == times
    starts = pd.DatetimeIndex(day()["start"], tz="UTC").tz_convert("Asia/Kolkata")
    assert [f"{starts[i]:%H:%M}" for i in axis.tickvals] == times


def test_a_label_has_room_beside_the_next_days_first():
    """15:00 and the next morning's 09:15 are half an hour of candles apart: one would lie over the other."""
    days = [pd.date_range(f"2026-11-{d} 09:15", periods=375, freq="min") for d in (18, 19, 20)]
    figure = go.Figure()
    label_times(figure, days[0].append(days[1:]))
    spots = figure.layout.xaxis.tickvals
    assert min(np.diff(spots)) > 75
    assert [text[-5:] for text in figure.layout.xaxis.ticktext] == ["09:15", "12:00"] * 3 + ["15:00"]


class Typo(Strategy):
    """Its mistake is met as soon as the close is above the average."""

    def setup(self):
        self.ema = EMA(5)

    def on_candle(self, candle):
        return LNG if self.ema.update(candle.close) < candle.close else FLAT  # noqa: F821


def test_a_mistake_in_a_strategy_is_told_once_and_shown_first():
    """One warning for all instruments, which names the line; the repr, the HTML and the figure's title begin with it."""
    with pytest.warns(UserWarning, match="Typo raised") as caught:
        found = backtest(Typo(), {"NSE:INFY": day(1), "NSE:TCS": day(2)})
    (warning,) = [w for w in caught if w.category is UserWarning]  # Python's own may come at any moment
    said = str(warning.message)
    assert re.search(
        r"Typo raised on NSE:INFY.*'LNG' is not defined, line \d+ of test_backtest_results.py: return LNG if", said
    )
    assert "(and 1 more in .errors)" in said
    assert warning.filename == __file__
    assert "RAISED" in repr(found).splitlines()[0]
    assert "'LNG' is not defined" in repr(found)
    assert re.match(r"<div style=.color:#d1495b.><b>Typo raised on .*&lt; candle.close", found._repr_html_())
    assert re.match(r"<span style=.color:#d1495b.>RAISED</span> Typo", found.plot().layout.title.text)


def test_parity_counts_and_names_differences(result):
    """The printed line, the table, the error; a killed session is compared up to its end."""
    signals, requests = result.signal_records, result.request_records
    same = parity(result, signals, requests)
    assert same.text == f"parity: {len(signals)} signals, {len(requests)} order requests, 0 differences"
    assert same.check() is same
    broken = parity(result, signals[:-1], [*requests[1:], requests[-1]])
    assert [(d.what, d.field) for d in broken.differences] == [
        ("signal", "missing"), ("order request", "repeated"), ("order request", "missing"),
    ]  # fmt: skip
    with pytest.raises(ParityBroken, match="3 differences: NSE:"):
        broken.check()
    until = int(signals[-1].start)
    assert parity(result, [s for s in signals if s.start < until], requests, until).differences == []


def test_parity_ignores_stamps_and_session_but_not_what_was_said(result):
    """A session has its own id and clock; a target is a target."""
    import msgspec

    moved = [msgspec.structs.replace(s, ts_init=5, ts_signalled=6) for s in result.signal_records]
    renamed = [
        msgspec.structs.replace(r, session_id="live", request_id=r.request_id.replace("backtest", "live"), ts_init=3)
        for r in result.request_records
    ]
    assert parity(result, moved, renamed).differences == []
    moved[4] = msgspec.structs.replace(moved[4], target=-1)
    (difference,) = parity(result, moved, renamed).differences
    assert (difference.what, difference.field, difference.session) == ("signal", "target", -1)


def test_a_session_that_left_by_time_agrees_with_its_backtest():
    """A call that nobody trades after 15:27: its exit by time is of a candle that neither side has heard, so it isn't held
    against the backtest, which has the position to the end of its candles."""
    from tradealgo.config import Manifest, Mode
    from tradealgo.consumer.engine import StrategyEngine
    from tradealgo.domain.candles import Candle, ClosedCandle
    from tradealgo.live.review import session_parity

    call, future = (
        Instrument(instrument_token=n << 8 | 2, exchange="NFO", tradingsymbol=f"NIFTY26NOV{name}", kind=kind)
        for n, name, kind in ((1, "25000CE", Kind.CALL), (2, "FUT", Kind.FUTURE))
    )
    rows = {call: day(1, 373), future: day(2, 385)}
    test = backtest(
        EmaCross(fast=3, slow=8), {i.key: r for i, r in rows.items()}, instruments=list(rows), sizing=Sizing(lots=1),
        engine="interpreted",
    )  # fmt: skip
    manifest = Manifest(
        session_id="s", mode=Mode.PAPER, account="A", strategy="", parameters={"fast": 3, "slow": 8}, capital=1e6,
        sizing=Sizing(lots=1), instruments=tuple(i.key for i in rows),
    )  # fmt: skip
    engine, said = StrategyEngine(manifest, EmaCross, rows), []
    for minute in range(386):
        closed = [
            ClosedCandle(i.instrument_token, 60, *Candle._make(r[minute].item()), 1, 0, 0, 0)
            for i, r in rows.items()
            if minute < len(r)
        ]
        said.append(engine.on_candles(closed, 0, OPEN + (minute + 1) * MINUTE_NS))
    signals, requests = ([m for out in said for m in getattr(out, kind)] for kind in ("signals", "requests"))
    assert [(a.code, a.text.split()[0]) for out in said for a in out.alerts] == [("square_off_by_time", call.key)]
    assert requests[-1].instrument == call.key
    session = SimpleNamespace(id="s", signals=signals, requests=requests, manifest=manifest)
    assert session_parity(test, session).differences == []


def test_the_report_is_one_file_without_addresses(result, tmp_path):
    """Figures, tables and text; plotly's script once; nothing is fetched."""
    file = write_report(
        tmp_path / "new" / "report.html",
        "EMA <crossover>",
        [("Price", result.plot()), ("Figures", result.stats()), ("Note", "a < b")],
    )
    text = file.read_text()
    assert "EMA &lt;crossover&gt;" in text
    assert "a &lt; b" in text
    assert "win rate" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)


def test_import_is_light():
    """Neither numba nor pandas nor plotly loads until it is used."""
    code = (
        "import sys, tradealgo, tradealgo.strategies;"
        "print([m for m in ('numba', 'pandas', 'plotly', 'vectorbt', 'redis') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
    assert tradealgo.backtest is backtest
