"""The unmodified KiteTicker against the exchange's socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tradealgo.exchange.testing import RunningExchange

INFY, NIFTY = 408065, 256265


def test_first_tick_is_the_cached_one(paper: RunningExchange, listen: Callable) -> None:
    """A subscription is answered at once, in quote mode, while the market stands still."""
    heard = listen(paper, paper.login())
    heard.call("subscribe", [INFY])
    (tick,) = heard.next("ticks")
    assert (tick["instrument_token"], tick["mode"]) == (INFY, "quote")
    assert tick["last_price"] > 0


def test_modes_and_packet_kinds(paper: RunningExchange, listen: Callable) -> None:
    """ltp, quote and full of a share and an index, each parsed by the client."""
    heard = listen(paper, paper.login())
    for mode in ("ltp", "quote", "full"):
        heard.call("set_mode", mode, [INFY, NIFTY])
        ticks = {t["instrument_token"]: t for t in heard.next("ticks", lambda t, m=mode: t[0]["mode"] == m)}
        assert set(ticks) == {INFY, NIFTY}
    assert ticks[NIFTY]["tradable"] is False
    assert len(ticks[INFY]["depth"]["buy"]) == 5
    assert ticks[INFY]["exchange_timestamp"] is not None


def test_no_tick_is_conflated(paper: RunningExchange, listen: Callable) -> None:
    """Ten minutes in one step: every tick of the tape arrives, in order."""
    heard = listen(paper, paper.login())
    heard.call("set_mode", "full", [INFY])
    heard.next("ticks")
    before = paper.exchange.position
    paper.advance(600)
    expected = paper.exchange.tape.between(before, paper.exchange.position)
    expected = expected[expected["instrument_token"] == INFY]
    got: list[dict] = []
    while len(got) < len(expected):
        got += heard.next("ticks")
    assert [t["volume_traded"] for t in got] == expected["volume"].tolist()
    assert [t["last_price"] for t in got] == pytest.approx(expected["last_price"].tolist())


def test_unsubscribed_instruments_are_silent(paper: RunningExchange, listen: Callable) -> None:
    """After unsubscribe only the other instrument ticks."""
    heard = listen(paper, paper.login())
    heard.call("subscribe", [INFY, NIFTY])
    heard.next("ticks")
    heard.call("unsubscribe", [NIFTY])
    heard.call("set_mode", "ltp", [INFY])
    heard.next("ticks", lambda t: t[0]["mode"] == "ltp")
    paper.advance(60)
    assert {t["instrument_token"] for t in heard.next("ticks")} == {INFY}


def test_heartbeat_when_idle(paper: RunningExchange, listen: Callable) -> None:
    """With nothing to say, one byte about every second."""
    heard = listen(paper, paper.login())
    assert len(heard.next("message", timeout_s=5)) == 1


def test_order_updates_reach_every_connection(paper: RunningExchange, listen: Callable) -> None:
    """Each socket of the account hears of an order, with Kite's fields."""
    kite = paper.kite()
    sockets = [listen(paper, kite.access_token) for _ in range(2)]
    order_id = kite.place_order(
        "regular", "NSE", "INFY", "BUY", 5, "MIS", "MARKET", market_protection=-1, tag="Updates1"
    )
    for heard in sockets:
        data = heard.next("order", lambda d: d["status"] == "COMPLETE")
        assert (data["order_id"], data["tag"], data["filled_quantity"]) == (order_id, "Updates1", 5)


def test_partial_fill_and_modification_are_updates(paper: RunningExchange, listen: Callable) -> None:
    """Kite's word on the socket for both is UPDATE; the book says OPEN."""
    kite = paper.kite()
    heard = listen(paper, kite.access_token)
    best = kite.quote("NSE:INFY")["NSE:INFY"]["depth"]["sell"][0]
    order_id = kite.place_order(
        "regular", "NSE", "INFY", "BUY", best["quantity"] + 5, "MIS", "LIMIT", price=best["price"]
    )
    part = heard.next("order", lambda d: d["status"] == "UPDATE")
    assert part["filled_quantity"] == best["quantity"]
    assert kite.order_history(order_id)[-1]["status"] == "OPEN"
    kite.modify_order("regular", order_id, price=round(best["price"] * 0.97))
    assert heard.next("order", lambda d: d["status"] == "UPDATE")["price"] == round(best["price"] * 0.97)


def test_dead_token_fails_the_handshake(paper: RunningExchange) -> None:
    """403, before any frame, at both paths."""
    for url in (paper.ws_url, paper.ws_url.removesuffix("ws")):
        with pytest.raises(InvalidStatus) as caught, connect(f"{url}?api_key=paper&access_token=dead"):
            pass
        assert caught.value.response.status_code == 403


def test_at_most_three_connections(paper: RunningExchange) -> None:
    """The fourth is refused; a closed one makes room."""
    url = f"{paper.ws_url}?api_key=paper&access_token={paper.login()}"
    with connect(url), connect(url):
        with connect(url), pytest.raises(InvalidStatus) as caught, connect(url):
            pass
        assert caught.value.response.status_code == 429
        with connect(url) as again:
            assert again.recv(timeout=5) == b"\x00"


def test_at_most_three_thousand_instruments(paper: RunningExchange) -> None:
    """One too many is answered with an error message, and changes nothing."""
    import json

    with connect(f"{paper.ws_url}?api_key=paper&access_token={paper.login()}") as socket:
        socket.send(json.dumps({"a": "subscribe", "v": list(range(1, 3002))}))
        answer = json.loads(next(m for m in socket if isinstance(m, str)))
    assert answer["type"] == "error"
    assert "3000" in answer["data"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a":1}', '{"a":"subscribe","v":"x"}', '{"a":"mode","v":["best",[1]]}']
)
def test_nonsense_is_answered_not_fatal(paper: RunningExchange, text: str) -> None:
    """A message that can't be understood brings an error message; the socket lives on."""
    import json

    with connect(f"{paper.ws_url}?api_key=paper&access_token={paper.login()}") as socket:
        socket.send(text)
        assert json.loads(next(m for m in socket if isinstance(m, str)))["type"] == "error"
        socket.send(json.dumps({"a": "subscribe", "v": [INFY]}))
        assert any(len(m) > 1 for m in socket if isinstance(m, bytes))


def test_plain_http_on_the_socket_path(paper: RunningExchange) -> None:
    """A GET without an upgrade is a 400 in Kite's envelope."""
    answer = requests.get(f"{paper.url}/ws?api_key=paper&access_token={paper.login()}", timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error_type"] == "InputException"
