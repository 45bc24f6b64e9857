"""How many ticks a second the paper exchange sends, and what that costs: `python -m benchmarks.exchange --json`.

3,000 instruments tick 10 times a second, all to three connections in full mode. The exchange is one process, the
clients another, both on loopback. `ticks_per_s` counts packets received by all clients, `cpu_cores` the exchange's
own processor time over wall time.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing as mp
import time
from multiprocessing.connection import Connection as Pipe
from typing import Any

import numpy as np
import psutil

from benchmarks.common import main
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.ticks import MODE_FULL, empty_ticks
from tradealgo.exchange.market import MarketDay
from tradealgo.exchange.testing import UNLIMITED, login_at

FRAMES_PER_S = 10
CONNECTIONS = 3
FRAME_NS = SECOND_NS // FRAMES_PER_S


class BusyTape:
    """A tape on which every instrument ticks in every tenth of a second."""

    def __init__(self, market: MarketDay) -> None:
        self._ticks = empty_ticks(len(market.instruments))
        self._ticks["instrument_token"] = sorted(i.instrument_token for i in market.instruments)
        self._ticks["mode"], self._ticks["close"] = MODE_FULL, 100.0
        for name in ("open", "high", "low", "last_price", "average_price", "bid_price"):
            self._ticks[name] = 100.0
        self._ticks["ask_price"], self._ticks["bid_quantity"], self._ticks["ask_quantity"] = 100.05, 50, 50

    def snapshot(self, t_ns: int) -> np.ndarray:
        found = self._ticks.copy()
        found["ts_event"], found["volume"] = t_ns, t_ns // FRAME_NS % 10**9
        return found

    def between(self, t0_ns: int, t1_ns: int) -> np.ndarray:
        moments = range(t0_ns // FRAME_NS + 1, t1_ns // FRAME_NS + 1)
        frames = [self.snapshot(m * FRAME_NS) for m in moments]
        return np.concatenate(frames) if frames else empty_ticks(0)


def _exchange(instruments: int, pipe: Pipe) -> None:
    import datetime as dt

    from tradealgo.exchange.app import listen
    from tradealgo.exchange.service import PaperExchange

    book = InstrumentBook(
        Instrument(instrument_token=i << 8 | 1, exchange="NSE", tradingsymbol=f"S{i}", kind=Kind.EQUITY)
        for i in range(1, instruments + 1)
    )
    market = MarketDay(dt.date(2026, 11, 20), book, {})

    async def serve() -> None:
        exchange = PaperExchange(market, limits=UNLIMITED, tape=BusyTape(market))
        _, port = await listen(exchange, "127.0.0.1", 0)
        exchange.start()
        pipe.send(port)
        await asyncio.Event().wait()

    asyncio.run(serve())


async def _client(url: str, tokens: list[int], until: float) -> int:
    import aiohttp

    received = 0
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0, compress=0) as socket:
        await socket.send_str(json.dumps({"a": "mode", "v": ["full", tokens]}))
        while time.monotonic() < until:
            message = await socket.receive(timeout=5)
            if isinstance(message.data, bytes) and len(message.data) > 1:
                received += int.from_bytes(message.data[:2], "big")
    return received


async def _clients(port: int, token: str, instruments: int, seconds: float) -> int:
    url = f"ws://127.0.0.1:{port}/ws?api_key=paper&access_token={token}"
    tokens, until = [i << 8 | 1 for i in range(1, instruments + 1)], time.monotonic() + seconds
    return sum(await asyncio.gather(*(_client(url, tokens, until) for _ in range(CONNECTIONS))))


def measure(quick: bool) -> dict[str, Any]:
    """Ticks a second received by all clients together, those due, and the exchange's cores."""
    instruments, seconds = 3_000, 3.0 if quick else 10.0
    mine, its = mp.Pipe()
    process = mp.get_context("spawn").Process(target=_exchange, args=(instruments, its), daemon=True)
    process.start()
    try:
        port = mine.recv()
        token = login_at(f"http://127.0.0.1:{port}")
        cpu = psutil.Process(process.pid)
        before, began = cpu.cpu_times(), time.monotonic()
        received = asyncio.run(_clients(port, token, instruments, seconds))
        wall, after = time.monotonic() - began, cpu.cpu_times()
    finally:
        process.kill()
        process.join()
    used = after.user + after.system - before.user - before.system
    return {
        "instruments": instruments,
        "connections": CONNECTIONS,
        "ticks_per_s": round(received / wall),
        "ticks_due_per_s": instruments * FRAMES_PER_S * CONNECTIONS,
        "cpu_cores": round(used / wall, 3),
        "seconds": round(wall, 1),
    }


if __name__ == "__main__":
    main(measure, __doc__)
