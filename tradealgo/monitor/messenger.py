"""Alerts on their way to people: each goes to every address until that address has taken it, and then never again.

What an address has taken is written into a file of the session, so that a Monitor that starts anew knows it. An address
that takes nothing holds up neither the others nor a newer alert.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import Any

import msgspec

from tradealgo.config import Manifest, SessionDir
from tradealgo.domain.hours import ist_text
from tradealgo.domain.state import Alert, Level
from tradealgo.process import Log

#: What failed is tried again after this, then after twice as long, and so on up to the longest pause.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
#: An alert that comes this late says when it was raised.
LATE_NS = 10_000_000_000
#: Messengers refuse what is too long (Telegram beyond 4,096 characters, Discord 2,000), however often it is sent.
LONGEST_TEXT = 1_500
#: A Monitor that is stopped gives its last alerts this long: the supervisor waits five seconds for it.
FAREWELL_S = 3.0


class _Taken(msgspec.Struct, frozen=True):
    """A line of the file: the number of the address, and what it took."""

    to: int
    alert: Alert


class Messenger:
    """Sends to the addresses of `urls`; `run` does it, `send` only hands over."""

    def __init__(self, urls: str, folder: SessionDir, manifest: Manifest, log: Log) -> None:
        self.addresses, self.unusable = notifiers(urls)
        self._file = folder.path / "alerts-sent.jsonl"
        self._about, self._log = f"{manifest.mode} {manifest.account}", log
        lines = self._read()
        #: What people have been told in earlier runs, oldest first.
        self.told = list(dict.fromkeys(line.alert for line in lines))
        self._taken = {(line.to, line.alert) for line in lines}
        self._new: list[asyncio.Queue[Alert]] = [asyncio.Queue() for _ in self.addresses]

    def send(self, alert: Alert) -> None:
        """To each address that hasn't had this very alert."""
        for to, queue in enumerate(self._new):
            if (to, alert) not in self._taken:
                self._taken.add((to, alert))
                queue.put_nowait(alert)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*(self._deliver(to) for to in range(len(self.addresses))))

    async def finish(self) -> None:
        """Wait a moment until what is new has been tried once."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.gather(*(queue.join() for queue in self._new))
        except TimeoutError:
            self._log.warning("alerts not sent at the end")

    async def _deliver(self, to: int) -> None:
        """What is new goes first; what failed waits for its turn, and the end of a trouble behind its beginning."""
        kept: deque[Alert] = deque()
        pause, new = FIRST_PAUSE_S, self._new[to]
        while True:
            try:
                async with asyncio.timeout(pause if kept else None):
                    alert = await new.get()
            except TimeoutError:
                alert, is_new = kept.popleft(), False
            else:
                is_new = True
                if alert.resolved and any((k.module, k.code) == (alert.module, alert.code) for k in kept):
                    kept.append(alert)
                    new.task_done()
                    continue
            sent = await asyncio.to_thread(self._hand_over, to, alert)
            if not sent:
                self._log.warning("alert not sent", code=alert.code, address=to, again_in_s=pause)
                kept.append(alert)
            pause = FIRST_PAUSE_S if sent else min(2 * pause, LONGEST_PAUSE_S)
            if is_new:
                new.task_done()

    def _hand_over(self, to: int, alert: Alert) -> bool:
        """Blocking, in a thread that a cancellation doesn't end: whatever went out is noted too."""
        word = "RESOLVED" if alert.resolved else alert.level.value
        late = time.time_ns() - alert.ts > LATE_NS
        body = alert.text + (f" (since {ist_text(alert.ts, '%H:%M:%S')} IST)" if late else "")
        title = f"{word} · {self._about} · {alert.module}"
        try:
            sent = notify(self.addresses[to], title, body, _kind(alert))
        except Exception as error:  # whatever a messenger's library raises, the alert isn't lost
            self._log.warning("messenger", error=f"{type(error).__name__}: {error}")
            return False
        if sent:
            self._note(to, alert)
        return sent

    def _note(self, to: int, alert: Alert) -> None:
        # The line break comes first: a line that a crash cut off spoils no other
        try:
            with open(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                file.write(b"\n" + msgspec.json.encode(_Taken(to, alert)))
        except OSError as error:  # a full disk: told twice after a restart is better than not told
            self._log.warning("sent, but not noted", error=str(error))

    def _read(self) -> list[_Taken]:
        try:
            text = self._file.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            try:
                found.append(msgspec.json.decode(line, type=_Taken))
            except ValueError:
                continue
        return found


def notifiers(urls: str) -> tuple[list[Any], list[str]]:
    """One of apprise for each address of TRADEALGO_ALERT_URLS (space or comma between them); and the kinds of those that
    it can't use (an address may hold a token, so the rest of it isn't repeated)."""
    if not urls.strip():
        return [], []
    import apprise

    found, bad = [], []
    for url in urls.replace(",", " ").split():
        kind, there, _ = url.partition("://")
        one = apprise.Apprise()
        if one.add(url):
            found.append(one)
        else:
            bad.append(kind if there else "unknown")
    return found, bad


def notify(sender: Any, title: str, text: str, kind: str) -> bool:
    """Hand a text to one of `notifiers`; False if it wasn't taken. Raises whatever the messenger's library raises.

    Left to guess, apprise takes a text for the messenger's own markup: Telegram refuses a message with a stray `<` in it.
    """
    cut = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    return bool(sender.notify(body=cut, title=title, notify_type=kind, body_format="text"))


def _kind(alert: Alert) -> str:
    if alert.resolved:
        return "success"
    return {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "failure"}[alert.level]
