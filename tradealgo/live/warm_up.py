"""What a launch's `warm_up` means: the candles of before the session that its strategy hears first, by instrument's key."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tradealgo.config import Market
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import InvalidInput
from tradealgo.domain.hours import at, ist_date, ist_text, previous_trading_day
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.shown import many

if TYPE_CHECKING:
    import pandas as pd
    from kiteconnect import KiteConnect

#: Minutes of so many trading days are read at most, which is a quarter of a year.
MOST_DAYS = 60

#: One-minute candles by key of a number of trading days, and the instant (UTC ns) by which a candle must have ended.
Days = Callable[[Sequence[Instrument], int], tuple[dict[str, "pd.DataFrame"], int]]


class Asked(NamedTuple):
    """What a launch asked for: `days`, which are read when a session begins, or `candles`, by key."""

    days: int
    candles: dict[str, np.ndarray]
    read: Callable[[], dict[str, np.ndarray]]


def asked_for(warm_up: Any, instruments: Sequence[Instrument], interval: int, days: Days) -> Asked:
    """A launch's `warm_up` as `CANDLE` arrays by key; an instrument without any starts cold.

    Args:
        warm_up: None, a number of trading days, or candles as `backtest` takes them, of before now.
        interval: of the session's candles, in seconds.
        days: reads them.

    Raises:
        InvalidInput: not a sensible number of days; BadCandles is of its kind.
    """
    if warm_up is None:
        return Asked(0, {}, dict)
    if not isinstance(warm_up, int | np.integer):
        candles = _checked(warm_up, instruments, interval, days(instruments, 0)[1])
        return Asked(0, candles, lambda: candles)
    if isinstance(warm_up, bool) or not 1 <= warm_up <= MOST_DAYS:
        raise InvalidInput(f"warm_up is {warm_up!r}: expected 1 to {MOST_DAYS} trading days, or candles")
    return Asked(int(warm_up), {}, lambda: _read(int(warm_up), instruments, interval, days))


def _read(count: int, instruments: Sequence[Instrument], interval: int, days: Days) -> dict[str, np.ndarray]:
    from tradealgo.research.history import resample, starts_of

    read, until = days(instruments, count)
    longer = {k: f if interval == 60 else resample(f, interval // 60) for k, f in read.items() if len(f)}
    ended = {key: frame[starts_of(frame) + interval * SECOND_NS <= until] for key, frame in longer.items()}
    return _checked(ended, instruments, interval, until)


def _checked(warm_up: Any, instruments: Sequence[Instrument], interval: int, until: int) -> dict[str, np.ndarray]:
    from tradealgo.research.tables import candle_array
    from tradealgo.research.warm_up import First, warm_up_columns

    found = warm_up_columns(warm_up, dict.fromkeys(instruments, First(until, interval)))
    return {i.key: candle_array(columns) for i, columns in found.items()}


def warm_up_text(candles: dict[str, np.ndarray], instruments: Sequence[Instrument]) -> str:
    """One line, as a launch prints it."""
    if not candles:
        return "warm-up: no candles, so every instrument starts cold"
    first, last = min(c["start"][0] for c in candles.values()), max(c["start"][-1] for c in candles.values())
    cold = [i.key for i in instruments if i.key not in candles]
    without = (
        f"; {', '.join(cold[:3])}{f' and {len(cold) - 3} more' if len(cold) > 3 else ''} start cold" if cold else ""
    )
    return (
        f"warm-up: {many(sum(map(len, candles.values())), 'candle')} of {many(len(candles), 'instrument')}, "
        f"{ist_text(int(first), '%a %d %b %H:%M')} to {ist_text(int(last), '%a %d %b %H:%M')} IST{without}"
    )


def paper_days(market: Market) -> Days:
    """The simulated days before the one that the paper exchange plays. Raises InvalidInput for a file, which has one day."""

    def read(instruments: Sequence[Instrument], count: int) -> tuple[dict[str, pd.DataFrame], int]:
        import pandas as pd

        from tradealgo.exchange.listing import listing
        from tradealgo.research.history import simulated

        if count and market.file is not None:
            raise InvalidInput(
                f"warm_up={count} means simulated days, and {market.file} is played: give the candles of the days before it"
            )
        played = dt.date.fromisoformat(market.day)
        keys, found = {i.key for i in instruments}, dict[str, list[pd.DataFrame]]()
        for day in reversed([*_days_before(played, count)]):
            listed = [i.key for i in listing(day) if i.key in keys]  # a contract is not there from the beginning
            for key, frame in simulated(day, market.seed, listed).items():
                found.setdefault(key, []).append(frame)
        return {key: pd.concat(frames) for key, frames in found.items()}, at(played, dt.time())

    return read


def live_days(kite: KiteConnect, clock: Callable[[], int] = time.time_ns) -> Days:
    """Kite's candles of the days before today, and today's that have ended. Reading raises as `history` does."""

    def read(instruments: Sequence[Instrument], count: int) -> tuple[dict[str, pd.DataFrame], int]:
        from tradealgo.research.kite_history import history

        found, today = dict[str, "pd.DataFrame"](), ist_date(clock())
        if count:
            # Past the cache: Kite adjusts its candles for splits, and older ones of a share must not be of before one
            with tempfile.TemporaryDirectory() as fresh:
                found = history(list(instruments), [*_days_before(today, count)][-1], today, kite=kite, cache=fresh)
        return found, clock()

    return read


def _days_before(day: dt.date, count: int) -> Iterator[dt.date]:
    for _ in range(count):
        day = previous_trading_day(day - dt.timedelta(days=1))
        yield day
