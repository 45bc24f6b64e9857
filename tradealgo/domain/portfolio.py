"""Our own books: cash, positions, charges and mark-to-market (MTM), in whole paise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from tradealgo.domain.charges import Charges, order_charges
from tradealgo.domain.hours import ist_date
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Fill, Side
from tradealgo.domain.shown import Shown

BUY = Side.BUY


def to_paise(rupees: float) -> int:
    """Rupees to whole paise."""
    return round(rupees * 100)


class Position(Shown, msgspec.Struct, frozen=True, kw_only=True):
    """Net of one instrument since the session began. `quantity` is signed; values in paise.

    `buy_value` and `sell_value` are turnovers, so P&L is `sell_value - buy_value + quantity * price`: the broker's
    own formula, free of any averaging rule.
    """

    PAISE = frozenset({"buy_value", "sell_value", "open_value", "realised", "unrealised", "pnl"})
    BESIDES = ("average_price", "realised", "unrealised", "pnl")

    instrument_token: int
    instrument: str
    quantity: int = 0
    buy_quantity: int = 0
    sell_quantity: int = 0
    buy_value: int = 0
    sell_value: int = 0
    open_value: int = 0  # signed cost in paise of the open quantity, at average price
    last_price: float = 0.0

    @property
    def average_price(self) -> float:
        """Rupees per unit of the open quantity; 0.0 when flat."""
        return self.open_value / self.quantity / 100 if self.quantity else 0.0

    @property
    def pnl(self) -> int:
        """Paise, realised and unrealised, before charges."""
        return self.sell_value - self.buy_value + self.quantity * to_paise(self.last_price)

    @property
    def unrealised(self) -> int:
        """Paise on the open quantity against its average price."""
        return self.quantity * to_paise(self.last_price) - self.open_value

    @property
    def realised(self) -> int:
        """Paise: turnovers, less what the open quantity cost."""
        return self.sell_value - self.buy_value + self.open_value


class Portfolio:
    """The whole book. Feed it fills (any order, repeats allowed) and prices; ask it for figures in paise.

    Args:
        instruments: by token, of all that may trade.
    """

    def __init__(self, instruments: Mapping[int, Instrument]) -> None:
        self._instruments = instruments
        self._positions: dict[int, Position] = {}  # at the price of their last change: see `_last`
        self._last: dict[int, float] = {}  # rupees
        self._seen: set[tuple[str, str]] = set()  # order and trade: each exchange numbers its own trades
        self._order_turnover: dict[str, int] = {}
        self.charges = Charges()
        self.gross_pnl = 0  # paise before charges
        self.realised = 0  # paise
        self.mtm = 0  # paise: realised and unrealised, after charges; the kill switch's figure
        self.paid = 0  # paise: purchases less sales

    def apply(self, fill: Fill) -> bool:
        """Book one fill. Returns False, and changes nothing, for a trade of an order that is booked already."""
        name = fill.order_id, fill.trade_id
        if name in self._seen:
            return False
        self._seen.add(name)
        token, paise = fill.instrument_token, round(fill.price * 100)
        value = paise * fill.quantity
        self._charge(fill, value)
        old = self.position(token)
        new = self._positions[token] = self._moved(old, fill, paise)
        self._last[token] = new.last_price
        paid = value if fill.side is BUY else -value
        worth = new.quantity * round(new.last_price * 100) - old.quantity * round(old.last_price * 100)
        self.paid += paid
        self.gross_pnl += worth - paid
        self.realised += new.open_value - old.open_value - paid
        self.mtm = self.gross_pnl - self.charges.total
        return True

    def _charge(self, fill: Fill, value: int) -> None:
        instrument = self._instruments[fill.instrument_token]
        day: dt.date = ist_date(fill.ts_event)
        before = self._order_turnover.get(fill.order_id, 0)
        self._order_turnover[fill.order_id] = before + value
        self.charges += order_charges(instrument, fill.side, before + value, day)
        if before:
            self.charges -= order_charges(instrument, fill.side, before, day)

    @staticmethod
    def _moved(old: Position, fill: Fill, paise: int) -> Position:
        units, held, bought = fill.quantity, old.quantity, fill.side is BUY
        signed = units if bought else -units
        quantity = held + signed
        if held * signed >= 0:  # opens or adds
            open_value = old.open_value + signed * paise
        elif units <= abs(held):  # reduces: cost leaves in proportion, rounded towards the rest
            open_value = old.open_value * quantity // held if quantity else 0
        else:  # turns round: what is left was opened at this price
            open_value = quantity * paise
        last = old.last_price or fill.price
        if bought:
            return replace(
                old, quantity=quantity, open_value=open_value, last_price=last,
                buy_quantity=old.buy_quantity + units, buy_value=old.buy_value + units * paise,
            )  # fmt: skip
        return replace(
            old, quantity=quantity, open_value=open_value, last_price=last,
            sell_quantity=old.sell_quantity + units, sell_value=old.sell_value + units * paise,
        )  # fmt: skip

    def mark(self, instrument_token: int, last_price: float) -> None:
        """Take note of a price, in rupees; a price that isn't positive is ignored."""
        self.mark_all(((instrument_token, last_price, 0),))

    def mark_all(self, ticks: Iterable[tuple[int, float, int]]) -> None:
        """Take note of prices: token, rupees, and a time that doesn't matter here."""
        known, positions, gained = self._last, self._positions, 0
        for token, price, _ in ticks:
            before = known.get(token)
            if before is None or price == before or not price > 0:
                continue
            known[token] = price
            if quantity := positions[token].quantity:
                gained += quantity * (round(price * 100) - round(before * 100))
        self.gross_pnl += gained
        self.mtm += gained

    def average(self, order_id: str, quantity: int) -> float:
        """Rupees a unit of an order of which `quantity` units are booked."""
        return round(self._order_turnover[order_id] / quantity / 100, 4)

    def position(self, instrument_token: int) -> Position:
        """The position in an instrument; a flat one if it never traded."""
        found = self._positions.get(instrument_token)
        if found is None:
            key = self._instruments[instrument_token].key
            return Position(instrument_token=instrument_token, instrument=key)
        if found.last_price != (last := self._last[instrument_token]):
            found = self._positions[instrument_token] = replace(found, last_price=last)
        return found

    def positions(self) -> list[Position]:
        """All instruments that traded, flat ones included."""
        return [self.position(token) for token in self._positions]

    def open_positions(self) -> list[Position]:
        return [self.position(token) for token, held in self._positions.items() if held.quantity]

    @property
    def unrealised(self) -> int:
        """Paise."""
        return self.gross_pnl - self.realised

    @property
    def worth(self) -> int:
        """Paise: what is open, at last prices."""
        return self.gross_pnl + self.paid

    @classmethod
    def replay(cls, instruments: Mapping[int, Instrument], fills: Iterable[Fill]) -> Portfolio:
        """The book after these fills."""
        book = cls(instruments)
        for fill in fills:
            book.apply(fill)
        return book
