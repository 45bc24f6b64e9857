"""A session's view as plain figures for people's screens: JSON-able, in rupees and seconds."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Any

from tradealgo.config import Mode
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.domain.latency import WHOLE, Latencies
from tradealgo.domain.orders import SUBMIT, Fill, Order
from tradealgo.domain.portfolio import Position
from tradealgo.domain.state import Alert, Beat, Module, MtmPoint

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.live.view import SessionView

#: Rows of each table that a snapshot carries, newest first.
ROWS = 50

#: A module that has not beaten for this long is shown as silent.
SILENT_S = 4.0


def snapshot(view: SessionView, now: int, book: InstrumentBook | None) -> dict[str, Any]:
    """All that a desk shows of a session at `now` (UTC ns). Without a `book` there are no positions."""
    manifest, state = view.manifest, view.state
    return {
        "session_id": manifest.session_id,
        "mode": manifest.mode.value,
        "account": manifest.account,
        "strategy": manifest.strategy.rpartition(":")[2],
        "parameters": manifest.parameters,
        "instruments": list(manifest.instruments),
        "capital": manifest.capital,
        "interval": manifest.interval,
        "speed": manifest.speed,
        "limits": _limits(view),
        "trading": state.trading.value if state else None,
        "kill": state.kill.value if state else None,
        "cause": state.cause.value if state and state.cause else None,
        "reason": state.reason if state else "",
        "ts_tripped": state.ts_tripped if state else 0,
        "ts_event_tripped": _event_time(view, state.ts_tripped) if state else 0,
        "flat_s": (state.ts_flat - state.ts_tripped) / 1e9 if state and state.ts_flat else None,
        "ts_event": view.ts_event,
        "market_open": _market_open(view),
        "mtm": mtm_row(view.mtm[-1]) if view.mtm else None,
        "positions": [position_row(p) for p in view.portfolio(book).positions()] if book is not None else [],
        "orders": [order_row(o) for o in _shown_orders(view)],
        "orders_count": len(view.orders),
        "working_count": len(view.working_orders),
        "fills": [fill_row(f) for f in view.fills[: -ROWS - 1 : -1]],
        "fills_count": len(view.fills),
        "denials": [
            {"instrument": v.instrument, "code": v.code, "text": v.text, "ts": v.ts}
            for v in islice((v for v in reversed(view.verdicts) if v.code != SUBMIT), 10)
        ],
        "signals": _signals(view),
        "health": {b.module.value: beat_row(b, now) for b in view.beats.values()},
        "alerts": [alert_row(a, _alert_time(view, a.ts)) for a in view.open_alerts[: -ROWS - 1 : -1]],
        "latency": latency(view.latencies),
        "rates": next((dict(b.figures) for b in view.beats.values() if b.module == "gatekeeper"), {}),
    }


def _shown_orders(view: SessionView) -> list[Order]:
    """The newest orders, newest first, and all older ones that still work."""
    newest = list(islice(reversed(view.orders.values()), ROWS))
    tags = {o.tag for o in newest}
    return newest + [o for o in view.working_orders if o.tag not in tags]


def _event_time(view: SessionView, ts: int) -> int:
    """The exchange time of the last MTM point at or before a wall-clock moment; 0 for none."""
    index = bisect_right(view.mtm, ts, key=lambda p: p.ts)
    return view.mtm[index - 1].ts_event if ts and index else 0


def _alert_time(view: SessionView, ts: int) -> int:
    """A wall-clock moment in the time that the session's orders have: on paper the exchange's, 0 before its first tick."""
    return ts if view.manifest.mode is Mode.LIVE else _event_time(view, ts)


def _market_open(view: SessionView) -> bool | None:
    """Whether any instrument is in continuous trading, as the Producer says; None before the first tick."""
    beat = view.beats.get(Module.PRODUCER)
    said = beat.figures.get("market_open") if beat is not None and beat.ts_event else None
    return None if said is None else bool(said)


def _limits(view: SessionView) -> dict[str, float]:
    limits = view.manifest.limits
    return {
        "max_loss": limits.max_loss_fraction * view.manifest.capital,
        "max_gross_exposure": limits.max_gross_exposure,
        "max_open_orders": limits.max_open_orders,
        "orders_per_second": limits.orders_per_second,
        "orders_per_minute": limits.orders_per_minute,
        "orders_per_day": limits.orders_per_day,
    }


def _signals(view: SessionView) -> list[dict[str, Any]]:
    """The newest signal of each instrument."""
    newest = {s.instrument_token: s for s in view.signals[-1_000:]}
    return [
        {"instrument_token": s.instrument_token, "target": s.target, "reason": s.reason, "start": s.start}
        for s in newest.values()
    ]


def mtm_row(point: MtmPoint) -> dict[str, float]:
    """One MTM point in rupees; times in UTC nanoseconds."""
    money = ("realised", "unrealised", "charges", "mtm", "drawdown", "limit")
    return {"ts": point.ts, "ts_event": point.ts_event} | {name: getattr(point, name) / 100 for name in money}


def position_row(position: Position) -> dict[str, Any]:
    """One instrument's position in rupees; P&L before charges."""
    return {
        "instrument": position.instrument,
        "quantity": position.quantity,
        "average_price": position.average_price,
        "last_price": position.last_price,
        "unrealised": position.unrealised / 100,
        "realised": position.realised / 100,
        "pnl": position.pnl / 100,
    }


def positions_frame(positions: list[Position]) -> pd.DataFrame:
    """One row an instrument, in rupees; P&L before charges."""
    import pandas as pd

    names = ["instrument", "quantity", "average_price", "last_price", "unrealised", "realised", "pnl"]
    return pd.DataFrame([position_row(p) for p in positions], columns=names)


def order_row(order: Order) -> dict[str, Any]:
    """One order as people read it."""
    names = ("tag", "instrument", "quantity", "filled_quantity", "price", "average_price", "text", "reason", "ts_event")
    values = ("side", "state", "intent")
    return {n: getattr(order, n) for n in names} | {n: getattr(order, n).value for n in values}


def fill_row(fill: Fill) -> dict[str, Any]:
    """One fill as people read it."""
    names = ("trade_id", "tag", "instrument", "instrument_token", "quantity", "price", "ts_event")
    return {n: getattr(fill, n) for n in names} | {"side": fill.side.value}


def beat_row(beat: Beat, now: int) -> dict[str, Any]:
    """A module's last heartbeat; `age_s` since it, None without a clock."""
    age = (now - beat.ts) / 1e9 if now else None
    return {
        "state": beat.state,
        "pid": beat.pid,
        "ts_event": beat.ts_event,
        "age_s": age,
        "silent": age is not None and age > SILENT_S,
        "figures": dict(beat.figures),
    }


def alert_row(alert: Alert, ts_event: int) -> dict[str, Any]:
    """One alert; `ts` is the wall clock, `ts_event` the exchange time then."""
    return {
        "level": alert.level.value, "module": alert.module.value, "code": alert.code, "text": alert.text, "ts": alert.ts,
        "ts_event": ts_event,
    }  # fmt: skip


def latency(latencies: Latencies) -> dict[str, Any]:
    """Milliseconds from the tick that closed the candle to the order call, at the 50th and 99th percentile, and by hop.

    The hop "decode" is part of "candle": of frames that were looked at, not of orders.
    """
    whole = latencies.hops[WHOLE[0]]
    return {
        "count": whole.count,
        "p50": whole.percentile(50) / 1e6 if whole.count else None,
        "p99": whole.percentile(99) / 1e6 if whole.count else None,
        "stages": [
            {"stage": name, "p50": hop.percentile(50) / 1e6, "p99": hop.percentile(99) / 1e6}
            for name, hop in latencies.hops.items()
            if hop.count and hop is not whole
        ],
    }
