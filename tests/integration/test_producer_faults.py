"""The Producer as a process against a paper exchange that misbehaves: every loss is noticed, told and mended."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from feed_session import FeedSession, eventually, feed_session
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Bus
from tradealgo.domain.hours import ist_text
from tradealgo.domain.state import Module
from tradealgo.domain.ticks import FLAG_CACHED
from tradealgo.exchange.testing import RunningExchange, running_exchange
from tradealgo.producer import connection
from tradealgo.producer.health import Feed, FeedHealth
from tradealgo.producer.intake import Intake
from tradealgo.producer.outbox import Outbox

SPEED = 60


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """A paper exchange at sixty times real time, once it is started."""
    with running_exchange(speed=SPEED) as paper:
        yield paper


async def gap_alerts(session: FeedSession, wanted: int) -> bool:
    return sum(e.message.code == "FEED_GAP" for e in await session.bus.range(Stream.ALERTS)) >= wanted


async def gap_frames(session: FeedSession, wanted: int) -> bool:
    return sum(e.message.gap for e in await session.bus.range(Stream.TICKS)) >= wanted


async def live(session: FeedSession) -> None:
    """The Producer, which may have to start first, is LIVE on ticks newer than now."""
    now = session.paper.exchange.position
    await session.beat(Module.PRODUCER, lambda b: b.state == "LIVE" and b.ts_event > now)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drop_socket", "mute_socket", "half_open_socket"])
async def test_a_dead_socket_is_noticed_and_replaced(
    paper: RunningExchange, bus_url: str, tmp_path: Path, fault: str
) -> None:
    """Cut off, silent, or half open: another connection, a gap flag, an alert with the gap's bounds, cached ticks marked."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        paper.fault(fault)
        await eventually(lambda: gap_alerts(session, 1))
        await live(session)
        await eventually(lambda: gap_frames(session, 1))
        frames = [e.message for e in await session.bus.range(Stream.TICKS)]
        [at] = [n for n, frame in enumerate(frames) if frame.gap]
        [alert] = [e.message for e in await session.bus.range(Stream.ALERTS) if e.message.code == "FEED_GAP"]
        bounds = re.search(r"away for ([\d.]+) s after (\S+) \((.+)\)", alert.text)
        assert bounds is not None
        assert bounds[2] == ist_text(int(frames[at - 1].ticks["ts_event"].max()))
        if fault == "mute_socket":  # lost with the last frame, not when it was given up
            assert float(bounds[1]) >= 7
            assert bounds[3] == "no frame came, not even a heartbeat"
        cached = [
            int(t)
            for frame in frames[at:]
            for t in frame.ticks["instrument_token"][frame.ticks["flags"] & FLAG_CACHED != 0]
        ]
        assert sorted(cached) == sorted(i.instrument_token for i in paper.exchange.market.instruments)


@pytest.mark.slow
async def test_a_dead_token_waits_for_the_next_login(paper: RunningExchange, bus_url: str, tmp_path: Path) -> None:
    """Refused with 403, the Producer is DENIED and doesn't hammer; a newer BrokerSession brings it back."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        paper.fault("token_death")
        paper.fault("drop_socket")
        await session.beat(Module.PRODUCER, lambda b: b.state == "DENIED")
        await asyncio.sleep(1)
        denied = await session.beat(Module.PRODUCER, lambda b: b.state == "DENIED")
        assert denied.figures["gaps"] == 0
        session.log_in()
        await live(session)
        await eventually(lambda: gap_frames(session, 1))


@pytest.mark.slow
async def test_noise_on_the_wire_is_counted_and_passed_over(
    paper: RunningExchange, bus_url: str, tmp_path: Path
) -> None:
    """Garbage, doubled and late frames never stop the feed."""
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER)
        paper.start()
        await live(session)
        for name in ("garbage_frame", "duplicate_ticks", "late_ticks", "freak_price"):
            paper.fault(name, count=3)
        await session.beat(Module.PRODUCER, lambda b: bool(b.figures.get("bad")))
        await live(session)
        known = {i.instrument_token for i in paper.exchange.market.instruments}
        for entry in await session.bus.range(Stream.TICKS):
            assert set(entry.message.ticks["instrument_token"].tolist()) <= known


async def test_a_403_that_passes_needs_no_new_login(
    paper: RunningExchange, bus_url: str, bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same token is tried again after a while; a connection that drops later is not taken for a refused one."""
    monkeypatch.setattr(connection, "DENIED_RETRY_S", 1.0)
    shakes: list[float] = []

    def refuse_the_first(_: ServerConnection, request: Request) -> Response | None:
        shakes.append(time.monotonic())
        return Response(403, "Forbidden", Headers()) if len(shakes) == 1 else None

    async def drop_the_second(socket: ServerConnection) -> None:
        if len(shakes) > 2:
            await socket.wait_closed()

    async with (
        serve(drop_the_second, "127.0.0.1", 0, process_request=refuse_the_first) as server,
        feed_session(paper, bus_url, tmp_path) as session,
    ):
        port = server.sockets[0].getsockname()[1]
        manifest = msgspec.structs.replace(session.manifest, ws_url=f"ws://127.0.0.1:{port}")
        subject = connection.Connection(manifest, Intake(0, [1]), FeedHealth(), Outbox(bus))
        running = asyncio.create_task(subject.run())

        async def back() -> bool:
            return len(shakes) == 3 and subject.health.state is Feed.QUIET

        await eventually(back)
        running.cancel()
    assert shakes[1] - shakes[0] >= 1.0
    assert subject.denied_since == 0
