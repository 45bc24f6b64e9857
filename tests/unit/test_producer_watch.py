"""What people hear of the feed: instruments and connections that are silent, and gaps of an earlier run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from tradealgo.bus.codec import TickFrame
from tradealgo.config import Manifest, Mode
from tradealgo.domain.hours import at
from tradealgo.domain.instruments import Instrument, InstrumentBook, Kind
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.ticks import MODE_FULL, TICK
from tradealgo.exchange.packets import encode_frame
from tradealgo.producer import connection, watch
from tradealgo.producer.connection import Connection
from tradealgo.producer.health import FeedHealth
from tradealgo.producer.intake import Intake
from tradealgo.producer.outbox import Outbox

SECOND = 1_000_000_000
TEN = at(dt.date(2026, 11, 20), dt.time(10, 0))
BOOK = InstrumentBook(
    Instrument(instrument_token=n << 8 | 1, exchange="NSE", tradingsymbol=f"S{n}", kind=Kind.EQUITY)
    for n in range(1, 7)
)
TOKENS = [i.instrument_token for i in BOOK]
SHARDS = [TOKENS[0::3], TOKENS[1::3], TOKENS[2::3]]
MANIFEST = Manifest(
    session_id="s", mode=Mode.LIVE, account="A", strategy="", parameters={}, capital=1e6, sizing=Sizing(lots=1),
    instruments=tuple(i.key for i in BOOK),
)  # fmt: skip


class Feed:
    """Connections on a clock of the test's own, and all that is told of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shards: list[list[int]], last: TickFrame | None = None) -> None:
        self.now = TEN
        clock = SimpleNamespace(time_ns=lambda: self.now)
        for module in (watch, connection):
            monkeypatch.setattr(module, "time", clock)
        self.outbox = Outbox(None)  # type: ignore[arg-type]
        self.connections = [
            Connection(MANIFEST, Intake(n, tokens), FeedHealth(), self.outbox, last) for n, tokens in enumerate(shards)
        ]
        for each in self.connections:
            each._opened()
        self.watch = watch.Watch(MANIFEST, BOOK, self.connections, self.outbox)

    def run(self, seconds: int, ticking: Callable[[list[int]], list[int]]) -> list[tuple[str, bool, str]]:
        """Each second a frame of each connection: the ticks of those that tick, else a heartbeat. What is told."""
        told = []
        for _ in range(seconds):
            self.now += SECOND
            for each in self.connections:
                tokens = ticking(each.intake.tokens)
                each._take_binary(frame(tokens, self.now) if tokens else b"\0")
                each.watch()
            told += [(news.code, news.resolved, news.text) for news in self.watch.news()]
        return told


def frame(tokens: list[int], ts: int) -> bytes:
    ticks = np.zeros(len(tokens), TICK)
    ticks["instrument_token"], ticks["mode"], ticks["ts_event"] = tokens, MODE_FULL, ts
    ticks["last_price"], ticks["volume"] = 100.0, 1
    return encode_frame(ticks)


def everyone(tokens: list[int]) -> list[int]:
    return tokens


def without(*silent: int) -> Callable[[list[int]], list[int]]:
    return lambda tokens: [t for t in tokens if t not in silent]


def test_a_connection_that_brings_heartbeats_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ticks end while the others' go on: its instruments are named, once; and so is their return."""
    feed = Feed(monkeypatch, SHARDS)
    assert feed.run(60, everyone) == []
    [(code, resolved, text)] = feed.run(300, without(*SHARDS[1]))
    assert (code, resolved) == ("FEED_SILENT", False)
    assert text.startswith("NSE:S2, NSE:S5: no tick for 20 times as long as usual")
    assert feed.run(5, everyone) == [("FEED_SILENT", True, "all instruments tick again")]


@pytest.mark.parametrize(("silent", "after"), [(SHARDS[1], 60), (TOKENS[:1], 300)])
def test_what_never_ticks_is_told(monkeypatch: pytest.MonkeyPatch, silent: list[int], after: int) -> None:
    """A connection whose subscription was lost, a minute after the feed began; an instrument that is suspended, after five."""
    feed = Feed(monkeypatch, SHARDS)
    assert feed.run(after - 5, without(*silent)) == []
    [(code, resolved, text)] = feed.run(15, without(*silent))
    assert (code, resolved) == ("FEED_SILENT", False)
    assert all(BOOK.by_token(token).key in text for token in silent)


def test_a_feed_that_falls_mute_resolves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One instrument is silent, then all are: that isn't told as if all ticked again; nor does a cut resolve anything."""
    feed = Feed(monkeypatch, [TOKENS])
    feed.run(60, everyone)
    assert [told[:2] for told in feed.run(60, without(TOKENS[0]))] == [("FEED_SILENT", False)]
    assert feed.run(60, without(*TOKENS)) == []
    assert feed.run(60, without(TOKENS[0])) == []
    assert [told[:2] for told in feed.run(5, everyone)] == [("FEED_SILENT", True)]


def test_the_gap_of_an_ended_producer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each connection, from the last frame that the earlier run published; once."""
    ticks = np.zeros(1, TICK)
    ticks["ts_event"] = TEN - 7 * SECOND
    feed = Feed(monkeypatch, SHARDS, TickFrame(ticks, TEN - 6 * SECOND))
    told = feed.run(2, everyone)
    assert [code for code, _, _ in told] == ["FEED_GAP"] * 3
    assert told[0][2].startswith("connection 0 was away for 6.0 s after 09:59:53 (the Producer was started again)")


def test_ticks_of_the_future_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they come again and again."""
    feed = Feed(monkeypatch, SHARDS)
    feed.connections[1].intake.counters.misdated = 1
    [(code, resolved, text)] = feed.run(2, everyone)
    assert (code, resolved) == ("FEED_MISDATED", False)
    assert "Is the clock right?" in text
    feed.connections[1].intake.counters.misdated = 2
    assert feed.run(2, everyone) == []
