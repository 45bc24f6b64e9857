"""The Gatekeeper: checks a second, what it adds to an order's way, what a durable record costs.

`decide_per_s` is all checks on a book with 20 positions and 20 working orders, `decide_p50_us` and `decide_p99_us` what one
request waits for them. `gate_p50_us` and `gate_p99_us` are from
a request's arrival at the core to its order call, everything but the disk (`gate_cpu_…`: processor time of it, which a
busy machine disturbs less); `commit_*_ms` is the journal's durable commit
of what one request writes.

A core's two threads share its units: while the other one, which on a rented machine is somebody else's, is at work, this
one runs at about half its speed, by turns of milliseconds, and neither clock nor processor time can tell. The core of the
Gatekeeper does the same at the same event, so the very same requests are timed in several lives: `gate_own_p50_us` and
`gate_own_p99_us` are of each request's least time. What comes with a request (a collection of garbage, a set that grows)
comes in every life and is in them; what the machine adds in one is not.
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
from tradealgo.domain.orders import Intent, Order, OrderRequest, OrderState, Side
from tradealgo.domain.state import TradingState
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.checks import decide
from tradealgo.gatekeeper.core import Gate
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.situation import Submit, Terms

NOW = at(dt.date(2026, 11, 20), dt.time(10, 0))
COUNT = 100
LANDING_NS = 1_000_000
LIMITS = Limits(
    orders_per_minute=10_000_000, orders_per_day=10_000_000, max_open_orders=1_000_000,
    max_gross_exposure=1e12, stale_price_s=1e9, entry_max_age_s=1e9,
)  # fmt: skip


INSTRUMENTS = [
    Instrument(instrument_token=256 * n + 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
    for n in range(1, COUNT + 1)
]


def order(instrument: Instrument, number: int, state: OrderState) -> Order:
    filled = 10 if state is OrderState.FILLED else 0
    return Order(
        tag=f"T{number}", request_id=f"q{number}", session_id="s", instrument_token=instrument.instrument_token,
        instrument=instrument.key, side=Side.BUY, quantity=10, price=1_000.0, intent=Intent.ENTRY, state=state,
        order_id=f"o{number}", filled_quantity=filled, average_price=1_000.0 if filled else 0.0, ts_checked=NOW,
    )  # fmt: skip


def row(of: Order, status: str) -> m.BrokerOrder:
    """An order as the broker tells it."""
    filled = of.quantity if status == "COMPLETE" else 0
    return m.BrokerOrder(
        order_id=of.order_id or "", tag=of.tag, status=status, instrument=of.instrument,
        instrument_token=of.instrument_token, side=of.side, quantity=of.quantity, filled_quantity=filled,
        average_price=of.price if filled else 0.0, price=of.price, product="MIS",
    )  # fmt: skip


def trade(of: Order, ts: int) -> m.BrokerTrade:
    """The execution of a whole order."""
    return m.BrokerTrade(
        trade_id=f"t{of.order_id}", order_id=of.order_id or "", instrument=of.instrument,
        instrument_token=of.instrument_token, side=of.side, quantity=of.quantity, price=of.price, product="MIS", ts=ts,
    )  # fmt: skip


def held(of: Order) -> m.BrokerPosition:
    """The position that an order's fill made."""
    return m.BrokerPosition(
        instrument=of.instrument, instrument_token=of.instrument_token, product="MIS", quantity=of.quantity,
        last_price=of.price,
    )  # fmt: skip


def ready_gate() -> Gate:
    """A gate with prices, 20 positions and 20 working orders that it found in its journal, and in the broker's books."""
    filled = [order(i, n, OrderState.FILLED) for n, i in enumerate(INSTRUMENTS[:20])]
    working = [order(i, 20 + n, OrderState.OPEN) for n, i in enumerate(INSTRUMENTS[20:40])]
    gate = Gate(Terms("s", "A", 1e9), LIMITS, INSTRUMENTS)
    gate.restore((m.Kind.ORDER, o) for o in filled + working)
    gate.recover(NOW)
    asked = NOW + 1
    for event in (
        m.PricesSeen([(i.instrument_token, 1_000.0, NOW) for i in INSTRUMENTS], NOW),
        m.OrdersSeen(rows=[row(o, "COMPLETE") for o in filled] + [row(o, "OPEN") for o in working], asked=asked),
        m.TradesSeen(rows=[trade(o, NOW) for o in filled], asked=asked),
        m.PositionsSeen(rows=[held(o) for o in filled], asked=asked),
    ):
        gate.handle(event, NOW)
    assert gate.ready
    assert gate.trading is TradingState.ACTIVE
    assert len(gate.book.working) == len(gate.book.open_tokens()) == 20
    return gate


def request(number: int) -> OrderRequest:
    instrument = INSTRUMENTS[40 + number % 60]
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


def waits(rounds: int) -> np.ndarray:
    """Microseconds of wall time that each of so many requests waits for all checks."""
    gate = ready_gate()
    asked = [request(n) for n in range(60)]
    state, spent = gate.look(), []
    for number in range(rounds):
        began = time.perf_counter_ns()
        decide(asked[number % 60], gate.book, LIMITS, state, NOW)
        spent.append(time.perf_counter_ns() - began)
    return np.array(spent) / 1e3


def latencies(rounds: int) -> np.ndarray:
    """Microseconds from each of a life's requests to its order call: (n, 2), wall time and processor time."""
    gate, spent, now = ready_gate(), [], NOW
    for number in range(rounds):
        asked = request(number)
        asked = msgspec.structs.replace(asked, position_after=10 * (1 + number // 60), ts_requested=now)
        began = time.perf_counter_ns(), time.thread_time_ns()
        commands = gate.handle(m.RequestReceived(asked), now)
        ended = time.perf_counter_ns(), time.thread_time_ns()
        spent.append((ended[0] - began[0], ended[1] - began[1]))
        call = next(c for c in commands if isinstance(c, m.Call))
        now += LANDING_NS
        done = msgspec.structs.replace(call.order, order_id=str(number))
        gate.handle(answer(call, str(number), now), now)
        gate.handle(m.OrderSeen(row(done, "COMPLETE")), now)
        gate.handle(m.TradesSeen(rows=[trade(done, now)], asked=now), now)
        now += 200_000_000  # about as fast as the broker's rule lets entries go
    return np.array(spent) / 1e3


def answer(call: m.Call, order_id: str, now: int) -> m.CallDone:
    """The broker's yes, in a millisecond, dated by its clock."""
    return m.CallDone(
        call_id=call.call_id, outcome=m.Outcome.ACCEPTED, order_id=order_id, ts_sent=now - LANDING_NS, ts_done=now,
        server_second=now // 1_000_000_000,
    )  # fmt: skip


def percentiles(name: str, micros: np.ndarray) -> dict[str, float]:
    """The middle one and the one that a hundredth exceeds."""
    return {name.format(p): round(float(np.percentile(micros, p)), 1) for p in (50, 99)}


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
    lives = np.stack([latencies(400 if quick else 2_000) for _ in range(4 if quick else 12)])
    wall, cpu = np.concatenate(lives).T
    disk = commits(100 if quick else 1_000)
    return {
        "decide_per_s": round(per_s),
        **percentiles("decide_p{}_us", waits(10_000 if quick else 100_000)),
        **percentiles("gate_p{}_us", wall),
        **percentiles("gate_cpu_p{}_us", cpu),
        **percentiles("gate_own_p{}_us", lives[:, :, 0].min(axis=0)),
        "commit_p50_ms": round(float(np.percentile(disk, 50)), 3),
        "commit_p99_ms": round(float(np.percentile(disk, 99)), 3),
    }


if __name__ == "__main__":
    main(measure, __doc__)
