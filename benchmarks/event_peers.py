"""Event engines of others on the same candles, each in a process and an environment of its own.

`python event_peers.py NAME CANDLES.npz` runs one peer with whatever Python has it, and prints one JSON object: seconds of
the run alone (no import, no loading), orders, version. It imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

UNITS, CASH, FEES = 100, 1_000_000.0, 0.0003
FAST, SLOW = 20, 50


def nautilus(frame: pd.DataFrame) -> dict[str, Any]:
    """nautilus_trader: its Cython engine, its own EMAs, market orders, its default risk engine and cache."""
    import nautilus_trader
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.indicators import ExponentialMovingAverage
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BarType
    from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
    from nautilus_trader.model.objects import Money
    from nautilus_trader.persistence.wranglers import BarDataWrangler
    from nautilus_trader.test_kit.providers import TestInstrumentProvider
    from nautilus_trader.trading.strategy import Strategy

    instrument = TestInstrumentProvider.equity()
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")

    class Cross(Strategy):
        def on_start(self) -> None:
            self.quick, self.late = ExponentialMovingAverage(FAST), ExponentialMovingAverage(SLOW)
            self.register_indicator_for_bars(bar_type, self.quick)
            self.register_indicator_for_bars(bar_type, self.late)
            self.subscribe_bars(bar_type)
            self.long = False

        def on_bar(self, bar: Any) -> None:
            wanted = self.quick.value > self.late.value
            if wanted != self.long:
                self.long = wanted
                side = OrderSide.BUY if wanted else OrderSide.SELL
                self.submit_order(
                    self.order_factory.market(instrument.id, side, instrument.make_qty(UNITS))
                )  # fmt: skip

    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        instrument.id.venue,
        OmsType.NETTING,
        AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(CASH, USD)],
    )
    engine.add_instrument(instrument)
    engine.add_data(BarDataWrangler(bar_type, instrument).process(frame))
    engine.add_strategy(Cross())
    began = time.process_time()
    engine.run()
    took = time.process_time() - began
    return {"seconds": took, "orders": len(engine.cache.orders()), "version": nautilus_trader.__version__}


def backtesting_py(frame: pd.DataFrame) -> dict[str, Any]:
    """backtesting.py: one instrument, orders at the next open, commissions."""
    import backtesting
    from backtesting import Backtest, Strategy

    class Cross(Strategy):
        def init(self) -> None:
            close = pd.Series(self.data.Close)
            self.quick, self.late = (self.I(lambda n=n: close.ewm(span=n, adjust=False).mean()) for n in (FAST, SLOW))

        def next(self) -> None:
            if self.quick[-1] > self.late[-1] and not self.position:
                self.buy(size=UNITS)
            elif self.quick[-1] <= self.late[-1] and self.position:
                self.position.close()

    named = frame.rename(columns=str.title).tz_localize(None)
    test = Backtest(named, Cross, cash=CASH, commission=FEES, finalize_trades=True)
    began = time.process_time()
    stats = test.run()
    took = time.process_time() - began
    return {"seconds": took, "orders": 2 * int(stats["# Trades"]), "version": backtesting.__version__}


def frame_from(path: str) -> pd.DataFrame:
    """Candles in UTC from an npz of `start` (ns) and the prices."""
    with np.load(path) as stored:
        prices = {name: stored[name] for name in ("open", "high", "low", "close", "volume")}
        return pd.DataFrame(prices, index=pd.DatetimeIndex(stored["start"], tz="UTC", name="timestamp"))


if __name__ == "__main__":
    peers = {"nautilus": nautilus, "backtesting_py": backtesting_py}
    print(json.dumps(peers[sys.argv[1]](frame_from(sys.argv[2]))))
