"""The broker's rate rule as it is: calls by calendar second of the broker's clock, by minute, by day. Pure.

A call that leaves now lands some time later on a clock that is known only within bounds, so it is counted in every
second in which it may land, until its answer narrows that down. The count of possible landings in a second never
passes the limit; therefore neither does the count of real ones.
"""

from __future__ import annotations

from collections import deque

import msgspec

from tradealgo.domain.hours import ist_day
from tradealgo.domain.limits import Limits
from tradealgo.domain.orders import Intent

SECOND_NS = 1_000_000_000
ENTRY, KILL = Intent.ENTRY, Intent.KILL
#: What opens or guards a position; exits and the kill go before it.
OPENING = (Intent.ENTRY, Intent.PROTECT)
#: A call that the shell can't write within this of its admission isn't sent.
LAUNCH_NS = 100_000_000
#: How much longer it may take to arrive.
TRANSIT_NS = 150_000_000
#: An unanswered call is taken to have landed by then.
LANDED_NS = SECOND_NS
#: No call that left this long ago can land in the present second, whatever the bounds of the clock.
FORGET_NS = 3 * SECOND_NS
#: A server may take its Date header from a clock that it reads now and then.
DATE_SLACK_NS = 20_000_000
#: Bounds wider than this cost throughput around every turn of a second.
COARSE_NS = 150_000_000
#: How fast two clocks may drift apart.
DRIFT = 1e-4
#: An order call is refused for about this long after a 429 (MARKET.md, section 3).
COOLING_NS = 10 * SECOND_NS


class ServerClock:
    """Bounds of the broker's clock minus ours, in nanoseconds, narrowed by each answer's Date header.

    A Date says that the server's time was in [D, D + 1 s) at some moment between sending and receiving. Before the
    first one only the phase within a second matters, and half a second each way covers every phase.
    """

    def __init__(self) -> None:
        self._measured = 0
        self.begin_anew(0)

    def begin_anew(self, now: int) -> None:
        """Our clock was set, as is found at `now`: nothing is known any more."""
        self.since = now
        self.low, self.high = -SECOND_NS // 2, SECOND_NS // 2
        self.is_coarse = True  # the bounds are so wide that calls are counted in more seconds than need be
        self._known = False

    def observe(self, server_second: int, sent: int, received: int) -> None:
        """Take note of an answer whose Date header said `server_second` (epoch seconds)."""
        if sent < self.since:
            return  # our clock was set while it was under way
        low = server_second * SECOND_NS - received - DATE_SLACK_NS
        high = (server_second + 1) * SECOND_NS - sent + DATE_SLACK_NS
        drift = int((received - self._measured) * DRIFT) if self._known else 0
        both = max(low, self.low - drift), min(high, self.high + drift)
        if not self._known or both[0] > both[1]:  # a clock was set: begin anew
            both = low, high
        self.low, self.high = both
        self.is_coarse = both[1] - both[0] > COARSE_NS
        self._known, self._measured = True, received

    @property
    def offset(self) -> int:
        """Best guess in nanoseconds."""
        return (self.low + self.high) // 2 if self._known else 0

    @property
    def uncertainty(self) -> int:
        """Width of the bounds in nanoseconds."""
        return self.high - self.low

    def next_probe(self, now: int) -> int:
        """When to ask something, for its answer's Date to halve the bounds: as the second turns by our best guess."""
        middle = (self.low + self.high) // 2
        return now + -(now + middle) % SECOND_NS

    def seconds(self, earliest: int, latest: int) -> tuple[int, int]:
        """First and last second of the server in which something between two local instants may fall."""
        return (earliest + self.low) // SECOND_NS, (latest + self.high) // SECOND_NS


class TokenBucket:
    """The shaper for entries: bursts of `capacity`, then `rate` a second, so that a burst leaves room for exits."""

    def __init__(self, capacity: float, rate: float) -> None:
        self.capacity, self.rate = capacity, rate
        self._level, self._at = capacity, 0

    def level(self, now: int) -> float:
        """Tokens there are at `now`."""
        return min(self.capacity, self._level + (now - self._at) / SECOND_NS * self.rate)

    def take(self, now: int) -> None:
        self._level, self._at = self.level(now) - 1, now

    def clock_set(self, by: int) -> None:
        """What was taken was taken that much later, by the clock as it is now."""
        self._at += by


class _Landing(msgspec.Struct, gc=False):
    """A call and the local interval in which it arrives at the broker."""

    call_id: int
    earliest: int
    latest: int


class RateBudget:
    """Says whether a call may leave, keeps a share for exits and the kill, and cools off after a 429."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.clock = ServerClock()
        self.cooling_until = 0
        self._probe_at, self._probe_wait = 0, SECOND_NS
        self._landings: deque[_Landing] = deque()
        self._sent: dict[int, int] = {}  # when each call of the last minute left, by its id
        self._day = 0
        self._day_count = 0
        room = limits.orders_per_second - limits.exit_reserve_per_second
        self._bucket = TokenBucket(room, room)
        self._rooms = {intent: self._room(intent) for intent in Intent}

    def _room(self, intent: Intent) -> tuple[int, int, int]:
        """How many calls of a day, a minute and a second this kind may use. Exits and entries leave a share of each minute that
        only the kill may use, so that it doesn't begin with a wait.
        """
        limits, entry = self.limits, intent in OPENING
        a_day = limits.orders_per_day - (limits.exit_reserve_per_day if entry else 0)
        kept = 0 if intent is Intent.KILL else limits.kill_reserve_per_minute
        a_minute = limits.orders_per_minute - kept - (limits.exit_reserve_per_minute if entry else 0)
        return a_day, a_minute, limits.orders_per_second - (limits.exit_reserve_per_second if entry else 0)

    def denies(self, intent: Intent, now: int) -> str:
        """Why a call may not leave now, or an empty string. The day never holds up the kill: the broker may say no."""
        a_day, a_minute, room = self._rooms[intent]
        if self.day_count(now) >= a_day and intent is not KILL:
            return "DAY"
        if now < self.cooling_until and (intent in OPENING or now < self._probe_at):
            return "COOLING"
        if self.minute_count(now) >= a_minute:
            return "MINUTE"
        if len(self._landings) >= room:  # fewer calls don't fill any second
            first, last = self.clock.seconds(now, now + LAUNCH_NS + TRANSIT_NS)
            if self._most_landings(first, last, now) >= room:
                return "SECOND"
        return "SHAPER" if intent is ENTRY and self._bucket.level(now) < 1 else ""

    def _most_landings(self, first: int, last: int, now: int) -> int:
        """Calls that may land in the fullest of some seconds of the server."""
        counts, low, high = [0] * (last - first + 1), self.clock.low, self.clock.high
        too_early = first * SECOND_NS - high
        since = max(now - FORGET_NS, too_early - LANDED_NS)  # a call that left before it has landed too early
        for landing in reversed(self._landings):
            if landing.earliest < since:
                break
            if landing.latest < too_early:
                continue
            begin, end = (landing.earliest + low) // SECOND_NS, (landing.latest + high) // SECOND_NS
            for second in range(begin if begin > first else first, (end if end < last else last) + 1):
                counts[second - first] += 1
        return max(counts)

    def take(self, call_id: int, intent: Intent, now: int) -> None:
        """Count a call that leaves now."""
        self._landings.append(_Landing(call_id, now, now + LANDED_NS))
        self._sent[call_id] = now
        self.count_day(now)
        if intent is ENTRY:
            self._bucket.take(now)
        if now < self.cooling_until:
            self._probe_at = now + self._probe_wait
            self._probe_wait = min(2 * self._probe_wait, COOLING_NS)

    def count_day(self, ts: int) -> None:
        """Count a call in its day."""
        day = ist_day(ts)
        if day != self._day:
            self._day, self._day_count = day, 0
        self._day_count += 1

    def remember(self, call_id: int, ts: int) -> None:
        """Count a call that the journal holds: it may have landed within a second of `ts`."""
        self._landings.append(_Landing(call_id, ts, ts + LANDED_NS))
        self._sent[call_id] = ts
        self.count_day(ts)

    def clock_set(self, by: int, now: int) -> None:
        """Our clock was set by so many nanoseconds, as is found at `now`: what has left stays in its second and its minute, and
        the broker's clock is to be found anew.
        """
        self.clock.begin_anew(now)
        for landing in self._landings:
            landing.earliest += by
            landing.latest += by
        self._sent = {call_id: ts + by for call_id, ts in self._sent.items()}
        self.cooling_until += by
        self._probe_at += by
        self._bucket.clock_set(by)

    def landed(self, call_id: int, sent: int, received: int) -> None:
        """The call was answered: it arrived between `sent` and `received`."""
        if sent < self.clock.since:
            return  # our clock was set meanwhile: it landed when it may have landed
        for landing in reversed(self._landings):
            if landing.call_id == call_id:
                landing.earliest, landing.latest = sent or landing.earliest, min(received, landing.earliest + LANDED_NS)
                return

    def never_sent(self, call_id: int) -> None:
        """The shell didn't write it after all: it counts nowhere, neither in its second nor in its minute and day."""
        ts = self._sent.pop(call_id, None)
        if ts is not None and ist_day(ts) == self._day:
            self._day_count -= 1
        for landing in self._landings:
            if landing.call_id == call_id:
                self._landings.remove(landing)
                return

    def cool(self, now: int) -> None:
        """A 429 came: entries wait, an exit may try now and then."""
        if now >= self.cooling_until:
            self._probe_wait = SECOND_NS
            self._probe_at = now + self._probe_wait
        self.cooling_until = max(self.cooling_until, now + COOLING_NS)

    def warm(self) -> None:
        """A call got through: the cooling is over."""
        self.cooling_until = 0

    def second_count(self, now: int) -> int:
        """Calls that may have landed in the server's present second."""
        second = (now + self.clock.offset) // SECOND_NS
        return self._most_landings(second, second, now)

    def minute_count(self, now: int) -> int:
        """Calls of the last 61 s: no calendar minute holds more."""
        while self._landings and self._landings[0].earliest < now - FORGET_NS:
            self._landings.popleft()
        while self._sent and self._sent[first := next(iter(self._sent))] < now - 61 * SECOND_NS:
            del self._sent[first]
        return len(self._sent)

    def day_count(self, now: int) -> int:
        """Calls since midnight IST."""
        return self._day_count if ist_day(now) == self._day else 0
