"""GTT, margins, the contract note, conversion, the closing auction and postbacks, through the official client."""

from __future__ import annotations

import hashlib
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException, TokenException

from tradealgo.exchange.accounts import API_SECRET
from tradealgo.exchange.testing import RunningExchange, running_exchange

LEG = {
    "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "variety": "regular", "product": "MIS",
    "order_type": "LIMIT", "quantity": 10, "price": 1500,
}  # fmt: skip


def buy(kite: KiteConnect, **changes: Any) -> str:
    order = {
        "variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 10,
        "product": "MIS", "order_type": "MARKET", "market_protection": -1,
    } | changes  # fmt: skip
    return kite.place_order(**order)


def gtt_leg(side: str, price: float) -> dict[str, Any]:
    return {"transaction_type": side, "quantity": 10, "order_type": "LIMIT", "product": "MIS", "price": price}


# ---------------------------------------------------------------------------------------------- margins and charges


def test_order_margins_and_contract_note(kite: KiteConnect) -> None:
    """A fifth of the value intraday, the whole for delivery; charges by MARKET.md's table."""
    intraday, delivery = kite.order_margins([LEG, LEG | {"product": "CNC"}])
    assert intraday["total"] == 3_000
    assert delivery["total"] == 15_000
    (note,) = kite.get_virtual_contract_note([LEG | {"transaction_type": "SELL", "average_price": 1500}])
    charges = note["charges"]
    assert charges["brokerage"] == 4.5
    assert charges["transaction_tax"] == 3.75
    assert charges["stamp_duty"] == 0
    parts = ("transaction_tax", "exchange_turnover_charge", "sebi_turnover_charge", "brokerage", "stamp_duty")
    assert charges["total"] == pytest.approx(sum(charges[p] for p in parts) + charges["gst"]["total"])


def test_basket_nets_opposite_orders(kite: KiteConnect) -> None:
    """Each order on its own costs margin; together they need none."""
    basket = kite.basket_order_margins([LEG, LEG | {"transaction_type": "SELL"}])
    assert basket["initial"]["total"] == 6_000
    assert basket["final"]["total"] == 0
    assert len(basket["orders"]) == 2
    assert kite.basket_order_margins([LEG], mode="compact")["orders"] == []


@pytest.mark.parametrize("leg", [{}, LEG | {"quantity": -1}, LEG | {"tradingsymbol": "NOSUCH"}, LEG | {"product": "X"}])
def test_bad_margin_requests(kite: KiteConnect, leg: dict[str, Any]) -> None:
    """Each is an InputException."""
    for call in (kite.order_margins, kite.basket_order_margins, kite.get_virtual_contract_note):
        with pytest.raises(InputException):
            call([leg])


# ---------------------------------------------------------------------------------------------- GTT


def test_gtt_life(paper: RunningExchange, kite: KiteConnect) -> None:
    """Placed, read, modified, deleted."""
    last = kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"]
    far = round(last * 1.15)
    trigger_id = kite.place_gtt("single", "INFY", "NSE", [far], last, [gtt_leg("SELL", far)])["trigger_id"]
    assert [g["id"] for g in kite.get_gtts()] == [trigger_id]
    found = kite.get_gtt(trigger_id)
    assert (found["status"], found["type"], found["condition"]["trigger_values"]) == ("active", "single", [far])
    assert found["orders"][0]["result"] is None
    kite.modify_gtt(trigger_id, "single", "INFY", "NSE", [far + 10], last, [gtt_leg("SELL", far + 10)])
    assert kite.get_gtt(trigger_id)["condition"]["trigger_values"] == [far + 10]
    kite.delete_gtt(trigger_id)
    assert kite.get_gtt(trigger_id)["status"] == "deleted"
    with pytest.raises(InputException):
        kite.delete_gtt(trigger_id)
    with pytest.raises(GeneralException):
        kite.get_gtt(99)


def test_gtt_fires_one_leg(paper: RunningExchange, kite: KiteConnect) -> None:
    """Of a two-leg trigger the side that the price reaches places its order."""
    last = kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"]
    low, high = round(last * 0.9), round(last + 1)
    legs = [gtt_leg("SELL", low), gtt_leg("BUY", high + 20)]
    trigger_id = kite.place_gtt("two-leg", "INFY", "NSE", [low, high], last, legs)["trigger_id"]
    for _ in range(350):
        paper.advance(60)
        if kite.get_gtt(trigger_id)["status"] == "triggered":
            break
    found = kite.get_gtt(trigger_id)
    assert found["status"] == "triggered"
    result = found["orders"][1]["result"]["order_result"]
    assert result["status"] == "success"
    assert [o["order_id"] for o in kite.orders()] == [result["order_id"]]
    assert found["orders"][0]["result"] is None


@pytest.mark.parametrize(
    ("values", "last", "symbol"), [([1500.0], 1500.0, "INFY"), ([-5.0], 1500.0, "INFY"), ([1600.0], 1500.0, "NOSUCH")]
)
def test_bad_gtts(kite: KiteConnect, values: list[float], last: float, symbol: str) -> None:
    """Each is an InputException."""
    with pytest.raises(InputException):
        kite.place_gtt("single", symbol, "NSE", values, last, [gtt_leg("BUY", 1500)])


# ---------------------------------------------------------------------------------------------- account


def test_position_is_converted(kite: KiteConnect) -> None:
    """A part moves from MIS to CNC at its cost; profit and cash stay as they were."""
    buy(kite)
    before = sum(p["pnl"] for p in kite.positions()["net"])
    assert kite.convert_position("NSE", "INFY", "BUY", "day", 4, "MIS", "CNC") is True
    rows = {p["product"]: p for p in kite.positions()["net"]}
    assert (rows["MIS"]["quantity"], rows["CNC"]["quantity"]) == (6, 4)
    assert rows["CNC"]["average_price"] == pytest.approx(rows["MIS"]["average_price"], abs=0.01)
    assert sum(p["pnl"] for p in rows.values()) == pytest.approx(before, abs=0.001)
    with pytest.raises(InputException):
        kite.convert_position("NSE", "INFY", "BUY", "day", 40, "MIS", "CNC")


def test_refresh_token_and_empty_lists(kite: KiteConnect) -> None:
    """Retail apps have no refresh token; the paper account holds no shares."""
    assert kite.holdings() == []
    assert kite.get_auction_instruments() == []
    with pytest.raises(TokenException):
        kite.renew_access_token("x", API_SECRET)


# ---------------------------------------------------------------------------------------------- closing auction


def test_closing_auction(paper: RunningExchange, kite: KiteConnect) -> None:
    """15:15 to 15:35: no stops, no IOC; what its limit allows trades at the end, the rest is cancelled."""
    paper.advance(6 * 3600 - 60 + 60)  # to 15:16
    last = kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"]
    with pytest.raises(InputException, match="auction"):
        buy(kite, validity="IOC")
    inside = buy(kite, order_type="LIMIT", price=round(last * 1.01), market_protection=None)
    outside = buy(kite, order_type="LIMIT", price=round(last * 0.99), market_protection=None)
    assert {o["status"] for o in kite.orders()} == {"OPEN"}
    paper.advance(20 * 60)
    done = {o["order_id"]: o for o in kite.orders()}
    assert (done[inside]["status"], done[inside]["average_price"]) == ("COMPLETE", last)
    assert done[outside]["status"] == "CANCELLED"
    with pytest.raises(InputException, match="closed"):
        buy(kite)


# ---------------------------------------------------------------------------------------------- postbacks


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """An app's own server: its address, and what was POSTed to it."""
    bodies: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/postback", bodies
    server.shutdown()
    server.server_close()


def test_postback_carries_a_checksum(receiver: tuple[str, queue.Queue[dict[str, Any]]]) -> None:
    """sha256(order_id + order_timestamp + api_secret), with the order's record."""
    url, bodies = receiver
    with running_exchange(postback_url=url) as paper:
        paper.open_market()
        order_id = buy(paper.kite(), tag="Post1")
        body = bodies.get(timeout=10)
        while body["status"] != "COMPLETE":
            body = bodies.get(timeout=10)
    assert (body["order_id"], body["tag"], body["unfilled_quantity"]) == (order_id, "Post1", 0)
    text = body["order_id"] + body["order_timestamp"] + API_SECRET
    assert body["checksum"] == hashlib.sha256(text.encode()).hexdigest()
