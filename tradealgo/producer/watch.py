"""What the Producer knows of its feed and tells others: its figures for the heartbeat, and what people should hear of."""

from __future__ import annotations

import math
import time

from tradealgo.config import Manifest, Mode
from tradealgo.domain.hours import ist_date, ist_text, market_hours
from tradealgo.domain.instruments import InstrumentBook
from tradealgo.domain.state import Level
from tradealgo.producer.connection import Connection
from tradealgo.producer.health import Feed
from tradealgo.producer.liveness import OVERDUE_GAPS
from tradealgo.producer.news import News
from tradealgo.producer.outbox import Outbox

#: A refused token is no news while the Sentinel is logging in; after this long it is.
DENIED_ALERT_NS = 5_000_000_000
#: Instruments named in one alert; the others are counted.
NAMED = 5
SILENCE_EVERY_NS = 1_000_000_000


class Watch:
    """Looks at the connections a few times a second. Times are wall-clock UTC nanoseconds unless named otherwise."""

    def __init__(self, manifest: Manifest, book: InstrumentBook, connections: list[Connection], outbox: Outbox) -> None:
        self._manifest, self._book = manifest, book
        self._kinds = list({i.kind: i for i in book}.values())  # hours are a kind's
        self._connections, self._outbox = connections, outbox
        self._denied = False
        self._dropped = 0
        self._misdated = False
        self._silent: list[int] = []
        self._silence_at = 0
        if manifest.mode is Mode.PAPER:  # which sends nothing of a strike before its first trade
            for connection in connections:
                connection.intake.liveness.never_after_s = math.inf

    @property
    def ts_event(self) -> int:
        """The latest exchange time seen."""
        return max(c.intake.ts_event for c in self._connections)

    def feed_time(self, now: int) -> int:
        """Where the market's clock stands: the wall clock, or the paper exchange's as of its last tick; 0 before that."""
        if self._manifest.mode is Mode.LIVE:
            return now
        last = max(c.health.last_tick for c in self._connections)
        return self.ts_event + int((now - last) * self._manifest.speed) if last else 0

    def market_open(self, now: int) -> bool:
        """Whether any instrument is in continuous trading; unknown, as before the paper exchange's bell, is no."""
        feed = self.feed_time(now)
        return any(market_hours(i, ist_date(feed)).is_open(feed) for i in self._kinds)

    def figures(self) -> dict[str, float | int | str]:
        """Totals of all connections, for the heartbeat."""
        now, counters = time.time_ns(), [c.intake.counters for c in self._connections]
        found: dict[str, float | int | str] = {
            name: sum(getattr(c, name) for c in counters) for name in ("frames", "ticks", "updates", "gaps")
        }
        last = max(c.health.last_tick for c in self._connections)
        return found | {
            "bad": sum(c.unknown + c.truncated + c.surplus + c.bad_text for c in counters),
            "waiting": len(self._outbox),
            "dropped": self._outbox.dropped,
            "overdue": len(self._silent),
            "silent_s": round((now - last) / 1e9, 1) if last else -1,
            "market_open": int(self.market_open(now)),
        }

    def news(self) -> list[News]:
        """What has happened since the last look."""
        now = time.time_ns()
        return [
            *self._losses(),
            *self._notices(),
            *self._denials(now),
            *self._drops(),
            *self._future(),
            *self._silences(now),
        ]

    def _losses(self) -> list[News]:
        found = []
        for connection in self._connections:
            for loss in connection.losses:
                after = f" after {ist_text(loss.ts_event)}" if loss.ts_event else ""
                text = (
                    f"connection {loss.shard} was away for {(loss.ended - loss.began) / 1e9:.1f} s{after} "
                    f"({loss.cause or 'closed by the broker'}): "
                    f"ticks of {len(connection.intake.tokens)} instruments are missing"
                )
                found.append(News(Level.WARNING, "FEED_GAP", text))
            connection.losses.clear()
        return found

    def _notices(self) -> list[News]:
        found = []
        for connection in self._connections:
            for notice in connection.notices:
                level = Level.WARNING if notice.kind == "error" else Level.INFO
                found.append(News(level, f"BROKER_{notice.kind.upper()}", notice.text))
            connection.notices.clear()
        return found

    def _denials(self, now: int) -> list[News]:
        denied = any(c.denied_since and now - c.denied_since > DENIED_ALERT_NS for c in self._connections)
        if denied == self._denied:
            return []
        self._denied = denied
        text = "the broker refuses the access token: log in again" if denied else "the broker takes the token again"
        return [News(Level.CRITICAL, "FEED_DENIED", text, resolved=not denied)]

    def _drops(self) -> list[News]:
        dropped, self._dropped = self._outbox.dropped - self._dropped, self._outbox.dropped
        text = f"{dropped} tick frames were dropped while the bus was away"
        return [News(Level.WARNING, "FEED_DROPPED", text)] if dropped else []

    def _future(self) -> list[News]:
        """Ticks dated ahead, told once: they have lost their times, and no candle has them."""
        if self._misdated or not any(c.intake.counters.misdated for c in self._connections):
            return []
        self._misdated = True
        text = "the broker sent ticks dated ahead of this machine's clock: such times are ignored. Is the clock right?"
        return [News(Level.WARNING, "FEED_MISDATED", text)]

    def _silences(self, now: int) -> list[News]:
        """Instruments that are silent while others tick, each by how often it usually ticks: those of an open connection,
        whether it brings any ticks or none at all."""
        if now < self._silence_at:
            return []
        self._silence_at = now + SILENCE_EVERY_NS
        feed_s, states = self.feed_time(now) / 1e9, [c.health.state for c in self._connections]
        ticks = Feed.LIVE in states and self.market_open(now)
        silent = [
            token
            for connection, state in zip(self._connections, states, strict=True)
            for token in connection.intake.liveness.at(feed_s, ticks and state in (Feed.LIVE, Feed.QUIET))
        ]
        before, self._silent = self._silent, silent
        if set(silent) <= set(before) and (silent or not before):
            return []
        if not silent:
            return [News(Level.WARNING, "FEED_SILENT", "all instruments tick again", resolved=True)]
        names = ", ".join(self._book.by_token(token).key for token in silent[:NAMED])
        more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
        text = (
            f"{names}{more}: no tick for {OVERDUE_GAPS:g} times as long as usual, or never one yet, while others tick"
        )
        return [News(Level.WARNING, "FEED_SILENT", text)]
