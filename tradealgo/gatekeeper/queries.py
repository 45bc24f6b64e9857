"""When to ask the broker's book what: at once when something is unclear, each second while orders work, each minute else."""

from __future__ import annotations

from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.messages import Ask

SECOND_NS = 1_000_000_000
#: Between two questions of any kind: the broker answers 10 a second for the whole account.
GAP_NS = 120_000_000
#: Between two of one kind.
SAME_GAP_NS = 200_000_000
WORKING_NS = SECOND_NS
#: The account's positions while we hold any: somebody else may close them, and no message need tell.
HELD_NS = 2 * SECOND_NS
LONGEST_WAIT_NS = 5 * SECOND_NS
NEVER = 1 << 63
ORDERS, POSITIONS = Query.ORDERS, Query.POSITIONS
_ALL = tuple(Query)  # an enum is slow to iterate, and this is done at every event


class Queries:
    """At most one question of a kind is under way."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due: dict[Query, int] = dict.fromkeys(_ALL, 0)
        self._asked: dict[Query, int] = dict.fromkeys(_ALL, 0)
        self._failures: dict[Query, int] = dict.fromkeys(_ALL, 0)
        self._under_way: set[Query] = set()
        self._last = 0
        # Nothing is due before it, unless more is at stake by then than was when it was found out
        self._quiet_until = 0
        self._saw_orders = self._saw_positions = False
        self._routine = int(context.limits.reconcile_s * SECOND_NS)
        self._shortest = min(WORKING_NS, self._routine)

    def want(self, *queries: Query, at: int = 0) -> None:
        """Ask these as soon as the gaps allow, or from `at` on."""
        for query in queries:
            self._due[query] = min(self._due[query], at or self._context.now)
        self._quiet_until = 0

    def answered(self, query: Query) -> None:
        """An answer came; the next question is due by the routine."""
        if query in self._under_way or self._failures[query]:
            self._under_way.discard(query)
            self._failures[query] = self._quiet_until = 0

    def failed(self, query: Query) -> None:
        """None came: try again, more and more slowly."""
        self._under_way.discard(query)
        self._failures[query] += 1
        wait = min(SECOND_NS // 4 << min(self._failures[query], 8), LONGEST_WAIT_NS)
        self._due[query] = self._context.now + wait
        self._quiet_until = 0

    def failures(self, query: Query) -> int:
        """In a row."""
        return self._failures[query]

    def _pause(self, query: Query) -> int:
        """Between two questions of a kind while something is at stake."""
        book = self._context.book
        if query is ORDERS and book.working:
            return WORKING_NS
        if query is POSITIONS and (held := book.open_tokens()):
            return WORKING_NS if any(book.is_blind(t, self._context.now) for t in held) else HELD_NS
        return self._routine

    def pump(self) -> None:
        """Ask what is due."""
        now, book = self._context.now, self._context.book
        more_at_stake = (not self._saw_orders and book.working) or (not self._saw_positions and book.holds_any)
        if now < self._quiet_until and not more_at_stake:
            return
        self._saw_orders, self._saw_positions = bool(book.working), book.holds_any
        may_ask, earliest = now - self._last >= GAP_NS, NEVER
        for query in _ALL:
            if query in self._under_way:
                continue
            possible = self._earliest(query)
            if may_ask and now >= possible and self._is_due(query, now):
                self._due[query] = now + self._routine
                self._asked[query] = self._last = now
                self._under_way.add(query)
                self._context.commands.append(Ask(query))
                self._quiet_until, self._saw_orders, self._saw_positions = now + GAP_NS, True, True
                return
            if possible < earliest:
                earliest = possible
        self._quiet_until = max(self._last + GAP_NS, earliest)

    def _earliest(self, query: Query) -> int:
        """Before this it can't be due."""
        asked, due = self._asked[query], self._due[query]
        if not self._failures[query]:
            pressing = self._saw_orders if query is ORDERS else self._saw_positions and query is POSITIONS
            routine = asked + (self._shortest if pressing else self._routine)
            due = due if due < routine else routine
        return max(asked + SAME_GAP_NS, due)

    def _is_due(self, query: Query, now: int) -> bool:
        since = now - self._asked[query]
        if since < SAME_GAP_NS:
            return False
        if now >= self._due[query]:
            return True
        if self._failures[query] or since < self._shortest:
            return False
        return since >= min(self._pause(query), self._routine)
