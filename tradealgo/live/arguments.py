"""Words of a command line as what `launch` takes. Raises InvalidInput for what it can't make sense of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import overload

from tradealgo import strategies
from tradealgo.config import Market
from tradealgo.domain.errors import BadConfig, InvalidInput
from tradealgo.domain.sizing import Sizing
from tradealgo.live.manifest import default_market
from tradealgo.strategies import BasketStrategy, Strategy, load

#: What a parameter of a type takes, as people say it.
_TAKES = {int: "a whole number", float: "a number", bool: "yes or no", str: "a text"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def strategy_of(name: str, parameters: Iterable[str]) -> Strategy:
    """An instance of `EmaCross`, `module:Class` or `file.py:Class` with parameters such as `fast=10`."""
    cls = strategy_class(name)
    given = dict(_pair(cls, text) for text in parameters)
    return cls(**given)


def strategy_class(name: str) -> type[Strategy]:
    """The class of a shipped strategy's name, of `module:Class` or of `path/file.py:Class`."""
    if ":" not in name:
        found = getattr(strategies, name, None)
        if _is_strategy(found):
            return found  # type: ignore[return-value]
        shipped = [n for n in strategies.__all__ if _is_strategy(getattr(strategies, n))]
        raise InvalidInput(
            f"no strategy {name!r} ships with TradeAlgo: expected {', '.join(shipped)}, module:Class or file.py:Class"
        )
    where, _, cls = name.rpartition(":")
    if not where.endswith(".py"):
        return load(name)
    path = Path(where).expanduser().resolve()
    return load(f"{path.name}:{cls}", path.parent)


def _is_strategy(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Strategy) and value not in (Strategy, BasketStrategy)


def _pair(cls: type[Strategy], text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"parameter {text!r}: expected NAME=VALUE, as in fast=10")
    declared = cls.declared.get(name)
    if declared is None:
        return name, value  # the class itself says which it has
    try:
        return name, _TRUTH[value.lower()] if declared.kind is bool else declared.kind(value)
    except (ValueError, KeyError):
        raise InvalidInput(f"parameter {name}={value!r}: {cls.__name__}.{name} takes {_TAKES[declared.kind]}") from None


@overload
def market_of(day: str | None, seed: int | None, file: str | None, speed: float | None) -> Market: ...


@overload
def market_of(
    day: str | None, seed: int | None, file: str | None, speed: float | None, *, live: bool
) -> Market | None: ...


def market_of(
    day: str | None, seed: int | None, file: str | None, speed: float | None, *, live: bool = False
) -> Market | None:
    """What the paper exchange plays; None for a live session. A file's day needn't be given."""
    if live:
        if any(value is not None for value in (day, seed, file, speed)):
            raise InvalidInput(
                "--day, --seed, --file and --speed are of a paper session: leave them out, or launch with --mode paper"
            )
        return None
    default = default_market()
    if file is not None and day is None:
        from tradealgo.exchange.market import market_from_file

        if not Path(file).is_file():
            raise BadConfig(f"no market file at {file}: write one with research.history, or leave --file out")
        day = market_from_file(file).day.isoformat()
    return Market(
        day=day or default.day,
        seed=1 if seed is None else seed,
        file=file,
        speed=default.speed if speed is None else speed,
    )


def sizing_of(units: int | None, lots: int | None, fraction: float | None) -> Sizing | None:
    """None where nothing was given, so that launch chooses."""
    if units is None and lots is None and fraction is None:
        return None
    try:
        return Sizing(units=units, lots=lots, fraction=fraction)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
