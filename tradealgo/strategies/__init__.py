"""The strategy contract, its indicators and the strategies that ship."""

from tradealgo.domain.candles import Candle
from tradealgo.domain.signals import FLAT, LONG, SHORT, Signal
from tradealgo.strategies.base import Strategy
from tradealgo.strategies.ema_cross import EmaCross
from tradealgo.strategies.indicators import ATR, EMA, RSI, SMA, VWAP
from tradealgo.strategies.loading import describe, load

__all__ = [
    "ATR",
    "EMA",
    "FLAT",
    "LONG",
    "RSI",
    "SHORT",
    "SMA",
    "VWAP",
    "Candle",
    "EmaCross",
    "Signal",
    "Strategy",
    "describe",
    "load",
]
