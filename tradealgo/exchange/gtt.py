"""Good-till-triggered orders: conditions on the last price that place limit orders when they are met. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.exchange.protocol import KiteError, bad_input, time_text

TYPES = {"single": 1, "two-leg": 2}
YEAR_NS = 365 * 86_400 * 1_000_000_000
MAX_ACTIVE = 250


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """`trigger_values` in rupees; `last_price` is the client's idea of the price, which says where each trigger lies."""

    exchange: str
    tradingsymbol: str
    trigger_values: list[float]
    last_price: float


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """The order that a trigger places."""

    exchange: str
    tradingsymbol: str
    transaction_type: str
    quantity: int
    order_type: str
    product: str
    price: float


class Gtt(msgspec.Struct, frozen=True, kw_only=True):
    """One trigger. `results` holds for each leg what its placement brought, once it was triggered."""

    trigger_id: int
    kind: str
    condition: Condition
    legs: list[Leg]
    instrument_token: int
    created: int
    updated: int
    status: str = "active"
    results: list[dict[str, Any] | None] = []

    def fired(self, last: float) -> int | None:
        """Which leg a last price in rupees sets off; None for none."""
        for i, value in enumerate(self.condition.trigger_values):
            above = value > self.condition.last_price
            if (last >= value) if above else (last <= value):
                return i
        return None


def read(form: dict[str, str], instruments: InstrumentBook, trigger_id: int, now: int) -> Gtt:
    """The trigger of a form as the official client sends it. Raises KiteError."""
    kind = form.get("type", "")
    if kind not in TYPES:
        raise bad_input("Invalid `type`.")
    try:
        condition = msgspec.json.decode(form.get("condition", ""), type=Condition)
        legs = msgspec.json.decode(form.get("orders", ""), type=list[Leg])
    except ValueError as error:
        raise bad_input(f"Invalid trigger: {error}.") from error
    if len(condition.trigger_values) != TYPES[kind] or len(legs) != TYPES[kind]:
        raise bad_input(f"A {kind} trigger needs {TYPES[kind]} trigger values and as many orders.")
    prices = [condition.last_price, *condition.trigger_values, *(leg.price for leg in legs)]
    if not all(0 < p < 10**8 for p in prices) or any(v == condition.last_price for v in condition.trigger_values):
        raise bad_input("Trigger values must be positive, and not equal to the last price.")
    try:
        instrument = instruments.find(f"{condition.exchange}:{condition.tradingsymbol}")
    except UnknownInstrument:
        raise bad_input("Invalid `tradingsymbol`.") from None
    return Gtt(
        trigger_id=trigger_id, kind=kind, condition=condition, legs=legs,
        instrument_token=instrument.instrument_token, created=now, updated=now,
    )  # fmt: skip


class Gtts:
    """All triggers of the account."""

    def __init__(self) -> None:
        self.by_id: dict[int, Gtt] = {}
        self.changed: list[Gtt] = []

    def put(self, gtt: Gtt) -> None:
        self.by_id[gtt.trigger_id] = gtt
        self.changed.append(gtt)

    def next_id(self) -> int:
        return max(self.by_id, default=100_000) + 1

    def get(self, text: str) -> Gtt:
        """By id. Raises KiteError."""
        found = self.by_id.get(int(text)) if text.isdigit() and len(text) < 10 else None
        if found is None:
            raise KiteError(404, "GeneralException", "GTT not found")
        return found

    def active(self, text: str) -> Gtt:
        """By id, if it may still be changed. Raises KiteError."""
        found = self.get(text)
        if found.status != "active":
            raise bad_input(f"The trigger is {found.status}: only an active one can be changed.")
        return found

    def watched(self) -> set[int]:
        """Tokens whose price matters."""
        return {g.instrument_token for g in self.by_id.values() if g.status == "active"}

    def due(self, token: int, last: float) -> list[tuple[Gtt, int]]:
        """Triggers that a last price sets off, each with its leg."""
        found = [
            (g, g.fired(last)) for g in self.by_id.values() if g.status == "active" and g.instrument_token == token
        ]
        return [(g, leg) for g, leg in found if leg is not None]

    def drain(self) -> list[Gtt]:
        """What has changed since the last call."""
        changed, self.changed = self.changed, []
        return changed


def gtt_json(gtt: Gtt, account: str) -> dict[str, Any]:
    """A row of `/gtt/triggers`."""
    results = gtt.results or [None] * len(gtt.legs)
    return {
        "id": gtt.trigger_id,
        "user_id": account,
        "parent_trigger": None,
        "type": gtt.kind,
        "created_at": time_text(gtt.created),
        "updated_at": time_text(gtt.updated),
        "expires_at": time_text(gtt.created + YEAR_NS),
        "status": gtt.status,
        "condition": msgspec.structs.asdict(gtt.condition) | {"instrument_token": gtt.instrument_token},
        "orders": [
            msgspec.structs.asdict(leg) | {"result": result} for leg, result in zip(gtt.legs, results, strict=True)
        ],
        "meta": {},
    }
