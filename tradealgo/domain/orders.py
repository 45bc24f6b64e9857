"""Order requests, orders and fills: frozen messages, named once. The life of an order is the table in `order_machine`."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from tradealgo.domain.shown import Shown

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#: Two characters for each ten bits: the library's own base 32 takes many times as long.
_PAIRS = [a + b for a in _BASE32 for b in _BASE32]


class Side(StrEnum):
    __hash__ = str.__hash__  # Enum's own is a call into Python

    BUY = "BUY"
    SELL = "SELL"

    def __init__(self, value: str) -> None:
        self.sign = 1 if value == "BUY" else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class Product(StrEnum):
    INTRADAY = "MIS"
    CARRY = "NRML"
    DELIVERY = "CNC"


class Intent(StrEnum):
    """Why an order exists; also its rank in the rate budget (kill first, entries last)."""

    __hash__ = str.__hash__  # Enum's own is a call into Python

    KILL = "KILL"
    EXIT = "EXIT"
    PROTECT = "PROTECT"  # rests at the broker while a position is held
    ENTRY = "ENTRY"


class OrderState(StrEnum):
    __hash__ = str.__hash__  # Enum's own is a call into Python

    NEW = "NEW"
    JOURNALED = "JOURNALED"
    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    CANCEL_PENDING = "CANCEL_PENDING"
    MODIFY_PENDING = "MODIFY_PENDING"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    DENIED = "DENIED"
    EXPIRED = "EXPIRED"


DONE_STATES = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.DENIED, OrderState.EXPIRED}
)
#: May still fill at the broker, or may exist there without our knowing.
WORKING_STATES = frozenset(set(OrderState) - DONE_STATES - {OrderState.NEW})


class OrderRequest(Shown, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the Consumer asks of the Gatekeeper: sized, not yet checked.

    `request_id` is made of what the request is about (see `request_id`), so a restarted Consumer asks again under the
    same id and the Gatekeeper knows it. `quantity` in units, always positive. `position_after` is the signed quantity
    that the strategy wants to hold once it has filled. `reference_price` is the close that it was sized on, in rupees.
    `stop` and `target` are the strategy's prices in rupees at entry, for protective orders at the broker; None for none.
    `group` names the basket that an entry belongs to: its `group_size` requests, one an instrument, stand or fall
    together; empty for a request that stands alone. Times in UTC nanoseconds: `start` names the candle, the others are
    the stamps of the tick-to-order chain.
    """

    request_id: str
    session_id: str
    strategy: str
    instrument_token: int
    instrument: str
    side: Side
    quantity: int
    position_after: int
    reference_price: float
    intent: Intent
    start: int
    stop: float | None = None
    target: float | None = None
    group: str = ""
    group_size: int = 0
    reason: str = ""
    ts_event: int = 0
    ts_init: int = 0
    ts_closed: int = 0
    ts_signalled: int = 0
    ts_requested: int = 0


class Order(Shown, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The live record of one broker order. A change makes a new one (`msgspec.structs.replace`).

    `price` is the limit in rupees (0.0: none), `trigger` a stop order's (0.0: not a stop). `average_price` covers what has filled. `request_id` names the request
    that it serves; the kill's own exits have ids that begin with `kill:`.
    """

    tag: str
    request_id: str
    session_id: str
    instrument_token: int
    instrument: str
    side: Side
    quantity: int
    price: float
    trigger: float = 0.0
    intent: Intent
    product: Product = Product.INTRADAY
    state: OrderState = OrderState.NEW
    order_id: str | None = None
    exchange_order_id: str | None = None
    filled_quantity: int = 0
    average_price: float = 0.0
    modifications: int = 0
    text: str = ""
    reason: str = ""
    start: int = 0
    ts_event: int = 0
    ts_init: int = 0
    ts_closed: int = 0
    ts_signalled: int = 0
    ts_requested: int = 0
    ts_checked: int = 0
    ts_sent: int = 0
    ts_acknowledged: int = 0
    ts_updated: int = 0

    @property
    def pending_quantity(self) -> int:
        """Units that may still fill; 0 once done."""
        return 0 if self.state in DONE_STATES else self.quantity - self.filled_quantity

    @property
    def is_done(self) -> bool:
        return self.state in DONE_STATES


class Fill(Shown, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution. `trade_id` is the broker's: the same id twice, of the same order, is the same fill. `price` in rupees."""

    trade_id: str
    tag: str
    order_id: str
    instrument_token: int
    instrument: str
    side: Side
    quantity: int
    price: float
    ts_event: int
    ts_init: int = 0


#: Codes of a Verdict that more than one part must know: let through; and not the first of its request id.
SUBMIT, DUPLICATE = "SUBMIT", "DUPLICATE"


class Verdict(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """What the Gatekeeper said to a request. `code` is "SUBMIT" or a denial's code; `figures` are its numbers."""

    request_id: str
    instrument: str
    code: str
    text: str
    figures: dict[str, float | int | str | None]
    ts: int


class BrokerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An order message of the broker's WebSocket as it came (Kite's names); also of orders that aren't ours."""

    data: dict[str, Any]
    ts_init: int


def request_id(session_id: str, instrument_token: int, start: int, leg: str = "") -> str:
    """The one id of the request that `instrument_token`'s candle at `start` gave rise to in this session."""
    return f"{session_id}:{instrument_token}:{start}" + (f":{leg}" if leg else "")


def tag_for(request_id: str, slice_number: int = 0) -> str:
    """The tag under which a slice of a request goes to the broker: 20 alphanumeric characters, always the same ones.

    95 bits of BLAKE2b in base 32 behind a "T": no two requests of an account's life meet by chance.
    """
    digest = hashlib.blake2b(f"{request_id}/{slice_number}".encode(), digest_size=12).digest()
    n, pairs = int.from_bytes(digest, "big"), _PAIRS  # 96 bits: the last one is not used
    return (
        f"T{pairs[n >> 86]}{pairs[n >> 76 & 1023]}{pairs[n >> 66 & 1023]}{pairs[n >> 56 & 1023]}{pairs[n >> 46 & 1023]}"
        f"{pairs[n >> 36 & 1023]}{pairs[n >> 26 & 1023]}{pairs[n >> 16 & 1023]}{pairs[n >> 6 & 1023]}{_BASE32[n >> 1 & 31]}"
    )
