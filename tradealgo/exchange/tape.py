"""The stream of ticks that a day's candles were made of: the same ticks whoever asks, whenever, in whatever pieces.

Every draw is a hash of (seed, token, minute, lane), so a minute can be made from nothing: the tape keeps a few minutes
near the cursor and forgets the rest. A minute's ticks give back its candle exactly: the first is the open, the last
the close, both extremes are touched, and the cumulative volume grows by the candle's. As from the broker, there are
packets besides that tell of no trade: the depth had changed, and the price is still that of a minute before.
"""

from __future__ import annotations

import numpy as np

from tradealgo.domain.candles import MINUTE_NS, SECOND_NS
from tradealgo.domain.instruments import Kind
from tradealgo.domain.ticks import FLAG_INDEX, MODE_FULL, MODE_INDEX_FULL, TICK
from tradealgo.exchange.market import MarketDay
from tradealgo.exchange.packets import SHOWN_SHARE
from tradealgo.exchange.simulation import divisor_of

PRE_OPEN_NS = 10 * SECOND_NS  # the pre-open tick comes this long before the open
MIN_TICKS, MAX_TICKS = 4, 12  # a minute
_UNTRADED_SHARE = 0.125  # of an instrument's minutes begin with a packet that tells of no trade
_KEPT_MINUTES = 4
#: Large shares show some hundreds at the best price, thousands within five levels: this part of a usual minute's volume.
_QUOTE_SHARE = 0.015
_SMALLEST_QUOTE_LOTS = 12  # of a usual best quote, also where the data has no volume

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: a hash of 64 bits, element by element."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(keys: np.ndarray, lanes: int) -> np.ndarray:
    """Numbers in [0, 1): `[len(keys), lanes]`."""
    steps = np.arange(1, lanes + 1, dtype=np.uint64) * _GOLDEN
    return (_mixed(keys[:, None] + steps) >> np.uint64(11)) * 2.0**-53


class _Sheet:
    """The day's candles as columns `[minute, instrument]`, with what accumulates over the day."""

    def __init__(self, day: MarketDay) -> None:
        rows = sorted(day.instruments, key=lambda i: i.instrument_token)
        hours = [day.hours(i.instrument_token) for i in rows]
        self.tokens = np.array([i.instrument_token for i in rows], np.uint32)
        self.open_ts = np.array([h.open for h in hours], np.int64)
        self.close_ts = np.array([h.close for h in hours], np.int64)
        self.first = int(self.open_ts.min()) // MINUTE_NS
        self.minutes = int(self.close_ts.max()) // MINUTE_NS - self.first
        self.is_index = np.array([i.kind is Kind.INDEX for i in rows])
        self.divisor = np.array([divisor_of(i) for i in rows])
        self.tick = np.maximum(1.0, np.rint([i.tick_size * d for i, d in zip(rows, self.divisor, strict=True)]))
        self.lot = np.array([i.lot_size for i in rows], np.int64)
        self.spread = np.array([day.spreads[i.instrument_token] for i in rows])
        self.previous_close = np.array([day.previous_close.get(i.instrument_token, 0.0) for i in rows])
        self._fill(day)
        #: A usual best quote, in lots: _QUOTE_SHARE of what trades in a usual minute.
        traded = self.volume.sum(axis=0) / np.maximum(self.has.sum(axis=0), 1)
        self.quote_lots = np.clip(_QUOTE_SHARE * traded / self.lot, _SMALLEST_QUOTE_LOTS, 1e6)
        #: Whether minute `i - 1` has any tick: from the minute before the first open to the one after the last close.
        self.busy = np.zeros(self.minutes + 2, bool)
        self.busy[1:-1] = self.has.any(axis=1)
        self.busy[self.open_ts // MINUTE_NS - self.first] = True
        self.busy[self.close_ts // MINUTE_NS - self.first + 1] = True

    def _fill(self, day: MarketDay) -> None:
        shape = (self.minutes, len(self.tokens))
        self.has = np.zeros(shape, bool)
        self.open, self.high, self.low, self.close = (np.zeros(shape) for _ in range(4))
        self.volume, self.oi = np.zeros(shape, np.int64), np.zeros(shape, np.uint32)
        for row, token in enumerate(self.tokens.tolist()):
            candles = day.candles[token]
            at = candles["start"] // MINUTE_NS - self.first
            self.has[at, row] = True
            for name in ("open", "high", "low", "close", "volume", "oi"):
                getattr(self, name)[at, row] = candles[name]
        middle = (self.open + self.high + self.low + self.close) / 4
        #: Of the minutes before each minute: units and rupees traded, and the day's extremes.
        self.volume_before = _before(np.cumsum(self.volume, axis=0), 0)
        self.turnover_before = _before(np.cumsum(self.volume * middle, axis=0), 0.0)
        self.high_before = _before(np.maximum.accumulate(self.high, axis=0), 0.0)
        low = np.where(self.has, self.low, np.inf)
        self.low_before = _before(np.minimum.accumulate(low, axis=0), np.inf)
        self.middle = middle
        self.day_open = self.open[self.has.argmax(axis=0), np.arange(shape[1])] if self.minutes else self.open[:0]

    def last_minute(self, minute: int) -> np.ndarray:
        """Each instrument's latest minute with a candle up to and including `minute`; -1 for none."""
        seen = self.has[: minute + 1][::-1]
        if not len(seen):
            return np.full(len(self.tokens), -1)
        return np.where(seen.any(axis=0), len(seen) - 1 - seen.argmax(axis=0), -1)


def _before(totals: np.ndarray, start: float) -> np.ndarray:
    """Running totals shifted down a minute."""
    out = np.empty_like(totals)
    out[:1], out[1:] = start, totals[:-1]
    return out


class Tape:
    """Ticks of a market day, in order of (`ts_event`, token).

    Args:
        seed: draws what a candle leaves open: how many ticks, when, quotes and sizes.
        min_ticks, max_ticks: of one instrument in one minute; at least 4, so that a candle fits.
    """

    def __init__(
        self, market_day: MarketDay, seed: int = 1, *, min_ticks: int = MIN_TICKS, max_ticks: int = MAX_TICKS
    ) -> None:
        if not 4 <= min_ticks <= max_ticks <= 60:
            raise ValueError(f"ticks a minute must be 4 to 60, got {min_ticks} to {max_ticks}")
        self.market_day = market_day
        self._salt = np.uint64(seed * int(_GOLDEN) % 2**64)
        self._ticks = (min_ticks, max_ticks)
        self._sheet = _Sheet(market_day)
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def between(self, t0_ns: int, t1_ns: int) -> np.ndarray:
        """Ticks with `t0_ns < ts_event <= t1_ns`: a read-only `TICK` array."""
        sheet = self._sheet
        first = max(t0_ns // MINUTE_NS - sheet.first, -1)
        last = min(t1_ns // MINUTE_NS - sheet.first, sheet.minutes)
        parts = []
        for minute in (first + np.flatnonzero(sheet.busy[first + 1 : last + 2])).tolist():
            block, times = self._block(minute)
            low, high = np.searchsorted(times, (t0_ns, t1_ns), side="right")
            if high > low:
                parts.append(block[low:high])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, TICK)

    def snapshot(self, t_ns: int) -> np.ndarray:
        """Each instrument's latest tick at `t_ns`, by token; instruments that had none yet are absent."""
        sheet = self._sheet
        rows = np.arange(len(sheet.tokens))
        minute = min(t_ns // MINUTE_NS - sheet.first, sheet.minutes - 1)
        found = self._pre_open(rows)
        now = sheet.last_minute(minute)
        # The minute that is running may not have ticked yet: lay the one before below it.
        for latest in (np.where(now == minute, sheet.last_minute(minute - 1), now), np.where(now == minute, now, -1)):
            chosen = rows[latest >= 0]
            ticks, counts = self._minute(chosen, latest[chosen])
            _lay_over(found, ticks, np.repeat(chosen, counts), t_ns)
        closed = rows[sheet.close_ts <= t_ns]
        found["ts_event"][closed] = sheet.close_ts[closed]
        return found[found["ts_event"] <= t_ns]

    def _block(self, minute: int) -> tuple[np.ndarray, np.ndarray]:
        """A minute's ticks, and their times side by side: searching a column of records would copy it each time."""
        kept = self._kept.get(minute)
        if kept is None:
            block = self._made_block(minute)
            block.setflags(write=False)
            while len(self._kept) >= _KEPT_MINUTES:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[minute] = block, np.ascontiguousarray(block["ts_event"])
        return kept

    def _made_block(self, minute: int) -> np.ndarray:
        sheet, start = self._sheet, (self._sheet.first + minute) * MINUTE_NS
        parts = [self._pre_open(np.flatnonzero(sheet.open_ts == start + MINUTE_NS))]
        if 0 <= minute < sheet.minutes:
            rows = np.flatnonzero(sheet.has[minute])
            ticks, counts = self._minute(rows, np.full(len(rows), minute))
            parts += [self._untraded(rows, minute, ticks["ts_event"][np.cumsum(counts) - counts]), ticks]
        closing = np.flatnonzero(sheet.close_ts == start)
        if len(closing):
            parts.append(self._closing(closing))
        ticks = np.concatenate(parts)
        by_token = np.argsort(ticks["instrument_token"], kind="stable")
        seconds = ((ticks["ts_event"][by_token] - start) // SECOND_NS).astype(np.uint8)
        return ticks[by_token[np.argsort(seconds, kind="stable")]]

    def _blank(self, rows: np.ndarray) -> np.ndarray:
        sheet, ticks = self._sheet, np.zeros(len(rows), TICK)
        ticks["instrument_token"] = sheet.tokens[rows]
        ticks["mode"] = np.where(sheet.is_index[rows], MODE_INDEX_FULL, MODE_FULL)
        ticks["flags"] = np.where(sheet.is_index[rows], FLAG_INDEX, 0)
        ticks["close"] = sheet.previous_close[rows]
        return ticks

    def _pre_open(self, rows: np.ndarray) -> np.ndarray:
        ticks = self._blank(rows)
        ticks["ts_event"] = self._sheet.open_ts[rows] - PRE_OPEN_NS
        ticks["last_price"] = ticks["close"]
        return ticks

    def _closing(self, rows: np.ndarray) -> np.ndarray:
        """The last tick once more, at the close: what a reader closes its last candle by."""
        return self._again(rows, self._sheet.minutes, self._sheet.close_ts[rows])

    def _untraded(self, rows: np.ndarray, minute: int, times: np.ndarray) -> np.ndarray:
        """Some instruments' last tick of before a minute once more, at `times`, just ahead of the minute's own first."""
        keys = _mixed(self._sheet.tokens[rows].astype(np.uint64) << np.uint64(20) | np.uint64(minute))
        drawn = _uniform(keys ^ self._salt, 1)[:, 0] < _UNTRADED_SHARE
        chosen = drawn & ~self._sheet.is_index[rows]
        return self._again(rows[chosen], minute, times[chosen])

    def _again(self, rows: np.ndarray, minute: int, times: np.ndarray) -> np.ndarray:
        """Each row's last tick of before `minute`, with a time of its own; that of its trade is what it was."""
        ticks = self._pre_open(rows)
        latest = self._sheet.last_minute(minute - 1)[rows]
        traded = np.flatnonzero(latest >= 0)
        if len(traded):
            last, counts = self._minute(rows[traded], latest[traded])
            ticks[traded] = last[np.cumsum(counts) - 1]
        ticks["ts_event"] = times
        return ticks

    def _minute(self, rows: np.ndarray, minutes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ticks of one minute of each row, row after row, and how many each has."""
        sheet, (fewest, most) = self._sheet, self._ticks
        keys = _mixed(sheet.tokens[rows].astype(np.uint64) << np.uint64(20) | minutes.astype(np.uint64))
        draws = _uniform(_mixed(keys + self._salt), 4 + 7 * most)
        counts = (fewest + draws[:, 0] * (most - fewest + 1)).astype(np.int64)
        lanes = draws[:, 4:].reshape(len(rows), 7, most)
        there = np.arange(most) < counts[:, None]
        at, owner = (minutes, rows), np.repeat(np.arange(len(rows)), counts)
        prices = self._prices(at, draws[:, 1:4], lanes[:, 0], counts)
        ticks = self._blank(rows[owner])
        second = ((np.arange(most) + lanes[:, 1]) * 60 / counts[:, None]).astype(np.int64)[there]
        ticks["ts_event"] = (sheet.first + minutes[owner]) * MINUTE_NS + second * SECOND_NS
        ticks["last_price"] = prices[there]
        ticks["open"] = sheet.day_open[rows][owner]
        ticks["high"] = np.maximum(np.maximum.accumulate(prices, axis=1), sheet.high_before[at][:, None])[there]
        ticks["low"] = np.minimum(np.minimum.accumulate(prices, axis=1), sheet.low_before[at][:, None])[there]
        ticks["oi"] = sheet.oi[at][owner]
        self._volumes(ticks, at, lanes[:, 2], counts, there)
        self._quotes(ticks, rows[owner], lanes[:, 3:], there)
        return ticks, counts

    def _prices(self, at: tuple, shape: np.ndarray, noise: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """`[rows, most]`: open, both extremes in an order that suits the candle, close, and something between."""
        sheet = self._sheet
        opened, high, low, close = (column[at][:, None] for column in (sheet.open, sheet.high, sheet.low, sheet.close))
        # An up candle mostly went down first, then up.
        low_first = (shape[:, :1] < 0.75) == (close >= opened)
        one = 1 + (shape[:, 1:2] * (counts[:, None] - 3)).astype(np.int64)
        two = one + 1 + (shape[:, 2:3] * (counts[:, None] - 2 - one)).astype(np.int64)
        first, second = np.where(low_first, low, high), np.where(low_first, high, low)
        lane, end = np.arange(noise.shape[1])[None, :], counts[:, None] - 1
        path = np.where(
            lane < one, opened + (first - opened) * lane / one,
            np.where(lane < two, first + (second - first) * (lane - one) / (two - one),
                     second + (close - second) * (lane - two) / (end - two)),
        )  # fmt: skip
        unit = sheet.tick[at[1]][:, None]
        divisor = sheet.divisor[at[1]][:, None]
        path = path + (noise - 0.5) * 0.4 * (high - low)
        path = np.clip(np.rint(path * divisor / unit) * unit / divisor, low, high)
        for position, price in ((0, opened), (one, first), (two, second), (end, close)):
            path = np.where(lane == position, price, path)
        return path

    def _volumes(self, ticks: np.ndarray, at: tuple, draws: np.ndarray, counts: np.ndarray, there: np.ndarray) -> None:
        """Cumulative volume, last quantity, average price and the time of the last trade."""
        sheet, lot = self._sheet, self._sheet.lot[at[1]][:, None]
        total = sheet.volume[at][:, None]
        share = np.cumsum(np.where(there, draws + 0.05, 0.0), axis=1)
        traded = (total * (share / share[:, -1:])).astype(np.int64) // lot * lot
        traded = np.where(np.arange(draws.shape[1]) >= counts[:, None] - 1, total, traded)
        grown = np.diff(traded, axis=1, prepend=0)
        volume = sheet.volume_before[at][:, None] + traded
        turnover = sheet.turnover_before[at][:, None] + traded * sheet.middle[at][:, None]
        divisor = sheet.divisor[at[1]][:, None]
        average = np.rint(turnover / np.maximum(volume, 1) * divisor) / divisor
        ticks["volume"] = volume[there]
        ticks["average_price"] = average[there]
        ticks["last_quantity"] = np.minimum(grown, np.maximum(lot, grown // 4 // lot * lot))[there]
        ticks["last_trade_time"] = np.where(ticks["flags"] & FLAG_INDEX, 0, ticks["ts_event"])

    def _quotes(self, ticks: np.ndarray, rows: np.ndarray, lanes: np.ndarray, there: np.ndarray) -> None:
        """Bid and ask around the last price, a tick apart or as wide as the instrument's spread; indices have none."""
        sheet = self._sheet
        side, width, bid_size, ask_size = (lanes[:, lane][there] for lane in range(4))
        unit, divisor, lot = sheet.tick[rows], sheet.divisor[rows], sheet.lot[rows]
        last = ticks["last_price"] * divisor / unit
        spread = np.maximum(1.0, np.rint(sheet.spread[rows] * last * (0.6 + 0.8 * width)))
        bought = side < 0.5
        bid = np.where(bought, np.ceil(last - 1e-6) - spread, np.floor(last + 1e-6))
        ask = bid + spread
        quoted = ~sheet.is_index[rows]
        has_bid = quoted & (bid > 0)
        ticks["bid_price"] = np.where(has_bid, bid * unit / divisor, 0.0)
        ticks["ask_price"] = np.where(quoted, ask * unit / divisor, 0.0)
        usual = sheet.quote_lots[rows]
        # a fifth of the usual size to three times it, mostly smaller than usual
        bid_lots, ask_lots = (1 + ((0.2 + 2.8 * draw**3) * usual).astype(np.int64) for draw in (bid_size, ask_size))
        # what stands behind the five levels shown is a draw of its own
        bids, asks = (
            SHOWN_SHARE * lots + (draw * 60 * usual).astype(np.int64)
            for lots, draw in ((bid_lots, ask_size), (ask_lots, bid_size))
        )
        ticks["bid_quantity"] = np.where(has_bid, bid_lots * lot, 0)
        ticks["ask_quantity"] = np.where(quoted, ask_lots * lot, 0)
        ticks["buy_quantity"] = np.where(quoted, bids * lot, 0)
        ticks["sell_quantity"] = np.where(quoted, asks * lot, 0)


def _lay_over(found: np.ndarray, ticks: np.ndarray, rows: np.ndarray, t_ns: int) -> None:
    """Put each row's last tick up to `t_ns` over what is found for it so far."""
    due = ticks["ts_event"] <= t_ns
    found[rows[due]] = ticks[due]  # ascending within a row: the last assignment stays
