"""A form that launches a strategy: a field for each of its parameters, made of ipywidgets. It needs the kernel; the kill never does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tradealgo.domain.errors import TradeAlgoError
from tradealgo.strategies.base import EXITS, Parameter, Strategy

if TYPE_CHECKING:
    import ipywidgets

    from tradealgo.live.session import LiveSession

LABELS = {"paper": "Launch on paper", "live": "Launch with REAL MONEY"}
WIDE = {"description_width": "110px"}


class Launcher:
    """What `launcher` returns: shown as a form; `session` is what the last click launched, None before it."""

    def __init__(
        self, strategy: type[Strategy], instruments: Iterable[str] | None, mode: str, options: dict[str, Any]
    ) -> None:
        import ipywidgets as w

        self.strategy, self.mode, self.options = strategy, mode, options
        self.session: LiveSession | None = None
        self.fields = {name: _field(name, parameter) for name, parameter in strategy.declared.items()}
        self.instruments = w.Text(
            ", ".join(instruments or ()), description="instruments", style=WIDE, layout={"width": "98%"}
        )
        self.capital = w.FloatText(options.pop("capital", 1_000_000), description="capital, ₹", style=WIDE)
        live = mode == "live"
        self.agreed = w.Checkbox(not live, description="I mean real money", layout={"display": "" if live else "none"})
        self.button = w.Button(description=LABELS[mode], button_style="danger" if live else "primary", disabled=live)
        self.says = w.HTML()
        self.shown = w.VBox()
        self.agreed.observe(lambda change: setattr(self.button, "disabled", not change["new"]), "value")
        self.button.on_click(lambda _: self._launch())
        self.box = self._form()

    def _form(self) -> ipywidgets.VBox:
        import ipywidgets as w

        own = [field for name, field in self.fields.items() if name not in EXITS]
        exits = w.Accordion([w.VBox([self.fields[name] for name in EXITS])], titles=("Exits: 0 is off",))
        head = w.HTML(f"<b>{self.strategy.__name__}</b>")
        action = w.HBox([self.button, self.agreed])
        return w.VBox([head, self.instruments, self.capital, *own, exits, action, self.says, self.shown])

    def _launch(self) -> None:
        """By a click only. What is refused is said under the button, and nothing starts."""
        from html import escape

        from tradealgo.desk.widgets import Part
        from tradealgo.live.launch import launch

        self.button.disabled, self.says.value = True, "Starting…"
        try:
            strategy = self.strategy(**{name: field.value for name, field in self.fields.items()})
            keys = [key.strip() for key in self.instruments.value.split(",") if key.strip()] or None
            self.session = launch(strategy, keys, capital=self.capital.value, mode=self.mode, **self.options)
        except Exception as error:  # a click has no cell to raise in: what isn't said here is said nowhere
            name = "" if isinstance(error, TradeAlgoError) else f"{type(error).__name__}: "
            self.says.value = f"<b>Not launched.</b> {escape(name + str(error))}"
        else:
            self.says.value = f"Launched: {escape(self.session.id)}"
            self.shown.children = (Part(self.session, "desk").widget(),)
        finally:
            self.agreed.value = self.mode != "live"
            self.button.disabled = not self.agreed.value

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={field.value!r}" for name, field in self.fields.items() if name not in EXITS)
        return f"Launcher of {self.strategy.__name__}({given}), {self.mode}: {self.session or 'nothing launched yet'}"


def launcher(
    strategy: type[Strategy], instruments: Iterable[str] | None = None, *, mode: str = "paper", **options: Any
) -> Launcher:
    """A form of a strategy's parameters with a button. Nothing is launched without a click, and on paper unless told.

        launcher(EmaCross, ["NSE:INFY"], market=Market(day="2026-11-20", speed=60))

    Args:
        strategy: the class; its annotated parameters are the fields.
        mode: "paper", or "live": then a box must be ticked before each launch.
        options: the rest of what `launch` takes.

    Raises ValueError for another mode.
    """
    if mode not in LABELS:
        raise ValueError(f"mode={mode!r}: expected one of {', '.join(LABELS)}")
    return Launcher(strategy, instruments, mode, dict(options))


def _field(name: str, parameter: Parameter) -> Any:
    import ipywidgets as w

    kinds = {bool: w.Checkbox, int: w.IntText, float: w.FloatText, str: w.Text}
    return kinds[parameter.kind](value=parameter.default, description=name.replace("_", " "), style=WIDE)
