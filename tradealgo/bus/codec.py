"""Bytes on the bus. A stream entry has one field, whose name is the schema version and whose value the message.

Messages are msgpack of the domain's structs. A tick frame is a 24-byte header and the packed `TICK` array behind it:
one entry a WebSocket frame, because an entry a tick costs thirty times as much.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from tradealgo.bus.keys import Stream
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.orders import BrokerUpdate, Fill, Order, OrderRequest, Verdict
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.state import Alert, Beat, Control, MtmPoint, SessionState
from tradealgo.domain.ticks import TICK, TICK_VERSION

MESSAGE_FIELD = b"m1"
TICKS_FIELD = b"t%d" % TICK_VERSION

MESSAGE_TYPES: dict[Stream, type[msgspec.Struct]] = {
    Stream.UPDATES: BrokerUpdate,
    Stream.CANDLES: ClosedCandle,
    Stream.SIGNALS: SignalRecord,
    Stream.REQUESTS: OrderRequest,
    Stream.VERDICTS: Verdict,
    Stream.ORDERS: Order,
    Stream.FILLS: Fill,
    Stream.MTM: MtmPoint,
    Stream.STATE: SessionState,
    Stream.CONTROL: Control,
    Stream.HEALTH: Beat,
    Stream.ALERTS: Alert,
}

_encoder = msgspec.msgpack.Encoder()
_decoders = {stream: msgspec.msgpack.Decoder(kind) for stream, kind in MESSAGE_TYPES.items()}
_HEADER = struct.Struct("<qqII")  # ts_init, ts_published (UTC ns), shard, gap (1: ticks were lost before this frame)


class TickFrame(msgspec.Struct, frozen=True):
    """What one WebSocket frame became. `ts_init` is when it was received, `ts_published` when it went on the bus."""

    ticks: np.ndarray
    ts_init: int
    ts_published: int = 0
    shard: int = 0
    gap: bool = False


def encode(message: msgspec.Struct) -> dict[bytes, bytes]:
    """The fields of a message's stream entry."""
    return {MESSAGE_FIELD: _encoder.encode(message)}


def encode_ticks(frame: TickFrame, ts_published: int = 0) -> dict[bytes, bytes]:
    """The fields of a tick frame's stream entry, stamped with `ts_published` if given."""
    return {TICKS_FIELD: b"".join(ticks_value(frame, ts_published))}


def ticks_value(frame: TickFrame, ts_published: int = 0) -> tuple[bytes, bytes]:
    """The two parts of a tick frame's value, header and ticks: for who joins them with more."""
    header = _HEADER.pack(frame.ts_init, ts_published or frame.ts_published, frame.shard, frame.gap)
    return header, frame.ticks.tobytes()


def decode_ticks(fields: dict[bytes, bytes]) -> TickFrame:
    """A tick frame, its array a read-only view. Raises BadFrame."""
    data = fields.get(TICKS_FIELD)
    if data is None or (len(data) - _HEADER.size) % TICK.itemsize:
        raise BadFrame(f"tick frame has fields {sorted(fields)}: expected {TICKS_FIELD!r}, a header and whole ticks")
    ts_init, ts_published, shard, gap = _HEADER.unpack_from(data)
    return TickFrame(np.frombuffer(data, TICK, offset=_HEADER.size), ts_init, ts_published, shard, bool(gap))


def decode(stream: Stream, fields: dict[bytes, bytes]) -> Any:
    """The message of an entry: a struct of `MESSAGE_TYPES`, or a TickFrame. Raises BadFrame."""
    if stream is Stream.TICKS:
        return decode_ticks(fields)
    data = fields.get(MESSAGE_FIELD)
    if data is None:
        raise BadFrame(
            f"{stream} entry has fields {sorted(fields)}: expected {MESSAGE_FIELD!r}; is a newer TradeAlgo writing?"
        )
    try:
        return _decoders[stream].decode(data)
    except ValueError as error:
        raise BadFrame(f"{stream} entry can't be read: {error}") from error
