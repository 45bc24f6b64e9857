"""An entry carries the stop and the target of its strategy's contract, the same in the backtest and in a session."""

from __future__ import annotations

import math

import pytest

from tradealgo.consumer.requests import RequestMaker
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.sizing import Sizing
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.ema_cross import EmaCross

HELD = {1: "long", -1: "short"}


def levels(exits: Strategy | None, target: int, stop: float = math.nan) -> tuple[float | None, float | None]:
    """Stop and target of an entry at a close of 100."""
    record = SignalRecord(1, 0, target, stop, "", 100.0, 0, 0)
    return RequestMaker("s", "x", Sizing(units=1), 1e6, exits)._levels(record, 100.0)


@pytest.mark.parametrize("target", HELD, ids=HELD.values())
def test_the_contracts_fractions_become_prices(target: int) -> None:
    """Of the close that gave the signal, as in `guard`."""
    stop, take = levels(EmaCross(stop_loss=0.02, take_profit=0.05), target)
    assert stop == pytest.approx(100 - 2 * target)
    assert take == pytest.approx(100 + 5 * target)


@pytest.mark.parametrize("target", HELD, ids=HELD.values())
def test_the_nearest_stop_counts(target: int) -> None:
    """Of the signal's own, the stop-loss and the trailing stop."""
    exits = EmaCross(stop_loss=0.03, trailing_stop=0.02)
    assert levels(exits, target, 100 - 1 * target)[0] == 100 - 1 * target
    assert levels(exits, target, 100 - 5 * target)[0] == pytest.approx(100 - 2 * target)


def test_without_exits_there_is_the_signals_own_stop_or_none() -> None:
    assert levels(None, 1) == (None, None)
    assert levels(EmaCross(), 1, 97.0) == (97.0, None)
