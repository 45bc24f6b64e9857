"""Candles of the past: from files, from the simulated market, from Kite; and back into a market to trade on paper.

frame = read_candles("nifty_1min_2022.txt.gz")   # DataFrame on a "start" index, IST
print(repairs_of(frame))                         # what was found and mended
replay = as_future(frame, "NIFTY", "2022-03-07")
write_market("march.parquet", [replay])          # Market(day="2022-03-07", file="march.parquet")
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from tradealgo.domain.candles import CANDLE, MINUTE_NS, SECOND_NS
from tradealgo.domain.errors import BadCandles, InvalidInput
from tradealgo.domain.hours import DAY_NS, at, ist_date, previous_trading_day
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.research.candle_files import COLUMNS, INDIA, read_raw
from tradealgo.research.kite_history import history
from tradealgo.research.repair import DayHours, Repair, Repairs, mend, probe, starts_of

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.config import Market, SessionDir
    from tradealgo.exchange.market import MarketDay

__all__ = [
    "Repair",
    "Repairs",
    "Replay",
    "as_future",
    "as_instrument",
    "as_recorded",
    "as_traded",
    "candles",
    "day_of",
    "days_of",
    "history",
    "known",
    "played",
    "read_candles",
    "repairs_of",
    "resample",
    "simulated",
    "to_array",
    "to_frame",
    "write_market",
]

Path_ = str | Path


def read_candles(
    path: Path_, *, symbol: str | None = None, instrument: Instrument | None = None, labelled: str | None = None,
    fill: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """One instrument's minute candles from a CSV, text (also .gz) or Parquet file, mended by the rules of `repair`.

    Args:
        symbol: which instrument, where the file holds several.
        instrument: whose hours hold; guessed from the symbol otherwise.
        labelled: "start" or "end" of the minute; None looks at the data.
        fill: put flat candles where minutes are missing, instead of leaving gaps.

    Returns:
        Columns open high low close volume oi (float64) on a "start" index in IST; `repairs_of` tells what was mended.

    Raises:
        BadCandles: a malformed line, with file and line number.
    """
    raw, name = read_raw(Path(path), symbol)
    frame, repairs = mend(raw, instrument or probe(name), labelled=labelled, fill=fill)
    frame.attrs["repairs"] = repairs.plain()
    return frame


def repairs_of(frame: pd.DataFrame) -> Repairs:
    """What `read_candles` found and mended in this frame's file."""
    return Repairs(Repair(**row) for row in frame.attrs.get("repairs", ()))


def to_array(frame: pd.DataFrame) -> np.ndarray:
    """A frame as a `CANDLE` array. Raises BadCandles where the index has no time zone or doesn't ascend."""
    if getattr(frame.index, "tz", None) is None:
        raise BadCandles('candles need a tz-aware DatetimeIndex: frame.index = frame.index.tz_localize("Asia/Kolkata")')
    array = np.zeros(len(frame), CANDLE)
    array["start"] = starts_of(frame)
    if (np.diff(array["start"]) <= 0).any():
        raise BadCandles(
            "candles don't ascend by start: sort the frame and drop duplicates, or read it with read_candles"
        )
    for name in COLUMNS:
        if name in frame:
            array[name] = frame[name].to_numpy("float64")
    return array


def to_frame(array: np.ndarray) -> pd.DataFrame:
    """A `CANDLE` array as a frame."""
    import pandas as pd

    index = pd.DatetimeIndex(array["start"], tz="UTC", name="start").tz_convert(INDIA)
    return pd.DataFrame({name: np.ascontiguousarray(array[name]) for name in COLUMNS}, index=index)


def _date(day: dt.date | str) -> dt.date:
    try:
        return dt.date.fromisoformat(day) if isinstance(day, str) else day
    except ValueError:
        raise InvalidInput(f"day {day!r} is not a date: write it as 2026-11-23") from None


def days_of(frame: pd.DataFrame) -> list[dt.date]:
    """The days that a frame has candles of."""
    return sorted(set(frame.index.date))  # type: ignore[attr-defined]


def _between(frame: pd.DataFrame, start: dt.date | str | None, end: dt.date | str | None) -> pd.DataFrame:
    starts = starts_of(frame)
    low = 0 if start is None else int(np.searchsorted(starts, at(_date(start), dt.time())))
    high = len(starts) if end is None else int(np.searchsorted(starts, at(_date(end), dt.time()) + DAY_NS))
    return frame.iloc[low:high]


def day_of(frame: pd.DataFrame, day: dt.date | str) -> pd.DataFrame:
    """One day's candles. Raises BadCandles where there are none."""
    found = _between(frame, day, day)
    if not len(found):
        days = days_of(frame)
        span = f"the frame has {len(days)} days from {days[0]} to {days[-1]}" if days else "the frame is empty"
        raise BadCandles(f"no candles on {day}: {span}")
    return found


def resample(frame: pd.DataFrame, minutes: int) -> pd.DataFrame:
    """Longer candles, counted from each day's open as the Consumer counts them; a day's last one may be shorter."""
    import pandas as pd

    starts, length = starts_of(frame), minutes * MINUTE_NS
    hours = DayHours(starts, probe(""))
    opens = hours.opens[hours.of_row]
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "oi": "last"}
    longer = frame.groupby(opens + (starts - opens) // length * length).agg(rules)
    return longer.set_axis(pd.DatetimeIndex(longer.index, tz="UTC", name="start").tz_convert(INDIA))


def candles(
    path: Path_, start: dt.date | str | None = None, end: dt.date | str | None = None, *, minutes: int = 1,
    symbol: str | None = None,
) -> np.ndarray:  # fmt: skip
    """A file's candles from `start` to `end` (both days included), as the `CANDLE` array that engines take."""
    frame = _between(read_candles(path, symbol=symbol), start, end)
    return to_array(frame if minutes == 1 else resample(frame, minutes))


def simulated(
    day: dt.date | str, seed: int = 1, instruments: Sequence[str] | None = None, *, days: int = 1
) -> dict[str, pd.DataFrame]:
    """A simulated day's candles by key: what the paper exchange plays for Market(day, seed).

    Args:
        days: that many trading days, `day` (or the last one before it) being the last of them.
    """
    import pandas as pd

    from tradealgo.exchange.market import simulated_day

    if days == 1:
        market_day = simulated_day(_date(day), seed, instruments)
        return {i.key: to_frame(market_day.candles[i.instrument_token]) for i in market_day.instruments}
    found: dict[str, list[pd.DataFrame]] = {}
    last = _date(day)
    for _ in range(days):
        last = previous_trading_day(last)
        for key, frame in simulated(last, seed, instruments).items():
            found.setdefault(key, []).append(frame)
        last -= dt.timedelta(days=1)
    return {key: pd.concat(frames[::-1]) for key, frames in found.items()}


class Replay(NamedTuple):
    """One instrument's day, to be played by the paper exchange. `previous_close` in rupees, None if unknown."""

    instrument: Instrument
    candles: pd.DataFrame
    previous_close: float | None = None


def as_instrument(frame: pd.DataFrame, instrument: Instrument, day: dt.date | str | None = None) -> Replay:
    """A day of a frame as an instrument's; the only day of the frame if `day` is None. Raises BadCandles."""
    if day is None:
        days = days_of(frame)
        if len(days) != 1:
            raise BadCandles(f"the frame has {len(days)} days: say which one with day=")
        day = days[0]
    before = starts_of(frame) < at(_date(day), dt.time())
    return Replay(instrument, day_of(frame, day), float(frame["close"][before].iloc[-1]) if before.any() else None)


def as_future(frame: pd.DataFrame, name: str = "NIFTY", day: dt.date | str | None = None) -> Replay:
    """An index's day replayed as the nearest month's future, which can be traded: `NFO:NIFTY22JANFUT` and its lot.

    Prices are the index's own, without a basis; volume is what the data has, for an index 0.
    """
    from tradealgo.exchange.listing import UNDERLYINGS, expiring_months, future_instrument

    replay = as_instrument(frame, probe(name), day)
    date = days_of(replay.candles)[0]
    found = next((u for u in UNDERLYINGS if u.name == name), None)
    if found is None:
        raise BadCandles(f"{name!r} has no futures here: expected {' or '.join(u.name for u in UNDERLYINGS)}")
    level = float(replay.candles["close"].iloc[0])
    return replay._replace(instrument=future_instrument(found, expiring_months(date)[0], date, level))


def as_traded(frame: pd.DataFrame, symbol: str, day: dt.date | str | None = None) -> Replay:
    """A day replayed as what trades under a symbol: an index as its month's future, any other as the share `NSE:INFY`.

    `known` tells which symbol a file's name means. Raises BadCandles for an index without futures, or a derivative.
    """
    from tradealgo.exchange.listing import SHARES, UNDERLYINGS, Share, share_instrument

    bare = symbol.upper().rpartition(":")[2].strip()
    index = next((u.name for u in UNDERLYINGS if bare in (u.name, u.tradingsymbol)), None)
    if index is not None:
        return as_future(frame, index, day)
    if probe(bare).kind is not Kind.EQUITY:
        raise BadCandles(
            f"{symbol!r} can't be replayed: expected a share, or one of {', '.join(u.name for u in UNDERLYINGS)}"
        )
    replay = as_instrument(frame, probe(bare), day)
    # A share that the paper exchange doesn't list gets a number of its own; the tick is that of the data's price.
    share = next((s for s in SHARES if s.tradingsymbol == bare), Share(bare, 1, 0.0, 0.0, 0.0, 0))
    price = float(replay.candles["close"].iloc[0])
    return replay._replace(instrument=share_instrument(msgspec.structs.replace(share, base=price)))


def known(name: str) -> str | None:
    """The index or share that a file's name begins with: `infy_2022` is INFY. None for a name that says nothing."""
    from tradealgo.exchange.listing import SHARES, UNDERLYINGS

    indices = {text for u in UNDERLYINGS for text in (u.name, u.tradingsymbol)}
    symbols = indices | {s.tradingsymbol for s in SHARES}
    whole = name.upper()
    return next((text for text in (whole, re.split(r"[\W_]", whole)[0]) if text in symbols), None)


def as_recorded(folder: SessionDir | Path_) -> list[Replay]:
    """A past session's minutes, as its Consumer closed them, to be played again: `write_market(path, as_recorded(…))`.

    Raises:
        BadCandles: the session recorded no candles, or longer ones than a minute.
    """
    from tradealgo.config import SessionDir
    from tradealgo.journal.store import open_record

    session = folder if isinstance(folder, SessionDir) else SessionDir(folder)
    manifest = session.read_manifest()
    if manifest.interval * SECOND_NS != MINUTE_NS:
        raise BadCandles(f"{session.path} has candles of {manifest.interval} s: only minutes can be played again")
    record = open_record(session)
    try:
        rows = record.frame(manifest.session_id, "candles")
        instruments = record.instruments(manifest.session_id)
    finally:
        record.close()
    if not len(rows):
        raise BadCandles(f"{session.path} has recorded no candles: choose a session that traded")
    groups = {token: part[COLUMNS].astype("float64") for token, part in rows.groupby("instrument_token")}
    return [Replay(i, groups[i.instrument_token]) for i in instruments if i.instrument_token in groups]


def write_market(path: Path_, replays: Iterable[Replay]) -> Path:
    """Write the market file that `exchange.market.market_from_file` plays. All replays are of one day.

    Raises:
        BadCandles: several days, or candles that can't be played.
    """
    market_day = market_of(replays)
    write_market_day(path, market_day)
    return Path(path)


def market_of(replays: Iterable[Replay]) -> MarketDay:
    """Replays of one day as a market, without a file. Raises BadCandles."""
    from tradealgo.domain.instruments import InstrumentBook
    from tradealgo.exchange.market import MarketDay

    rows = list(replays)
    days = sorted({day for r in rows for day in days_of(r.candles)})
    if len(days) != 1:
        raise BadCandles(f"a market file holds one day, got {len(days)}: cut each frame with day_of or as_instrument")
    tokens = {r.instrument.instrument_token: r for r in rows}
    closes = {t: r.previous_close for t, r in tokens.items() if r.previous_close is not None}
    book = InstrumentBook(r.instrument for r in rows)
    return MarketDay(days[0], book, {t: to_array(r.candles) for t, r in tokens.items()}, closes)


def write_market_day(path: Path_, market_day: MarketDay) -> None:
    """Write a market, whatever it came from, as a market file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tradealgo.exchange.market import FACTS_KEY, MarketFacts

    book = list(market_day.instruments)
    rows = [market_day.candles[i.instrument_token] for i in book]
    joined = np.concatenate(rows) if rows else np.zeros(0, CANDLE)
    keys = np.repeat([i.key for i in book], [len(r) for r in rows])
    columns = {"key": pa.array(keys.tolist(), pa.string()).dictionary_encode()}
    columns |= {name: pa.array(np.ascontiguousarray(joined[name])) for name in joined.dtype.names or ()}
    closes = {
        i.key: market_day.previous_close[i.instrument_token]
        for i in book
        if i.instrument_token in market_day.previous_close
    }
    facts = MarketFacts(ist_date(market_day.open), book, closes)
    pq.write_table(pa.table(columns).replace_schema_metadata({FACTS_KEY: msgspec.json.encode(facts)}), path)


def played(market: Market, instruments: Sequence[str] | None = None) -> dict[Instrument, pd.DataFrame]:
    """What the paper exchange plays for a market, by instrument: what to backtest before the session is launched."""
    from tradealgo.exchange.market import load_market

    market_day = load_market(market, instruments)
    return {i: to_frame(market_day.candles[i.instrument_token]) for i in market_day.instruments}
