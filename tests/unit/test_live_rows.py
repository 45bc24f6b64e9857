"""Tables of a session's messages, as a cell shows them."""

from __future__ import annotations

from typing import Any

import pytest
from test_desk_view import make_fill, make_order

from tradealgo.bus.codec import MESSAGE_TYPES
from tradealgo.bus.keys import Stream
from tradealgo.domain.orders import OrderState
from tradealgo.domain.state import Alert, Level, Module
from tradealgo.journal.frames import frame
from tradealgo.live.rows import COLUMNS, SHOWN, Rows


def rows(stream: Stream, items: list[Any]) -> Rows[Any]:
    return Rows(items, lambda some: frame(stream, some))


def test_a_cell_shows_what_people_look_for() -> None:
    """Instrument, side, quantity, state first and no identities of machines; `.df()` has every field."""
    orders = rows(Stream.ORDERS, [make_order(OrderState.FILLED)])
    html = orders._repr_html_()
    assert html.index("instrument") < html.index("quantity") < html.index("state") < html.index("tag")
    assert "request_id" not in html
    assert "more columns in .df()" in html
    assert "request_id" in orders.df()


def test_what_an_alert_says_isnt_cut() -> None:
    """Its end is often the mend."""
    text = "the broker refused it " * 20 + "so look there"
    alert = Alert(level=Level.CRITICAL, module=Module.GATEKEEPER, code="X", text=text, ts=1_795_146_300_123_456_789)
    html = rows(Stream.ALERTS, [alert])._repr_html_()
    assert "so look there" in html
    assert "09:15:00+05:30" in html


def test_the_last_rows_have_their_own_numbers() -> None:
    """Of more rows than are shown the first shown isn't number 0: `orders[7]` is row 7."""
    shown, _ = rows(Stream.ORDERS, [make_order(OrderState.FILLED)] * (SHOWN + 5))._shown()
    assert list(shown.index) == list(range(5, SHOWN + 5))
    assert "25 rows, the last 20 shown" in repr(rows(Stream.ORDERS, [make_order(OrderState.FILLED)] * (SHOWN + 5)))
    assert repr(rows(Stream.FILLS, [])) == "[]"
    assert "100" in repr(rows(Stream.FILLS, [make_fill("t1")]))


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_the_columns_are_those_of_the_message(name: str) -> None:
    """A field that is renamed must be renamed there too; `instrument` is put in by token where a message has only that."""
    (message,) = [m for m in MESSAGE_TYPES.values() if m.__name__ == name]
    assert set(COLUMNS[name]) - {"instrument"} <= set(message.__struct_fields__)
