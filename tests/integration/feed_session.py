"""A paper session's feed with real parts: the paper exchange, the bus, Producer and Consumer as processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
from part_session import PartSession

from tradealgo.bus.keys import Stream
from tradealgo.config import Manifest, Market, Mode
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


class FeedSession(PartSession):
    """Processes of one session, and what they put on the bus."""

    def __init__(self, paper: RunningExchange, bus_url: str, folder: Path, speed: float, interval: int) -> None:
        session_id = f"feed-{uuid.uuid4().hex[:10]}"
        market = paper.exchange.market
        manifest = Manifest(
            session_id=session_id, mode=Mode.PAPER, account=session_id, strategy="tradealgo.strategies:EmaCross",
            parameters={"fast": 3, "slow": 8}, instruments=tuple(i.key for i in market.instruments if i.tradable),
            capital=1_000_000.0, sizing=Sizing(fraction=0.1), interval=interval,
            market=Market(day=market.day.isoformat(), speed=speed or 1.0),
        )  # fmt: skip
        super().__init__(paper, bus_url, folder, manifest)

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

    async def ready(self) -> None:
        """Both processes are up and the instruments subscribed."""
        await self.beat(Module.PRODUCER, lambda b: b.state in ("LIVE", "QUIET") and bool(b.figures.get("frames")))
        await self.beat(Module.CONSUMER, lambda b: b.state == "READY")

    async def read_up_to(self, ts_event: int, timeout_s: float = 60) -> None:
        """Wait until the Consumer has seen this exchange time."""
        await self.beat(Module.CONSUMER, lambda b: b.ts_event >= ts_event, timeout_s)

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
        await session.close()


def by_token(candles: list[ClosedCandle]) -> dict[int, list[ClosedCandle]]:
    found: dict[int, list[ClosedCandle]] = {}
    for candle in candles:
        found.setdefault(candle.instrument_token, []).append(candle)
    return found


def as_rows(source: np.ndarray) -> list[tuple[float, ...]]:
    """CANDLE rows as plain tuples, to compare with `ClosedCandle.candle`."""
    return [tuple(row) for row in source.tolist()]
