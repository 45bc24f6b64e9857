"""What the shipped baskets refuse as they begin: parameters that would be taken silently and mean something else."""

from __future__ import annotations

import datetime as dt

from tradealgo.domain.errors import BadConfig
from tradealgo.strategies.base import Strategy

#: A bought leg is cheap and moves by halves: each of these would sell it by itself, and leave what it covers naked.
_OF_ONE_LEG = ("stop_loss", "take_profit", "trailing_stop")
#: The most that a sold leg's stop may be above what it was sold at, as a fraction of that.
MOST_LEG_STOP = 10.0


def check_times(strategy: Strategy, *names: str) -> None:
    """Raise BadConfig for a time that isn't HH:MM: they are compared as text, in which 9:30 comes after 15:15."""
    for name in names:
        text = getattr(strategy, name)
        try:
            is_time = dt.time.fromisoformat(text).strftime("%H:%M") == text
        except ValueError:
            is_time = False
        if not is_time:
            raise BadConfig(f"{type(strategy).__name__}.{name} is {text!r}: expected an Indian time as in '09:30'")


def check_at_least(strategy: Strategy, least: int, *names: str) -> None:
    """Raise BadConfig for a whole number that is below `least`."""
    for name in names:
        if (value := getattr(strategy, name)) < least:
            raise BadConfig(f"{type(strategy).__name__}.{name} is {value!r}: expected at least {least}")


def check_fraction(strategy: Strategy, most: float, *names: str) -> None:
    """Raise BadConfig for a fraction below 0 or above `most`: who means 40 % and says 40 would have no stop at all."""
    for name in names:
        if not 0.0 <= (value := getattr(strategy, name)) <= most:
            raise BadConfig(
                f"{type(strategy).__name__}.{name} is {value!r}: expected a fraction from 0 to {most:g}, as 0.4 for 40 %"
            )


def check_legs_stay_together(strategy: Strategy) -> None:
    """Raise BadConfig for an exit of the contract's on a basket that hedges what it sells."""
    for name in _OF_ONE_LEG:
        if value := getattr(strategy, name):
            kind = type(strategy).__name__
            raise BadConfig(
                f"{kind}({name}={value!r}) is judged on each leg by itself, so it would sell a hedge and leave what it "
                f"covers naked: use {kind}(leg_stop=…), which is judged on the sold leg"
            )


def check_reach(strategy: Strategy) -> None:
    """Raise BadConfig where the furthest leg lies beyond the strikes that are watched: nothing would ever be traded."""
    reach, width, hedge = (getattr(strategy, name) for name in ("reach", "width", "hedge"))
    if reach < abs(width) + hedge:
        raise BadConfig(
            f"{type(strategy).__name__} watches {reach} strikes to each side (reach), and its furthest leg is "
            f"{abs(width) + hedge} out (width and hedge): expected a reach of at least that"
        )
