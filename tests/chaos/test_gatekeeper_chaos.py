"""The chaos benchmark, short: one session of real processes, killed and misled, ends flat with nothing lost or doubled."""

from __future__ import annotations

import os

import pytest

from benchmarks.chaos import measure
from benchmarks.kill import rounds


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_chaos(monkeypatch: pytest.MonkeyPatch, tradealgo_home: str) -> None:
    """Random kill -9 and faults for some seconds, then the kill."""
    monkeypatch.setenv("TRADEALGO_HOME", tradealgo_home)  # the benchmark sets its own; put back afterwards
    figures = measure(runs=1, seconds=10.0, seed=5)
    assert figures["orders"] > 0
    assert [figures[key] for key in ("failed", "lost", "doubled", "unflat_after_kill")] == [0, 0, 0, 0]
    assert figures["max_calls_in_a_second"] <= 10


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_short_kill() -> None:
    """Ten positions and twenty working orders: flat by the broker's word, within its rate rule, and soon."""
    soak = bool(os.environ.get("TRADEALGO_SOAK"))
    found = await rounds(10, 5) if soak else await rounds(1, 0)
    assert all(r.most <= 10 for r in found)
    assert all(r.seconds - r.least < 5 for r in found if not r.faults)  # under 1 on a machine of its own
    assert all(r.seconds < 25 for r in found)
