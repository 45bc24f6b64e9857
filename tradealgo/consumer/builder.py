"""The candle builder of one day: ticks in, closed candles out, each instrument's exactly once and in order. Pure.

The rules are in `consumer.fold`. The same ticks give the same candles however they are cut into batches, and a builder
restored from its snapshot goes on as if it had never stopped.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from tradealgo.consumer import fold as f
from tradealgo.domain.candles import MINUTE_NS, SECOND_NS, ClosedCandle
from tradealgo.domain.errors import BadConfig, BadFrame
from tradealgo.domain.hours import DAY_NS, MarketHours, at, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.ticks import TICK

ALLOWANCE_S = 2.0
#: From this many instruments on the compiled loop is worth numba's second or two at the start.
COMPILE_FROM = 100
_VERSION = 5


class BuilderCounts(msgspec.Struct, frozen=True):
    """What was seen and not folded, or noteworthy, since the builder began.

    `lateness_s` is the worst late tick's; `untraded` ticks told of no trade since their candle ended.
    """

    late: int
    lateness_s: float
    missing: int
    outside: int
    corrections: int
    unpriced: int
    untraded: int
    unknown: int
    timeless: int
    other_day: int


class _Snapshot(msgspec.Struct, frozen=True):
    version: int
    day: dt.date
    intervals: list[int]
    tokens: list[int]
    clock: list[int]
    integers: bytes
    floats: bytes


class CandleBuilder:
    """Builds candles of one interval, or of several in one pass, for the instruments of a day.

        CandleBuilder(instruments, day, interval=(60, 300, 900))

    Args:
        instruments: whose ticks are expected; others' are counted.
        day: the trading day (IST); ticks of another are counted, never folded.
        interval: seconds, whole minutes; or several. Candles begin at the open and every interval after; the last may be
            shorter. Of several, the longer candles are the sums of the shorter ones.
        allowance_s: event time that a tick may be behind another instrument's and still be folded.
        compiled: run the loop compiled; by default where there are many instruments.

    Raises:
        BadConfig: no interval, or one that is no whole number of minutes.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        day: dt.date,
        *,
        interval: int | Sequence[int] = 60,
        allowance_s: float = ALLOWANCE_S,
        compiled: bool | None = None,
    ) -> None:
        rows = list(instruments)
        self.day = day
        self.intervals = _whole_minutes(interval)
        base = math.gcd(*self.intervals)
        #: Seconds, by level of the rows: the loop's own interval first, which may be none of those asked for.
        self._levels = [base, *(i for i in self.intervals if i != base)]
        self._tokens = [i.instrument_token for i in rows]
        self._clock: Any = [0, f.NEVER, 0, 0, base * SECOND_NS, int(allowance_s * SECOND_NS), 0, 0, 0, 0, 0, 0]
        self._clock += [i * SECOND_NS for i in self._levels[1:]]
        self._clock[f.DAY_START] = at(day, dt.time(0))
        self._clock[f.DAY_END] = self._clock[f.DAY_START] + DAY_NS
        hours = {i.kind: market_hours(i, day) for i in rows}
        self._integers: Any = [_fresh(hours[i.kind]) for _ in self._levels for i in rows]
        self._floats: Any = [[0.0] * f.FLOATS for _ in self._integers]
        self._slots = {token: slot for slot, token in enumerate(self._tokens)}
        self._room = 0
        self._loop: Any = None
        self._out_integers: Any = []
        self._out_floats: Any = []
        if len(rows) >= COMPILE_FROM if compiled is None else compiled:
            self._compile()
        self._make_room(256)

    def fold(self, ticks: np.ndarray, ts_init: int, now: int, *, gap: bool = False) -> list[ClosedCandle]:
        """Fold one frame's ticks (a TICK array); the candles that they closed, in order.

        Args:
            ts_init: when the frame was received; stamped on what it closes.
            now: the wall clock, which becomes `ts_closed`. UTC nanoseconds.
            gap: ticks were lost before this frame: candles that lack much by it are marked partial.
        """
        if gap:
            self._lost_until(ticks["ts_event"])
        if len(ticks) > self._room:
            self._make_room(len(ticks))
        if self._loop:
            if ticks.dtype is not TICK or ticks.ndim != 1:  # the compiled loop takes its word for it
                ticks = np.asarray(ticks, TICK).reshape(-1)
            n = self._loop(ticks, self._memory, self._out)
        else:
            n = self._fold_plain(ticks)
        return self._closed(n, ts_init, now) if n else []

    def _lost_until(self, times: np.ndarray) -> None:
        """Remember that ticks were lost up to the latest of these times."""
        latest = self._clock[f.LATEST]
        times = times[(times >= self._clock[f.DAY_START]) & (times < self._clock[f.DAY_END])]
        self._clock[f.GAP_FROM], self._clock[f.GAP_TO] = latest, int(times.max(initial=latest))

    def _fold_plain(self, ticks: np.ndarray) -> int:
        n, find = 0, self._slots.get
        columns = (ticks[name].tolist() for name in _COLUMNS)
        for token, ts, price, volume, quantity, oi, flags, mode, traded in zip(*columns, strict=True):
            n = f.fold_tick(
                find(token, -1), ts, price, volume, quantity, oi, flags, mode, traded,
                self._clock, self._integers, self._floats, self._out_integers, self._out_floats, n,
            )  # fmt: skip
        return n

    def flush(self, now: int) -> list[ClosedCandle]:
        """Close what is open: the day is over and no tick will come to say so."""
        self._clock[f.MARK] = f.NEVER - 1
        ts = int(self._clock[f.LATEST])
        n = f.close_due(ts, self._clock, self._integers, self._floats, self._out_integers, self._out_floats, 0)
        return self._closed(n, 0, now)

    @property
    def ts_event(self) -> int:
        """The latest event time folded, UTC nanoseconds; 0 before the first."""
        return int(self._clock[f.LATEST])

    @property
    def watermark(self) -> int:
        """Event time, UTC nanoseconds, up to which every candle has closed."""
        return int(self._clock[f.MARK])

    @property
    def counts(self) -> BuilderCounts:
        """Totals over all instruments."""
        columns = np.asarray(self._integers, np.int64).reshape(-1, f.INTEGERS).T
        total = {name: int(columns[field].sum()) for name, field in _COUNTED.items()}
        return BuilderCounts(
            **total,
            lateness_s=int(columns[f.LATENESS].max(initial=0)) / SECOND_NS,
            unknown=int(self._clock[f.UNKNOWN]),
            timeless=int(self._clock[f.TIMELESS]),
            other_day=int(self._clock[f.OTHER_DAY]),
        )

    def late(self) -> dict[int, int]:
        """Late ticks by instrument token, of those that had any."""
        return {t: int(row[f.LATE]) for t, row in zip(self._tokens, self._integers, strict=False) if row[f.LATE]}

    def snapshot(self) -> bytes:
        """The whole state."""
        return msgspec.msgpack.encode(
            _Snapshot(
                _VERSION, self.day, list(self.intervals), self._tokens, [int(x) for x in self._clock],
                np.asarray(self._integers, "<i8").tobytes(), np.asarray(self._floats, "<f8").tobytes(),
            )
        )  # fmt: skip

    def restore(self, data: bytes) -> None:
        """Take the state of a builder of the same day, intervals and instruments. Raises BadFrame for any other."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Snapshot)
        except ValueError as error:
            raise BadFrame(f"the candle builder's snapshot can't be read: {error}") from error
        mine = (_VERSION, self.day, list(self.intervals), self._tokens)
        if (saved.version, saved.day, saved.intervals, saved.tokens) != mine:
            raise BadFrame(
                f"the snapshot is of {saved.day}, {_said(saved.intervals)}, {len(saved.tokens)} instruments (version "
                f"{saved.version}); expected {self.day}, {_said(self.intervals)}, {len(self._tokens)} instruments (version {_VERSION})"
            )
        integers = np.frombuffer(saved.integers, "<i8").reshape(-1, f.INTEGERS)
        floats = np.frombuffer(saved.floats, "<f8").reshape(-1, f.FLOATS)
        if self._loop:
            self._clock[:], self._integers[:], self._floats[:] = saved.clock, integers, floats
        else:
            self._clock, self._integers, self._floats = saved.clock, integers.tolist(), floats.tolist()

    def _compile(self) -> None:
        from tradealgo.consumer.fold_compiled import Memory, fold_ticks

        self._loop = fold_ticks
        memory = Memory(self._tokens, self._clock, self._integers, self._floats)
        self._memory, self._clock = memory.whole, memory.clock
        self._integers, self._floats = memory.integers, memory.floats

    def _make_room(self, ticks: int) -> None:
        """Room for what a batch can close: everything that is open, and what each tick may open and close."""
        self._room = ticks
        most = len(self._levels) * (ticks + 2 * len(self._tokens))
        if self._loop:
            from tradealgo.consumer.fold_compiled import outlet

            self._out, self._out_integers, self._out_floats = outlet(most)
        else:
            self._out_integers = [[0] * f.OUT_INTEGERS for _ in range(most)]
            self._out_floats = [[0.0] * f.FLOATS for _ in range(most)]

    def _closed(self, n: int, ts_init: int, now: int) -> list[ClosedCandle]:
        """The first `n` rows that came out, as messages."""
        integers, floats = self._out_integers[:n], self._out_floats[:n]
        if self._loop:
            integers, floats = integers.tolist(), floats.tolist()
        tokens, instruments, levels = self._tokens, len(self._tokens), self._levels
        asked = levels[0] in self.intervals
        return [
            ClosedCandle(
                tokens[row % instruments], levels[row // instruments], start, opened, high, low, close, float(volume),
                float(oi), count, ts, ts_init, now, bool(partial),
            )
            for (row, start, volume, count, ts, partial), (opened, high, low, close, oi) in zip(integers, floats, strict=True)
            if asked or row >= instruments
        ]  # fmt: skip


def _whole_minutes(interval: int | Sequence[int]) -> tuple[int, ...]:
    """The intervals asked for, in seconds, shortest first. Raises BadConfig."""
    found = tuple(sorted({interval} if isinstance(interval, int) else set(interval)))
    for seconds in found or (0,):
        if seconds <= 0 or seconds * SECOND_NS % MINUTE_NS:
            raise BadConfig(f"a candle's interval must be whole minutes, got {seconds} s: try 60 or 300")
    return found


def _said(intervals: Sequence[int]) -> str:
    return " and ".join(f"{seconds} s" for seconds in intervals)


def _fresh(hours: MarketHours) -> list[int]:
    """An instrument's integers before its first tick."""
    row = [0] * f.INTEGERS
    row[f.OPEN_TS], row[f.CLOSE_TS] = hours.open, hours.close
    row[f.START] = row[f.VOLUME] = row[f.FALLEN] = row[f.BASE] = row[f.LAST_TS] = f.NONE
    return row


_COLUMNS = (
    "instrument_token",
    "ts_event",
    "last_price",
    "volume",
    "last_quantity",
    "oi",
    "flags",
    "mode",
    "last_trade_time",
)
_COUNTED = {
    "late": f.LATE, "missing": f.MISSING, "outside": f.OUTSIDE, "corrections": f.CORRECTIONS, "unpriced": f.UNPRICED,
    "untraded": f.UNTRADED,
}  # fmt: skip
