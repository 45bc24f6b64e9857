"""Option chains: what is listed, and how it is priced."""

import datetime as dt
import math

import numpy as np
import pytest

from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.exchange.chains import RATE, black76, normal_cdf, smile
from tradealgo.exchange.listing import UNDERLYINGS, listing, option_expiries, option_symbol
from tradealgo.exchange.market import MarketDay, simulated_day
from tradealgo.exchange.tape import Tape

DAY = dt.date(2026, 11, 18)
EXPIRY = dt.date(2026, 12, 1)
NIFTY = UNDERLYINGS[0]


def key(strike: float, kind: Kind, expiry: dt.date = EXPIRY) -> str:
    return f"NFO:{option_symbol('NIFTY', expiry, strike, kind)}"


def reference(forward: float, strike: float, years: float, sigma: float, put: bool) -> float:
    """Black-76 by the textbook, one option at a time."""

    def cdf(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    d1 = (math.log(forward / strike) + sigma**2 * years / 2) / (sigma * math.sqrt(years))
    d2 = d1 - sigma * math.sqrt(years)
    call = forward * cdf(d1) - strike * cdf(d2)
    return math.exp(-RATE * years) * (call if not put else call - forward + strike)


def test_normal_cdf_is_close_enough() -> None:
    """The approximation is within 1e-7 of the real thing, far out too."""
    x = np.linspace(-9, 9, 2_001)
    exact = [0.5 * math.erfc(-v / math.sqrt(2)) for v in x]
    assert np.abs(normal_cdf(x) - exact).max() < 1e-7


@pytest.mark.parametrize("years", [1e-6, 0.001, 0.02, 0.25, 1.0])
@pytest.mark.parametrize("put", [False, True])
def test_black76_is_the_textbooks(years: float, put: bool) -> None:
    """Premiums agree to less than half a tick, from deep in to far out of the money."""
    strikes = np.arange(22_000.0, 28_001.0, 250)
    premiums = black76(np.array(25_000.0), strikes, np.array(years), np.array(0.14), np.array(put))
    assert premiums == pytest.approx([reference(25_000, k, years, 0.14, put) for k in strikes], abs=0.02)


def test_the_smile_leans_to_puts() -> None:
    """Strikes far below the forward have the highest volatility; both wings lie above the middle."""
    below, middle, above = smile(np.array([23_500.0, 25_000.0, 26_500.0]), 25_000.0, 0.05, 0.14)
    assert below > above > middle


def test_expiries_by_the_calendar() -> None:
    """Four weeklies beside three months; a holiday Tuesday moves its expiry; a month's last is its monthly."""
    dates = [expiry for expiry, _ in option_expiries(NIFTY, DAY)]
    assert dates == [
        dt.date(2026, 11, 23), dt.date(2026, 12, 1), dt.date(2026, 12, 8), dt.date(2026, 12, 15),
        dt.date(2026, 12, 22), dt.date(2026, 12, 29), dt.date(2027, 1, 25),
    ]  # fmt: skip
    assert len(option_expiries(UNDERLYINGS[1], DAY)) == 3


def test_a_listing_of_thousands_is_unique() -> None:
    """Over 3,000 instruments, no symbol or token twice, tokens within 31 bits, lots by name."""
    rows = listing(DAY)
    assert len(rows) > 3_000
    assert len({i.key for i in rows}) == len({i.instrument_token for i in rows}) == len(rows)
    assert max(i.instrument_token for i in rows) < 2**31
    assert {(i.name, i.lot_size) for i in rows if i.is_option} == {
        ("NIFTY", 65), ("BANKNIFTY", 30), ("FINNIFTY", 60), ("MIDCPNIFTY", 120),
    }  # fmt: skip


def test_no_token_is_used_twice_in_two_years() -> None:
    """Contracts of different expiries never share a token."""
    seen: dict[int, Instrument] = {}
    for week in range(0, 104, 7):
        for instrument in listing(DAY + dt.timedelta(weeks=week)):
            before = seen.setdefault(instrument.instrument_token, instrument)
            assert (before.tradingsymbol, before.expiry) == (instrument.tradingsymbol, instrument.expiry)


@pytest.fixture(scope="module")
def market_day() -> MarketDay:
    keys = [i.key for i in listing(DAY) if i.name == "NIFTY" and i.expiry in (EXPIRY, dt.date(2026, 12, 8))]
    return simulated_day(DAY, 4, ["NSE:NIFTY 50", *keys])


def closes(day: MarketDay, key: str) -> np.ndarray:
    """Closes by minute of the day; nan where it didn't trade."""
    instrument = day.instruments.find(key)
    rows = day.candles[instrument.instrument_token]
    out = np.full(385, np.nan)
    out[(rows["start"] - day.open) // MINUTE_NS] = rows["close"]
    return out


def money(day: MarketDay) -> float:
    """The strike nearest to yesterday's close of the index."""
    index = day.instruments.find("NSE:NIFTY 50").instrument_token
    return round(day.previous_close[index] / 50) * 50.0


def test_calls_and_puts_keep_parity(market_day: MarketDay) -> None:
    """Call less put is the discounted distance of forward and strike, the same forward for every strike."""
    middle = money(market_day)
    forwards = []
    for strike in (middle - 200, middle, middle + 200):
        call, put = (closes(market_day, key(strike, kind)) for kind in (Kind.CALL, Kind.PUT))
        forwards.append((call - put)[:370] * math.exp(RATE * 13 / 365) + strike)
    # premiums are rounded to 0.05 each
    assert np.abs(forwards[0] - forwards[1]).max() < 0.5
    assert np.abs(forwards[2] - forwards[1]).max() < 0.5
    index = closes(market_day, "NSE:NIFTY 50")[:370]
    assert np.abs(forwards[1] / index - 1).max() < 0.004


def test_premiums_fall_with_the_strike_and_rise_with_time(market_day: MarketDay) -> None:
    """Along a chain calls cheapen and puts dearen; a week more costs more."""
    strikes = money(market_day) + np.arange(-400, 401, 100)
    calls, puts = ([closes(market_day, key(strike, kind))[100] for strike in strikes] for kind in (Kind.CALL, Kind.PUT))
    assert (np.diff(calls) < 0).all()
    assert (np.diff(puts) > 0).all()
    later = [closes(market_day, key(strike, Kind.CALL, dt.date(2026, 12, 8)))[100] for strike in strikes]
    assert (np.array(later) > np.array(calls)).all()


def test_time_decays_to_what_is_left_at_expiry() -> None:
    """On its last day an option ends at its intrinsic value."""
    last = dt.date(2026, 11, 23)
    base = simulated_day(last, 4, ["NSE:NIFTY 50"])
    strike = round(closes(base, "NSE:NIFTY 50")[60] / 50) * 50.0
    keys = ["NSE:NIFTY 50", key(strike, Kind.CALL, last), key(strike, Kind.PUT, last)]
    day = simulated_day(last, 4, keys)
    index, call, put = (closes(day, k) for k in keys)
    settled = index[374] - strike
    assert call[374] == pytest.approx(max(settled, 0.05), abs=6)
    assert put[374] == pytest.approx(max(-settled, 0.05), abs=6)
    assert call[60] + put[60] > abs(index[60] - strike) + 10


def test_quotes_widen_away_from_the_money(market_day: MarketDay) -> None:
    """Against the premium, spreads grow with the distance; near the money trading is busiest."""
    middle = money(market_day)
    ticks = Tape(market_day).snapshot(market_day.open + 120 * MINUTE_NS)
    by_token = {int(t["instrument_token"]): t for t in ticks}

    def tick(strike: float) -> np.void:
        return by_token[market_day.instruments.find(key(strike, Kind.CALL)).instrument_token]

    near, out, deep = (tick(middle + away) for away in (0, 1_800, -1_800))
    spreads = [(t["ask_price"] - t["bid_price"]) / t["last_price"] for t in (near, out, deep)]
    assert spreads[1] > 3 * spreads[0]
    assert spreads[2] > 3 * spreads[0]
    assert near["volume"] > 3 * max(out["volume"], deep["volume"])


def test_an_option_is_the_same_alone_and_in_its_chain(market_day: MarketDay) -> None:
    """What else is asked for changes no option's candles."""
    name = key(money(market_day) + 50, Kind.PUT)
    alone = simulated_day(DAY, 4, [name])
    token = InstrumentBook(listing(DAY)).find(name).instrument_token
    assert alone.candles[token].tobytes() == market_day.candles[token].tobytes()
    assert alone.previous_close[token] == market_day.previous_close[token]
