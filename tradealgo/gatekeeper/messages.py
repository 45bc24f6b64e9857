"""What goes into the Gatekeeper's core and what comes out of it: events and commands, frozen. Wall times in UTC ns."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from tradealgo.bus.keys import Stream
from tradealgo.domain.orders import Order, OrderRequest
from tradealgo.domain.state import Control, TradingState
from tradealgo.gatekeeper.kite import BrokerOrder, BrokerPosition, BrokerTrade, Query

# ---------------------------------------------------------------------------------------------- events


class RequestReceived(msgspec.Struct, frozen=True, gc=False):
    request: OrderRequest


class BadRequest(msgspec.Struct, frozen=True):
    """An entry on the request stream that isn't an OrderRequest."""

    entry_id: str
    text: str


class PricesSeen(msgspec.Struct, frozen=True):
    """Ticks, oldest first: (instrument_token, last price in rupees, ts_event). `ts_init` is when they were received."""

    prices: list[tuple[int, float, int]]
    ts_init: int


class OrderSeen(msgspec.Struct, frozen=True):
    """An order message of the broker's socket."""

    row: BrokerOrder


class Outcome(StrEnum):
    """How a call ended. Only ACCEPTED and REJECTED are the broker's word; NOT_SENT and RATE_LIMITED took no effect."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"
    NOT_SENT = "NOT_SENT"
    RATE_LIMITED = "RATE_LIMITED"
    TOKEN_DEAD = "TOKEN_DEAD"


class CallDone(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`server_second` is the answer's Date header in epoch seconds, None without one."""

    call_id: int
    outcome: Outcome
    order_id: str | None = None
    text: str = ""
    ts_sent: int = 0
    ts_done: int = 0
    server_second: int | None = None


class OrdersSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's whole order book, as it was at or after `asked`."""

    rows: list[BrokerOrder]
    asked: int
    ts_done: int = 0
    server_second: int | None = None


class TradesSeen(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[BrokerTrade]
    asked: int


class PositionsSeen(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[BrokerPosition]
    asked: int


class MarginsSeen(msgspec.Struct, frozen=True, kw_only=True):
    available: float
    asked: int


class QueryFailed(msgspec.Struct, frozen=True, kw_only=True):
    query: Query
    text: str
    token_dead: bool = False


class ControlReceived(msgspec.Struct, frozen=True, kw_only=True):
    """`entry_id` is the control stream's, empty for one that came by the flag file or a signal."""

    control: Control
    entry_id: str = ""


class BusChanged(msgspec.Struct, frozen=True):
    up: bool


class Faulted(msgspec.Struct, frozen=True):
    """Something raised in the shell."""

    text: str


class Timer(msgspec.Struct, frozen=True, gc=False):
    """Time has passed."""


Event = (
    RequestReceived | BadRequest | PricesSeen | OrderSeen | CallDone | OrdersSeen | TradesSeen | PositionsSeen
    | MarginsSeen | QueryFailed | ControlReceived | BusChanged | Faulted | Timer
)  # fmt: skip

# ---------------------------------------------------------------------------------------------- journal records


class Kind(StrEnum):
    """What a journal record is. The first five are published, each on the stream of its name."""

    __hash__ = str.__hash__  # Enum's own is a call into Python

    VERDICT = "VERDICT"
    ORDER = "ORDER"
    FILL = "FILL"
    STATE = "STATE"
    ALERT = "ALERT"
    REQUEST = "REQUEST"
    CALL = "CALL"
    ANSWER = "ANSWER"
    CONTROL = "CONTROL"
    OVERRIDE = "OVERRIDE"
    REARM = "REARM"
    NOTE = "NOTE"
    INSTRUMENTS = "INSTRUMENTS"


STREAMS = {
    Kind.VERDICT: Stream.VERDICTS,
    Kind.ORDER: Stream.ORDERS,
    Kind.FILL: Stream.FILLS,
    Kind.STATE: Stream.STATE,
    Kind.ALERT: Stream.ALERTS,
}


class CallKind(StrEnum):
    PLACE = "PLACE"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that is about to leave. `price` is a modification's new one."""

    call_id: int
    kind: CallKind
    tag: str
    price: float = 0.0
    ts: int = 0


class AnswerRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    call_id: int
    kind: CallKind
    tag: str
    outcome: Outcome
    order_id: str | None = None
    text: str = ""
    ts_sent: int = 0
    ts_done: int = 0


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    entry_id: str
    control: Control


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """One source's say on the trading state."""

    source: str
    state: TradingState
    reason: str = ""
    ts: int = 0


class RearmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`base` is the MTM in paise from which the loss line counts anew."""

    reason: str
    source: str
    base: int
    ts: int


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something worth keeping that changes nothing: a foreign order, an unknown status, a fault."""

    code: str
    text: str
    figures: dict[str, Any] = {}
    ts: int = 0


# ---------------------------------------------------------------------------------------------- commands


class Record(msgspec.Struct, frozen=True, gc=False):
    """Write to the journal, durably, before any Call of the same answer is performed."""

    kind: Kind
    message: Any


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Perform an order call within `LAUNCH_NS` of `admitted` (one that needs a connection first: begin to make it), or
    answer NOT_SENT.
    """

    call_id: int
    kind: CallKind
    order: Order
    price: float = 0.0
    admitted: int = 0


class Ask(msgspec.Struct, frozen=True):
    """Ask the broker's book; the answer comes as an event, also when it fails."""

    query: Query


class Publish(msgspec.Struct, frozen=True):
    """Tell, without keeping: lost if the bus is away."""

    stream: Stream
    message: msgspec.Struct


Command = Record | Call | Ask | Publish
