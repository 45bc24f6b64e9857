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
    from tradealgo.research.parity import parity as parity
    from tradealgo.research.report import write_report as write_report
    from tradealgo.research.sweep import sweep as sweep

__version__ = "0.1.0"

#: Where each name is: loaded when first used, so that `import tradealgo` costs next to nothing.
_HOMES = {
    "LiveSession": "tradealgo.live.session",
    "Backtest": "tradealgo.research.backtest",
    "Limits": "tradealgo.domain.limits",
    "Market": "tradealgo.config",
    "Sizing": "tradealgo.domain.sizing",
    "attach": "tradealgo.live.session",
    "backtest": "tradealgo.research.backtest",
    "launch": "tradealgo.live.launch",
    "parity": "tradealgo.research.parity",
    "sweep": "tradealgo.research.sweep",
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
    "launch",
    "parity",
    "sweep",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
