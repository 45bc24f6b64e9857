"""The Gatekeeper: checks a second, what it adds to an order's way, what a durable record costs.

`decide_per_s` is all checks on a book with 20 positions and 20 working orders. `gate_p50_us` and `gate_p99_us` are from
a request's arrival at the core to its order call, everything but the disk (`gate_cpu_…`: processor time of it, which a
busy machine disturbs less); `commit_*_ms` is the journal's durable commit
of what one request writes.
"""

from __future__ import annotations

import datetime as dt
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.common import main
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Fill, Intent, Order, OrderRequest, OrderState, Side
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.checks import decide
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.situation import Submit, Terms

NOW = at(dt.date(2026, 11, 20), dt.time(10, 0))
COUNT = 100
LIMITS = Limits(
    orders_per_minute=10_000_000, orders_per_day=10_000_000, max_open_orders=1_000_000,
    max_gross_exposure=1e12, stale_price_s=1e9, orders_per_second=1_000, entry_max_age_s=1e9,
)  # fmt: skip


def instruments() -> list[Instrument]:
    return [
        Instrument(instrument_token=256 * n + 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
        for n in range(1, COUNT + 1)
    ]


def order(instrument: Instrument, tag: str, state: OrderState, filled: int = 0) -> Order:
    return Order(
        tag=tag, request_id=tag, session_id="s", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=Side.BUY, quantity=10, price=1_000.0, intent=Intent.ENTRY, state=state,
        filled_quantity=filled, average_price=1_000.0 if filled else 0.0,
    )  # fmt: skip


def ready_gate() -> Gate:
    """A gate with prices, 20 positions and 20 working orders, reconciled."""
    listed = instruments()
    gate = Gate(Terms("s", "A", 1e9), LIMITS, listed)
    gate.recover(NOW)
    gate.handle(m.PricesSeen([(i.instrument_token, 1_000.0, NOW) for i in listed], NOW), NOW)
    for number, instrument in enumerate(listed[:20]):
        gate.book.put(order(instrument, f"F{number}", OrderState.FILLED, 10), NOW)
        fill = Fill(
            trade_id=f"t{number}", tag=f"F{number}", order_id=str(number), instrument_token=instrument.instrument_token,
            instrument=instrument.key, side=Side.BUY, quantity=10, price=1_000.0, ts_event=NOW,
        )  # fmt: skip
        gate.book.book(fill, NOW)
        gate.book.put(order(listed[20 + number], f"W{number}", OrderState.OPEN), NOW)
    for event in (
        m.OrdersSeen(rows=[], asked=NOW),
        m.TradesSeen(rows=[], asked=NOW),
        m.PositionsSeen(rows=[], asked=NOW),
    ):
        gate.handle(event, NOW)
    return gate


def request(number: int) -> OrderRequest:
    instrument = instruments()[40 + number % 60]
    return OrderRequest(
        request_id=f"r{number}", session_id="s", strategy="x", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=Side.BUY, quantity=10, position_after=10, reference_price=1_000.0,
        intent=Intent.ENTRY, start=NOW, ts_requested=NOW,
    )  # fmt: skip


def decisions(seconds: float) -> float:
    """Full passes through all checks, a second."""
    gate = ready_gate()
    asked = [request(n) for n in range(60)]
    state = gate.look()
    assert all(isinstance(decide(r, gate.book, LIMITS, state, NOW), Submit) for r in asked)
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        for each in asked:
            decide(each, gate.book, LIMITS, state, NOW)
        count += len(asked)
    return count / spent


def latencies(rounds: int) -> np.ndarray:
    """Microseconds from a request to its order call: (n, 2), wall and processor time."""
    gate, spent, now = ready_gate(), [], NOW
    for number in range(rounds):
        asked = request(number)
        asked = msgspec.structs.replace(asked, position_after=10 * (1 + number // 60), ts_requested=now)
        began = time.perf_counter_ns(), time.thread_time_ns()
        commands = gate.handle(m.RequestReceived(asked), now)
        spent.append(((time.perf_counter_ns() - began[0]) / 1e3, (time.thread_time_ns() - began[1]) / 1e3))
        call = next(c for c in commands if isinstance(c, m.Call))
        now += 1_000_000
        row = m.BrokerOrder(
            order_id=str(number), tag=call.order.tag, status="COMPLETE", instrument=asked.instrument,
            instrument_token=asked.instrument_token, side=Side.BUY, quantity=10, filled_quantity=10,
            average_price=1_000.0, price=call.order.price,
        )  # fmt: skip
        gate.handle(m.CallDone(call_id=call.call_id, outcome=m.Outcome.ACCEPTED, order_id=str(number)), now)
        gate.handle(m.OrderSeen(row), now)
        trade = m.BrokerTrade(
            trade_id=f"n{number}", order_id=str(number), instrument=asked.instrument,
            instrument_token=asked.instrument_token, side=Side.BUY, quantity=10, price=1_000.0, product="MIS", ts=now,
        )  # fmt: skip
        gate.handle(m.TradesSeen(rows=[trade], asked=now), now)
        now += 150_000_000  # as fast as the broker's rule lets entries go
    return np.array(spent)


def commits(rounds: int) -> np.ndarray:
    """Milliseconds of the durable commit before one order call."""
    gate = ready_gate()
    records = [c for c in gate.handle(m.RequestReceived(request(1)), NOW) if isinstance(c, m.Record)]
    with tempfile.TemporaryDirectory() as folder:
        journal, spent = Journal(Path(folder) / "journal.db"), []
        for _ in range(rounds):
            began = time.perf_counter()
            journal.append(records, NOW)
            spent.append((time.perf_counter() - began) * 1e3)
        journal.close()
    return np.array(spent)


def measure(quick: bool) -> dict[str, Any]:
    """All figures."""
    per_s = max(decisions(0.5 if quick else 2.0) for _ in range(3))
    gc.collect()
    gc.freeze()
    added = latencies(600 if quick else 3_000)
    disk = commits(100 if quick else 1_000)
    return {
        "decide_per_s": round(per_s),
        "gate_p50_us": round(float(np.percentile(added[:, 0], 50)), 1),
        "gate_p99_us": round(float(np.percentile(added[:, 0], 99)), 1),
        "gate_cpu_p50_us": round(float(np.percentile(added[:, 1], 50)), 1),
        "gate_cpu_p99_us": round(float(np.percentile(added[:, 1], 99)), 1),
        "commit_p50_ms": round(float(np.percentile(disk, 50)), 3),
        "commit_p99_ms": round(float(np.percentile(disk, 99)), 3),
    }


if __name__ == "__main__":
    main(measure, __doc__)
