"""From a notebook backtest to a live session on NSE, without rewriting the strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tradealgo.config import Market as Market
    from tradealgo.domain.limits import Limits as Limits
    from tradealgo.domain.sizing import Sizing as Sizing
    from tradealgo.live.launch import launch as launch
    from tradealgo.live.session import LiveSession as LiveSession
    from tradealgo.live.session import attach as attach
    from tradealgo.research.backtest import Backtest as Backtest
    from tradealgo.research.backtest import backtest as backtest
    from tradealgo.research.deflated_sharpe import deflated_sharpe as deflated_sharpe
    from tradealgo.research.lookahead import check_lookahead as check_lookahead
    from tradealgo.research.monte_carlo import monte_carlo as monte_carlo
    from tradealgo.research.parity import parity as parity
    from tradealgo.research.report import write_report as write_report
    from tradealgo.research.sweep import sweep as sweep
    from tradealgo.research.walk_forward import walk_forward as walk_forward

__version__ = "0.1.0"

#: Where each name is: loaded when first used, so that `import tradealgo` costs next to nothing.
_HOMES = {
    "Backtest": "tradealgo.research.backtest",
    "Limits": "tradealgo.domain.limits",
    "LiveSession": "tradealgo.live.session",
    "Market": "tradealgo.config",
    "Sizing": "tradealgo.domain.sizing",
    "attach": "tradealgo.live.session",
    "backtest": "tradealgo.research.backtest",
    "check_lookahead": "tradealgo.research.lookahead",
    "deflated_sharpe": "tradealgo.research.deflated_sharpe",
    "launch": "tradealgo.live.launch",
    "monte_carlo": "tradealgo.research.monte_carlo",
    "parity": "tradealgo.research.parity",
    "sweep": "tradealgo.research.sweep",
    "walk_forward": "tradealgo.research.walk_forward",
    "write_report": "tradealgo.research.report",
}

__all__ = [
    "Backtest",
    "Limits",
    "LiveSession",
    "Market",
    "Sizing",
    "attach",
    "backtest",
    "check_lookahead",
    "deflated_sharpe",
    "launch",
    "monte_carlo",
    "parity",
    "sweep",
    "walk_forward",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
