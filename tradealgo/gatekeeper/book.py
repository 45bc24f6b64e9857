"""What the Gatekeeper holds to be true: its orders, positions, prices, and the exposure that follows, worst case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tradealgo.domain.hours import DAY_NS, IST_OFFSET_NS, MarketHours, ist_date, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import WORKING_STATES, Fill, Intent, Order, OrderState, Side
from tradealgo.domain.portfolio import Portfolio, to_paise

#: On its way to the broker: there is nothing to look after in an entry yet.
LEAVING_STATES = frozenset({OrderState.JOURNALED, OrderState.SUBMITTING})

#: Read often (see `core`).
BUY, SELL, UNKNOWN, ENTRY = Side.BUY, Side.SELL, OrderState.UNKNOWN, Intent.ENTRY
#: A tick this much older than the broker's own last price gives way to it.
QUOTE_AFTER_NS = 3_000_000_000
#: The broker's positions may be this much behind its orders (zerodha/pykiteconnect issue 62).
LAG_NS = 3_000_000_000


class Price(msgspec.Struct, frozen=True, gc=False):
    """An instrument's last price in rupees, the exchange's time of it and ours (UTC ns)."""

    last: float
    ts_event: int
    ts_init: int


class Foreign(msgspec.Struct, frozen=True):
    """An order of the account that this session didn't place: seen, counted, never touched."""

    order_id: str
    instrument: str
    side: Side
    pending: int
    price: float


class Book:
    """Orders by tag, the portfolio, last prices. An order's fills count as soon as the broker tells of them, booked or not.

    Args:
        instruments: all that the session may trade.
        capital: rupees.
    """

    def __init__(self, instruments: Iterable[Instrument], capital: float) -> None:
        self.instruments = {i.instrument_token: i for i in instruments}
        self.by_key = {i.key: i for i in self.instruments.values()}
        self.capital = capital
        self.portfolio = Portfolio(self.instruments)
        self.orders: dict[str, Order] = {}
        self.working: dict[str, Order] = {}
        # Tags of them, but of the entries that leave or rest: those have their time (see `lifecycle`)
        self.awake: set[str] = set()
        self.unknown: dict[str, Order] = {}  # of them, those whose outcome isn't known
        self.by_order_id: dict[str, str] = {}
        self.prices: dict[int, Price] = {}  # ticks
        self.quotes: dict[int, Price] = {}  # from the broker's positions, where ticks fail
        self.foreign: dict[str, Foreign] = {}
        self.outside: dict[int, int] = {}  # units that the account holds beyond ours, signed, as of the last look
        # The same where the broker's positions may only lag: not believed, not sold either
        self.doubted: dict[int, int] = {}
        self.available: float | None = None  # rupees, the broker's own figure
        self.ts_event = 0
        self.changed_at = 0  # wall clock of the last change of an own order or fill
        self.day = (0, 0)  # the exchange's Indian day, from and until, UTC ns
        self._hours: dict[int, MarketHours] = {}
        self._by_token: dict[int, dict[str, Order]] = {}
        self._own_tokens: set[int] = set()
        self._held: dict[int, int] = {}
        self._open: set[int] = set()  # with a booked position
        self._pending: dict[tuple[int, Side], int] = {}
        self._was: dict[int, list[tuple[int, int]]] = {}  # when a fill was heard of, and the position before it
        self._booked: dict[str, int] = {}
        self._unbooked: dict[str, int] = {}
        # Rupees, of those unbooked: the broker names no average before the order is complete
        self._likely: dict[str, float] = {}
        # By token, where there is any: the worst quantity as of the last sum, and what that is worth now
        self._units: dict[int, int] = {}
        self._exposure: dict[int, float] = {}
        self._resized: set[int] = set()  # where it may be another by now
        # Where an order filled or ended, or a position or a word changed, since the pursuit of exits looked
        self.unsettled: set[int] = set()

    # ------------------------------------------------------------------ changes

    def put(self, order: Order, now: int) -> None:
        """Take an order's new record. Its quantity is never another one."""
        tag, token, state, pending = order.tag, order.instrument_token, order.state, 0
        before, known = self.working.get(tag), self.orders.get(tag)
        if before is None and token not in self._by_token:
            self._by_token[token] = {}
            self._own_tokens.add(token)
        self.orders[tag] = order
        self.changed_at = now
        if order.order_id:
            self.by_order_id[order.order_id] = tag
        if state is UNKNOWN:
            self.unknown[tag] = order
        elif self.unknown:
            self.unknown.pop(tag, None)
        if state in WORKING_STATES:
            self.working[tag] = self._by_token[token][tag] = order
            if state not in LEAVING_STATES or order.intent is not ENTRY:
                self.awake.add(tag)
            if before is not None and before.filled_quantity == order.filled_quantity:
                return  # it works on, and no figure is another one
            pending = order.quantity - order.filled_quantity
        elif before is not None:
            del self.working[tag], self._by_token[token][tag]
            self.awake.discard(tag)
        if before is not None:
            pending -= before.quantity - before.filled_quantity
        if pending:
            self._pending[token, order.side] = self._pending.get((token, order.side), 0) + pending
        if order.filled_quantity or self._unbooked:
            self._note_filled(order, known, now)
        self._resized.add(token)
        self.unsettled.add(token)

    def book(self, fill: Fill, now: int) -> bool:
        """Book an execution of an own order; False if it is booked already."""
        if not self.portfolio.apply(fill):
            return False
        token, tag, order = fill.instrument_token, fill.tag, self.orders.get(fill.tag)
        self._remember(token, now)
        self._booked[tag] = self._booked.get(tag, 0) + fill.quantity
        held = self._held[token] = self._held.get(token, 0) + fill.side.sign * fill.quantity
        if held:
            self._open.add(token)
        else:
            self._open.discard(token)
        if order is not None:
            self._count_unbooked(order)
        self._resized.add(token)
        self.unsettled.add(token)
        price = self.quotes.get(token) or self.prices.get(token)
        self.portfolio.mark(token, price.last if price else fill.price)
        self.changed_at = now
        return True

    def _note_filled(self, order: Order, known: Order | None, now: int) -> None:
        if order.filled_quantity > (known.filled_quantity if known else 0):
            self._remember(order.instrument_token, now)
        self._count_unbooked(order)

    def _remember(self, token: int, now: int) -> None:
        self._was[token] = [(at, units) for at, units in self._was.get(token, ()) if now - at < LAG_NS]
        self._was[token].append((now, self.position(token)))

    def may_lag(self, token: int, shown: int, asked: int) -> bool:
        """Whether the broker may show `shown` units of ours, signed, only because its positions lag our last fills."""
        was = [units for at, units in self._was.get(token, ()) if asked - at < LAG_NS]
        if not was or shown == (ours := self.position(token)):
            return False
        return min(*was, ours) <= shown <= max(*was, ours)

    def _count_unbooked(self, order: Order) -> None:
        missing = order.filled_quantity - self._booked.get(order.tag, 0)
        if missing > 0:
            self._unbooked[order.tag] = order.side.sign * missing
            if not order.average_price:
                self._likely.setdefault(order.tag, self._likely_price(order))
        elif self._unbooked:
            self._unbooked.pop(order.tag, None)
            self._likely.pop(order.tag, None)

    def _likely_price(self, order: Order) -> float:
        """At what an order that is just seen to have filled did so: the market's price, never beyond its limit."""
        last, limit = self.last_price(order.instrument_token), order.price
        if not (last > 0 and limit):
            return last or limit or order.trigger
        return min(last, limit) if order.side is BUY else max(last, limit)

    def take_prices(self, prices: Sequence[tuple[int, float, int]], ts_init: int) -> None:
        """Note ticks: token, last price in rupees, the exchange's time of it. A price that isn't positive is no price."""
        seen, quotes, units, exposure, newest = self.prices, self.quotes, self._units, self._exposure, self.ts_event
        for token, last, ts_event in prices:
            if not last > 0:
                continue
            seen[token] = Price(last, ts_event, ts_init)
            if quotes:
                quotes.pop(token, None)
            if ts_event > newest:
                newest = ts_event
            if token in units:
                exposure[token] = units[token] * last
        self.portfolio.mark_all(prices)
        if newest > self.ts_event:
            self.ts_event = newest
            if newest >= self.day[1]:
                start = (newest + IST_OFFSET_NS) // DAY_NS * DAY_NS - IST_OFFSET_NS
                self.day = start, start + DAY_NS
                self._hours.clear()

    def take_quote(self, token: int, last: float, asked: int) -> None:
        """Note a last price that the broker's positions tell, if the instrument ticks no more. It values and prices exits;
        entries still want a tick.
        """
        if not last > 0 or not self.is_blind(token, asked):
            return
        self.quotes[token] = Price(last, self.ts_event, asked)
        if token in self._held:
            self.portfolio.mark(token, last)
        if token in self._units:
            self._exposure[token] = self._units[token] * last

    def is_blind(self, token: int, now: int) -> bool:
        """Whether the last tick is some seconds old, or there was none."""
        tick = self.prices.get(token)
        return tick is None or now - tick.ts_init > QUOTE_AFTER_NS

    # ------------------------------------------------------------------ positions

    @property
    def is_priced(self) -> bool:
        """Whether a price has come of all that is held. After a restart positions are worth what their last fill cost until
        one does, which says nothing of gains and losses.
        """
        return all(t in self.prices or t in self.quotes for t in self.open_tokens())

    @property
    def all_booked(self) -> bool:
        """Whether every fill that the broker told of is in the portfolio."""
        return not self._unbooked

    @property
    def holds_any(self) -> bool:
        """Whether there may be a position of ours."""
        return bool(self._open or self._unbooked)

    def booked(self, tag: str) -> int:
        """Units of an order that are in the portfolio."""
        return self._booked.get(tag, 0)

    def position(self, token: int) -> int:
        """Signed units of our own in an instrument."""
        held = self._held.get(token, 0)
        if not self._unbooked:
            return held
        for tag, signed in self._unbooked.items():
            if self.orders[tag].instrument_token == token:
                held += signed
        return held

    def in_account(self, token: int) -> int:
        """Signed units that the whole account holds: ours, and what others were last seen to have added or closed."""
        return self.position(token) + self.outside.get(token, 0)

    def covered_by(self, token: int) -> list[int]:
        """The options of ours that a bought one covers: those of its underlying and kind that are sold, or may be yet."""
        bought = self.instruments[token]
        if not bought.is_option:
            return []
        mine = ((t, self.instruments[t]) for t in self._own_tokens)
        alike = [t for t, i in mine if i.name == bought.name and i.kind is bought.kind]
        return [t for t in alike if self.in_account(t) < self.pending(t, SELL)]

    def own_tokens(self) -> set[int]:
        """Instruments that an order of ours has been in."""
        return self._own_tokens

    def open_tokens(self) -> list[int]:
        """Instruments with a position of ours, in order of token."""
        if not self._unbooked:
            return sorted(self._open)
        return sorted(t for t in self._own_tokens if self.position(t))

    def working_in(self, token: int) -> Iterable[Order]:
        """Own orders of an instrument that may still fill."""
        return self._by_token.get(token, {}).values()

    def pending(self, token: int, side: Side) -> int:
        """Units that may still fill on one side: UNKNOWN orders count whole."""
        return self._pending.get((token, side), 0)

    def hours(self, instrument: Instrument) -> MarketHours:
        """The instrument's trading hours on the exchange's day."""
        found = self._hours.get(instrument.instrument_token)
        if found is None:
            found = market_hours(instrument, ist_date(self.ts_event))
            self._hours[instrument.instrument_token] = found
        return found

    def last_price(self, token: int) -> float:
        """Rupees; the portfolio's own price if none has been seen; 0.0 if there is none."""
        found = (self.quotes and self.quotes.get(token)) or self.prices.get(token)
        return found.last if found else self.portfolio.position(token).last_price

    # ------------------------------------------------------------------ figures

    def worst_quantity(self, token: int) -> int:
        """Largest position, unsigned, that working orders may lead to."""
        return max(map(abs, self._reach(token)))

    def worst_added(self, token: int, extra: int) -> int:
        """How much larger `worst_quantity` gets with `extra` signed units asked for."""
        longest, shortest = self._reach(token)
        before = max(longest, -longest, shortest, -shortest)
        if extra > 0:
            longest += extra
        else:
            shortest += extra
        return max(longest, -longest, shortest, -shortest) - before

    def _reach(self, token: int) -> tuple[int, int]:
        """The position, signed, if all that works on one side filled: bought, and sold."""
        held, pending = self.position(token) if self._unbooked else self._held.get(token, 0), self._pending
        return held + pending.get((token, BUY), 0), held - pending.get((token, SELL), 0)

    @property
    def gross_exposure(self) -> float:
        """Rupees, worst case of all that works or is unknown, foreign orders included."""
        units, exposure = self._units, self._exposure
        for token in self._resized:
            if worst := self.worst_quantity(token):
                units[token], exposure[token] = worst, worst * self.last_price(token)
            elif token in units:
                del units[token], exposure[token]
        self._resized.clear()
        gross = sum(exposure.values())
        return gross + sum([f.pending * f.price for f in self.foreign.values()]) if self.foreign else gross

    @property
    def mtm(self) -> int:
        """Paise: realised and unrealised after charges, and what fills not booked yet have gained or lost."""
        total = self.portfolio.mtm
        if not self._unbooked:
            return total
        for tag, signed in self._unbooked.items():
            order = self.orders[tag]
            total += signed * to_paise(self.last_price(order.instrument_token) - self.fill_price(order))
        return total

    def fill_price(self, order: Order) -> float:
        """Rupees: what an order's fills cost on average, as far as one can tell before they are booked."""
        return order.average_price or self._likely.get(order.tag, 0.0)

    @property
    def worst_mtm(self) -> int:
        """Paise: `mtm` if every UNKNOWN order had filled at its limit, where that is a loss. Where no price has come yet, as
        right after a restart, nobody can say.
        """
        if not (self.unknown or self._unbooked):
            return self.portfolio.mtm
        total = self.mtm
        for order in self.unknown.values():
            last = self.last_price(order.instrument_token)
            if last > 0 and order.intent is not Intent.PROTECT:  # which only ever lowers risk
                gain = order.side.sign * (last - order.price)
                total += min(0, order.pending_quantity * to_paise(gain))
        return total

    def working_risk(self) -> list[Order]:
        """Own working orders but the kill's exits."""
        return [o for o in self.working.values() if o.intent is not Intent.KILL]
