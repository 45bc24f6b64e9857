"""Brokerage, taxes and fees, to the paisa, by segment and date (MARKET.md's table: Zerodha, 2026)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache

import msgspec

from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Side


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Fractions of turnover, each side unless named for one.

    Brokerage is the smaller of its fraction and the cap, in rupees an order; of a fraction of 0 it is the cap, whatever
    the turnover.
    """

    brokerage: Decimal
    brokerage_cap: Decimal
    stt_sell: Decimal
    exchange: Decimal
    sebi: Decimal = Decimal("0.000001")  # Rs 10 a crore
    stamp_buy: Decimal
    gst: Decimal = Decimal("0.18")  # of brokerage + exchange + SEBI


_EQUITY = Rates(
    brokerage=Decimal("0.0003"), brokerage_cap=Decimal(20), stt_sell=Decimal("0.00025"),
    exchange=Decimal("0.0000307"), stamp_buy=Decimal("0.00003"),
)  # fmt: skip
_FUTURES = Rates(
    brokerage=Decimal("0.0003"), brokerage_cap=Decimal(20), stt_sell=Decimal("0.0005"),
    exchange=Decimal("0.0000183"), stamp_buy=Decimal("0.00002"),
)  # fmt: skip
# A flat Rs 20 an order: also of a lot at 0.05, whose premium is Rs 3.25.
_OPTIONS = Rates(
    brokerage=Decimal(0), brokerage_cap=Decimal(20), stt_sell=Decimal("0.0015"),
    exchange=Decimal("0.0003553"), stamp_buy=Decimal("0.00003"),
)  # fmt: skip

#: Newest first: (from this date on, rates by segment). Older dates use the oldest row.
SCHEDULE: tuple[tuple[dt.date, dict[str, Rates]], ...] = (
    (dt.date(2026, 1, 1), {"equity": _EQUITY, "futures": _FUTURES, "options": _OPTIONS}),
)


class Charges(msgspec.Struct, frozen=True):
    """Paise, by kind."""

    brokerage: int = 0
    stt: int = 0
    exchange: int = 0
    sebi: int = 0
    stamp: int = 0
    gst: int = 0

    @property
    def total(self) -> int:
        """Paise."""
        return self.brokerage + self.stt + self.exchange + self.sebi + self.stamp + self.gst

    def __add__(self, other: Charges) -> Charges:
        return Charges(
            self.brokerage + other.brokerage, self.stt + other.stt, self.exchange + other.exchange,
            self.sebi + other.sebi, self.stamp + other.stamp, self.gst + other.gst,
        )  # fmt: skip

    def __sub__(self, other: Charges) -> Charges:
        return Charges(
            self.brokerage - other.brokerage, self.stt - other.stt, self.exchange - other.exchange,
            self.sebi - other.sebi, self.stamp - other.stamp, self.gst - other.gst,
        )  # fmt: skip


def _segment(kind: Kind) -> str:
    return "options" if kind in (Kind.CALL, Kind.PUT) else "futures" if kind is Kind.FUTURE else "equity"


def _table(day: dt.date) -> dict[str, Rates]:
    return next((t for start, t in SCHEDULE if day >= start), SCHEDULE[-1][1])


def rates_for(instrument: Instrument, day: dt.date) -> Rates:
    """The rates that hold for an instrument's segment on `day`."""
    return _table(day)[_segment(instrument.kind)]


#: Rates are whole numbers of ten-millionths, so that charges are exact in whole numbers.
_UNIT = 10_000_000
_HALF = _UNIT // 2
BUY = Side.BUY


@lru_cache(maxsize=4096)
def _whole(kind: Kind, day: dt.date) -> tuple[int, ...]:
    """A segment's rates in units: brokerage, STT, exchange, SEBI, stamp; the cap in paise; GST in percent."""
    r = _table(day)[_segment(kind)]
    rates = (int(x * _UNIT) for x in (r.brokerage, r.stt_sell, r.exchange, r.sebi, r.stamp_buy))
    return (*rates, int(r.brokerage_cap * 100), int(r.gst * 100))


def order_charges(instrument: Instrument, side: Side, turnover_paise: int, day: dt.date) -> Charges:
    """Charges of one order that has traded `turnover_paise` so far (price times quantity, in paise), intraday.

    Each is rounded to the nearest paisa, half up. Brokerage is capped per order, so a partly filled order's charges are
    those of its whole turnover, not a sum over fills: take the difference of two calls to charge a fill.
    """
    return _charged(instrument.kind, side, turnover_paise, day) if turnover_paise else Charges()


@lru_cache(maxsize=256)  # both ledgers of an event backtest ask the same
def _charged(kind: Kind, side: Side, turnover_paise: int, day: dt.date) -> Charges:
    brokerage_rate, stt, exchange_rate, sebi_rate, stamp, cap, gst = _whole(kind, day)
    brokerage = min((turnover_paise * brokerage_rate + _HALF) // _UNIT, cap) if brokerage_rate else cap
    exchange = (turnover_paise * exchange_rate + _HALF) // _UNIT
    sebi = (turnover_paise * sebi_rate + _HALF) // _UNIT
    buys = side is BUY
    return Charges(
        brokerage,
        0 if buys else (turnover_paise * stt + _HALF) // _UNIT,
        exchange,
        sebi,
        (turnover_paise * stamp + _HALF) // _UNIT if buys else 0,
        ((brokerage + exchange + sebi) * gst + 50) // 100,
    )
