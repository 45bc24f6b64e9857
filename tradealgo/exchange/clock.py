"""The data clock: where the market's day stands. Wall time is an argument, so the same calls give the same times."""

from __future__ import annotations


class DataClock:
    """Stands until `start`, then runs at `speed` times the wall clock; never goes back, never passes `end`.

    Args:
        position: UTC nanoseconds of the data time at which it stands.
        speed: data seconds a wall-clock second; 0 means that only `advance` moves it.
        end: UTC nanoseconds of the last moment of the day.
    """

    def __init__(self, position: int, speed: float, end: int) -> None:
        self._position, self.speed, self.end = position, speed, end
        self._anchor: int | None = None

    @property
    def running(self) -> bool:
        return self._anchor is not None

    def start(self, wall: int) -> None:
        """The opening bell, at monotonic wall time `wall` in nanoseconds. A second call changes nothing."""
        if self._anchor is None:
            self._anchor = wall

    def now(self, wall: int) -> int:
        """Data time at wall time `wall`."""
        if self._anchor is not None and wall > self._anchor:
            self._position = min(self.end, self._position + int((wall - self._anchor) * self.speed))
            self._anchor = wall
        return self._position

    def hold(self, wall: int) -> None:
        """Let the wall time up to `wall` pass without moving."""
        if self._anchor is not None:
            self._anchor = max(self._anchor, wall)

    def advance(self, ns: int, wall: int) -> int:
        """Move `ns` forward beside what the wall clock does; returns the new position."""
        self._position = max(self._position, min(self.end, self.now(wall) + max(0, ns)))
        return self._position
