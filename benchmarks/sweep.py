"""A sweep of EMA crossovers against a hand-written loop and peers: `python -m benchmarks.sweep --json [--quick]`.

1,000 points (40 fast spans, 25 slow ones) over the candles and conventions of `benchmarks.backtest`, through the public
API on all cores. The hand-written loop runs on as many threads. vectorbt runs in blocks of 100 columns, its fastest way.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from benchmarks.backtest import CASH, FEES, UNITS, frame_of, hand_written, seconds
from benchmarks.common import interleaved, main
from tradealgo.domain.sizing import Sizing
from tradealgo.research.sweep import sweep
from tradealgo.research.sweep_result import Sweep
from tradealgo.strategies import EmaCross

FAST, SLOW = range(5, 45), range(50, 300, 10)


@njit(nogil=True)
def hand_written_part(open_, close, points, out):  # type: ignore[no-untyped-def]
    for k in range(len(points)):
        orders, equity = hand_written(open_, close, points[k, 0], points[k, 1])
        out[k, 0] = orders
        out[k, 1] = equity


def hand_written_sweep(open_: np.ndarray, close: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Orders and final equity of each point."""
    out, workers = np.empty((len(points), 2)), os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda w: hand_written_part(open_, close, points[w], out[w]), _slices(len(points), workers * 4)))
    return out


def _slices(count: int, parts: int) -> list[slice]:
    edges = np.linspace(0, count, parts + 1).astype(int)
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def ours(frame: pd.DataFrame) -> Sweep:
    return sweep(
        EmaCross, {"fast": FAST, "slow": SLOW}, frame, sizing=Sizing(units=UNITS), charges=FEES, intraday=False,
        progress=False,
    )  # fmt: skip


def vectorbt_sweep(frame: pd.DataFrame, points: np.ndarray) -> np.ndarray:
    """Orders and final equity of each point, 100 columns at a time."""
    import vectorbt as vbt

    close, found = frame["close"], []
    averages = {n: close.ewm(span=n, adjust=False).mean().to_numpy() for n in {int(x) for x in points.ravel()}}
    for begin in range(0, len(points), 100):
        part = points[begin : begin + 100].astype(int)
        long = np.stack([averages[f] > averages[s] for f, s in part], axis=1)
        long = np.vstack([np.zeros((1, long.shape[1]), bool), long[:-1]])
        portfolio = vbt.Portfolio.from_signals(
            close.to_numpy()[:, None], long, ~long, price=frame["open"].to_numpy()[:, None], size=UNITS, fees=FEES,
            init_cash=CASH, freq="1min",
        )  # fmt: skip
        found.append(np.c_[np.asarray(portfolio.orders.count()), np.asarray(portfolio.final_value())])
    return np.vstack(found)


def raptorbt_sweep(frame: pd.DataFrame, points: np.ndarray) -> None:
    """raptorbt in its own parallel batches of 100, for its speed alone: it sizes and seeds in its own way."""
    import raptorbt

    prices = [frame[n].to_numpy(float).copy() for n in ("open", "high", "low", "close", "volume")]
    stamps, config = frame.index.as_unit("ns").asi8.copy(), raptorbt.BacktestConfig(initial_capital=CASH, fees=FEES)
    averages = {n: np.asarray(raptorbt.ema(prices[3], n)) for n in {int(x) for x in points.ravel()}}
    for begin in range(0, len(points), 100):
        items = []
        for fast, slow in points[begin : begin + 100].astype(int):
            long = averages[fast] > averages[slow]
            before = np.r_[False, long[:-1]]
            items.append(raptorbt.BatchSingleItem(f"{fast}/{slow}", long & ~before, ~long & before))
        raptorbt.batch_single_backtest(stamps, *prices, items, config)


def measure(quick: bool) -> dict[str, Any]:
    frame = frame_of()
    open_, close = frame["open"].to_numpy().copy(), frame["close"].to_numpy().copy()
    points = np.array([(f, s) for f in FAST for s in SLOW], float)
    ours(frame)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    few = points[:100] if quick else points  # the peers' share of a quick run is scaled up
    scale = len(points) / len(few)
    cases = {
        "handwritten": seconds(lambda: hand_written_sweep(open_, close, points)),
        "ours": seconds(lambda: ours(frame)),
    }
    slow_cases = {"vectorbt": seconds(lambda: vectorbt_sweep(frame, few))}
    if importlib.util.find_spec("raptorbt"):
        slow_cases["raptorbt"] = seconds(lambda: raptorbt_sweep(frame, few))
    for case in (*cases.values(), *slow_cases.values()):
        case()  # what is compiled or imported at first use
    took = interleaved(cases, 5 if quick else 15)
    peers = {n: s * scale for n, s in interleaved(slow_cases, 1 if quick else 3).items()}
    table, theirs = ours(frame).table, vectorbt_sweep(frame, few)
    mine = table[["orders", "final equity"]].to_numpy(float)
    by_hand = hand_written_sweep(open_, close, points)
    return {
        "points": len(points),
        "candles": len(frame),
        "equal": bool(np.array_equal(mine[: len(few), 0], theirs[:, 0]) and np.array_equal(mine[:, 0], by_hand[:, 0])
                      and np.allclose(mine[: len(few), 1], theirs[:, 1], rtol=0, atol=1e-6)),
        "peak_mb": memory,
        **{f"{n}_s": s for n, s in {**took, **peers}.items()},
        "ratio_handwritten": took["ours"] / took["handwritten"],
        **{f"ratio_{n}": s / took["ours"] for n, s in peers.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)
