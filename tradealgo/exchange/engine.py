"""The exchange's core: orders in, ticks in; a book, a ledger and a list of changes out. No clock, no randomness, no I/O.

`now` is the data clock, set by whoever drives it. Everything that must be remembered comes out of `drain()` and goes
back in through `restore()`, so a restart forgets nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.hours import MarketHours, market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.exchange import matching, rules
from tradealgo.exchange.board import CIRCUIT, Board, Depth, best_levels
from tradealgo.exchange.book import Book, Change, Event
from tradealgo.exchange.gtt import Gtt, Gtts
from tradealgo.exchange.ledger import Ledger
from tradealgo.exchange.matching import Quote
from tradealgo.exchange.orders import BookOrder, Conversion, Execution, OrderForm
from tradealgo.exchange.protocol import WORKING, KiteError, Status, bad_input, bad_order, rupees, time_text

MINUTE_NS = 60_000_000_000


def _insist(reasons: tuple[str, str] | None) -> None:
    """Refuse at the door, for a reason of risk management's, what leaves no order in the book. Raises KiteError."""
    if reasons:
        raise KiteError(400, "MarginException", reasons[0])


class Placed(msgspec.Struct, frozen=True):
    """The answer to a placement: the order's id, or with slices the parent's and each child's id or error."""

    order_id: str
    children: list[str | KiteError] = []


class Engine:
    """One account on one day's market.

    Args:
        instruments: all that is listed on the day.
        snapshot: the latest TICK of each instrument as the day begins.
        capital: opening cash in paise.
        depth: how to see a tick's levels; by default the one level it carries.
    """

    def __init__(
        self, day: dt.date, instruments: InstrumentBook, snapshot: np.ndarray, capital: int,
        *, depth: Depth = best_levels, circuit: rules.Circuit = CIRCUIT, modifications: int = 25,
    ) -> None:  # fmt: skip
        self.day, self.instruments, self.modifications = day, instruments, modifications
        self.book = Book()
        self.ledger = Ledger({i.instrument_token: i for i in instruments}, capital)
        self.now = 0
        self.board = Board(instruments, snapshot, depth, circuit)
        self.gtts = Gtts()
        self._halted: dict[int, int] = {}
        self._hours: dict[int, MarketHours] = {}
        self._ids = 0

    # ------------------------------------------------------------------------------------------ market data

    def on_ticks(self, ticks: np.ndarray) -> None:
        """New ticks, in the order in which they happened: match what rests against each of them."""
        if not len(ticks):
            return
        watched = self.board.quotes.keys() | self.book.working.keys() | self.gtts.watched()
        for i in np.flatnonzero(np.isin(ticks["instrument_token"], list(watched))).tolist() if watched else ():
            self.now = max(self.now, int(ticks["ts_event"][i]))
            quote = self.board.show(ticks[i])
            self._match(int(ticks["instrument_token"][i]), quote)
        self.board.put(ticks)

    def last_prices(self) -> dict[int, int]:
        """Last prices in paise of what is in the ledger."""
        return {token: self.board.last_price(token) for token, _ in self.ledger.holdings}

    def halt(self, token: int, until: int) -> None:
        """A circuit halt: no order of this instrument is taken or matched before data time `until`."""
        self._halted[token] = until

    def _is_halted(self, token: int) -> bool:
        return self.now < self._halted.get(token, 0)

    # ------------------------------------------------------------------------------------------ requests

    def place(self, variety: str, form: Mapping[str, str], refusal: str | None = None) -> Placed:
        """A POST to `/orders/{variety}`. `refusal`: the exchange rejects it, for that reason, after it was accepted.

        Raises KiteError for what the broker refuses at the door; what its risk management or the exchange refuses is
        an order in the book with status REJECTED.
        """
        asked = rules.read_form(variety, form)
        instrument = self._find(asked)
        token = instrument.instrument_token
        if not self.board.tick(token)["ts_event"]:
            raise bad_input(f"No market data for {instrument.key}.")
        rules.check(asked, instrument, self.day, self.board.band(instrument), self.board.last_price(token))
        self._check_hours(asked, instrument)
        freeze = rules.freeze_quantity(instrument)
        if asked.autoslice and asked.quantity > freeze:
            return self._slices(asked, instrument, freeze, refusal)
        if asked.variety == "iceberg":
            return Placed(self._iceberg_leg(asked, instrument, 1, asked.quantity).order_id)
        return Placed(self._accept(asked, instrument, asked.quantity, refusal=refusal).order_id)

    def _find(self, form: OrderForm) -> Instrument:
        try:
            return self.instruments.find(f"{form.exchange}:{form.tradingsymbol}")
        except UnknownInstrument:
            raise bad_input(
                "The instrument you are placing an order for has either expired or does not exist."
            ) from None

    def hours(self, instrument: Instrument) -> MarketHours:
        """Today's trading of an instrument."""
        found = self._hours.get(instrument.instrument_token)
        if found is None:
            found = self._hours[instrument.instrument_token] = market_hours(instrument, self.day)
        return found

    def _is_open(self, instrument: Instrument) -> bool:
        return self.hours(instrument).is_open(self.now)

    def _in_auction(self, instrument: Instrument) -> bool:
        hours = self.hours(instrument)
        return hours.close <= self.now < hours.auction_end

    def _check_hours(self, form: OrderForm, instrument: Instrument) -> None:
        if form.variety == "amo":
            if self._is_open(instrument):
                raise bad_input("After Market Orders (AMO) are not allowed during market hours.")
        elif self._in_auction(instrument):
            if form.order_type in ("SL", "SL-M") or form.validity == "IOC" or form.variety == "iceberg":
                raise bad_input("Stoploss, IOC and iceberg orders are not allowed in the closing auction.")
        elif not self._is_open(instrument):
            raise bad_input("Markets are closed right now. Use GTT for placing long standing orders instead.")

    def _slices(self, form: OrderForm, instrument: Instrument, freeze: int, refusal: str | None) -> Placed:
        parent, left, children = self._next_id(), form.quantity, []
        while left:
            quantity = min(left, freeze)
            children.append(self._accept(form, instrument, quantity, parent_id=parent, refusal=refusal).order_id)
            left -= quantity
        return Placed(parent, list(children))

    def _iceberg_leg(self, form: OrderForm, instrument: Instrument, leg: int, remaining: int) -> BookOrder:
        lot = instrument.lot_size
        each = -(-form.quantity // (form.legs * lot)) * lot
        quantity = min(each, remaining)
        meta = {
            "iceberg": {
                "leg": leg, "legs": form.legs, "leg_quantity": each, "total_quantity": form.quantity,
                "remaining_quantity": remaining - quantity,
            }
        }  # fmt: skip
        return self._accept(form, instrument, quantity, meta=meta)

    def _next_id(self) -> str:
        self._ids += 1
        return f"{self.day:%y%m%d}{self._ids:09d}"

    def _accept(
        self, form: OrderForm, instrument: Instrument, quantity: int,
        *, parent_id: str | None = None, meta: dict[str, Any] | None = None, refusal: str | None = None,
    ) -> BookOrder:  # fmt: skip
        order = BookOrder(
            order_id=self._next_id(), form=form, instrument_token=instrument.instrument_token,
            status=Status.AMO_RECEIVED if form.variety == "amo" else Status.RECEIVED, quantity=quantity,
            limit=form.price, trigger=form.trigger, order_type=form.order_type, validity=form.validity,
            placed=self.now, updated=self.now, parent_id=parent_id, meta=meta or {},
            expires=self.now + form.ttl * MINUTE_NS if form.validity == "TTL" else 0,
        )  # fmt: skip
        self.book.add(order)
        return order if form.variety == "amo" else self._submit(order, instrument, refusal)

    def _submit(self, order: BookOrder, instrument: Instrument, refusal: str | None = None) -> BookOrder:
        order = self.book.move(order, Event.VALIDATE, self.now)
        reasons = self._risk(order)
        if reasons:
            return self.book.move(order, Event.REJECT, self.now, message=reasons[0], message_raw=reasons[1])
        order = self.book.move(order, Event.PASS, self.now)
        if refusal is None and self._is_halted(order.instrument_token):
            refusal = "16387 : Security is not allowed to trade in this market"
        if refusal is not None:
            return self.book.move(order, Event.REJECT, self.now, message=refusal, message_raw=refusal)
        at_exchange = {"exchange_order_id": f"11{order.order_id[2:]}", "exchanged": self.now}
        if order.order_type in ("SL", "SL-M"):
            return self.book.move(order, Event.STOP, self.now, **at_exchange)
        order = self.book.move(order, Event.OPEN, self.now, **at_exchange, **self._priced(order, instrument))
        return self._arrive(order)

    def _priced(self, order: BookOrder, instrument: Instrument) -> dict[str, object]:
        """A market order becomes a limit order at its protection, in the book too."""
        if order.order_type not in ("MARKET", "SL-M"):
            return {}
        token, form = order.instrument_token, order.form
        limit = rules.protected_limit(
            form.side, form.protection, self.board.last_price(token), instrument, self.board.band(instrument)
        )  # fmt: skip
        return {"order_type": "LIMIT", "limit": limit}

    # ------------------------------------------------------------------------------------------ risk

    def blocked(self, extra: BookOrder | None = None) -> int:
        """Margin in paise blocked by positions and working orders, and `extra`."""
        sides: dict[tuple[int, str], list[int]] = {key: [0, 0] for key in self.ledger.holdings}
        orders = [o for by_id in self.book.working.values() for o in by_id.values()]
        for order in orders + ([extra] if extra is not None else []):
            pair = sides.setdefault((order.instrument_token, order.form.product), [0, 0])
            pair[0 if order.is_buy else 1] += order.quantity - order.filled
        return sum(
            self.ledger.worst_margin(key, buying, selling, self.board.last_price(key[0]))
            for key, (buying, selling) in sides.items()
        )

    def available(self) -> int:
        """Paise free for new margin."""
        return self.ledger.capital + self.ledger.mtm(self.last_prices()) - self.blocked()

    def _risk(self, order: BookOrder) -> tuple[str, str] | None:
        """Why risk management rejects an order: for people, and raw; None if it passes."""
        if order.form.product == "CNC" and not order.is_buy and self._deliverable(order) < order.quantity:
            text = "Insufficient stock holding or there are pending sell orders for this stock. Check the orderbook."
            return text, "RMS:Rule: Check holdings including BTST"
        return self._shortfall(self.blocked(order) - self.blocked())

    def _shortfall(self, required: int) -> tuple[str, str] | None:
        """Why a margin in paise can't be had: for people, and raw; None if it can."""
        free = self.available()
        if required <= max(0, free):
            return None
        need, have = f"{rupees(required):.2f}", f"{rupees(free):.2f}"
        text = f"Insufficient funds. Required margin is {need} but available margin is {have}."
        return f"{text} Check the orderbook for open orders.", f"RMS:Margin Exceeds,Required:{need}, Available:{have}"

    def _deliverable(self, order: BookOrder) -> int:
        key = (order.instrument_token, "CNC")
        held = self.ledger.holdings[key].quantity if key in self.ledger.holdings else 0
        others = self.book.working.get(order.instrument_token, {}).values()
        return held - sum(o.pending for o in others if not o.is_buy and o.form.product == "CNC")

    # ------------------------------------------------------------------------------------------ modify and cancel

    def modify(self, variety: str, order_id: str, form: Mapping[str, str]) -> str:
        """A PUT to `/orders/{variety}/{order_id}`. Raises KiteError."""
        order = self._changeable(variety, order_id, "modified")
        if order.modifications >= self.modifications:
            raise bad_input("Maximum allowed order modifications exceeded.")
        instrument = self.instruments.by_token(order.instrument_token)
        asked = self._asked(order, form)
        rules.check_quantity(msgspec.structs.replace(asked, autoslice=False, legs=0), instrument)
        if asked.quantity <= order.filled:
            raise bad_input("Quantity cannot be reduced to or below the filled quantity.")
        rules.check_prices(asked.order_type, asked.price, asked.trigger, instrument, self.board.band(instrument))
        rules.check_protection(asked, instrument, self.day)
        if asked.order_type in ("SL", "SL-M") and not order.triggered:
            rules.check_trigger(asked, self.board.last_price(order.instrument_token))
        if (more := asked.quantity - order.quantity) > 0:
            _insist(self._risk(msgspec.structs.replace(order, quantity=more, filled=0)))
        self._apply(order, asked, instrument)
        return order_id

    @staticmethod
    def _asked(order: BookOrder, form: Mapping[str, str]) -> OrderForm:
        """The order's form with what the request changes. A market order in the book is a LIMIT order by now."""
        current = {
            "exchange": order.form.exchange, "tradingsymbol": order.form.tradingsymbol,
            "transaction_type": order.form.side, "product": order.form.product, "quantity": str(order.quantity),
            "order_type": order.order_type, "price": f"{order.limit / 100:.2f}",
            "trigger_price": f"{order.trigger / 100:.2f}", "validity": order.validity,
            "validity_ttl": str(order.form.ttl), "market_protection": f"{order.form.protection:g}",
        }  # fmt: skip
        changes = {k: v for k, v in form.items() if k in current and v}
        asked = rules.read_form(order.form.variety, current | changes)
        return msgspec.structs.replace(asked, tag=order.form.tag, legs=order.form.legs)

    def _apply(self, order: BookOrder, asked: OrderForm, instrument: Instrument) -> None:
        loses_place = asked.price != order.limit or asked.quantity > order.quantity
        order = self.book.move(order, Event.MODIFY, self.now)
        order = self.book.move(order, Event.MODIFY_PASS, self.now)
        changed = msgspec.structs.replace(order, form=asked, order_type=asked.order_type, limit=asked.price)
        order = self.book.move(
            order, Event.MODIFIED, self.now, form=asked, quantity=asked.quantity, trigger=asked.trigger,
            validity=asked.validity, modifications=order.modifications + 1, exchanged=self.now,
            **({"order_type": asked.order_type, "limit": asked.price} | self._priced(changed, instrument)),
            queue_ahead=-1 if loses_place else order.queue_ahead,
        )  # fmt: skip
        stop = asked.order_type in ("SL", "SL-M") and not order.triggered
        order = self.book.move(order, Event.REARM if stop else Event.REOPEN, self.now)
        if not stop:
            self._arrive(order)

    def _changeable(self, variety: str, order_id: str, verb: str) -> BookOrder:
        if order_id not in self.book:
            raise bad_order("Couldn't find that `order_id`.")
        order = self.book[order_id]
        if order.form.variety != variety:
            raise bad_input("Invalid `variety`.")
        if order.status not in WORKING and not (verb == "cancelled" and order.status is Status.AMO_RECEIVED):
            raise bad_order(f"Order cannot be {verb} as it is being processed or done: its status is {order.status}.")
        return order

    def cancel(self, variety: str, order_id: str) -> str:
        """A DELETE to `/orders/{variety}/{order_id}`. Raises KiteError."""
        self._withdraw(self._changeable(variety, order_id, "cancelled"))
        return order_id

    def _withdraw(self, order: BookOrder, message: str | None = None) -> None:
        if order.status is not Status.AMO_RECEIVED:
            order = self.book.move(order, Event.CANCEL, self.now)
        self.book.move(order, Event.CANCELLED, self.now, cancelled=order.quantity - order.filled, message=message)

    def fill_after_cancel(self, order_id: str) -> None:
        """A fault: the exchange filled the order, at its limit, before it heard of the cancel."""
        order = self.book[order_id]
        if order.status is Status.CANCELLED and order.exchange_order_id:
            self._fill(order, [matching.Piece(order.limit, order.quantity - order.filled)])

    def convert(self, form: Mapping[str, str]) -> None:
        """PUT /portfolio/positions: move a position, or a part of it, to another product. Raises KiteError."""
        asked = rules.read_form(
            "regular", {**form, "product": form.get("new_product", ""), "order_type": "MARKET", "validity": "DAY"}
        )
        instrument, old = self._find(asked), form.get("old_product", "")
        rules.check_product(asked, instrument)
        holding = self.ledger.holdings.get((instrument.instrument_token, old))
        held, sign = (holding.quantity if holding else 0), 1 if asked.side == "BUY" else -1
        if old == asked.product or not 0 < asked.quantity <= sign * held:
            raise bad_input(f"Cannot convert {asked.quantity}: the {asked.side} position in {old} is {held}.")
        token, last = instrument.instrument_token, self.board.last_price(instrument.instrument_token)
        then, now = (self.ledger.margin(token, p, sign * asked.quantity, last) for p in (asked.product, old))
        _insist(self._shortfall(then - now))
        moved = Conversion(
            instrument_token=instrument.instrument_token, old_product=old, new_product=asked.product,
            quantity=sign * asked.quantity,
        )  # fmt: skip
        self.ledger.convert(moved)
        self.book.changes.append(Change(conversion=moved))

    # ------------------------------------------------------------------------------------------ matching

    def _arrive(self, order: BookOrder) -> BookOrder:
        """An order has come to the exchange: it takes what it crosses, and rests or (IOC) goes."""
        quote = self.board.quote(order.instrument_token)
        if not self._is_open(self.instruments.by_token(order.instrument_token)):
            return order  # in the closing auction orders wait for its end
        passive = matching.is_passive(order, quote)
        order = self._fill(order, matching.take(order, quote))
        if order.status is not Status.OPEN:
            return order
        if order.validity == "IOC":
            self._withdraw(order)
            return self.book[order.order_id]
        order = msgspec.structs.replace(order, passive=passive)
        return self.book.note_queue(order, matching.joined_queue(order, quote), force=True)

    def _fill(self, order: BookOrder, pieces: Sequence[matching.Piece]) -> BookOrder:
        for price, quantity in pieces:
            execution = Execution(
                trade_id=str(len(self.book.executions) + 1).zfill(8), order_id=order.order_id,
                exchange_order_id=order.exchange_order_id or "", instrument_token=order.instrument_token,
                product=order.form.product, side=order.form.side, quantity=quantity, price=price, ts=self.now,
            )  # fmt: skip
            self.ledger.book(execution)
            order = self.book.execute(order, execution)
        if pieces and order.status is Status.COMPLETE:
            self._next_leg(order)
        return order

    def _next_leg(self, order: BookOrder) -> None:
        iceberg = order.meta.get("iceberg")
        if iceberg and iceberg["remaining_quantity"]:
            instrument = self.instruments.by_token(order.instrument_token)
            self._iceberg_leg(order.form, instrument, iceberg["leg"] + 1, iceberg["remaining_quantity"])

    def _match(self, token: int, quote: Quote) -> None:
        if self._is_halted(token) or not self._is_open(self.instruments.by_token(token)):
            return
        for trigger, leg in self.gtts.due(token, quote.last / 100):
            self._fire(trigger, leg)
        orders = self.book.working.get(token)
        if not orders:
            del self.board.quotes[token]
            return
        for order in matching.in_priority(orders.values()):
            if order.status is Status.TRIGGER_PENDING and matching.triggers(order, quote.last):
                self._trigger(order)
            elif order.status is Status.OPEN:
                self._serve(order, quote)

    def _fire(self, trigger: Gtt, number: int) -> None:
        """A condition is met: place its order, and note what came of that."""
        leg, results = trigger.legs[number], list[dict[str, Any] | None]([None] * len(trigger.legs))
        form = {k: str(v) for k, v in msgspec.structs.asdict(leg).items()} | {"validity": "DAY"}
        try:
            outcome = {"status": "success", "order_id": self.place("regular", form).order_id, "rejection_reason": ""}
        except KiteError as error:
            outcome = {"status": "failed", "order_id": "", "rejection_reason": error.message}
        results[number] = {"timestamp": time_text(self.now), "order_result": outcome}
        self.gtts.put(msgspec.structs.replace(trigger, status="triggered", updated=self.now, results=results))

    def _trigger(self, order: BookOrder) -> None:
        instrument = self.instruments.by_token(order.instrument_token)
        priced = {"order_type": "LIMIT"} | self._priced(order, instrument)
        self._arrive(self.book.move(order, Event.TRIGGER, self.now, triggered=True, **priced))

    def _serve(self, order: BookOrder, quote: Quote) -> None:
        if not order.passive:
            self._fill(order, matching.take(order, quote))
            return
        pieces, queue = matching.rest(order, quote)
        order = self.book.note_queue(order, queue)
        self._fill(order, pieces)

    # ------------------------------------------------------------------------------------------ time

    def on_time(self, now: int) -> None:
        """The data clock stands at `now`: expire, close, release what waited for the open."""
        self.now = max(self.now, now)
        for orders in list(self.book.working.values()):
            for order in list(orders.values()):
                self._age(order)

    def _age(self, order: BookOrder) -> None:
        instrument = self.instruments.by_token(order.instrument_token)
        hours = self.hours(instrument)
        if order.status is Status.AMO_RECEIVED:
            if hours.is_open(self.now):
                self._submit(self.book.move(order, Event.RELEASE, self.now), instrument)
        elif order.expires and self.now >= order.expires:
            self._withdraw(order, "Order validity expired.")
        elif self.now >= (hours.auction_end if order.placed >= hours.close else hours.close):
            self._close(order)

    def _close(self, order: BookOrder) -> None:
        """Trading has ended. An order of the closing auction trades whole at the last price, if its limit allows (?)."""
        last = self.board.last_price(order.instrument_token)
        auctioned = order.placed >= self.hours(self.instruments.by_token(order.instrument_token)).close
        if auctioned and order.sign * (order.limit - last) >= 0:
            self._fill(order, [matching.Piece(last, order.pending)])
        else:
            self._withdraw(order, "Order cancelled: the market has closed.")

    # ------------------------------------------------------------------------------------------ memory

    def drain(self) -> list[Change]:
        """What has changed since the last call."""
        return self.book.drain()

    def restore(
        self, order: BookOrder | None, execution: Execution | None, conversion: Conversion | None = None
    ) -> None:  # fmt: skip
        """Take back a change that an earlier process logged."""
        self.book.restore(order, execution)
        if conversion is not None:
            self.ledger.convert(conversion)
        if execution is not None:
            self.ledger.book(execution)
            self.now = max(self.now, execution.ts)
        if order is not None:
            self._ids = max(self._ids, int(order.order_id[6:]), int((order.parent_id or "0" * 7)[6:]))
            self.now = max(self.now, order.updated)

    def settle(self) -> None:
        """After the last `restore`: resting orders join the back of the queue at their price."""
        for by_id in list(self.book.working.values()):
            for order in list(by_id.values()):
                if order.status is Status.OPEN:
                    passive = matching.is_passive(order, self.board.quote(order.instrument_token))
                    self.book.note_queue(msgspec.structs.replace(order, passive=passive), -1, force=True)
