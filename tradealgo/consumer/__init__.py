"""Ticks to candles; on a candle's close the strategy; its signals, sized, to order requests."""
