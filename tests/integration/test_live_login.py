"""A launch's login by hand, against the paper exchange: real HTTP, the official client, a real redirect."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from tradealgo.config import BrokerSession, Manifest, Market, Mode
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.sizing import Sizing
from tradealgo.exchange import accounts
from tradealgo.exchange.app import listen, open_exchange
from tradealgo.live.login import logged_in
from tradealgo.live.manifest import free_port
from tradealgo.sentinel import login
from tradealgo.sentinel.core import Credentials

PAPER_LOGIN = Credentials(
    api_secret=accounts.API_SECRET, user_id="PAPER1", password=accounts.PASSWORD, totp_secret=accounts.TOTP_SECRET
)
LINK = "https://kite.zerodha.com/connect/login?v=3&api_key=paper"


@pytest.fixture(autouse=True)
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of each test's own, a redirect's port of its own, a secret, and no TOTP."""
    for name in [n for n in os.environ if n.startswith("KITE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KITE_API_SECRET", accounts.API_SECRET)
    monkeypatch.setenv("KITE_REDIRECT_PORT", str(free_port()))
    monkeypatch.delenv("TRADEALGO_ALERT_URLS", raising=False)


@pytest.fixture
async def manifest() -> AsyncIterator[Manifest]:
    """Of a live session whose broker is the paper exchange."""
    runner, port = await listen(open_exchange(Market(day="2026-11-20"), ("NSE:INFY",)), "127.0.0.1", 0)
    yield Manifest(
        session_id="launch", mode=Mode.LIVE, account="PAPER1", strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=("NSE:INFY",), capital=1e6, rest_url=f"http://127.0.0.1:{port}", api_key=accounts.API_KEY,
    )  # fmt: skip
    await runner.cleanup()


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What people hear by TRADEALGO_ALERT_URLS."""
    found: list[str] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TRADEALGO_ALERT_URLS", f"json://127.0.0.1:{server.server_address[1]}/")
        yield found
        server.shutdown()


def request_token(manifest: Manifest) -> str:
    """What Kite puts into the redirect once a person has logged in."""
    return login.automatic_login(msgspec.structs.replace(manifest, mode=Mode.PAPER), PAPER_LOGIN)


async def printed(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """All that was printed, once the words are in it."""
    said = ""
    async with asyncio.timeout(60):
        while words not in said:
            await asyncio.sleep(0.05)
            said += capsys.readouterr().out
    return said


async def test_the_link_is_printed_and_sent_and_the_redirect_logs_in(
    manifest: Manifest, posted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A launch by schedule has nobody at its terminal: people get the address, and nothing secret."""
    port, token = os.environ["KITE_REDIRECT_PORT"], await asyncio.to_thread(request_token, manifest)
    launching = asyncio.ensure_future(asyncio.to_thread(logged_in, manifest, 120.0))
    said = await printed(capsys, f"waiting for the redirect to http://127.0.0.1:{port}/")
    assert f"log in at {LINK}" in said
    (alert,) = posted
    assert f"log in at {LINK} within 2 minutes" in json.loads(alert)["message"]
    await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/?request_token={token}", timeout=30)
    session = await launching
    assert BrokerSession.load("PAPER1") == session
    for secret in (session.access_token, accounts.API_SECRET, token):
        assert secret not in alert
        assert secret not in said


async def test_a_redirect_that_does_not_serve_is_waited_past(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The browser restores yesterday's tab, or any page calls the port: the person's own login still counts."""
    address = f"http://127.0.0.1:{os.environ['KITE_REDIRECT_PORT']}/?request_token="
    token = await asyncio.to_thread(request_token, manifest)
    launching = asyncio.ensure_future(asyncio.to_thread(logged_in, manifest, 120.0))
    await printed(capsys, "waiting for the redirect")
    await asyncio.to_thread(urllib.request.urlopen, f"{address}yesterdays", timeout=30)
    assert "does not serve: the broker refused the token" in await printed(capsys, "still waiting")
    await asyncio.to_thread(urllib.request.urlopen, address + token, timeout=30)
    assert (await launching) == BrokerSession.load("PAPER1")


async def test_a_taken_port_is_waited_at_for_the_others_login(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Yesterday's session still runs, and its Sentinel caught the port: the login that it saves is the launch's as well."""
    old = BrokerSession(
        account="PAPER1", user_id="PAPER1", api_key=manifest.api_key, access_token="yesterdays",
        created=time.time_ns(), expires=time.time_ns() - 1,
    )  # fmt: skip
    old.save()
    with login.RedirectServer(int(os.environ["KITE_REDIRECT_PORT"])):
        launching = asyncio.ensure_future(asyncio.to_thread(logged_in, manifest, 120.0))
        said = await printed(capsys, "its login serves here too")
        assert f"log in at {LINK}" in said
        token = await asyncio.to_thread(request_token, manifest)
        others = await asyncio.to_thread(
            login.open_session, manifest, accounts.API_SECRET, token, old.created - 10**9
        )  # its clock was set back meanwhile: another login all the same
        others.save()
        assert await launching == others


async def test_a_login_that_nobody_makes_is_one_sentence(manifest: Manifest) -> None:
    """It says which port was taken, in case another program has it."""
    with pytest.raises(BadConfig, match=r"nobody logged in within 1 s: launch again, and open the printed address$"):
        await asyncio.to_thread(logged_in, manifest, 1.0)
    port = int(os.environ["KITE_REDIRECT_PORT"])
    with login.RedirectServer(port), pytest.raises(BadConfig, match=f"nobody logged in.*port {port}.*stop what uses"):
        await asyncio.to_thread(logged_in, manifest, 1.0)
