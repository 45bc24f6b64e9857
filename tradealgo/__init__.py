"""From a notebook backtest to a live session on NSE, without rewriting the strategy."""

__version__ = "0.1.0"
