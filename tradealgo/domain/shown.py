"""How a single message looks in a cell or a terminal: its facts in two columns, with IST times and rupees."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from tradealgo.domain.hours import ist_text


def many(count: int, name: str) -> str:
    """So many of something, as people write it: "1 order", "2,000 orders"."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


class Shown:
    """Mixin of messages: HTML for a notebook, lines for a terminal. Fields that still have their default aren't shown."""

    __slots__ = ()

    #: Fields in paise, and properties worth showing besides the fields.
    PAISE = frozenset[str]()
    BESIDES = tuple[str, ...]()

    def _facts(self) -> Iterator[tuple[str, str]]:
        for field in msgspec.structs.fields(type(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.required or value != field.default:
                yield field.name, self._said(field.name, value)
        for name in self.BESIDES:
            yield name, self._said(name, getattr(self, name))

    def _said(self, name: str, value: Any) -> str:
        if name in self.PAISE:
            return f"Rs {value / 100:,.2f}"
        if (name in ("start", "ts") or name.startswith("ts_")) and isinstance(value, int):
            return ist_text(value, "%d %b %Y %H:%M:%S IST") if value else "–"
        if isinstance(value, enum.Enum):
            return str(value.value)
        return f"{value:,.2f}" if isinstance(value, float) else str(value)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left;opacity:.65'>{escape(n.replace('_', ' '))}</td>"
            f"<td style='text-align:left'>{escape(v)}</td></tr>"
            for n, v in self._facts()
        )
        return f"<b>{type(self).__name__}</b><table>{rows}</table>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        facts = list(self._facts())
        width = max((len(n) for n, _ in facts), default=0)
        printer.text("\n".join([type(self).__name__, *(f"  {n:<{width}}  {v}" for n, v in facts)]))
