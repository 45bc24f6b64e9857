"""The strategy contract: parameters, state, and what it says to wrong use."""

import math

import pytest

from tradealgo.domain.candles import Candle
from tradealgo.domain.errors import BadConfig
from tradealgo.strategies import FLAT, LONG, EmaCross, Signal, Strategy
from tradealgo.strategies.runner import checked


class Threshold(Strategy):
    """Long above a level."""

    level: float = 100.0
    label: str = "up"
    inverse: bool = False

    def setup(self) -> None:
        self.seen = 0

    def on_candle(self, candle: Candle) -> Signal:
        self.seen += 1
        return LONG if (candle.close > self.level) != self.inverse else FLAT


def test_parameters_have_defaults_and_are_taken_by_name():
    """Given values replace defaults; the contract's exits show only when they are on."""
    assert EmaCross().parameters == {"fast": 20, "slow": 50}
    assert repr(EmaCross(fast=5, stop_loss=0.01)) == "EmaCross(stop_loss=0.01, fast=5, slow=50)"
    assert Threshold(level=3).level == 3.0
    assert "Long above a level." in Threshold()._repr_html_()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EmaCross(fats=5), "no parameter 'fats': it has stop_loss: float"),
        (lambda: EmaCross(fast=5.5), "EmaCross.fast is 5.5 (float): it takes an int"),
        (lambda: EmaCross(fast=True), "it takes an int"),
        (lambda: EmaCross(5, 9), "takes its parameters by name"),
        (lambda: Threshold(level=math.nan), "finite"),
        (lambda: EmaCross(stop_loss=5.0), "EmaCross.stop_loss is 5.0, which can never close a position"),
        (lambda: EmaCross(stop_loss=-0.003), "as 0.05 for 5 %"),
        (lambda: EmaCross(trailing_stop=2), "EmaCross.trailing_stop is 2.0"),
        (lambda: EmaCross(take_profit=-0.1), "0 turns it off"),
        (lambda: EmaCross(max_candles=-1), "it takes a number of candles"),
    ],
)
def test_wrong_parameters_get_a_sentence(make, words):
    """An unknown, ill-typed or positional parameter names what is known."""
    with pytest.raises(BadConfig) as caught:
        make()
    assert words in str(caught.value)


def test_a_parameter_without_default_is_refused_with_the_class():
    """The class statement itself fails, so the mistake is seen in its own cell."""
    with pytest.raises(BadConfig, match="with a default"):
        type("Bad", (Strategy,), {"__annotations__": {"span": int}, "__module__": __name__})


def test_an_init_of_its_own_is_refused_with_the_class():
    """Engines make instances from declared parameters: what only `__init__` took would be forgotten."""

    def own(self, n=5):
        self.n = n

    with pytest.raises(BadConfig, match=r"has its own __init__.*as in `n: int = 5`"):
        type("Bad", (Strategy,), {"__init__": own, "__module__": __name__})


def test_a_default_given_anew_without_its_type_counts():
    """`stop_loss = 0.01` in a class body means what it says."""
    quick = type("Quick", (EmaCross,), {"fast": 5, "stop_loss": 0.01, "__module__": __name__})
    assert quick().parameters == {"stop_loss": 0.01, "fast": 5, "slow": 50}
    with pytest.raises(BadConfig, match=r"Bad\.fast is 5\.5"):
        type("Bad", (EmaCross,), {"fast": 5.5, "__module__": __name__})


def test_an_exit_that_setup_changes_is_refused():
    """A session's exits and the Gatekeeper's resting stops are made from the parameters."""

    class Percent(EmaCross):
        stop_percent: float = 0.3

        def setup(self) -> None:
            super().setup()
            self.stop_loss = self.stop_percent / 100

    with pytest.raises(
        BadConfig, match=r"Percent.setup\(\) changes stop_loss from 0.0 to 0.003.*Percent\(stop_loss=…\)"
    ):
        Percent().fresh()


def test_fresh_instances_share_nothing():
    """A run's state is its own, and the instance that was passed stays as it was."""
    made_from = Threshold(level=1.0)
    first, second = made_from.fresh(), made_from.fresh()
    first.on_candle(Candle(0, 1.0, 1.0, 1.0, 1.0))
    assert (first.seen, second.seen, second.level) == (1, 0, 1.0)
    assert not hasattr(made_from, "seen")


@pytest.mark.parametrize(
    "wrong", [None, 1, (1, 2.0, ""), Signal(2), Signal(0.5), Signal(1, -3.0), Signal(1, 5.0, None)]
)
def test_what_is_no_signal_is_refused(wrong):
    """A wrong type, target, stop or reason raises."""
    with pytest.raises((TypeError, ValueError), match="on_candle returned"):
        checked(wrong)
