"""What a launch's `warm_up` means: the candles of before the session that its strategy hears first, by instrument's key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tradealgo.config import Market
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import InvalidInput
from tradealgo.domain.hours import IST, ist_text, previous_trading_day
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.shown import many

if TYPE_CHECKING:
    import pandas as pd
    from kiteconnect import KiteConnect

#: Minutes of so many trading days are read at most, which is a quarter of a year.
MOST_DAYS = 60

#: One-minute candles by key, of a number of trading days.
Minutes = Callable[[Sequence[Instrument], int], dict[str, "pd.DataFrame"]]


def warm_up_candles(
    warm_up: Any, instruments: Sequence[Instrument], interval: int, begins: int, minutes: Minutes
) -> dict[str, np.ndarray]:
    """`CANDLE` arrays by key; an instrument without any starts cold.

    Args:
        warm_up: None, a number of trading days, or candles as `backtest` takes them.
        interval: of the session's candles, in seconds.
        begins: UTC ns; the candles have ended by then.
        minutes: reads the days.

    Raises:
        InvalidInput: not a sensible number of days; BadCandles is of its kind.
    """
    if warm_up is None:
        return {}
    from tradealgo.research.history import resample, starts_of
    from tradealgo.research.tables import candle_array
    from tradealgo.research.warm_up import First, warm_up_columns

    if isinstance(warm_up, int):
        if isinstance(warm_up, bool) or not 1 <= warm_up <= MOST_DAYS:
            raise InvalidInput(f"warm_up is {warm_up!r}: expected 1 to {MOST_DAYS} trading days, or candles")
        read = {key: frame for key, frame in minutes(instruments, warm_up).items() if len(frame)}
        longer = {key: frame if interval == 60 else resample(frame, interval // 60) for key, frame in read.items()}
        warm_up = {key: f[starts_of(f) + interval * SECOND_NS <= begins] for key, f in longer.items()}
    found = warm_up_columns(warm_up, dict.fromkeys(instruments, First(begins, interval)))
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


def paper_minutes(market: Market) -> Minutes:
    """The simulated days before the one that the paper exchange plays. Raises InvalidInput for a file, which has one day."""

    def read(instruments: Sequence[Instrument], days: int) -> dict[str, pd.DataFrame]:
        import pandas as pd

        from tradealgo.exchange.listing import listing
        from tradealgo.research.history import simulated

        if market.file is not None:
            raise InvalidInput(
                f"warm_up={days} means simulated days, and {market.file} is played: give the candles of the days before it"
            )
        keys, found = {i.key for i in instruments}, dict[str, list[pd.DataFrame]]()
        for day in reversed([*_days_before(dt.date.fromisoformat(market.day), days)]):
            listed = [i.key for i in listing(day) if i.key in keys]  # a contract is not there from the beginning
            for key, frame in simulated(day, market.seed, listed).items():
                found.setdefault(key, []).append(frame)
        return {key: pd.concat(frames) for key, frames in found.items()}

    return read


def live_minutes(kite: KiteConnect, today: dt.date) -> Minutes:
    """Kite's candles of the days before today, and today's so far. Reading raises as `history` does."""

    def read(instruments: Sequence[Instrument], days: int) -> dict[str, pd.DataFrame]:
        from tradealgo.research.kite_history import history

        return history(list(instruments), [*_days_before(today, days)][-1], today, kite=kite)

    return read


def day_begins(day: dt.date) -> int:
    """UTC nanoseconds of an Indian day's midnight."""
    return int(dt.datetime.combine(day, dt.time(), IST).timestamp()) * 1_000_000_000


def _days_before(day: dt.date, count: int) -> Iterator[dt.date]:
    for _ in range(count):
        day = previous_trading_day(day - dt.timedelta(days=1))
        yield day
