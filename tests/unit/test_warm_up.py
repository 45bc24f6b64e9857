"""Warm-up: what a strategy hears before the first candle that it trades, in a backtest and at a launch."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo import Market, Sizing, launch
from tradealgo.config import Manifest, Mode, SessionDir, session_dirs
from tradealgo.consumer.basket_engine import PAST_ALL, BasketEngine
from tradealgo.consumer.warm_up import digest, read_warm_up, write_warm_up
from tradealgo.domain.candles import CANDLE, MINUTE_NS, ClosedCandle
from tradealgo.domain.errors import BadCandles, BadConfig, InvalidInput
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument
from tradealgo.exchange.listing import listing
from tradealgo.live.warm_up import asked_for, paper_days, warm_up_text
from tradealgo.research.backtest import backtest
from tradealgo.research.history import simulated, to_array
from tradealgo.strategies import FLAT, LONG, BasketStrategy, EmaCross, Strategy, Target

DAY = dt.date(2026, 11, 20)
KEYS = ["NSE:INFY", "NSE:TCS"]
MINUTES = simulated(DAY, 7, KEYS, days=3)
INFY = MINUTES["NSE:INFY"]
TODAY = INFY.index.date == DAY  # type: ignore[attr-defined]
EXITS = EmaCross(fast=5, slow=20, stop_loss=0.002, take_profit=0.004, max_candles=40)


class Held(Strategy):
    """Always long."""

    def on_candle(self, candle):
        return LONG


class FewCandles(Strategy):
    """Cannot hear more than fifty candles."""

    def setup(self):
        self.heard = 0

    def on_candle(self, candle):
        self.heard += 1
        return LONG if 1 // max(50 - self.heard, 0) >= 0 else FLAT


class Stronger(BasketStrategy):
    """The share that has risen more over everything it has heard."""

    def setup(self):
        self.first = {}

    def instruments(self, day):
        return [day.find(key) for key in KEYS]

    def on_candles(self, candles, book):
        for i, candle in candles.items():
            self.first.setdefault(i, candle.open)
        best = max(self.first, key=lambda i: book.price(i) / self.first[i])
        return {best: Target(weight=0.5)} if book.price(best) else {}


class Silent(BasketStrategy):
    """Long of INFY while it watches TCS, and has heard it."""

    def setup(self):
        self.heard = 0

    def instruments(self, day):
        return [day.find(key) for key in KEYS]

    def on_candles(self, candles, book):
        infy, tcs = (book.find(key) for key in KEYS)
        self.heard += tcs in candles
        return {infy: Target(weight=0.5)} if self.heard > 700 else {}


def listed(day: dt.date = DAY, keys: list[str] = KEYS) -> list[Instrument]:
    found = {i.key: i for i in listing(day)}
    return [found[key] for key in keys]


def nobody(instruments: object, days: int) -> tuple[dict[str, pd.DataFrame], int]:
    raise AssertionError("nobody asks for days")


def read(
    warm_up: object, instruments: list[Instrument], interval: int = 60, day: dt.date = DAY
) -> dict[str, np.ndarray]:
    """What a paper session of the day hears."""
    return asked_for(warm_up, instruments, interval, paper_days(Market(day=day.isoformat(), seed=7))).read()


# ---------------------------------------------------------------------------------------------- backtests


@pytest.mark.parametrize("engine", ["compiled", "interpreted", "event"])
@pytest.mark.parametrize("strategy", [EmaCross(fast=20, slow=50), EXITS])
def test_a_warm_day_is_the_last_of_a_longer_backtest(strategy: Strategy, engine: str) -> None:
    """Signals and orders are those of the day within three; without the warm-up they are others."""
    whole = backtest(strategy, INFY, instruments="NSE:INFY", engine=engine)
    warm = backtest(strategy, INFY[TODAY], instruments="NSE:INFY", engine=engine, warm_up=INFY[~TODAY])
    cold = backtest(strategy, INFY[TODAY], instruments="NSE:INFY", engine=engine)
    expected = whole.signals[whole.signals.index.date == DAY]
    pd.testing.assert_frame_equal(warm.signals, expected)
    assert not cold.signals.equals(expected)
    orders = whole.orders[whole.orders["signal"].dt.date == DAY].reset_index(drop=True)
    pd.testing.assert_frame_equal(warm.orders.drop(columns="fees"), orders.drop(columns="fees"))
    assert warm.equity.index.equals(INFY.index[TODAY])


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 1_000), fast=st.integers(2, 9), stop=st.sampled_from([0.0, 0.001]), intraday=st.booleans())
def test_engines_agree_wherever_the_warm_up_ends(cut: int, fast: int, stop: float, intraday: bool) -> None:
    """Compiled and interpreted say the same, also where it ends in the middle of a day and of a position."""
    strategy = EmaCross(fast=fast, slow=21, stop_loss=stop, trailing_stop=stop)
    one, other = (
        backtest(strategy, INFY[cut:], instruments="NSE:INFY", engine=engine, warm_up=INFY[:cut], intraday=intraday)
        for engine in ("compiled", "interpreted")
    )
    pd.testing.assert_frame_equal(one.signals, other.signals)
    assert [str(r) for r in one.request_records] == [str(r) for r in other.request_records]


@pytest.mark.parametrize("engine", ["compiled", "interpreted"])
def test_what_was_held_in_the_warm_up_is_bought_at_the_first_candle(engine: str) -> None:
    """It begins flat: a target that goes on is an entry like any, with the day's own price."""
    result = backtest(
        Held(stop_loss=0.5), INFY[100:], instruments="NSE:INFY", engine=engine, warm_up=INFY[:100], intraday=False
    )
    (entry,) = result.request_records
    assert entry.start == to_array(INFY[100:])["start"][0]
    assert entry.stop == pytest.approx(INFY["close"].iloc[100] * 0.5)


def test_a_basket_is_warmed_up_too() -> None:
    """It compares with the first price that it heard, which is of two days before."""
    today, before = ({k: f[(f.index.date == DAY) == which] for k, f in MINUTES.items()} for which in (True, False))  # type: ignore[attr-defined]
    whole, warm, cold = (
        backtest(Stronger(), candles, engine="event", warm_up=earlier)
        for candles, earlier in ((MINUTES, None), (today, before), (today, None))
    )
    expected = whole.signals[whole.signals.index.date == DAY]
    pd.testing.assert_frame_equal(warm.signals, expected)
    assert not cold.signals.equals(expected)
    assert [r.quantity for r in warm.request_records] == [
        r.quantity for r in whole.request_records if r.start >= at(DAY, dt.time())
    ]


def test_a_basket_watches_what_is_silent_today() -> None:
    """A share that traded on the days before and has no candle today: a session's basket knows it, so does the backtest's."""
    today = {"NSE:INFY": MINUTES["NSE:INFY"][TODAY], "NSE:TCS": MINUTES["NSE:TCS"][:0]}
    before = {key: frame[frame.index.date != DAY] for key, frame in MINUTES.items()}  # type: ignore[attr-defined]
    instruments = {i.key: i for i in listed()}
    made = Manifest(
        session_id="s", mode=Mode.PAPER, account="PAPER1", strategy="", parameters={}, instruments=tuple(KEYS),
        capital=1e6, sizing=Sizing(lots=1),
    )  # fmt: skip
    engine = BasketEngine(made, Silent, list(instruments.values()))
    engine.warm_up({key: to_array(frame) for key, frame in before.items()})
    infy, signals = instruments["NSE:INFY"], []
    for row in to_array(today["NSE:INFY"]).tolist():
        end = row[0] + MINUTE_NS
        out = engine.on_candles([ClosedCandle(infy.instrument_token, 60, *row, 1, end, end, end)], end, PAST_ALL)
        signals += out.signals
    test = backtest(Silent(), {instruments[k]: f for k, f in today.items()}, engine="event", warm_up=before)
    assert [(s.start, s.target) for s in test.signal_records] == [(s.start, s.target) for s in signals] != []


def test_a_strategy_that_raises_in_the_warm_up_trades_nothing() -> None:
    with pytest.warns(UserWarning, match="FewCandles raised on NSE:INFY, candle of 2026-11-18 10:04:00"):
        result = backtest(FewCandles(), INFY[TODAY], instruments="NSE:INFY", warm_up=INFY[~TODAY])
    assert (result.order_count, len(result.signals)) == (0, 0)


@pytest.mark.parametrize(
    ("warm_up", "sentence"),
    [
        (
            INFY,
            r"goes on to the candle of 2026-11-20 15:14 IST, and the first one to be traded is that of 2026-11-20 09:15",
        ),
        (INFY[~TODAY].iloc[::5], r"has candles of 300 s, and 60 s are traded"),
        ({"NSE:TCS": INFY[~TODAY]}, r"candles of NSE:TCS, which isn't traded: expected NSE:INFY"),
        (INFY[~TODAY][["open"]], r"warm_up of NSE:INFY has no column high, low, close"),
        (5.0, r"warm_up is 5\.0: expected candles"),
        ({"NSE:INFY": None}, r"warm_up of NSE:INFY is None: expected candles"),
    ],
)
def test_a_warm_up_that_cannot_be_one_is_refused(warm_up: object, sentence: str) -> None:
    with pytest.raises(BadCandles, match=sentence):
        backtest(EmaCross(), INFY[TODAY], instruments="NSE:INFY", warm_up=warm_up)


def test_one_table_is_of_one_instrument() -> None:
    with pytest.raises(BadCandles, match="one table, and 2 instruments are traded"):
        backtest(EmaCross(), {k: f[f.index.date == DAY] for k, f in MINUTES.items()}, warm_up=INFY[~TODAY])  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------- launches


def test_days_of_a_paper_session_are_the_simulated_ones_before() -> None:
    """The candles that a backtest of several days has before the last."""
    found = read(np.int64(2), listed())
    for key, frame in MINUTES.items():
        assert found[key].tolist() == to_array(frame[frame.index.date != DAY]).tolist()  # type: ignore[attr-defined]
    assert warm_up_text(found, listed()) == (
        "warm-up: 1,440 candles of 2 instruments, Wed 18 Nov 09:15 to Thu 19 Nov 15:14 IST"
    )


def test_longer_candles_are_made_of_the_days_minutes() -> None:
    found = read(1, listed(), 300)
    assert np.diff(found["NSE:INFY"]["start"]).tolist() == [300 * 10**9] * 71


def test_a_contract_that_was_not_listed_then_starts_cold() -> None:
    """On Tuesday a week's options expired: those that came instead have no candles of before."""
    day, before = dt.date(2026, 11, 18), dt.date(2026, 11, 17)
    fresh = min({i.key for i in listing(day)} - {i.key for i in listing(before)})
    instruments = listed(day, [fresh, "NSE:INFY"])
    found = read(1, instruments, day=day)
    assert list(found) == ["NSE:INFY"]
    assert warm_up_text(found, instruments).endswith(f"; {fresh} start cold")


def test_what_has_no_candles_is_told() -> None:
    assert warm_up_text({}, listed()) == "warm-up: no candles, so every instrument starts cold"
    one = {"NSE:INFY": to_array(INFY[~TODAY])}
    assert warm_up_text(one, listed()).endswith("IST; NSE:TCS start cold")


@pytest.mark.parametrize("days", [0, -1, 61, True])
def test_a_number_of_days_that_is_none_is_refused(days: int) -> None:
    with pytest.raises(InvalidInput, match=f"warm_up is {days}: expected 1 to 60 trading days, or candles"):
        asked_for(days, listed(), 60, nobody)


def test_a_file_has_no_days_before(tmp_path: Path) -> None:
    days = paper_days(Market(day=DAY.isoformat(), file=str(tmp_path / "market.parquet")))
    with pytest.raises(InvalidInput, match="give the candles of the days before it"):
        asked_for(2, listed(), 60, days).read()
    assert len(asked_for({"NSE:INFY": INFY[~TODAY]}, listed(), 60, days).candles["NSE:INFY"]) == 720


def test_today_counts_up_to_the_last_candle_that_has_ended() -> None:
    """At 10:02:30 a minute that goes on isn't heard, and of five-minute candles the one before 10:00 is the last."""
    now = at(DAY, dt.time(10, 2)) + 30 * 10**9
    for interval, last in ((60, dt.time(10, 1)), (300, dt.time(9, 55))):
        found = asked_for(1, listed(), interval, lambda instruments, days: (MINUTES, now)).read()
        assert found["NSE:INFY"]["start"][-1] == at(DAY, last)


def test_a_launch_whose_strategy_raises_in_the_warm_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started or written."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match="warm_up: FewCandles raised on NSE:INFY, candle of 2026-11-19 10:04:00"):
        launch(FewCandles(), ["NSE:INFY"], market=Market(day=DAY.isoformat()), warm_up=1)
    assert session_dirs() == []


# ---------------------------------------------------------------------------------------------- its file


def manifest(warm_up: str) -> Manifest:
    return Manifest(
        session_id="s", mode=Mode.PAPER, account="PAPER1", strategy="", parameters={}, instruments=("NSE:INFY",),
        capital=1e6, sizing=Sizing(lots=1), warm_up=warm_up,
    )  # fmt: skip


def candles(price: float = 100.0, count: int = 3) -> np.ndarray:
    rows = np.full(count, price, CANDLE)
    rows["start"] = at(DAY, dt.time(9, 15)) + MINUTE_NS * np.arange(count)
    return rows


def test_a_sessions_candles_come_back_as_they_were(tmp_path: Path) -> None:
    folder, given = SessionDir(tmp_path), {"NSE:INFY": candles(), "NSE:NIFTY 50": candles(24_000.05, 2)}
    write_warm_up(folder, given)
    found = read_warm_up(folder, manifest(digest(given)))
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in given.items()}
    assert digest(dict(reversed(given.items()))) == digest(given) != digest({"NSE:INFY": candles()})


def test_without_any_there_is_no_file(tmp_path: Path) -> None:
    folder = SessionDir(tmp_path)
    write_warm_up(folder, {})
    assert (folder.warm_up.exists(), read_warm_up(folder, manifest(digest({})))) == (False, {})


@pytest.mark.parametrize("damage", ["gone", "cut short", "another's", "no candles"])
def test_candles_that_are_not_the_sessions_are_refused(tmp_path: Path, damage: str) -> None:
    """The Consumer must not begin with others than the backtest that it will be held against."""
    folder = SessionDir(tmp_path)
    write_warm_up(folder, {"NSE:INFY": candles(101.0 if damage == "another's" else 100.0)})
    if damage == "gone":
        folder.warm_up.unlink()
    elif damage == "cut short":
        folder.warm_up.write_bytes(folder.warm_up.read_bytes()[:-40])
    elif damage == "no candles":
        with open(folder.warm_up, "wb") as file:
            np.savez(file, **{"NSE:INFY": np.zeros(3)})
    with pytest.raises(BadConfig, match=r"warm_up\.npz"):
        read_warm_up(folder, manifest(digest({"NSE:INFY": candles()})))
