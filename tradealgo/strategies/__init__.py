"""The strategy contract, its indicators and the strategies that ship."""

from tradealgo.domain.candles import Candle
from tradealgo.domain.signals import FLAT, LONG, SHORT, Signal
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.basket import BasketStrategy, Target
from tradealgo.strategies.ema_cross import EmaCross
from tradealgo.strategies.hybrid import Hybrid
from tradealgo.strategies.indicators import ATR, EMA, RSI, SMA, VWAP
from tradealgo.strategies.loading import describe, load
from tradealgo.strategies.momentum_scanner import MomentumScanner
from tradealgo.strategies.straddle_manager import StraddleManager

__all__ = [
    "ATR",
    "EMA",
    "FLAT",
    "LONG",
    "RSI",
    "SHORT",
    "SMA",
    "VWAP",
    "BasketStrategy",
    "Candle",
    "EmaCross",
    "Hybrid",
    "MomentumScanner",
    "Signal",
    "StraddleManager",
    "Strategy",
    "Target",
    "describe",
    "load",
]
