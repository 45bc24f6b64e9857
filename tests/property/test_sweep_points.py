"""A sweep's points are backtests: the same orders, equity and figures, whatever runs them."""

import warnings

import numpy as np
import pytest
from candle_makers import Everything, Helpers, candles
from hypothesis import given, settings
from hypothesis import strategies as st

from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.research.sweep import sweep
from tradealgo.strategies import EmaCross

pytestmark = pytest.mark.timeout(600)
SAME = ["final equity", "orders", "trades"]
CLOSE = ["net profit", "return", "Sharpe", "max drawdown", "win rate", "profit factor"]
CASES = [
    (EmaCross, {"fast": [2, 3], "slow": [5, 9], "stop_loss": [0.0, 0.005]}),
    (Everything, {"span": [2, 4], "edge": [0.0, 0.1], "shorts": [True, False], "max_candles": [0, 3]}),
    (Helpers, {"fast": [1, 2], "mode": ["both", "long"]}),
]


@pytest.mark.parametrize(("cls", "grid"), CASES)
@given(
    data=candles(), charges=st.sampled_from([True, False, 0.0003]), slippage=st.sampled_from([0.0, 0.001]),
    fill=st.sampled_from(["next_open", "close"]), intraday=st.booleans(),
    sizing=st.sampled_from([Sizing(units=100), Sizing(fraction=0.9)]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_each_point_is_a_backtest(cls, grid, data, charges, slippage, fill, intraday, sizing):
    """Equity and counts to the last bit; ratios but for the order of sums."""
    options = {
        "charges": charges, "slippage": slippage, "fill": fill, "intraday": intraday, "sizing": sizing, "interval": 60
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a fall back to the interpreted class would prove nothing
        found = sweep(cls, grid, data, progress=False, **options).table
    assert len(found) == np.prod([len(v) for v in grid.values()])
    for _, row in found.iterrows():
        point = {name: row[name] for name in grid}
        test = backtest(cls(**point), data, **options)
        stats = test.stats()
        assert [row[n] for n in SAME] == [test.final_equity, test.order_count, len(test.trades)]
        assert row["charges"] == pytest.approx(test.orders["fees"].sum())
        for name in CLOSE:
            assert row[name] == pytest.approx(stats[name], rel=1e-6, abs=1e-9, nan_ok=True), name
