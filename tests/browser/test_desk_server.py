"""The server extension by real HTTP and WebSocket, against a real Jupyter server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets
from jupyter_desk import TOKEN, Jupyter, WrittenSession

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import BlockingBus, Entry, connect_blocking
from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.desk.feed import LISTED
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import KillState, MtmPoint, SessionState, TradingState
from tradealgo.journal.store import Record, database_url


def wait_for(check: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first truthy answer. It takes a second or two, most of which a process needs to start."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def shot(server: Jupyter, session: WrittenSession) -> dict[str, Any]:
    """The session's figures as the status route tells them; {} while it isn't known."""
    status, body = server.http("GET", f"/tradealgo/status?session={session.id}", token=TOKEN)
    return body if status == 200 else {}


def past_session(home: Path, name: str, *, sockets: bool = False) -> SessionDir:
    """A folder whose processes are long gone; the server, which looks once a second, sees it only when all of it is there."""
    folder = SessionDir(home / "sessions" / name)
    if sockets:
        assert folder.sockets
    folder.write_manifest(past_manifest(folder))
    return folder


def past_manifest(folder: SessionDir) -> Manifest:
    return Manifest(
        session_id=folder.path.name, mode=Mode.PAPER, account="PAPER1", strategy="a:B", parameters={}, instruments=(),
        capital=1.0, sizing=Sizing(units=1), bus_url=f"unix://{folder.sockets_path}/bus.sock", created=1,
    )  # fmt: skip


def kill_state(server: Jupyter, session: WrittenSession) -> str | None:
    return shot(server, session).get("kill")


async def hear(server: Jupyter, session: WrittenSession, points: int) -> tuple[list[dict[str, Any]], float]:
    """What a tab that follows the session is told of it: its history, then so many points; and in how many seconds."""
    address = f"{server.url.replace('http', 'ws')}/tradealgo/stream?token={TOKEN}"
    views: list[dict[str, Any]] = []
    async with asyncio.timeout(60), websockets.connect(address) as socket:
        began = time.monotonic()
        await socket.send(json.dumps({"follow": session.id}))
        while sum(len(v.get("mtm", ())) for v in views[1:]) < points:
            message = json.loads(await socket.recv())
            views += [message] if message["type"] == "view" else []
        return views, time.monotonic() - began


def test_status_lists_the_session_and_its_figures(server: Jupyter, written: WrittenSession) -> None:
    """A session shows up with its state, positions at last prices, orders, health and latency."""
    figures = wait_for(lambda: (s := shot(server, written)) and s["orders"] and s["health"] and s["charts"] and s)
    assert (figures["mode"], figures["status"], figures["kill"]) == ("paper", "RUNNING", "ARMED")
    assert figures["positions"]
    assert figures["latency"]["count"] > 0
    assert figures["charts"][0]["instrument"] == "NSE:INFY"
    assert figures["hours"][0] < figures["hours"][1]
    rows = server.http("GET", "/tradealgo/status", token=TOKEN)[1]["sessions"]
    assert written.id in [r["session_id"] for r in rows]


@pytest.mark.parametrize(
    "stranger", ["nobody", "wrong token", "cookie without XSRF", "foreign origin", "foreign and token"]
)
def test_a_stranger_gets_403_and_nothing_happens(server: Jupyter, written: WrittenSession, stranger: str) -> None:
    """No credentials, a wrong token, a cookie without the XSRF token, a foreign origin: refused, and the session trades on."""
    wait_for(lambda: kill_state(server, written) == "ARMED")
    opener, xsrf = server.login()
    ways: dict[str, dict[str, Any]] = {
        "nobody": {},
        "wrong token": {"token": "wrong"},
        "cookie without XSRF": {"opener": opener},
        "foreign origin": {"opener": opener, "X_XSRFToken": xsrf, "Origin": "http://evil.example"},
        "foreign and token": {"token": TOKEN, "Origin": "http://evil.example"},
    }
    status, _ = server.http("POST", "/tradealgo/control/kill", {"session": written.id}, **ways[stranger])
    assert status == 403
    time.sleep(0.3)
    assert kill_state(server, written) == "ARMED"
    assert not written.folder.kill_flag.exists()


@pytest.mark.parametrize("path", ["status", "static/desk.js", "plotly.min.js"])
def test_reading_needs_a_login(server: Jupyter, path: str) -> None:
    """Without credentials nothing can be read either."""
    status, body = server.http("GET", f"/tradealgo/{path}")
    assert status == 403 or "Log in" in body or "login" in body
    assert "export function" not in str(body)


@pytest.mark.parametrize("case", ["no credentials", "foreign origin"])
async def test_the_stream_refuses_strangers(server: Jupyter, case: str) -> None:
    """The WebSocket's handshake fails with 403."""
    address = f"{server.url.replace('http', 'ws')}/tradealgo/stream"
    if case == "foreign origin":
        address += f"?token={TOKEN}"
    origin = {"Origin": "http://evil.example"} if case == "foreign origin" else {}
    with pytest.raises(websockets.InvalidStatus) as error:
        async with websockets.connect(address, additional_headers=origin):
            pass
    assert error.value.response.status_code == 403


LOOKS_ONLY = """
from jupyter_server.auth import Authorizer

class LooksOnly(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == "read"

c.ServerApp.authorizer_class = LooksOnly
"""


def test_who_may_only_look_kills_nothing(tmp_path: Path) -> None:
    """A server that several people share has an authorizer: it is asked here as for files and kernels."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.py").write_text(LOOKS_ONLY)
    folder = past_session(tmp_path / "home", "old-one")
    server = Jupyter(tmp_path, tmp_path / "home").wait()
    try:
        assert server.http("GET", "/tradealgo/status", token=TOKEN)[0] == 200
        for action in ("kill", "halt", "resume", "rearm", "stop"):
            asked = {"session": folder.path.name, "reason": "drill"}
            assert server.http("POST", f"/tradealgo/control/{action}", asked, token=TOKEN)[0] == 403
    finally:
        server.stop()
    assert not folder.kill_flag.exists()


def test_a_browser_kills_and_rearms(server: Jupyter, written: WrittenSession, bus_url: str) -> None:
    """Cookie and XSRF token, as the page sends them: killed, verified flat, and re-armed with a reason only."""
    wait_for(lambda: kill_state(server, written) == "ARMED")
    opener, xsrf = server.login()
    as_page = {"opener": opener, "X_XSRFToken": xsrf, "Origin": server.url}
    asked = {"session": written.id, "source": "panel"}
    status, body = server.http("POST", "/tradealgo/control/kill", asked, **as_page)
    assert (status, body["accepted"]) == (200, True)
    wait_for(lambda: kill_state(server, written) == "LOCKED")
    with contextlib.closing(BlockingBus(connect_blocking(bus_url), written.id)) as bus:
        state = bus.range(Stream.STATE)[-1].message
    assert shot(server, written)["flat_s"] == (state.ts_flat - state.ts_tripped) / 1e9 > 0
    assert server.http("POST", "/tradealgo/control/rearm", asked, **as_page)[0] == 400
    assert server.http("POST", "/tradealgo/control/rearm", asked | {"reason": "drill"}, **as_page)[0] == 200
    wait_for(lambda: kill_state(server, written) == "ARMED")


def test_a_session_beyond_the_list_is_killed_too(server: Jupyter, home: Path) -> None:
    """One that still has its sockets is listed however many are newer; a kill finds even one that isn't listed."""
    for n in range(LISTED):
        past_session(home, f"0001-{n:02d}")
    old = past_session(home, "0000-old")
    running = past_session(home, "0000-running", sockets=True)

    def names() -> list[str]:
        return [r["session_id"] for r in server.http("GET", "/tradealgo/status", token=TOKEN)[1]["sessions"]]

    wait_for(lambda: running.path.name in names())
    assert old.path.name not in names()
    for folder in (old, running):
        asked = {"session": folder.path.name, "reason": "drill", "source": "panel"}
        status, body = server.http("POST", "/tradealgo/control/kill", asked, token=TOKEN)
        assert (status, body["accepted"]) == (200, True), body
        assert folder.kill_flag.exists()
    status, _ = server.http("POST", "/tradealgo/control/kill", {"session": f"../sessions/{old.path.name}"}, token=TOKEN)
    assert status == 404
    running.sockets.rmdir()


async def test_a_tab_hears_that_nothing_is_new(server: Jupyter) -> None:
    """A page takes a server that is silent for 6 s for gone: with past sessions only it would say so again and again."""
    address = f"{server.url.replace('http', 'ws')}/tradealgo/stream?token={TOKEN}"
    async with asyncio.timeout(60), websockets.connect(address) as socket:
        heard = [""]
        while heard[-1] != "alive":
            heard.append(json.loads(await socket.recv())["type"])
    assert heard[1] == "sessions"


def test_an_unknown_session_gets_a_sentence(server: Jupyter) -> None:
    """A kill of a session that isn't there is refused with its name."""
    status, body = server.http("POST", "/tradealgo/control/kill", {"session": "nope"}, token=TOKEN)
    assert status == 404
    assert "nope" in body["message"]


async def test_a_tab_gets_history_then_increments(server: Jupyter, written: WrittenSession) -> None:
    """The first message is whole, with history; later ones hold only what is new, several times a second."""
    await asyncio.to_thread(wait_for, lambda: shot(server, written).get("health"))  # its day so far is written
    views, seconds = await hear(server, written, 25)
    assert views[0]["full"]
    assert len(views[0]["mtm"]) > 200
    assert len(views[0]["candles"]) > 100
    assert not any(v.get("full") for v in views[1:])
    times = [p[0] for v in views for p in v.get("mtm", ())]
    assert times == sorted(times)
    told = [len(v["mtm"]) for v in views[1:] if "mtm" in v]
    assert statistics.median(told) < 5  # of ten points a second
    assert sum(len(json.dumps(v)) for v in views[1:]) / seconds * 60 < 2_000_000


def test_a_past_session_is_shown_from_its_record(server: Jupyter, home: Path) -> None:
    """Its bus gone, a session still shows its last figures, marked as past."""
    folder = SessionDir(home / "sessions" / "recorded-one")
    folder.path.mkdir(parents=True)
    manifest = past_manifest(folder)
    with contextlib.closing(Record(database_url(folder))) as record:
        point = MtmPoint(9 * 10**18, 5, 100, 0, 0, 12_345, 0, -2_000)
        state = SessionState(trading=TradingState.HALTED, kill=KillState.LOCKED, ts_tripped=1, ts_flat=2)
        record.save_session(manifest, [])
        record.save("recorded-one", [Entry(Stream.MTM, b"1-0", point), Entry(Stream.STATE, b"1-0", state)])
    folder.write_manifest(manifest)  # last: a record is read once, as soon as the session is seen to be past

    def figures() -> dict[str, Any]:
        return server.http("GET", "/tradealgo/status?session=recorded-one", token=TOKEN)[1]

    wait_for(lambda: figures().get("status") == "PAST")
    assert figures()["mtm"]["mtm"] == 123.45
    assert figures()["kill"] == "LOCKED"


def test_a_session_whose_bus_is_gone_is_past(server: Jupyter, home: Path) -> None:
    """A folder without a bus or a supervisor is shown as past, not as running or lost."""
    past_session(home, "old-one")

    def status() -> str:
        rows = server.http("GET", "/tradealgo/status", token=TOKEN)[1]["sessions"]
        return next((r["status"] for r in rows if r["session_id"] == "old-one"), "")

    wait_for(lambda: status() == "PAST")
