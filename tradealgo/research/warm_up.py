"""Warm-up: candles that a strategy hears before the first one that it trades, so that its averages know the days before.

    backtest(EmaCross(), today, warm_up=days_before)
    launch(EmaCross(), ["NSE:INFY"], warm_up=days_before)      # or warm_up=5: that many trading days

None of them is traded, and after the last one the strategy is flat, as a session is when it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import BadCandles
from tradealgo.domain.hours import ist_text
from tradealgo.domain.instruments import Instrument
from tradealgo.research.columns import Columns, columns


class First(NamedTuple):
    """The first candle that is traded: its start (UTC ns), and the candles' interval in seconds."""

    start: int
    interval: int


def warm_up_columns(warm_up: Any, firsts: Mapping[Instrument, First]) -> dict[Instrument, Columns]:
    """Warm-up candles by instrument; one without any starts cold.

    Args:
        warm_up: None, candles by instrument or its key, or of one instrument the candles alone.

    Raises:
        BadCandles: of an instrument that isn't traded, not before its first candle, or of another interval.
    """
    if warm_up is None:
        return {}
    if not isinstance(warm_up, Mapping):
        if not hasattr(warm_up, "__len__"):
            raise BadCandles(f"warm_up is {warm_up!r}: expected candles, as backtest takes them")
        if len(firsts) > 1:
            raise BadCandles(
                f"warm_up is one table, and {len(firsts)} instruments are traded: give candles by instrument's key"
            )
        warm_up = dict.fromkeys(firsts, warm_up)
    by_name = {name: i for i in firsts for name in (i.key, i.tradingsymbol)}
    found: dict[Instrument, Columns] = {}
    for key, given in warm_up.items():
        instrument = by_name.get(key.key if isinstance(key, Instrument) else str(key))
        if instrument is None:
            raise BadCandles(f"warm_up has candles of {key}, which isn't traded: expected {_some(firsts)}")
        if not hasattr(given, "__len__"):
            raise BadCandles(f"warm_up of {instrument.key} is {given!r}: expected candles, as backtest takes them")
        if len(given):
            found[instrument] = _checked(columns(given, f"warm_up of {instrument.key}"), instrument, firsts[instrument])
    return found


def _some(instruments: Mapping[Instrument, Any]) -> str:
    keys = [i.key for i in instruments]
    return ", ".join(keys[:5]) + (f" or {len(keys) - 5} more" if len(keys) > 5 else "")


def _checked(earlier: Columns, instrument: Instrument, first: First) -> Columns:
    # An option may trade every other minute at best, so that its smallest step says little
    if earlier.size > 1 and earlier.interval != first.interval and not instrument.is_option:
        raise BadCandles(
            f"warm_up of {instrument.key} has candles of {earlier.interval} s, and {first.interval} s are traded: "
            "research.history.resample makes longer ones"
        )
    last = earlier.start.item(earlier.size - 1)
    if last + first.interval * SECOND_NS > first.start:
        raise BadCandles(
            f"warm_up of {instrument.key} goes on to the candle of {ist_text(last, '%Y-%m-%d %H:%M')} IST, and the first one "
            f"to be traded is that of {ist_text(first.start, '%Y-%m-%d %H:%M')}: cut it before that"
        )
    return earlier._replace(interval=first.interval)
