"""A Monitor process takes a kill from one Telegram chat, after a second yes; the Bot API is a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from feed_session import eventually

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, Alert, KillState, Module, SessionState, TradingState
from tradealgo.monitor import telegram
from tradealgo.monitor.telegram import CONFIRM_S, Conversation, settings
from tradealgo.process import Process

TOKEN, CHAT = "123:very-secret", 42


class BotServer:
    """The two methods of the Bot API that are used."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.url = ""
        self.polls = 0
        self.refuses = ""
        self.behind_s = 0

    def write(self, text: str, chat: int = CHAT, date: int = 0) -> None:
        message = {"chat": {"id": chat}, "text": text, "date": date or int(time.time()) + 1}
        self.updates.append({"update_id": len(self.updates) + 1, "message": message})

    async def get_updates(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.polls += 1
        if self.refuses:
            return web.json_response({"ok": False, "error_code": 409, "description": self.refuses}, status=409)
        for _ in range(40):
            new = [u for u in self.updates if u["update_id"] >= asked["offset"]]
            if new:
                date = formatdate(time.time() - self.behind_s, usegmt=True)
                return web.json_response({"ok": True, "result": new}, headers={"Date": date})
            await asyncio.sleep(0.05)
        return web.json_response({"ok": True, "result": []})

    async def send_message(self, request: web.Request) -> web.Response:
        self.said.append(await request.json())
        return web.json_response({"ok": True, "result": {}})


def start_monitor(folder: SessionDir, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(folder.logs / "monitor.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tradealgo.monitor", "--session-dir", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
        )  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[BotServer]:
    bot, app = BotServer(), web.Application()
    app.router.add_post(f"/bot{TOKEN}/getUpdates", bot.get_updates)
    app.router.add_post(f"/bot{TOKEN}/sendMessage", bot.send_message)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    bot.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield bot
    await runner.cleanup()


async def test_a_kill_by_chat_writes_flag_and_stream(server: BotServer, bus: Bus, bus_url: str, tmp_path: Path) -> None:
    """Strangers and old messages are ignored; a wrong code does nothing; the right one kills; no log has the token."""
    folder = SessionDir(tmp_path / "session")
    folder.write_manifest(
        Manifest(
            session_id=bus.session_id, mode=Mode.PAPER, account="A1", strategy="x:Y", parameters={}, instruments=(),
            capital=1.0, sizing=Sizing(units=1), bus_url=bus_url,
        )
    )  # fmt: skip
    state = SessionState(trading=TradingState.ACTIVE, kill=KillState.ARMED)
    await bus.publish(Stream.STATE, state)
    given = {"TOKEN": TOKEN, "CHAT": str(CHAT), "URL": server.url}
    environment = os.environ | {f"TRADEALGO_TELEGRAM_{k}": v for k, v in given.items()}
    server.write("/kill of yesterday", date=1)
    process = start_monitor(folder, environment)
    try:

        async def polled() -> bool:
            return server.polls > 1  # it has had the old one

        await eventually(polled)
        server.write("/kill me", chat=7)
        server.write("/status")

        async def answers(number: int) -> None:
            async def there() -> bool:
                return len(server.said) >= number

            await eventually(there)

        await answers(1)
        assert "kill ARMED" in server.said[0]["text"]
        server.write("/kill too hot")
        await answers(2)
        server.write("/yes 12345")
        await answers(3)
        assert not folder.kill_flag.exists()
        server.write("/kill too hot")
        await answers(4)
        code = re.findall(r"/yes (\d+)", server.said[3]["text"])[0]
        server.write(f"/yes {code}")
        await answers(5)
        assert "too hot" in folder.kill_flag.read_text()
        controls = [e.message for e in await bus.range(Stream.CONTROL)]
        assert [(c.action, c.source, c.reason) for c in controls] == [(Action.KILL, "telegram", "too hot")]
        assert {s["chat_id"] for s in server.said} == {CHAT}
        assert len(server.said) == 5
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder.logs / "monitor.log").read_text()
    assert "very-secret" not in (folder.logs / "monitor.log").read_text()


@contextlib.asynccontextmanager
async def hearing(
    server: BotServer, bus: Bus, bus_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """The chat heard in this process."""
    for name, value in {"TOKEN": TOKEN, "CHAT": str(CHAT), "URL": server.url}.items():
        monkeypatch.setenv(f"TRADEALGO_TELEGRAM_{name}", value)
    manifest = Manifest(
        session_id=bus.session_id, mode=Mode.PAPER, account="A1", strategy="x:Y", parameters={}, instruments=(),
        capital=1.0, sizing=Sizing(units=1), bus_url=bus_url,
    )  # fmt: skip
    task = asyncio.ensure_future(telegram.take_orders(Process(Module.MONITOR, SessionDir(folder), manifest, bus)))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_bus_that_hangs_keeps_no_kill_waiting(
    server: BotServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sees that something is wrong asks how things stand first, and then kills."""
    monkeypatch.setattr(telegram, "PATIENCE_S", 0.5)
    with EmbeddedServer() as hanging:
        bus = Bus(connect(hanging.url), "s")
        await bus.publish(Stream.STATE, SessionState(trading=TradingState.ACTIVE, kill=KillState.ARMED))
        assert hanging._process is not None
        hanging._process.send_signal(signal.SIGSTOP)
        try:
            async with hearing(server, bus, hanging.url, tmp_path, monkeypatch):
                server.write("/status")
                server.write("/kill now")

                async def answered() -> bool:
                    return len(server.said) >= 2

                await eventually(answered)
        finally:
            hanging._process.send_signal(signal.SIGCONT)
        await bus.close()
    assert "the bus gives no answer" in server.said[0]["text"]
    assert "KILL session s? Send /yes" in server.said[1]["text"]


async def test_a_clock_that_is_fast_ignores_no_message(
    server: BotServer, bus: Bus, bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telegram dates the messages: one that came after the start isn't taken for an old one, nor an old one for a new."""
    server.behind_s = 300
    server.write("/status", date=int(time.time()) - 300 - 60)
    async with hearing(server, bus, bus_url, tmp_path, monkeypatch):

        async def polled() -> bool:
            return server.polls > 1  # it has had the old one

        await eventually(polled)
        server.write("/hello", date=int(time.time()) - 300)

        async def answered() -> bool:
            return len(server.said) >= 1

        await eventually(answered)
    assert [s["text"] for s in server.said] == [telegram.HELP]


async def test_a_chat_that_cannot_be_heard_is_told(
    server: BotServer, bus: Bus, bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions with one bot, say: who counts on a kill from there hears why there is none, once, and when it is over."""
    monkeypatch.setattr(telegram, "TELL_AFTER_S", 0.2)
    monkeypatch.setattr(telegram, "RETRY_S", 0.05)
    server.refuses = "Conflict: terminated by other getUpdates request"

    async def told(number: int) -> list[Alert]:
        async def there() -> bool:
            return len(await bus.range(Stream.ALERTS)) >= number

        await eventually(there)
        return [e.message for e in await bus.range(Stream.ALERTS)]

    async with hearing(server, bus, bus_url, tmp_path, monkeypatch):
        (alert,) = await told(1)
        assert (alert.code, alert.resolved) == ("TELEGRAM", False)
        assert server.refuses in alert.text
        assert "very-secret" not in alert.text
        polls = server.polls

        async def tried_again() -> bool:
            return server.polls > polls + 3

        await eventually(tried_again)
        assert len(await told(1)) == 1
        server.refuses = ""
        assert [a.resolved for a in await told(2)] == [False, True]


async def test_a_monitor_that_starts_without_the_bus_takes_a_kill(server: BotServer, tmp_path: Path) -> None:
    """A kill needs no bus, and whoever hears that it is lost may want one."""
    folder = SessionDir(tmp_path / "session")
    folder.write_manifest(
        Manifest(
            session_id="s", mode=Mode.LIVE, account="A1", strategy="x:Y", parameters={}, instruments=(), capital=1.0,
            sizing=Sizing(units=1), bus_url=f"unix://{tmp_path}/gone.sock",
        )
    )  # fmt: skip
    given = {"TOKEN": TOKEN, "CHAT": str(CHAT), "URL": server.url}
    process = start_monitor(folder, os.environ | {f"TRADEALGO_TELEGRAM_{k}": v for k, v in given.items()})
    try:

        async def polled() -> bool:
            assert process.poll() is None, (folder.logs / "monitor.log").read_text()
            return server.polls > 0

        await eventually(polled)
        server.write("/halt")

        async def answered() -> bool:
            return len(server.said) >= 1

        await eventually(answered)
        assert "HALT session s? Send /yes" in server.said[0]["text"]
    finally:
        process.terminate()
        process.wait(20)


def test_a_code_holds_once_and_not_for_long() -> None:
    """Neither a second time nor after a minute; anything else is answered with the help."""
    talk = Conversation("s1", lambda: "1111")
    talk.hear("/halt now", 0.0)
    late = talk.hear("/yes 1111", CONFIRM_S + 1)
    assert late.control is None
    talk.hear("/halt@my_bot now", 100.0)
    done = talk.hear("/yes 1111", 101.0).control
    assert done is not None
    assert (done.action, done.reason, done.source) == (Action.HALT, "now", "telegram")
    assert talk.hear("/yes 1111", 102.0).control is None
    assert "/status" in talk.hear("hello", 103.0).text


def test_it_is_off_unless_both_are_set() -> None:
    """Neither: off. One: a sentence. The token is in no repr."""
    assert settings({}) is None
    with pytest.raises(BadConfig, match="TRADEALGO_TELEGRAM_CHAT"):
        settings({"TRADEALGO_TELEGRAM_TOKEN": TOKEN})
    found = settings({"TRADEALGO_TELEGRAM_TOKEN": TOKEN, "TRADEALGO_TELEGRAM_CHAT": "-42"})
    assert found is not None
    assert found.chat == -42
    assert "secret" not in repr(found)
