"""Is the feed alive? One connection's state machine, pure: times are arguments, in wall-clock UTC nanoseconds.

A frame and a tick are two signs of life: the broker's heartbeat frames come every couple of seconds whatever the market
does, ticks only while it trades. So silence of frames is a dead socket (STALLED: close it and connect again); silence of
ticks is QUIET, which is worth an alarm in market hours only.

                  OPENED            TICKS
    CONNECTING ──────────▶ QUIET ◀────────▶ LIVE
      ▲  │ │                 │   NO_TICKS    │
      │  │ │ REFUSED         └──┬────────────┘
      │  │ ▼                    │ NO_FRAMES
      │  │ DENIED               ▼
      │  │  │ NEW_TOKEN/RETRY STALLED (a frame brings it back)
      │  ▼  ▼                   │ CLOSED, from any open state
      └─ BACKING_OFF ◀──────────┘
"""

from __future__ import annotations

from enum import StrEnum

from tradealgo.domain.errors import IllegalTransition

SECOND_NS = 1_000_000_000
#: The mission's rule: five seconds without ticks are known as a fault by their end; the last of them
#: is for looking and telling.
QUIET_AFTER_NS = 4 * SECOND_NS
#: A replay counts them in its own time, but none shorter than this on the wall: with few instruments a simulated market
#: pauses for so long all the time, and a loaded machine does too. TRADEALGO_QUIET_SHORTEST_S sets another.
QUIET_SHORTEST_NS = 500_000_000
#: Kite's server sends a heartbeat every couple of seconds; three missed ones and the socket is dead.
STALLED_AFTER_NS = 7 * SECOND_NS


class Feed(StrEnum):
    __hash__ = str.__hash__  # Enum's own is a call into Python, and the table is asked about each frame

    CONNECTING = "CONNECTING"
    LIVE = "LIVE"
    QUIET = "QUIET"
    STALLED = "STALLED"
    BACKING_OFF = "BACKING_OFF"
    DENIED = "DENIED"


class Event(StrEnum):
    __hash__ = str.__hash__

    OPENED = "OPENED"
    FRAME = "FRAME"  # any frame without a tick: a heartbeat or a text message
    TICKS = "TICKS"
    NO_TICKS = "NO_TICKS"
    NO_FRAMES = "NO_FRAMES"
    CLOSED = "CLOSED"
    REFUSED = "REFUSED"  # handshake answered with 403
    RETRY = "RETRY"
    NEW_TOKEN = "NEW_TOKEN"


def quiet_after(speed: float, shortest_ns: int = QUIET_SHORTEST_NS) -> int:
    """Wall-clock nanoseconds without a tick that make a feed quiet which runs at `speed` times real time."""
    return max(int(QUIET_AFTER_NS / speed), shortest_ns)


OPEN = frozenset({Feed.LIVE, Feed.QUIET, Feed.STALLED})

TABLE: dict[tuple[Feed, Event], Feed] = {
    (Feed.CONNECTING, Event.OPENED): Feed.QUIET,  # no tick yet, and none may come before the open
    (Feed.CONNECTING, Event.CLOSED): Feed.BACKING_OFF,
    (Feed.CONNECTING, Event.REFUSED): Feed.DENIED,
    (Feed.QUIET, Event.FRAME): Feed.QUIET,
    (Feed.QUIET, Event.TICKS): Feed.LIVE,
    (Feed.QUIET, Event.NO_TICKS): Feed.QUIET,
    (Feed.QUIET, Event.NO_FRAMES): Feed.STALLED,
    (Feed.QUIET, Event.CLOSED): Feed.BACKING_OFF,
    (Feed.LIVE, Event.FRAME): Feed.LIVE,  # a heartbeat says nothing about ticks: the clock does
    (Feed.LIVE, Event.TICKS): Feed.LIVE,
    (Feed.LIVE, Event.NO_TICKS): Feed.QUIET,
    (Feed.LIVE, Event.NO_FRAMES): Feed.STALLED,
    (Feed.LIVE, Event.CLOSED): Feed.BACKING_OFF,
    (Feed.STALLED, Event.FRAME): Feed.QUIET,
    (Feed.STALLED, Event.TICKS): Feed.LIVE,
    (Feed.STALLED, Event.NO_TICKS): Feed.STALLED,
    (Feed.STALLED, Event.NO_FRAMES): Feed.STALLED,
    (Feed.STALLED, Event.CLOSED): Feed.BACKING_OFF,
    (Feed.BACKING_OFF, Event.RETRY): Feed.CONNECTING,
    (Feed.DENIED, Event.NEW_TOKEN): Feed.CONNECTING,
    (Feed.DENIED, Event.RETRY): Feed.CONNECTING,  # a 403 may be anybody's on the way, with the token as good as ever
}

#: Worst first: the feed as a whole is in the worst state of its connections, but one LIVE connection outweighs quiet ones.
_SEVERITY = (Feed.DENIED, Feed.STALLED, Feed.BACKING_OFF, Feed.CONNECTING, Feed.LIVE, Feed.QUIET)


def worst(states: list[Feed]) -> Feed:
    """The feed's state as a whole; CONNECTING before there is any connection."""
    return min(states, key=_SEVERITY.index, default=Feed.CONNECTING)


class FeedHealth:
    """One connection's health. `last_frame` and `last_tick` are wall-clock times, 0 before the first of this connection."""

    def __init__(self, *, quiet_after_ns: int = QUIET_AFTER_NS, stalled_after_ns: int = STALLED_AFTER_NS) -> None:
        self.state = Feed.CONNECTING
        self.last_frame = 0
        self.last_tick = 0
        self._quiet_after = quiet_after_ns
        self._stalled_after = stalled_after_ns

    def on(self, event: Event, now: int) -> Feed:
        """Take an event. Raises IllegalTransition, and then nothing has changed."""
        new = TABLE.get((self.state, event))
        if new is None:
            raise IllegalTransition(f"the feed is {self.state}: {event} can't happen there")
        self.state = new
        if event is Event.OPENED:
            self.last_frame, self.last_tick = now, 0
        if event in (Event.FRAME, Event.TICKS):
            self.last_frame = now
        if event is Event.TICKS:
            self.last_tick = now
        return new

    def at(self, now: int) -> Feed:
        """Let time pass: notices silence. To be asked a few times a second."""
        if self.state in OPEN and now - self.last_frame > self._stalled_after:
            return self.on(Event.NO_FRAMES, now)
        if self.state is Feed.LIVE and now - self.last_tick > self._quiet_after:
            return self.on(Event.NO_TICKS, now)
        return self.state
