"""What can be traded, and how to find it by name."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from tradealgo.domain.errors import UnknownInstrument

#: Kite's segment codes: the low byte of an instrument token.
SEGMENT_CODES = {
    1: "NSE",
    2: "NFO",
    3: "CDS",
    4: "BSE",
    5: "BFO",
    6: "BCD",
    7: "MCX",
    8: "MCXSX",
    9: "INDICES",
    12: "NCO",
}

#: What a packet's integer price is divided by to give rupees.
PRICE_DIVISORS = {"CDS": 10_000_000, "BCD": 10_000, "NCO": 10_000}


class Kind(StrEnum):
    """Kite's `instrument_type`, with indices told apart from shares."""

    EQUITY = "EQ"
    FUTURE = "FUT"
    CALL = "CE"
    PUT = "PE"
    INDEX = "INDEX"


#: Read often: before Python 3.12 to look up an enum's member takes as long as a call.
_INDEX, _OPTIONS, _DERIVATIVES = Kind.INDEX, (Kind.CALL, Kind.PUT), (Kind.CALL, Kind.PUT, Kind.FUTURE)


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the broker's instruments dump. Prices in rupees, quantities in units (not lots)."""

    instrument_token: int
    exchange: str
    tradingsymbol: str
    kind: Kind
    name: str = ""
    expiry: dt.date | None = None
    strike: float = 0.0
    tick_size: float = 0.05
    lot_size: int = 1
    segment: str = ""

    @property
    def key(self) -> str:
        """`EXCHANGE:TRADINGSYMBOL`: the stable name. Tokens are reused from day to day; keys are not."""
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def tradable(self) -> bool:
        """Whether orders are possible: an index has a price, but can't be bought."""
        return self.kind != _INDEX

    @property
    def is_option(self) -> bool:
        return self.kind in _OPTIONS

    @property
    def is_derivative(self) -> bool:
        return self.kind in _DERIVATIVES

    def __str__(self) -> str:
        return self.key


class InstrumentBook:
    """All instruments of a day, found by key, bare symbol or token."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_key = {i.key: i for i in instruments}
        self._by_token = {i.instrument_token: i for i in self._by_key.values()}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_key.values())

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def by_token(self, instrument_token: int) -> Instrument:
        """The instrument of a tick. Raises UnknownInstrument."""
        try:
            return self._by_token[instrument_token]
        except KeyError:
            raise UnknownInstrument(
                f"no instrument has token {instrument_token} in today's dump of {len(self)}"
            ) from None

    def find(self, key: str) -> Instrument:
        """The instrument of `NSE:INFY`, or of `INFY` where only one exchange has it. Raises UnknownInstrument."""
        found = self._by_key.get(key)
        if found is not None:
            return found
        same_symbol = [i for i in self if i.tradingsymbol == key]
        if len(same_symbol) == 1:
            return same_symbol[0]
        if same_symbol:
            raise UnknownInstrument(
                f"{key!r} is on several exchanges: write one of {', '.join(i.key for i in same_symbol)}"
            )
        near = difflib.get_close_matches(key.upper(), list(self._by_key), n=3, cutoff=0.5)
        near += [k for k in self._by_key if key and k.endswith(":" + key.upper()) and k not in near]
        mend = f"did you mean {' or '.join(near)}?" if near else "expected EXCHANGE:TRADINGSYMBOL, as in NSE:INFY"
        raise UnknownInstrument(f"unknown instrument {key!r}: {mend}")


#: Lots of index derivatives, newest first: (from this date on, units a lot). Live code reads the instruments dump;
#: this table is for the paper exchange and for research without a dump. Older dates use the oldest row.
LOTS: dict[str, tuple[tuple[dt.date, int], ...]] = {
    "NIFTY": ((dt.date(2026, 1, 1), 65),),
    "BANKNIFTY": ((dt.date(2026, 1, 1), 30),),
    "FINNIFTY": ((dt.date(2026, 1, 1), 60),),
    "MIDCPNIFTY": ((dt.date(2026, 1, 1), 120),),
}

#: The index under derivatives of a name, as NSE lists it.
INDEX_SYMBOLS = {
    "NIFTY": "NIFTY 50",
    "BANKNIFTY": "NIFTY BANK",
    "FINNIFTY": "NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NIFTY MID SELECT",
}

#: Largest quantity of one order (from 2026-08-03); larger ones are sliced, at most MAX_SLICES.
FREEZE_QUANTITIES = {"NIFTY": 1_800, "BANKNIFTY": 600, "FINNIFTY": 1_800, "MIDCPNIFTY": 2_800}
MAX_SLICES = 10

#: (price below which it holds, tick in rupees) for shares; above the last row the tick is Rs 5.
SHARE_TICKS = ((250.0, 0.01), (1_000.0, 0.05), (5_000.0, 0.10), (10_000.0, 0.50), (20_000.0, 1.0))


def lot_size(name: str, day: dt.date) -> int:
    """Units in a lot of an index derivative on `day`; 1 for anything not in `LOTS`."""
    rows = LOTS.get(name, ())
    return next((lot for start, lot in rows if day >= start), rows[-1][1] if rows else 1)


def share_tick(price: float) -> float:
    """Tick size in rupees of a share at `price` (NSE, 2026)."""
    return next((tick for below, tick in SHARE_TICKS if price < below), 5.0)
