"""From a tick's receipt to its order on the wire: `python -m benchmarks.latency --json`.

Real processes: embedded server, paper exchange, Producer, Consumer and Gatekeeper, journal and all. 100 instruments tick
100 times a second each: 10,000 ticks/s. The data clock runs at 60 times real time, so that every second closes a minute.
At every other closing four instruments' strategies turn together, in between one alone. `p50_us` and `p99_us` are from
`ts_init` of the tick that closed a candle to `ts_sent` of its order, of the four; `alone_p50_us` and `alone_p99_us` of the one.
The bell rings so that minutes close in the middle of the broker's seconds: a minute a second is the
speed's doing, and two closings on either side of a second's turn may count as one second's calls, of which the rate rule holds
entries back. `hop_p50_us` is a bare hop of the same bus, in the same minutes: XADD in one process, a blocked
XREAD that wakes up in another. `ratio_hop` is `p50_us` over it, `alone_ratio_hop` is `alone_p50_us` over it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing as mp
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.common import main
from benchmarks.exchange import BusyTape
from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import BrokerSession, Manifest, Market, Mode, SessionDir
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.latency import STAGES
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import BrokerUpdate, Order
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.domain.ticks import empty_ticks
from tradealgo.exchange.market import MarketDay

DAY = dt.date(2026, 11, 20)
INSTRUMENTS, TRADED = 100, 4
SPEED = 60
TICKS_PER_S = 10_000
#: When in a wall-clock second the bell rings, for the first minute to close 65 data seconds later in the middle of another.
BELL_AT_S = 0.4
STEP_NS = SPEED * SECOND_NS * INSTRUMENTS // TICKS_PER_S
STRATEGY = '''
from tradealgo.strategies import FLAT, LONG, Strategy


class Turn(Strategy):
    """In and out: the dearer one at every candle, the others at every second."""

    def setup(self):
        self.held = False

    def on_candle(self, candle):
        if candle.close > 100.5 or candle.start // 60_000_000_000 % 2:
            self.held = not self.held
        return LONG if self.held else FLAT
'''


class SteadyTape(BusyTape):
    """Every instrument ticks at every step; the first has a price of its own, by which its strategy knows it."""

    def __init__(self, market: MarketDay) -> None:
        super().__init__(market)
        for name in ("open", "high", "low", "last_price", "average_price", "bid_price", "ask_price"):
            self._ticks[name][0] += 1.0

    def between(self, t0_ns: int, t1_ns: int) -> np.ndarray:
        frames = [self.snapshot(m * STEP_NS) for m in range(t0_ns // STEP_NS + 1, t1_ns // STEP_NS + 1)]
        return np.concatenate(frames) if frames else empty_ticks(0)


def book() -> list[Instrument]:
    return [
        Instrument(instrument_token=i << 8 | 1, exchange="NSE", tradingsymbol=f"S{i}", kind=Kind.EQUITY)
        for i in range(1, INSTRUMENTS + 1)
    ]


def _exchange(pipe: Pipe) -> None:
    from tradealgo.exchange.app import listen
    from tradealgo.exchange.service import PaperExchange
    from tradealgo.exchange.testing import UNLIMITED
    from tradealgo.process import give_way

    give_way()  # as the exchange's own process does
    market = MarketDay(DAY, InstrumentBook(book()), {})

    async def serve() -> None:
        exchange = PaperExchange(market, speed=SPEED, limits=UNLIMITED, capital=1e9, tape=SteadyTape(market))
        _, port = await listen(exchange, "127.0.0.1", 0)
        pipe.send(port)
        await asyncio.to_thread(pipe.recv)  # the bell: everyone is ready
        exchange.start()
        await asyncio.Event().wait()

    asyncio.run(serve())


def _echo(url: str, pipe: Pipe) -> None:
    """The other end of the bare hop: answers with what it took each entry to get here, in microseconds."""

    async def listen() -> None:
        bus, last = Bus(connect(url), "hop"), b"$"
        pipe.send("ready")
        took: list[float] = []
        while True:
            for entry in await bus.read({Stream.UPDATES: last}, block_ms=200):
                took.append((time.time_ns() - entry.message.ts_init) / 1e3)
                last = entry.id
            if pipe.poll():
                pipe.send(took)
                return

    asyncio.run(listen())


def _spawn(target: Any, *arguments: Any) -> tuple[Any, Any]:
    mine, its = mp.Pipe()
    process = mp.get_context("spawn").Process(target=target, args=(*arguments, its), daemon=True)
    process.start()
    return mine, process


def _session(folder: Path, port: int, bus_url: str) -> SessionDir:
    from tradealgo.exchange.testing import login_at

    session, now = SessionDir(folder / "session"), time.time_ns()
    session.write_manifest(
        Manifest(
            session_id="latency", mode=Mode.PAPER, account="PAPER1", strategy="strategy.py:Turn", parameters={},
            instruments=tuple(i.key for i in book()[:TRADED]), capital=1e9, sizing=Sizing(units=1),
            limits=Limits(max_order_value=1e9, max_gross_exposure=1e9), market=Market(day=DAY.isoformat(), speed=SPEED),
            rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}/ws", bus_url=bus_url,
        )
    )  # fmt: skip
    session.strategy_source.write_text(STRATEGY)
    token = login_at(f"http://127.0.0.1:{port}")
    BrokerSession(
        account="PAPER1", user_id="PAPER1", api_key="paper", access_token=token, created=now, expires=now + 10**13
    ).save()
    return session


def _start(session: SessionDir, module: Module) -> subprocess.Popen[bytes]:
    with open(session.logs / f"{module}.log", "wb") as log:
        command = [sys.executable, "-m", f"tradealgo.{module}", "--session-dir", str(session.path)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def _orders(bus_url: str, bell: Pipe, session: SessionDir, seconds: float) -> tuple[list[Order], int]:
    """Orders that were sent, by tag, and ticks per second that went over the bus."""
    bus, hop = Bus(connect(bus_url), "latency"), Bus(connect(bus_url), "hop")
    await bus.client.set(instruments_key("latency"), msgspec.msgpack.encode(book()))
    ready, after = set(), b"0"
    deadline = time.monotonic() + 60
    while ready != {Module.PRODUCER, Module.CONSUMER, Module.GATEKEEPER}:
        for entry in await bus.read({Stream.HEALTH: after}, block_ms=500):
            after = entry.id
            if entry.message.state in ("LIVE", "QUIET", "READY"):
                ready.add(entry.message.module)
        if time.monotonic() > deadline:
            logs = "\n".join(f.read_text()[-2_000:] for f in session.logs.glob("*.log"))
            raise TimeoutError(f"only {sorted(ready)} are ready:\n{logs}")
    await asyncio.sleep((BELL_AT_S - time.time()) % 1.0)
    bell.send("start")
    await asyncio.sleep(3)
    first = await bus.last(Stream.TICKS)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await hop.publish(Stream.UPDATES, BrokerUpdate(data={}, ts_init=time.time_ns()))
        await asyncio.sleep(0.05)
    frames = [e.message for e in await bus.range(Stream.TICKS, first.id if first else b"-")]
    offered = sum(len(f.ticks) for f in frames) / (time.monotonic() - began)
    sent = {e.message.tag: e.message for e in await bus.range(Stream.ORDERS) if e.message.ts_sent and e.message.ts_init}
    if not sent:
        said = Counter(e.message.text for e in await bus.range(Stream.VERDICTS))
        candles = len(await bus.range(Stream.CANDLES))
        raise RuntimeError(
            f"no order was sent: {candles} candles, {len(frames)} frames, verdicts {said.most_common(5)}"
        )
    await bus.close()
    await hop.close()
    return list(sent.values()), round(offered)


def measure(quick: bool) -> dict[str, Any]:
    """Percentiles of the whole way, of each of its stages, and of the bare hop."""
    processes: list[Any] = []
    with tempfile.TemporaryDirectory() as home, EmbeddedServer() as server:
        os.environ["TRADEALGO_HOME"] = home
        try:
            bell, exchange = _spawn(_exchange)
            hop, echo = _spawn(_echo, server.url)
            processes += [exchange, echo]
            session = _session(Path(home), bell.recv(), server.url)
            hop.recv()
            processes += [_start(session, m) for m in (Module.PRODUCER, Module.CONSUMER, Module.GATEKEEPER)]
            orders, offered = asyncio.run(_orders(server.url, bell, session, 30 if quick else 200))
            hop.send("stop")
            hops = hop.recv()
        finally:
            for process in processes:
                process.kill()
                process.wait() if isinstance(process, subprocess.Popen) else process.join()
    return _figures(orders, hops) | {"ticks_offered_per_s": offered}


def _figures(orders: list[Order], hops: list[float]) -> dict[str, Any]:
    closings = Counter(o.ts_init for o in orders)
    together = [o for o in orders if closings[o.ts_init] > 1]
    found: dict[str, Any] = {
        "hop_p50_us": round(float(np.percentile(hops, 50)), 1),
        "hop_p99_us": round(float(np.percentile(hops, 99)), 1),
    }
    for prefix, some in (("", together), ("alone_", [o for o in orders if closings[o.ts_init] == 1])):
        whole = [(o.ts_sent - o.ts_init) / 1e3 for o in some]
        found |= {
            f"{prefix}p50_us": round(float(np.percentile(whole, 50)), 1),
            f"{prefix}p99_us": round(float(np.percentile(whole, 99)), 1),
            f"{prefix}ratio_hop": round(float(np.percentile(whole, 50) / np.percentile(hops, 50)), 2),
            f"{prefix}orders": len(some),
        }
    for name, begin, end in STAGES:
        took = [(getattr(o, end) - getattr(o, begin)) / 1e3 for o in together if getattr(o, begin) and getattr(o, end)]
        if took:
            found[f"{name.replace(' ', '_')}_p50_us"] = round(float(np.percentile(took, 50)), 1)
    return found


if __name__ == "__main__":
    main(measure, __doc__)
