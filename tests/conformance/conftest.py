"""The paper exchange on a real port, and the broker's official clients against it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kiteconnect import KiteConnect, KiteTicker

from tradealgo.exchange.testing import RunningExchange, running_exchange

NIFTY_OPTION = "NIFTY26NOV26000CE"


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """An exchange of a few instruments, a minute after the open; its clock moves by `advance` alone."""
    with running_exchange() as running:
        running.open_market()
        yield running


@pytest.fixture
def kite(paper: RunningExchange) -> KiteConnect:
    """The official REST client, logged in."""
    return paper.kite()


class Heard:
    """A KiteTicker and all that it was told, in order: (kind, payload)."""

    def __init__(self, url: str, access_token: str) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.ticker = KiteTicker("paper", access_token, root=url, reconnect=False)
        say = self.events.put
        self.ticker.on_connect = lambda ws, response: say(("connect", None))
        self.ticker.on_ticks = lambda ws, ticks: say(("ticks", ticks))
        self.ticker.on_order_update = lambda ws, data: say(("order", data))
        self.ticker.on_close = lambda ws, code, reason: say(("close", (code, reason)))
        self.ticker.on_error = lambda ws, code, reason: say(("error", (code, reason)))
        self.ticker.on_message = lambda ws, payload, binary: say(("message", payload)) if binary else None

    def connect(self) -> Heard:
        """Connect on the one Twisted reactor that a process may have."""
        from twisted.internet import reactor

        if reactor.running:
            reactor.callFromThread(self.ticker.connect, threaded=True)
        else:
            self.ticker.connect(threaded=True)
        return self

    def call(self, method: str, *arguments: Any) -> None:
        """Call the ticker where Twisted wants to be called."""
        from twisted.internet import reactor

        reactor.callFromThread(getattr(self.ticker, method), *arguments)

    def next(self, kind: str, until: Callable[[Any], bool] = lambda _: True, timeout_s: float = 10.0) -> Any:
        """The next payload of a kind that satisfies `until`; fails when none comes in time."""
        deadline, seen = time.monotonic() + timeout_s, []
        while time.monotonic() < deadline:
            try:
                got, payload = self.events.get(timeout=0.2)
            except queue.Empty:
                continue
            seen.append(got)
            if got == kind and until(payload):
                return payload
        raise AssertionError(f"no {kind} within {timeout_s} s, only {seen}")


@pytest.fixture
def listen() -> Iterator[Callable[[RunningExchange, str], Heard]]:
    """Makes connected tickers, and closes them afterwards."""
    made: list[Heard] = []

    def connect(paper: RunningExchange, access_token: str) -> Heard:
        heard = Heard(paper.ws_url, access_token).connect()
        made.append(heard)
        heard.next("connect")
        return heard

    yield connect
    for heard in made:
        heard.call("close")
