"""What one connection's frames mean, pure: decodes, marks cached ticks and gaps, sorts text messages, counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from tradealgo.bus.codec import TickFrame
from tradealgo.domain.orders import BrokerUpdate
from tradealgo.domain.ticks import FLAG_CACHED, empty_ticks
from tradealgo.producer.liveness import Liveness
from tradealgo.producer.packets import decode_frame, in_time_order

#: A tick may be so far ahead of this machine's clock.
AHEAD_NS = 10_000_000_000
#: Where every tick was further ahead for so long, it is this machine's clock that is wrong.
CLOCK_WRONG_NS = 30_000_000_000


class Notice(msgspec.Struct, frozen=True):
    """A text message for people: `kind` is "error" or "message"."""

    kind: str
    text: str


class Counters(msgspec.Struct):
    """Totals of one connection's life, reconnects included."""

    frames: int = 0
    heartbeats: int = 0
    ticks: int = 0
    updates: int = 0
    unknown: int = 0
    truncated: int = 0
    surplus: int = 0
    bad_text: int = 0
    gaps: int = 0
    misdated: int = 0


class Intake:
    """Frames of one connection in, messages for the bus out.

    Args:
        tokens: the instruments of this connection.
        resumed: ticks were lost before the first connection too (the Producer was started again mid-session).
        live: the exchange's clock is the wall's. One tick from the future would close every candle until then, so it loses
            its time; its price stays.
    """

    def __init__(self, shard: int, tokens: Sequence[int], *, resumed: bool = False, live: bool = False) -> None:
        self.shard = shard
        self.tokens = list(tokens)
        self.guests: list[int] = []  # instruments of a dead connection, carried for now
        self.counters = Counters()
        self.liveness = Liveness(self.tokens)
        self._latest = empty_ticks(0)
        self._ts_event = 0
        self._cached_due: set[int] = set()
        self._lost = resumed
        self._live = live
        self._timely_at = 0  # when a tick last came whose time could be

    @property
    def ts_event(self) -> int:
        """The latest exchange time seen, UTC nanoseconds; worked out when asked, not for each frame."""
        self._ts_event = max(self._ts_event, int(self._latest["ts_event"].max(initial=0)))
        return self._ts_event

    def opened(self) -> None:
        """A connection is open and all its instruments will be subscribed: each one's first tick will be a cached one."""
        self._cached_due = {*self.tokens, *self.guests}
        self.liveness.restart(self.ts_event / 1e9)

    def carry(self, guests: Sequence[int]) -> None:
        """Carry these guests and no others: ticks of newcomers were lost, and the first of each will be a cached one."""
        new, gone = set(guests) - set(self.guests), set(self.guests) - set(guests)
        self.guests = list(guests)
        self._cached_due = (self._cached_due | new) - gone
        self._lost = self._lost or bool(new)

    def lost(self) -> None:
        """Ticks were or may have been lost: the next frame carries the gap flag."""
        self._lost = True

    def binary(self, data: bytes | memoryview, ts_init: int) -> TickFrame | None:
        """A binary frame, received at `ts_init`; None for heartbeats and frames without a good tick."""
        count = self.counters
        count.frames += 1
        if len(data) < 2:
            count.heartbeats += 1
            return None
        ticks, bad = decode_frame(data)
        if any(bad):
            count.unknown += bad.unknown
            count.truncated += bad.truncated
            count.surplus += bad.surplus
        if not len(ticks):
            return None
        count.ticks += len(ticks)
        if bad.disordered:
            ticks = in_time_order(ticks)
        if self._live:
            self._undate(ticks, ts_init)
        self._latest = ticks
        self.liveness.saw(ticks["instrument_token"])
        if self._cached_due:
            self._mark_cached(ticks)
        gap, self._lost = self._lost, False
        count.gaps += gap
        return TickFrame(ticks, ts_init, 0, self.shard, gap)

    def text(self, data: str | bytes, ts_init: int) -> BrokerUpdate | Notice | None:
        """A text message; None for what can't be read or is of no interest."""
        self.counters.frames += 1
        try:
            message = msgspec.json.decode(data)
            kind, content = message["type"], message["data"]
        except (ValueError, KeyError, TypeError):
            self.counters.bad_text += 1
            return None
        if kind == "order" and isinstance(content, dict):
            self.counters.updates += 1
            return BrokerUpdate(data=content, ts_init=ts_init)
        return Notice(kind, str(content)) if kind in ("error", "message") else None

    def _undate(self, ticks: np.ndarray, ts_init: int) -> None:
        """Take the time from ticks of the future, unless for a while no tick's time was near this machine's."""
        times = ticks["ts_event"]
        ahead = times > ts_init + AHEAD_NS
        newest = times[~ahead].max(initial=0) if (some := ahead.any()) else times.max()
        if newest >= ts_init - AHEAD_NS:
            self._timely_at = ts_init
        if some and ts_init - self._timely_at <= CLOCK_WRONG_NS:
            self.counters.misdated += int(ahead.sum())
            times[ahead] = 0

    def _mark_cached(self, ticks: np.ndarray) -> None:
        tokens = ticks["instrument_token"].tolist()
        if self._cached_due.isdisjoint(tokens):  # some strikes don't tick all day
            return
        for n, token in enumerate(tokens):
            if token in self._cached_due:
                self._cached_due.discard(token)
                ticks["flags"][n] |= FLAG_CACHED
