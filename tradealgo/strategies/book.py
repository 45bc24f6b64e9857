"""What a basket sees: the day's listing when it chooses, and its book while it runs. Read-only."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from tradealgo.domain.errors import UnknownInstrument
from tradealgo.domain.hours import ist_date, ist_text
from tradealgo.domain.instruments import INDEX_SYMBOLS, Instrument, InstrumentBook, Kind


class Chain:
    """Calls and puts of one underlying and expiry. `strikes` ascending, in rupees."""

    def __init__(self, expiry: dt.date, options: Iterable[Instrument]) -> None:
        self.expiry = expiry
        self._options = {(o.kind, o.strike): o for o in options}
        self.strikes = tuple(sorted({strike for _, strike in self._options}))

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._options.values())

    def option(self, right: Kind, strike: float) -> Instrument | None:
        """The option of a strike; None if there is none."""
        return self._options.get((right, strike))

    def at_the_money(self, spot: float) -> float:
        """The strike nearest to the underlying's price; of two as near the lower."""
        at = bisect_left(self.strikes, spot)
        near = self.strikes[max(at - 1, 0) : at + 1]
        return min(near, key=lambda strike: abs(strike - spot))

    def covers(self, spot: float) -> bool:
        """Whether the underlying stands among the strikes: beyond them none is at the money."""
        return bool(self.strikes) and self.strikes[0] <= spot <= self.strikes[-1]

    def away(self, right: Kind, spot: float, steps: int) -> Instrument | None:
        """The option `steps` strikes out of the money (puts below it, calls above); None beyond the chain's end."""
        at = self.strikes.index(self.at_the_money(spot)) + (steps if right is Kind.CALL else -steps)
        return self.option(right, self.strikes[at]) if 0 <= at < len(self.strikes) else None

    def within(self, spot: float, steps: int) -> list[Instrument]:
        """Calls and puts of the strikes at most `steps` from the money."""
        at = self.strikes.index(self.at_the_money(spot))
        near = self.strikes[max(at - steps, 0) : at + steps + 1]
        return [o for o in self if o.strike in near]


class _Day:
    """Instruments of a day by name, and the chains among them."""

    def __init__(self, instruments: Iterable[Instrument], day: dt.date) -> None:
        self.day = day
        self._by_name = InstrumentBook(instruments)
        self._chains: dict[str, dict[dt.date, Chain]] = {}
        found: dict[tuple[str, dt.date], list[Instrument]] = {}
        for instrument in self._by_name:
            if instrument.is_option and instrument.expiry is not None:
                found.setdefault((instrument.name, instrument.expiry), []).append(instrument)
        for (name, expiry), options in sorted(found.items()):
            self._chains.setdefault(name, {})[expiry] = Chain(expiry, options)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_name)

    def __contains__(self, instrument: object) -> bool:
        return isinstance(instrument, Instrument) and instrument.key in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, key: str) -> Instrument:
        """By key or symbol. Raises UnknownInstrument."""
        return self._by_name.find(key)

    def index(self, name: str) -> Instrument:
        """The index under derivatives called `name`: NIFTY's is NSE:NIFTY 50. Raises UnknownInstrument."""
        return self.find(f"NSE:{INDEX_SYMBOLS.get(name, name)}")

    @property
    def shares(self) -> list[Instrument]:
        return [i for i in self if i.kind is Kind.EQUITY]

    def expiries(self, name: str) -> list[dt.date]:
        """Of options on `name`, today's or later, ascending."""
        return [expiry for expiry in self._chains.get(name, {}) if expiry >= self.day]

    def chain(self, name: str, expiry: dt.date | None = None) -> Chain:
        """Options on `name`; by default of the nearest expiry. Raises UnknownInstrument."""
        wanted = expiry or next(iter(self.expiries(name)), None)
        found = self._chains.get(name, {}).get(wanted) if wanted else None
        if found is None:
            known = ", ".join(map(str, self.expiries(name))) or "none"
            raise UnknownInstrument(
                f"no options on {name!r} that expire {wanted or 'from today on'}: there are {known}"
            )
        return found


class Listing(_Day):
    """A day's instruments before it opens, for `BasketStrategy.instruments` to choose from.

    Args:
        previous_close: rupees of an instrument; asked only for what a basket looks at.
    """

    def __init__(
        self, instruments: Iterable[Instrument], day: dt.date, previous_close: Callable[[Instrument], float]
    ) -> None:
        super().__init__(instruments, day)
        self.previous_close = previous_close

    @property
    def shares(self) -> list[Instrument]:
        """Those that have futures, where any has: a broker's dump also holds every small share, fund and bond."""
        found = super().shares
        underlying = {i.name for i in self if i.kind is Kind.FUTURE}
        return [i for i in found if i.tradingsymbol in underlying] or found

    def near_the_money(self, name: str, strikes: int) -> list[Instrument]:
        """The index of `name` and its nearest expiry's options up to so many strikes from yesterday's close."""
        index = self.index(name)
        return [index, *self.chain(name).within(self.previous_close(index), strikes)]


class BasketBook(_Day):
    """What a basket may know while it runs: what it watches, today's prices, and what it holds.

    Holdings are what was asked for: that the Gatekeeper denied an order, or that one filled late, isn't told, so that
    the same candles always give the same targets.
    """

    def __init__(self, instruments: Iterable[Instrument], capital: float) -> None:
        super().__init__(instruments, dt.date.min)
        self.capital = capital
        self.start = self.end = 0
        self.is_first = False  # whether this is a day's first minute, and the first heard
        self._prices: dict[int, float] = {}
        self._held: dict[int, int] = {}
        self._entries: dict[int, float] = {}

    @property
    def clock(self) -> str:
        """IST as HH:MM at the end of these candles."""
        return ist_text(self.end, "%H:%M")

    def price(self, instrument: Instrument) -> float:
        """Its last close of today in rupees; 0.0 before its first."""
        return self._prices.get(instrument.instrument_token, 0.0)

    def units(self, instrument: Instrument) -> int:
        """Signed units held; 0 for none, also after a stop has closed it."""
        return self._held.get(instrument.instrument_token, 0)

    def entry(self, instrument: Instrument) -> float:
        """The close that its position was taken at, in rupees; 0.0 where none is held."""
        return self._entries.get(instrument.instrument_token, 0.0)

    @property
    def held(self) -> list[Instrument]:
        """What is held, in the order of entry."""
        return [self._by_name.by_token(token) for token in self._held]

    # ------------------------------------------------------------------ the contract's own

    def _hear(self, start: int, end: int, closes: dict[int, float]) -> bool:
        """Take a minute's closes; whether it begins a day: older prices count no more."""
        self.start, self.end = start, end
        day = ist_date(start)
        self.is_first = day != self.day
        if self.is_first:
            self.day = day
            self._prices.clear()
        self._prices.update(closes)
        return self.is_first

    def _hold(self, instrument: Instrument, units: int) -> None:
        token, before = instrument.instrument_token, self.units(instrument)
        if not units:
            self._held.pop(token, None)
            self._entries.pop(token, None)
        else:
            if before * units <= 0:
                self._held.pop(token, None)
                self._entries[token] = self.price(instrument)
            self._held[token] = units
