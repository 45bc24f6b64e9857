"""What the desk says of a session whose bus went away: that it was ended, or that it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import tornado.web

from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.desk import feed as feeds
from tradealgo.desk.feed import Feed, Hub
from tradealgo.desk.server import ControlRoute, _load_jupyter_server_extension
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, Beat, Control, KillState, Module, SessionState, TradingState
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.messages import Kind, Record
from tradealgo.live.session import LiveSession


def running_manifest(session_id: str, bus_url: str) -> Manifest:
    return Manifest(
        session_id=session_id, mode=Mode.PAPER, account="PAPER1", strategy="a:B", parameters={}, instruments=(),
        capital=1.0, sizing=Sizing(units=1), bus_url=bus_url, created=time.time_ns(),
    )  # fmt: skip


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
        manifest = running_manifest("ending", server.url)
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


async def test_a_bus_that_hangs_is_lost_until_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket stays open: without a word of its own the desk would show the last figures as if they were of now."""
    monkeypatch.setattr(feeds, "LOST_S", 1.0)
    monkeypatch.setattr(feeds, "_supervised", lambda _: True)
    folder = SessionDir(tmp_path / "hanging")
    with EmbeddedServer() as server:
        manifest = running_manifest("hanging", server.url)
        folder.write_manifest(manifest)
        bus = Bus(connect(server.url), "hanging")
        await bus.publish(Stream.HEALTH, Beat(module=Module.MONITOR, pid=1, ts=time.time_ns(), state="READY"))
        await bus.close()
        feed = Feed(folder, manifest)
        assert server._process is not None
        try:
            await until(lambda: feed.status == "RUNNING" and feed.view.beats)
            server._process.send_signal(signal.SIGSTOP)
            await until(lambda: feed.shot["status"] == "LOST")
            server._process.send_signal(signal.SIGCONT)
            await until(lambda: feed.shot["status"] == "RUNNING")
        finally:
            server._process.send_signal(signal.SIGCONT)
            feed.close()


async def test_an_entry_that_cannot_be_read_hides_no_other(bus: Bus, bus_url: str, tmp_path: Path) -> None:
    """Of another version's notebook, say, which may write to `control`: the desk and attach() show all the rest."""
    folder = SessionDir(tmp_path / "mixed")
    folder.write_manifest(running_manifest(bus.session_id, bus_url))
    await bus.client.xadd(stream_key(bus.session_id, Stream.CONTROL), {"m9": b"of another version"})
    await bus.publish(Stream.CONTROL, Control(action=Action.HALT, source="cli", ts=time.time_ns()))
    feed = Feed(folder, folder.read_manifest())
    try:
        await until(lambda: feed.view.controls)
        assert feed.status == "RUNNING"
        session = await asyncio.to_thread(LiveSession, folder)
        assert [c.action for c in (await asyncio.to_thread(lambda: session.view)).controls] == [Action.HALT]
    finally:
        feed.close()


async def test_what_is_asked_waits_behind_no_record(bus: Bus, bus_url: str, tmp_path: Path) -> None:
    """A server that has just started reads those of past sessions in the loop's threads, for seconds: a kill has its own."""
    folder = SessionDir(tmp_path / "asked")
    folder.write_manifest(running_manifest(bus.session_id, bus_url))
    application = tornado.web.Application(base_url="/")
    _load_jupyter_server_extension(SimpleNamespace(web_app=application, log=logging.getLogger()))
    route = cast(ControlRoute, SimpleNamespace(settings=application.settings))
    done, loop = threading.Event(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    reading = loop.run_in_executor(None, done.wait)
    try:
        async with asyncio.timeout(60):
            asked = Control(action=Action.HALT, source="desk", ts=time.time_ns())
            assert (await ControlRoute._ask(route, folder, asked))["accepted"]
        assert [e.message for e in await bus.range(Stream.CONTROL)] == [asked]
    finally:
        done.set()
        await reading


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


async def test_a_kill_without_the_bus_is_told_by_the_journal(tmp_path: Path) -> None:
    """The Gatekeeper kills by the flag and writes it down: who pressed must not be left with an old ARMED."""
    folder = SessionDir(tmp_path / "killing")
    with EmbeddedServer() as server:
        manifest = Manifest(
            session_id="killing", mode=Mode.PAPER, account="PAPER1", strategy="a:B", parameters={}, instruments=(),
            capital=1.0, sizing=Sizing(units=1), bus_url=server.url, created=time.time_ns(),
        )  # fmt: skip
        folder.write_manifest(manifest)
        armed = SessionState(trading=TradingState.ACTIVE, kill=KillState.ARMED, ts=1)
        bus = Bus(connect(server.url), "killing")
        await bus.publish(Stream.HEALTH, Beat(module=Module.MONITOR, pid=1, ts=time.time_ns(), state="READY"))
        await bus.publish(Stream.STATE, armed)
        await bus.close()
        feed = Feed(folder, manifest)
        try:
            await until(lambda: feed.view.state == armed)
            server.stop()
            locked = SessionState(trading=TradingState.HALTED, kill=KillState.LOCKED, ts_tripped=2, ts_flat=3, ts=4)
            with contextlib.closing(Journal(folder.journal)) as journal:
                journal.append([Record(Kind.STATE, locked)], 4)
            folder.kill_flag.touch()
            await until(lambda: feed.shot["kill"] == "LOCKED")
            assert feed.status == "LOST"
        finally:
            feed.close()
