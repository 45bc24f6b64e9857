"""What is worth an alert, pure: `apply` what the streams say, `check` what time has passed; both return new alerts.

An alert is said once. When its cause has gone it is said to be resolved, and may be said again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from tradealgo.domain.state import Action, Alert, Beat, Control, KillState, Level, Module, SessionState, TradingState

HEARTBEAT_NS = 3_000_000_000
NO_TICKS_NS = 5_000_000_000
#: A module that hasn't beaten at all, once the Monitor hears, or that doesn't get ready, is told after this.
LATE_NS = 30_000_000_000
#: So many starts of a module within a minute, after its first, are told.
STARTS, MINUTE_NS = 3, 60_000_000_000
#: Modules that beat. The bus is seen by being read.
WATCHED = (Module.SENTINEL, Module.PRODUCER, Module.CONSUMER, Module.GATEKEEPER, Module.RECORDER)

#: What each module says once it does its work: the opening bell waits for all of them.
READY_STATES: dict[Module, frozenset[str]] = {
    Module.SENTINEL: frozenset({"LOGGED_IN"}),
    Module.PRODUCER: frozenset({"LIVE", "QUIET"}),
    Module.CONSUMER: frozenset({"READY"}),
    Module.GATEKEEPER: frozenset({"READY"}),
    Module.RECORDER: frozenset({"READY"}),
}


class Hours(msgspec.Struct, frozen=True):
    """When ticks are expected: in continuous trading of any of the session's instruments. UTC nanoseconds of exchange time."""

    open: int
    close: int


class Rules:
    """The session's health as the streams tell it.

    Args:
        hours: of the day that is traded; None while nobody expects ticks: the instruments aren't known, or no market opens.
        speed: data seconds a wall-clock second; 1.0 live.
        live: the market's clock is the wall clock. The paper exchange's is known by its ticks alone.
    """

    def __init__(self, *, speed: float, hours: Hours | None = None, live: bool = False) -> None:
        self.speed = speed
        self.live = live
        self.hours = hours
        self.beats: dict[Module, Beat] = {}
        self.open: dict[tuple[Module, str], Alert] = {}
        self.stopping = False  # a person ends the session: what falls silent now is no news
        self._ticked = 0  # wall clock of the last beat that told of newer ticks
        self._ts_event = 0
        self._hears = 0  # wall clock since when everything is heard; 0: it isn't yet
        self._starts: dict[Module, deque[int]] = {}  # the last ones that were heard, after the first
        self._unready: dict[Module, int] = {}  # since when a module hasn't been ready
        self._logged_in = 0  # since when the Sentinel has been

    def hears(self, now: int) -> None:
        """From `now` on (wall clock, UTC ns) all is heard. That nobody was heard before it proves nothing."""
        self._hears = now

    def note(self, level: Level, module: Module, code: str, text: str, now: int) -> list[Alert]:
        """Something that the shell itself has found: new unless it stands already."""
        return self._raised(level, module, code, text, now)

    def end(self, module: Module, code: str, text: str, now: int) -> list[Alert]:
        """What the shell noted is over."""
        return self._resolved(module, code, text, now)

    def adopt(self, alerts: Iterable[Alert]) -> None:
        """Take over what was said before a restart, oldest first."""
        for alert in alerts:
            self.open.pop((alert.module, alert.code), None)
            if not alert.resolved:
                self.open[alert.module, alert.code] = alert

    @property
    def waiting_for(self) -> list[Module]:
        """Modules that haven't said that they are ready."""
        return [m for m, good in READY_STATES.items() if m not in self.beats or self.beats[m].state not in good]

    def apply_beat(self, beat: Beat) -> list[Alert]:
        """Hear a heartbeat."""
        before = self.beats.get(beat.module)
        self.beats[beat.module] = beat
        if beat.module is Module.PRODUCER and beat.ts_event > self._ts_event:
            # The first beat that a restarted Monitor hears may be of a feed that is dead: live its last tick's own time says so
            self._ticked = beat.ts if self._ts_event or not self.live else min(beat.ts, beat.ts_event)
            self._ts_event = beat.ts_event
        said = self._apply_start(beat) if before is not None and before.pid != beat.pid else []
        if beat.module is Module.SENTINEL:
            self._logged_in = (self._logged_in or beat.ts) if beat.state in READY_STATES[beat.module] else 0
        if self._is_ready(beat):
            self._unready.pop(beat.module, None)
            said += self._resolved(beat.module, "NOT_READY", f"{beat.module} is {beat.state}", beat.ts)
        else:
            self._unready.setdefault(beat.module, beat.ts)
        told = self.open.get((beat.module, "SILENT"))
        if told is None or beat.ts <= told.ts:  # a restarted Monitor also reads what was beaten before the silence
            return said
        return said + self._resolved(beat.module, "SILENT", f"{beat.module} beats again", beat.ts)

    def _is_ready(self, beat: Beat) -> bool:
        """What the Sentinel and the Producer wait for in other states (a person, the broker), they tell themselves."""
        if beat.module in (Module.SENTINEL, Module.PRODUCER):
            return beat.state != "STARTING"
        return beat.module not in WATCHED or beat.state in READY_STATES[beat.module]

    def _apply_start(self, beat: Beat) -> list[Alert]:
        """A module beats from a new process."""
        starts = self._starts.setdefault(beat.module, deque(maxlen=STARTS))
        starts.append(beat.ts)
        if len(starts) < STARTS or beat.ts - starts[0] > MINUTE_NS:
            return []
        text = (
            f"{beat.module} has ended and started again {STARTS} times within a minute: logs/{beat.module}.log says why"
        )
        return self._raised(Level.CRITICAL, beat.module, "RESTARTS", text, beat.ts)

    def apply_state(self, state: SessionState) -> list[Alert]:
        """Hear of the trading and kill state. That the kill has tripped, the Gatekeeper itself has told."""
        module, ts = Module.GATEKEEPER, state.ts
        if state.kill is not KillState.ARMED:
            if not state.ts_flat:
                return []
            took = (state.ts_flat - state.ts_tripped) / 1e9
            return self._raised(Level.INFO, module, "FLAT", f"the broker says flat, {took:.1f} s after the trip", ts)
        said = self._resolved(module, "FLAT", "the kill switch is armed again", ts)
        if state.trading is TradingState.ACTIVE:
            return said + self._resolved(module, "NOT_ACTIVE", "trading is ACTIVE again", ts)
        text = f"trading is {state.trading}" + (f": {state.reason}" if state.reason else "")
        told = self.open.get((module, "NOT_ACTIVE"))
        if told is not None and told.text != text:  # another state, or another reason, is news
            del self.open[module, "NOT_ACTIVE"]
        return said + self._raised(Level.WARNING, module, "NOT_ACTIVE", text, ts)

    def apply_control(self, control: Control) -> None:
        """Hear what a person asks of the session."""
        self.stopping = self.stopping or control.action is Action.STOP

    def check(self, now: int) -> list[Alert]:
        """What has been silent for too long. `now` is the wall clock in UTC ns."""
        said: list[Alert] = []
        for module in WATCHED:
            said += self._check_module(module, now)
            if now - max(self._hears, *self._starts.get(module, ()), 0) > MINUTE_NS:
                said += self._resolved(module, "RESTARTS", f"{module} has run for a minute", now)
        return said + self._check_ticks(now)

    def _check_module(self, module: Module, now: int) -> list[Alert]:
        beat = self.beats.get(module)
        if beat is None:
            silent = now - self._hears
            if not self._hears or silent <= LATE_NS:
                return []
            text = f"{module} has not beaten once in {silent / 1e9:.0f} s"
            return self._raised(Level.CRITICAL, module, "SILENT", text, now)
        if now - max(beat.ts, self._hears) > HEARTBEAT_NS:
            text = f"{module} has not beaten for {(now - beat.ts) / 1e9:.0f} s"
            return self._raised(Level.CRITICAL, module, "SILENT", text, now)
        return self._check_ready(beat, now)

    def _check_ready(self, beat: Beat, now: int) -> list[Alert]:
        """A module that beats and does nothing. Before the login there is nothing to do for any of them."""
        since = self._unready.get(beat.module)
        if since is None or not (self._logged_in or beat.module is Module.SENTINEL):
            return []
        waited = now - max(since, self._logged_in, self._hears)
        if waited <= LATE_NS:
            return []
        text = f"{beat.module} has been {beat.state} for {waited / 1e9:.0f} s: it does not get ready"
        return self._raised(Level.CRITICAL, beat.module, "NOT_READY", text, now)

    def _check_ticks(self, now: int) -> list[Alert]:
        hours, clock = self.hours, self._market_clock(now)
        if hours is not None and now - self._ticked <= NO_TICKS_NS:
            return self._resolved(Module.PRODUCER, "NO_TICKS", "ticks come again", now)
        if hours is None or clock < hours.open:
            return []
        if clock >= hours.close:
            return self._resolved(Module.PRODUCER, "NO_TICKS", "the market has closed", now)
        silent = now - max(self._ticked, self._hears, hours.open if self.live else 0)
        if silent <= NO_TICKS_NS:
            return []
        text = f"no ticks for {silent / 1e9:.0f} s in market hours"
        return self._raised(Level.CRITICAL, Module.PRODUCER, "NO_TICKS", text, now)

    def _market_clock(self, now: int) -> int:
        """Where the market's clock stands. A feed that is dead from the morning on has no ticks to tell it by, or
        yesterday's; on paper it is run on from the last tick at the session's speed, and 0 before the first."""
        if self.live:
            return now
        return self._ts_event + int((now - self._ticked) * self.speed) if self._ts_event else 0

    def _raised(self, level: Level, module: Module, code: str, text: str, ts: int) -> list[Alert]:
        if self.stopping or (module, code) in self.open:
            return []
        alert = Alert(level=level, module=module, code=code, text=text, ts=ts)
        self.open[module, code] = alert
        return [alert]

    def _resolved(self, module: Module, code: str, text: str, ts: int) -> list[Alert]:
        told = self.open.pop((module, code), None)
        if told is None:
            return []
        # A beat may be older than the look at the clock that found it missing: the end comes after the beginning all the same
        ts = max(ts, told.ts + 1)
        return [Alert(level=Level.INFO, module=module, code=code, text=text, ts=ts, resolved=True)]


class Outgoing:
    """Which alerts of the stream go out to people: each once until it is resolved, and its resolution once."""

    def __init__(self) -> None:
        self._sent: set[tuple[Module, str, str]] = set()

    def chosen(self, alerts: Iterable[Alert]) -> list[Alert]:
        """The ones to send, in order."""
        return [alert for alert in alerts if self._is_new(alert)]

    def _is_new(self, alert: Alert) -> bool:
        if alert.resolved:
            told = {key for key in self._sent if key[:2] == (alert.module, alert.code)}
            self._sent -= told
            return bool(told)
        # A strategy may raise for one instrument and then for another: the same code, another text
        key = (alert.module, alert.code, alert.text)
        new = key not in self._sent
        self._sent.add(key)
        return new
