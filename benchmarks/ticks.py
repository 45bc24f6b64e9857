"""Decoding ticks and building candles, in memory: `python -m benchmarks.ticks --json`.

Decode: KiteTicker's own parser and ours on the same frames, in turns. `ratio_full_100` is how many times faster ours is on
frames of 100 packets in full mode, and so on. Candles: `ticks_per_s` folded in batches of 100 ticks, 2,000 instruments,
every candle that closes made into its message.
"""

from __future__ import annotations

import datetime as dt
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from kiteconnect import KiteTicker

from benchmarks.common import interleaved, main, rate
from tradealgo.consumer.builder import CandleBuilder
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.hours import market_hours
from tradealgo.domain.instruments import Instrument, Kind
from tradealgo.domain.ticks import MODE_FULL, MODE_QUOTE, empty_ticks
from tradealgo.exchange.packets import encode_frame
from tradealgo.producer.packets import decode_frame
from tradealgo.producer.packets_plain import decode_frame_plain
from tradealgo.producer.subscriptions import MAX_PER_CONNECTION

DAY = dt.date(2026, 11, 20)
INSTRUMENTS = 2_000
BATCH = 100


def frame(packets: int, length: int) -> bytes:
    """A frame of random packets, tokens of shares and of derivatives, all of one moment."""
    draw = random.Random(7)

    def packet() -> bytes:
        body = bytearray(struct.pack(">I", draw.randrange(1, 1 << 20) << 8 | draw.choice([1, 2])))
        body += draw.randbytes(length - 4)
        body[60:64] = struct.pack(">I", 1_795_146_300) if length == MODE_FULL else body[60:64]
        return struct.pack(">H", length) + bytes(body[:length])

    return struct.pack(">H", packets) + b"".join(packet() for _ in range(packets))


def decoding(quick: bool) -> dict[str, Any]:
    """Ticks a second of each parser, and the ratios."""
    kite = KiteTicker("key", "token")
    frames = {"full_100": frame(100, MODE_FULL), "full_3": frame(3, MODE_FULL), "quote_100": frame(100, MODE_QUOTE)}
    cases = {}
    for name, data in frames.items():
        n = int.from_bytes(data[:2], "big")
        assert len(decode_frame(data)[0]) == n
        cases[f"kiteticker_{name}"] = rate(lambda data=data: kite._parse_binary(data), n, 0.05)
        cases[f"plain_{name}"] = rate(lambda data=data: decode_frame_plain(data), n, 0.05)
        cases[f"tradealgo_{name}"] = rate(lambda data=data: decode_frame(data), n, 0.05)
    medians = interleaved(cases, 5 if quick else 21)
    found: dict[str, Any] = {
        f"ratio_{name}": round(medians[f"tradealgo_{name}"] / medians[f"kiteticker_{name}"], 1) for name in frames
    }
    return found | {f"{name}_ticks_per_s": round(value) for name, value in medians.items()}


def day_of_ticks(minutes: int) -> tuple[list[Instrument], np.ndarray]:
    """Every instrument ticks twice a second, in an order of its own each time."""
    book = [
        Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
        for n in range(1, INSTRUMENTS + 1)
    ]
    opens = market_hours(book[0], DAY).open
    draw, moments = np.random.default_rng(7), minutes * 120
    ticks = empty_ticks(moments * INSTRUMENTS)
    tokens = np.array([i.instrument_token for i in book], np.uint32)
    grid = ticks.reshape(moments, INSTRUMENTS)
    for moment, row in enumerate(grid):
        row["instrument_token"] = draw.permutation(tokens)
        row["ts_event"] = row["last_trade_time"] = opens + moment // 2 * SECOND_NS
        row["volume"] = moment
    ticks["mode"], ticks["last_price"] = MODE_FULL, draw.integers(10_000, 20_000, len(ticks)) / 100
    return book, ticks


def candles(quick: bool) -> dict[str, Any]:
    """Ticks a second that go into candles, compiled and interpreted."""
    book, ticks = day_of_ticks(2)
    batches = [ticks[at : at + BATCH] for at in range(0, len(ticks), BATCH)]

    def build(compiled: bool) -> float:
        builder = CandleBuilder(book, DAY, compiled=compiled)
        began = time.perf_counter()
        closed = sum(len(builder.fold(batch, 1, 2)) for batch in batches)
        spent = time.perf_counter() - began
        assert closed >= INSTRUMENTS
        return len(ticks) / spent

    build(True)  # compiles, or loads what was compiled before
    medians = interleaved(
        {"ticks_per_s": lambda: build(True), "interpreted_ticks_per_s": lambda: build(False)}, 3 if quick else 15
    )
    return {name: round(value) for name, value in medians.items()}


def scaling(quick: bool) -> dict[str, Any]:
    """Microseconds a tick, decoded and folded, when so many instruments tick at once: flat means that cost is linear."""
    sizes = (10, 100, 1_000, 3_000, 9_000)

    def cost(instruments: int) -> Callable[[], float]:
        book = [
            Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
            for n in range(1, instruments + 1)
        ]
        ticks = empty_ticks(instruments)
        ticks["instrument_token"] = [i.instrument_token for i in book]
        ticks["ts_event"] = ticks["last_trade_time"] = market_hours(book[0], DAY).open
        ticks["last_price"], ticks["mode"] = 100.0, MODE_FULL
        frames = [encode_frame(ticks[at : at + MAX_PER_CONNECTION]) for at in range(0, instruments, MAX_PER_CONNECTION)]
        builder = CandleBuilder(book, DAY, compiled=True)

        def work() -> None:
            for data in frames:
                builder.fold(decode_frame(data)[0], 1, 2)

        work()
        per_second = rate(work, instruments, 0.02)
        return lambda: 1e6 / per_second()

    medians = interleaved({str(n): cost(n) for n in sizes}, 3 if quick else 15)
    return {"us_per_tick_by_instruments": {name: round(value, 4) for name, value in medians.items()}}


def measure(quick: bool) -> dict[str, Any]:
    """All figures."""
    return decoding(quick) | candles(quick) | scaling(quick)


if __name__ == "__main__":
    main(measure, __doc__)
