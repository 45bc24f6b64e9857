"""The broker's positions against ours. What can't be explained means REDUCING, an alert and figures; never invented fills."""

from __future__ import annotations

from tradealgo.domain.orders import OrderState, Product
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.kite import BrokerPosition, BrokerTrade


def foreign_net(trades: list[BrokerTrade], book: Book) -> dict[str, int]:
    """Signed intraday units by instrument that others have traded on the account today."""
    net: dict[str, int] = {}
    for trade in trades:
        if trade.order_id not in book.by_order_id and trade.product == Product.INTRADAY:
            net[trade.instrument] = net.get(trade.instrument, 0) + trade.side.sign * trade.quantity
    return net


def own_net(positions: list[BrokerPosition], trades: list[BrokerTrade], book: Book) -> dict[str, int]:
    """What the broker says we hold by instrument: its intraday positions less what others have traded."""
    net = {p.instrument: p.quantity for p in positions if p.product == Product.INTRADAY}
    for instrument, quantity in foreign_net(trades, book).items():
        net[instrument] = net.get(instrument, 0) - quantity
    return net


def mismatches(net: dict[str, int], book: Book) -> dict[str, tuple[int, int]]:
    """(ours, the broker's) of each instrument in which they differ."""
    names = set(net) | {book.instruments[t].key for t in book.own_tokens()}
    found = {}
    for name in sorted(names):
        instrument = book.by_key.get(name)
        ours = book.position(instrument.instrument_token) if instrument else 0
        if ours != net.get(name, 0):
            found[name] = (ours, net.get(name, 0))
    return found


def is_quiet(book: Book, asked: int) -> bool:
    """Whether an answer that was asked for at `asked` can be compared: nothing changed since, nothing is unknown."""
    unclear = (OrderState.UNKNOWN, OrderState.SUBMITTING)
    return asked > book.changed_at and book.all_booked and not any(o.state in unclear for o in book.working.values())


def told(found: dict[str, tuple[int, int]]) -> str:
    """Mismatches as a sentence."""
    return "; ".join(f"{name}: ours {ours}, the broker's {theirs}" for name, (ours, theirs) in found.items())
