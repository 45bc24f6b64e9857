"""The packet decoder against its plain twin on any bytes, and against KiteTicker's own parser on valid frames."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from tradealgo.domain.instruments import SEGMENT_CODES
from tradealgo.domain.ticks import FLAG_INDEX, TICK
from tradealgo.producer.packets import decode_frame, in_time_order
from tradealgo.producer.packets_plain import KNOWN_LENGTHS, DecodeCounts, decode_frame_plain

SECOND_NS = 1_000_000_000
WORDS = st.integers(0, 2**32 - 1)
SEGMENTS = st.sampled_from([*SEGMENT_CODES, 0, 10, 255])
LENGTHS = st.sampled_from(sorted(KNOWN_LENGTHS))
KITE = KiteTicker("key", "token")


@st.composite
def bodies(draw: st.DrawFn, lengths: st.SearchStrategy[int] = LENGTHS) -> bytes:
    """A packet's body: any words, a token of any segment."""
    length = draw(lengths)
    token = draw(st.integers(0, 2**24 - 1)) << 8 | draw(SEGMENTS)
    return (struct.pack(">I", token) + draw(st.binary(min_size=length, max_size=length)))[:length]


def frame_of(packets: list[bytes]) -> bytes:
    """A frame as Kite's server makes it."""
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(p)) + p for p in packets)


FRAMES = st.lists(bodies(), max_size=12).map(frame_of)
MIXED = st.lists(bodies(LENGTHS | st.integers(0, 300)), max_size=8).map(frame_of)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A frame that was cut, padded or had bytes changed on the way."""
    data = bytearray(draw(MIXED))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=6)):
        data[at % len(data)] = value
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=8))


def assert_same(data: bytes) -> None:
    fast, fast_counts = decode_frame(data)
    plain, plain_counts = decode_frame_plain(data)
    assert fast.dtype == plain.dtype == TICK
    assert fast_counts == plain_counts
    assert fast.tobytes() == plain.tobytes()


@given(st.binary(max_size=600))
def test_any_bytes_decode_as_the_plain_twin_does(data: bytes) -> None:
    """Random bytes never raise, and both decoders agree to the bit."""
    assert_same(data)


@settings(max_examples=300)
@given(mutated())
def test_damaged_frames_decode_as_the_plain_twin_does(data: bytes) -> None:
    """Cut, padded, mixed and corrupted frames give the same ticks and counts in both."""
    assert_same(data)


@settings(max_examples=200)
@given(st.lists(bodies(), min_size=1, max_size=8), st.data())
def test_a_cut_frame_loses_only_the_packets_that_were_cut(packets: list[bytes], data: st.DataObject) -> None:
    """Whole packets before a cut are decoded as without it; the rest are counted."""
    frame = frame_of(packets)
    cut = data.draw(st.integers(2, len(frame) - 1))
    whole, _ = decode_frame(frame)
    ticks, counts = decode_frame(frame[:cut])
    assert len(ticks) + counts.truncated == len(packets)
    assert ticks.tobytes() == whole[: len(ticks)].tobytes()


@settings(max_examples=200)
@given(FRAMES)
def test_valid_frames_say_what_kiteticker_says(data: bytes) -> None:
    """Every value that KiteTicker's parser gives is the same float or integer here."""
    ticks, counts = decode_frame(data)
    expected = KITE._parse_binary(data)
    assert counts._replace(disordered=0) == DecodeCounts()
    assert len(ticks) == len(expected)
    for tick, kite in zip(ticks, expected, strict=True):
        assert_equals_kite(tick, kite)


def assert_equals_kite(tick: np.void, kite: dict[str, Any]) -> None:
    pairs = {
        "instrument_token": "instrument_token", "last_price": "last_price", "last_quantity": "last_traded_quantity",
        "average_price": "average_traded_price", "volume": "volume_traded", "buy_quantity": "total_buy_quantity",
        "sell_quantity": "total_sell_quantity", "oi": "oi",
    }  # fmt: skip
    for ours, theirs in pairs.items():
        assert tick[ours] == kite.get(theirs, 0)
    for name in ("open", "high", "low", "close"):
        assert tick[name] == kite.get("ohlc", {}).get(name, 0.0)
    for ours, theirs in (("ts_event", "exchange_timestamp"), ("last_trade_time", "last_trade_time")):
        time = kite.get(theirs)
        assert tick[ours] == (int(time.timestamp()) * SECOND_NS if time else 0)
    empty = [{"price": 0.0, "quantity": 0}]
    for side, name in (("buy", "bid"), ("sell", "ask")):
        best = kite.get("depth", {}).get(side, empty)[0]
        assert (tick[f"{name}_price"], tick[f"{name}_quantity"]) == (best["price"], best["quantity"])
    assert bool(tick["flags"] & FLAG_INDEX) == (not kite["tradable"])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00"])
def test_heartbeats_and_empty_frames_hold_no_ticks(data: bytes) -> None:
    """A one-byte heartbeat is no error, nor is it a tick."""
    ticks, counts = decode_frame(data)
    assert len(ticks) == 0
    assert counts == DecodeCounts()


@pytest.mark.parametrize(
    ("segment", "divisor"), [(1, 100), (2, 100), (3, 10_000_000), (6, 10_000), (7, 100), (12, 10_000)]
)
def test_divisors_by_segment(segment: int, divisor: int) -> None:
    """Currency and commodity segments have divisors of their own (MARKET.md)."""
    ticks, _ = decode_frame(frame_of([struct.pack(">II", 5 << 8 | segment, 123_456_789)]))
    assert ticks["last_price"][0] == 123_456_789 / divisor


@given(FRAMES)
def test_time_order_keeps_ticks_of_one_time_as_they_came(data: bytes) -> None:
    """Sorting is by event time alone, stable, and loses nothing."""
    ticks, counts = decode_frame(data)
    ordered = in_time_order(ticks)
    expected = sorted(range(len(ticks)), key=lambda n: ticks["ts_event"][n])
    assert ordered.tobytes() == ticks[expected].tobytes()
    assert bool(counts.disordered) == (expected != list(range(len(ticks))))
