"""What a session is, folded from its streams: the one picture that notebooks, the desk and the CLI all show.

    view = SessionView(manifest)
    for entry in bus.read(view.cursors, keep_bad=True):
        view.apply(entry)

Pure: no clock, no I/O. Any process may build the same view at any time by reading the streams from the beginning, and
an entry that is read twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.config import Manifest
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.domain.latency import Latencies
from tradealgo.domain.orders import WORKING_STATES, Fill, Order, OrderRequest, Verdict
from tradealgo.domain.portfolio import Portfolio
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.state import Alert, Beat, Control, Module, MtmPoint, SessionState

#: What a view reads. Ticks are too many to keep; `apply` takes them too, but only for the last prices.
VIEW_STREAMS = tuple(s for s in Stream if s not in (Stream.TICKS, Stream.UPDATES))

#: MTM points kept. Beyond it they are thinned, highs and lows staying: six hours at 10 a second are 216,000.
MAX_MTM = 40_000


class SessionView:
    """A session as its streams tell it, up to `cursors`."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.cursors: dict[Stream, bytes] = dict.fromkeys(VIEW_STREAMS, b"0")
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.state: SessionState | None = None
        self.mtm: list[MtmPoint] = []
        self.beats: dict[Module, Beat] = {}
        self.alerts: list[Alert] = []
        self.candles: list[ClosedCandle] = []
        self.signals: list[SignalRecord] = []
        self.requests: list[OrderRequest] = []
        self.verdicts: list[Verdict] = []
        self.controls: list[Control] = []
        self.last_prices: dict[int, float] = {}
        self.latencies = Latencies()
        self._trade_ids: set[tuple[str, str]] = set()
        self._book: tuple[int, Portfolio] | None = None
        self._take: dict[Stream, Callable[[Any], object]] = {
            Stream.TICKS: self._take_ticks,
            Stream.CANDLES: self._take_candle,
            Stream.SIGNALS: self.signals.append,
            Stream.REQUESTS: self.requests.append,
            Stream.VERDICTS: self.verdicts.append,
            Stream.ORDERS: self._take_order,
            Stream.FILLS: self._take_fill,
            Stream.MTM: self._take_mtm,
            Stream.STATE: self._take_state,
            Stream.CONTROL: self.controls.append,
            Stream.HEALTH: self._take_beat,
            Stream.ALERTS: self.alerts.append,
        }

    def apply(self, entry: Entry) -> bool:
        """Fold one entry in. False, and nothing changed, for one at or before the stream's cursor, or of no use here.

        An entry with an empty id (read from the record, not from the bus) is always taken.
        """
        take = self._take.get(entry.stream)
        if take is None:
            return False
        if entry.id and entry.stream in self.cursors:
            if _position(entry.id) <= _position(self.cursors[entry.stream]):
                return False
            self.cursors[entry.stream] = entry.id
        if isinstance(entry.message, BadFrame):  # the Monitor tells people; all else must be seen
            return False
        take(entry.message)
        return True

    def _take_ticks(self, frame: TickFrame) -> None:
        ticks = frame.ticks
        self.latencies.take_frame(frame.ts_init, frame.ts_published)
        self.last_prices.update(zip(ticks["instrument_token"].tolist(), ticks["last_price"].tolist(), strict=True))

    def _take_candle(self, candle: ClosedCandle) -> None:
        self.candles.append(candle)
        self.last_prices[candle.instrument_token] = candle.close

    def _take_order(self, order: Order) -> None:
        self.latencies.take_order(order, self.orders.get(order.tag))
        self.orders[order.tag] = order

    def _take_fill(self, fill: Fill) -> None:
        name = fill.order_id, fill.trade_id
        if name not in self._trade_ids:
            self._trade_ids.add(name)
            self.fills.append(fill)

    def _take_mtm(self, point: MtmPoint) -> None:
        self.mtm.append(point)
        if len(self.mtm) > MAX_MTM:
            self.mtm = thin(self.mtm, MAX_MTM // 2)

    def _take_state(self, state: SessionState) -> None:
        self.state = state

    def _take_beat(self, beat: Beat) -> None:
        self.beats[beat.module] = beat

    @property
    def ts_event(self) -> int:
        """The latest exchange time that any module has spoken of; 0 before the first tick."""
        last_mtm = self.mtm[-1].ts_event if self.mtm else 0
        return max((b.ts_event for b in self.beats.values()), default=0) or last_mtm

    @property
    def open_alerts(self) -> list[Alert]:
        """Alerts that nothing has resolved yet, oldest first; a repeated one only once, at its newest."""
        found: dict[tuple[Module, str], Alert] = {}
        for alert in self.alerts:
            found.pop((alert.module, alert.code), None)
            if not alert.resolved:
                found[alert.module, alert.code] = alert
        return list(found.values())

    @property
    def working_orders(self) -> list[Order]:
        return [o for o in self.orders.values() if o.state in WORKING_STATES]

    def portfolio(self, book: InstrumentBook) -> Portfolio:
        """The books after all fills so far, marked at the last prices. Raises UnknownInstrument."""
        if self._book is None or self._book[0] != len(self.fills):
            tokens = {f.instrument_token for f in self.fills}
            self._book = len(self.fills), Portfolio.replay({t: book.by_token(t) for t in tokens}, self.fills)
        portfolio = self._book[1]
        for token, price in self.last_prices.items():
            portfolio.mark(token, price)
        return portfolio

    def snapshot(self, now: int = 0, book: InstrumentBook | None = None) -> dict[str, Any]:
        """All of it as JSON-able figures in rupees; see `live.snapshot`. `now` is the wall clock in UTC ns, for ages."""
        from tradealgo.live.snapshot import snapshot

        return snapshot(self, now, book)


def thin(points: list[MtmPoint], size: int) -> list[MtmPoint]:
    """About `size` of the points, in order: the lowest and the highest MTM of each stretch of time, the first and the last.

    Stretches of time, not of points: thinned again and again, a day's beginning stays as fine as its end.
    """
    if len(points) <= max(size, 4):
        return points
    begin, stretches = points[0].ts, max(size // 2, 1)
    width = (points[-1].ts - begin) // stretches + 1
    low: dict[int, int] = {}
    high: dict[int, int] = {}
    for index, point in enumerate(points):
        stretch, value = (point.ts - begin) // width, point.mtm
        if stretch not in low or value < points[low[stretch]].mtm:
            low[stretch] = index
        if stretch not in high or value > points[high[stretch]].mtm:
            high[stretch] = index
    return [points[i] for i in sorted({0, len(points) - 1, *low.values(), *high.values()})]


def _position(entry_id: bytes) -> tuple[int, int]:
    """A Redis entry id in an order that compares: (milliseconds, sequence)."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)
