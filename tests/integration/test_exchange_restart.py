"""The exchange as a session's process: heartbeats, kill -9 and restart, a port that is taken."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus
from tradealgo.config import Manifest, Market, Mode, SessionDir
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import login_at, running_exchange
from tradealgo.live.manifest import free_port


def wait_for(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The exchange's clock, once it answers; it may be slow to."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the exchange ended with {process.returncode}"
        try:
            return requests.get(f"{url}/_paper/clock", timeout=10).json()["data"]
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.05)
    raise AssertionError("the exchange did not answer within 60 s")


@pytest.fixture
def folder(tmp_path: Path, bus: Bus, bus_url: str) -> SessionDir:
    """A paper session's folder, its exchange on a free port at 60 times real time."""
    session = SessionDir(tmp_path / uuid.uuid4().hex[:8])
    session.write_manifest(
        Manifest(
            session_id=bus.session_id, mode=Mode.PAPER, account="PAPER7", strategy="x:Y", parameters={},
            instruments=("NSE:INFY", "NSE:RELIANCE"), capital=500_000.0, sizing=Sizing(units=1),
            market=Market(day="2026-11-20", speed=60.0), rest_url=f"http://127.0.0.1:{free_port()}", bus_url=bus_url,
        )
    )  # fmt: skip
    return session


class Started:
    """A subprocess that a test may kill."""

    def __init__(self, folder: SessionDir) -> None:
        command = [sys.executable, "-m", "tradealgo.exchange", "--session-dir", str(folder.path)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def started(folder: SessionDir) -> Iterator[Started]:
    run = Started(folder)
    yield run
    run.kill()


def kill_and_restart(folder: SessionDir, started: Started) -> None:
    """Trade, kill -9, start again, and look for what is missing."""
    url = folder.read_manifest().rest_url
    wait_for(url, started.process)
    token = login_at(url, "PAPER7")
    kite = KiteConnect("paper", access_token=token, root=url)
    requests.post(f"{url}/_paper/start", timeout=10).raise_for_status()
    while (
        requests.get(f"{url}/_paper/clock", timeout=10).json()["data"]["position"] % (86_400 * 10**9) < 13_560 * 10**9
    ):
        time.sleep(0.05)  # until 09:16, so that there are quotes
    order = {"variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS", "quantity": 5}
    kite.place_order(**order, transaction_type="BUY", order_type="MARKET", market_protection=-1, tag="Before1")
    low = round(kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] * 0.9)
    resting = kite.place_order(**order, transaction_type="BUY", order_type="LIMIT", price=low, tag="Before2")
    orders, trades = kite.orders(), kite.trades()
    stood = requests.get(f"{url}/_paper/clock", timeout=10).json()["data"]["position"]
    started.kill()

    again = Started(folder)
    try:
        clock = wait_for(url, again.process)
        assert clock["running"]
        assert clock["position"] >= stood - 2 * 10**9  # at most a step or two of 10 ms at speed 60 are played again
        assert [o["order_id"] for o in kite.orders()] == [o["order_id"] for o in orders]
        assert kite.trades() == trades
        assert kite.positions()["net"][0]["quantity"] == sum(t["quantity"] for t in trades)
        assert requests.get(f"{url}/_paper/ledger", timeout=10).json()["data"]["capital"] == 50_000_000
        kite.cancel_order("regular", resting)
        third = kite.place_order(**order, transaction_type="SELL", order_type="MARKET", market_protection=-1)
        assert int(third) > int(resting)
        assert len({t["trade_id"] for t in kite.trades()}) == len(kite.trades()) > len(trades)
    finally:
        again.kill()


async def test_kill_and_restart_forget_nothing(folder: SessionDir, started: Started, bus: Bus) -> None:
    """Orders, trades, positions, the ledger, the login and the clock are as they were acknowledged; it beats."""
    await asyncio.to_thread(kill_and_restart, folder, started)
    beats = [e.message for e in await bus.range(Stream.HEALTH)]
    assert {b.module for b in beats} == {Module.EXCHANGE}
    assert {"WAITING", "OPEN"} <= {b.state for b in beats}
    assert beats[-1].ts_event > 0


def test_taken_port_is_one_sentence(folder: SessionDir) -> None:
    """Two exchanges on one port: the second says so, with the mend, and no traceback."""
    port = int(folder.read_manifest().rest_url.rsplit(":", 1)[1])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        command = [sys.executable, "-m", "tradealgo.exchange", "--session-dir", str(folder.path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert f"can't listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_everything_else_survives_too(tmp_path: Path) -> None:
    """Resting orders, stops, AMO, GTT and converted positions are there again, and go on working."""
    with running_exchange(state_dir=tmp_path) as paper:
        before = paper.kite()
        order = {"variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS", "quantity": 6}
        amo = before.place_order(
            **(order | {"variety": "amo"}), transaction_type="BUY", order_type="MARKET", market_protection=-1
        )
        last = before.ltp("NSE:INFY")["NSE:INFY"]["last_price"]
        leg = {"transaction_type": "SELL", "quantity": 1, "order_type": "LIMIT", "product": "MIS", "price": 1500}
        trigger = before.place_gtt("single", "INFY", "NSE", [round(last * 1.2)], last, [leg])["trigger_id"]
    with running_exchange(state_dir=tmp_path) as paper:
        kite = KiteConnect("paper", access_token=before.access_token, root=paper.url)
        assert kite.order_history(amo)[-1]["status"] == "AMO REQ RECEIVED"
        assert kite.get_gtt(trigger)["status"] == "active"
        paper.open_market()
        assert kite.order_history(amo)[-1]["status"] == "COMPLETE"
        kite.convert_position("NSE", "INFY", "BUY", "day", 2, "MIS", "CNC")
        low = round(kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] * 0.98)
        resting = kite.place_order(**order, transaction_type="BUY", order_type="LIMIT", price=low)
        stop = kite.place_order(**order, transaction_type="SELL", order_type="SL", price=low - 5, trigger_price=low)
        ledger, position = paper.ledger(), paper.exchange.position
    with running_exchange(state_dir=tmp_path) as paper:
        kite = KiteConnect("paper", access_token=before.access_token, root=paper.url)
        assert paper.exchange.position == position
        assert paper.ledger() == ledger
        assert {p["product"]: p["quantity"] for p in kite.positions()["net"]} == {"MIS": 4, "CNC": 2}
        assert kite.order_history(resting)[-1]["status"] == "OPEN"
        assert kite.order_history(stop)[-1]["status"] == "TRIGGER PENDING"
        kite.modify_order("regular", resting, price=low - 3)
        kite.cancel_order("regular", stop)
        assert kite.order_history(stop)[-1]["status"] == "CANCELLED"
