"""When NSE trades. Times of day are IST; instants are UTC nanoseconds."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import msgspec

from tradealgo.domain.instruments import Instrument, Kind

IST = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")
IST_OFFSET_NS = int(5.5 * 3600) * 1_000_000_000
DAY_NS = 86_400 * 1_000_000_000
#: 1 January 1970 as `dt.date` counts days.
EPOCH = 719_163

#: Continuous trading begins, IST.
OPEN = dt.time(9, 15)

#: From this date shares with derivatives end in a closing auction and derivatives trade to 15:40.
CLOSING_AUCTION_FROM = dt.date(2026, 8, 3)

#: Sessions that the public calendars miss or give the usual hours: Muhurat (Diwali), Budget on a weekend, and Saturdays from
#: the disaster recovery site (those of March and May 2024 with a break before noon). Times of 2026's evening (?).
SPECIAL_SESSIONS: dict[dt.date, tuple[dt.time, dt.time]] = {
    dt.date(2020, 2, 1): (dt.time(9, 15), dt.time(15, 30)),
    dt.date(2020, 11, 14): (dt.time(18, 15), dt.time(19, 15)),
    dt.date(2021, 11, 4): (dt.time(18, 15), dt.time(19, 15)),
    dt.date(2022, 10, 24): (dt.time(18, 15), dt.time(19, 15)),
    dt.date(2023, 11, 12): (dt.time(18, 15), dt.time(19, 15)),
    dt.date(2024, 1, 20): (dt.time(9, 15), dt.time(15, 30)),
    dt.date(2024, 3, 2): (dt.time(9, 15), dt.time(12, 30)),
    dt.date(2024, 5, 18): (dt.time(9, 15), dt.time(12, 30)),
    dt.date(2024, 11, 1): (dt.time(18, 0), dt.time(19, 0)),
    dt.date(2025, 2, 1): (dt.time(9, 15), dt.time(15, 30)),
    dt.date(2025, 10, 21): (dt.time(13, 45), dt.time(14, 45)),
    dt.date(2026, 2, 1): (dt.time(9, 15), dt.time(15, 30)),
    dt.date(2026, 11, 8): (dt.time(18, 0), dt.time(19, 0)),
}

#: (month, day) on which NSE is closed every year: the public calendars know next year's holidays only once they are announced.
FIXED_HOLIDAYS = frozenset({(1, 26), (4, 14), (5, 1), (8, 15), (10, 2), (12, 25)})


class MarketHours(msgspec.Struct, frozen=True):
    """One day's continuous trading of one instrument, half-open, in UTC nanoseconds.

    `square_off` is when intraday (MIS) positions should be out: before the auction takes the instrument, or 10
    minutes before the close. `auction_end` equals `close` where there is no closing auction.
    """

    day: dt.date
    open: int
    close: int
    square_off: int
    auction_end: int

    def is_open(self, ts: int) -> bool:
        """Whether continuous trading is on at `ts`."""
        return self.open <= ts < self.close

    def flat_from(self, interval_ns: int) -> int:
        """End of the first candle whose every target is FLAT: the square-off, or earlier where the next candle would
        end only when trading does, too late to act on."""
        return min(self.square_off, self.close - interval_ns)


def ist_day(ts: int) -> int:
    """The Indian calendar day of an instant in UTC nanoseconds, as days since 1970."""
    return (ts + IST_OFFSET_NS) // DAY_NS


def ist_date(ts: int) -> dt.date:
    """The Indian calendar day of an instant in UTC nanoseconds."""
    return dt.date.fromordinal(EPOCH + (ts + IST_OFFSET_NS) // DAY_NS)


def at(day: dt.date, time: dt.time) -> int:
    """UTC nanoseconds of an IST time of day."""
    return int(dt.datetime.combine(day, time, IST).timestamp()) * 1_000_000_000


def ist_text(ts: int, fmt: str = "%H:%M:%S") -> str:
    """An instant as people in India read it."""
    return dt.datetime.fromtimestamp(ts / 1e9, IST).strftime(fmt)


@lru_cache(maxsize=8)
def trading_days(year: int) -> frozenset[dt.date]:
    """NSE's trading days of a year, special sessions included. Source: pandas_market_calendars plus SPECIAL_SESSIONS."""
    import pandas_market_calendars  # half a second of pandas: only who asks for a calendar pays

    schedule = pandas_market_calendars.get_calendar("NSE").schedule(f"{year}-01-01", f"{year}-12-31")
    days = {d.date() for d in schedule.index if (d.month, d.day) not in FIXED_HOLIDAYS}
    return frozenset(days | {d for d in SPECIAL_SESSIONS if d.year == year})


def is_trading_day(day: dt.date) -> bool:
    return day in trading_days(day.year)


def previous_trading_day(day: dt.date) -> dt.date:
    """`day` itself if it trades, else the last trading day before it."""
    while not is_trading_day(day):
        day -= dt.timedelta(days=1)
    return day


def last_trading_day(now: dt.datetime) -> dt.date:
    """The newest trading day whose trading has begun by an instant."""
    now = now.astimezone(IST)
    opens, _ = SPECIAL_SESSIONS.get(now.date(), (OPEN, None))
    return previous_trading_day(now.date() - dt.timedelta(days=now.time() < opens))


def session_day(now: int) -> dt.date:
    """The trading day that a session launched `now` (UTC ns) is of: today until its trading is over, else the next one."""
    day = ist_date(now)
    while not is_trading_day(day) or now >= _hours_of(day, True, False).close:
        day += dt.timedelta(days=1)
    return day


def nearest_trading_day(day: dt.date) -> dt.date:
    """`day` itself if it trades, else the trading day that is fewest days away; the earlier of two."""
    before = after = day
    while not is_trading_day(before) and not is_trading_day(after):
        before, after = before - dt.timedelta(days=1), after + dt.timedelta(days=1)
    return before if is_trading_day(before) else after


def market_hours(instrument: Instrument, day: dt.date, *, has_derivatives: bool = True) -> MarketHours:
    """Trading hours of an instrument on a day that is taken to be a trading day.

    Args:
        has_derivatives: for a share, whether futures and options exist on it (they bring the closing auction).
    """
    return _hours_of(day, instrument.is_derivative, instrument.kind == Kind.EQUITY and has_derivatives)


@lru_cache(maxsize=64)
def _hours_of(day: dt.date, is_derivative: bool, has_auction: bool) -> MarketHours:
    if day in SPECIAL_SESSIONS:
        opens, closes = (at(day, t) for t in SPECIAL_SESSIONS[day])
        return MarketHours(day, opens, closes, closes - 600 * 1_000_000_000, closes)
    opens, close = at(day, OPEN), at(day, dt.time(15, 30))
    square_off = at(day, dt.time(15, 20))
    if day >= CLOSING_AUCTION_FROM:
        if is_derivative:
            return MarketHours(day, opens, at(day, dt.time(15, 40)), at(day, dt.time(15, 30)), at(day, dt.time(15, 40)))
        if has_auction:
            auction = at(day, dt.time(15, 15))
            return MarketHours(day, opens, auction, at(day, dt.time(15, 10)), at(day, dt.time(15, 35)))
    return MarketHours(day, opens, close, square_off, close)


def _expiry_by(day: dt.date) -> dt.date:
    """`day`, or the trading day before it if it is a holiday: also one on which an hour is traded, as on Diwali."""
    while not is_trading_day(day) or SPECIAL_SESSIONS.get(day, (OPEN,))[0] != OPEN:
        day -= dt.timedelta(days=1)
    return day


def monthly_expiry(year: int, month: int) -> dt.date:
    """The last Tuesday of the month, or the trading day before if that is a holiday."""
    last = dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)
    return _expiry_by(last - dt.timedelta(days=(last.weekday() - 1) % 7))


def weekly_expiry(day: dt.date) -> dt.date:
    """NIFTY's next weekly expiry on or after `day`: Tuesday, or the trading day before a holiday Tuesday."""
    tuesday = day + dt.timedelta(days=(1 - day.weekday()) % 7)
    expiry = _expiry_by(tuesday)
    return expiry if expiry >= day else weekly_expiry(tuesday + dt.timedelta(days=1))
