"""The strategy contract: one plain class, written once, run by the backtest, the sweep, paper and live."""

from __future__ import annotations

import html
import inspect
import math
from typing import Any, ClassVar, NamedTuple

from tradealgo.domain.candles import Candle
from tradealgo.domain.errors import BadConfig
from tradealgo.domain.signals import Signal

PARAMETER_TYPES = (bool, int, float, str)


class Parameter(NamedTuple):
    """A declared parameter: its type (bool, int, float or str) and default."""

    kind: type
    default: Any


class Strategy:
    """Base of all strategies. Parameters are annotated class attributes with defaults:

        class EmaCross(Strategy):
            fast: int = 20
            slow: int = 50

            def setup(self):
                self.fast_ema, self.slow_ema = EMA(self.fast), EMA(self.slow)

            def on_candle(self, candle: Candle) -> Signal:
                fast, slow = self.fast_ema.update(candle.close), self.slow_ema.update(candle.close)
                return LONG if fast > slow else FLAT

    One instance serves one instrument; `setup` makes its state, `on_candle` hears each closed candle once, in order, and
    says where to be. The exits below belong to the contract, so every strategy has them (0 turns one off); how they work
    is in `guard`.
    """

    stop_loss: float = 0.0  # fraction of the entry's close
    take_profit: float = 0.0  # fraction of the entry's close
    trailing_stop: float = 0.0  # fraction of the best price since entry
    max_candles: int = 0  # candles that a position is held at most

    declared: ClassVar[dict[str, Parameter]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__init__ is not Strategy.__init__:
            raise BadConfig(
                f"{cls.__name__} has its own __init__, and the engines make instances without its arguments: declare each "
                "parameter in the class, with a type and a default, as in `n: int = 5`, and make the state in setup()"
            )
        cls.declared = {**cls.declared, **_declared_in(cls)}

    def __init__(self, *positional: Any, **parameters: Any) -> None:
        if positional:
            named = ", ".join(f"{n}=…" for n in self.declared if n not in EXITS) or "no parameters"
            raise BadConfig(
                f"{type(self).__name__} takes its parameters by name, got {positional!r}: write {type(self).__name__}({named})"
            )
        for name in parameters:
            if name not in self.declared:
                known = ", ".join(f"{n}: {p.kind.__name__}" for n, p in self.declared.items())
                raise BadConfig(f"{type(self).__name__} has no parameter {name!r}: it has {known}")
        for name, parameter in self.declared.items():
            value = parameters.get(name, parameter.default)
            setattr(self, name, _checked(type(self).__name__, name, parameter.kind, value))

    def setup(self) -> None:
        """Make the state: indicators, counters. Called once, before the first candle."""

    def on_candle(self, candle: Candle) -> Signal:
        """Hear a closed candle; say where to be: LONG, FLAT, SHORT, or a Signal with a stop and a reason."""
        raise NotImplementedError(
            f"{type(self).__name__} has no on_candle(self, candle): add one that returns a Signal"
        )

    def fresh(self) -> Strategy:
        """A new instance with the same parameters and its own state, ready for its first candle."""
        new = type(self)(**self.parameters)
        new.setup()
        for name in EXITS:  # what watches them, here and at the Gatekeeper, knows the parameters alone
            if getattr(new, name) != getattr(self, name):
                raise BadConfig(
                    f"{type(self).__name__}.setup() changes {name} from {getattr(self, name)!r} to {getattr(new, name)!r}: "
                    f"the exits are parameters and stand before the run. Pass {type(self).__name__}({name}=…), give "
                    "the class another default, or return a Signal with a stop of its own"
                )
        return new

    @property
    def parameters(self) -> dict[str, Any]:
        """By name: all of its own, and those of the contract's exits that are on."""
        given = {name: getattr(self, name) for name in self.declared}
        return {name: value for name, value in given.items() if name not in EXITS or value}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self.parameters.items())})"

    def _repr_html_(self) -> str:
        about = html.escape((inspect.getdoc(type(self)) or "").partition("\n")[0])
        rows = "".join(f"<tr><td>{n}</td><td>{html.escape(repr(v))}</td></tr>" for n, v in self.parameters.items())
        return f"<b>{type(self).__name__}</b> <i>{about}</i><table>{rows}</table>"


def _declared_in(cls: type) -> dict[str, Parameter]:
    annotated = inspect.get_annotations(cls, eval_str=True)
    found = {  # a parent's parameter with another default: `fast = 5` without its type
        name: Parameter(p.kind, _checked(cls.__name__, name, p.kind, vars(cls)[name]))
        for name, p in getattr(cls, "declared", {}).items()
        if name in vars(cls) and name not in annotated
    }
    for name, kind in annotated.items():
        if name.startswith("_") or name == "declared":
            continue
        if kind in PARAMETER_TYPES and name in cls.__dict__:
            found[name] = Parameter(kind, _checked(cls.__name__, name, kind, cls.__dict__[name]))
        elif kind in PARAMETER_TYPES or name in cls.__dict__:
            raise BadConfig(
                f"{cls.__name__}.{name}: {getattr(kind, '__name__', kind)} is no parameter: "
                "a parameter is a bool, int, float or str with a default, as in `fast: int = 20`"
            )
    return found


def _checked(owner: str, name: str, kind: type, value: Any) -> Any:
    """The value in the parameter's own type. numpy's scalars are taken as Python's."""
    value = value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():  # a row of a table of results has only floats
        value = int(value)
    if type(value) is not kind:
        raise BadConfig(
            f"{owner}.{name} is {value!r} ({type(value).__name__}): it takes {'an' if kind is int else 'a'} {kind.__name__}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise BadConfig(f"{owner}.{name} is {value!r}: it takes a finite number")
    if name in EXITS:
        _check_exit(owner, name, value)
    return value


def _check_exit(owner: str, name: str, value: Any) -> None:
    if value < 0 or (name in ("stop_loss", "trailing_stop") and value >= 1):
        what = "a number of candles" if name == "max_candles" else "a fraction of the price, as 0.05 for 5 %"
        raise BadConfig(
            f"{owner}.{name} is {value!r}, which can never close a position: it takes {what}; 0 turns it off"
        )


#: Names of the contract's own exits.
EXITS = ("stop_loss", "take_profit", "trailing_stop", "max_candles")
Strategy.declared = _declared_in(Strategy)
