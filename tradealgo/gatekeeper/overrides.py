"""Who says that trading must be stricter than ACTIVE, and why: the strictest wins."""

from __future__ import annotations

from tradealgo.domain.state import TradingState, strictest
from tradealgo.gatekeeper.context import Context
from tradealgo.gatekeeper.messages import Kind, Override

#: Overrides that outlive a restart; the others are found out anew.
LASTING = frozenset({"person", "doubled"})


class Overrides:
    """One say a source: "person", "bus", "login", "start", "reconciliation", "doubled", "exits", "unsettled"."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: dict[str, Override] = {}
        self.trading = TradingState.ACTIVE  # the strictest of all
        self.reasons = ""  # all of them, as one text

    def __contains__(self, source: str) -> bool:
        return source in self._found

    def restore(self, message: Override) -> None:
        """Take the journal's word; the last one may be that it was lifted."""
        if message.source not in LASTING:
            return
        self._found.pop(message.source, None)
        if message.state is not TradingState.ACTIVE:
            self._found[message.source] = message
        self._combine()

    def put(self, source: str, state: TradingState, reason: str) -> None:
        """Take a source's say; recorded where it changes the state."""
        before = self._found.get(source)
        if before is None or before.state is not state:
            override = Override(source=source, state=state, reason=reason, ts=self._context.now)
            self._found[source] = override
            self._combine()
            self._context.record(Kind.OVERRIDE, override)

    def lift(self, source: str) -> None:
        """End a source's say, if it has one."""
        if self._found.pop(source, None) is not None:
            self._combine()
            over = Override(source=source, state=TradingState.ACTIVE, ts=self._context.now)
            self._context.record(Kind.OVERRIDE, over)

    def _combine(self) -> None:
        self._context.is_state_told = False
        self.trading = strictest(*(o.state for o in self._found.values()))
        self.reasons = "; ".join(o.reason for o in self._found.values())

    def is_halted_by(self, source: str) -> bool:
        """Whether this source says HALTED."""
        return source in self._found and self._found[source].state is TradingState.HALTED
