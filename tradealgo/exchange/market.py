"""A day's market: which instruments, and what each traded at in every minute. Simulated, or read from a file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from tradealgo.config import Market
from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.errors import BadCandles, BadConfig
from tradealgo.domain.hours import MarketHours, market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind

#: Quoted spread as a fraction of the price where a day doesn't say; never less than one tick.
DEFAULT_SPREADS = {Kind.EQUITY: 0.00012, Kind.FUTURE: 0.00002, Kind.CALL: 0.004, Kind.PUT: 0.004, Kind.INDEX: 0.0}

#: Key of a market file's metadata (Parquet) that holds `MarketFacts` as JSON.
FACTS_KEY = b"tradealgo"


class MarketFacts(msgspec.Struct, frozen=True):
    """What a market file says beside its candles. `previous_close` in rupees, by key."""

    day: dt.date
    instruments: list[Instrument]
    previous_close: dict[str, float]


class MarketDay:
    """One day of some instruments.

    Args:
        candles: by token, ascending one-minute `CANDLE` arrays within the instrument's continuous hours; minutes may
            be missing.
        previous_close: by token, rupees; the day's first open where it isn't given.
        spreads: by token, quoted spread as a fraction of the price; by kind where it isn't given.

    Raises:
        BadCandles: candles out of order, off the minute or outside the instrument's hours.
    """

    def __init__(
        self,
        day: dt.date,
        instruments: InstrumentBook,
        candles: Mapping[int, np.ndarray],
        previous_close: Mapping[int, float] | None = None,
        spreads: Mapping[int, float] | None = None,
    ) -> None:
        self.day = day
        self.instruments = instruments
        self.candles = dict(candles)
        self.previous_close = {t: float(c["open"][0]) for t, c in self.candles.items() if len(c)}
        self.previous_close.update(previous_close or {})
        self.spreads = {i.instrument_token: DEFAULT_SPREADS[i.kind] for i in instruments}
        self.spreads.update(spreads or {})
        self._hours = {i.instrument_token: market_hours(i, day) for i in instruments}
        for instrument in instruments:
            self._check(instrument)

    def hours(self, token: int) -> MarketHours:
        """Continuous trading of an instrument today."""
        return self._hours[token]

    @property
    def open(self) -> int:
        """The first instrument's open, UTC ns."""
        return min(h.open for h in self._hours.values())

    @property
    def close(self) -> int:
        """The last instrument's close, UTC ns."""
        return max(h.close for h in self._hours.values())

    def _check(self, instrument: Instrument) -> None:
        candles = self.candles.setdefault(instrument.instrument_token, np.zeros(0, CANDLE))
        hours, start = self.hours(instrument.instrument_token), candles["start"]
        if not len(candles):
            return
        if (start[0] < hours.open) or (start[-1] > hours.close - MINUTE_NS):
            raise BadCandles(
                f"{instrument.key} has candles outside of its hours on {self.day}: read the file with "
                "research.history.read_candles, which mends that"
            )
        if (start % MINUTE_NS).any() or (np.diff(start) <= 0).any():
            raise BadCandles(f"{instrument.key}'s candles on {self.day} are not ascending whole minutes")
        if not (candles["low"] > 0).all():
            raise BadCandles(f"{instrument.key} has prices that are not positive on {self.day}")


def simulated_day(day: dt.date, seed: int = 1, instruments: Sequence[str] | None = None) -> MarketDay:
    """A believable day of the paper exchange's listing, the same for a (day, seed) whatever subset is asked for.

    Args:
        instruments: keys such as "NSE:INFY"; None for the whole listing.

    Raises:
        UnknownInstrument: a key isn't listed that day.
    """
    from tradealgo.exchange.listing import listing
    from tradealgo.exchange.simulation import simulate

    book = InstrumentBook(listing(day))
    if instruments is not None:
        book = InstrumentBook([book.find(key) for key in instruments])
    simulated = simulate(day, seed, list(book))
    return MarketDay(day, book, simulated.candles, simulated.previous_close, simulated.spreads)


def market_from_file(path: Path | str) -> MarketDay:
    """The day of a Parquet file that `research.history.write_market` wrote. Raises BadCandles."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise BadCandles(f"{path} can't be read as Parquet ({error}): write it with history.write_market") from error
    data = (table.schema.metadata or {}).get(FACTS_KEY)
    missing = [name for name in ("key", *(CANDLE.names or ())) if name not in table.column_names]
    if data is None or missing:
        raise BadCandles(
            f"{path} is no market file: it lacks {', '.join(missing) or 'instrument facts'}; write it with history.write_market"
        )
    facts = msgspec.json.decode(data, type=MarketFacts)
    rows = np.zeros(len(table), CANDLE)
    for name in CANDLE.names or ():
        rows[name] = table[name].to_numpy()
    keys = table["key"].to_numpy(zero_copy_only=False).astype(str)
    candles = {i.instrument_token: rows[keys == i.key] for i in facts.instruments}
    closes = {
        i.instrument_token: facts.previous_close[i.key] for i in facts.instruments if i.key in facts.previous_close
    }
    return MarketDay(facts.day, InstrumentBook(facts.instruments), candles, closes)


def load_market(market: Market, instruments: Sequence[str] | None = None) -> MarketDay:
    """What a manifest's market plays, for these instruments (None: all of it).

    Raises:
        BadConfig: the market's day is no ISO date, or not its file's.
        UnknownInstrument: the market doesn't have one of them.
    """
    try:
        day = dt.date.fromisoformat(market.day)
    except ValueError:
        raise BadConfig(f"market day {market.day!r} is not a date: write it as 2026-11-23") from None
    if market.file is None:
        return simulated_day(day, market.seed, instruments)
    played = market_from_file(market.file)
    if played.day != day:
        raise BadConfig(f"{market.file} holds {played.day}, but the market's day is {day}: give the file's own day")
    return played if instruments is None else subset(played, instruments)


def subset(market_day: MarketDay, instruments: Sequence[str]) -> MarketDay:
    """The same day with these instruments only. Raises UnknownInstrument."""
    book = InstrumentBook([market_day.instruments.find(key) for key in instruments])
    tokens = [i.instrument_token for i in book]
    return MarketDay(
        market_day.day,
        book,
        {t: market_day.candles[t] for t in tokens},
        {t: market_day.previous_close[t] for t in tokens if t in market_day.previous_close},
        {t: market_day.spreads[t] for t in tokens},
    )
