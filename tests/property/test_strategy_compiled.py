"""The compiled class says what the interpreted one says, to the last bit."""

import warnings

import numpy as np
import pytest
from candle_makers import Everything, Helpers, candles
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.research.backtest import backtest
from tradealgo.research.parity import parity
from tradealgo.strategies import EmaCross

EXITS = st.fixed_dictionaries(
    {},
    optional={
        "stop_loss": st.sampled_from([0.001, 0.01]),
        "take_profit": st.sampled_from([0.001, 0.01]),
        "trailing_stop": st.sampled_from([0.002, 0.02]),
        "max_candles": st.integers(1, 10),
    },
)
CLASSES = st.one_of(
    st.builds(lambda f, s, x: EmaCross(fast=f, slow=s, **x), st.integers(1, 9), st.integers(2, 30), EXITS),
    st.builds(
        lambda n, e, s, x: Everything(span=n, edge=e, shorts=s, **x),
        st.integers(1, 9),
        st.floats(0, 1),
        st.booleans(),
        EXITS,
    ),
    st.builds(
        lambda m, f, x: Helpers(mode=m, fast=f, **x), st.sampled_from(["both", "long"]), st.integers(1, 5), EXITS
    ),
)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """Compiling takes seconds; the examples should not."""
    for strategy in (EmaCross(), Everything(), Helpers(), Helpers(mode="long")):
        backtest(strategy, _walk(10))


@pytest.mark.timeout(600)
@given(data=candles(), strategy=CLASSES, intraday=st.booleans())
@settings(max_examples=150, deadline=None)
def test_compiled_and_interpreted_signals_are_the_same_bits(data, strategy, intraday):
    """Target, stop and reason of each candle; so also requests, orders and equity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nights and of charges; that it is compiled is asked below
        fast = backtest(strategy, data, intraday=intraday, interval=60)
        plain = backtest(strategy, data, intraday=intraday, interval=60, engine="interpreted")
    assert fast.runs[0].signals.compiled
    np.testing.assert_array_equal(fast.runs[0].signals.target, plain.runs[0].signals.target)
    assert parity(fast, plain.signal_records, plain.request_records).differences == []
    assert fast.runs[0].signals.stop.tobytes() == plain.runs[0].signals.stop.tobytes()
    np.testing.assert_array_equal(fast.runs[0].orders, plain.runs[0].orders)
    assert fast.final_equity == plain.final_equity


@pytest.mark.parametrize("strategy", [EmaCross(), Everything(), Helpers()])
def test_the_strategies_of_this_test_do_trade(strategy):
    """Equal silence would prove nothing."""
    targets = backtest(strategy, _walk(400), intraday=False).runs[0].signals.target
    assert set(targets.tolist()) >= {0, 1}


def _walk(count):
    from tradealgo.domain.candles import CANDLE, MINUTE_NS

    rng = np.random.default_rng(5)
    array = np.zeros(count, CANDLE)
    array["start"] = 1_795_146_300_000_000_000 + np.arange(count) * MINUTE_NS
    array["close"] = 100.0 + np.cumsum(rng.normal(0.0, 0.3, count))
    array["open"] = array["close"]
    array["high"], array["low"] = array["close"] + 0.1, array["close"] - 0.1
    array["volume"] = 100.0
    return array
