"""Each fault of the socket, as it happens to the unmodified KiteTicker."""

from __future__ import annotations

import datetime as dt
import queue
import time
from collections.abc import Callable
from typing import Any

import pytest

from tradealgo.exchange.testing import RunningExchange

INFY = 408065
PIECE_S = 30.0
HEARTBEAT = b"\x00"

Rows = list[tuple[float, int, dt.datetime]]


@pytest.fixture
def heard(paper: RunningExchange, listen: Callable) -> Any:
    """A KiteTicker in full mode on INFY that has heard its first tick."""
    ticker = listen(paper, paper.login())
    ticker.call("set_mode", "full", [INFY])
    ticker.next("ticks")
    return ticker


def play(paper: RunningExchange) -> Rows:
    """Move the market on; the tape's own (price, volume, time) of INFY meanwhile."""
    before = paper.exchange.position
    paper.advance(PIECE_S)
    ticks = paper.exchange.tape.between(before, paper.exchange.position)
    mine = ticks[ticks["instrument_token"] == INFY]
    return [
        (float(t["last_price"]), int(t["volume"]), dt.datetime.fromtimestamp(int(t["ts_event"]) // 10**9)) for t in mine
    ]


def told(heard: Any, count: int) -> Rows:
    """The next `count` ticks that the client's callback was given."""
    rows: Rows = []
    while len(rows) < count:
        rows += [(t["last_price"], t["volume_traded"], t["exchange_timestamp"]) for t in heard.next("ticks")]
    return rows


def falls_silent(heard: Any, seconds: float) -> bool:
    """Whether the client hears nothing at all for so long: no tick, no close, no heartbeat but those that were on their way."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            said = heard.events.get(timeout=seconds)
        except queue.Empty:
            return True
        if said != ("message", HEARTBEAT):
            return False
    return False


def is_answered(heard: Any, seconds: float) -> bool:
    """Whether a ping of the client's connection is answered in time."""
    from twisted.internet import reactor

    protocol = heard.ticker.ws
    protocol._last_pong_time = None
    reactor.callFromThread(protocol.sendPing, b"there?")
    deadline = time.monotonic() + seconds
    while protocol._last_pong_time is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return protocol._last_pong_time is not None


def test_duplicate_ticks(paper: RunningExchange, heard: Any) -> None:
    """The client is given the same ticks twice, and can't tell."""
    paper.fault("duplicate_ticks")
    first, second = play(paper), play(paper)
    expected = first + first + second
    assert told(heard, len(expected)) == expected


def test_late_ticks_come_out_of_order(paper: RunningExchange, heard: Any) -> None:
    """Time and volume go backwards in the client's callback: newer ticks first, older ones after them."""
    paper.fault("late_ticks")
    first, second = play(paper), play(paper)
    got = told(heard, len(first) + len(second))
    assert got == second + first
    assert got[-1][2] < got[0][2]
    assert got[-1][1] < got[0][1]


def test_freak_price(paper: RunningExchange, heard: Any) -> None:
    """The client's ticks say ten times the price; quotes and matching never saw it, and the next ticks are right."""
    kite = paper.kite()
    paper.fault("freak_price")
    first, second = play(paper), play(paper)
    assert [price for price, _, _ in told(heard, len(first))] == pytest.approx([10 * price for price, _, _ in first])
    assert told(heard, len(second)) == second
    assert kite.ltp(f"{INFY}")[f"{INFY}"]["last_price"] == second[-1][0]


def test_garbage_costs_the_client_its_connection(paper: RunningExchange, heard: Any) -> None:
    """KiteTicker's parser raises on noise, and the connection is lost; it comes back and subscribes anew by itself."""
    paper.fault("garbage_frame")
    play(paper)
    assert heard.next("message", lambda payload: payload[:2] == b"\xff\xfe")
    code, _ = heard.next("close")
    assert code == 1006
    heard.next("connect")
    assert heard.next("ticks", lambda ticks: ticks[0]["mode"] == "full")[0]["instrument_token"] == INFY
    expected = play(paper)
    assert told(heard, len(expected)) == expected


def test_dropped_socket_comes_back(paper: RunningExchange, heard: Any) -> None:
    """Cut off without a closing handshake: the client says 1006, connects again and hears what it heard before."""
    paper.fault("drop_socket")
    assert heard.next("close")[0] == 1006
    heard.next("connect")
    heard.next("ticks", lambda ticks: ticks[0]["mode"] == "full")
    expected = play(paper)
    assert told(heard, len(expected)) == expected


def test_mute_socket(paper: RunningExchange, heard: Any) -> None:
    """The client thinks that it is connected, and its pings are answered; but no tick or heartbeat comes."""
    heard.next("message", lambda payload: payload == HEARTBEAT)
    paper.fault("mute_socket")
    play(paper)
    assert is_answered(heard, 5.0)
    assert falls_silent(heard, 2.5)
    assert heard.ticker.is_connected()


def test_half_open_socket(paper: RunningExchange, heard: Any) -> None:
    """The client thinks that it is connected, and nobody is there: not even a ping is answered."""
    heard.next("message", lambda payload: payload == HEARTBEAT)
    assert is_answered(heard, 5.0)
    paper.fault("half_open_socket")
    play(paper)
    assert not is_answered(heard, 1.5)
    assert falls_silent(heard, 2.5)
    assert heard.ticker.is_connected()


def test_token_death_shuts_the_client_out(paper: RunningExchange, heard: Any) -> None:
    """Once the connection of a dead token is lost, the client's own reconnect is refused with 403."""
    paper.fault("token_death")
    paper.fault("drop_socket")
    assert heard.next("close")[0] == 1006
    assert "403" in heard.next("error", lambda said: "403" in said[1])[1]
    assert not heard.ticker.is_connected()
