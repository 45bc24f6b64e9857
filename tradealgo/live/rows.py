"""A list that a cell shows as a table: what a session's orders, fills, signals and the like come as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

#: Rows that a cell shows.
SHOWN = 20


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
        return self._count() + self._frame(self[-SHOWN:]).to_html(notebook=True)

    def __repr__(self) -> str:
        return f"{self._frame(self[-SHOWN:]).to_string()}\n{self._count()}" if self else "[]"

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
