"""A running paper exchange for tests: real sockets, a free port, its own thread.

with running_exchange(["NSE:INFY"], speed=0) as paper:
    kite = paper.kite()              # the official client, logged in
    paper.open_market()              # data clock at 09:15:00, first ticks played
    kite.place_order(...)
    paper.advance(60)                # a minute of ticks, played before it returns
    paper.fault("http_429", path="/orders")
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import requests

from tradealgo.config import Market
from tradealgo.exchange.accounts import ACCOUNT, API_KEY, API_SECRET, PASSWORD, TOTP_SECRET
from tradealgo.exchange.app import listen, open_exchange
from tradealgo.exchange.limits import RequestLimits
from tradealgo.exchange.service import PaperExchange

T = TypeVar("T")
DAY = "2026-11-20"
#: No limits a test could meet by accident.
UNLIMITED = RequestLimits(
    orders=10**6, quote=10**6, historical=10**6, other=10**6, orders_per_minute=10**6, orders_per_day=10**6
)


def request_token_at(url: str, account: str = ACCOUNT) -> str:
    """Log in by password and TOTP at an exchange's `url`, up to the redirect's `request_token`."""
    import pyotp

    browser = requests.Session()
    asked = browser.post(f"{url}/api/login", data={"user_id": account, "password": PASSWORD}, timeout=5).json()["data"]
    code = {"user_id": account, "request_id": asked["request_id"], "twofa_value": pyotp.TOTP(TOTP_SECRET).now()}
    browser.post(f"{url}/api/twofa", data=code, timeout=5).raise_for_status()
    page = {"v": "3", "api_key": API_KEY}
    answer = browser.get(f"{url}/connect/login", params=page, allow_redirects=False, timeout=5)
    return answer.headers["Location"].split("request_token=")[1].split("&")[0]


def login_at(url: str, account: str = ACCOUNT) -> str:
    """A new access token of the exchange at `url`; it replaces any other."""
    from kiteconnect import KiteConnect

    return KiteConnect(API_KEY, root=url).generate_session(request_token_at(url, account), API_SECRET)["access_token"]


class RunningExchange:
    """A handle on an exchange that runs in a thread. `url` and `ws_url` are what clients need."""

    def __init__(self, exchange: PaperExchange, port: int) -> None:
        self.exchange, self.port = exchange, port
        self.url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}/ws"
        self.api_key = API_KEY

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the control API: its answer's data."""
        response = requests.request(method, f"{self.url}/_paper/{path}", json=body, timeout=60)
        answer = response.json()
        if response.status_code != 200:
            raise AssertionError(answer["message"])
        return answer["data"]

    def request_token(self) -> str:
        """A login by password and TOTP, up to the redirect's `request_token`."""
        return request_token_at(self.url, self.exchange.accounts.account)

    def login(self) -> str:
        """A new access token; it replaces any other."""
        return login_at(self.url, self.exchange.accounts.account)

    def kite(self, **options: Any) -> Any:
        """The official client, logged in anew."""
        from kiteconnect import KiteConnect

        return KiteConnect(API_KEY, access_token=self.login(), root=self.url, **options)

    def start(self) -> None:
        """Ring the opening bell."""
        self.control("POST", "start")

    def advance(self, seconds: float) -> None:
        """Move the data clock on; its ticks and fills have happened when this returns."""
        self.control("POST", "clock", {"advance_s": seconds})

    def open_market(self, seconds: float = 60.0) -> None:
        """Move to `seconds` after 09:15, so that every instrument has a quote."""
        self.advance((self.exchange.market.open - self.exchange.position) / 1e9 + seconds)

    def fault(self, name: str, **details: Any) -> None:
        """Arm a fault, or do it now: see `faults`."""
        self.control("POST", "faults", {"name": name, **details})

    def ledger(self) -> dict[str, Any]:
        """The reference books, in paise."""
        return self.control("GET", "ledger")


@contextlib.contextmanager
def running_exchange(
    instruments: Sequence[str] | None = ("NSE:INFY", "NSE:RELIANCE", "NSE:NIFTY 50"),
    *,
    day: str = DAY,
    seed: int = 1,
    speed: float = 0.0,
    account: str = ACCOUNT,
    capital: float = 1_000_000.0,
    state_dir: Path | None = None,
    port: int = 0,
    limits: RequestLimits = UNLIMITED,
    file: str | None = None,
    postback_url: str | None = None,
) -> Iterator[RunningExchange]:
    """An exchange on a free port. `speed` 0: the market moves by `advance` alone; else `start` sets it going."""
    market = Market(day=day, seed=seed, speed=speed, file=file)
    exchange = open_exchange(
        market, instruments, account=account, capital=capital, state_dir=state_dir, limits=limits,
        postback_url=postback_url,
    )  # fmt: skip
    with serving(exchange, port) as running:
        yield running


@contextlib.contextmanager
def serving(exchange: PaperExchange, port: int = 0) -> Iterator[RunningExchange]:
    """This exchange on real sockets, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="paper-exchange", daemon=True)
    thread.start()

    def in_thread(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    try:
        runner, bound = in_thread(listen(exchange, "127.0.0.1", port))
        try:
            yield RunningExchange(exchange, bound)
        finally:
            in_thread(runner.cleanup())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
