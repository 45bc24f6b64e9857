"""Research: history, backtests, sweeps, parity and reports. Heavy libraries load when they are used."""
