"""From a market order to a marketable limit: the last price and some slippage, outward to a tick, inside the bands."""

from __future__ import annotations

import math

from tradealgo.domain.errors import BadConfig
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.orders import Side

#: Fractions by premium, the broker's own protection bands for options (MARKET.md, section 3): (premium below, fraction).
OPTION_BANDS = ((10.0, 0.05), (100.0, 0.03), (500.0, 0.02), (math.inf, 0.01))
#: The same for shares and futures: a limit farther out than this may be refused.
SHARE_BANDS = ((100.0, 0.02), (500.0, 0.01), (math.inf, 0.005))
BUY = Side.BUY

#: Bands from the last price up to which a kill's exit goes by halves of a band; from there on by whole ones, for then
#: there is no buyer anywhere near. The broker may refuse so far a move; the order then works on.
WIDE = 5
#: The most moves that count: an order has no more modifications (MARKET.md, section 3).
MOST_MOVES = 25


def band(instrument: Instrument, last_price: float) -> float:
    """The broker's protection band at a price, as a fraction."""
    for below, fraction in OPTION_BANDS if instrument.is_option else SHARE_BANDS:
        if last_price < below:
            return fraction
    raise BadConfig(f"price {last_price!r} of {instrument.key}: expected a number of rupees")


def slippage(instrument: Instrument, last_price: float, default: float) -> float:
    """How far beyond the last price a limit goes, as a fraction: options by premium, all else `default` within the band."""
    widest = band(instrument, last_price)
    return widest if widest <= default or instrument.is_option else default


def to_tick(price: float, tick: float, side: Side) -> float:
    """Outward to a valid tick: up for a buy, down for a sell; at least one tick. Rupees."""
    steps = price / tick
    whole = math.ceil(steps - 1e-6) if side is BUY else math.floor(steps + 1e-6)
    return round((whole if whole > 1 else 1) * tick, 4)


def marketable_limit(instrument: Instrument, side: Side, last_price: float, slippage_fraction: float) -> float:
    """The limit price in rupees of an order that should fill at once, and never much worse than the last price.

    At a premium under 10, half a per cent is less than a tick of 0.05: rounding outward makes it at least one.
    """
    fraction = slippage(instrument, last_price, slippage_fraction)
    return to_tick(last_price * (1 + side.sign * fraction), instrument.tick_size, side)


def last_itself(instrument: Instrument, side: Side, last_price: float) -> float:
    """The last price in rupees, inward to a tick: where the day's circuit limit is near, a price beyond it is refused, and
    the last price is inside by nature.
    """
    return to_tick(last_price, instrument.tick_size, side.opposite)


def pursuing_limit(
    instrument: Instrument, side: Side, last_price: float, slippage_fraction: float, moves: int, *, beyond: bool
) -> float:
    """The limit price in rupees of an exit that didn't fill: at each move half a band farther out, for where the spread
    is wide the last price stands still. It ends at the band; or goes `beyond` it, at least a tick a move: to be stuck
    is worse.
    """
    protection, tick = band(instrument, last_price), instrument.tick_size
    out = slippage(instrument, last_price, slippage_fraction)
    if beyond:
        moves = min(moves, MOST_MOVES)
        bands = max(moves / 2, moves - WIDE)
        out += max(bands * protection, moves * tick / last_price)
    else:
        out = min(out + moves * protection / 2, protection)
    return to_tick(last_price * (1 + side.sign * out), tick, side)


def on_tick(price: float, tick: float) -> bool:
    """Whether a price is a whole number of ticks."""
    steps = price / tick
    return abs(steps - round(steps)) < 1e-6


def is_further(side: Side, price: float, than: float) -> bool:
    """Whether a limit at `price` is more willing to trade than one at `than`."""
    return side.sign * (price - than) > 1e-9
