"""The circuit breaker: too many failures in a while pause new entries; after a cool-down one entry may try."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.limits import Limits

SECOND_NS = 1_000_000_000


class BreakerState(StrEnum):
    CLOSED = "CLOSED"  # entries pass
    OPEN = "OPEN"  # none does
    HALF_OPEN = "HALF_OPEN"  # one may try
    TRYING = "TRYING"  # it is under way


class BreakerEvent(StrEnum):
    TRIP = "TRIP"  # failures reached the limit
    COOLED = "COOLED"
    TRY = "TRY"
    SUCCEED = "SUCCEED"
    FAIL = "FAIL"


_S, _E = BreakerState, BreakerEvent
#: Read often (see `core`).
CLOSED, PASSING = _S.CLOSED, (_S.CLOSED, _S.HALF_OPEN)
TABLE: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (_S.CLOSED, _E.TRIP): _S.OPEN,
    (_S.CLOSED, _E.FAIL): _S.CLOSED,
    (_S.CLOSED, _E.SUCCEED): _S.CLOSED,
    (_S.OPEN, _E.FAIL): _S.OPEN,
    (_S.OPEN, _E.SUCCEED): _S.OPEN,  # an order sent before it tripped: no proof of health
    (_S.OPEN, _E.COOLED): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.TRY): _S.TRYING,
    (_S.HALF_OPEN, _E.FAIL): _S.OPEN,
    (_S.HALF_OPEN, _E.SUCCEED): _S.HALF_OPEN,
    (_S.TRYING, _E.FAIL): _S.OPEN,
    (_S.TRYING, _E.SUCCEED): _S.CLOSED,
    (_S.TRYING, _E.COOLED): _S.HALF_OPEN,  # the trial ended without an answer (denied, given up)
}


class Breaker:
    """Counts failures of `limits.breaker_window_s`; at `limits.breaker_failures` it opens for the cool-down."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures: deque[int] = deque()
        self.state = BreakerState.CLOSED
        self.since = 0

    def _take(self, event: BreakerEvent, now: int) -> None:
        state = TABLE.get((self.state, event))
        if state is None:
            raise IllegalTransition(f"a circuit breaker that is {self.state} can't take {event}")
        if state is not self.state or event is BreakerEvent.FAIL:
            self.since = now
        self.state = state

    def fail(self, now: int) -> None:
        """An order failed, or a handler raised."""
        self._failures.append(now)
        while self._failures[0] < now - self._limits.breaker_window_s * SECOND_NS:
            self._failures.popleft()
        if self.state is BreakerState.CLOSED and len(self._failures) >= self._limits.breaker_failures:
            self._take(BreakerEvent.TRIP, now)
        else:
            self._take(BreakerEvent.FAIL, now)

    def succeed(self, now: int) -> None:
        """An order was accepted."""
        if self.state is CLOSED:
            return
        if self.state is BreakerState.TRYING:
            self._failures.clear()
        self._take(BreakerEvent.SUCCEED, now)

    def tick(self, now: int) -> None:
        """Time has passed."""
        if self.state in (BreakerState.OPEN, BreakerState.TRYING) and self.cooled(now):
            self._take(BreakerEvent.COOLED, now)

    def cooled(self, now: int) -> bool:
        return now - self.since >= self._limits.breaker_cooldown_s * SECOND_NS

    def trial(self, now: int) -> None:
        """An entry was let through."""
        if self.state is BreakerState.HALF_OPEN:
            self._take(BreakerEvent.TRY, now)

    @property
    def passes(self) -> bool:
        """Whether a new entry may go."""
        return self.state in PASSING

    @property
    def failures(self) -> int:
        """Failures in the window, as last counted."""
        return len(self._failures)
