"""What is wrong with candle data, and the named rules that mend it.

found            rule            what it does
end_labelled     shift_back      candles labelled by their end move one interval back
pre_open_print   drop            a print of the pre-open session is no minute of trading
out_of_session   drop            likewise after the close
day_off          keep            a day that NSE's calendar doesn't trade: a special session that no table knows, or a wrong date
night_jump       keep            more than a fifth from a share's close to its next open: a split or bonus not adjusted for?
duplicate        keep_last       the later row of the same minute is the corrected one
out_of_order     sort            ascending by start
missing_minutes  leave_gap       or fill_flat: the last close, no volume
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.hours import (
    DAY_NS,
    EPOCH,
    IST_OFFSET_NS,
    SPECIAL_SESSIONS,
    MarketHours,
    at,
    is_trading_day,
    market_hours,
)
from tradealgo.domain.instruments import Instrument, Kind

if TYPE_CHECKING:
    import pandas as pd

PRE_OPEN_NS = 15 * MINUTE_NS  # 09:00 to 09:15

#: Of the days in a file: data is labelled by the minute's end where hardly any day has a row at the open, and most have
#: one at the close.
_HARDLY_ANY, _MOST = 0.05, 0.5

#: Steps of the same length that show a file's interval: fewer may be gaps.
_STEPS = 10

#: From a close to the next day's open: NSE's widest daily price band is 20 %.
_JUMP = 0.2

#: Minutes after 15:15 from which on a share can't have been in the closing auction.
_NO_AUCTION = 10


class Repair(msgspec.Struct, frozen=True):
    """One kind of fault, how often it was found, the rule that mended it and an example."""

    found: str
    count: int
    rule: str
    detail: str = ""


class Repairs(tuple[Repair, ...]):
    """All that was mended in one file; prints as a small table."""

    def __str__(self) -> str:
        if not self:
            return "nothing to mend"
        rows = [("found", "count", "rule", "detail")]
        rows += [(r.found, f"{r.count:,}", r.rule, r.detail) for r in self]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = (f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def count(self, found: Any) -> int:
        """How often a fault was found."""
        return sum(r.count for r in self if r.found == found)

    def plain(self) -> list[dict[str, Any]]:
        """As JSON holds it: how a frame carries its repairs in `attrs`."""
        return [msgspec.structs.asdict(r) for r in self]


def probe(symbol: str) -> Instrument:
    """An instrument of the kind that a bare symbol looks like, to ask for its hours."""
    bare = symbol.upper().rpartition(":")[2]
    derivative = bare[-3:] == "FUT" or (bare[-2:] in ("CE", "PE") and any(c.isdigit() for c in bare))
    index = "NIFTY" in bare or bare in ("SENSEX", "BANKEX", "INDIA VIX")
    kind = Kind.FUTURE if derivative else Kind.INDEX if index else Kind.EQUITY
    return Instrument(instrument_token=0, exchange="NSE", tradingsymbol=bare, kind=kind)


class DayHours:
    """Open and close of each row's day, UTC ns."""

    def __init__(self, starts: np.ndarray, instrument: Instrument) -> None:
        numbers, self.of_row = np.unique((starts + IST_OFFSET_NS) // DAY_NS, return_inverse=True)
        self.days = [dt.date.fromordinal(EPOCH + int(n)) for n in numbers]
        hours = [_hours(day, instrument, starts[self.of_row == i]) for i, day in enumerate(self.days)]
        self.opens = np.array([h.open for h in hours], np.int64)
        self.closes = np.array([h.close for h in hours], np.int64)

    def share_with(self, starts: np.ndarray, instants: np.ndarray) -> float:
        """The share of days that have a row at the day's instant."""
        return float(np.isin(instants, starts).mean()) if len(instants) else 0.0


def _hours(day: dt.date, instrument: Instrument, starts: np.ndarray) -> MarketHours:
    """The day's hours: those of a share without derivatives if it traded on past 15:15; of an evening session that no table knows, the span of its longest run of minutes."""
    hours = market_hours(instrument, day)
    if ((starts >= hours.close) & (starts < at(day, dt.time(15, 30)))).sum() >= _NO_AUCTION:
        hours = market_hours(instrument, day, has_derivatives=False)
    if day in SPECIAL_SESSIONS or ((starts >= hours.open) & (starts < hours.close)).any():
        return hours
    runs = np.split(starts, np.flatnonzero(np.diff(starts) > 5 * MINUTE_NS) + 1)
    longest = max(runs, key=len)
    opens, close = int(longest[0]), int(longest[-1]) + MINUTE_NS
    return MarketHours(day, opens, close, close, close) if len(longest) >= 30 else hours


def mend(
    frame: pd.DataFrame, instrument: Instrument, *, interval_ns: int | None = None, labelled: str | None = None,
    fill: bool = False,
) -> tuple[pd.DataFrame, Repairs]:  # fmt: skip
    """A frame with every rule applied, and what they found.

    Args:
        frame: candles on a tz-aware index named "start".
        instrument: whose hours hold.
        interval_ns: the candles'; None takes the step that most of them have, else a minute.
        labelled: "start" or "end", what the times mark of their minute; None looks at the data.
        fill: put a flat candle where one is missing.
    """
    repairs: list[Repair] = []
    frame = _sorted(frame, repairs)
    frame = _deduplicated(frame, repairs)
    interval_ns = interval_ns or _step(frame)
    frame = _start_labelled(frame, instrument, interval_ns, labelled, repairs)
    frame, hours = _in_session(frame, instrument, repairs)
    _tell_jumps(frame, instrument, repairs)
    frame = _completed(frame, hours, interval_ns, fill, repairs)
    return frame, Repairs(repairs)


def starts_of(frame: pd.DataFrame) -> np.ndarray:
    """The index as UTC ns."""
    return frame.index.as_unit("ns").asi8  # type: ignore[attr-defined]


def _step(frame: pd.DataFrame) -> int:
    steps, counts = np.unique(np.diff(starts_of(frame)), return_counts=True)
    common = int(steps[counts.argmax()]) if len(steps) else 0
    most = len(steps) and counts.max() > len(frame) / 2 and counts.max() >= _STEPS and common % MINUTE_NS == 0
    return common if most and common < DAY_NS else MINUTE_NS


def _sorted(frame: pd.DataFrame, repairs: list[Repair]) -> pd.DataFrame:
    steps_back = np.flatnonzero(np.diff(starts_of(frame)) < 0)
    if not len(steps_back):
        return frame
    first = frame.index[steps_back[0] + 1]
    repairs.append(Repair("out_of_order", len(steps_back), "sort", f"first at {first:%Y-%m-%d %H:%M}"))
    return frame.sort_index(kind="stable")


def _deduplicated(frame: pd.DataFrame, repairs: list[Repair]) -> pd.DataFrame:
    again = frame.index.duplicated(keep="last")
    if not again.any():
        return frame
    different = int((~frame.reset_index().duplicated(keep=False))[frame.index.duplicated(keep=False)].sum())
    detail = f"first at {frame.index[again][0]:%Y-%m-%d %H:%M}" + (f"; {different} rows differ" if different else "")
    repairs.append(Repair("duplicate", int(again.sum()), "keep_last", detail))
    return frame[~again]


def _start_labelled(
    frame: pd.DataFrame, instrument: Instrument, interval_ns: int, labelled: str | None, repairs: list[Repair]
) -> pd.DataFrame:
    starts = starts_of(frame)
    if labelled is None:
        hours = DayHours(starts, instrument)
        at_open, at_close = hours.share_with(starts, hours.opens), hours.share_with(starts, hours.closes)
        labelled = "end" if at_open <= _HARDLY_ANY and at_close >= _MOST else "start"
    if labelled == "start":
        return frame
    detail = f"the first minute was labelled {frame.index[min(1, len(frame) - 1)]:%H:%M}"
    repairs.append(Repair("end_labelled", len(frame), "shift_back", detail))
    return frame.set_axis(frame.index - np.timedelta64(interval_ns, "ns"))


def _in_session(frame: pd.DataFrame, instrument: Instrument, repairs: list[Repair]) -> tuple[pd.DataFrame, DayHours]:
    starts = starts_of(frame)
    hours = DayHours(starts, instrument)
    _tell_days_off(hours, repairs)
    opens, closes = hours.opens[hours.of_row], hours.closes[hours.of_row]
    early = (starts < opens) & (starts >= opens - PRE_OPEN_NS)
    outside = ((starts < opens) | (starts >= closes)) & ~early
    for found, rows in (("pre_open_print", early), ("out_of_session", outside)):
        if rows.any():
            times = sorted(set(frame.index[rows].strftime("%H:%M")))
            shown = ", ".join(times[:3]) + (f" and {len(times) - 3} other times" if len(times) > 3 else "")
            repairs.append(Repair(found, int(rows.sum()), "drop", f"at {shown}"))
    return frame[~(early | outside)], hours


def _tell_days_off(hours: DayHours, repairs: list[Repair]) -> None:
    off = [i for i, day in enumerate(hours.days) if not is_trading_day(day)]
    if off:
        shown = ", ".join(f"{hours.days[i]:%a %Y-%m-%d}" for i in off[:3]) + (" …" if len(off) > 3 else "")
        rows = int(np.isin(hours.of_row, off).sum())
        repairs.append(Repair("day_off", rows, "keep", f"on {shown}: drop them if they are wrong"))


def _tell_jumps(frame: pd.DataFrame, instrument: Instrument, repairs: list[Repair]) -> None:
    """Split and bonus days: history before and after them may be of two scales."""
    days = (starts_of(frame) + IST_OFFSET_NS) // DAY_NS
    nights = np.flatnonzero(np.diff(days)) + 1
    before, after = frame["close"].to_numpy()[nights - 1], frame["open"].to_numpy()[nights]
    jumps = np.flatnonzero(np.abs(after / before - 1.0) > _JUMP)
    if len(jumps) and not instrument.is_derivative:
        i = int(jumps[0])
        detail = f"first on {frame.index[nights[i]]:%Y-%m-%d}, from {before[i]:g} to {after[i]:g}"
        repairs.append(Repair("night_jump", len(jumps), "keep", detail))


def _completed(
    frame: pd.DataFrame, hours: DayHours, interval_ns: int, fill: bool, repairs: list[Repair]
) -> pd.DataFrame:
    spans = zip(hours.opens.tolist(), hours.closes.tolist(), strict=True)
    grid = np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b, interval_ns) for a, b in spans)])
    missing = np.setdiff1d(grid, starts_of(frame))
    if not len(missing) or not len(frame):
        return frame
    days, counts = np.unique((missing + IST_OFFSET_NS) // DAY_NS, return_counts=True)
    worst = dt.date.fromordinal(EPOCH + int(days[counts.argmax()]))
    detail = f"on {len(days)} days, most on {worst}"
    repairs.append(Repair("missing_minutes", len(missing), "fill_flat" if fill else "leave_gap", detail))
    return _filled(frame, missing) if fill else frame


def _filled(frame: pd.DataFrame, missing: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    index = frame.index.union(pd.DatetimeIndex(missing, tz="UTC").tz_convert(frame.index.tz))  # type: ignore[attr-defined]
    full = frame.reindex(index.rename("start"))
    close = full["close"].ffill().bfill()
    for name in ("open", "high", "low", "close"):
        full[name] = full[name].fillna(close)
    return full.assign(volume=full["volume"].fillna(0.0), oi=full["oi"].ffill().fillna(0.0))
