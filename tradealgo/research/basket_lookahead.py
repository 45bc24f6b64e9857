"""The look-ahead check of a basket: what `check_lookahead` does for one that trades several instruments.

Two probes fit a basket. The others would find fault with honest ones: options expire, so another date is another world,
and one that enters at a time of the day does nothing when it starts later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from tradealgo.domain.errors import StrategyError
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.signals import Signal
from tradealgo.research.basket import basket_columns, hear
from tradealgo.research.lookahead import COLUMNS, FACTORS, MEANING, Finding, is_other, unheard
from tradealgo.strategies.basket import BasketStrategy

BASKET_PROBES = ("again", "future")
#: Sizes follow capital; the signals that are compared don't.
_CAPITAL = 1e7
_NOTHING = Signal(0, np.nan, "")

Said = dict[tuple[int, int], Signal]  # by the candle's start and the instrument's token


class BasketBench:
    """The candles of a basket, the signals of the plain run over them, and the probes."""

    def __init__(
        self, basket: BasketStrategy, given: Mapping[Instrument, Any], cuts: int, rng: np.random.Generator
    ) -> None:
        read, self.interval = basket_columns(given)
        self.data = {i: d._replace(**{n: getattr(d, n).copy() for n in COLUMNS}) for i, d in read.items()}
        self.basket, self.cuts, self.rng = basket, cuts, rng
        self.given = {i: given[i] for i in self.data}
        self.said, failed = self._run()
        if failed:
            raise StrategyError(f"{failed}: mend that first, then check again")

    def again(self) -> Finding | None:
        return self._first_change("again", self._run()[0])

    def future(self) -> Finding | None:
        found = []
        for factor in FACTORS:
            with ExitStack() as stack:
                reveal = {i: stack.enter_context(unheard(g, factor, self.rng)) for i, g in self.given.items()}
                found.append(self._first_change("future", self._run(self._revealing(reveal))[0]))
        return min((f for f in found if f), key=lambda f: f.start, default=None)

    def _run(self, before: Callable[[int], None] | None = None) -> tuple[Said, str]:
        """What it said, and how it raised if it did."""
        heard = hear(self.basket, self.data, _CAPITAL, "check", self.interval, before=before)
        said = {(r.start, r.instrument_token): Signal(r.target, r.stop, r.reason) for r in heard.signals}
        return said, "; ".join(a.text for a in heard.alerts)

    def _revealing(self, reveal: dict[Instrument, Callable[[int, int], None]]) -> Callable[[int], None]:
        """Puts right, in `cuts` steps, what is heard up to the next step."""
        starts = np.unique(np.concatenate([d.start for d in self.data.values()]))
        steps = starts[np.unique(np.linspace(0, starts.size - 1, self.cuts + 1).astype(int))].tolist()
        shown = dict.fromkeys(self.data, 0)

        def before(start: int) -> None:
            if not steps or start < steps[0]:
                return
            steps.pop(0)
            until = steps[0] if steps else starts[-1] + 1
            for instrument, data in self.data.items():
                end = int(np.searchsorted(data.start, until))
                reveal[instrument](shown[instrument], end)
                shown[instrument] = end

        return before

    def _first_change(self, probe: str, other: Said) -> Finding | None:
        for start, token in sorted(self.said.keys() | other.keys()):
            was, became = self.said.get((start, token), _NOTHING), other.get((start, token), _NOTHING)
            if is_other(was, became):
                instrument = next(i for i in self.data if i.instrument_token == token)
                row = int(np.searchsorted(self.data[instrument].start, start))
                return Finding(probe, instrument.key, row, start, was, became, MEANING[probe])
        return None
