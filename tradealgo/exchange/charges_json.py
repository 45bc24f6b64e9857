"""Order margins, basket margins and the virtual contract note, as Kite shapes them. Rupees."""

from __future__ import annotations

from typing import Any

import msgspec

from tradealgo.domain.charges import Charges, order_charges
from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Side
from tradealgo.exchange.engine import Engine
from tradealgo.exchange.protocol import ORDER_TYPES, PRODUCTS, SIDES, VARIETIES, bad_input, rupees

MAX_ORDERS = 200


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One order of a margin or charges request, as JSON gives it. Prices in rupees; 0 means the last price."""

    exchange: str
    tradingsymbol: str
    transaction_type: str
    product: str
    quantity: float
    variety: str = "regular"
    order_type: str = "MARKET"
    price: float = 0.0
    trigger_price: float = 0.0
    average_price: float = 0.0
    order_id: str = ""


def read_legs(body: Any) -> list[Leg]:
    """The orders of a request's JSON body. Raises KiteError."""
    try:
        legs = msgspec.convert(body, list[Leg], strict=False)
    except msgspec.ValidationError as error:
        raise bad_input(f"Invalid orders: {error}.") from error
    if not 0 < len(legs) <= MAX_ORDERS:
        raise bad_input(f"Expected 1 to {MAX_ORDERS} orders.")
    for leg in legs:
        known = (
            leg.transaction_type in SIDES and leg.product in PRODUCTS
            and leg.variety in VARIETIES and leg.order_type in ORDER_TYPES
        )  # fmt: skip
        if not known or not 0 < leg.quantity <= 10**8 or not leg.quantity.is_integer() or not 0 <= leg.price < 10**8:
            raise bad_input("Invalid order: check `transaction_type`, `product`, `variety`, `order_type`, `quantity`.")
    return legs


def _instrument(engine: Engine, leg: Leg) -> Instrument:
    try:
        found = engine.instruments.find(f"{leg.exchange}:{leg.tradingsymbol}")
    except UnknownInstrument:
        raise bad_input(f"Invalid `tradingsymbol`: {leg.exchange}:{leg.tradingsymbol}.") from None
    if not found.tradable:
        raise bad_input(f"{found.key} is not tradable.")
    return found


def _price(engine: Engine, leg: Leg, instrument: Instrument) -> int:
    return round((leg.average_price or leg.price) * 100) or engine.board.last_price(instrument.instrument_token)


def charges_json(charges: Charges) -> dict[str, Any]:
    """Charges by name."""
    gst = rupees(charges.gst)
    return {
        "transaction_tax": rupees(charges.stt),
        "transaction_tax_type": "stt",
        "exchange_turnover_charge": rupees(charges.exchange),
        "sebi_turnover_charge": rupees(charges.sebi),
        "brokerage": rupees(charges.brokerage),
        "stamp_duty": rupees(charges.stamp),
        "gst": {"igst": gst, "cgst": 0, "sgst": 0, "total": gst},
        "total": rupees(charges.total),
    }


def _charges(engine: Engine, leg: Leg, instrument: Instrument) -> Charges:
    turnover = int(leg.quantity) * _price(engine, leg, instrument)
    return order_charges(instrument, Side(leg.transaction_type), turnover, engine.day)


def contract_note(engine: Engine, legs: list[Leg]) -> list[dict[str, Any]]:
    """POST /charges/orders: each order with what it costs."""
    out = []
    for leg in legs:
        instrument = _instrument(engine, leg)
        out.append(
            {
                "transaction_type": leg.transaction_type,
                "tradingsymbol": leg.tradingsymbol,
                "exchange": leg.exchange,
                "variety": leg.variety,
                "product": leg.product,
                "order_type": leg.order_type,
                "quantity": int(leg.quantity),
                "price": rupees(_price(engine, leg, instrument)),
                "charges": charges_json(_charges(engine, leg, instrument)),
            }
        )
    return out


def order_margins(engine: Engine, legs: list[Leg]) -> list[dict[str, Any]]:
    """POST /margins/orders: what each order would block on its own."""
    return [_margin(engine, leg) for leg in legs]


def _margin(engine: Engine, leg: Leg) -> dict[str, Any]:
    instrument = _instrument(engine, leg)
    sign = 1 if leg.transaction_type == "BUY" else -1
    price = _price(engine, leg, instrument)
    total = engine.ledger.margin(instrument.instrument_token, leg.product, sign * int(leg.quantity), price)
    premium = instrument.is_option and sign > 0
    charges = charges_json(_charges(engine, leg, instrument))
    return _shape(
        instrument.exchange, instrument.tradingsymbol, total, charges,
        part="option_premium" if premium else "span" if instrument.is_derivative else "var",
    )  # fmt: skip


def _shape(
    exchange: str, symbol: str, total: int, charges: dict[str, Any] | None, part: str = "span"
) -> dict[str, Any]:  # fmt: skip
    parts = dict.fromkeys(("span", "exposure", "option_premium", "additional", "bo", "cash", "var"), 0.0)
    return {
        "type": "equity",
        "tradingsymbol": symbol,
        "exchange": exchange,
        **parts,
        part: rupees(total),
        "pnl": {"realised": 0, "unrealised": 0},
        "leverage": 1,
        "charges": charges or {},
        "total": rupees(total),
    }


def basket_margins(engine: Engine, legs: list[Leg], consider_positions: bool, compact: bool) -> dict[str, Any]:
    """POST /margins/basket: the sum of the orders' margins, and what the basket as a whole would add.

    Opposite orders of one instrument offset each other; no benefit is given between instruments (?).
    """
    net: dict[tuple[int, str], int] = {}
    for leg in legs:
        token = _instrument(engine, leg).instrument_token
        sign = 1 if leg.transaction_type == "BUY" else -1
        net[token, leg.product] = net.get((token, leg.product), 0) + sign * int(leg.quantity)
    final = 0
    for key, quantity in net.items():
        held = engine.ledger.holdings[key].quantity if consider_positions and key in engine.ledger.holdings else 0
        price = engine.board.last_price(key[0])
        final += max(0, engine.ledger.margin(*key, held + quantity, price) - engine.ledger.margin(*key, held, price))
    orders = order_margins(engine, legs)
    initial = round(sum(o["total"] for o in orders) * 100)
    return {
        "initial": _shape("", "", initial, None),
        "final": _shape("", "", final, None),
        "orders": [] if compact else orders,
    }
