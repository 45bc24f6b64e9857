"""The Gatekeeper's process against the paper exchange: a request becomes a filled order, a kill makes flat, nothing is doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gate_session import GateSession, gate_session

from tradealgo.bus.keys import GATEKEEPER_GROUP, Stream, stream_key
from tradealgo.bus.server import EmbeddedServer
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.state import Action, Module
from tradealgo.exchange.testing import RunningExchange, running_exchange
from tradealgo.gatekeeper.emergency import progress

INFY = "NSE:INFY"


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[RunningExchange]:
    """A minute after the open on the paper exchange; its clock moves when told."""
    with running_exchange([INFY, "NSE:RELIANCE"], state_dir=tmp_path / "exchange") as running:
        running.open_market()
        yield running


@pytest.fixture
async def session(paper: RunningExchange, bus_url: str, tmp_path: Path) -> AsyncIterator[GateSession]:
    async with gate_session(paper, bus_url, tmp_path) as running:
        yield running


async def settle(session: GateSession) -> None:
    """Let the market move a little, so that limits fill."""
    for _ in range(3):
        await session.advance(1)
        await asyncio.sleep(0.1)


async def test_a_request_becomes_a_filled_order(session: GateSession) -> None:
    """Request in, verdict, order, fill and MTM out; the stamps of the chain are in order; the entry is acknowledged."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await settle(session)
    order = await session.order(request, OrderState.FILLED)
    assert (await session.verdict(request.request_id)).code == "SUBMIT"
    assert request.ts_requested <= order.ts_checked <= order.ts_sent <= order.ts_acknowledged

    async def filled() -> bool:
        return sum(e.message.quantity for e in await session.bus.range(Stream.FILLS)) == 10

    await session.until(filled, what="the fill")
    pending = await session.bus.client.xpending(stream_key(session.session_id, Stream.REQUESTS), GATEKEEPER_GROUP)
    assert pending["pending"] == 0
    assert [o["tag"] for o in session.broker_orders()] == [order.tag]


async def test_kill_flattens_to_what_the_broker_calls_flat(session: GateSession) -> None:
    """Two positions, one press: VERIFIED_FLAT, LOCKED, and the exchange's ledger holds nothing."""
    first = await session.ask(INFY, Side.BUY, 10, 10)
    second = await session.ask("NSE:RELIANCE", Side.SELL, 5, -5)
    await settle(session)
    await session.order(first, OrderState.FILLED)
    await session.order(second, OrderState.FILLED)
    await session.control(Action.KILL)
    moving = asyncio.create_task(keep_moving(session))
    await session.killed("VERIFIED_FLAT")
    await session.killed("LOCKED")
    moving.cancel()
    assert all(p["quantity"] == 0 for p in session.paper.ledger()["positions"])
    denied = await session.ask(INFY, Side.BUY, 10, 10)
    assert (await session.verdict(denied.request_id)).code == "KILLED"


async def keep_moving(session: GateSession) -> None:
    while True:
        await session.advance(1)
        await asyncio.sleep(0.1)


async def test_an_accepted_order_whose_answer_never_comes_is_one_order(session: GateSession) -> None:
    """The call times out, the order is found by its tag, and nothing is sent twice."""
    await asyncio.to_thread(session.paper.fault, "timeout_after_accept", seconds=10)
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await session.order(request, OrderState.UNKNOWN, OrderState.FILLED, OrderState.OPEN)
    await settle(session)
    await session.order(request, OrderState.FILLED)
    await asyncio.sleep(3.5)
    assert len(session.broker_orders()) == 1


async def test_killed_between_call_and_answer_restarts_without_a_second_order(session: GateSession) -> None:
    """kill -9 while the call is under way; the restarted process finds the order by its tag."""
    await asyncio.to_thread(session.paper.fault, "slow", seconds=2, path="/orders", method="POST")
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await session.order(request, OrderState.SUBMITTING)
    session.kill_9()
    session.start(Module.GATEKEEPER)
    await session.ready()
    await settle(session)
    order = await session.order(request, OrderState.FILLED, OrderState.EXPIRED, timeout_s=40)
    orders = session.broker_orders()
    assert [o["tag"] for o in orders] == ([order.tag] if order.state is OrderState.FILLED else [])


async def test_a_kill_goes_on_after_kill_9(session: GateSession) -> None:
    """The latch is in the journal: whoever starts next finishes the flattening."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await settle(session)
    await session.order(request, OrderState.FILLED)
    await session.control(Action.KILL)
    await session.killed("TRIPPED")
    session.kill_9()
    session.start(Module.GATEKEEPER)
    moving = asyncio.create_task(keep_moving(session))
    await session.killed("LOCKED")
    moving.cancel()
    ledger = await asyncio.to_thread(session.paper.ledger)
    assert all(p["quantity"] == 0 for p in ledger["positions"])


async def test_a_flag_file_kills_without_the_bus(session: GateSession) -> None:
    """Only the file, no message: tripped within the poll."""
    whole = session.folder.path / "kill.tmp"  # as `control` writes it: there at once, never half
    whole.write_text('{"source": "panel", "reason": "the bus is gone"}')
    whole.rename(session.folder.kill_flag)
    state = await session.killed("LOCKED")
    assert "the bus is gone" in state.reason


async def test_a_second_gatekeeper_of_the_account_does_not_start(session: GateSession) -> None:
    """One sentence, exit code 3."""
    first = session.processes[Module.GATEKEEPER]
    session.start(Module.GATEKEEPER)
    second = session.processes.pop(Module.GATEKEEPER)
    assert await asyncio.to_thread(second.wait, 60) == 3
    assert "is traded by session" in session.log_of(Module.GATEKEEPER)
    session.processes[Module.GATEKEEPER] = first


async def test_exits_pass_while_halted_and_entries_do_not(session: GateSession) -> None:
    """HALT keeps positions, and lets the strategy out of them."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await settle(session)
    await session.order(request, OrderState.FILLED)
    await session.control(Action.HALT)

    async def halted() -> bool:
        return any(e.message.trading == "HALTED" for e in await session.bus.range(Stream.STATE))

    await session.until(halted, what="HALTED")  # requests come by another stream, which may be read first
    entry = await session.ask("NSE:RELIANCE", Side.BUY, 5, 5)
    assert (await session.verdict(entry.request_id)).code == "HALTED"
    leave = await session.ask(INFY, Side.SELL, 10, 0, Intent.EXIT)
    await settle(session)
    assert (await session.order(leave, OrderState.FILLED)).filled_quantity == 10


@pytest.mark.parametrize("fault", ["http_429", "drop_after_accept", "timeout_400", "reject"])
async def test_order_faults_never_double(paper: RunningExchange, bus_url: str, tmp_path: Path, fault: str) -> None:
    """Each way in which a placement goes wrong ends with at most one order under the tag."""
    async with gate_session(paper, bus_url, tmp_path, Limits(stale_price_s=600.0, absence_s=2.0)) as session:
        await asyncio.to_thread(paper.fault, fault, path="/orders", method="POST")
        request = await session.ask(INFY, Side.BUY, 10, 10)
        await session.verdict(request.request_id)
        await settle(session)
        done = (OrderState.FILLED, OrderState.REJECTED, OrderState.DENIED, OrderState.EXPIRED)
        order = await session.order(request, *done)
        rows = [o for o in session.broker_orders() if o["tag"] == order.tag]
        assert len(rows) <= 1
        assert (order.state is OrderState.FILLED) == any(o["status"] == "COMPLETE" for o in rows)


async def test_a_hung_gatekeeper_is_fenced_and_its_kill_finished(session: GateSession) -> None:
    """SIGSTOP, then a kill: the emergency process ends it, takes the lease over and makes flat."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await settle(session)
    await session.order(request, OrderState.FILLED)
    hung = session.processes[Module.GATEKEEPER]
    os.kill(hung.pid, signal.SIGSTOP)
    command = [sys.executable, "-m", "tradealgo.gatekeeper.emergency", "--session-dir", str(session.folder.path)]
    moving = asyncio.create_task(keep_moving(session))
    emergency = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(emergency.communicate(), 40)
    assert emergency.returncode == 0, said.decode()
    assert "LOCKED" in said.decode()
    assert hung.wait(5) == -signal.SIGKILL
    await session.killed("LOCKED")
    session.start(Module.GATEKEEPER)
    await session.ready()
    moving.cancel()
    ledger = await asyncio.to_thread(session.paper.ledger)
    assert all(p["quantity"] == 0 for p in ledger["positions"])
    denied = await session.ask(INFY, Side.BUY, 10, 10)
    assert (await session.verdict(denied.request_id)).code == "KILLED"


async def test_without_the_bus_it_guards_what_is_open(paper: RunningExchange, tmp_path: Path) -> None:
    """The bus dies: a kill by flag file makes flat all the same, also after a restart without any bus."""
    with EmbeddedServer() as server:
        async with gate_session(paper, server.url, tmp_path) as session:
            request = await session.ask(INFY, Side.BUY, 10, 10)
            await settle(session)
            await session.order(request, OrderState.FILLED)
            server.stop()
            await asyncio.sleep(0.5)
            session.kill_9()
            session.start(Module.GATEKEEPER)
            session.folder.kill_flag.write_text("{}")
            moving = asyncio.create_task(keep_moving(session))

            async def locked() -> bool:
                return progress(session.folder)[1] == "LOCKED"

            await session.until(locked, what="LOCKED in the journal")
            moving.cancel()
            assert not any(p["quantity"] for p in (await asyncio.to_thread(paper.ledger))["positions"])


async def test_a_rejected_exit_is_told_and_comes_off_later(session: GateSession) -> None:
    """The exchange takes the exit and rejects it: a critical alert with its words, then a second order makes it flat."""
    request = await session.ask(INFY, Side.BUY, 10, 10)
    await settle(session)
    await session.order(request, OrderState.FILLED)
    await asyncio.to_thread(session.paper.fault, "reject")
    leave = await session.ask(INFY, Side.SELL, 10, 0, Intent.EXIT)
    rejected = await session.order(leave, OrderState.REJECTED)

    async def told() -> str:
        rows = [e.message for e in await session.bus.range(Stream.ALERTS)]
        return next((a.text for a in rows if a.level == "CRITICAL" and a.code.startswith("EXIT:")), "")

    text = await session.until(told, what="the alert")
    assert "10 NSE:INFY" in text
    assert rejected.text in text
    moving = asyncio.create_task(keep_moving(session))

    async def flat() -> bool:
        ledger = await asyncio.to_thread(session.paper.ledger)
        return not any(p["quantity"] for p in ledger["positions"])

    await session.until(flat, what="no position")
    moving.cancel()
    sold = [o for o in session.broker_orders() if o["transaction_type"] == "SELL"]
    assert [(o["status"], o["quantity"]) for o in sold] == [("REJECTED", 10), ("COMPLETE", 10)]
    assert sold[0]["tag"] != sold[1]["tag"]
