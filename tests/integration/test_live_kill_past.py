"""A live session that ended with a position: a new launch is refused, and `tradealgo kill` makes it flat all the same."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import pytest
from gate_session import gate_session

from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import Mode, home
from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.orders import OrderState, Side
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import running_exchange
from tradealgo.live.leftovers import check_leftovers

INFY = "NSE:INFY"


async def test_kill_of_an_ended_live_session_makes_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bus, nor a REDIS_URL to find it by, no Gatekeeper, no ticks: the emergency process takes the journal and the broker's word."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    with running_exchange([INFY], state_dir=tmp_path / "exchange") as paper, EmbeddedServer() as server:
        paper.open_market()
        async with gate_session(paper, server.url, home() / "sessions") as session:
            request = await session.ask(INFY, Side.BUY, 10, 10)

            async def filled() -> bool:
                await session.advance(1)
                return [o.state for o in (await session.orders()).values()] == [OrderState.FILLED]

            await session.until(filled, what="the fill")
            session.kill_9(Module.PRODUCER)
            session.kill_9()
            server.stop()
            live = msgspec.structs.replace(session.manifest, mode=Mode.LIVE, bus_url="")
            session.folder.manifest.write_bytes(msgspec.json.encode(live))
            with pytest.raises(LeaseHeld, match=rf"left \+10 {INFY} .*tradealgo kill {session.session_id}"):
                check_leftovers(live.account, request.ts_requested)  # of that day, should midnight be near

            words = ("-m", "tradealgo.cli", "kill", session.session_id, "--timeout", "60")
            kill = await asyncio.create_subprocess_exec(
                sys.executable, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            output = asyncio.create_task(kill.communicate())
            while not output.done():
                await session.advance(0.2)
                await asyncio.sleep(0.1)
            said = output.result()[0].decode()
            assert kill.returncode == 0, said
            assert "kill asked (flag)" in said
            assert "VERIFIED_FLAT in" in said
            ledger = await asyncio.to_thread(paper.ledger)
            assert all(p["quantity"] == 0 for p in ledger["positions"])
            check_leftovers(live.account, time.time_ns())
