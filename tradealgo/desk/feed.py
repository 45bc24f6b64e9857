"""The desk's one reader of each session, shared by all tabs, and the list of this home's sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import Any

import msgspec
import redis

from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import Bus, connect
from tradealgo.config import Manifest, Mode, SessionDir, session_dirs
from tradealgo.desk.tab import chart_ms
from tradealgo.domain.errors import TradeAlgoError
from tradealgo.domain.hours import market_hours
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.state import Action
from tradealgo.live.leftovers import last_state
from tradealgo.live.view import VIEW_STREAMS, SessionView

log = logging.getLogger(__name__)

POLL_S = 0.1
#: Between two tries to reach a session's bus.
RETRY_S = 0.5
#: A session whose bus has been out of reach for this long is past, or broken: the desk says so.
LOST_S = 5.0
READ_COUNT = 2_000
#: Newest tick frames looked at for the last prices of what is held.
TICK_FRAMES = 20
#: A session so young may still be starting its supervisor.
STARTING_NS = 10_000_000_000
#: Sessions listed, besides those that run.
LISTED = 20
#: What a list says of a past session is in the last entry of each.
BRIEF_STREAMS = (Stream.MTM, Stream.STATE)


class Feed:
    """One session: its view, kept up with the bus by a task of its own."""

    def __init__(self, folder: SessionDir, manifest: Manifest) -> None:
        self.folder = folder
        self.view = SessionView(manifest)
        self.book: InstrumentBook | None = None
        self.connected = False
        self.past = False
        self.shot: dict[str, Any] = {}
        self._opened = False
        self._whole = False  # whether all of a past session's record has been read
        self._lost_at = time.monotonic()
        self._announce()
        self._task = asyncio.ensure_future(self._run())

    @property
    def status(self) -> str:
        """RUNNING, STARTING (no bus yet), LOST (the bus went away), ENDED (it went as it was told to), READING (its record) or PAST."""
        if self.past:
            return "READING" if self._opened and not self._whole else "PAST"
        if self.connected:
            return "RUNNING"
        if any(c.action is Action.STOP for c in self.view.controls):
            return "ENDED"
        if self.view.beats:
            return "LOST"
        return "STARTING" if self._is_young() or self.folder.has_sockets else "READING"

    def open(self) -> None:
        """Somebody looks at it: of a past session all is read from now on. A day's record takes seconds, a list needs little of it."""
        if not self._opened:
            self._opened = True
            if self.past:
                self._announce()
                self._task = asyncio.ensure_future(self._become_past())

    def close(self) -> None:
        self._task.cancel()

    def row(self) -> dict[str, Any]:
        """The session in a list of sessions."""
        names = ("session_id", "mode", "account", "strategy", "parameters", "trading", "kill", "mtm", "ts_event",
                 "market_open")  # fmt: skip
        return {n: self.shot[n] for n in names} | {
            "status": "PAST" if self.past else self.status,
            "created": self.view.manifest.created,
            "max_loss": self.shot["limits"]["max_loss"],
        }

    def _announce(self) -> None:
        shot = self.view.snapshot(0 if self.past else time.time_ns(), self.book)
        self.shot = shot | {"status": self.status, "charts": self._charts(), "hours": self._hours()}

    def _charts(self) -> list[dict[str, Any]]:
        """What can be charted: the session's instruments, and those it traded besides."""
        if self.book is None:
            return []
        found = [self.book.find(key) for key in self.view.manifest.instruments if key in self.book]
        keys = {i.instrument_token: i.key for i in found} | {f.instrument_token: f.instrument for f in self.view.fills}
        return [{"instrument_token": token, "instrument": key} for token, key in keys.items()]

    def _hours(self) -> list[int] | None:
        """From the first open to the last close of what the session trades, for its charts; None until that is known."""
        if self.book is None:
            return None
        hours = [market_hours(i, self.view.manifest.trading_day) for i in self.book]
        return [chart_ms(min(h.open for h in hours)), chart_ms(max(h.close for h in hours))] if hours else None

    async def _run(self) -> None:
        while not self.past:
            try:
                await self._follow()
            except Exception as error:  # whatever it was, the desk must say that it no longer sees the session
                if not isinstance(error, (redis.RedisError, OSError, TradeAlgoError)):
                    log.exception("reading session %s failed", self.view.manifest.session_id)
                if self.connected:
                    self.connected, self._lost_at = False, time.monotonic()
                    self._announce()
                if self._is_over():
                    await self._become_past()
                    return
                await self._read_kill()
                await asyncio.sleep(RETRY_S)

    async def _read_kill(self) -> None:
        """How far a kill has got by the journal, which needs no bus."""
        if self.folder.kill_flag.exists():
            with contextlib.suppress(Exception):  # a journal that can't be read now
                state = await asyncio.get_running_loop().run_in_executor(None, last_state, self.folder)
                if state is not None and (self.view.state is None or state.ts > self.view.state.ts):
                    self.view.state = state
                    self._announce()

    def _is_over(self) -> bool:
        """Whether the bus will not come back: nothing supervises the session any more."""
        lost = self.view.beats and time.monotonic() - self._lost_at < LOST_S
        return not self._is_young() and not lost and not _supervised(self.folder)

    def _is_young(self) -> bool:
        return time.time_ns() - self.view.manifest.created < STARTING_NS

    async def _become_past(self) -> None:
        while True:
            whole, view = self._opened, SessionView(self.view.manifest)
            with contextlib.suppress(Exception):  # a record that can't be read leaves what the bus told
                book = await asyncio.get_running_loop().run_in_executor(None, read_record, self.folder, view, not whole)
                if view.state is not None or self.view.state is None:
                    self.view, self.book = view, book or self.book
            self.past, self._whole = True, whole
            self._announce()
            if whole or not self._opened:  # else it was opened meanwhile
                return

    async def _follow(self) -> None:
        bus = Bus(connect(self.view.manifest.resolved_bus_url()), self.view.manifest.session_id)
        try:
            beat = 0.0
            while True:
                new = await self._read(bus)
                if new or time.monotonic() - beat > 1.0:  # ages of heartbeats move without news
                    beat = time.monotonic()
                    self.connected = True
                    self._announce()
                await asyncio.sleep(POLL_S)
        finally:
            await bus.close()

    async def _read(self, bus: Bus) -> int:
        if self.book is None:
            async with asyncio.timeout(LOST_S):
                data: Any = await bus.client.get(instruments_key(bus.session_id))
            if data is not None:
                self.book = InstrumentBook(msgspec.msgpack.decode(data, type=list[Instrument]))
        new = 0
        while True:
            async with asyncio.timeout(LOST_S):  # a bus that hangs says nothing, for ever
                entries = await bus.read(self.view.cursors, count=READ_COUNT, keep_bad=True)
            new += sum(self.view.apply(e) for e in entries)
            await asyncio.sleep(0)
            if len(entries) < READ_COUNT:
                break
        if self.view.fills:
            await self._read_prices(bus)
        return new

    async def _read_prices(self, bus: Bus) -> None:
        async with asyncio.timeout(LOST_S):
            entries = await bus.newest(Stream.TICKS, TICK_FRAMES, keep_bad=True)
        for entry in entries:
            self.view.apply(entry)


class Hub:
    """All sessions of this home. Its task starts with the first request and ends with the server."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for sessions once a second from now on."""
        if self._task is None:
            self.look()
            self._task = asyncio.ensure_future(self._keep_looking())

    def close(self) -> None:
        """End all reading."""
        if self._task is not None:
            self._task.cancel()
        for feed in self.feeds.values():
            feed.close()

    def look(self) -> None:
        """Take up sessions that weren't there before: the newest, and all whose bus may still be there."""
        folders = session_dirs()
        running = [f for f in folders[:-LISTED] if f.has_sockets]  # however old: what runs must be seen, and killed
        for folder in running + folders[-LISTED:]:
            if folder.path.name not in self.feeds:
                try:
                    manifest = folder.read_manifest()
                except TradeAlgoError:
                    continue  # half-written, or of another version: `tradealgo status` says so
                self.feeds[folder.path.name] = Feed(folder, manifest)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.look()

    def find(self, session_id: str) -> Feed | None:
        """The feed of a session, by its id."""
        return next((f for f in self.feeds.values() if f.view.manifest.session_id == session_id), None)

    def folder(self, session_id: str) -> SessionDir | None:
        """A session's folder, listed or not: what people ask of it mustn't wait for a list."""
        feed = self.find(session_id)
        if feed is not None:
            return feed.folder
        return next((f for f in session_dirs() if f.path.name == session_id), None)

    def rows(self) -> list[dict[str, Any]]:
        """All sessions that are known: live before paper, running before past, newest first."""
        known = [
            f for f in self.feeds.values() if f.past or f.status != "READING"
        ]  # else each kill of all would count it
        feeds = sorted(known, key=lambda f: f.view.manifest.created, reverse=True)
        return [f.row() for f in sorted(feeds, key=lambda f: (f.past, f.view.manifest.mode is not Mode.LIVE))]


def _supervised(folder: SessionDir) -> bool:
    """Whether the session's supervisor listens."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        return folder.has_sockets and probe.connect_ex(str(folder.supervisor_socket)) == 0


def read_record(folder: SessionDir, view: SessionView, brief: bool = False) -> InstrumentBook | None:
    """Fill the view of a past session from what the Recorder kept (blocking); its instruments, if it had any.

    Args:
        brief: only its last figures and state, for a list of sessions.
    """
    if not folder.record.exists() and not os.environ.get("TRADEALGO_DATABASE_URL"):
        return None
    from tradealgo.journal.store import open_record
    from tradealgo.live.past import PAST_BEATS

    with contextlib.closing(open_record(folder)) as record:
        for stream in BRIEF_STREAMS if brief else VIEW_STREAMS:
            last = 1 if brief else PAST_BEATS if stream is Stream.HEALTH else None
            for entry in record.entries(view.manifest.session_id, stream, last=last):
                view.apply(entry)
        instruments = record.instruments(view.manifest.session_id)
    return InstrumentBook(instruments) if instruments else None
