"""What the parts of the core share while they handle one event: the time, the book, and the commands so far."""

from __future__ import annotations

from typing import Any

import msgspec

from tradealgo.bus.keys import Stream
from tradealgo.domain.limits import Limits
from tradealgo.domain.state import Alert, Level, Module
from tradealgo.gatekeeper.book import Book
from tradealgo.gatekeeper.messages import Command, Kind, Note, Publish, Record
from tradealgo.gatekeeper.situation import Terms


class Context:
    """One gate's; not shared between gates."""

    def __init__(self, terms: Terms, limits: Limits, book: Book) -> None:
        self.terms, self.limits, self.book = terms, limits, book
        self.now = 0
        self.commands: list[Command] = []  # so far; what each order brings is appended without a call
        self.is_state_told = False  # whether nothing of the session's state has moved since it was last told
        self.raised: set[str] = set()  # codes of the alerts that stand

    def record(self, kind: Kind, message: Any) -> None:
        self.commands.append(Record(kind, message))

    def publish(self, stream: Stream, message: msgspec.Struct) -> None:
        self.commands.append(Publish(stream, message))

    def note(self, code: str, text: str, **figures: Any) -> None:
        """Keep something that changes nothing."""
        self.record(Kind.NOTE, Note(code=code, text=text, figures=figures, ts=self.now))

    def alert(self, level: Level, code: str, text: str) -> None:
        """Tell people, once until it is resolved."""
        if code not in self.raised:
            self.raised.add(code)
            self._say(level, code, text, resolved=False)

    def resolve(self, code: str, text: str) -> None:
        """End an alert, if it was raised."""
        if code in self.raised:
            self.raised.discard(code)
            self._say(Level.INFO, code, text, resolved=True)

    def _say(self, level: Level, code: str, text: str, *, resolved: bool) -> None:
        alert = Alert(level=level, module=Module.GATEKEEPER, code=code, text=text, ts=self.now, resolved=resolved)
        self.record(Kind.ALERT, alert)
