"""A stretch of a day with sockets that break every few seconds: all gaps are known, all else is exact, memory is flat.

Feed time is the exchange's data clock: at 60 times real time five seconds of it are a twelfth of a second on the wall. So
the Producer is told to count silence in feed time here (it allows half a second of the wall otherwise), while time-outs
of the socket itself stay on the wall. A gap begins when the fault strikes, or with the last tick that still came through;
it is noticed when the Producer's heartbeat first says that it isn't LIVE. On a busy machine a process may wait for a
processor for longer than all of that; what the kernel says the Producer waited meanwhile is no time of its own, nor is what
the bus took to answer anybody (its disk may be slow, or the whole machine have stood still).

TRADEALGO_SOAK_MINUTES sets how many minutes of the market are played (375 is a whole day, six and a half minutes of
real time; `-s` shows the figures).
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import os
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from feed_session import FeedSession, as_rows, by_token, feed_session

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import connect_blocking
from tradealgo.domain.candles import MINUTE_NS, ClosedCandle
from tradealgo.domain.hours import ist_text
from tradealgo.domain.state import Module
from tradealgo.exchange.testing import RunningExchange, running_exchange

SPEED = 60
MINUTES = int(os.environ.get("TRADEALGO_SOAK_MINUTES", "20"))
NOTICED_WITHIN_S = 5.0
#: Of the wall clock, on top, where the kernel doesn't tell for how long a process had to wait for a processor.
HICCUP_S = 0.0 if Path("/proc/self/schedstat").exists() else 1.0
#: Between two questions to the bus; and how far apart its answers are where nothing is in the way.
SAMPLE_S, USUAL_S = 0.005, 0.015
#: One fault in so many is a socket that stays open and says nothing; the others cut it off.
SILENT_EVERY = 6
#: Of both processes: what the first minutes bring in, and what may come on top in the rest of the day.
WARMUP_MB, GROWTH_MB = 24, 8


class Cut(NamedTuple):
    """A fault. `wall` in seconds; `at` and `back` are feed time in UTC ns: when it struck, and when ticks came again."""

    fault: str
    wall: float
    at: int
    back: int


class Waits:
    """For how long the Producer had to wait for a processor, and anybody for the bus, in seconds, up to each of many moments."""

    def __init__(self, pid: int, bus_url: str) -> None:
        self._pid, self._bus_url, self._moments, self._waited = pid, bus_url, [0.0], [0.0]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Waits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        bus, answered, last = connect_blocking(self._bus_url), 0.0, time.time()
        while not self._done.wait(SAMPLE_S):
            bus.ping()
            now = time.time()
            answered, last = answered + max(0.0, now - last - USUAL_S), now
            self._waited.append(answered + self._without_processor())
            self._moments.append(now)
        bus.close()

    def _without_processor(self) -> float:
        if HICCUP_S:
            return 0.0
        stolen = int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")  # by other machines
        return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[1]) / 1e9 + stolen

    def between(self, began: float, ended: float) -> float:
        """From the last moment known before `began` to the second after `ended`: the first one's may be read before it."""
        first = bisect.bisect_right(self._moments, began) - 1
        last = min(bisect.bisect_left(self._moments, ended) + 1, len(self._moments) - 1)
        return self._waited[last] - self._waited[first]


@pytest.fixture
def paper() -> Iterator[RunningExchange]:
    """A paper exchange at sixty times real time, once it is started."""
    with running_exchange(speed=SPEED) as paper:
        yield paper


def memory_mb(session: FeedSession) -> float:
    return sum(psutil.Process(p.pid).memory_info().rss for p in session.processes.values()) / 2**20


async def break_sockets(session: FeedSession, until: int) -> tuple[list[Cut], list[float]]:
    """Break all sockets every few seconds, in feed time up to `until`; what was done, and the memory after each."""
    draw, cuts, memory = random.Random(1), list[Cut](), list[float]()
    while session.paper.exchange.position < until:
        await asyncio.sleep(draw.uniform(1.0, 3.0))
        silent = draw.choice(("mute_socket", "half_open_socket"))
        fault = silent if len(cuts) % SILENT_EVERY == SILENT_EVERY // 2 else "drop_socket"
        wall, at = time.time(), session.paper.exchange.position
        await asyncio.to_thread(session.paper.fault, fault)
        await asyncio.sleep(0.2)
        now = session.paper.exchange.position
        await session.beat(Module.PRODUCER, lambda b, now=now: b.state == "LIVE" and b.ts_event > now)
        cuts.append(Cut(fault, wall, at, session.paper.exchange.position))
        memory.append(memory_mb(session))
    return cuts, memory


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_soak(paper: RunningExchange, bus_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candles outside of the gaps equal the exchange's; each cut is noticed, flagged and told; nothing grows."""
    monkeypatch.setenv("TRADEALGO_QUIET_SHORTEST_S", "0.01")
    async with feed_session(paper, bus_url, tmp_path, speed=SPEED) as session:
        session.start(Module.PRODUCER, Module.CONSUMER)
        await session.ready()
        paper.start()
        market = paper.exchange.market
        await session.read_up_to(market.open + 3 * MINUTE_NS)
        before = memory_mb(session)
        until = min(market.open + MINUTES * MINUTE_NS, market.close - 3 * MINUTE_NS)  # nothing ticks after the close
        with Waits(session.processes[Module.PRODUCER].pid, bus_url) as waits:
            cuts, memory = await break_sockets(session, until)
        await session.read_up_to(until + 2 * MINUTE_NS)
        print(f"\n{MINUTES} minutes of feed time, {dict(Counter(c.fault for c in cuts))}")
        assert_memory_flat(before, memory)
        await assert_gaps_known(session, cuts, waits)
        await assert_gaps_told(session)
        assert_candles_exact(session, await session.candles(), cuts, until)


def assert_memory_flat(before: float, memory: list[float]) -> None:
    """Of the second and the last quarter of the faults, in MB of both processes."""
    quarter = max(1, len(memory) // 4)
    early, late = statistics.median(memory[quarter : 2 * quarter] or memory), statistics.median(memory[-quarter:])
    print(f"memory: {before:.1f} MB before, {early:.1f} MB in the second quarter, {late:.1f} MB in the last")
    assert early - before < WARMUP_MB
    assert late - early < GROWTH_MB


async def assert_gaps_known(session: FeedSession, cuts: list[Cut], waits: Waits) -> None:
    """Each cut has a heartbeat that says so within five seconds of feed time, and a flagged frame."""
    beats = [e.message for e in await session.bus.range(Stream.HEALTH) if e.message.module is Module.PRODUCER]
    frames = [e.message for e in await session.bus.range(Stream.TICKS)]
    ticked = [f.ts_init / 1e9 for f in frames]
    took, waited = {}, {}
    for cut in cuts:
        before, said = next(
            two for two in itertools.pairwise(beats) if two[1].state != "LIVE" and two[1].ts / 1e9 >= cut.wall
        )
        # A pause of the market may have made the feed QUIET just before: then it is known as the fault strikes
        noticed = said.ts / 1e9 if before.state == "LIVE" else cut.wall
        began = min(noticed, max(cut.wall, *(t for t in ticked if t < noticed)))
        took[cut], waited[cut] = noticed - began, waits.between(began, noticed)
    alarms = sum(b.state == "QUIET" for b in beats) - sum(c.fault != "drop_socket" for c in cuts)
    print(f"QUIET beats besides the silent faults' own: {alarms}")
    for kind in {c.fault for c in cuts}:
        feed = sorted(SPEED * s for c, s in took.items() if c.fault == kind)
        print(
            f"{kind}: {len(feed)} noticed, seconds of feed time: p50 {statistics.median(feed):.2f}, max {feed[-1]:.2f}"
        )
    late = {cut: s for cut, s in took.items() if SPEED * s > NOTICED_WITHIN_S}
    print(f"{len(cuts) - len(late)} of {len(cuts)} gaps noticed within {NOTICED_WITHIN_S:g} s of feed time")
    for cut, s in late.items():
        print(f"{cut.fault}: after {s * 1e3:.0f} ms of the wall, {waited[cut] * 1e3:.0f} of them in others' hands")
        assert s - waited[cut] <= NOTICED_WITHIN_S / SPEED + HICCUP_S
    assert sum(f.gap for f in frames) == len(cuts)


async def assert_gaps_told(session: FeedSession) -> None:
    """Each flagged frame has an alert, which names the exchange's time of the last tick before it."""
    frames = [e.message for e in await session.bus.range(Stream.TICKS)]
    alerts = [e.message.text for e in await session.bus.range(Stream.ALERTS) if e.message.code == "FEED_GAP"]
    last = [int(before.ticks["ts_event"].max()) for before, frame in itertools.pairwise(frames) if frame.gap]
    assert len(alerts) == len(last)
    for text, ts_event in zip(alerts, last, strict=True):
        assert f" s after {ist_text(ts_event)} (" in text


def assert_candles_exact(session: FeedSession, candles: list[ClosedCandle], cuts: list[Cut], until: int) -> None:
    """Each once and in order; a gap touches the minutes that it lies in, and the volume of the one when ticks came again."""
    touched = {m for cut in cuts for m in range(cut.at // MINUTE_NS, cut.back // MINUTE_NS + 1)}
    compared = 0
    for token, found in by_token(candles).items():
        starts = [c.start for c in found]
        assert starts == sorted(set(starts))
        exact = {row[0]: row for row in as_rows(session.source(token))}
        whole = [c for c in found if c.start // MINUTE_NS not in touched and c.start < until]
        assert len(whole) >= 3
        assert [tuple(c.candle) for c in whole] == [exact[c.start] for c in whole]
        compared += len(whole)
    print(
        f"{compared} candles outside of {len(touched)} minutes with gaps equal the exchange's own, of {len(candles)} closed"
    )
