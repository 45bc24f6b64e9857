"""Orders and executions as the exchange's book holds them. Prices in paise, times in UTC nanoseconds of the data clock."""

from __future__ import annotations

from typing import Any

import msgspec

from tradealgo.domain.instruments import Instrument
from tradealgo.exchange.protocol import DONE, Status, rupees, time_text


class OrderForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for, parsed and named right. `price` and `trigger` in paise (0: none).

    `protection` is `market_protection` in percent, -1 for the broker's own band, 0 for none. `ttl` in minutes.
    """

    variety: str
    exchange: str
    tradingsymbol: str
    side: str
    quantity: int
    product: str
    order_type: str
    price: int = 0
    trigger: int = 0
    validity: str = "DAY"
    ttl: int = 0
    disclosed: int = 0
    protection: float = 0.0
    tag: str | None = None
    legs: int = 0
    autoslice: bool = False


class BookOrder(msgspec.Struct, kw_only=True):
    """One order. A change is a new object in the order's history (`msgspec.structs.replace`).

    `limit` is the price in paise beyond which it may not fill: the order's own, or a market order's protection.
    `value` is the turnover filled so far. `queue_ahead` is the displayed quantity that trades before a resting order
    at its price, -1 until its price has been the best. `passive`: it did not cross the market when it arrived.
    """

    order_id: str
    form: OrderForm
    instrument_token: int
    status: Status
    quantity: int
    limit: int
    trigger: int
    order_type: str
    validity: str
    placed: int
    updated: int
    exchange_order_id: str | None = None
    exchanged: int = 0
    filled: int = 0
    value: int = 0
    cancelled: int = 0
    modifications: int = 0
    message: str | None = None
    message_raw: str | None = None
    queue_ahead: int = -1
    passive: bool = False
    triggered: bool = False
    expires: int = 0
    parent_id: str | None = None
    meta: dict[str, Any] = {}

    @property
    def pending(self) -> int:
        """Units that may still fill."""
        return 0 if self.status in DONE else self.quantity - self.filled

    @property
    def is_buy(self) -> bool:
        return self.form.side == "BUY"

    @property
    def sign(self) -> int:
        return 1 if self.form.side == "BUY" else -1


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One trade of an order: `price` in paise, `ts` of the data clock."""

    trade_id: str
    order_id: str
    exchange_order_id: str
    instrument_token: int
    product: str
    side: str
    quantity: int
    price: int
    ts: int


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """A held quantity (signed units) that was moved from one product to another, at its cost."""

    instrument_token: int
    old_product: str
    new_product: str
    quantity: int


def order_json(order: BookOrder, account: str, status: str | None = None) -> dict[str, Any]:
    """A row of `/orders` and `/orders/{id}`, and the body of an order update."""
    form = order.form
    return {
        "account_id": account,
        "placed_by": account,
        "order_id": order.order_id,
        "exchange_order_id": order.exchange_order_id,
        "parent_order_id": order.parent_id,
        "status": status or order.status.value,
        "status_message": order.message,
        "status_message_raw": order.message_raw,
        "order_timestamp": time_text(order.updated),
        "exchange_update_timestamp": time_text(order.updated) if order.exchange_order_id else None,
        "exchange_timestamp": time_text(order.exchanged),
        "variety": form.variety,
        "modified": order.modifications > 0,
        "exchange": form.exchange,
        "tradingsymbol": form.tradingsymbol,
        "instrument_token": order.instrument_token,
        "order_type": order.order_type,
        "transaction_type": form.side,
        "validity": order.validity,
        "validity_ttl": form.ttl,
        "product": form.product,
        "quantity": order.quantity,
        "disclosed_quantity": form.disclosed,
        "price": rupees(order.limit),
        "trigger_price": rupees(order.trigger),
        "auction_number": None,
        # As Kite's documentation has it: of COMPLETE orders alone
        "average_price": rupees(order.value / order.filled) if order.filled and order.status is Status.COMPLETE else 0,
        "filled_quantity": order.filled,
        "pending_quantity": order.pending,
        "cancelled_quantity": order.cancelled,
        "market_protection": form.protection,
        "meta": order.meta,
        "tag": form.tag,
        "tags": [form.tag] if form.tag else [],
        "guid": f"{account}X{order.order_id}",
    }


def execution_json(execution: Execution, instrument: Instrument) -> dict[str, Any]:
    """A row of `/trades` and `/orders/{id}/trades`."""
    when = time_text(execution.ts)
    return {
        "trade_id": execution.trade_id,
        "order_id": execution.order_id,
        "exchange": instrument.exchange,
        "tradingsymbol": instrument.tradingsymbol,
        "instrument_token": instrument.instrument_token,
        "product": execution.product,
        "average_price": rupees(execution.price),
        "quantity": execution.quantity,
        "exchange_order_id": execution.exchange_order_id,
        "transaction_type": execution.side,
        "fill_timestamp": when,
        "order_timestamp": (when or " ").split(" ")[1],
        "exchange_timestamp": when,
    }
