"""What frames mean: cached ticks, gaps, order updates, notices, counts."""

from __future__ import annotations

import json
import struct

from tradealgo.bus.codec import TickFrame
from tradealgo.domain.orders import BrokerUpdate
from tradealgo.domain.ticks import FLAG_CACHED, empty_ticks
from tradealgo.exchange.packets import encode_frame
from tradealgo.producer.intake import Intake, Notice

SECOND = 1_000_000_000


def frame(*ticks: tuple[int, int]) -> bytes:
    """A full-mode frame of (token, seconds) pairs."""
    rows = empty_ticks(len(ticks))
    for row, (token, seconds) in zip(rows, ticks, strict=True):
        row["instrument_token"], row["ts_event"], row["last_price"] = token, seconds * SECOND, 100.0
    return encode_frame(rows)


def taken(intake: Intake, data: bytes) -> TickFrame:
    found = intake.binary(data, 5)
    assert found is not None
    return found


def test_first_tick_of_each_instrument_is_marked_cached() -> None:
    """After each (re)subscription the first tick of an instrument is an old one; the next isn't."""
    intake = Intake(0, [257, 513])
    intake.opened()
    first = taken(intake, frame((257, 10), (257, 11)))
    assert first.ticks["flags"].tolist() == [FLAG_CACHED, 0]
    assert taken(intake, frame((513, 12), (257, 12))).ticks["flags"].tolist() == [FLAG_CACHED, 0]
    intake.opened()
    assert taken(intake, frame((257, 13))).ticks["flags"].tolist() == [FLAG_CACHED]


def test_first_frame_after_a_loss_carries_the_gap() -> None:
    """Once, and also where the Producer itself was started again."""
    intake = Intake(0, [257])
    assert not taken(intake, frame((257, 1))).gap
    intake.lost()
    assert intake.binary(b"\x00", 5) is None
    assert taken(intake, frame((257, 2))).gap
    assert not taken(intake, frame((257, 3))).gap
    assert taken(Intake(1, [257], resumed=True), frame((257, 4))).gap
    assert intake.counters.gaps == 1


def seconds_of(intake: Intake, now: int, *ticks: tuple[int, int]) -> list[int]:
    found = intake.binary(frame(*ticks), now * SECOND)
    assert found is not None
    return [int(ts // SECOND) for ts in found.ticks["ts_event"]]


def test_a_tick_of_the_future_loses_its_time() -> None:
    """Live: it would close every candle until then. Its price stays; on paper the exchange has a clock of its own."""
    intake = Intake(0, [257, 513], live=True)
    assert seconds_of(intake, 10_000, (257, 10_000), (513, 10_001)) == [10_000, 10_001]
    assert seconds_of(intake, 10_001, (257, 10_001), (513, 13_000)) == [10_001, 0]
    assert seconds_of(intake, 10_020, (513, 10_060)) == [0]
    assert intake.counters.misdated == 2
    paper = Intake(0, [257, 513])
    assert seconds_of(paper, 10_001, (257, 10_001), (513, 13_000)) == [10_001, 13_000]


def test_where_no_tick_is_of_this_machines_time_its_clock_is_wrong() -> None:
    """Times are believed: at once from the start, and half a minute after the clock was set back. An old packet proves nothing."""
    intake = Intake(0, [257, 513], live=True)
    assert seconds_of(intake, 10_000, (513, 9_000), (257, 10_090)) == [9_000, 10_090]
    assert seconds_of(intake, 10_001, (257, 10_001)) == [10_001]
    assert seconds_of(intake, 10_025, (257, 10_100)) == [0]
    assert seconds_of(intake, 10_040, (513, 9_000), (257, 10_120)) == [9_000, 10_120]


def test_ticks_of_a_frame_come_in_time_order() -> None:
    """A frame is packed by kind; what goes on is sorted by event time."""
    intake = Intake(0, [257, 513])
    assert taken(intake, frame((257, 9), (513, 3), (257, 12))).ticks["ts_event"].tolist() == [
        3 * SECOND, 9 * SECOND, 12 * SECOND,
    ]  # fmt: skip
    assert intake.ts_event == 12 * SECOND


def test_damage_is_counted() -> None:
    """Heartbeats, unknown and truncated packets each have their count; good packets beside them go on."""
    intake = Intake(0, [257])
    good = frame((257, 1))[2:]
    assert intake.binary(b"\x00", 5) is None
    mixed = struct.pack(">H", 3) + struct.pack(">H", 5) + b"12345" + good + good[:50]
    assert len(taken(intake, mixed).ticks) == 1
    count = intake.counters
    assert (count.frames, count.heartbeats, count.ticks, count.unknown, count.truncated) == (2, 1, 1, 1, 1)


def test_text_messages_are_sorted() -> None:
    """Orders become updates, errors and messages become notices, the rest is counted or ignored."""
    intake = Intake(0, [257])
    order = {"order_id": "1", "status": "COMPLETE"}
    assert intake.text(json.dumps({"type": "order", "data": order}), 7) == BrokerUpdate(data=order, ts_init=7)
    assert intake.text('{"type":"error","data":"too many"}', 7) == Notice("error", "too many")
    assert intake.text('{"type":"instruments_meta","data":{}}', 7) is None
    for bad in ("", "[]", "{}", '{"type":"order"}', "not json", b'{"type":"\xff"}'):
        assert intake.text(bad, 7) is None
    assert intake.counters.bad_text == 6
