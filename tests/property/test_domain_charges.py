"""Charges in whole numbers are what the published fractions give, exactly."""

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.charges import Charges, order_charges, rates_for
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.orders import Side

DAY = dt.date(2026, 11, 20)


def paise(rupees: Decimal) -> int:
    return int((rupees * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@pytest.mark.parametrize("kind", [Kind.EQUITY, Kind.FUTURE, Kind.CALL])
@given(turnover=st.integers(1, 10**13), side=st.sampled_from(Side))
def test_charges_are_the_decimal_arithmetic_of_the_table(kind, turnover, side):
    """Each kind of charge, rounded half up to the paisa."""
    instrument = Instrument(instrument_token=1, exchange="NSE", tradingsymbol="X", kind=kind)
    rates, rupees = rates_for(instrument, DAY), Decimal(turnover) / 100
    brokerage = paise(min(rupees * rates.brokerage, rates.brokerage_cap) if rates.brokerage else rates.brokerage_cap)
    exchange, sebi = paise(rupees * rates.exchange), paise(rupees * rates.sebi)
    wanted = Charges(
        brokerage=brokerage,
        stt=paise(rupees * rates.stt_sell) if side is Side.SELL else 0,
        exchange=exchange,
        sebi=sebi,
        stamp=paise(rupees * rates.stamp_buy) if side is Side.BUY else 0,
        gst=paise(Decimal(brokerage + exchange + sebi) / 100 * rates.gst),
    )
    assert order_charges(instrument, side, turnover, DAY) == wanted
