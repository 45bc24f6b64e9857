"""Parity: a backtest and a session on the same candles must say the same and ask for the same, field by field."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import ParityBroken
from tradealgo.domain.hours import ist_text
from tradealgo.domain.orders import OrderRequest
from tradealgo.domain.shown import many
from tradealgo.domain.signals import SignalRecord

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.research.backtest import Backtest

#: When and where a message was made, not what it says.
STAMPS = frozenset({"session_id", "ts_event", "ts_init", "ts_closed", "ts_signalled", "ts_requested"})


class Difference(NamedTuple):
    """One field of one message; `field` is "missing" where only one side has the message (the other's value is None)."""

    what: str  # "signal" or "order request"
    instrument: str
    start: int
    field: str
    backtest: Any
    session: Any


class Parity:
    """What a comparison found: `signals` and `requests` are the numbers compared (the greater side's)."""

    def __init__(self, signals: int, requests: int, differences: list[Difference]) -> None:
        self.signals = signals
        self.requests = requests
        self.differences = differences

    @property
    def text(self) -> str:
        """The line that the demo prints."""
        differences = many(len(self.differences), "difference")
        return f"parity: {self.signals} signals, {self.requests} order requests, {differences}"

    @property
    def table(self) -> pd.DataFrame:
        """One row a difference, times in IST."""
        import pandas as pd

        rows = [d._replace(start=ist_text(d.start, "%Y-%m-%d %H:%M:%S")) for d in self.differences]  # type: ignore[arg-type]
        return pd.DataFrame(rows, columns=Difference._fields)

    def check(self) -> Parity:
        """Returns itself. Raises ParityBroken, with the first differences."""
        if self.differences:
            first = "; ".join(
                f"{d.instrument} {ist_text(d.start, '%H:%M')} {d.what} {d.field}: backtest {d.backtest!r}, session {d.session!r}"
                for d in self.differences[:3]
            )
            raise ParityBroken(f"{self.text}: {first}")
        return self

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<b>{self.text}</b>" + (self.table.to_html(index=False) if self.differences else "")


def parity(
    backtest: Backtest, session_signals: Iterable[SignalRecord], session_requests: Iterable[OrderRequest],
    until_ns: int | None = None,
) -> Parity:  # fmt: skip
    """Hold a session's signals and order requests against a backtest's.

    Args:
        until_ns: compare only candles that ended by then (UTC ns), for a session that was stopped or killed before the
            candles end; None compares all.
    """
    keys = {r.instrument.instrument_token: r.instrument.key for r in backtest.runs}
    width = {r.instrument.instrument_token: r.data.interval * SECOND_NS for r in backtest.runs}

    def counts(message: Any) -> bool:
        end = message.start + width.get(message.instrument_token, 0)
        return until_ns is None or end <= until_ns

    signals = list(filter(counts, backtest.signal_records)), list(filter(counts, session_signals))
    requests = list(filter(counts, backtest.request_records)), list(filter(counts, session_requests))
    found = _compare("signal", signals, keys, lambda s: (s.start, s.instrument_token))
    found += _compare("order request", requests, keys, lambda r: (r.start, r.instrument_token, _leg(r)))
    return Parity(max(map(len, signals)), max(map(len, requests)), found)


def _leg(request: OrderRequest) -> str:
    return request.request_id.rpartition(":")[2]


def _compare(
    what: str, sides: tuple[list[Any], list[Any]], keys: dict[int, str], name: Callable[[Any], Hashable]
) -> list[Difference]:
    ours, theirs = sides
    left, right = {name(m): m for m in ours}, {name(m): m for m in theirs}
    found = _repeated(what, ours, left, keys, name, "backtest") + _repeated(what, theirs, right, keys, name, "session")
    for key in sorted(left.keys() | right.keys()):  # type: ignore[type-var]
        a, b = left.get(key), right.get(key)
        one: Any = a if a is not None else b
        where = (what, keys.get(one.instrument_token, str(one.instrument_token)), one.start)
        if a is None or b is None:
            found.append(Difference(*where, "missing", a and "present", b and "present"))
        else:
            found += [Difference(*where, *d) for d in _fields(a, b)]
    return found


def _repeated(
    what: str,
    messages: list[Any],
    unique: dict[Any, Any],
    keys: dict[int, str],
    name: Callable[[Any], Hashable],
    side: str,
) -> list[Difference]:
    """A message that came twice is a difference of its own."""
    if len(messages) == len(unique):
        return []
    seen: set[Hashable] = set()
    found = []
    for m in messages:
        if name(m) in seen:
            pair = ("repeated", None) if side == "backtest" else (None, "repeated")
            found.append(Difference(what, keys.get(m.instrument_token, ""), m.start, "repeated", *pair))
        seen.add(name(m))
    return found


def _fields(a: Any, b: Any) -> list[tuple[str, Any, Any]]:
    left, right = _said(a), _said(b)
    return [(f, left[f], right[f]) for f in left if not _same(left[f], right[f])]


def _said(message: Any) -> dict[str, Any]:
    fields = {n: v for n, v in msgspec.structs.asdict(message).items() if n not in STAMPS}
    if isinstance(message, OrderRequest):
        fields["request_id"] = message.request_id.removeprefix(message.session_id)
    return fields


def _same(a: Any, b: Any) -> bool:
    return a == b or (a != a and b != b)
