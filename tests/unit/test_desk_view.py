"""The session view: a pure fold of streams."""

from __future__ import annotations

import json

import msgspec
import numpy as np

from tradealgo.bus.codec import TickFrame
from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.config import Manifest, Mode
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.orders import Fill, Intent, Order, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert, Beat, KillState, Level, Module, MtmPoint, SessionState, TradingState
from tradealgo.domain.ticks import empty_ticks
from tradealgo.journal.frames import health_frame
from tradealgo.live import view as view_module
from tradealgo.live.latency import percentile
from tradealgo.live.view import SessionView, thin

INFY = Instrument(instrument_token=408065, exchange="NSE", tradingsymbol="INFY", kind=Kind.EQUITY)
BOOK = InstrumentBook([INFY])


def make_view() -> SessionView:
    return SessionView(
        Manifest(
            session_id="s1", mode=Mode.PAPER, account="PAPER1", strategy="x.y:EmaCross", parameters={"fast": 3},
            instruments=("NSE:INFY",), capital=100_000.0, sizing=Sizing(units=10),
        )
    )  # fmt: skip


def make_fill(trade_id: str, side: Side = Side.BUY, price: float = 100.0) -> Fill:
    return Fill(
        trade_id=trade_id, tag="T1", order_id="1", instrument_token=408065, instrument="NSE:INFY", side=side,
        quantity=10, price=price, ts_event=1,
    )  # fmt: skip


def make_order(state: OrderState, **more: int) -> Order:
    return Order(
        tag="T1", request_id="r", session_id="s1", instrument_token=408065, instrument="NSE:INFY", side=Side.BUY,
        quantity=10, price=100.0, intent=Intent.ENTRY, state=state, **more,
    )  # fmt: skip


def make_point(ts: int, mtm: int) -> MtmPoint:
    return MtmPoint(ts_event=ts, ts=ts, realised=0, unrealised=mtm, charges=0, mtm=mtm, drawdown=0, limit=-200_000)


def test_an_entry_read_twice_changes_nothing() -> None:
    """A repeated entry id is dropped, and so is a repeated trade under a new id."""
    view = make_view()
    assert view.apply(Entry(Stream.FILLS, b"5-0", make_fill("t1")))
    assert not view.apply(Entry(Stream.FILLS, b"5-0", make_fill("t2")))
    assert not view.apply(Entry(Stream.FILLS, b"4-9", make_fill("t2")))
    view.apply(Entry(Stream.FILLS, b"5-10", make_fill("t1")))
    assert [f.trade_id for f in view.fills] == ["t1"]
    assert view.cursors[Stream.FILLS] == b"5-10"


def test_the_newest_order_wins() -> None:
    """An order's record is its last one on the stream."""
    view = make_view()
    view.apply(Entry(Stream.ORDERS, b"1-0", make_order(OrderState.OPEN)))
    assert len(view.working_orders) == 1
    view.apply(Entry(Stream.ORDERS, b"2-0", make_order(OrderState.FILLED)))
    assert view.orders["T1"].state is OrderState.FILLED
    assert not view.working_orders


def test_positions_are_marked_by_ticks() -> None:
    """Ticks aren't kept, but their prices mark the positions."""
    view = make_view()
    view.apply(Entry(Stream.FILLS, b"1-0", make_fill("t1")))
    ticks = empty_ticks(1)
    ticks["instrument_token"], ticks["last_price"] = 408065, 103.5
    view.apply(Entry(Stream.TICKS, b"1-0", TickFrame(np.array(ticks), 1)))
    assert view.portfolio(BOOK).unrealised == 10 * 350
    view.apply(Entry(Stream.FILLS, b"2-0", make_fill("t2", Side.SELL, 104.0)))
    assert view.portfolio(BOOK).realised == 10 * 400
    assert not view.portfolio(BOOK).open_positions()


def test_resolved_alerts_leave_and_repeats_are_one() -> None:
    """Alerts are told apart by module and code."""
    view = make_view()
    for number, resolved in enumerate((False, False, True)):
        alert = Alert(
            level=Level.WARNING, module=Module.PRODUCER, code="STALL", text="no ticks", ts=number, resolved=resolved
        )
        view.apply(Entry(Stream.ALERTS, b"%d-1" % number, alert))
        assert len(view.open_alerts) == (0 if resolved else 1)


def test_an_alert_has_the_time_of_the_orders() -> None:
    """On paper the exchange's at that moment, 0 before its first tick; live the wall clock's, which is the same."""
    for mode, times in ((Mode.PAPER, [500, 0]), (Mode.LIVE, [20, 5])):
        view = SessionView(msgspec.structs.replace(make_view().manifest, mode=mode))
        view.apply(Entry(Stream.MTM, b"1-0", msgspec.structs.replace(make_point(10, 0), ts_event=500)))
        for number, ts in enumerate((5, 20)):
            alert = Alert(level=Level.INFO, module=Module.MONITOR, code=str(ts), text="said", ts=ts)
            view.apply(Entry(Stream.ALERTS, b"%d-1" % number, alert))
        assert [a["ts_event"] for a in view.snapshot()["alerts"]] == times


def test_a_snapshot_says_when_the_market_is_closed() -> None:
    """By the Producer's word; nobody knows before the first tick."""
    view = make_view()
    for ts_event, is_open, said in ((0, 0, None), (7, 1, True), (8, 0, False)):
        figures = {"market_open": is_open}
        beat = Beat(module=Module.PRODUCER, pid=7, ts=1, state="LIVE", ts_event=ts_event, figures=figures)
        view.apply(Entry(Stream.HEALTH, b"%d-1" % ts_event, beat))
        assert view.snapshot()["market_open"] is said


def test_the_table_of_modules_has_a_figure_a_cell() -> None:
    """The worst lag of each module, none where it has no stream; its own figures stay with its heartbeat."""
    lags = {"frames": 4, "lag_ms_ticks": 2, "lag_ms_state": 9}
    beats = [
        Beat(module=Module.GATEKEEPER, pid=7, ts=10**9, state="READY", figures=lags),
        Beat(module=Module.EXCHANGE, pid=8, ts=10**9, state="OPEN"),
    ]
    table = health_frame(beats)
    assert table["lag_ms"].dropna().to_dict() == {"gatekeeper": 9}
    assert table["state"].to_dict() == {"gatekeeper": "READY", "exchange": "OPEN"}


def test_thinning_keeps_highs_lows_and_ends() -> None:
    """A long MTM series loses points, never its extremes."""
    points = [make_point(i, (i * 7919) % 1000) for i in range(10_000)]
    points[4321] = make_point(4321, -5_000)
    few = thin(points, 100)
    assert len(few) <= 102
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert min(p.mtm for p in few) == -5_000
    assert [p.ts for p in few] == sorted(p.ts for p in few)


def test_mtm_memory_is_bounded(monkeypatch) -> None:
    """A view of any length of session holds at most MAX_MTM points."""
    monkeypatch.setattr(view_module, "MAX_MTM", 100)
    view = make_view()
    for i in range(1_000):
        view.apply(Entry(Stream.MTM, b"%d-0" % (i + 1), make_point(i, -i if i == 50 else i)))
    assert len(view.mtm) <= 100
    assert (view.mtm[0].ts, view.mtm[-1].ts) == (0, 999)
    assert min(p.mtm for p in view.mtm) == -50


def test_a_long_day_keeps_its_beginning(monkeypatch) -> None:
    """Thinned many times over, each tenth of a session still has its part of the points."""
    monkeypatch.setattr(view_module, "MAX_MTM", 400)
    view = make_view()
    for i in range(10_000):
        view.apply(Entry(Stream.MTM, b"%d-0" % (i + 1), make_point(i, (i * 7919) % 1000)))
    tenths = [sum(1 for p in view.mtm if p.ts // 1_000 == tenth) for tenth in range(10)]
    assert min(tenths) >= 10


def test_a_snapshot_is_json_with_the_figures() -> None:
    """Everything that a desk shows survives JSON; money is in rupees, ages in seconds."""
    view = make_view()
    view.apply(Entry(Stream.FILLS, b"1-0", make_fill("t1")))
    view.apply(Entry(Stream.MTM, b"1-0", make_point(1, -12_345)))
    stamps = {"ts_init": 1_000_000, "ts_closed": 2_000_000, "ts_sent": 5_000_000}
    view.apply(Entry(Stream.ORDERS, b"1-0", make_order(OrderState.FILLED, **stamps)))
    beat = Beat(module=Module.GATEKEEPER, pid=7, ts=10**9, state="READY", ts_event=42, figures={"orders_second": 3})
    view.apply(Entry(Stream.HEALTH, b"1-0", beat))
    state = SessionState(trading=TradingState.HALTED, kill=KillState.VERIFIED_FLAT, ts_tripped=10**9, ts_flat=3 * 10**9)
    view.apply(Entry(Stream.STATE, b"1-0", state))
    shot = json.loads(json.dumps(view.snapshot(now=6 * 10**9, book=BOOK)))
    assert (shot["strategy"], shot["mode"], shot["kill"], shot["flat_s"]) == ("EmaCross", "paper", "VERIFIED_FLAT", 2.0)
    assert shot["mtm"]["mtm"] == -123.45
    assert shot["mtm"]["limit"] == -2_000.0
    assert shot["positions"][0]["quantity"] == 10
    assert shot["latency"]["p50"] == 4.0
    assert shot["latency"]["stages"][0] == {"stage": "candle", "p50": 1.0, "p99": 1.0}
    assert shot["health"]["gatekeeper"]["silent"]
    assert shot["rates"] == {"orders_second": 3}
    assert shot["ts_event"] == 42


def test_a_fresh_view_has_a_snapshot() -> None:
    """Before the first entry a desk shows the manifest and says that nothing is known yet."""
    shot = make_view().snapshot()
    assert shot["trading"] is None
    assert shot["mtm"] is None
    assert shot["positions"] == []


def test_percentile_is_the_nearest_rank() -> None:
    """The 99th of a hundred is the 99th value, and of one value that value."""
    assert percentile(list(map(float, range(1, 101))), 99) == 99.0
    assert percentile([7.0], 99) == 7.0
