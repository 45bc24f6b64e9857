"""Price bands, protection and freeze quantities."""

from __future__ import annotations

import datetime as dt

import pytest

from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.ticks import empty_ticks
from tradealgo.exchange.board import Board, best_levels
from tradealgo.exchange.rules import Circuit, freeze_quantity, protected_limit, read_form

SHARE = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="X", kind=Kind.EQUITY, tick_size=0.05)
OPTION = Instrument(
    instrument_token=2, exchange="NFO", tradingsymbol="Y", kind=Kind.CALL, name="NIFTY", lot_size=65, strike=25_000,
    expiry=dt.date(2026, 11, 24), tick_size=0.05,
)  # fmt: skip
WIDE = (1, 10**9)


@pytest.mark.parametrize(
    ("instrument", "last", "side", "expected"),
    [
        (SHARE, 100_000, "BUY", 100_500),  # above 500: 0.5 %
        (SHARE, 100_000, "SELL", 99_500),
        (SHARE, 20_000, "BUY", 20_200),  # 100 to 500: 1 %
        (SHARE, 900, "BUY", 920),  # under 100: 2 %, rounded outward to a tick of 5 paise
        (SHARE, 900, "SELL", 880),
        (OPTION, 500, "BUY", 525),  # under 10: 5 %
        (OPTION, 5_000, "SELL", 4_850),  # 10 to 100: 3 %
        (OPTION, 60_000, "BUY", 60_600),  # above 500: 1 %
    ],
)
def test_automatic_protection(instrument: Instrument, last: int, side: str, expected: int) -> None:
    """The broker's table, rounded outward to a valid tick."""
    assert protected_limit(side, -1, last, instrument, WIDE) == expected


def test_protection_stays_inside_the_band() -> None:
    """A protected price never leaves the day's circuit."""
    assert protected_limit("BUY", 100, 10_000, SHARE, (8_000, 12_000)) == 12_000
    assert protected_limit("SELL", 0, 10_000, SHARE, (8_000, 12_000)) == 8_000


def test_option_band_is_in_rupees_when_cheap() -> None:
    """Rs 20 around a premium under 50, 40 % above it."""
    assert Circuit().limits(OPTION, 1_000) == (5, 3_000)
    assert Circuit().limits(OPTION, 10_000) == (6_000, 14_000)


def test_option_band_follows_the_trades() -> None:
    """An option's is around its last price, a share's around yesterday's close; before a trade both are around that."""
    ticks = empty_ticks(2)
    for tick, token, last in zip(ticks, (1, 2), (150.0, 100.0), strict=True):
        tick["instrument_token"], tick["last_price"], tick["close"], tick["ts_event"] = token, last, 200.0, 1
    board = Board([SHARE, OPTION], ticks, best_levels, Circuit())
    assert board.band(SHARE) == (16_000, 24_000)
    assert board.band(OPTION) == (6_000, 14_000)
    ticks["last_price"] = 0.0
    board.put(ticks)
    assert board.band(OPTION) == (12_000, 28_000)


def test_freeze_quantity_is_in_whole_lots() -> None:
    """1,800 of NIFTY is 27 lots of 65; shares have none that matters."""
    assert freeze_quantity(OPTION) == 1_755
    assert freeze_quantity(SHARE) > 1_000_000


def test_form_is_read_in_paise() -> None:
    """Prices become whole paise; a missing validity is DAY."""
    form = read_form(
        "regular",
        {
            "exchange": "NSE", "tradingsymbol": "X", "transaction_type": "BUY", "quantity": "3", "product": "MIS",
            "order_type": "LIMIT", "price": "101.15",
        },
    )  # fmt: skip
    assert (form.price, form.validity, form.quantity) == (10_115, "DAY", 3)
