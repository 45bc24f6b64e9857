"""The Monitor's loop: hears the streams, tells people, and on paper rings the opening bell when all are ready.

What it finds itself goes to people first and on the bus as well, and it lives on without the bus: that this is gone,
hangs or takes nothing is what people must hear. Meanwhile what the Gatekeeper tells is read from its journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import sqlite3
import time
import urllib.request
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
import redis

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.config import FEED_STARTS_NS, Mode
from tradealgo.domain.errors import BadFrame
from tradealgo.domain.hours import is_trading_day, ist_date, market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.state import Alert, Level, Module
from tradealgo.monitor.endpoint import serve_metrics
from tradealgo.monitor.messenger import Messenger, notifiers, notify
from tradealgo.monitor.rules import Hours, Outgoing, Rules
from tradealgo.monitor.telegram import take_orders
from tradealgo.process import Process

BLOCK_MS = 250
#: How often a live session looks which day it is.
HOURS_EVERY_S = 60.0
#: A bus that doesn't answer, or takes nothing, for this long is told; one that is still starting has more time.
PATIENCE_S, START_PATIENCE_S = 5.0, 30.0
#: Who stands still for longer, or whose bus does, can't say who else was silent.
AWAY_S = 2.0
RETRY_S = 0.25
#: Heartbeats that a restarted Monitor reads first: of the last ten seconds or so.
RECENT_BEATS = 100
#: Of the table that the Gatekeeper's journal is.
JOURNAL_ALERTS = "SELECT seq, payload FROM records WHERE seq > ? AND kind = 'ALERT' ORDER BY seq"


class Monitor:
    """One session's watch."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.manifest = process.manifest
        self.live = self.manifest.mode is Mode.LIVE
        self.rules = Rules(speed=self.manifest.speed, live=self.live)
        self.outgoing = Outgoing()
        urls = os.environ.get("TRADEALGO_ALERT_URLS", "")
        self.messenger = Messenger(urls, process.folder, self.manifest, process.log)
        self.rules.adopt(self.messenger.told)
        #: What the Monitor has found and the bus hasn't taken yet.
        self.unpublished: deque[Alert] = deque()
        self.bad_entries = 0
        is_known = (Module.BUS, "BUS_LOST") in self.rules.open
        self.answered, self.patience = time.monotonic(), PATIENCE_S if is_known else START_PATIENCE_S
        #: How far the Gatekeeper's journal has been read while the bus was lost.
        self.journal_seq = 0
        self.rung = self.live
        self.supervisor = os.getppid()
        #: Why the last bell wasn't heard; the same reason is logged once.
        self.bell_error = ""

    async def run(self) -> None:
        """Until cancelled."""
        tasks = [asyncio.ensure_future(work) for work in (self.messenger.run(), take_orders(self.process))]
        try:
            cursors = await self._catch_up()
            tasks += map(asyncio.ensure_future, (self._learn_hours(), serve_metrics(self.process)))
            if unusable := ", ".join(self.messenger.unusable):
                text = f"TRADEALGO_ALERT_URLS has addresses that apprise can't use, of kind {unusable}"
                self._say(self.rules.note(Level.WARNING, Module.MONITOR, "ALERT_URLS", text, time.time_ns()))
            await self._watch(cursors, tasks)
        finally:
            for task in tasks[1:]:
                task.cancel()
            await self.messenger.finish()
            tasks[0].cancel()

    async def _watch(self, cursors: dict[Stream, bytes], tasks: Iterable[asyncio.Future[None]]) -> None:
        """Hear and check for ever; raises what one of the tasks raised."""
        while True:
            if os.getppid() != self.supervisor:  # it died alone, of too little memory, say
                text = (
                    "the session's supervisor is gone: a module that dies is not started again; kill it, then stop it"
                )
                self._say(self.rules.note(Level.CRITICAL, Module.MONITOR, "UNSUPERVISED", text, time.time_ns()))
            if await self._look(cursors):
                self._say(self.rules.check(time.time_ns()))
                if not self.rung and not self.rules.waiting_for:
                    self.rung = await self._ring()
                await self._publish()
            for task in tasks:
                if task.done():
                    task.result()

    # ------------------------------------------------------------------ hearing

    async def _catch_up(self) -> dict[Stream, bytes]:
        """Take over what was said and sent before, and send what wasn't. Returns where to read on. Tries until it can."""
        while True:
            try:
                async with asyncio.timeout(START_PATIENCE_S):
                    said, asked, beats, state = await self._read_history()
                break
            except (redis.RedisError, OSError) as error:
                await self._miss(error)
        self.rules.open.clear()
        found = [e.message for e in said if not isinstance(e.message, BadFrame)]
        known = sorted(dict.fromkeys([*found, *self.messenger.told, *self.unpublished]), key=lambda a: a.ts)
        self.rules.adopt(known)
        for alert in known:
            self._tell(alert)
        for entry in (*asked, *beats, *state):
            self._hear(entry)
        self.patience = PATIENCE_S
        self._works(away=True)
        histories = {Stream.CONTROL: asked, Stream.ALERTS: said, Stream.HEALTH: beats, Stream.STATE: state}
        # In this order within one read: what a person asked for comes before what came of it
        return {stream: entries[-1].id if entries else b"0" for stream, entries in histories.items()}

    async def _read_history(self) -> tuple[list[Entry], list[Entry], list[Entry], list[Entry]]:
        """Alerts, what people asked for, the newest heartbeats, and the one state that holds: those before it are no news."""
        bus = self.process.bus
        return (
            await bus.range(Stream.ALERTS, keep_bad=True),
            await bus.range(Stream.CONTROL, keep_bad=True),
            await bus.newest(Stream.HEALTH, RECENT_BEATS, keep_bad=True),
            await bus.newest(Stream.STATE, 1, keep_bad=True),
        )

    async def _look(self, cursors: dict[Stream, bytes]) -> bool:
        """Hear what is new. False if the bus doesn't work."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                entries = await self.process.bus.read(cursors, block_ms=BLOCK_MS, keep_bad=True)
                await self.process.say("WAITING" if self.rules.waiting_for else "READY")
        except (redis.RedisError, OSError) as error:
            await self._miss(error)
            return False
        for entry in entries:
            cursors[entry.stream] = entry.id
            self._hear(entry)
        if self.process.unsaid:
            await self._miss(self.process.unsaid)
            return False
        self._works(away=time.monotonic() - self.answered > AWAY_S)
        return True

    def _hear(self, entry: Entry) -> None:
        stream, message = entry.stream, entry.message
        if isinstance(message, BadFrame):
            self.bad_entries += 1
            self.process.figures["bad_entries"] = self.bad_entries
            text = f"what can't be read is left out: {message}"
            self._say(self.rules.note(Level.WARNING, Module.MONITOR, "UNREADABLE", text, time.time_ns()))
        elif stream is Stream.HEALTH:
            self._say(self.rules.apply_beat(message))
        elif stream is Stream.CONTROL:
            self.rules.apply_control(message)
        elif stream is Stream.STATE:
            self._say(self.rules.apply_state(message))
        else:
            self._tell(message)

    def _works(self, *, away: bool) -> None:
        """The bus answers and takes what is written; `away`: after a pause, in which nobody could be heard."""
        now = time.time_ns()
        if away:
            self.rules.hears(now)
        self.answered = time.monotonic()
        self._say(self.rules.end(Module.BUS, "BUS_LOST", "the bus works again", now))

    async def _miss(self, error: object) -> None:
        """The bus doesn't work. A restart of it is no news; who has waited long enough tells people."""
        missing = time.monotonic() - self.answered
        if missing >= self.patience:
            text = (
                f"the bus does not work: {str(error).rstrip('.') or 'no answer'}. Without it no position is opened, open ones are "
                "guarded and a kill works, but only the Gatekeeper's alerts reach you"
            )
            self._say(self.rules.note(Level.CRITICAL, Module.BUS, "BUS_LOST", text, time.time_ns()))
            if self.messenger.addresses:
                for alert in await asyncio.to_thread(self._journalled):
                    self._tell(alert)
        await asyncio.sleep(RETRY_S)

    def _journalled(self) -> list[Alert]:
        """What the Gatekeeper has said and can't publish. Blocking."""
        file = self.process.folder.journal
        if not file.exists():
            return []
        try:
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=PATIENCE_S)) as db:
                rows = db.execute(JOURNAL_ALERTS, (self.journal_seq,)).fetchall()
            alerts = [msgspec.msgpack.decode(payload, type=Alert) for _, payload in rows]
        except (sqlite3.Error, ValueError) as error:
            self.process.log.warning("the journal can't be read", error=str(error))
            return []
        self.journal_seq = rows[-1][0] if rows else self.journal_seq
        return alerts

    # ------------------------------------------------------------------ telling

    def _say(self, alerts: Iterable[Alert]) -> None:
        """What the Monitor itself has found: to people at once, and onto the bus when it takes it."""
        for alert in alerts:
            self.process.log.warning("alert", code=alert.code, text=alert.text, resolved=alert.resolved)
            self._tell(alert)
            self.unpublished.append(alert)

    def _tell(self, alert: Alert) -> None:
        for chosen in self.outgoing.chosen([alert]):
            self.messenger.send(chosen)

    async def _publish(self) -> None:
        """One that was written though no answer came is written again: who reads it knows it by its time."""
        with contextlib.suppress(redis.RedisError, OSError):
            async with asyncio.timeout(PATIENCE_S):
                while self.unpublished:
                    await self.process.bus.publish(Stream.ALERTS, self.unpublished[0])
                    self.unpublished.popleft()

    async def _learn_hours(self) -> None:
        """Live anew each day, for ever: a session that nobody ends goes on into the next."""
        book, market = await self._instruments(), self.manifest.market
        if not self.live:
            day = dt.date.fromisoformat(market.day) if market else ist_date(time.time_ns())
            self.rules.hours = trading_hours(book, day)
            return
        ready = time.time_ns() + FEED_STARTS_NS
        while True:  # in a thread: the calendar is half a second of pandas
            self.rules.hours = await asyncio.to_thread(live_hours, book, ist_date(time.time_ns()), ready)
            await asyncio.sleep(HOURS_EVERY_S)

    async def _instruments(self) -> InstrumentBook:
        while True:
            with contextlib.suppress(redis.RedisError):
                return await self.process.instruments()
            await asyncio.sleep(RETRY_S)

    async def _ring(self) -> bool:
        """The paper exchange's data clock stands before the open until this; a second bell changes nothing."""
        try:
            await asyncio.to_thread(_post, f"{self.manifest.rest_url}/_paper/start")
        except OSError as error:
            if str(error) != self.bell_error:
                self.bell_error = str(error)
                self.process.log.warning("the bell wasn't heard", error=self.bell_error)
            return False
        self.process.log.info("opening bell")
        return True


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data=b"", method="POST"), timeout=5) as reply:
        reply.read()


def trading_hours(instruments: Iterable[Instrument], day: dt.date) -> Hours:
    """From the first instrument's open to the last one's close."""
    hours = [market_hours(i, day) for i in instruments]
    return Hours(min(h.open for h in hours), max(h.close for h in hours))


def live_hours(instruments: Iterable[Instrument], day: dt.date, ready: int) -> Hours | None:
    """When a day's ticks are expected of a feed that had to be `ready` by then (UTC ns); None if it is no trading day."""
    if not is_trading_day(day):
        return None
    hours = trading_hours(instruments, day)
    return Hours(max(hours.open, ready), hours.close)


def tell(title: str, text: str) -> bool:
    """Send people of TRADEALGO_ALERT_URLS something that no session's Monitor can; False if an address couldn't be told."""
    senders, unusable = notifiers(os.environ.get("TRADEALGO_ALERT_URLS", ""))
    sent = [_is_sent(sender, title, text) for sender in senders]
    return all(sent) and not unusable


def _is_sent(sender: Any, title: str, text: str) -> bool:
    try:
        return notify(sender, title, text, "failure")
    except Exception:  # whatever a messenger's library raises mustn't end the launch that tells of itself
        return False


async def watch(process: Process) -> None:
    """The Monitor's main."""
    await Monitor(process).run()
