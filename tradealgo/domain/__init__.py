"""The words of trading, pure: instruments, ticks, candles, signals, orders, the book, hours, charges. No I/O, nothing of ours imported."""
