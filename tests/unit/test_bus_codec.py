"""Bytes on the bus: every message type there and back, and a sentence for what can't be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.bus.codec import MESSAGE_TYPES, TickFrame, decode, encode, encode_ticks
from tradealgo.bus.keys import MAX_ENTRIES, Stream, instruments_key, snapshot_key, stream_key
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.ticks import TICK

TIMES = st.integers(-(2**63), 2**63 - 1)


def test_every_stream_has_a_message_type_and_a_limit() -> None:
    """Nothing flows that the codec or the trimming doesn't know."""
    assert {*MESSAGE_TYPES, Stream.TICKS} == set(Stream) == set(MAX_ENTRIES)


def test_keys_of_a_session_share_a_hash_tag() -> None:
    """So that Redis Cluster keeps them on one shard, where a MULTI can reach them all."""
    keys = [*(stream_key("s1", s) for s in Stream), snapshot_key("s1", "consumer"), instruments_key("s1")]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("tradealgo:{s1}:") for key in keys)


@given(st.integers(0, 5), TIMES, TIMES, st.integers(0, 2**32 - 1), st.booleans(), st.randoms())
def test_tick_frames_come_back_to_the_bit(
    n: int, ts_init: int, ts_published: int, shard: int, gap: bool, random: object
) -> None:
    """Any ticks, any header."""
    ticks = np.frombuffer(random.randbytes(n * TICK.itemsize), TICK)  # type: ignore[attr-defined]
    back = decode(Stream.TICKS, encode_ticks(TickFrame(ticks, ts_init, ts_published, shard, gap)))
    assert back.ticks.tobytes() == ticks.tobytes()
    assert (back.ts_init, back.ts_published, back.shard, back.gap) == (ts_init, ts_published, shard, gap)


@given(st.lists(st.integers(0, 2**62), min_size=6, max_size=6), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_candles_come_back_the_same(numbers: list[int], price: float, volume: float) -> None:
    """Floats and integers survive exactly."""
    token, start, ticks, ts_event, ts_init, ts_closed = numbers
    candle = ClosedCandle(
        token, 60, start, price, price, price, price, volume, 0.0, ticks, ts_event, ts_init, ts_closed
    )
    assert decode(Stream.CANDLES, encode(candle)) == candle


@pytest.mark.parametrize(
    ("stream", "fields", "words"),
    [
        (Stream.TICKS, {b"t9": b"x" * 152}, "expected b't1'"),
        (Stream.TICKS, {b"t1": b"x" * 25}, "whole ticks"),
        (Stream.CANDLES, {b"m9": b""}, "newer TradeAlgo"),
        (Stream.CANDLES, {b"m1": b"\xc1"}, "candles entry can't be read"),
        (Stream.REQUESTS, {b"m1": b"\x81\xaarequest_id\xa1\xff"}, "requests entry can't be read: 'utf-8'"),
    ],
)
def test_what_cannot_be_read_is_named(stream: Stream, fields: dict[bytes, bytes], words: str) -> None:
    """An unknown version, a broken length and broken bytes each give a sentence."""
    with pytest.raises(BadFrame, match=words):
        decode(stream, fields)
