"""The event engine, whole risk path, against other event engines: `python -m benchmarks.event --json [--quick]`.

EMA 20/50 crossover, long only, 100 shares, squared off each day, on 92,250 one-minute candles (246 days of 375) from a
seeded geometric Brownian motion. Each of our runs goes through the public API to a result: candles checked, signals,
order requests, the Gatekeeper's checks and kill switch, the exchange's matching, charges, both ledgers.

Peers take turns with us, each in a process of its own that times its run alone. All are single-threaded, and seconds are
the processor's, so that other work on the machine counts for nobody. Peers run the same crossover without
square-off, limits, taxes or kill switch. A peer is measured where this Python has it, or the one that
TRADEALGO_PEER_PYTHON names (nautilus_trader and backtesting don't install beside all of our pins). Where it is not there,
its published figure stands in, and `nautilus` or `backtesting_py` says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.backtest import frame_of
from benchmarks.common import interleaved, main
from tradealgo.domain.limits import Limits
from tradealgo.domain.sizing import Sizing
from tradealgo.research.backtest import backtest
from tradealgo.research.event import EventBacktest
from tradealgo.strategies import EmaCross

#: Candles a second that others published or measured on a quiet machine of two cores (November 2026).
PUBLISHED = {"nautilus": 32_000.0, "backtesting_py": 256_000.0}
MODULES = {"nautilus": "nautilus_trader", "backtesting_py": "backtesting"}
MANY = 50


def candles(seed: int) -> pd.DataFrame:
    """In whole paise, from 09:15 each day."""
    frame = frame_of(seed).round(2)
    first = frame.index[0]
    return frame.set_index(frame.index - (first - first.normalize()) + pd.Timedelta("9h15min"))


def ours(frames: pd.DataFrame | dict[str, pd.DataFrame]) -> EventBacktest:
    """One run with the default limits, but those that 50 instruments at once would reach: money, not machinery."""
    limits = Limits(max_gross_exposure=1e9)
    capital = 1_000_000.0 * (len(frames) if isinstance(frames, dict) else 1)
    found = backtest(EmaCross(), frames, sizing=Sizing(units=100), capital=capital, engine="event", limits=limits)
    assert isinstance(found, EventBacktest)
    return found


def timed(*runs: pd.DataFrame | dict[str, pd.DataFrame]) -> Callable[[], float]:
    """A case: candles a second of some runs, one after the other."""
    count = sum(len(f) for run in runs for f in (run.values() if isinstance(run, dict) else [run]))

    def measured() -> float:
        began = time.process_time()
        for run in runs:
            ours(run)
        return count / (time.process_time() - began)

    return measured


def python_with(peer: str) -> str:
    """A Python that has the peer; empty if there is none."""
    if importlib.util.find_spec(MODULES[peer]):
        return sys.executable
    other = os.environ.get("TRADEALGO_PEER_PYTHON", "")
    found = other and subprocess.run([other, "-c", f"import {MODULES[peer]}"], capture_output=True, check=False)
    return other if found and found.returncode == 0 else ""


def peer_case(peer: str, python: str, file: str, count: int, versions: dict[str, str]) -> Callable[[], float]:
    """A case: candles a second of a peer's run."""
    script = str(Path(__file__).with_name("event_peers.py"))

    def measured() -> float:
        done = subprocess.run([python, script, peer, file], capture_output=True, text=True, check=True)
        said = json.loads(done.stdout.splitlines()[-1])
        versions[peer] = said["version"]
        return count / float(said["seconds"])

    return measured


def measure(quick: bool) -> dict[str, Any]:
    frame = candles(42)
    count, versions = len(frame), dict[str, str]()
    many = {f"NSE:S{n:02d}": candles(100 + n) for n in range(10 if quick else MANY)}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/candles.npz"
        np.savez(file, start=frame.index.as_unit("ns").asi8, **{c: frame[c].to_numpy() for c in frame.columns})
        cases: dict[str, Callable[[], float]] = {"ours": timed(frame)}
        for peer in MODULES:
            if python := python_with(peer):
                cases[peer] = peer_case(peer, python, file, count, versions)
        test = ours(frame)
        took = interleaved(cases, 3 if quick else 7)
    scaling = interleaved({"alone": timed(*many.values()), "together": timed(many)}, 1 if quick else 3)
    figures: dict[str, Any] = {
        "candles": count,
        "orders": test.order_count,
        "denials": len(test.denials),
        "trips": len(test.trips),
        "candles_per_s": took["ours"],
    }
    for peer, published in PUBLISHED.items():
        figures[f"ratio_{peer}"] = took["ours"] / took.get(peer, published)
        figures[peer] = f"{versions[peer]}, measured" if peer in took else "published figure, not measured here"
        if peer in took:
            figures[f"{peer}_candles_per_s"] = took[peer]
    # Candles a second of all in one run, against one run for each of the very same: 1.0 or more is flat
    figures["scaling_50"] = scaling["together"] / scaling["alone"]
    figures["scaling_instruments"] = len(many)
    return figures


if __name__ == "__main__":
    main(measure, __doc__)
