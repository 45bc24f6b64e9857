"""A paper session's feed with real parts: the paper exchange, the bus, Producer and Consumer as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import BrokerSession, Manifest, Market, Mode, SessionDir
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Beat, Module
from tradealgo.exchange.testing import RunningExchange


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


class FeedSession:
    """Processes of one session, and what they put on the bus."""

    def __init__(self, paper: RunningExchange, bus_url: str, folder: Path, speed: float, interval: int) -> None:
        self.paper = paper
        self.session_id = f"feed-{uuid.uuid4().hex[:10]}"
        self.folder = SessionDir(folder / self.session_id)
        market = paper.exchange.market
        self.manifest = Manifest(
            session_id=self.session_id, mode=Mode.PAPER, account=self.session_id, strategy="tradealgo.strategies:EmaCross",
            parameters={"fast": 3, "slow": 8}, instruments=tuple(i.key for i in market.instruments if i.tradable),
            capital=1_000_000.0, sizing=Sizing(fraction=0.1), interval=interval,
            market=Market(day=market.day.isoformat(), speed=speed or 1.0),
            rest_url=paper.url, ws_url=paper.ws_url, bus_url=bus_url,
        )  # fmt: skip
        self.folder.write_manifest(self.manifest)
        self.bus = Bus(connect(bus_url), self.session_id)
        self.processes: dict[Module, subprocess.Popen[bytes]] = {}

    async def open(self) -> None:
        """What the Sentinel does: log in, and put the instruments on the bus."""
        self.log_in()
        book = list(self.paper.exchange.market.instruments)
        await self.bus.client.set(instruments_key(self.session_id), msgspec.msgpack.encode(book))

    def log_in(self) -> None:
        now = time.time_ns()
        BrokerSession(
            account=self.session_id, user_id="PAPER1", api_key=self.paper.api_key, access_token=self.paper.login(),
            created=now, expires=now + 3_600 * 10**9,
        ).save()  # fmt: skip

    def start(self, *modules: Module) -> None:
        for module in modules:
            with open(self.folder.logs / f"{module}.log", "ab") as log:
                self.processes[module] = subprocess.Popen(
                    [sys.executable, "-m", f"tradealgo.{module}", "--session-dir", str(self.folder.path)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ,
                )  # fmt: skip

    def kill(self, module: Module) -> None:
        process = self.processes.pop(module)
        process.kill()
        process.wait()

    async def beat(self, module: Module, wanted: Callable[[Beat], bool], timeout_s: float = 60) -> Beat:
        """The module's first beat from now on that is as wanted."""
        last, deadline = await self.bus.last(Stream.HEALTH), time.monotonic() + timeout_s
        after = last.id if last else b"0"
        pid = self.processes[module].pid
        while time.monotonic() < deadline:
            for entry in await self.bus.read({Stream.HEALTH: after}, block_ms=200):
                after, beat = entry.id, entry.message
                if beat.module is module and beat.pid == pid and wanted(beat):
                    return beat
            assert self.processes[module].poll() is None, self.log_of(module)
        raise AssertionError(f"no such beat of {module} in {timeout_s} s: {self.log_of(module)}")

    def log_of(self, module: Module) -> str:
        return (self.folder.logs / f"{module}.log").read_text()[-3_000:]

    async def ready(self) -> None:
        """Both processes are up and the instruments subscribed."""
        await self.beat(Module.PRODUCER, lambda b: b.state in ("LIVE", "QUIET") and bool(b.figures.get("frames")))
        await self.beat(Module.CONSUMER, lambda b: b.state == "READY")

    async def read_up_to(self, ts_event: int, timeout_s: float = 60) -> None:
        """Wait until the Consumer has seen this exchange time."""
        await self.beat(Module.CONSUMER, lambda b: b.ts_event >= ts_event, timeout_s)

    async def advance(self, seconds: float) -> None:
        """Move the exchange's clock on, without holding up this loop."""
        await asyncio.to_thread(self.paper.advance, seconds)

    async def candles(self) -> list[ClosedCandle]:
        return [entry.message for entry in await self.bus.range(Stream.CANDLES)]

    def source(self, token: int) -> np.ndarray:
        """The exchange's own minute candles of an instrument."""
        return self.paper.exchange.market.candles[token]


@contextlib.asynccontextmanager
async def feed_session(
    paper: RunningExchange, bus_url: str, folder: Path, *, speed: float = 0, interval: int = 60
) -> AsyncIterator[FeedSession]:
    """A session logged in, its processes not started yet; they are stopped at the end."""
    session = FeedSession(paper, bus_url, folder, speed, interval)
    await session.open()
    try:
        yield session
    finally:
        for process in session.processes.values():
            process.kill()
            process.wait()
        await session.bus.close()


def by_token(candles: list[ClosedCandle]) -> dict[int, list[ClosedCandle]]:
    found: dict[int, list[ClosedCandle]] = {}
    for candle in candles:
        found.setdefault(candle.instrument_token, []).append(candle)
    return found


def as_rows(source: np.ndarray) -> list[tuple[float, ...]]:
    """CANDLE rows as plain tuples, to compare with `ClosedCandle.candle`."""
    return [tuple(row) for row in source.tolist()]
