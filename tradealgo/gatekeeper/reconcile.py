"""The broker's positions against ours. What can't be explained means REDUCING, an alert and figures; never invented fills."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tradealgo.domain.orders import OrderState, Product
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.kite import BrokerPosition, BrokerTrade


class Split(NamedTuple):
    """An instrument's intraday trades of the day, told apart: signed units; `signs` are the sides that we held."""

    ours: int
    foreign: int
    signs: frozenset[int]


def split(trades: Iterable[BrokerTrade], book: Book) -> dict[str, Split]:
    """Replay the account's trades by instrument. What others trade against our position closes it, as it does at the
    broker, and only the rest is theirs: else an exit of ours would open a position that nobody wanted.
    """
    found: dict[str, Split] = {}
    for trade in sorted(trades, key=lambda t: t.ts):
        if trade.product != Product.INTRADAY:
            continue
        ours, foreign, signs = found.get(trade.instrument, Split(0, 0, frozenset()))
        signed = trade.side.sign * trade.quantity
        if trade.order_id in book.by_order_id:
            ours += signed
            signs |= {1 if ours > 0 else -1} if ours else set()
        else:
            closed = min(abs(signed), abs(ours)) if signed * ours < 0 else 0
            ours += trade.side.sign * closed
            foreign += signed - trade.side.sign * closed
        found[trade.instrument] = Split(ours, foreign, signs)
    return found


def raw_net(positions: list[BrokerPosition]) -> dict[str, int]:
    """The account's intraday positions by instrument, whoever traded them."""
    net: dict[str, int] = {}
    for position in positions:
        if position.product == Product.INTRADAY:
            net[position.instrument] = net.get(position.instrument, 0) + position.quantity
    return net


def own_net(positions: list[BrokerPosition], trades: list[BrokerTrade], book: Book) -> dict[str, int]:
    """What the broker says we hold by instrument: its intraday positions less what others hold, and never more than is
    there, nor on the other side.
    """
    net = raw_net(positions)
    for instrument, (_, foreign, _) in split(trades, book).items():
        raw = net.get(instrument, 0)
        ours = raw - foreign
        net[instrument] = max(0, min(ours, raw)) if ours > 0 else min(0, max(ours, raw))
    return net


def unproven(positions: list[BrokerPosition], trades: list[BrokerTrade], book: Book) -> dict[str, int]:
    """Positions of the account in our instruments that aren't proven to be others': all but those which foreign trades
    explain wholly, on a side that we never held. What is missing of ours may be there as another product.
    """
    parts, raw = split(trades, book), raw_net(positions)
    found = {}
    for token in book.own_tokens():
        name = book.instruments[token].key
        net, part = raw.get(name, 0), parts.get(name, Split(0, 0, frozenset()))
        sign = (net > 0) - (net < 0)
        foreign = net * part.foreign > 0 and abs(net) <= abs(part.foreign) and sign not in part.signs
        if net and not foreign:
            found[name] = net
        elif units := _converted(positions, name, part.ours if name in parts else book.position(token), net):
            found[name] = units
    return found


def _converted(positions: list[BrokerPosition], name: str, ours: int, net: int) -> int:
    """Units, signed, of ours that intraday positions lack and that another product has, on the same side. A conversion is no
    trade, and no intraday order closes what was converted.
    """
    sign = 1 if ours > 0 else -1
    others = sum(p.quantity for p in positions if p.instrument == name and p.product != Product.INTRADAY)
    return sign * max(min(sign * ours - max(sign * net, 0), sign * others), 0)


def mismatches(net: dict[str, int], book: Book) -> dict[str, tuple[int, int]]:
    """(ours, the broker's) of each instrument that an order of ours has been in and in which they differ. What a person does in
    others is no concern of ours.
    """
    pairs = {book.instruments[t].key: book.position(t) for t in book.own_tokens()}
    return {name: (ours, net.get(name, 0)) for name, ours in sorted(pairs.items()) if ours != net.get(name, 0)}


def not_ours(positions: list[BrokerPosition], book: Book) -> dict[str, int]:
    """Positions in our instruments that were there before us: an earlier session's or a person's. Counted, never touched, and
    nobody else's to guard. Signed units."""
    known = {name: units for name, units in raw_net(positions).items() if name in book.by_key}
    found = {name: units - book.position(book.by_key[name].instrument_token) for name, units in known.items()}
    return {name: units for name, units in found.items() if units}


def is_lagging(net: dict[str, int], book: Book, asked: int) -> bool:
    """Whether positions that were asked for at `asked` differ from ours as they do where they lag our last fills."""
    keys = ((t, book.instruments[t].key) for t in book.own_tokens())
    return any(book.may_lag(token, net.get(key, 0), asked) for token, key in keys)


def outside(positions: list[BrokerPosition], book: Book, asked: int) -> tuple[dict[int, int], dict[int, int]]:
    """What the account holds beyond ours, by token, signed; and what may be so, or the answer lags our last fills. Only for
    a quiet book.
    """
    net, found, doubted = raw_net(positions), dict[int, int](), dict[int, int]()
    for token in book.own_tokens():
        before = book.outside.get(token, 0)
        units = net.get(book.instruments[token].key, 0) - book.position(token)
        if book.may_lag(token, units + book.position(token) - before, asked):
            units, doubted[token] = before, units - before
        if units:
            found[token] = units
    return found, doubted


def is_quiet(book: Book, asked: int) -> bool:
    """Whether an answer that was asked for at `asked` can be compared: nothing changed since, nothing is unknown."""
    unclear = (OrderState.UNKNOWN, OrderState.SUBMITTING)
    return asked > book.changed_at and book.all_booked and not any(o.state in unclear for o in book.working.values())


def told(found: dict[str, tuple[int, int]]) -> str:
    """Mismatches as a sentence."""
    return "; ".join(f"{name}: ours {ours}, the broker's {theirs}" for name, (ours, theirs) in found.items())
