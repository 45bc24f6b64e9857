"""The Sentinel against the paper exchange: real HTTP, the official client, a real bus."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus
from tradealgo.config import BrokerSession, Manifest, Market, Mode, SessionDir, token_file
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Beat, Module
from tradealgo.exchange import accounts
from tradealgo.exchange.app import listen, open_exchange
from tradealgo.exchange.faults import Fault
from tradealgo.exchange.service import PaperExchange
from tradealgo.live.manifest import free_port
from tradealgo.process import Process
from tradealgo.sentinel import login
from tradealgo.sentinel.core import LOGINS_AT_MOST, Credentials
from tradealgo.sentinel.shell import keep_logged_in

KEYS = ("NSE:INFY", "NFO:NIFTY26NOVFUT")
PAPER_LOGIN = Credentials(
    api_secret=accounts.API_SECRET, user_id="PAPER1", password=accounts.PASSWORD, totp_secret=accounts.TOTP_SECRET
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of each test's own: the token file is the account's."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path / "home"))


@pytest.fixture
def paper() -> PaperExchange:
    return open_exchange(Market(day="2026-11-20"), KEYS)


@pytest.fixture
async def url(paper: PaperExchange) -> AsyncIterator[str]:
    """Where the paper exchange listens."""
    runner, port = await listen(paper, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def automatic(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """The environment that the supervisor gives a paper session's Sentinel."""
    for name, value in (msgspec.structs.asdict(PAPER_LOGIN) | changes).items():
        monkeypatch.setenv(f"KITE_{name.upper()}", value)


def process_for(bus: Bus, tmp_path: Path, rest_url: str, mode: Mode = Mode.PAPER, **changes: object) -> Process:
    manifest = Manifest(
        session_id=bus.session_id, mode=mode, account="PAPER1", strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=KEYS, capital=1e6, rest_url=rest_url, api_key=accounts.API_KEY,
    )  # fmt: skip
    return Process(Module.SENTINEL, SessionDir(tmp_path), msgspec.structs.replace(manifest, **changes), bus)


@contextlib.asynccontextmanager
async def running(process: Process) -> AsyncIterator[None]:
    task = asyncio.ensure_future(keep_logged_in(process))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def reached(process: Process, state: str, since: bytes = b"0") -> bytes:
    """Wait until the Sentinel's beats say a state; returns the beat's entry id."""
    async with asyncio.timeout(60):
        while True:
            for entry in await process.bus.read({Stream.HEALTH: since}, block_ms=1_000):
                since = entry.id
                if entry.message.module is Module.SENTINEL and entry.message.state == state:
                    return since


async def be_denied(bus: Bus) -> None:
    """Say so again and again, as a module does: whether it is true the Sentinel asks the broker."""
    while True:
        await bus.publish(Stream.HEALTH, Beat(module=Module.PRODUCER, pid=1, ts=time.time_ns(), state="DENIED"))
        await asyncio.sleep(0.1)


async def listening(port: int) -> None:
    """Wait until the redirect can be caught: after the beat, and once people have been told."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def test_it_logs_in_and_puts_the_days_instruments_on_the_bus(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest's instruments, in its order; the token in a file of this user alone, and not on the bus."""
    automatic(monkeypatch)
    process = process_for(bus, tmp_path, url)
    async with running(process):
        await reached(process, "LOGGED_IN")
    data = await bus.client.get(instruments_key(bus.session_id))
    found = msgspec.msgpack.decode(data, type=list[Instrument])
    assert [i.key for i in found] == list(KEYS)
    assert found[1].lot_size == 65
    saved = BrokerSession.load("PAPER1")
    assert saved is not None
    assert token_file("PAPER1").stat().st_mode & 0o077 == 0
    for stream in (Stream.HEALTH, Stream.ALERTS):
        assert saved.access_token not in repr(await bus.range(stream))


async def test_a_good_token_is_used_again(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paper: PaperExchange
) -> None:
    """A restarted Sentinel doesn't log in anew, which would kill the token that the others hold."""
    automatic(monkeypatch)
    process = process_for(bus, tmp_path, url)
    async with running(process):
        since = await reached(process, "LOGGED_IN")
    first = BrokerSession.load("PAPER1")
    process = process_for(bus, tmp_path, url)
    async with running(process):
        await reached(process, "LOGGED_IN", since)
    assert BrokerSession.load("PAPER1") == first
    assert paper.accounts.login is not None
    assert paper.accounts.login.number == 1


async def test_a_token_that_dies_is_replaced_when_a_module_is_denied(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paper: PaperExchange
) -> None:
    """The Producer's DENIED is held against the broker's own word: a false one changes nothing, a true one logs in."""
    automatic(monkeypatch)
    process = process_for(bus, tmp_path, url)
    async with running(process):
        since = await reached(process, "LOGGED_IN")
        first = BrokerSession.load("PAPER1")
        await bus.publish(Stream.HEALTH, Beat(module=Module.PRODUCER, pid=1, ts=time.time_ns(), state="DENIED"))
        await asyncio.sleep(1)
        assert BrokerSession.load("PAPER1") == first
        paper.misbehave(Fault(name="token_death"))
        await bus.publish(Stream.HEALTH, Beat(module=Module.PRODUCER, pid=1, ts=time.time_ns(), state="DENIED"))
        since = await reached(process, "LOGGING_IN", since)
        await reached(process, "LOGGED_IN", since)
    second = BrokerSession.load("PAPER1")
    assert second is not None
    assert first is not None
    assert second.access_token != first.access_token


async def test_it_waits_for_an_exchange_that_is_still_starting(
    bus: Bus, paper: PaperExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused connections are tried again, soon on paper."""
    automatic(monkeypatch)
    port = free_port()
    process = process_for(bus, tmp_path, f"http://127.0.0.1:{port}")
    async with running(process):
        await reached(process, "BACKING_OFF")
        runner, _ = await listen(paper, "127.0.0.1", port)
        await reached(process, "LOGGED_IN")
    await runner.cleanup()


async def test_a_person_logs_in_by_the_redirect(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live without TOTP: an alert with the address, the redirect caught on loopback, a session, the alert resolved."""
    monkeypatch.setenv("KITE_API_SECRET", accounts.API_SECRET)
    port = free_port()
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(port))
    process = process_for(bus, tmp_path, url, Mode.LIVE)
    async with running(process):
        since = await reached(process, "AWAITING_PERSON")
        paper_manifest = msgspec.structs.replace(process.manifest, mode=Mode.PAPER)
        token = await asyncio.to_thread(login.automatic_login, paper_manifest, PAPER_LOGIN)
        await listening(port)
        with pytest.raises(urllib.error.HTTPError):  # a browser asks for its icon: that is no login
            await asyncio.to_thread(get, f"http://127.0.0.1:{port}/favicon.ico")
        assert "close this page" in await asyncio.to_thread(get, f"http://127.0.0.1:{port}/?request_token={token}")
        await reached(process, "LOGGED_IN", since)
    alerts = [e.message for e in await bus.range(Stream.ALERTS)]
    assert [(a.code, a.resolved) for a in alerts] == [("LOGIN_NEEDED", False), ("LOGIN_NEEDED", True)]
    assert "https://kite.zerodha.com/connect/login?v=3&api_key=paper" in alerts[0].text


async def test_a_login_that_another_process_made_ends_the_wait(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person logged in through a launch in a notebook: its saved session is taken."""
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(free_port()))
    process = process_for(bus, tmp_path, url, Mode.LIVE)
    async with running(process):
        since = await reached(process, "AWAITING_PERSON")
        paper_manifest = msgspec.structs.replace(process.manifest, mode=Mode.PAPER)
        token = await asyncio.to_thread(login.automatic_login, paper_manifest, PAPER_LOGIN)
        arguments = (paper_manifest, accounts.API_SECRET, token, time.time_ns())
        (await asyncio.to_thread(login.open_session, *arguments)).save()
        await reached(process, "LOGGED_IN", since)


@pytest.mark.parametrize("by", ["hand", "TOTP"])
async def test_a_login_that_another_process_has_made_is_taken(
    bus: Bus, url: str, paper: PaperExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """It ended this one's token before anybody here noticed: neither a person is asked nor that login ended in its turn."""
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(free_port()))
    monkeypatch.setattr(login, "LOGIN_ROOT", url)
    if by == "TOTP":
        automatic(monkeypatch)
    process = process_for(bus, tmp_path, url, Mode.LIVE)
    paper_manifest = msgspec.structs.replace(process.manifest, mode=Mode.PAPER)

    async def logged_in_elsewhere() -> None:
        token = await asyncio.to_thread(login.automatic_login, paper_manifest, PAPER_LOGIN)
        (await asyncio.to_thread(login.open_session, paper_manifest, accounts.API_SECRET, token, time.time_ns())).save()

    await logged_in_elsewhere()
    async with running(process):
        since = await reached(process, "LOGGED_IN")
        await logged_in_elsewhere()
        denied = asyncio.ensure_future(be_denied(bus))
        await reached(process, "LOGGED_IN", since)
        denied.cancel()
    assert paper.accounts.login is not None
    assert paper.accounts.login.number == 2
    assert await bus.range(Stream.ALERTS) == []


async def test_wrong_credentials_are_tried_once_and_a_person_is_asked(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live: more wrong passwords would lock the account; neither a redirect that fails nor a restart sends them again. The
    alert doesn't repeat the password."""
    automatic(monkeypatch, password="wrong-password")
    port = free_port()
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(port))
    monkeypatch.setattr(login, "LOGIN_ROOT", url)
    sent, send = [], login.automatic_login
    monkeypatch.setattr(login, "automatic_login", lambda *given: sent.append(given) or send(*given))
    process = process_for(bus, tmp_path, url, Mode.LIVE)
    async with running(process):
        since = await reached(process, "AWAITING_PERSON")
        await listening(port)  # the alerts are out
        alerts = [e.message for e in await bus.range(Stream.ALERTS)]
        await asyncio.to_thread(get, f"http://127.0.0.1:{port}/?request_token=unknown")
        since = await reached(process, "BACKING_OFF", since)
        since = await reached(process, "AWAITING_PERSON", since)
    async with running(process_for(bus, tmp_path, url, Mode.LIVE)):
        await reached(process, "AWAITING_PERSON", since)
    assert len(sent) == 1
    assert [a.code for a in alerts] == ["LOGIN_REFUSED", "LOGIN_NEEDED"]
    assert "Invalid username or password" in alerts[0].text
    assert "wrong-password" not in repr(alerts)


async def test_a_login_that_does_not_serve_is_told(
    bus: Bus, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that the person saw has closed: that it was another user's, say, must be heard from here."""
    monkeypatch.setenv("KITE_API_SECRET", accounts.API_SECRET)
    port = free_port()
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(port))
    process = process_for(bus, tmp_path, url, Mode.LIVE, account="AB1234")
    async with running(process):
        since = await reached(process, "AWAITING_PERSON")
        paper_manifest = msgspec.structs.replace(process.manifest, mode=Mode.PAPER, account="PAPER1")
        token = await asyncio.to_thread(login.automatic_login, paper_manifest, PAPER_LOGIN)
        await listening(port)
        await asyncio.to_thread(get, f"http://127.0.0.1:{port}/?request_token={token}")
        await reached(process, "AWAITING_PERSON", since)
        await listening(port)  # the alert is out
    alerts = [e.message for e in await bus.range(Stream.ALERTS)]
    assert [a.code for a in alerts] == ["LOGIN_NEEDED", "LOGIN_NEEDED"]
    assert "does not serve (logged in as PAPER1" in alerts[1].text
    assert token not in alerts[1].text


@pytest.mark.parametrize(
    ("account", "changes", "told"),
    [("PAPER1", {"totp_secret": "not base32!"}, "KITE_TOTP_SECRET is no TOTP secret"),
     ("AB1234", {}, "KITE_USER_ID is 'PAPER1', but the session is for account AB1234")],
)  # fmt: skip
async def test_what_cannot_log_in_sends_no_password(
    bus: Bus, url: str, paper: PaperExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    account: str, changes: dict[str, str], told: str,
) -> None:  # fmt: skip
    """Neither at every restart nor every minute, where it would end another user's login: people are told, once."""
    automatic(monkeypatch, **changes)
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(free_port()))
    monkeypatch.setattr(login, "LOGIN_ROOT", url)
    process = process_for(bus, tmp_path, url, Mode.LIVE, account=account)
    async with running(process):
        await reached(process, "AWAITING_PERSON")
    alerts = [e.message for e in await bus.range(Stream.ALERTS)]
    assert alerts[0].code == "LOGIN_REFUSED"
    assert told in alerts[0].text
    assert "base32!" not in alerts[0].text
    assert paper.accounts.login is None


async def test_two_that_end_each_others_login_do_not_go_on_for_ever(
    bus: Bus, url: str, paper: PaperExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine logs in with the same app whenever its token is dead, as this one does: a person is asked."""
    automatic(monkeypatch)
    port = free_port()
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(port))
    monkeypatch.setattr(login, "LOGIN_ROOT", url)

    process, since = process_for(bus, tmp_path, url, Mode.LIVE), b"0"
    async with running(process):
        denied = asyncio.ensure_future(be_denied(bus))
        for _ in range(LOGINS_AT_MOST):
            since = await reached(process, "LOGGED_IN", since)
            paper.accounts.kill_token()
        await reached(process, "AWAITING_PERSON", since)
        await listening(port)  # the alert is out
        denied.cancel()
    assert paper.accounts.login is not None
    assert paper.accounts.login.number == LOGINS_AT_MOST
    (alert,) = [e.message for e in await bus.range(Stream.ALERTS)]
    assert "does another machine use the same Kite app? log in at" in alert.text


async def test_another_users_token_is_not_taken(url: str, bus: Bus, tmp_path: Path) -> None:
    """A token file that was copied, or put there, is as good as none: its orders would be somebody else's."""
    manifest = process_for(bus, tmp_path, url).manifest
    token = await asyncio.to_thread(login.automatic_login, manifest, PAPER_LOGIN)
    session = await asyncio.to_thread(login.open_session, manifest, accounts.API_SECRET, token, time.time_ns())
    assert await asyncio.to_thread(login.is_good, manifest, session)
    other = msgspec.structs.replace(manifest, account="AB1234")
    assert not await asyncio.to_thread(login.is_good, other, msgspec.structs.replace(session, account="AB1234"))


async def test_another_users_login_is_refused(url: str, bus: Bus, tmp_path: Path) -> None:
    """A login as somebody else would trade the wrong account."""
    paper_manifest = process_for(bus, tmp_path, url).manifest
    token = await asyncio.to_thread(login.automatic_login, paper_manifest, PAPER_LOGIN)
    other = msgspec.structs.replace(paper_manifest, account="AB1234")
    with pytest.raises(BadConfig, match="logged in as PAPER1, but the session is for account AB1234"):
        await asyncio.to_thread(login.open_session, other, accounts.API_SECRET, token, time.time_ns())


def test_a_redirect_port_that_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The login goes on without it, as where the port is taken."""
    monkeypatch.setenv("KITE_REDIRECT_PORT", "50l0")
    said: list[str] = []
    with login.redirect_server(said.append) as server:
        assert server is None
    assert said == ["KITE_REDIRECT_PORT is '50l0': expected a port, as in 5010"]


def test_a_redirect_port_in_use_is_one_sentence() -> None:
    """It names the port, and the variable that changes it."""
    with login.RedirectServer(0) as server, pytest.raises(BadConfig, match=f"port {server.port}.*KITE_REDIRECT_PORT"):
        login.RedirectServer(server.port)


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read().decode()
