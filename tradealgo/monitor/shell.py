"""The Monitor's loop: hears the streams, tells people, and on paper rings the opening bell when all are ready."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

from tradealgo.bus.keys import Stream
from tradealgo.config import FEED_STARTS_NS, Mode
from tradealgo.domain.hours import is_trading_day, ist_date, market_hours
from tradealgo.domain.instruments import Instrument
from tradealgo.domain.state import Alert, Level
from tradealgo.monitor.endpoint import serve_metrics
from tradealgo.monitor.rules import Hours, Outgoing, Rules
from tradealgo.monitor.telegram import take_orders
from tradealgo.process import Process

BLOCK_MS = 250
#: How often a live session looks which day it is.
HOURS_EVERY_S = 60.0


class Monitor:
    """One session's watch."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.manifest = process.manifest
        self.live = self.manifest.mode is Mode.LIVE
        self.rules = Rules(speed=self.manifest.speed, live=self.live)
        self.outgoing = Outgoing()
        self.notifier, self.unusable = notifier(os.environ.get("TRADEALGO_ALERT_URLS", ""))
        self.rung = self.live
        self.sending: set[asyncio.Task[None]] = set()
        #: Why the last bell wasn't heard; the same reason is logged once.
        self.bell_error = ""

    async def run(self) -> None:
        """Until cancelled."""
        cursors = await self._catch_up()
        asking = asyncio.ensure_future(self._learn_hours())
        serving = asyncio.ensure_future(serve_metrics(self.process))
        talking = asyncio.ensure_future(take_orders(self.process))
        await self.process.say("WAITING")
        if self.unusable:
            text = f"TRADEALGO_ALERT_URLS has addresses that apprise can't use, of kind {', '.join(self.unusable)}"
            await self.process.alert(Level.WARNING, "ALERT_URLS", text)
        try:
            await self._watch(cursors, asking, serving, talking)
        finally:
            for task in (asking, serving, talking):
                task.cancel()

    async def _watch(self, cursors: dict[Stream, bytes], *tasks: asyncio.Future[None]) -> None:
        """Hear and check for ever; raises what one of the tasks raised."""
        while True:
            for entry in await self.process.bus.read(cursors, block_ms=BLOCK_MS):
                cursors[entry.stream] = entry.id
                await self._hear(entry.stream, entry.message)
            await self._publish(self.rules.check(time.time_ns()))
            for task in tasks:
                if task.done():
                    task.result()
            if not self.rung and not self.rules.waiting_for:
                self.rung = await self._ring()
            await self.process.say("WAITING" if self.rules.waiting_for else "READY")

    async def _catch_up(self) -> dict[Stream, bytes]:
        """What was said before a restart is not said again. Returns where to read on."""
        alerts = await self.process.bus.range(Stream.ALERTS)
        self.rules.adopt(entry.message for entry in alerts)
        self.outgoing.chosen(entry.message for entry in alerts)
        health = await self.process.bus.last(Stream.HEALTH)
        return {  # in this order within one read: what a person asked for comes before what came of it
            Stream.CONTROL: b"0",
            Stream.ALERTS: alerts[-1].id if alerts else b"0",
            Stream.HEALTH: health.id if health else b"0",
            Stream.STATE: b"0",
        }

    async def _hear(self, stream: Stream, message: Any) -> None:
        if stream is Stream.HEALTH:
            await self._publish(self.rules.apply_beat(message))
        elif stream is Stream.CONTROL:
            self.rules.apply_control(message)
        elif stream is Stream.STATE:
            await self._publish(self.rules.apply_state(message))
        else:
            self._send(self.outgoing.chosen([message]))

    async def _publish(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self.process.log.warning("alert", code=alert.code, text=alert.text, resolved=alert.resolved)
            await self.process.bus.publish(Stream.ALERTS, alert)

    def _send(self, alerts: list[Alert]) -> None:
        """To people, without waiting: a messenger that hangs mustn't hold up the watch."""
        if self.notifier is None:
            return
        for alert in alerts:
            task = asyncio.ensure_future(self._notify(alert))
            self.sending.add(task)
            task.add_done_callback(self.sending.discard)

    async def _notify(self, alert: Alert) -> None:
        assert self.notifier is not None
        word = "RESOLVED" if alert.resolved else alert.level.value
        title = f"{word} · {self.manifest.mode} {self.manifest.account} · {alert.module}"
        sent = await asyncio.to_thread(self.notifier.notify, body=alert.text, title=title, notify_type=_kind(alert))
        if not sent:
            self.process.log.warning("alert not sent", code=alert.code)

    async def _learn_hours(self) -> None:
        """Live anew each day, for ever: a session that nobody ends goes on into the next."""
        book, market = await self.process.instruments(), self.manifest.market
        if not self.live:
            day = dt.date.fromisoformat(market.day) if market else ist_date(time.time_ns())
            self.rules.hours = trading_hours(book, day)
            return
        ready = time.time_ns() + FEED_STARTS_NS
        while True:  # in a thread: the calendar is half a second of pandas
            self.rules.hours = await asyncio.to_thread(live_hours, book, ist_date(time.time_ns()), ready)
            await asyncio.sleep(HOURS_EVERY_S)

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


def notifier(urls: str) -> tuple[Any, list[str]]:
    """apprise, for the addresses of TRADEALGO_ALERT_URLS (space or comma between them), None for none; and the kinds of
    those that it can't use (an address may hold a token, so the rest of it isn't repeated)."""
    if not urls.strip():
        return None, []
    import apprise

    found = apprise.Apprise()
    bad = [url.partition(":")[0] for url in urls.replace(",", " ").split() if not found.add(url)]
    return found, bad


def tell(title: str, text: str) -> bool:
    """Send people of TRADEALGO_ALERT_URLS something that no session's Monitor can; False if it couldn't be sent."""
    sender, _ = notifier(os.environ.get("TRADEALGO_ALERT_URLS", ""))
    return sender is None or bool(sender.notify(body=text, title=title, notify_type="failure"))


def _kind(alert: Alert) -> str:
    if alert.resolved:
        return "success"
    return {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "failure"}[alert.level]


async def watch(process: Process) -> None:
    """The Monitor's main."""
    await Monitor(process).run()
