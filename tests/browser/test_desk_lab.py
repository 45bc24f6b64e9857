"""The desk as a widget, what JupyterLab asks before a live kernel goes away, and what a day on one tab costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_desk import Jupyter, WrittenSession
from lab import ARTEFACTS, Lab, find_chromium, write_notebook

from tradealgo.config import SessionDir
from tradealgo.desk.widgets import MIME
from tradealgo.live.supervisor import is_running, stop_session

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on PATH, or its path in CHROMIUM"),
]

WIDGET = """from ipywidgets import IntSlider, VBox
from tradealgo import attach
from tradealgo.desk import mtm
session = attach({id!r})
VBox([IntSlider(description="fast"), mtm(session).widget()])"""
FORM = """from tradealgo import Market
from tradealgo.desk import launcher
from tradealgo.strategies import EmaCross
form = launcher(EmaCross, ["NSE:INFY"], market=Market(day="2026-11-20", speed=30))
form"""

#: Minutes that the day's test watches at real pace; it is left out without them.
SOAK_MINUTES = float(os.environ.get("TRADEALGO_SOAK") or 0)
#: Times real time, for the six hours before.
SPEED = 120
HOURS = 6.0
#: What a tab may hold at any moment, its garbage included; and what a desk's traffic may be.
TAB_MB = 300
MINUTE_MB = 2.0
#: Gives the page six hours' messages as the server sent them: those of some seconds, again and again, their points later each time.
MESSAGES_AGAIN = """async ([id, seconds, hours]) => {
    const link = window.__tradealgo, take = link.take.bind(link), kept = [];
    link.take = message => { if (message.session === id) kept.push(JSON.stringify(message)); take(message); };
    await new Promise(done => setTimeout(done, seconds * 1000));
    link.take = () => {};
    const total = Math.round(kept.length / seconds * hours * 3600), began = link.models.get(id).mtm.x.at(-1);
    const span = hours * 3600_000 / total;
    window.given = 0;
    (async () => {
        while (window.given < total) {
            for (let n = 0; n < 10; n++) {
                const message = JSON.parse(kept[window.given % kept.length]), at = began + ++window.given * span;
                message.mtm?.forEach((point, i) => { point[0] = at + i; });
                take(message);
            }
            await new Promise(requestAnimationFrame);
        }
    })();
    return total;
}"""


@pytest.fixture
def day(home: Path, bus_url: str) -> Iterator[WrittenSession]:
    """A session that lives its first HOURS at SPEED times real time and goes on at real pace, with ten points of MTM a second."""
    session = WrittenSession(home, bus_url, pace=(SPEED, HOURS * 60))
    yield session
    session.stop()


def shown(jupyter: Jupyter, session: WrittenSession) -> str:
    """A notebook whose one cell already shows the desk."""
    bundle = {MIME: {"session": session.id, "part": "desk"}, "text/plain": "desk"}
    cell = nbformat.v4.new_code_cell("session.desk()", outputs=[nbformat.v4.new_output("display_data", bundle)])
    kernel = {"name": "tradealgo-research", "display_name": "TradeAlgo research", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=[cell]), jupyter.work / "day.ipynb")
    return "day.ipynb"


def held(lab: Lab) -> float:
    """MB that the tab holds: its renderer's private memory, garbage and all, as a task manager shows it."""
    processes = lab.page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    tabs = [psutil.Process(p["id"]).memory_full_info().uss for p in processes if p["type"] == "renderer"]
    return max(tabs) / 1e6


def most(lab: Lab, until: Callable[[], bool], timeout_s: float) -> float:
    """The most MB that the tab held, looked at once a second, until something is so."""
    peak, deadline = held(lab), time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, "waited in vain"
        lab.page.wait_for_timeout(1_000)
        peak = max(peak, held(lab))
    return peak


def test_a_live_kernel_asks_before_a_restart_while_a_session_runs(
    lab: Lab, jupyterlab: Jupyter, written: WrittenSession
) -> None:
    """No leaves everything as it is; yes goes on to JupyterLab's own dialog. A part also works as an ipywidget."""
    name = write_notebook(jupyterlab, "widget.ipynb", [WIDGET.format(id=written.id)], kernel="tradealgo-live")
    lab.open(name).run(0)
    lab.page.wait_for_selector(".widget-slider, .widget-hslider")
    lab.page.wait_for_selector(".jp-OutputArea-output .ta-part-mtm .js-plotly-plot", timeout=20_000)
    lab.page.wait_for_selector(".ta-top-kill:enabled", timeout=20_000)
    lab.shoot("desk-widget")
    pid = lab.kernel_pid()
    question = lab.page.locator(".jp-Dialog:has-text('EmaCross (paper')")
    lab.menu("Kernel", "Restart Kernel…")
    question.locator("button:has-text('Cancel')").click()
    lab.page.wait_for_timeout(500)
    assert lab.page.locator(".jp-Dialog").count() == 0
    lab.menu("Kernel", "Restart Kernel…")
    question.locator("button:has-text('Go on')").click()
    lab.page.wait_for_selector(".jp-Dialog:has-text('Restart Kernel?')")
    assert lab.kernel_pid() == pid


def test_a_form_launches_by_a_click_only(lab: Lab, jupyterlab: Jupyter, home: Path) -> None:
    """Its fields are the strategy's parameters; the click starts a real paper session, and its desk shows below."""
    before = set(home.glob("sessions/*-emacross-*"))
    lab.open(write_notebook(jupyterlab, "form.ipynb", [FORM])).run(0)
    lab.page.wait_for_selector(".jp-OutputArea-output button:has-text('Launch on paper')", timeout=20_000)
    lab.page.get_by_label("fast", exact=True).fill("7")
    lab.page.get_by_label("fast", exact=True).press("Tab")
    assert set(home.glob("sessions/*-emacross-*")) == before
    lab.page.click("button:has-text('Launch on paper')")
    try:
        lab.page.wait_for_selector(".jp-OutputArea-output .ta-desk", timeout=60_000)
        lab.shoot("desk-launcher")
        (started,) = set(home.glob("sessions/*-emacross-*")) - before
        assert SessionDir(started).read_manifest().parameters["fast"] == 7
        assert is_running(SessionDir(started))
    finally:
        for folder in set(home.glob("sessions/*-emacross-*")) - before:
            stop_session(SessionDir(folder))


def minutes(lab: Lab, session: WrittenSession) -> float:
    """Minutes of the session that the page's chart spans."""
    ends = f"(x => x.length ? x.at(-1) - x[0] : 0)(window.__tradealgo.models.get({session.id!r}).mtm.x)"
    return float(lab.page.evaluate(ends)) / 60_000


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not SOAK_MINUTES, reason="six hours at speed, then so many minutes: set TRADEALGO_SOAK=1")
def test_a_day_on_one_tab_stays_light(lab: Lab, jupyterlab: Jupyter, day: WrittenSession) -> None:
    """The tab stays under TAB_MB, garbage and all: through six hours' points, at real pace, and through six hours' messages."""
    lab.open(shown(jupyterlab, day), kernel=False)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    points = most(lab, lambda: minutes(lab, day) >= HOURS * 60, timeout_s=600)
    heard, began, end = lab.heard, time.monotonic(), time.monotonic() + SOAK_MINUTES * 60
    paced = most(lab, lambda: time.monotonic() > end, timeout_s=SOAK_MINUTES * 60 + 60)
    traffic = (lab.heard - heard) / (time.monotonic() - began) * 60 / 1e6
    total = lab.page.evaluate(MESSAGES_AGAIN, [day.id, 10, HOURS])
    messages = most(lab, lambda: lab.page.evaluate("window.given") >= total, timeout_s=1_200)
    line = (
        f"tab at most {points:.0f} MB through six hours' points, {paced:.0f} MB in {SOAK_MINUTES:.0f} min at real pace,"
        f" {messages:.0f} MB through six hours' {total} messages;"
        f" traffic {traffic:.2f} MB a minute at real pace"
    )
    print(line)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "desk-day.txt").write_text(f"{line}\n")
    lab.shoot("desk-day")
    assert max(points, paced, messages) < TAB_MB
    assert 0 < traffic < MINUTE_MB
