"""The market as last shown: every instrument's latest tick, and the quotes that orders are matched against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tradealgo.domain.instruments import Instrument
from tradealgo.domain.ticks import empty_ticks
from tradealgo.exchange.matching import Level, Quote
from tradealgo.exchange.rules import Circuit

CIRCUIT = Circuit()
#: Best-first levels of one tick, as (price in rupees, quantity): bids, asks.
Depth = Callable[[np.void], tuple[Sequence[tuple[float, int]], Sequence[tuple[float, int]]]]


def best_levels(tick: np.void) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """The one level a side that a tick itself carries."""
    bid = float(tick["bid_price"]), int(tick["bid_quantity"])
    ask = float(tick["ask_price"]), int(tick["ask_quantity"])
    return ([bid] if bid[0] > 0 else []), ([ask] if ask[0] > 0 else [])


def paise(price: float) -> int:
    return round(float(price) * 100)


class Board:
    """Latest ticks by token.

    Args:
        instruments: all that is listed on the day.
        snapshot: the latest TICK of each as the day begins.
        depth: how to see a tick's levels.
    """

    def __init__(
        self, instruments: Iterable[Instrument], snapshot: np.ndarray, depth: Depth, circuit: Circuit
    ) -> None:  # fmt: skip
        self._depth, self._circuit = depth, circuit
        self._tokens = np.array(sorted(i.instrument_token for i in instruments), np.uint32)
        self._latest = empty_ticks(len(self._tokens))
        self.put(snapshot)
        self.quotes: dict[int, Quote] = {}

    def put(self, ticks: np.ndarray) -> None:
        """Take note of ticks; of one instrument's the last stays."""
        self._latest[np.searchsorted(self._tokens, ticks["instrument_token"])] = ticks

    def show(self, tick: np.void) -> Quote:
        """The quote of an instrument's new tick, aware of what traded since the one before."""
        token = int(tick["instrument_token"])
        before = self.quote(token).volume
        self._latest[np.searchsorted(self._tokens, token)] = tick
        quote = self.quotes[token] = self._read(token)
        quote.traded = max(0, quote.volume - before)
        return quote

    def quote(self, token: int) -> Quote:
        """The quote of an instrument's latest tick, less what our own orders took of it."""
        found = self.quotes.get(token)
        if found is None:
            found = self.quotes[token] = self._read(token)
        return found

    def _read(self, token: int) -> Quote:
        tick = self.tick(token)
        bids, asks = self._depth(tick)
        return Quote(
            last=paise(tick["last_price"]),
            volume=int(tick["volume"]),
            bids=[Level(paise(p), q) for p, q in bids if q > 0],
            asks=[Level(paise(p), q) for p, q in asks if q > 0],
            taken={},
        )

    def tick(self, token: int) -> np.void:
        """The latest tick of a listed instrument; its `ts_event` is 0 if there was none yet."""
        return self._latest[np.searchsorted(self._tokens, token)]

    def ticks(self, tokens: list[int]) -> np.ndarray:
        """The latest ticks of those of `tokens` that are listed and have ticked."""
        found = self._latest[np.isin(self._tokens, tokens)]
        return found[found["ts_event"] > 0]

    def last_price(self, token: int) -> int:
        """Paise."""
        return paise(self.tick(token)["last_price"])

    def close_price(self, token: int) -> int:
        """The previous day's close in paise."""
        tick = self.tick(token)
        return paise(tick["close"]) or paise(tick["last_price"])

    def band(self, instrument: Instrument) -> tuple[int, int]:
        """The price band in paise: the day's for shares and futures, that of the moment for options.

        NSE's limit price protection for options is around a reference that follows their trades (circular FAOP/54242 of
        2022-10-28: the average of the last 30 s); here it is the last price.
        """
        token = instrument.instrument_token
        reference = self.last_price(token) if instrument.is_option else 0
        return self._circuit.limits(instrument, reference or self.close_price(token))
