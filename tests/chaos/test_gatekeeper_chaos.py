"""The chaos benchmark, short: one session of real processes, killed and misled, ends flat with nothing lost or doubled."""

from __future__ import annotations

import pytest

from benchmarks.chaos import measure


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_chaos(monkeypatch: pytest.MonkeyPatch, tradealgo_home: str) -> None:
    """Random kill -9 and faults for some seconds, then the kill."""
    monkeypatch.setenv("TRADEALGO_HOME", tradealgo_home)  # the benchmark sets its own; put back afterwards
    figures = measure(runs=1, seconds=10.0, seed=5)
    assert figures["orders"] > 0
    assert (figures["lost"], figures["doubled"], figures["unflat_after_kill"]) == (0, 0, 0)
    assert figures["max_calls_in_a_second"] <= 10
