"""The exchange's side of an event backtest: its matching and its ledger, over the market that candles show.

Each candle is four quotes: its open, its nearer extreme, the other extreme, its close. A quote shows the price on both
sides, `slippage` apart from it, with room for any order: a marketable order fills whole, and one that the spread keeps from
its limit rests until the market comes to it, or goes on taking as the exchange's own rules say (`exchange.matching`).
Margin isn't the venue's matter: the Gatekeeper checks it. Prices in paise, times in UTC nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Order, Product, Side
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
PRODUCTS = {p: p.value for p in Product}


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
        self._told: dict[str, tuple[BookOrder, BrokerOrder]] = {}  # orders as they were last told
        self._ids = self._trades = 0

    def begin_day(self) -> None:
        """A new day's order book, and positions that begin with what was carried over."""
        self.today, self._told, self.net = {}, {}, dict(self.held)

    # ------------------------------------------------------------------ the market

    def show(self, tokens: list[int], prices: list[float], now: int) -> list[BrokerTrade]:
        """New prices in rupees (0.0: none yet), by token; the trades that they bring to orders at work."""
        if 0.0 in prices:
            tokens, prices = [t for t, p in zip(tokens, prices, strict=True) if p], [p for p in prices if p]
        self._prices.update(zip(tokens, prices, strict=True))
        quotes = self._quotes
        for token in tokens:
            if token in quotes:
                del quotes[token]
        return self._match(tokens, now) if self.working else []

    def _match(self, tokens: list[int], now: int) -> list[BrokerTrade]:
        trades = []
        for token in tokens:
            for order in matching.in_priority([o for o in self.working.values() if o.instrument_token == token]):
                trades += self._serve(order, self._quote(token), now)
        return trades

    def _quote(self, token: int) -> Quote:
        """The quote at the price last shown, with what was taken of it since. Raises KeyError where none was."""
        found = self._quotes.get(token)
        if found is None:
            found = self._quotes[token] = self._quoted(self._prices[token] * 100.0)
        return found

    def _quoted(self, paise: float) -> Quote:
        # Whole paise to our harm: rounded to the nearest, the slippage of a cheap option would vanish. What binary
        # fractions add to a whole price (far below 0.001 paise) is none.
        bid = math.floor(paise * (1.0 - self._slippage) + 0.001)
        ask = math.ceil(paise * (1.0 + self._slippage) - 0.001)
        return Quote(
            last=round(paise), volume=0, bids=[Level(bid if bid > 1 else 1, ROOM)], asks=[Level(ask, ROOM)], taken={}
        )

    def _serve(self, order: BookOrder, quote: Quote, now: int) -> list[BrokerTrade]:
        if not order.passive:
            return self._fill(order, matching.take(order, quote), now)[1]
        pieces, queue = matching.rest(order, quote)
        return self._fill(msgspec.structs.replace(order, queue_ahead=queue), pieces, now)[1]

    # ------------------------------------------------------------------ order calls

    def place(self, asked: Order, now: int) -> tuple[str, list[BrokerTrade]]:
        """Take an order; its id, and what it traded at once."""
        self._ids += 1
        order_id, token, quantity = f"{self._ids:015d}", asked.instrument_token, asked.quantity
        instrument, limit = self._instruments[token], round(asked.price * 100)
        form = OrderForm(
            variety="regular", exchange=instrument.exchange, tradingsymbol=instrument.tradingsymbol,
            side="BUY" if asked.side is BUY else "SELL", quantity=quantity, product=PRODUCTS[asked.product],
            order_type="LIMIT", price=limit, tag=asked.tag,
        )  # fmt: skip
        order = BookOrder(
            order_id=order_id, form=form, instrument_token=token, status=OPEN, quantity=quantity, limit=limit, trigger=0,
            order_type="LIMIT", validity="DAY", placed=now, updated=now,
        )  # fmt: skip
        return order_id, self._arrive(order, now)

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
        order, trades = self._fill(order, matching.take(order, quote), now)
        if order.status is OPEN:
            passive, queue = matching.is_passive(order, quote), matching.joined_queue(order, quote)
            self._keep(msgspec.structs.replace(order, passive=passive, queue_ahead=queue))
        return trades

    def _fill(self, order: BookOrder, pieces: list[Piece], now: int) -> tuple[BookOrder, list[BrokerTrade]]:
        """Book the pieces of an order and keep it as it stands then."""
        trades, filled, value = [], order.filled, order.value
        for price, quantity in pieces:
            trades.append(self._trade(order, price, quantity, now))
            filled += quantity
            value += price * quantity
        if trades:
            status = COMPLETE if filled == order.quantity else OPEN
            order = msgspec.structs.replace(order, filled=filled, value=value, updated=now, status=status)
        return self._keep(order), trades

    def _trade(self, order: BookOrder, price: int, quantity: int, now: int) -> BrokerTrade:
        """Book one execution; what the broker tells of it."""
        self._trades += 1
        trade_id, order_id, token = f"{self._trades:08d}", order.order_id, order.instrument_token
        product, side = order.form.product, order.form.side
        self.ledger.book(
            Execution(
                trade_id=trade_id, order_id=order_id, exchange_order_id=order_id, instrument_token=token, product=product,
                side=side, quantity=quantity, price=price, ts=now,
            )
        )  # fmt: skip
        net = self.net.get(token, 0) + (quantity if side == "BUY" else -quantity)
        self.net[token] = net
        if net:
            self.held[token] = net
        else:
            self.held.pop(token, None)
        return BrokerTrade(
            trade_id=trade_id, order_id=order_id, instrument=self._instruments[token].key, instrument_token=token,
            side=BUY if side == "BUY" else SELL, quantity=quantity, price=price / 100, product=product, ts=now,
        )  # fmt: skip

    def _keep(self, order: BookOrder) -> BookOrder:
        self.today[order.order_id] = order
        if order.status is OPEN:
            self.working[order.order_id] = order
        else:
            self.working.pop(order.order_id, None)
        return order

    # ------------------------------------------------------------------ what the broker tells

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
        told = self._told
        for order_id, order in self.today.items():
            if order_id not in told or told[order_id][0] is not order:
                told[order_id] = order, self.row(order)
        return [told[order_id][1] for order_id in self.today]

    def positions(self, product: str) -> list[BrokerPosition]:
        """Net positions; flat ones stay."""
        return [
            BrokerPosition(
                instrument=self._instruments[token].key, instrument_token=token, product=product, quantity=quantity,
                last_price=round(self._prices[token] * 100.0) / 100,
            )
            for token, quantity in self.net.items()
        ]  # fmt: skip
