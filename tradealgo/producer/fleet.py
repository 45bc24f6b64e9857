"""The connections together: while one stays dead, the others carry its instruments, as far as the broker gives them room."""

from __future__ import annotations

from tradealgo.domain.state import Level
from tradealgo.producer.connection import Connection
from tradealgo.producer.health import Feed
from tradealgo.producer.news import News
from tradealgo.producer.subscriptions import MAX_PER_CONNECTION, guests

#: A connection that comes back within this is waited for: moving costs each instrument a cached tick and a gap.
MOVE_AFTER_NS = 5_000_000_000


class Fleet:
    """Who carries what. `room` is the broker's limit of instruments a connection."""

    def __init__(
        self, connections: list[Connection], *, room: int = MAX_PER_CONNECTION, move_after_ns: int = MOVE_AFTER_NS
    ) -> None:
        self.connections = connections
        self._room = room
        self._move_after = move_after_ns
        self._down: set[int] = set()

    def _dead(self, now: int) -> set[int]:
        """Connections that have been away for too long. A refused token is no reason: it is the others' token too."""
        return {
            n
            for n, c in enumerate(self.connections)
            if c.health.state is not Feed.DENIED and c.down_since and now - c.down_since > self._move_after
        }

    async def settle(self, now: int) -> list[News]:
        """Move what has to be moved as of wall clock `now` (UTC ns), and back; what people should hear of it."""
        down = self._dead(now)
        if down == self._down or len(self.connections) == 1:
            return []
        homes = [c.intake.tokens for c in self.connections]
        shares = guests(homes, down, self._room)
        for connection, share in zip(self.connections, shares, strict=True):
            if share != connection.intake.guests:
                await connection.carry(share)
        self._down = down
        if not down:
            return [
                News(Level.WARNING, "FEED_MOVED", "every connection carries its own instruments again", resolved=True)
            ]
        names = " and ".join(map(str, sorted(down)))
        orphans, moved = sum(len(homes[n]) for n in down), sum(map(len, shares))
        lacking = f"; {orphans - moved:,} found no room and have no ticks" if moved < orphans else ""
        text = f"connection {names} stays down: {moved:,} of {orphans:,} instruments moved to the others{lacking}"
        return [News(Level.WARNING, "FEED_MOVED", text)]
