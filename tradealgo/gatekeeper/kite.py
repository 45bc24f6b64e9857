"""Kite Connect v3's words for orders: routes, form fields, statuses, rows. Their one home in the Gatekeeper."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

import msgspec

from tradealgo.domain.hours import IST
from tradealgo.domain.order_machine import OrderEvent
from tradealgo.domain.orders import Order, Side

VERSION = "3"
VARIETY = "regular"

#: Statuses that end an order. The broker's list is open-ended: any other status means that the order is alive.
FINAL = {"COMPLETE": OrderEvent.FILL, "CANCELLED": OrderEvent.CANCEL, "REJECTED": OrderEvent.REJECT}
#: Statuses that were known in 2026; another one is noted once, never fatal, never final.
KNOWN = frozenset(FINAL) | {
    "PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN", "TRIGGER PENDING", "UPDATE",
    "MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED", "CANCEL PENDING", "AMO REQ RECEIVED",
}  # fmt: skip


class Query(StrEnum):
    """What the Gatekeeper asks of the broker's book, and the route of each."""

    __hash__ = str.__hash__  # Enum's own is a call into Python

    ORDERS = "/orders"
    TRADES = "/trades"
    POSITIONS = "/portfolio/positions"
    MARGINS = "/user/margins"


class BrokerOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One order as the broker tells it, ours or not. Prices in rupees."""

    order_id: str
    tag: str
    status: str
    instrument: str
    instrument_token: int
    side: Side
    quantity: int
    filled_quantity: int
    average_price: float
    price: float
    product: str = ""
    exchange_order_id: str | None = None
    text: str = ""

    @property
    def event(self) -> OrderEvent:
        """What this says of the order's state."""
        final = FINAL.get(self.status)
        if final is not None:
            return final
        return OrderEvent.PARTIAL if self.filled_quantity else OrderEvent.SEEN

    @property
    def is_done(self) -> bool:
        return self.status in FINAL


class BrokerTrade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution as the broker tells it. `ts` in UTC nanoseconds of the exchange's clock."""

    trade_id: str
    order_id: str
    instrument: str
    instrument_token: int
    side: Side
    quantity: int
    price: float
    product: str
    ts: int


class BrokerPosition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A net position of the account, whoever made it. `quantity` is signed."""

    instrument: str
    instrument_token: int
    product: str
    quantity: int
    last_price: float


def place_form(order: Order) -> dict[str, str]:
    """The body of a placement, in the official client's field names."""
    exchange, _, symbol = order.instrument.partition(":")
    return {
        "variety": VARIETY,
        "exchange": exchange,
        "tradingsymbol": symbol,
        "transaction_type": order.side.value,
        "quantity": str(order.quantity),
        "product": order.product.value,
        **_kind_fields(order),
        "validity": "DAY",
        "tag": order.tag,
    }


def _kind_fields(order: Order) -> dict[str, str]:
    """LIMIT; with a trigger SL, or SL-M if there is no limit, protected by the broker's own band."""
    if not order.trigger:
        return {"order_type": "LIMIT", "price": f"{order.price:.2f}"}
    trigger = f"{order.trigger:.2f}"
    if order.price:
        return {"order_type": "SL", "price": f"{order.price:.2f}", "trigger_price": trigger}
    return {"order_type": "SL-M", "trigger_price": trigger, "market_protection": "-1"}


def modify_form(order: Order, price: float) -> dict[str, str]:
    """The body of a modification of the price; a stop whose trigger was reached is a limit order by now."""
    return {
        "variety": VARIETY,
        "order_id": order.order_id or "",
        "quantity": str(order.quantity),
        "price": f"{price:.2f}",
        "order_type": "LIMIT",
        "validity": "DAY",
    }


def order_row(row: dict[str, Any]) -> BrokerOrder:
    """A row of the order book, or the data of an order message. Raises KeyError, ValueError or TypeError."""
    return BrokerOrder(
        order_id=str(row["order_id"]),
        tag=row.get("tag") or "",
        status=str(row["status"]).upper(),
        instrument=f"{row['exchange']}:{row['tradingsymbol']}",
        instrument_token=int(row.get("instrument_token") or 0),
        side=Side(row["transaction_type"]),
        quantity=int(row["quantity"]),
        filled_quantity=int(row.get("filled_quantity") or 0),
        average_price=float(row.get("average_price") or 0.0),
        price=float(row.get("price") or 0.0),
        product=row.get("product") or "",
        exchange_order_id=row.get("exchange_order_id") or None,
        text=row.get("status_message") or "",
    )


def trade_row(row: dict[str, Any]) -> BrokerTrade:
    """A row of the trade book."""
    when = row.get("exchange_timestamp") or row.get("fill_timestamp") or ""
    return BrokerTrade(
        trade_id=str(row["trade_id"]),
        order_id=str(row["order_id"]),
        instrument=f"{row['exchange']}:{row['tradingsymbol']}",
        instrument_token=int(row.get("instrument_token") or 0),
        side=Side(row["transaction_type"]),
        quantity=int(row["quantity"]),
        price=float(row["average_price"]),
        product=row.get("product") or "",
        ts=time_ns(when),
    )


def position_rows(data: dict[str, Any]) -> list[BrokerPosition]:
    """The net rows of `/portfolio/positions`; flat ones stay."""
    return [
        BrokerPosition(
            instrument=f"{row['exchange']}:{row['tradingsymbol']}",
            instrument_token=int(row.get("instrument_token") or 0),
            product=row.get("product") or "",
            quantity=int(row["quantity"]),
            last_price=float(row.get("last_price") or 0.0),
        )
        for row in data["net"]
    ]


def available_cash(data: dict[str, Any]) -> float:
    """Rupees free for new orders, of `/user/margins`."""
    return float(data["equity"]["net"])


def time_ns(text: str) -> int:
    """Kite's `YYYY-MM-DD HH:MM:SS` in IST to UTC nanoseconds; 0 for an empty one."""
    if not text:
        return 0
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=IST).timestamp()) * 1_000_000_000
