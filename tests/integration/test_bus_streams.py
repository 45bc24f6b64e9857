"""The Bus on a real server: order, blocking reads, groups, all-or-nothing publishing, trimming."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from tradealgo.bus.codec import TickFrame, encode, encode_ticks
from tradealgo.bus.keys import GATEKEEPER_GROUP, KEEP_S, MAX_ENTRIES, Stream, snapshot_key, stream_key
from tradealgo.bus.redis_bus import BlockingBus, Bus, connect_blocking
from tradealgo.domain.orders import BrokerUpdate
from tradealgo.domain.state import Action, Alert, Control, Level, Module
from tradealgo.domain.ticks import empty_ticks


def update(n: int) -> BrokerUpdate:
    return BrokerUpdate(data={"n": n}, ts_init=n)


async def test_entries_come_in_order_from_where_one_left_off(bus: Bus) -> None:
    """Reading on from an entry's id misses and repeats nothing."""
    for n in range(10):
        await bus.publish(Stream.UPDATES, update(n))
    first = await bus.read({Stream.UPDATES: b"0"}, count=4)
    rest = await bus.read({Stream.UPDATES: first[-1].id})
    assert [e.message.ts_init for e in first + rest] == list(range(10))


async def test_a_blocked_read_wakes_at_once(bus: Bus) -> None:
    """A reader that waits hears a message when it is published, not at its time-out."""
    waiting = asyncio.create_task(bus.read({Stream.TICKS: b"$", Stream.UPDATES: b"0"}, block_ms=20_000))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await bus.publish(Stream.UPDATES, update(1))
    [entry] = await waiting
    assert entry.stream is Stream.UPDATES
    assert time.monotonic() - began < 5


async def test_publishing_many_is_all_or_nothing(bus: Bus) -> None:
    """With a snapshot in the same transaction; when the server refuses one command, nothing is there."""
    key = snapshot_key(bus.session_id, "consumer")
    await bus.publish_many([(Stream.UPDATES, update(1)), (Stream.ALERTS, alert())], snapshot=(key, b"one"))
    assert await bus.client.get(key) == b"one"
    assert len(await bus.read({Stream.UPDATES: b"0", Stream.ALERTS: b"0"})) == 2
    with pytest.raises(redis.RedisError):
        await bus.publish_many([(Stream.UPDATES, update(2))], snapshot=(key, object()))  # type: ignore[arg-type]
    assert len(await bus.range(Stream.UPDATES)) == 1


def alert() -> Alert:
    return Alert(level=Level.INFO, module=Module.CONSUMER, code="test", text="a test", ts=1)


async def test_group_gives_each_entry_until_it_is_acknowledged(bus: Bus) -> None:
    """What was delivered and not acknowledged comes again as pending; the rest doesn't."""
    await bus.open_group(Stream.UPDATES, GATEKEEPER_GROUP)
    await bus.open_group(Stream.UPDATES, GATEKEEPER_GROUP)
    for n in range(3):
        await bus.publish(Stream.UPDATES, update(n))
    got = await bus.read_group("one", stream=Stream.UPDATES)
    assert len(got) == 3
    await bus.acknowledge([got[0].id], stream=Stream.UPDATES)
    await bus.acknowledge([], stream=Stream.UPDATES)
    again = await bus.read_group("one", stream=Stream.UPDATES, pending=True)
    assert [e.message.ts_init for e in again] == [1, 2]
    assert await bus.read_group("one", stream=Stream.UPDATES) == []


async def test_last_and_range(bus: Bus) -> None:
    """The newest entry, a slice by ids, and None for an empty stream."""
    assert await bus.last(Stream.UPDATES) is None
    ids = [await bus.publish(Stream.UPDATES, update(n)) for n in range(5)]
    newest = await bus.last(Stream.UPDATES)
    assert newest is not None
    assert (newest.id, newest.message.ts_init) == (ids[-1], 4)
    assert [e.id for e in await bus.range(Stream.UPDATES, b"(" + ids[0], ids[3])] == ids[1:4]


@pytest.mark.parametrize("way", ["alone", "together", "as ticks"])
async def test_old_frames_are_trimmed_by_time(bus: Bus, way: str) -> None:
    """What is older than a stream's time goes; a stream without one keeps everything."""
    frame, key = TickFrame(empty_ticks(32), 1), stream_key(bus.session_id, Stream.TICKS)  # a node of the stream each
    began = int(time.time() * 1_000)
    for n in range(100):  # ids begin with milliseconds; the last fifty are too young by five minutes
        age_s = KEEP_S[Stream.TICKS] + (300 if n < 50 else -300)
        await bus.client.xadd(key, encode_ticks(frame), id=f"{began - age_s * 1_000}-{n + 1}")
    await bus.client.xadd(stream_key(bus.session_id, Stream.UPDATES), encode(update(1)), id="1-1")
    if way == "alone":
        await bus.publish(Stream.TICKS, frame)
        await bus.publish(Stream.UPDATES, update(2))
    elif way == "together":
        await bus.publish_many([(Stream.TICKS, frame), (Stream.UPDATES, update(2))])
    else:
        await bus.publish_ticks([frame])
        await bus.publish(Stream.UPDATES, update(2))
    assert await bus.client.xlen(key) == 51
    assert len(await bus.range(Stream.UPDATES)) == 2


async def test_what_is_published_together_keeps_its_order(bus: Bus) -> None:
    """Frames and messages in one command give the entries that single ones would; nothing at all is nothing."""
    frames = [TickFrame(empty_ticks(n), n, n, 1, n == 2) for n in range(4)]
    mixed = [each for n, f in enumerate(frames) for each in ((Stream.TICKS, f), (Stream.UPDATES, update(n)))]
    await bus.publish_many(mixed)
    await bus.publish_many([])
    got = [entry.message for entry in await bus.range(Stream.TICKS)]
    assert [(len(f.ticks), f.ts_init, f.ts_published, f.shard, f.gap) for f in got] == [
        (n, n, n, 1, n == 2) for n in range(4)
    ]
    assert [entry.message for entry in await bus.range(Stream.UPDATES)] == [update(n) for n in range(4)]


async def test_streams_with_a_limit_are_trimmed(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number of entries, near the limit, alone or together."""
    monkeypatch.setitem(MAX_ENTRIES, Stream.UPDATES, 200)
    for n in range(10):
        await bus.publish_many([(Stream.UPDATES, update(n))] * 100)
    assert 200 <= await bus.client.xlen(stream_key(bus.session_id, Stream.UPDATES)) < 400


async def test_blocking_bus_speaks_to_the_same_streams(bus: Bus, bus_url: str) -> None:
    """A notebook's bus reads what modules publish, and its control reaches them."""
    blocking = BlockingBus(connect_blocking(bus_url), bus.session_id)
    await bus.publish(Stream.ALERTS, alert())
    assert [e.message for e in blocking.read({Stream.ALERTS: b"0"})] == [alert()]
    assert [e.message for e in blocking.range(Stream.ALERTS)] == [alert()]
    asked = Control(action=Action.KILL, source="notebook")
    sent = blocking.control(asked)
    assert [(e.id, e.message) for e in await bus.range(Stream.CONTROL)] == [(sent, asked)]
    assert blocking.last(Stream.CONTROL) is not None
    blocking.close()
