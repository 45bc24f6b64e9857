"""What the desk says of a session whose bus went away: that it was ended, or that it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.desk.feed import Feed, Hub
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, Beat, Control, Module


async def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("asked", "status"), [(Action.STOP, "ENDED"), (Action.HALT, "LOST")])
async def test_a_bus_that_went_away_is_lost_unless_a_stop_was_asked(tmp_path: Path, asked: Action, status: str) -> None:
    """A stop reaches the desk by the control stream before the bus, which outlives all others, ends."""
    folder = SessionDir(tmp_path / "ending")
    with EmbeddedServer() as server:
        manifest = Manifest(
            session_id="ending", mode=Mode.PAPER, account="PAPER1", strategy="a:B", parameters={}, instruments=(),
            capital=1.0, sizing=Sizing(units=1), bus_url=server.url, created=time.time_ns(),
        )  # fmt: skip
        folder.write_manifest(manifest)
        bus = Bus(connect(server.url), "ending")
        await bus.publish(Stream.HEALTH, Beat(module=Module.MONITOR, pid=1, ts=time.time_ns(), state="READY"))
        await bus.publish(Stream.CONTROL, Control(action=asked, source="cli", ts=time.time_ns()))
        await bus.close()
        feed = Feed(folder, manifest)
        try:
            await until(lambda: feed.connected and feed.view.beats and feed.view.controls)
            assert feed.status == "RUNNING"
            server.stop()
            await until(lambda: not feed.connected)
            assert (feed.status, feed.row()["status"], feed.shot["status"]) == (status, status, status)
        finally:
            feed.close()


async def test_an_ended_session_is_not_listed_until_its_record_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has just started counts none of yesterday's among those that run: a kill of all would name it."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    folder = SessionDir(tmp_path / "sessions" / "yesterday")
    folder.write_manifest(
        Manifest(
            session_id="yesterday", mode=Mode.PAPER, account="PAPER1", strategy="a:B", parameters={}, instruments=(),
            capital=1.0, sizing=Sizing(units=1), bus_url=f"unix://{tmp_path}/gone.sock", created=1,
        )
    )  # fmt: skip
    hub = Hub()
    hub.look()
    try:
        assert hub.rows() == []
        assert hub.find("yesterday") is not None
        await until(hub.rows)
        assert [r["status"] for r in hub.rows()] == ["PAST"]
    finally:
        hub.close()
