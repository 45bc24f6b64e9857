"""What a tab is told: whole first, then differences, and never more than a fresh one."""

from __future__ import annotations

import json
from typing import Any

from test_desk_view import BOOK, make_fill, make_order, make_point, make_view

from tradealgo.bus.keys import Stream
from tradealgo.bus.redis_bus import Entry
from tradealgo.desk.picture import picture, rupees, text
from tradealgo.desk.tab import MTM_POINTS, SLOW_NS, Tab
from tradealgo.domain.orders import OrderState
from tradealgo.live.view import SessionView


def shot(view: SessionView) -> dict[str, Any]:
    return view.snapshot(now=1, book=BOOK)


def add_points(view: SessionView, first: int, count: int) -> None:
    for i in range(first, first + count):
        view.apply(Entry(Stream.MTM, b"%d-0" % i, make_point(i * 10**6, -i)))


def test_first_whole_then_only_news() -> None:
    """A fresh tab gets everything; the next message holds the new points and figures, and silence is None."""
    view = make_view()
    add_points(view, 1, 10)
    tab = Tab(view)
    whole = tab.message(shot(view), 1)
    assert whole is not None
    assert whole["full"]
    assert len(whole["mtm"]) == 10
    assert tab.message(shot(view), 2) is None
    add_points(view, 11, 2)
    news = tab.message(shot(view), 3)
    assert news is not None
    assert len(news["mtm"]) == 2
    assert set(news["set"]) == {"mtm"}


def test_a_slow_tab_misses_points_not_extremes() -> None:
    """What a tab missed in a long pause fits one message, its lowest point included."""
    view = make_view()
    tab = Tab(view)
    tab.message(shot(view), 1)
    add_points(view, 1, 20_000)
    news = tab.message(shot(view), 2)
    assert news is not None
    assert len(news["mtm"]) <= MTM_POINTS + 2
    assert min(p[1] for p in news["mtm"]) == -200.0
    assert len(json.dumps(news)) < 200_000


def test_orders_are_told_by_row() -> None:
    """An order is told when it changes; the others of the table are not told again."""
    view = make_view()
    tab = Tab(view)
    view.apply(Entry(Stream.ORDERS, b"1-0", make_order(OrderState.OPEN)))
    assert tab.message(shot(view), 1)["orders"][0]["state"] == "OPEN"  # type: ignore[index]
    view.apply(Entry(Stream.FILLS, b"1-0", make_fill("t1")))
    news = tab.message(shot(view), 2)
    assert news is not None
    assert "orders" not in news
    assert news["fills"][0]["price"] == 100.0
    view.apply(Entry(Stream.ORDERS, b"2-0", make_order(OrderState.FILLED)))
    assert tab.message(shot(view), 3)["orders"][0]["state"] == "FILLED"  # type: ignore[index]


def test_slow_sections_wait_their_second() -> None:
    """Heartbeat ages change all the time: they are told once a second, the trading state at once."""
    view = make_view()
    tab = Tab(view)
    tab.message(shot(view), 1)
    changed = shot(view) | {"health": {"bus": {}}, "trading": "HALTED"}
    assert set(tab.message(changed, 2)["set"]) == {"trading"}  # type: ignore[index]
    assert set(tab.message(changed, SLOW_NS + 2)["set"]) == {"health"}  # type: ignore[index]


def test_rupees_are_grouped_as_in_india() -> None:
    """Lakhs and crores."""
    assert rupees(12345678.4) == "₹1,23,45,678"
    assert rupees(-999) == "−₹999"
    assert rupees(None) == "–"


def test_a_still_shows_the_figures_and_escapes() -> None:
    """The picture of a kept output has the chart, the figures and no markup of an instrument's or person's making."""
    view = make_view()
    add_points(view, 1, 50)
    view.apply(Entry(Stream.FILLS, b"1-0", make_fill("t1")))
    figures = shot(view) | {"strategy": "<script>x"}
    html = picture(figures, view.mtm, "desk")
    assert "<svg" in html
    assert "polyline" in html
    assert "PAPER" in html
    assert "<script>" not in html
    assert "kill at −₹2,000" in text(figures)


def test_a_still_says_in_words_how_it_ended() -> None:
    """What is flat, who tripped the kill switch, and why an order was denied."""
    view = make_view()
    view.apply(Entry(Stream.FILLS, b"1-0", make_fill("t1")))
    row = shot(view)["positions"][0] | {"quantity": 0, "average_price": 0.0, "pnl": -158.7}
    order = {
        "instrument": "NSE:INFY",
        "side": "BUY",
        "quantity": 1,
        "filled_quantity": 0,
        "average_price": 0.0,
        "intent": "ENTRY",
    }
    figures = shot(view) | {
        "kill": "LOCKED", "flat_s": 0.69, "cause": "PERSON", "positions": [row],
        "orders": [order | {"state": "DENIED", "text": "no price < 5 s"}],
    }  # fmt: skip
    html = picture(figures, view.mtm, "desk")
    for said in ("flat in 0.69 s", "tripped by a person", "<td>flat</td>", "−₹159", "DENIED: no price &lt; 5 s"):
        assert said in html
    assert "<td>0.00<" not in html
