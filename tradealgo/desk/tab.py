"""What one browser tab is told next: the difference between what it has heard and what a session now is.

Pure. A tab that reads slowly is told less often; each message then covers more, and is never larger than a fresh one.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from tradealgo.domain.hours import IST_OFFSET_NS
from tradealgo.live.snapshot import fill_row
from tradealgo.live.view import SessionView, thin

#: Points of MTM in one message: the history of a fresh tab, or what a slow one missed.
MTM_POINTS = 1_500
CANDLES = 400
FILLS = 500

#: Sections of the snapshot that are told at most once a second; the others whenever they change.
SLOW = frozenset({"health", "latency", "rates", "signals", "ts_event", "denials"})
SLOW_NS = 1_000_000_000
#: Sections told row by row, or as figures beside the chart's points.
SEPARATE = frozenset({"orders", "fills"})


class Tab:
    """One tab's place in one session. `chart` is the instrument of its price chart."""

    def __init__(self, view: SessionView, chart: int | None = None) -> None:
        self.view = view
        self.chart = chart
        self.begin()

    def begin(self) -> None:
        """Forget what the tab has heard: the next message is a whole one."""
        self._told: dict[str, Any] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._mtm_ts = -1
        self._candles = 0
        self._fills = 0
        self._slow_ts = 0

    def show(self, instrument_token: int) -> None:
        """Chart another instrument from its first candle on."""
        self.chart, self._candles = instrument_token, 0

    def message(self, shot: dict[str, Any], now: int) -> dict[str, Any] | None:
        """The next message, None if nothing is new. `shot` is the view's snapshot, `now` the wall clock in UTC ns."""
        parts = {
            "full": not self._told,
            "set": self._sections(shot, now),
            "orders": self._order_rows(shot["orders"]),
            "fills": self._new_fills(),
            "mtm": self._mtm_points(),
            "candles": self._new_candles(),
        }
        news = {name: value for name, value in parts.items() if value}
        if not news:
            return None
        return {"type": "view", "session": self.view.manifest.session_id, "chart": self.chart} | news

    def _sections(self, shot: dict[str, Any], now: int) -> dict[str, Any]:
        slow_too = not self._told or now - self._slow_ts >= SLOW_NS
        changed = {
            name: value
            for name, value in shot.items()
            if name not in SEPARATE and (slow_too or name not in SLOW) and self._told.get(name, ...) != value
        }
        if slow_too:
            self._slow_ts = now
        self._told.update(changed)
        return changed

    def _order_rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        changed = [row for row in reversed(rows) if self._orders.get(row["tag"]) != row]
        self._orders = {row["tag"]: row for row in rows}
        return changed

    def _new_fills(self) -> list[dict[str, Any]]:
        fills = self.view.fills[max(self._fills, len(self.view.fills) - FILLS) :]
        self._fills = len(self.view.fills)
        return [fill_row(f) | {"time": chart_ms(f.ts_event)} for f in fills]

    def _mtm_points(self) -> list[list[float]]:
        points = self.view.mtm
        new = thin(points[bisect_right(points, self._mtm_ts, key=lambda p: p.ts) :], MTM_POINTS)
        if new:
            self._mtm_ts = new[-1].ts
        return [
            [chart_ms(p.ts_event), p.mtm / 100, p.realised / 100, p.unrealised / 100, p.drawdown / 100]
            for p in new
            if p.ts_event  # 0 before the first tick
        ]

    def _new_candles(self) -> list[list[float]]:
        candles = self.view.candles
        if self.chart is None and candles:
            self.chart = candles[0].instrument_token
        new = [c for c in candles[self._candles :] if c.instrument_token == self.chart]
        self._candles = len(candles)
        return [[chart_ms(c.start), c.open, c.high, c.low, c.close] for c in new[-CANDLES:]]


def chart_ms(ts: int) -> int:
    """UTC nanoseconds as milliseconds of Indian wall-clock time: plotly draws dates without a time zone."""
    return (ts + IST_OFFSET_NS) // 1_000_000
