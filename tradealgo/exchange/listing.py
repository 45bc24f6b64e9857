"""What the paper exchange lists on a day: indices, large shares, index futures and option chains.

Symbols follow Kite's rules, and a token is `exchange_token << 8 | segment code`, as in the broker's own dump. The
same contract has the same token on every day of its life.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from tradealgo.domain.hours import monthly_expiry, weekly_expiry
from tradealgo.domain.instruments import Instrument, Kind, lot_size, share_tick

_NSE, _NFO, _INDICES = 1, 2, 9
INDEX_OPTION_TICK = 0.05
#: Index futures since 2025-04-15, by the index's level (NSE's circular): up to it, tick in rupees. Rs 0.05 before that day.
INDEX_FUTURE_TICKS = ((15_000.0, 0.05), (30_000.0, 0.10), (float("inf"), 0.20))
INDEX_FUTURE_TICKS_FROM = dt.date(2025, 4, 15)
FUTURE_MONTHS = 3
#: Kite writes a weekly expiry's month as one character.
_WEEKLY_MONTHS = "123456789OND"


class Underlying(msgspec.Struct, frozen=True):
    """An index with derivatives. `base` is the level in rupees that simulated days move around."""

    name: str
    tradingsymbol: str
    exchange_token: int
    base: float
    beta: float  # of its daily return to NIFTY's
    daily_volatility: float  # of what NIFTY doesn't explain; of the whole for NIFTY itself
    strike_step: float  # of weekly expiries and the nearest month; twice that further out
    strike_span: float  # strikes reach this fraction of `base` to both sides
    weeklies: int  # weekly expiries listed beside the monthly ones

    @property
    def key(self) -> str:
        return f"NSE:{self.tradingsymbol}"


class Share(msgspec.Struct, frozen=True):
    """A large NSE share: level in rupees, beta to NIFTY, own daily volatility, shares traded on a usual day."""

    tradingsymbol: str
    exchange_token: int
    base: float
    beta: float
    daily_volatility: float
    daily_volume: int

    @property
    def key(self) -> str:
        return f"NSE:{self.tradingsymbol}"


UNDERLYINGS: tuple[Underlying, ...] = (
    Underlying("NIFTY", "NIFTY 50", 1001, 25_000.0, 1.0, 0.0085, 50.0, 0.14, 4),
    Underlying("BANKNIFTY", "NIFTY BANK", 1016, 56_000.0, 1.1, 0.0050, 100.0, 0.15, 0),
    Underlying("FINNIFTY", "NIFTY FIN SERVICE", 1007, 26_500.0, 1.05, 0.0050, 50.0, 0.15, 0),
    Underlying("MIDCPNIFTY", "NIFTY MID SELECT", 1125, 13_800.0, 1.15, 0.0065, 25.0, 0.15, 0),
)

SHARES: tuple[Share, ...] = (
    Share("RELIANCE", 2885, 1_420.0, 1.05, 0.009, 11_000_000),
    Share("HDFCBANK", 1333, 985.0, 1.00, 0.008, 18_000_000),
    Share("ICICIBANK", 4963, 1_390.0, 1.10, 0.008, 12_000_000),
    Share("INFY", 1594, 1_520.0, 0.85, 0.011, 7_500_000),
    Share("TCS", 11536, 3_080.0, 0.75, 0.010, 2_600_000),
    Share("BHARTIARTL", 10604, 2_050.0, 0.80, 0.010, 5_000_000),
    Share("ITC", 1660, 412.0, 0.60, 0.008, 14_000_000),
    Share("LT", 11483, 3_850.0, 1.15, 0.010, 2_000_000),
    Share("SBIN", 3045, 890.0, 1.20, 0.010, 13_000_000),
    Share("AXISBANK", 5900, 1_210.0, 1.25, 0.011, 8_000_000),
    Share("KOTAKBANK", 1922, 2_140.0, 0.95, 0.010, 3_500_000),
    Share("HINDUNILVR", 1394, 2_480.0, 0.50, 0.009, 1_700_000),
    Share("BAJFINANCE", 317, 1_040.0, 1.30, 0.013, 9_000_000),
    Share("MARUTI", 10999, 15_800.0, 0.95, 0.011, 380_000),
    Share("ASIANPAINT", 236, 2_560.0, 0.70, 0.011, 1_200_000),
    Share("SUNPHARMA", 3351, 1_690.0, 0.65, 0.010, 2_200_000),
    Share("TITAN", 3506, 3_760.0, 0.90, 0.011, 1_000_000),
    Share("ULTRACEMCO", 11532, 12_250.0, 0.90, 0.010, 300_000),
    Share("WIPRO", 3787, 246.0, 0.90, 0.012, 15_000_000),
    Share("HCLTECH", 7229, 1_540.0, 0.85, 0.012, 2_800_000),
    Share("TATASTEEL", 3499, 172.0, 1.35, 0.014, 30_000_000),
    Share("NTPC", 11630, 338.0, 0.90, 0.010, 11_000_000),
    Share("POWERGRID", 14977, 289.0, 0.80, 0.010, 10_000_000),
    Share("ONGC", 2475, 252.0, 0.95, 0.012, 12_000_000),
    Share("COALINDIA", 20374, 388.0, 0.85, 0.011, 6_000_000),
    Share("M&M", 2031, 3_620.0, 1.15, 0.012, 2_400_000),
    Share("NESTLEIND", 17963, 1_270.0, 0.45, 0.009, 1_500_000),
    Share("JSWSTEEL", 11723, 1_160.0, 1.25, 0.013, 2_100_000),
    Share("ADANIPORTS", 15083, 1_460.0, 1.40, 0.014, 2_300_000),
    Share("CIPLA", 694, 1_530.0, 0.60, 0.010, 1_600_000),
    Share("DRREDDY", 881, 1_240.0, 0.55, 0.011, 1_400_000),
    Share("HINDALCO", 1363, 790.0, 1.30, 0.014, 5_000_000),
)


def token(exchange_token: int, segment: int) -> int:
    """Kite's instrument token of an exchange's own number."""
    return exchange_token << 8 | segment


def _contract_number(underlying: Underlying, expiry: dt.date, leg: int) -> int:
    """A number of 23 bits: no two contracts within 256 weeks share one.

    A week ends on Tuesday, so that an expiry moved before a holiday stays in its own. `leg` is 0 for a future.
    """
    week = (expiry.toordinal() + 4) // 7 % 256
    return week << 15 | UNDERLYINGS.index(underlying) << 13 | leg


def future_symbol(name: str, expiry: dt.date) -> str:
    """`NIFTY26NOVFUT`."""
    return f"{name}{expiry:%y%b}FUT".upper()


@lru_cache(maxsize=256)
def _expiry_text(expiry: dt.date) -> str:
    if expiry == monthly_expiry(expiry.year, expiry.month):
        return f"{expiry:%y%b}".upper()
    return f"{expiry:%y}{_WEEKLY_MONTHS[expiry.month - 1]}{expiry:%d}"


def option_symbol(name: str, expiry: dt.date, strike: float, kind: Kind) -> str:
    """`NIFTY26NOV24000CE` for a monthly expiry, `NIFTY26D0124000CE` (year, month, day) for a weekly one."""
    return f"{name}{_expiry_text(expiry)}{strike:g}{kind.value}"


def expiring_months(day: dt.date, count: int = FUTURE_MONTHS) -> list[dt.date]:
    """The next monthly expiries on or after `day`."""
    found: list[dt.date] = []
    year, month = day.year, day.month
    while len(found) < count:
        expiry = monthly_expiry(year, month)
        if expiry >= day:
            found.append(expiry)
        year, month = year + month // 12, month % 12 + 1
    return found


def index_future_tick(level: float, day: dt.date) -> float:
    """Tick in rupees of an index's futures while the index stands at `level`."""
    if day < INDEX_FUTURE_TICKS_FROM:
        return 0.05
    return next(tick for top, tick in INDEX_FUTURE_TICKS if level <= top)


def index_instrument(underlying: Underlying) -> Instrument:
    return Instrument(
        instrument_token=token(underlying.exchange_token, _INDICES), exchange="NSE", kind=Kind.INDEX,
        tradingsymbol=underlying.tradingsymbol, name=underlying.tradingsymbol, segment="INDICES",
    )  # fmt: skip


def share_instrument(share: Share) -> Instrument:
    return Instrument(
        instrument_token=token(share.exchange_token, _NSE), exchange="NSE", kind=Kind.EQUITY, segment="NSE",
        tradingsymbol=share.tradingsymbol, name=share.tradingsymbol, tick_size=share_tick(share.base),
    )  # fmt: skip


def future_instrument(underlying: Underlying, expiry: dt.date, day: dt.date, level: float | None = None) -> Instrument:
    """An index future; its tick is that of the index at `level` (None: the level that simulated days move around)."""
    return Instrument(
        instrument_token=token(_contract_number(underlying, expiry, 0), _NFO), exchange="NFO", kind=Kind.FUTURE,
        tradingsymbol=future_symbol(underlying.name, expiry), name=underlying.name, expiry=expiry, segment="NFO-FUT",
        tick_size=index_future_tick(level or underlying.base, day), lot_size=lot_size(underlying.name, day),
    )  # fmt: skip


def option_instruments(underlying: Underlying, expiry: dt.date, day: dt.date, step: float) -> list[Instrument]:
    """The chain of an expiry: a call and a put at each strike."""
    reach = underlying.base * underlying.strike_span
    numbers = range(round((underlying.base - reach) / step), round((underlying.base + reach) / step) + 1)
    per_step = round(step / underlying.strike_step)
    return [
        Instrument(
            # leg 0 is the future: strikes begin at 1, two legs each
            instrument_token=token(_contract_number(underlying, expiry, 2 * number * per_step + put), _NFO),
            exchange="NFO", kind=kind, tradingsymbol=option_symbol(underlying.name, expiry, number * step, kind),
            name=underlying.name, expiry=expiry, strike=number * step, tick_size=INDEX_OPTION_TICK,
            lot_size=lot_size(underlying.name, day), segment="NFO-OPT",
        )
        for number in numbers
        for put, kind in enumerate((Kind.CALL, Kind.PUT))
    ]  # fmt: skip


def option_expiries(underlying: Underlying, day: dt.date) -> list[tuple[dt.date, float]]:
    """Expiries listed on `day`, ascending, and the distance between their strikes."""
    months = expiring_months(day)
    found = {expiry: underlying.strike_step * (2 if number else 1) for number, expiry in enumerate(months)}
    weekly, after = 0, day
    while weekly < underlying.weeklies:
        expiry = weekly_expiry(after)
        after = expiry + dt.timedelta(days=1)
        if expiry not in found and expiry != monthly_expiry(expiry.year, expiry.month):
            found[expiry] = underlying.strike_step
            weekly += 1
    return sorted(found.items())


def _rows(day: dt.date) -> Iterator[Instrument]:
    yield from map(index_instrument, UNDERLYINGS)
    yield from map(share_instrument, SHARES)
    for underlying in UNDERLYINGS:
        for expiry in expiring_months(day):
            yield future_instrument(underlying, expiry, day)
    for underlying in UNDERLYINGS:
        for expiry, step in option_expiries(underlying, day):
            yield from option_instruments(underlying, expiry, day, step)


@lru_cache(maxsize=8)
def _listing(day: dt.date) -> tuple[Instrument, ...]:
    return tuple(_rows(day))


def listing(day: dt.date) -> list[Instrument]:
    """All instruments of the paper exchange on `day`, always the same."""
    return list(_listing(day))
