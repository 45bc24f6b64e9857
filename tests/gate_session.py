"""A session's Gatekeeper as a process, with a real paper exchange, Producer and bus; the test plays the Consumer."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import requests
from part_session import PartSession

from tradealgo.bus.keys import Stream
from tradealgo.config import BrokerSession, Manifest, Market, Mode
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, Order, OrderRequest, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, Beat, Control, Module, SessionState
from tradealgo.exchange.testing import RunningExchange


class GateSession(PartSession):
    """What a test needs to ask, to kill, and to look."""

    def __init__(self, paper: RunningExchange, bus_url: str, folder: Path, limits: Limits, capital: float) -> None:
        session_id = f"gate-{uuid.uuid4().hex[:10]}"
        market = paper.exchange.market
        manifest = Manifest(
            session_id=session_id, mode=Mode.PAPER, account=session_id, strategy="tests:None", parameters={},
            instruments=tuple(i.key for i in market.instruments if i.tradable), capital=capital,
            sizing=Sizing(units=1), limits=limits, market=Market(day=market.day.isoformat(), speed=1.0),
        )  # fmt: skip
        super().__init__(paper, bus_url, folder, manifest)
        self._number = 0

    def kill_9(self, module: Module = Module.GATEKEEPER) -> None:
        super().kill_9(module)

    async def until(self, holds: Callable[[], Any], timeout_s: float = 60.0, what: str = "") -> Any:
        """Wait for an awaitable condition; its value. Fails with the Gatekeeper's log. Long: a process alone takes 20 s to
        start where others take the processors.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = await holds()
            if value:
                return value
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited {timeout_s} s for {what or holds}: {self.log_of(Module.GATEKEEPER)}")

    async def beat(self, module: Module) -> Beat | None:
        """The last heartbeat of a module's running process."""
        process = self.processes[module]
        assert process.poll() is None, self.log_of(module)
        rows = reversed(await self.bus.range(Stream.HEALTH))
        return next((e.message for e in rows if e.message.module is module and e.message.pid == process.pid), None)

    async def beat_state(self, module: Module) -> str:
        """What the running process of a module said last."""
        beat = await self.beat(module)
        return beat.state if beat else ""

    async def ready(self, timeout_s: float = 60.0) -> None:
        async def is_ready() -> bool:
            return await self.beat_state(Module.GATEKEEPER) == "READY"

        await self.until(is_ready, timeout_s, "READY")

    async def priced(self) -> None:
        """The running Gatekeeper knows a price of every instrument, and all ticks that were on the bus by now."""

        async def newest() -> int:
            """The last tick's time, UTC ns; 0 before the first in full mode: those of a subscription's beginning have none."""
            return max((int(e.message.ticks["ts_event"].max()) for e in await self.bus.range(Stream.TICKS)), default=0)

        ts_event = await self.until(newest, what="ticks")  # the first ones are of all instruments

        async def read() -> bool:
            beat = await self.beat(Module.GATEKEEPER)
            return beat is not None and beat.ts_event >= ts_event

        await self.until(read, what="the Gatekeeper to read the ticks")

    def instrument(self, key: str) -> Instrument:
        return self.instruments[key]

    async def ask(
        self, key: str, side: Side, quantity: int, position_after: int, intent: Intent = Intent.ENTRY, **more: Any
    ) -> OrderRequest:
        """Put an order request on the bus."""
        self._number += 1
        instrument = self.instrument(key)
        market, token = self.paper.exchange.market, instrument.instrument_token
        last = market.candles[token][0]["open"] if len(market.candles[token]) else market.previous_close[token]
        values: dict[str, Any] = {
            "request_id": f"{self.session_id}:{instrument.instrument_token}:{self._number}", "session_id": self.session_id,
            "strategy": "test", "instrument_token": instrument.instrument_token, "instrument": key, "side": side,
            "quantity": quantity, "position_after": position_after, "reference_price": float(last), "intent": intent,
            "start": self.paper.exchange.position, "ts_requested": time.time_ns(),
        }  # fmt: skip
        request = OrderRequest(**(values | more))
        await self.bus.publish(Stream.REQUESTS, request)
        return request

    async def control(self, action: Action, reason: str = "test", force: bool = False) -> None:
        await self.bus.publish(Stream.CONTROL, Control(action=action, source="cli", reason=reason, force=force))

    async def orders(self) -> dict[str, Order]:
        """The last word on each order, from the bus."""
        return {e.message.tag: e.message for e in await self.bus.range(Stream.ORDERS)}

    async def order(self, request: OrderRequest, *states: OrderState, timeout_s: float = 60.0) -> Order:
        """The request's order as it was last in one of the states, once it has come to one; it may have gone on since."""

        async def found() -> Order | None:
            rows = (e.message for e in reversed(await self.bus.range(Stream.ORDERS)))
            return next((o for o in rows if o.request_id == request.request_id and o.state in states), None)

        return await self.until(found, timeout_s, f"{states} of {request.request_id}")

    async def verdict(self, request_id: str) -> Any:
        async def found() -> Any:
            rows = await self.bus.range(Stream.VERDICTS)
            return next((e.message for e in rows if e.message.request_id == request_id), None)

        return await self.until(found, what=f"a verdict on {request_id}")

    async def killed(self, state: str, timeout_s: float = 60.0) -> SessionState:
        async def found() -> SessionState | None:
            rows = await self.bus.range(Stream.STATE)
            return next((e.message for e in rows if e.message.kill == state), None)

        return await self.until(found, timeout_s, f"kill state {state}")

    def broker_orders(self) -> list[dict[str, Any]]:
        """The exchange's own order book."""
        login = BrokerSession.load(self.session_id)
        assert login is not None
        answer = requests.get(f"{self.paper.url}/orders", headers={"Authorization": login.authorization}, timeout=10)
        return answer.json()["data"]


@contextlib.asynccontextmanager
async def gate_session(
    paper: RunningExchange, bus_url: str, folder: Path, limits: Limits | None = None, capital: float = 1_000_000.0
) -> AsyncIterator[GateSession]:
    """A session with Gatekeeper and Producer up, reconciled and with prices; everything is stopped at the end."""
    session = GateSession(paper, bus_url, folder, limits or Limits(stale_price_s=600.0), capital)
    await session.open()
    try:
        session.start(Module.GATEKEEPER, Module.PRODUCER)
        await session.ready()

        async def feeding() -> bool:
            return await session.beat_state(Module.PRODUCER) in ("LIVE", "QUIET")

        await session.until(feeding, what="the Producer")
        await session.advance(2)
        await session.priced()
        yield session
    finally:
        await session.close()
