"""The Monitor learns a live market's hours anew each day. A real bus; its clock is set by the test."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tradealgo.bus.keys import instruments_key
from tradealgo.bus.redis_bus import Bus
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Module
from tradealgo.monitor import shell
from tradealgo.process import Process

FUTURE = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="NIFTY26NOVFUT", kind=Kind.FUTURE)


async def test_the_hours_are_each_days_own(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Friday's, none on Saturday, Monday's: a live session that nobody ends is watched on its second day too."""
    now = [at(dt.date(2026, 11, 20), dt.time(9, 5))]
    monkeypatch.setattr(shell, "time", SimpleNamespace(time_ns=lambda: now[0], monotonic=time.monotonic))
    monkeypatch.setattr(shell, "HOURS_EVERY_S", 0.02)
    manifest = Manifest(
        session_id=bus.session_id, mode=Mode.LIVE, account="A1", strategy="x:Y", parameters={}, sizing=Sizing(lots=1),
        instruments=(FUTURE.key,), capital=1e6,
    )  # fmt: skip
    await bus.client.set(instruments_key(bus.session_id), msgspec.msgpack.encode([FUTURE]))
    monitor = shell.Monitor(Process(Module.MONITOR, SessionDir(tmp_path), manifest, bus))
    learning = asyncio.ensure_future(monitor._learn_hours())
    try:
        for day in (dt.date(2026, 11, 20), None, dt.date(2026, 11, 23)):
            now[0] = at(day or dt.date(2026, 11, 21), dt.time(9, 5))
            expected = day and shell.trading_hours([FUTURE], day)
            async with asyncio.timeout(60):
                while monitor.rules.hours != expected:
                    assert not learning.done(), learning.exception()
                    await asyncio.sleep(0.01)
    finally:
        learning.cancel()
