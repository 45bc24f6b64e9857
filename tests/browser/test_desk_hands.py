"""What hands do to the desk: a thumb that scrolls, keys alone, a question left open, a window too small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_desk import TOKEN, Jupyter, WrittenSession
from lab import Lab, find_chromium, write_notebook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on PATH, or its path in CHROMIUM"),
]

#: Longer than any hold, by the page's own timers: one that stood still meanwhile has its hold's before this.
LONG = "new Promise(done => setTimeout(done, 900))"
SHOW = "from tradealgo import attach\nattach({id!r}).desk()"


@pytest.fixture
def phone(browser: Any, server: Jupyter, written: WrittenSession) -> Iterator[Any]:
    """The panel on a phone, its session armed."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{server.url}/tradealgo/panel?token={TOKEN}#{written.id}")
    page.wait_for_selector(".ta-says:has-text('Armed')", timeout=30_000)
    page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    yield page
    context.close()


def touch(page: Any, moves: int) -> None:
    """A thumb put on the kill button and drawn upwards in so many steps; left there for longer than a hold, or until it acts."""
    box = page.locator(".ta-kill-button").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    wire = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})

    send("touchStart", (x, y))
    for step in range(1, moves + 1):
        send("touchMove", (x, y - 25 * step))
    if moves:
        page.evaluate(LONG)
    else:
        page.wait_for_function("window.__tradealgo.last", timeout=10_000)
    send("touchEnd")


def test_a_thumb_that_scrolls_kills_nothing_and_one_that_stays_does(phone: Any, written: WrittenSession) -> None:
    """The button is as wide as a phone: drawn off it, the page scrolls and nothing was asked; held, the session is killed."""
    touch(phone, moves=8)
    assert phone.evaluate("window.__tradealgo.last") is None
    assert not written.folder.kill_flag.exists()
    assert phone.evaluate("scrollY") > 0
    phone.locator(".ta-kill-button").scroll_into_view_if_needed()
    touch(phone, moves=0)
    phone.wait_for_selector(".ta-kill[data-tone='good']", timeout=15_000)


def test_a_mouse_drawn_off_the_button_kills_nothing(phone: Any) -> None:
    """Who thinks better of it moves away before the half second is over."""
    phone.locator(".ta-kill-button").hover()
    phone.mouse.down()
    phone.mouse.move(10, 10)
    phone.evaluate(LONG)
    phone.mouse.up()
    assert phone.evaluate("window.__tradealgo.last") is None


def open_desk(lab: Lab, jupyterlab: Jupyter, session: WrittenSession, name: str) -> None:
    lab.open(write_notebook(jupyterlab, name, [SHOW.format(id=session.id)])).run(0)
    lab.page.wait_for_selector(".ta-desk .ta-says:has-text('Armed')", timeout=30_000)


def test_a_question_leaves_the_page_and_the_hotkey_alive(
    lab: Lab, jupyterlab: Jupyter, written: WrittenSession
) -> None:
    """Halt asks in the page: figures go on, the notebook's own keys don't take what is typed, and the hotkey kills."""
    open_desk(lab, jupyterlab, written, "question.ipynb")
    lab.page.locator(".ta-halt:visible").first.focus()
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_selector(".ta-ask:visible")
    points = f"window.__tradealgo.models.get({written.id!r}).mtm.x.length"
    before = lab.page.evaluate(points)
    lab.page.keyboard.type("dd b looked at it")
    assert lab.page.locator(".ta-ask input").first.input_value() == "dd b looked at it"
    lab.wait_for(lambda: lab.page.evaluate(points) > before, "new points")
    lab.hold_hotkey()
    lab.page.wait_for_selector(".ta-desk .ta-kill[data-tone='good']", timeout=15_000)
    assert lab.page.locator(".ta-ask:visible").count() == 0  # a killed session isn't halted


def test_keys_alone_rearm_with_a_reason(lab: Lab, jupyterlab: Jupyter, written: WrittenSession) -> None:
    """Tab and held Space kill; Enter asks, takes no empty reason, and re-arms; Escape takes nothing."""
    open_desk(lab, jupyterlab, written, "keys.ipynb")
    page = lab.page
    page.locator(".ta-halt:visible").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".ta-ask:visible")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "ta-action ta-halt"
    page.keyboard.press("Shift+Tab")
    lab.hold_keys("Space")
    page.locator(".ta-rearm:visible").first.wait_for(timeout=15_000)
    page.locator(".ta-rearm:visible").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".ta-ask:visible")
    page.keyboard.press("Enter")
    assert page.locator(".ta-ask:visible").count() == 1
    page.keyboard.type("drill")
    page.keyboard.press("Enter")
    page.wait_for_selector(".ta-desk .ta-says:has-text('Armed')", timeout=15_000)


@pytest.mark.parametrize("width", [400, 683])
def test_a_small_window_keeps_the_top_bars_kill(
    lab: Lab, jupyterlab: Jupyter, written: WrittenSession, width: int
) -> None:
    """At 400 px, and at 200 % of a 1366 px screen: the menu gives way, never the kill."""
    lab.open(write_notebook(jupyterlab, "small.ipynb", ["1"]), kernel=False)
    lab.page.set_viewport_size({"width": width, "height": 700})
    lab.page.wait_for_selector(".ta-top-kill:enabled", timeout=20_000)
    box = lab.page.locator(".ta-top-kill").bounding_box()
    assert 0 < box["x"] < box["x"] + box["width"] <= width
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert lab.page.evaluate("([x, y]) => !!document.elementFromPoint(x, y).closest('.ta-top-kill')", [x, y])
