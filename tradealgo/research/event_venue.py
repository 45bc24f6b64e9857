"""The exchange's side of an event backtest: its matching and its ledger, over the market that candles show.

Each candle is four quotes: its open, its nearer extreme, the other extreme, its close. A quote shows the price on both
sides, `slippage` apart from it, with room for any order: a marketable order fills whole, and one that the spread keeps from
its limit rests until the market comes to it, or goes on taking as the exchange's own rules say (`exchange.matching`).
Margin isn't the venue's matter: the Gatekeeper checks it. Prices in paise, times in UTC nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Order, Side
from tradealgo.exchange import matching
from tradealgo.exchange.ledger import Ledger
from tradealgo.exchange.matching import Level, Piece, Quote
from tradealgo.exchange.orders import BookOrder, Execution, OrderForm
from tradealgo.exchange.protocol import Status
from tradealgo.gatekeeper.kite import BrokerOrder, BrokerPosition, BrokerTrade

#: Units displayed at every price: more than any one order may have.
ROOM = 100_000_000
#: Read often: before Python 3.12 to look up an enum's member takes as long as a call.
OPEN, COMPLETE, BUY, SELL = Status.OPEN, Status.COMPLETE, Side.BUY, Side.SELL


class Venue:
    """One account at the exchange, for as many days as a backtest has.

    Args:
        instruments: by token.
        capital: opening cash in paise.
        slippage: fraction of the price between the last price and each side of the quote.
    """

    def __init__(self, instruments: Mapping[int, Instrument], capital: int, slippage: float) -> None:
        self._instruments, self._slippage = instruments, slippage
        self.ledger = Ledger(instruments, capital)
        self._prices: dict[int, float] = {}  # last shown, rupees
        self._quotes: dict[int, Quote] = {}  # of them, those that anybody has looked at
        self.working: dict[str, BookOrder] = {}
        self.today: dict[str, BookOrder] = {}
        self.net: dict[int, int] = {}
        self.held: dict[int, int] = {}  # of `net`, what isn't flat
        self._ids = self._trades = 0

    def begin_day(self) -> None:
        """A new day's order book."""
        self.today = {}

    # ------------------------------------------------------------------ the market

    def show(self, token: int, price: float, now: int) -> list[BrokerTrade]:
        """A new price in rupees; the trades that it brings to orders at work."""
        if not price > 0:
            return []
        self._prices[token] = price
        self._quotes.pop(token, None)
        if not self.working:
            return []
        mine = [o for o in self.working.values() if o.instrument_token == token]
        return [t for order in matching.in_priority(mine) for t in self._serve(order, self._quote(token), now)]

    def _quote(self, token: int) -> Quote:
        """The quote at the price last shown, with what was taken of it since. Raises KeyError where none was."""
        found = self._quotes.get(token)
        if found is None:
            found = self._quotes[token] = self._quoted(self._prices[token] * 100.0)
        return found

    def _quoted(self, paise: float) -> Quote:
        bid, ask = round(paise * (1.0 - self._slippage)), round(paise * (1.0 + self._slippage))
        return Quote(last=round(paise), volume=0, bids=[Level(max(bid, 1), ROOM)], asks=[Level(ask, ROOM)], taken={})

    def _serve(self, order: BookOrder, quote: Quote, now: int) -> list[BrokerTrade]:
        if not order.passive:
            return self._fill(order, matching.take(order, quote), now)
        pieces, queue = matching.rest(order, quote)
        order = self._keep(msgspec.structs.replace(order, queue_ahead=queue))
        return self._fill(order, pieces, now)

    # ------------------------------------------------------------------ order calls

    def place(self, asked: Order, now: int) -> tuple[str, list[BrokerTrade]]:
        """Take an order; its id, and what it traded at once."""
        self._ids += 1
        instrument = self._instruments[asked.instrument_token]
        form = OrderForm(
            variety="regular", exchange=instrument.exchange, tradingsymbol=instrument.tradingsymbol,
            side=asked.side.value, quantity=asked.quantity, product=asked.product.value, order_type="LIMIT", price=round(asked.price * 100), tag=asked.tag,
        )  # fmt: skip
        order = BookOrder(
            order_id=f"{self._ids:015d}", form=form, instrument_token=asked.instrument_token, status=OPEN,
            quantity=asked.quantity, limit=form.price, trigger=0, order_type="LIMIT", validity="DAY", placed=now,
            updated=now,
        )  # fmt: skip
        return order.order_id, self._arrive(order, now)

    def modify(self, order_id: str, price: float, now: int) -> list[BrokerTrade]:
        """A new limit in rupees. Raises KeyError for an order that doesn't work any more."""
        order = self.working[order_id]
        return self._arrive(msgspec.structs.replace(order, limit=round(price * 100), queue_ahead=-1), now)

    def cancel(self, order_id: str, now: int) -> BookOrder:
        """Take an order back. Raises KeyError for one that doesn't work any more."""
        order = self.working[order_id]
        left = order.quantity - order.filled
        return self._keep(msgspec.structs.replace(order, status=Status.CANCELLED, cancelled=left, updated=now))

    def _arrive(self, order: BookOrder, now: int) -> list[BrokerTrade]:
        quote = self._quote(order.instrument_token)
        trades = self._fill(self._keep(order), matching.take(order, quote), now)
        order = self.today[order.order_id]
        if order.status is OPEN:
            passive, queue = matching.is_passive(order, quote), matching.joined_queue(order, quote)
            self._keep(msgspec.structs.replace(order, passive=passive, queue_ahead=queue))
        return trades

    def _fill(self, order: BookOrder, pieces: list[Piece], now: int) -> list[BrokerTrade]:
        trades = []
        for price, quantity in pieces:
            self._trades += 1
            execution = Execution(
                trade_id=f"{self._trades:08d}", order_id=order.order_id, exchange_order_id=order.order_id,
                instrument_token=order.instrument_token, product=order.form.product, side=order.form.side,
                quantity=quantity, price=price, ts=now,
            )  # fmt: skip
            self.ledger.book(execution)
            token, filled = order.instrument_token, order.filled + quantity
            self._count(token, order.sign * quantity)
            order = self._keep(
                msgspec.structs.replace(
                    order, filled=filled, value=order.value + quantity * price, updated=now,
                    status=COMPLETE if filled == order.quantity else OPEN,
                )
            )  # fmt: skip
            trades.append(self._told(execution))
        return trades

    def _count(self, token: int, units: int) -> None:
        self.net[token] = self.held[token] = self.net.get(token, 0) + units
        if not self.held[token]:
            del self.held[token]

    def _keep(self, order: BookOrder) -> BookOrder:
        self.today[order.order_id] = order
        if order.status is OPEN:
            self.working[order.order_id] = order
        else:
            self.working.pop(order.order_id, None)
        return order

    # ------------------------------------------------------------------ what the broker tells

    def _told(self, execution: Execution) -> BrokerTrade:
        return BrokerTrade(
            trade_id=execution.trade_id, order_id=execution.order_id,
            instrument=self._instruments[execution.instrument_token].key,
            instrument_token=execution.instrument_token, side=BUY if execution.side == "BUY" else SELL, quantity=execution.quantity,
            price=execution.price / 100, product=execution.product, ts=execution.ts,
        )  # fmt: skip

    def row(self, order: BookOrder) -> BrokerOrder:
        """An order as `/orders` has it."""
        return BrokerOrder(
            order_id=order.order_id, tag=order.form.tag or "", status=order.status.value,
            instrument=self._instruments[order.instrument_token].key, instrument_token=order.instrument_token,
            side=Side(order.form.side), quantity=order.quantity, filled_quantity=order.filled,
            average_price=order.value / order.filled / 100 if order.filled else 0.0, price=order.limit / 100,
            product=order.form.product,
        )  # fmt: skip

    def rows(self) -> list[BrokerOrder]:
        """The day's order book."""
        return [self.row(o) for o in self.today.values()]

    def positions(self, product: str) -> list[BrokerPosition]:
        """Net positions; flat ones stay."""
        return [
            BrokerPosition(
                instrument=self._instruments[token].key, instrument_token=token, product=product, quantity=quantity,
                last_price=round(self._prices[token] * 100.0) / 100,
            )
            for token, quantity in self.net.items()
        ]  # fmt: skip
