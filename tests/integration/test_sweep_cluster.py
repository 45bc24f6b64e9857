"""A sweep on a real Dask cluster of processes: the result is the local one, and interrupting keeps what is done."""

import datetime as dt
import os
import signal
import sys

import numpy as np
import pandas as pd
import pytest

from tradealgo.domain.candles import CANDLE, MINUTE_NS
from tradealgo.domain.hours import at
from tradealgo.research.sweep import sweep
from tradealgo.research.sweep_result import Sweep
from tradealgo.strategies import FLAT, LONG, EmaCross, Strategy

distributed = pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
OPEN = at(dt.date(2026, 11, 20), dt.time(9, 15))
GRID = {"fast": range(2, 14), "slow": range(20, 32)}


class Fragile(Strategy):
    """Raises where its level is 0. A list can't be compiled: it runs as Python."""

    level: float = 1.0

    def setup(self):
        self.seen = []

    def on_candle(self, candle):
        self.seen.append(candle.close)
        return LONG if 1.0 / self.level < candle.close else FLAT


def day(seed):
    rng = np.random.default_rng(seed)
    array = np.zeros(360, CANDLE)
    array["start"] = OPEN + np.arange(360) * MINUTE_NS
    array["close"] = np.round(1_500.0 + np.cumsum(rng.normal(0.0, 0.8, 360)), 2)
    array["open"] = np.r_[1_500.0, array["close"][:-1]]
    array["high"] = np.maximum(array["open"], array["close"])
    array["low"] = np.minimum(array["open"], array["close"])
    return array


@pytest.fixture
def ctrl_c():
    """SIGINT as Python takes it: who started this run in the background of a shell may have had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def client():
    """Two worker processes on loopback."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


def test_a_cluster_finds_what_this_machine_finds(client):
    """Every figure of every point and instrument, computed in other processes."""
    candles = {"NSE:A": day(1), "NSE:B": day(2)}
    here = sweep(EmaCross, GRID, candles, progress=False)  # first: the workers load what is compiled here
    there = sweep(EmaCross, GRID, candles, progress=False, on=client)
    assert there.done == len(there) == 288
    pd.testing.assert_frame_equal(there.table, here.table, check_exact=True)
    workers = client.run(lambda: (os.getpid(), "tradealgo.research.sweep_loop" in sys.modules))
    assert all(ran and pid != os.getpid() for pid, ran in workers.values())


def test_a_strategy_that_raises_there_is_named_here(client):
    """Its sentence comes back, and the other points have their figures."""
    grid = {"level": [0.0, 1.0, 2.0]}
    with pytest.warns(UserWarning, match="1 of 3 points raised"):
        there = sweep(Fragile, grid, day(3), progress=False, on=client)
    with pytest.warns(UserWarning, match="1 of 3 points raised"):
        here = sweep(Fragile, grid, day(3), progress=False)
    assert there.errors == here.errors
    assert list(there.errors) == [0]
    pd.testing.assert_frame_equal(there.table, here.table, check_exact=True)


def test_interrupting_keeps_what_the_cluster_has_done(client, ctrl_c, monkeypatch):
    """Ctrl-C, as the second part of the result comes in: two parts stay, each as a whole run has it, the rest is called off."""
    parts, real = [], Sweep.add

    def add(self, rows, figures, errors):
        real(self, rows, figures, errors)
        parts.append(rows)
        if len(parts) == 2:
            signal.raise_signal(signal.SIGINT)

    whole = sweep(EmaCross, GRID, day(4), progress=False)
    monkeypatch.setattr(Sweep, "add", add)
    with pytest.warns(UserWarning, match="interrupted: ") as told:
        found = sweep(EmaCross, GRID, day(4), progress=False, on=client)
    kept = sum(map(len, parts))  # whichever two came first: the grid's last part is a short one
    assert found.done == kept < 144
    assert f"interrupted: {kept} of 144 points are done and kept" in [str(w.message) for w in told]
    pd.testing.assert_frame_equal(found.table, whole.table.loc[sorted(parts[0] + parts[1])], check_exact=True)
    assert not client.futures
