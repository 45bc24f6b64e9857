"""Marketable limits: beyond the last price, on a tick, inside the band."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Side
from tradealgo.gatekeeper.pricing import band, is_further, marketable_limit, on_tick

SHARE = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="X", kind=Kind.EQUITY, tick_size=0.05)
OPTION = Instrument(instrument_token=2, exchange="NFO", tradingsymbol="Y", kind=Kind.CALL, tick_size=0.05)


@pytest.mark.parametrize(
    ("instrument", "side", "last", "expected"),
    [
        (SHARE, Side.BUY, 1_500.0, 1_507.5),
        (SHARE, Side.SELL, 1_500.0, 1_492.5),
        (SHARE, Side.BUY, 100.03, 100.55),
        (SHARE, Side.SELL, 100.03, 99.5),
        (OPTION, Side.BUY, 4.0, 4.2),
        (OPTION, Side.BUY, 50.0, 51.5),
        (OPTION, Side.SELL, 200.0, 196.0),
        (OPTION, Side.SELL, 600.0, 594.0),
        (OPTION, Side.BUY, 0.05, 0.1),
        (OPTION, Side.SELL, 0.05, 0.05),
    ],
)
def test_known_prices(instrument: Instrument, side: Side, last: float, expected: float) -> None:
    """Half a per cent for shares, by premium for options; at least a tick."""
    assert marketable_limit(instrument, side, last, 0.005) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("instrument", "last", "expected"),
    [
        (OPTION, 9.95, 0.05), (OPTION, 10.0, 0.03), (OPTION, 99.95, 0.03), (OPTION, 100.0, 0.02),
        (OPTION, 499.95, 0.02), (OPTION, 500.0, 0.01), (OPTION, 5_000.0, 0.01),
        (SHARE, 99.95, 0.02), (SHARE, 100.0, 0.01), (SHARE, 499.95, 0.01), (SHARE, 500.0, 0.005), (SHARE, 90_000.0, 0.005),
    ],
)  # fmt: skip
def test_the_brokers_bands_by_price(instrument: Instrument, last: float, expected: float) -> None:
    """Each begins at its price."""
    assert band(instrument, last) == expected


@given(
    ticks=st.integers(1, 4_000_000),
    tick=st.sampled_from((0.01, 0.05, 0.1, 0.5, 1.0, 5.0)),
    side=st.sampled_from(Side),
    slip=st.floats(0, 0.1),
    option=st.booleans(),
)
def test_outward_on_a_tick_and_in_the_band(ticks: int, tick: float, side: Side, slip: float, option: bool) -> None:
    """Never inside the last price, never off the tick, never more than a tick beyond the band."""
    kind = Kind.CALL if option else Kind.EQUITY
    instrument = Instrument(instrument_token=1, exchange="X", tradingsymbol="X", kind=kind, tick_size=tick)
    last = round(ticks * tick, 2)
    price = marketable_limit(instrument, side, last, slip)
    assert on_tick(price, tick)
    assert price >= tick
    assert not is_further(side, last, price) or price == pytest.approx(tick)
    assert abs(price - last) <= band(instrument, last) * last + tick + 1e-6
