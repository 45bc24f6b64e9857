"""The exchange's own books: cash, positions, charges and mark-to-market, in whole paise.

It is the reference that our portfolio is held against (invariant 10), so it shares nothing with `domain.portfolio`
but the published table of charges.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from tradealgo.domain.charges import Charges, order_charges
from tradealgo.domain.hours import ist_date
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Side
from tradealgo.exchange.orders import Conversion, Execution
from tradealgo.exchange.protocol import rupees


class MarginRates(msgspec.Struct, frozen=True, kw_only=True):
    """Fractions of value blocked (?): intraday shares a fifth, derivatives sold or held as futures 15 % of notional."""

    intraday_equity: float = 0.20
    delivery_equity: float = 1.0
    futures: float = 0.15
    options_sold: float = 0.15  # of strike times quantity
    options_bought: float = 1.0  # of the premium


MARGINS = MarginRates()
#: Read often: before Python 3.12 to look up an enum's member takes as long as a call.
BUY, SELL = Side.BUY, Side.SELL


class Holding(msgspec.Struct, kw_only=True):
    """One instrument in one product: turnovers in paise, `cost` the signed cost of what is open (average price)."""

    instrument_token: int
    product: str
    bought: int = 0
    sold: int = 0
    buy_value: int = 0
    sell_value: int = 0
    cost: int | Fraction = 0

    @property
    def quantity(self) -> int:
        return self.bought - self.sold

    def pnl(self, last: int) -> int:
        """Paise at a last price in paise, before charges."""
        return self.sell_value - self.buy_value + self.quantity * last


class Ledger:
    """Feed it executions; ask it for positions, cash and margins at last prices.

    Args:
        instruments: by token.
        capital: opening cash in paise.
    """

    def __init__(self, instruments: Mapping[int, Instrument], capital: int, rates: MarginRates = MARGINS) -> None:
        self.instruments, self.capital, self.rates = instruments, capital, rates
        self.holdings: dict[tuple[int, str], Holding] = {}
        self.charges = Charges()
        self._by_order: dict[str, tuple[int, Charges]] = {}  # turnover in paise, and what was charged for it

    def book(self, execution: Execution) -> None:
        """Book one execution. Each is given once: the exchange makes them."""
        key = execution.instrument_token, execution.product
        holding = self.holdings.get(key)
        if holding is None:
            holding = self.holdings[key] = Holding(instrument_token=key[0], product=key[1])
        quantity, price = execution.quantity, execution.price
        value = price * quantity
        if execution.side == "BUY":
            self._move_cost(holding, quantity, price)
            holding.bought += quantity
            holding.buy_value += value
            self._charge(execution, BUY, value)
        else:
            self._move_cost(holding, -quantity, price)
            holding.sold += quantity
            holding.sell_value += value
            self._charge(execution, SELL, value)

    @staticmethod
    def _move_cost(holding: Holding, signed: int, price: int) -> None:
        before = holding.bought - holding.sold
        after = before + signed
        if before * signed >= 0:
            holding.cost += signed * price
        elif before * after > 0:
            holding.cost = Fraction(holding.cost) * after / before
        else:
            holding.cost = after * price

    def convert(self, conversion: Conversion) -> None:
        """Move a quantity to another product at its cost, to the nearest paisa: what one loses the other gains."""
        token, quantity = conversion.instrument_token, conversion.quantity
        old = self.holdings[token, conversion.old_product]
        new = self.holdings.setdefault(
            (token, conversion.new_product), Holding(instrument_token=token, product=conversion.new_product)
        )
        value = round(Fraction(old.cost) * quantity / old.quantity)
        for holding, units, worth in ((old, -quantity, -value), (new, quantity, value)):
            holding.cost = holding.cost + worth if holding.quantity + units else 0
            if quantity > 0:
                holding.bought += units
                holding.buy_value += worth
            else:
                holding.sold -= units
                holding.sell_value -= worth

    def _charge(self, execution: Execution, side: Side, value: int) -> None:
        order_id, before = execution.order_id, self._by_order.get(execution.order_id)
        if before is not None:
            value += before[0]
            self.charges -= before[1]
        charges = order_charges(self.instruments[execution.instrument_token], side, value, ist_date(execution.ts))
        self._by_order[order_id] = value, charges
        self.charges += charges

    def charges_of(self, order_id: str) -> Charges:
        """Of what an order has traded so far."""
        known = self._by_order.get(order_id)
        return known[1] if known is not None else Charges()

    def quantity(self, instrument_token: int) -> int:
        """Signed units held of an instrument over all products."""
        return sum(h.quantity for (token, _), h in self.holdings.items() if token == instrument_token)

    @property
    def cash(self) -> int:
        """Paise: capital plus sales less purchases less charges, as if all were paid in full."""
        flows = sum(h.sell_value - h.buy_value for h in self.holdings.values())
        return self.capital + flows - self.charges.total

    def pnl(self, last: Mapping[int, int]) -> int:
        """Paise before charges at last prices in paise by token."""
        return sum(h.pnl(last[h.instrument_token]) for h in self.holdings.values())

    def mtm(self, last: Mapping[int, int]) -> int:
        """Paise after charges."""
        return self.pnl(last) - self.charges.total

    def margin(self, instrument_token: int, product: str, quantity: int, price: int) -> int:
        """Paise blocked by holding `quantity` (signed) at `price` paise."""
        instrument, rates = self.instruments[instrument_token], self.rates
        if instrument.is_option and quantity < 0:
            return int(abs(quantity) * instrument.strike * 100 * rates.options_sold)
        if instrument.is_option:
            rate = rates.options_bought
        elif instrument.kind is Kind.FUTURE:
            rate = rates.futures
        else:
            rate = rates.intraday_equity if product == "MIS" else rates.delivery_equity
        return int(abs(quantity) * price * rate)

    def worst_margin(self, key: tuple[int, str], buying: int, selling: int, price: int) -> int:
        """Paise blocked by a position with `buying` and `selling` units of open orders: the dearer outcome."""
        held = self.holdings[key].quantity if key in self.holdings else 0
        return max(self.margin(*key, held + q, price) for q in (0, buying, -selling))

    def as_json(self, last: Mapping[int, int]) -> dict[str, Any]:
        """The reference figures, in paise, last prices included. `GET /_paper/ledger`."""
        positions = [
            {
                "instrument_token": h.instrument_token,
                "instrument": self.instruments[h.instrument_token].key,
                "product": h.product,
                "quantity": h.quantity,
                "buy_quantity": h.bought,
                "sell_quantity": h.sold,
                "buy_value": h.buy_value,
                "sell_value": h.sell_value,
                "last_price": last[h.instrument_token],
                "pnl": h.pnl(last[h.instrument_token]),
            }
            for h in self.holdings.values()
        ]
        pnl = self.pnl(last)
        charges = msgspec.structs.asdict(self.charges) | {"total": self.charges.total}
        return {
            "capital": self.capital,
            "cash": self.cash,
            "positions": positions,
            "charges": charges,
            "pnl": pnl,
            "mtm": pnl - self.charges.total,
        }


def position_json(holding: Holding, instrument: Instrument, last: int, close: int) -> dict[str, Any]:
    """A row of `/portfolio/positions`; all of it is today's, since the account begins each day flat."""
    quantity, pnl = holding.quantity, rupees(holding.pnl(last))
    buy_price = rupees(holding.buy_value / holding.bought) if holding.bought else 0
    sell_price = rupees(holding.sell_value / holding.sold) if holding.sold else 0
    return {
        "tradingsymbol": instrument.tradingsymbol,
        "exchange": instrument.exchange,
        "instrument_token": instrument.instrument_token,
        "product": holding.product,
        "quantity": quantity,
        "overnight_quantity": 0,
        "multiplier": 1,
        "average_price": rupees(float(holding.cost / quantity)) if quantity else 0,
        "close_price": rupees(close),
        "last_price": rupees(last),
        "value": rupees(holding.sell_value - holding.buy_value),
        "pnl": pnl,
        "m2m": pnl,
        "unrealised": pnl,
        "realised": 0,
        "buy_quantity": holding.bought,
        "buy_price": buy_price,
        "buy_value": rupees(holding.buy_value),
        "buy_m2m": rupees(holding.buy_value),
        "sell_quantity": holding.sold,
        "sell_price": sell_price,
        "sell_value": rupees(holding.sell_value),
        "sell_m2m": rupees(holding.sell_value),
        "day_buy_quantity": holding.bought,
        "day_buy_price": buy_price,
        "day_buy_value": rupees(holding.buy_value),
        "day_sell_quantity": holding.sold,
        "day_sell_price": sell_price,
        "day_sell_value": rupees(holding.sell_value),
    }
