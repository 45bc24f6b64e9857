"""A list that a cell shows as a table: what a session's orders, fills, signals and the like come as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from tradealgo.domain.shown import many

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

#: Rows that a cell shows.
SHOWN = 20
#: Columns that a cell shows of messages that have more of them than a screen has room for, what matters most first.
COLUMNS: dict[str, tuple[str, ...]] = {
    "Order": ("instrument", "side", "quantity", "filled_quantity", "price", "average_price", "intent", "state", "text", "ts_event", "tag"),
    "OrderRequest": ("instrument", "side", "quantity", "position_after", "reference_price", "intent", "reason", "start"),
    "Verdict": ("instrument", "code", "text", "ts"),
    "Fill": ("instrument", "side", "quantity", "price", "tag"),
    "ClosedCandle": ("instrument", "open", "high", "low", "close", "volume", "oi"),
    "SignalRecord": ("instrument", "target", "stop", "reason", "close"),
    "MtmPoint": ("mtm", "realised", "unrealised", "charges", "drawdown", "limit"),
    "Alert": ("ts", "level", "module", "text", "resolved"),
}  # fmt: skip


class Rows(list[T]):
    """Messages of one kind, oldest first. `.df()` is the same as a DataFrame.

    >>> session.orders[-1].state  # doctest: +SKIP
    <OrderState.FILLED: 'FILLED'>
    """

    def __init__(self, items: Iterable[T], frame: Callable[[list[T]], Any]) -> None:
        super().__init__(items)
        self._frame = frame

    def df(self) -> pd.DataFrame:
        """All rows, with IST times and rupees."""
        return self._frame(self)

    def _repr_html_(self) -> str:
        import pandas as pd

        shown, left_out = self._shown()
        with pd.option_context("display.max_colwidth", None):  # what an alert says is its point
            return self._count() + left_out + shown.to_html(notebook=True)

    def __repr__(self) -> str:
        if not self:
            return "[]"
        shown, left_out = self._shown()
        return f"{shown.to_string()}\n{self._count()}{left_out}"

    def _shown(self) -> tuple[pd.DataFrame, str]:
        """The last rows with the columns that people look for, times to the second; and a word on the rest."""
        whole = self._frame(self[-SHOWN:])
        names = COLUMNS.get(type(self[-1]).__name__, ()) if self else ()
        table = whole[[n for n in names if n in whole]].copy() if names else whole.copy()
        for name in table.select_dtypes("datetimetz"):
            table[name] = table[name].dt.floor("s")
        if whole.index.name is None:
            table.index = range(len(self) - len(whole), len(self))  # by which the list has them
        left_out = len(whole.columns) - len(table.columns)
        return table, f"; {many(left_out, 'more column')} in .df()" if left_out else ""

    def _count(self) -> str:
        return f"{len(self)} rows" + (f", the last {SHOWN} shown" if len(self) > SHOWN else "")


class Text(str):
    """Text that a cell shows as it is, line by line."""

    def __repr__(self) -> str:
        return str(self)


class Link(Text):
    """A file's path, as a link to it in a notebook."""

    def _repr_html_(self) -> str:
        return f'<a href="{escape(self)}" target="_blank">{escape(self)}</a>'


def some(keys: Sequence[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(keys) if len(keys) <= most else f"{', '.join(keys[:most])} and {len(keys) - most} more"
