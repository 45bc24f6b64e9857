"""History, backtests, sweeps, parity and reports."""
