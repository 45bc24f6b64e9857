"""One backtest against a hand-written loop, vectorbt and other peers: `python -m benchmarks.backtest --json [--quick]`.

EMA 20/50 crossover, long only, 100 shares, 0.03 % a side, filled at the next open, on 92,250 one-minute candles (246 days
of 375) from a seeded geometric Brownian motion. Peers that aren't installed are left out: `pip install tradealgo[peers]`.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from benchmarks.common import interleaved, main
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import Backtest, backtest
from tradealgo.strategies import EmaCross

DAYS, MINUTES, SEED = 246, 375, 42
FEES, UNITS, CASH = 0.0003, 100, 1_000_000.0
FIRST_RESULT = """
import time; began = time.perf_counter()
import pickle, sys
from tradealgo.research.backtest import backtest
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.sizing import Sizing
from tradealgo.strategies import EmaCross
frame = pickle.load(open(sys.argv[1], "rb"))
backtest(EmaCross(), frame, sizing=Sizing(units=100), charges=0.0003, intraday=False).stats()
print(time.perf_counter() - began)
"""


def frame_of(seed: int = SEED) -> pd.DataFrame:
    """The candles as everyone takes them."""
    rng, count = np.random.default_rng(seed), DAYS * MINUTES
    close = 1_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0005, count)))
    open_ = np.r_[1_000.0, close[:-1]] * np.exp(rng.normal(0.0, 0.0001, count))
    days = pd.bdate_range("2025-01-01 09:15", periods=DAYS, tz="Asia/Kolkata").as_unit("ns").asi8
    starts = (days[:, None] + np.arange(MINUTES) * MINUTE_NS).ravel()
    index = pd.DatetimeIndex(starts, tz="UTC", name="start").tz_convert("Asia/Kolkata")
    prices = {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close}
    return pd.DataFrame({**prices, "volume": 1_000.0}, index=index)


@njit(nogil=True)
def hand_written(open_, close, fast, slow):  # type: ignore[no-untyped-def]
    """The least code that gives number of orders and final equity."""
    a, b = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0)
    quick = late = close[0]
    cash, held, orders, due = CASH, 0, 0, False
    for i in range(close.size):
        if i > 0:
            if due:
                due = False
                quantity = UNITS if held == 0 else -UNITS
                cash += -quantity * open_[i] - abs(quantity) * open_[i] * FEES
                held += quantity
                orders += 1
            quick = a * close[i] + (1.0 - a) * quick
            late = b * close[i] + (1.0 - b) * late
        due = (quick > late) != (held > 0)
    return orders, cash + held * close[-1]


def ours(frame: pd.DataFrame) -> Backtest:
    return backtest(EmaCross(), frame, sizing=Sizing(units=UNITS), charges=FEES, intraday=False)


def vectorbt_run(frame: pd.DataFrame, fast: int = 20, slow: int = 50) -> tuple[int, float]:
    """The same through vectorbt's simulator, its engine chosen by itself (Rust where it can)."""
    import vectorbt as vbt

    quick, late = (frame["close"].ewm(span=n, adjust=False).mean().to_numpy() for n in (fast, slow))
    long = np.r_[False, (quick > late)[:-1]]
    portfolio = vbt.Portfolio.from_signals(  # arrays: its own way with labelled Series takes fifty times as long
        frame["close"].to_numpy(), long, ~long, price=frame["open"].to_numpy(), size=UNITS, fees=FEES, init_cash=CASH,
        freq="1min",
    )  # fmt: skip
    return int(portfolio.orders.count()), float(portfolio.final_value())


def backtesting_py_run(frame: pd.DataFrame) -> None:
    """backtesting.py, which counts in its own way: for its speed alone."""
    from backtesting import Backtest as Theirs
    from backtesting import Strategy

    class Cross(Strategy):
        def init(self) -> None:
            close = pd.Series(self.data.Close)
            self.quick, self.late = (self.I(lambda n=n: close.ewm(span=n, adjust=False).mean()) for n in (20, 50))

        def next(self) -> None:
            if self.quick[-1] > self.late[-1] and not self.position:
                self.buy(size=UNITS)
            elif self.quick[-1] <= self.late[-1] and self.position:
                self.position.close()

    Theirs(frame.rename(columns=str.title).tz_localize(None), Cross, cash=CASH, commission=FEES).run()


def first_result(frame: pd.DataFrame, rounds: int) -> float:
    """Seconds from a fresh process's first line to statistics, with what an earlier process compiled."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        frame.to_pickle(file.name)
        command = [sys.executable, "-c", FIRST_RESULT, file.name]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        said = [
            float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
            for _ in range(rounds + 1)
        ]
    return statistics.median(said[1:])


def seconds(work: Callable[[], Any], least_calls: int = 1) -> Callable[[], float]:
    """A case for `interleaved`: seconds a call."""

    def measured() -> float:
        began = time.perf_counter()
        for _ in range(least_calls):
            work()
        return (time.perf_counter() - began) / least_calls

    return measured


def measure(quick: bool) -> dict[str, Any]:
    frame = frame_of()
    open_, close = frame["open"].to_numpy().copy(), frame["close"].to_numpy().copy()

    def one() -> tuple[int, float]:
        test = ours(frame)
        return test.order_count, test.final_equity

    cases = {
        "handwritten": seconds(lambda: hand_written(open_, close, 20.0, 50.0), 10),
        "ours": seconds(one, 10),
        "ours_with_stats": seconds(lambda: ours(frame).stats()),
        "vectorbt": seconds(lambda: vectorbt_run(frame)),
    }
    if importlib.util.find_spec("backtesting") and not quick:
        cases["backtesting_py"] = seconds(lambda: backtesting_py_run(frame))
    for case in cases.values():
        case()
    took = interleaved(cases, 5 if quick else 25)
    by_hand, found, peer = hand_written(open_, close, 20.0, 50.0), one(), vectorbt_run(frame)
    return {
        "candles": len(frame),
        "orders": found[0],
        "equity": found[1],
        "equal": found[0] == peer[0] == by_hand[0] and abs(found[1] - peer[1]) < 1e-6,
        **{f"{name}_ms": 1e3 * s for name, s in took.items()},
        "candles_per_s": len(frame) / took["ours"],
        "ratio_handwritten": took["ours"] / took["handwritten"],
        **{f"ratio_{n}": took[n] / took["ours"] for n in took if n not in ("ours", "handwritten")},
        "first_result_s": first_result(frame, 2 if quick else 5),
    }


if __name__ == "__main__":
    main(measure, __doc__)
