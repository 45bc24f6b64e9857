"""Protective orders with real processes: they rest at the paper exchange while the Gatekeeper is dead, and it finds them again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gate_session import GateSession, gate_session

from tradealgo.bus.keys import Stream
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import RunningExchange, running_exchange

INFY = "NSE:INFY"


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[RunningExchange]:
    """A minute after the open; its clock moves when told."""
    with running_exchange([INFY, "NSE:RELIANCE"], state_dir=tmp_path / "exchange") as running:
        running.open_market()
        yield running


def stops(session: GateSession) -> list[dict[str, Any]]:
    """Stop orders in the exchange's own book."""
    return [o for o in session.broker_orders() if o["order_type"] in ("SL", "SL-M")]


async def held(session: GateSession) -> int:
    """Units that the exchange's ledger holds."""
    ledger = await asyncio.to_thread(session.paper.ledger)
    return sum(p["quantity"] for p in ledger["positions"])


async def enter(session: GateSession) -> None:
    """Ten INFY, with a stop that waits at the exchange."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    for _ in range(3):
        await session.advance(1)
        await asyncio.sleep(0.1)
    await session.order(request, OrderState.FILLED)

    async def waits() -> bool:
        return [o["status"] for o in stops(session)] == ["TRIGGER PENDING"]

    await session.until(waits, what="the resting stop")


async def test_a_restart_keeps_the_one_stop_and_an_exit_takes_it_away(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """kill -9 while it rests: the same order afterwards; the strategy's exit cancels it first and ends flat."""
    limits = Limits(stale_price_s=600.0, protect_fraction=0.05)
    async with gate_session(paper, bus_url, tmp_path, limits) as session:
        await enter(session)
        before = [o["order_id"] for o in stops(session)]
        session.kill_9()
        session.start(Module.GATEKEEPER)
        await session.ready()
        await session.priced()  # what is asked before a tick was read is denied
        await asyncio.sleep(1.0)
        assert [(o["order_id"], o["status"]) for o in stops(session)] == [(before[0], "TRIGGER PENDING")]
        leave = await session.ask(INFY, Side.SELL, 10, 0, Intent.EXIT)
        for _ in range(10):
            await session.advance(1)
            await asyncio.sleep(0.1)
        await session.order(leave, OrderState.FILLED)
        assert [o["status"] for o in stops(session)] == ["CANCELLED"]
        assert await held(session) == 0


async def test_the_stop_closes_the_position_while_nothing_runs(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """The Gatekeeper is dead, the market comes down to the stop: flat, and the restarted one says so and sells no more."""
    limits = Limits(stale_price_s=600.0, protect_fraction=0.001)
    async with gate_session(paper, bus_url, tmp_path, limits) as session:
        await enter(session)
        session.kill_9()
        for _ in range(200):
            await session.advance(30)
            if not await held(session):
                break
        assert await held(session) == 0
        session.start(Module.GATEKEEPER)
        await session.ready()

        async def told() -> bool:
            return any(e.message.code.startswith("PROTECTED:") for e in await session.bus.range(Stream.ALERTS))

        await session.until(told, what="the alert")
        await session.priced()
        leave = await session.ask(INFY, Side.SELL, 10, 0, Intent.EXIT)
        assert (await session.verdict(leave.request_id)).code == "NOTHING_TO_DO"
        assert await held(session) == 0
