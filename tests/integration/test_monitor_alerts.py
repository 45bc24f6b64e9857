"""What people hear from a Monitor process: a real bus and a real webhook, with the bus, the Monitor or the messenger failing."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from feed_session import eventually

from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.bus.server import EmbeddedServer
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Alert, Beat, KillState, Level, Module, SessionState, TradingState
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.messages import Kind, Record

LONG_S = 60.0


class Webhook:
    """Takes what apprise posts to json://, unless it is to refuse: to `refuse` requests it answers 500."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.refuse = self.refused = self.taken = 0
        outer = self

        class Take(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refuses = outer.refuse > 0
                outer.refuse -= refuses
                outer.refused += refuses
                outer.taken += not refuses
                if not refuses and "has not beaten once" not in said["message"]:  # a slow test has no other modules
                    outer.got.append((said["title"].partition(" ")[0], said["message"]))
                self.send_response(500 if refuses else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}"

    def texts(self, part: str) -> list[str]:
        """What of it was heard that has this in it, without when it was."""
        return [f"{word}: {text.partition(' (since')[0]}" for word, text in self.got if part in text]

    async def hears(self, part: str, times: int = 1) -> None:
        async def heard() -> bool:
            return len(self.texts(part)) >= times

        await eventually(heard, LONG_S)


class Watched:
    """A session that has a bus, a folder and a Monitor."""

    def __init__(self, url: str, home: Path, *hooks: Webhook) -> None:
        self.bus = Bus(connect(url), f"monitor-{uuid.uuid4().hex[:8]}")
        self.folder = SessionDir(home / "session")
        self.folder.write_manifest(
            Manifest(
                session_id=self.bus.session_id, mode=Mode.LIVE, account="A1", strategy="x:Y", parameters={},
                instruments=(), capital=1.0, sizing=Sizing(units=1), bus_url=url,
            )
        )  # fmt: skip
        self.hooks = hooks
        self.monitor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        urls = " ".join(hook.url for hook in self.hooks)
        with open(self.folder.logs / "monitor.log", "ab") as log:
            self.monitor = subprocess.Popen(
                [sys.executable, "-m", "tradealgo.monitor", "--session-dir", str(self.folder.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TRADEALGO_ALERT_URLS": urls},
            )  # fmt: skip

    async def up(self) -> None:
        """It has started, and hears."""
        self.start()

        async def beats() -> bool:
            assert self.monitor is not None
            assert self.monitor.poll() is None, self.log()
            found = [e.message for e in await self.bus.newest(Stream.HEALTH, 20, keep_bad=True)]
            found = [b for b in found if isinstance(b, Beat)]
            return any(b.pid == self.monitor.pid and b.state == "WAITING" for b in found)

        await eventually(beats, LONG_S)

    def kill_9(self) -> None:
        if self.monitor is not None:
            self.monitor.kill()
            self.monitor.wait()
            self.monitor = None

    async def crash(self) -> None:
        """Killed once it has noted what went out: in between it can't know that people have it."""
        file = self.folder.path / "alerts-sent.jsonl"

        async def noted() -> bool:
            lines = file.read_bytes().splitlines() if file.exists() else []
            return len([line for line in lines if line]) == sum(hook.taken for hook in self.hooks)

        await eventually(noted, LONG_S)
        self.kill_9()

    async def say(self, code: str, text: str, *, resolved: bool = False) -> None:
        await self.bus.publish(Stream.ALERTS, alert(code, text, resolved=resolved))

    async def state(self, trading: TradingState) -> None:
        said = SessionState(trading=trading, kill=KillState.ARMED, ts=time.time_ns())
        await self.bus.publish(Stream.STATE, said)

    def log(self) -> str:
        return (self.folder.logs / "monitor.log").read_text()


async def beat(bus: Bus) -> None:
    """As a Consumer does."""
    while True:
        with contextlib.suppress(redis.RedisError):
            await bus.publish(Stream.HEALTH, Beat(module=Module.CONSUMER, pid=1, ts=time.time_ns(), state="READY"))
        await asyncio.sleep(0.5)


def alert(code: str, text: str, *, resolved: bool = False) -> Alert:
    return Alert(
        level=Level.CRITICAL, module=Module.GATEKEEPER, code=code, text=text, ts=time.time_ns(), resolved=resolved
    )


@pytest.fixture
def hook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def session(bus_url: str, tmp_path: Path, hook: Webhook) -> Iterator[Watched]:
    session = Watched(bus_url, tmp_path, hook)
    yield session
    session.kill_9()


async def test_what_was_said_while_it_was_down_is_sent_and_nothing_twice(session: Watched, hook: Webhook) -> None:
    """Before its first start and between two: each alert reaches people once, an old trading state never again."""
    await session.say("LOGIN", "before the first start")
    await session.up()
    await hook.hears("before the first start")
    for trading in (TradingState.ACTIVE, TradingState.REDUCING, TradingState.ACTIVE):
        await session.state(trading)
    await hook.hears("ACTIVE again")
    await session.crash()
    await session.say("KILL", "tripped meanwhile")
    for n in range(2):
        await session.up()
        await session.say(f"LATER{n}", f"after start {n}")
        await hook.hears(f"after start {n}")
        await session.crash()
    assert [text.partition(" (since")[0] for _, text in hook.got] == [
        "before the first start", "trading is REDUCING", "trading is ACTIVE again",
        "tripped meanwhile", "after start 0", "after start 1",
    ]  # fmt: skip


async def test_what_a_messenger_refuses_is_sent_again(bus_url: str, tmp_path: Path, hook: Webhook) -> None:
    """By the same Monitor, and by the next one; the other address hears it once, and what comes later at once."""
    second = Webhook()
    session = Watched(bus_url, tmp_path, second, hook)
    try:
        await session.up()
        second.refuse = 2
        await session.say("KILL", "the kill has tripped")
        await second.hears("the kill has tripped")
        second.refuse = 10**6
        await session.say("POSITIONS", "positions differ")
        await hook.hears("positions differ")
        seen = second.refused

        async def tried() -> bool:
            return second.refused > seen

        await eventually(tried, LONG_S)
        await session.crash()
        second.refuse = 0
        await session.up()
        await second.hears("positions differ")
        await session.say("END", "the last one")
        for each in (hook, second):
            await each.hears("the last one")
            assert len(each.got) == 3, each.got
    finally:
        session.kill_9()
        second.server.shutdown()
        second.server.server_close()


async def test_a_bus_that_refuses_hangs_or_is_gone_is_told(tmp_path: Path, hook: Webhook) -> None:
    """Told once each time, without blaming the modules that can't be heard; what the Gatekeeper has to say meanwhile is
    in its journal. The Monitor lives through all of it."""
    server = EmbeddedServer()
    server.start()
    session = Watched(server.url, tmp_path, hook)
    beating = asyncio.ensure_future(beat(Bus(connect(server.url), session.bus.session_id)))
    try:
        await session.up()
        await session.bus.client.config_set("min-replicas-to-write", 1)  # refused as with a full disk
        await hook.hears("NOREPLICAS")
        await session.bus.client.config_set("min-replicas-to-write", 0)
        await hook.hears("the bus works again")

        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        await hook.hears("the bus does not work", 2)
        os.kill(server._process.pid, signal.SIGCONT)
        await hook.hears("the bus works again", 2)
        alerts = [e.message.code for e in await session.bus.range(Stream.ALERTS)]
        assert alerts.count("BUS_LOST") >= 3  # on the bus too, once it takes them

        server.kill()
        await hook.hears("the bus does not work", 3)
        journal = Journal(session.folder.journal)
        journal.append([Record(Kind.ALERT, alert("KILL", "the kill has tripped"))], time.time_ns())
        journal.close()
        await hook.hears("the kill has tripped")
        assert session.monitor is not None
        assert session.monitor.poll() is None, session.log()
        await session.crash()
        session.start()  # it has told of it already
        journal = Journal(session.folder.journal)
        journal.append([Record(Kind.ALERT, alert("FLAT", "not flat"))], time.time_ns())
        journal.close()
        await hook.hears("not flat")
        heard = [word for word, _ in hook.got]
        assert heard == ["CRITICAL", "RESOLVED", "CRITICAL", "RESOLVED", "CRITICAL", "CRITICAL", "CRITICAL"], hook.got
    finally:
        beating.cancel()
        session.kill_9()
        server.__exit__(None, None, None)


async def test_an_entry_that_cant_be_read_silences_nobody(session: Watched, hook: Webhook) -> None:
    """A notebook's unknown action on `control`: told once, the Monitor goes on, and does so after a restart."""
    await session.up()
    nonsense = {b"m1": msgspec.msgpack.encode({"action": "PAUSE", "source": "notebook"})}
    await session.bus.client.xadd(stream_key(session.bus.session_id, Stream.CONTROL), nonsense)
    await hook.hears("PAUSE")
    await session.bus.client.xadd(stream_key(session.bus.session_id, Stream.HEALTH), {b"x": b"y"})
    await session.say("KILL", "the kill has tripped")
    await hook.hears("the kill has tripped")
    assert session.monitor is not None
    assert session.monitor.poll() is None, session.log()
    await session.crash()
    await session.up()
    await session.say("KILL_AGAIN", "and again")
    await hook.hears("and again")
    assert len(hook.got) == 3, hook.got


def as_a_supervisor(session: Watched, hook: Webhook) -> tuple[subprocess.Popen[str], int]:
    """A process that has started the Monitor, and the Monitor's number."""
    parent = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    monitor = [sys.executable, "-m", "tradealgo.monitor", "--session-dir", str(session.folder.path)]
    supervisor = subprocess.Popen(
        [sys.executable, "-c", parent, *monitor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TRADEALGO_ALERT_URLS": hook.url},
    )  # fmt: skip
    assert supervisor.stdout is not None
    return supervisor, int(supervisor.stdout.readline())


async def test_a_supervisor_that_dies_alone_is_told(session: Watched, hook: Webhook) -> None:
    """Its modules trade on, and nobody starts them again: people hear it, once."""
    supervisor, pid = as_a_supervisor(session, hook)
    try:

        async def beats() -> bool:
            found = [e.message for e in await session.bus.newest(Stream.HEALTH, 20, keep_bad=True)]
            return any(b.pid == pid and b.state == "WAITING" for b in found if isinstance(b, Beat))

        await eventually(beats, LONG_S)
        assert not hook.texts("supervisor")
        supervisor.kill()
        supervisor.wait()
        await hook.hears("the session's supervisor is gone: a module that dies is not started again")
        await session.say("LATER", "and later")
        await hook.hears("and later")
        assert len(hook.texts("supervisor")) == 1
    finally:
        os.kill(pid, signal.SIGKILL)
        supervisor.kill()
        supervisor.communicate()
