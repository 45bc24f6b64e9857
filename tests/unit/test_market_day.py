"""The paper exchange's listing and its simulated days."""

import datetime as dt

import numpy as np
import pytest

from tradealgo.config import Market
from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadCandles, BadConfig, UnknownInstrument
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import InstrumentBook, Kind
from tradealgo.exchange.listing import index_future_tick, listing, option_symbol
from tradealgo.exchange.market import MarketDay, load_market, simulated_day

DAY = dt.date(2026, 11, 23)
KEYS = ["NSE:NIFTY 50", "NSE:NIFTY BANK", "NSE:INFY", "NSE:RELIANCE", "NFO:NIFTY26NOVFUT", "NFO:BANKNIFTY27JANFUT"]


@pytest.fixture(scope="module")
def market_day() -> MarketDay:
    return simulated_day(DAY, 7, KEYS)


def candles(day: MarketDay, key: str) -> np.ndarray:
    return day.candles[day.instruments.find(key).instrument_token]


def test_listing_has_kites_tokens_and_symbols() -> None:
    """Tokens are exchange_token << 8 | segment, unique; months and lots follow the calendar."""
    book = InstrumentBook(listing(DAY))
    assert book.find("NSE:INFY").instrument_token == 408065
    assert book.find("NSE:NIFTY 50").instrument_token == 256265
    codes = {Kind.INDEX: 9, Kind.EQUITY: 1}
    assert all(i.instrument_token & 0xFF == codes.get(i.kind, 2) for i in book)
    assert len({i.instrument_token for i in book}) == len(listing(DAY)) == len(book)
    futures = [i.tradingsymbol for i in book if i.kind is Kind.FUTURE and i.name == "NIFTY"]
    assert futures == ["NIFTY26NOVFUT", "NIFTY26DECFUT", "NIFTY27JANFUT"]
    assert book.find("NFO:NIFTY26NOVFUT").expiry == dt.date(2026, 11, 23)  # the Tuesday after is a holiday
    assert book.find("NFO:NIFTY26NOVFUT").lot_size == 65


def test_a_contract_keeps_its_token() -> None:
    """The same future has the same token from day to day."""
    before = InstrumentBook(listing(dt.date(2026, 11, 2))).find("NFO:NIFTY26DECFUT")
    assert before.instrument_token == InstrumentBook(listing(DAY)).find("NFO:NIFTY26DECFUT").instrument_token
    after = InstrumentBook(listing(dt.date(2026, 11, 25)))
    assert "NFO:NIFTY26NOVFUT" not in after
    assert "NFO:NIFTY27FEBFUT" in after


@pytest.mark.parametrize(
    ("expiry", "symbol"),
    [
        (dt.date(2026, 11, 23), "NIFTY26NOV24000CE"),
        (dt.date(2026, 12, 1), "NIFTY26D0124000CE"),
        (dt.date(2026, 10, 13), "NIFTY26O1324000CE"),
        (dt.date(2027, 1, 5), "NIFTY2710524000CE"),
    ],
)
def test_option_symbols_follow_kites_rule(expiry: dt.date, symbol: str) -> None:
    """Weekly expiries are year, one character for the month, day; monthly ones name the month."""
    assert option_symbol("NIFTY", expiry, 24_000, Kind.CALL) == symbol


def test_future_ticks_by_level_and_date() -> None:
    """NSE's ticks of index futures grow with the index since April 2025."""
    assert index_future_tick(12_000, DAY) == 0.05
    assert index_future_tick(25_000, DAY) == 0.10
    assert index_future_tick(56_000, DAY) == 0.20
    assert index_future_tick(56_000, dt.date(2022, 1, 3)) == 0.05


def test_a_day_is_the_same_whatever_is_asked_for(market_day: MarketDay) -> None:
    """A (day, seed) fixes every candle; the subset changes nothing; another seed or day does."""
    whole = simulated_day(DAY, 7, [i.key for i in listing(DAY) if not i.is_option])
    for instrument in market_day.instruments:
        assert candles(whole, instrument.key).tobytes() == candles(market_day, instrument.key).tobytes()
    assert candles(simulated_day(DAY, 8, KEYS), "NSE:INFY").tobytes() != candles(whole, "NSE:INFY").tobytes()
    other = simulated_day(dt.date(2026, 11, 25), 7, KEYS[:3])
    assert not np.array_equal(candles(other, "NSE:INFY")["close"], candles(whole, "NSE:INFY")["close"])


@pytest.mark.parametrize("seed", range(3))
def test_candles_are_sound(seed: int) -> None:
    """Whole minutes of continuous hours, positive, on tick, low <= open, close <= high; whole lots."""
    spots = [i.key for i in listing(DAY) if not i.is_option]
    day = simulated_day(DAY, seed, [*spots, *(i.key for i in listing(DAY) if i.is_option and i.strike % 1_000 == 0)])
    for instrument in day.instruments:
        rows, hours = candles(day, instrument.key), day.hours(instrument.instrument_token)
        every_minute = list(range(hours.open, hours.close, MINUTE_NS))
        # an option far from the money doesn't trade in every minute
        assert rows["start"].tolist() == every_minute or instrument.is_option
        assert set(rows["start"].tolist()) <= set(every_minute)
        assert (rows["low"] > 0).all()
        assert (rows["low"] <= np.minimum(rows["open"], rows["close"])).all()
        assert (rows["high"] >= np.maximum(rows["open"], rows["close"])).all()
        for name in ("open", "high", "low", "close"):
            paise = np.rint(rows[name] * 100)
            assert (paise / 100 == rows[name]).all()
            assert not (paise % round(instrument.tick_size * 100)).any()
        assert not (rows["volume"] % instrument.lot_size).any()
        assert bool(rows["volume"].any()) == instrument.tradable or instrument.is_option


def test_hours_by_kind(market_day: MarketDay) -> None:
    """Shares with derivatives stop for the closing auction; derivatives go on to 15:40."""
    closes = {k: market_day.hours(market_day.instruments.find(k).instrument_token).close for k in KEYS}
    assert closes["NSE:INFY"] == at(DAY, dt.time(15, 15))
    assert closes["NSE:NIFTY 50"] == at(DAY, dt.time(15, 30))
    assert closes["NFO:NIFTY26NOVFUT"] == at(DAY, dt.time(15, 40)) == market_day.close


def minute_returns(rows: np.ndarray) -> np.ndarray:
    return np.diff(np.log(rows["close"]))


def test_shares_and_futures_follow_the_index() -> None:
    """Over several days shares correlate with the index, and a future stays near it."""
    pairs, gaps = [], []
    for number in range(6):
        day = simulated_day(DAY, number, KEYS)
        index, share, future = (candles(day, k) for k in ("NSE:NIFTY 50", "NSE:RELIANCE", "NFO:NIFTY26NOVFUT"))
        pairs.append(np.corrcoef(minute_returns(index[:360]), minute_returns(share))[0, 1])
        gaps.append(np.abs(future["close"][:375] / index["close"] - 1).max())
    assert 0.4 < np.mean(pairs) < 0.95
    assert max(gaps) < 0.001  # on the day of expiry


def test_days_look_like_days() -> None:
    """Range, gap, volatility clusters and the day's U shape are those of an index and a busy share."""
    days = [simulated_day(DAY, number, ["NSE:NIFTY 50", "NSE:RELIANCE"]) for number in range(12)]
    index = [candles(day, "NSE:NIFTY 50") for day in days]
    ranges = [c["high"].max() / c["low"].min() - 1 for c in index]
    assert 0.007 < np.median(ranges) < 0.02
    squares = [minute_returns(c) ** 2 for c in index]
    clusters = [np.corrcoef(s[60:-61], s[61:-60])[0, 1] for s in squares]
    assert np.mean(clusters) > 0.05
    volume = np.mean([candles(day, "NSE:RELIANCE")["volume"] for day in days], axis=0)
    assert volume[:15].mean() > 2 * volume[150:200].mean()
    assert volume[-15:].mean() > 1.3 * volume[150:200].mean()


def crossings(closes: np.ndarray, fast: int = 20, slow: int = 50) -> int:
    a = b = closes[0]
    above = []
    for price in closes:
        a += (price - a) * 2 / (fast + 1)
        b += (price - b) * 2 / (slow + 1)
        above.append(a > b)
    return int(np.abs(np.diff(np.array(above, int))).sum())


def test_an_ema_crossover_has_something_to_do() -> None:
    """EMA 20/50 on minutes of the future crosses a handful of times on most days."""
    counts = [crossings(candles(simulated_day(DAY, n, KEYS[4:5]), KEYS[4])["close"]) for n in range(12)]
    assert 3 <= np.median(counts) <= 14


def test_successive_days_join_up() -> None:
    """A day's previous close is where the index ended the trading day before."""
    first = simulated_day(dt.date(2026, 11, 20), 5, KEYS[:1])
    second = simulated_day(DAY, 5, KEYS[:1])
    token = first.instruments.find(KEYS[0]).instrument_token
    assert second.previous_close[token] == first.candles[token]["close"][-1]


def test_a_short_session() -> None:
    """The Muhurat evening has its own hours."""
    day = simulated_day(dt.date(2026, 11, 8), 1, KEYS[2:3])
    assert len(candles(day, KEYS[2])) == 60


def test_load_market_simulates() -> None:
    """A manifest's market without a file is the simulated day."""
    loaded = load_market(Market(day="2026-11-23", seed=7), ["NSE:INFY"])
    assert [i.key for i in loaded.instruments] == ["NSE:INFY"]
    assert candles(loaded, "NSE:INFY").tobytes() == candles(simulated_day(DAY, 7, ["INFY"]), "INFY").tobytes()


def test_load_market_refuses() -> None:
    """An unknown instrument and a day that is no date get a sentence each."""
    with pytest.raises(UnknownInstrument, match="did you mean NSE:INFY"):
        load_market(Market(day="2026-11-23"), ["NSE:INFI"])
    with pytest.raises(BadConfig, match="'tomorrow' is not a date"):
        load_market(Market(day="tomorrow"), ["NSE:INFY"])


@pytest.mark.parametrize(
    ("minutes", "low", "text"),
    [([-6, 0], 1.0, "outside of its hours"), ([1, 1], 1.0, "ascending"), ([0, 1], 0.0, "not positive")],
)
def test_unsound_candles_are_refused(minutes: list[int], low: float, text: str) -> None:
    """A day takes only ascending whole minutes of its hours, with positive prices."""
    book = InstrumentBook([InstrumentBook(listing(DAY)).find("NSE:INFY")])
    rows = np.zeros(2, CANDLE)
    rows["start"] = at(DAY, dt.time(9, 15)) + MINUTE_NS * np.array(minutes)
    rows["open"] = rows["high"] = rows["close"] = 2.0
    rows["low"] = low
    with pytest.raises(BadCandles, match=text):
        MarketDay(DAY, book, {408065: rows})
