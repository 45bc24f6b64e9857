"""Orders through the official client: life, statuses, refusals, fills, positions."""

from __future__ import annotations

from typing import Any

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import GeneralException, InputException, NetworkException, OrderException

from tradealgo.domain.candles import SECOND_NS
from tradealgo.exchange.limits import RequestLimits
from tradealgo.exchange.testing import RunningExchange, running_exchange


def place(kite: KiteConnect, **changes: Any) -> str:
    """A BUY of 10 INFY at market, with changes."""
    order = {
        "variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 10,
        "product": "MIS", "order_type": "MARKET", "market_protection": -1,
    } | changes  # fmt: skip
    return kite.place_order(**{k: v for k, v in order.items() if v is not None})


def limit(kite: KiteConnect, price: float, **changes: Any) -> str:
    return place(kite, order_type="LIMIT", price=price, market_protection=None, **changes)


def latest(kite: KiteConnect, order_id: str) -> dict[str, Any]:
    return next(o for o in kite.orders() if o["order_id"] == order_id)


def quote(kite: KiteConnect) -> dict[str, Any]:
    return kite.quote("NSE:INFY")["NSE:INFY"]


def test_market_order_fills_and_comes_back_as_limit(kite: KiteConnect) -> None:
    """A market order is a LIMIT order in the book, at its protection, filled at the displayed offers."""
    offers = quote(kite)["depth"]["sell"]
    order = latest(kite, place(kite, tag="MyTag1"))
    assert (order["status"], order["order_type"], order["filled_quantity"]) == ("COMPLETE", "LIMIT", 10)
    assert order["average_price"] >= offers[0]["price"]
    assert order["price"] > order["average_price"]
    assert order["tag"] == "MyTag1"
    assert order["order_timestamp"].date().isoformat() == "2026-11-20"
    assert isinstance(order["order_id"], str)
    assert order["exchange_order_id"]


def test_history_walks_kites_statuses(kite: KiteConnect) -> None:
    """PUT ORDER REQ RECEIVED, VALIDATION PENDING, OPEN PENDING, OPEN, COMPLETE."""
    statuses = [o["status"] for o in kite.order_history(place(kite))]
    assert statuses == ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN", "COMPLETE"]


def test_trades_and_positions_agree(kite: KiteConnect) -> None:
    """What was traded is the position, at the trades' prices."""
    bought, sold = place(kite, quantity=20), place(kite, transaction_type="SELL", quantity=8)
    trades = kite.trades()
    assert {t["order_id"] for t in trades} == {bought, sold}
    assert sum(t["quantity"] for t in kite.order_trades(bought)) == 20
    assert len({t["trade_id"] for t in trades}) == len(trades)
    (row,) = kite.positions()["net"]
    assert (row["quantity"], row["buy_quantity"], row["sell_quantity"]) == (12, 20, 8)
    value = sum(t["quantity"] * t["average_price"] for t in trades if t["transaction_type"] == "BUY")
    assert row["buy_value"] == pytest.approx(value, abs=0.005)
    assert row["pnl"] == pytest.approx(row["sell_value"] - row["buy_value"] + 12 * row["last_price"], abs=0.005)


def test_flat_position_stays_listed(kite: KiteConnect) -> None:
    """A row of quantity 0 remains after the exit."""
    place(kite)
    place(kite, transaction_type="SELL")
    (row,) = kite.positions()["day"]
    assert row["quantity"] == 0
    assert row["average_price"] == 0


def test_resting_limit_order_is_modified_and_cancelled(kite: KiteConnect) -> None:
    """OPEN, modified away, cancelled; the history keeps each step."""
    far = round(quote(kite)["last_price"] * 0.95, 0)
    order_id = limit(kite, far)
    assert latest(kite, order_id)["status"] == "OPEN"
    assert kite.modify_order("regular", order_id, price=far - 1, quantity=5) == order_id
    order = latest(kite, order_id)
    assert (order["price"], order["quantity"], order["pending_quantity"]) == (far - 1, 5, 5)
    assert kite.cancel_order("regular", order_id) == order_id
    order = latest(kite, order_id)
    assert (order["status"], order["cancelled_quantity"], order["pending_quantity"]) == ("CANCELLED", 5, 0)
    statuses = [o["status"] for o in kite.order_history(order_id)]
    assert statuses[4:7] == ["MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED"]


def test_modified_into_the_market_fills(kite: KiteConnect) -> None:
    """A resting order that is moved across the quote trades at the quote."""
    shown = quote(kite)
    order_id = limit(kite, round(shown["last_price"] * 0.98, 0))
    kite.modify_order("regular", order_id, price=shown["depth"]["sell"][4]["price"])
    order = latest(kite, order_id)
    assert order["status"] == "COMPLETE"
    assert order["average_price"] <= shown["depth"]["sell"][4]["price"]


def test_ioc_fills_what_it_can(kite: KiteConnect) -> None:
    """IOC takes what is displayed within its limit; the rest is cancelled."""
    best = quote(kite)["depth"]["sell"][0]
    order = latest(kite, limit(kite, best["price"], quantity=best["quantity"] + 7, validity="IOC"))
    assert (order["status"], order["filled_quantity"]) == ("CANCELLED", best["quantity"])
    assert order["cancelled_quantity"] == 7


def test_partial_fill_rests_and_completes_later() -> None:
    """More than is displayed: a part fills at once, the rest with later ticks."""
    with running_exchange(capital=1e8) as paper:
        paper.open_market()
        kite = paper.kite()
        offers = quote(kite)["depth"]["sell"]
        shown = sum(level["quantity"] for level in offers)
        order_id = limit(kite, offers[4]["price"] + 20, quantity=shown + 400)
        assert latest(kite, order_id)["filled_quantity"] == shown
        for _ in range(20):
            paper.advance(60)
            if latest(kite, order_id)["status"] == "COMPLETE":
                break
        order = latest(kite, order_id)
        assert (order["status"], order["filled_quantity"]) == ("COMPLETE", shown + 400)
        assert len(kite.order_trades(order_id)) > 1


def test_stop_order_waits_for_its_trigger(paper: RunningExchange, kite: KiteConnect) -> None:
    """SL: TRIGGER PENDING until the last price is there, then a limit order."""
    place(kite)
    low = round(quote(kite)["last_price"] * 0.999, 0)
    order_id = place(
        kite, transaction_type="SELL", order_type="SL", price=low - 20, trigger_price=low, market_protection=None
    )
    assert latest(kite, order_id)["status"] == "TRIGGER PENDING"
    for _ in range(360):
        paper.advance(60)
        if latest(kite, order_id)["status"] == "COMPLETE":
            break
    order = latest(kite, order_id)
    assert order["status"] == "COMPLETE"
    assert order["average_price"] <= low


def test_day_orders_die_at_the_close(paper: RunningExchange, kite: KiteConnect) -> None:
    """What rests when continuous trading ends is cancelled."""
    order_id = limit(kite, round(quote(kite)["last_price"] * 0.85, 0))
    paper.advance(6.5 * 3600)
    assert latest(kite, order_id)["status"] == "CANCELLED"


def test_ttl_order_expires(paper: RunningExchange, kite: KiteConnect) -> None:
    """A TTL order is cancelled after its minutes."""
    order_id = limit(kite, round(quote(kite)["last_price"] * 0.85, 0), validity="TTL", validity_ttl=2)
    paper.advance(119)
    assert latest(kite, order_id)["status"] == "OPEN"
    paper.advance(2)
    assert latest(kite, order_id)["status"] == "CANCELLED"


def test_margin_shortfall_is_a_rejected_order(kite: KiteConnect) -> None:
    """Risk management's no comes through the book: an order id, status REJECTED, a message, no exchange id."""
    order = latest(kite, place(kite, quantity=100_000))
    assert order["status"] == "REJECTED"
    assert order["status_message"].startswith("Insufficient funds. Required margin is ")
    assert order["status_message_raw"].startswith("RMS:Margin Exceeds")
    assert order["exchange_order_id"] is None


def test_what_is_modified_or_converted_needs_its_margin_too(kite: KiteConnect) -> None:
    """More units than the funds reach, and a delivery that they don't pay: refused, and all stays as it was."""
    resting = limit(kite, round(quote(kite)["last_price"] * 0.98, 0))
    with pytest.raises(GeneralException, match=r"Insufficient funds\. Required margin is "):
        kite.modify_order("regular", resting, quantity=100_000)
    assert (latest(kite, resting)["quantity"], latest(kite, resting)["status"]) == (10, "OPEN")
    kite.modify_order("regular", resting, quantity=20)
    place(kite, quantity=2_000)  # a fifth of Rs 3 million
    with pytest.raises(GeneralException, match="Insufficient funds"):
        kite.convert_position("NSE", "INFY", "BUY", "day", 2_000, "MIS", "CNC")
    assert [(p["product"], p["quantity"]) for p in kite.positions()["net"]] == [("MIS", 2_000)]


def test_delivery_sale_without_shares_is_rejected(kite: KiteConnect) -> None:
    """CNC sells need holdings."""
    order = latest(kite, place(kite, transaction_type="SELL", product="CNC"))
    assert order["status"] == "REJECTED"
    assert "Insufficient stock holding" in order["status_message"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tradingsymbol": "NOSUCH"}, "does not exist"),
        ({"tradingsymbol": "NIFTY 50"}, "not tradable"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": -5}, "quantity"),
        ({"quantity": "ten"}, "quantity"),
        ({"product": "XYZ"}, "product"),
        ({"product": "NRML"}, "product"),
        ({"order_type": "BEST"}, "order_type"),
        ({"transaction_type": "HOLD"}, "transaction_type"),
        ({"validity": "GTC"}, "validity"),
        ({"validity": "TTL"}, "validity_ttl"),
        ({"variety": "bo"}, "variety"),
        ({"variety": "co"}, "blocked"),
        ({"variety": "amo"}, "AMO"),
        ({"tag": "x" * 21}, "tag"),
        ({"tag": "no-dash"}, "tag"),
        ({"market_protection": None}, "market protection"),
        ({"market_protection": 0}, "market protection"),
        ({"market_protection": -2}, "market_protection"),
        ({"market_protection": 101}, "market_protection"),
        ({"order_type": "LIMIT"}, "price"),
        ({"order_type": "LIMIT", "price": 1500.05}, "Tick size"),
        ({"order_type": "LIMIT", "price": 100}, "circuit"),
        ({"order_type": "SL-M"}, "trigger_price"),
        ({"order_type": "SL", "price": 1300, "trigger_price": 1300}, "higher than the last traded price"),
        ({"disclosed_quantity": 11}, "Disclosed"),
    ],
)
def test_bad_orders_are_input_exceptions(kite: KiteConnect, changes: dict[str, Any], text: str) -> None:
    """Each refusal at the door is a 400 InputException that names what is wrong, and leaves no order."""
    with pytest.raises(InputException, match=text) as caught:
        place(kite, **changes)
    assert caught.value.code == 400
    assert kite.orders() == []


def test_closed_market_refuses(paper: RunningExchange, kite: KiteConnect) -> None:
    """After the close only AMO orders are taken."""
    paper.advance(7 * 3600)
    with pytest.raises(InputException, match="Markets are closed"):
        place(kite)
    assert latest(kite, place(kite, variety="amo"))["status"] == "AMO REQ RECEIVED"


def test_amo_goes_out_at_the_open() -> None:
    """An order of before the open is released with the opening bell."""
    with running_exchange() as paper:
        kite = paper.kite()
        order_id = place(kite, variety="amo")
        assert latest(kite, order_id)["status"] == "AMO REQ RECEIVED"
        paper.open_market()
        assert latest(kite, order_id)["status"] == "COMPLETE"


def test_unknown_and_finished_orders_cannot_be_changed(kite: KiteConnect) -> None:
    """OrderException for an id that isn't there, and for an order that is done."""
    with pytest.raises(OrderException):
        kite.order_history("999")
    with pytest.raises(OrderException):
        kite.cancel_order("regular", "261120000099999")
    done = place(kite)
    with pytest.raises(OrderException, match="COMPLETE"):
        kite.cancel_order("regular", done)
    with pytest.raises(OrderException, match="COMPLETE"):
        kite.modify_order("regular", done, quantity=5)


def test_twenty_five_modifications_an_order(kite: KiteConnect) -> None:
    """The twenty-sixth is refused."""
    far = round(quote(kite)["last_price"] * 0.9, 0)
    order_id = limit(kite, far)
    for i in range(25):
        kite.modify_order("regular", order_id, price=far - 1 - i)
    with pytest.raises(InputException, match="modifications"):
        kite.modify_order("regular", order_id, price=far)


def test_lot_and_freeze_quantity_of_options() -> None:
    """Whole lots, at most the freeze quantity; autoslice makes several orders of a bigger one."""
    with running_exchange(None) as paper:
        paper.open_market()
        kite = paper.kite()
        future = next(i for i in kite.instruments("NFO") if i["name"] == "NIFTY" and i["instrument_type"] == "FUT")
        order = {"exchange": "NFO", "tradingsymbol": future["tradingsymbol"]}
        with pytest.raises(InputException, match="multiple of 65"):
            place(kite, **order, quantity=100)
        with pytest.raises(InputException, match=r"maximum quantity of 1755 \(27 lots\)"):
            place(kite, **order, quantity=65 * 28)
        answer = kite.place_autoslice_order(
            "regular", transaction_type="BUY", quantity=65 * 28, product="NRML", order_type="MARKET",
            market_protection=-1, **order,
        )  # fmt: skip
        assert len(answer["children"]) == 2
        sizes = [latest(kite, c["order_id"])["quantity"] for c in answer["children"]]
        assert sizes == [1755, 65]


def test_iceberg_sends_leg_after_leg(paper: RunningExchange, kite: KiteConnect) -> None:
    """The next leg goes out when the one before has filled."""
    place(kite, variety="iceberg", quantity=30, iceberg_legs=3, iceberg_quantity=10)
    for _ in range(10):
        paper.advance(60)
    legs = [o["meta"]["iceberg"] for o in kite.orders()]
    assert [leg["leg"] for leg in legs] == [1, 2, 3]
    assert sum(o["filled_quantity"] for o in kite.orders()) == 30


class Held:
    """An exchange's wall clock, held still so that no test straddles a second by chance."""

    def __init__(self, paper: RunningExchange) -> None:
        self.now = paper.exchange.wall() // SECOND_NS * SECOND_NS
        paper.exchange.wall = lambda: self.now  # type: ignore[method-assign]


def test_order_rate_is_counted_by_calendar_second() -> None:
    """A second's fourth order is a NetworkException with code 429; a nanosecond later, in the next, three more pass."""
    with running_exchange(limits=RequestLimits(orders=3, cooling_s=0)) as paper:
        paper.open_market()
        kite, clock = paper.kite(), Held(paper)
        clock.now += SECOND_NS - 1
        for _ in range(2):
            for _ in range(3):
                place(kite, quantity=1)
            with pytest.raises(NetworkException) as caught:
                place(kite, quantity=1)
            assert caught.value.code == 429
            clock.now += 1
        assert len(kite.orders()) == 6


def test_quote_rate_is_one_a_second() -> None:
    """The second quote of a second is refused, the next second's first is not."""
    with running_exchange(limits=RequestLimits()) as paper:
        paper.open_market()
        kite, clock = paper.kite(), Held(paper)
        kite.ltp("NSE:INFY")
        with pytest.raises(NetworkException, match="Too many requests"):
            kite.ltp("NSE:INFY")
        clock.now += SECOND_NS
        assert kite.ltp("NSE:INFY")
