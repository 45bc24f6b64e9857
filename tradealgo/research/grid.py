"""The points of a sweep: a product of values, a random part of it, or a list."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from typing import Any

from tradealgo.domain.errors import BadConfig
from tradealgo.strategies.base import Strategy

Point = dict[str, Any]


def points_of(strategy_class: type[Strategy], grid: Any, *, sample: int | None = None, seed: int = 0) -> list[Point]:
    """The points as dicts of all parameters that the grid names, checked against the class.

    Args:
        grid: a dict of values by parameter (their product), or a list of dicts (one a point).
        sample: take that many points of the product, at random and without repeats.

    Raises:
        BadConfig: an unknown parameter, an ill-typed value, or no point at all.
    """
    points = _product(grid, sample, seed) if isinstance(grid, Mapping) else [dict(p) for p in grid]
    if not points:
        raise BadConfig("the grid has no points: give values, as in {'fast': range(5, 50), 'slow': [50, 100]}")
    names = list(points[0])
    if any(list(p) != names for p in points):
        points = [_completed(strategy_class, p, {n for q in points for n in q}) for p in points]
        names = list(points[0])
    for name in names:
        values = {repr(p[name]): p[name] for p in points}.values()
        checked = {repr(v): getattr(strategy_class(**{name: v}), name) for v in values}
        for p in points:
            p[name] = checked[repr(p[name])]
    return points


def _product(grid: Mapping[str, Any], sample: int | None, seed: int) -> list[Point]:
    axes = {n: list(v) if isinstance(v, Iterable) and not isinstance(v, str) else [v] for n, v in grid.items()}
    count = math.prod(map(len, axes.values())) if axes else 0
    if sample is None or sample >= count:
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if count else []
    chosen = sorted(random.Random(seed).sample(range(count), sample))
    return [_at(axes, number) for number in chosen]


def _at(axes: dict[str, list[Any]], number: int) -> Point:
    """The point of a number in the product's order: the product itself is never made."""
    found = {}
    for name, values in reversed(axes.items()):
        number, place = divmod(number, len(values))
        found[name] = values[place]
    return dict(reversed(found.items()))


def _completed(strategy_class: type[Strategy], point: Point, names: set[str]) -> Point:
    declared = strategy_class.declared
    unknown = sorted(names - declared.keys())
    if unknown:
        strategy_class(**{unknown[0]: None})  # raises, naming what is known
    return {n: point.get(n, declared[n].default) for n in declared if n in names}
