"""The desk as a widget, what JupyterLab asks before a live kernel goes away, and what a day on one tab costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

#: Times real time.
SPEED = 240
HOURS = 6.0
TAB_MB = 300
#: What six hours may add.
GROWTH_MB = 60


@pytest.fixture
def day(home: Path, bus_url: str) -> Iterator[WrittenSession]:
    """A session that lives its day at SPEED times real time, with ten points of MTM a second of it."""
    session = WrittenSession(home, bus_url, speed=SPEED)
    yield session
    session.stop()


def shown(jupyter: Jupyter, session: WrittenSession) -> str:
    """A notebook whose one cell already shows the desk."""
    bundle = {MIME: {"session": session.id, "part": "desk"}, "text/plain": "desk"}
    cell = nbformat.v4.new_code_cell("session.desk()", outputs=[nbformat.v4.new_output("display_data", bundle)])
    kernel = {"name": "tradealgo-research", "display_name": "TradeAlgo research", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=[cell]), jupyter.work / "day.ipynb")
    return "day.ipynb"


def memory(lab: Lab, collect: bool = True) -> dict[str, float]:
    """The tab in MB: its own process's private and resident memory, and the scripts' heap; garbage collected or not."""
    page = lab.page.context.new_cdp_session(lab.page)
    for _ in range(3 if collect else 0):
        page.send("HeapProfiler.collectGarbage")
        lab.page.wait_for_timeout(500)
    processes = lab.page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    tabs = [psutil.Process(p["id"]).memory_full_info() for p in processes if p["type"] == "renderer"]
    page.send("Performance.enable")
    heap = next(m["value"] for m in page.send("Performance.getMetrics")["metrics"] if m["name"] == "JSHeapUsedSize")
    page.detach()
    largest = max(tabs, key=lambda info: info.uss)
    return {"private": largest.uss / 1e6, "resident": largest.rss / 1e6, "scripts": heap / 1e6}


def test_a_live_kernel_asks_before_a_restart_while_a_session_runs(
    lab: Lab, jupyterlab: Jupyter, written: WrittenSession
) -> None:
    """No leaves everything as it is; yes goes on to JupyterLab's own dialog. A part also works as an ipywidget."""
    asked: list[str] = []
    answers = iter([False, True])

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.accept() if next(answers, False) else dialog.dismiss()

    lab.page.on("dialog", answer)
    name = write_notebook(jupyterlab, "widget.ipynb", [WIDGET.format(id=written.id)], kernel="tradealgo-live")
    lab.open(name).run(0)
    lab.page.wait_for_selector(".widget-slider, .widget-hslider")
    lab.page.wait_for_selector(".jp-OutputArea-output .ta-part-mtm .js-plotly-plot", timeout=20_000)
    lab.page.wait_for_selector(".ta-top-kill:enabled", timeout=20_000)
    lab.shoot("desk-widget")
    pid = lab.kernel_pid()
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.wait_for_timeout(500)
    assert len(asked) == 1
    assert "EmaCross (paper" in asked[0]
    assert lab.page.locator(".jp-Dialog").count() == 0
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.wait_for_selector(".jp-Dialog")
    assert len(asked) == 2
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


@pytest.mark.skipif(not os.environ.get("TRADEALGO_SOAK"), reason="six hours at speed: set TRADEALGO_SOAK=1")
def test_a_day_on_one_tab_stays_light(lab: Lab, jupyterlab: Jupyter, day: WrittenSession) -> None:
    """What the whole JupyterLab tab holds stays under TAB_MB through six hours, and grows little; its garbage is the browser's affair."""
    lab.open(write_notebook(jupyterlab, "empty.ipynb", ["1"]), kernel=False)
    lab.page.wait_for_timeout(3_000)
    empty = memory(lab)
    lab.open(shown(jupyterlab, day), kernel=False)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.wait_for_timeout(1_000)
    begun, peak, deadline = memory(lab), 0.0, time.monotonic() + 2 * HOURS * 3600 / SPEED
    while (lived := minutes(lab, day)) < HOURS * 60 and time.monotonic() < deadline:
        lab.page.wait_for_timeout(1_000)
        peak = max(peak, memory(lab, collect=False)["private"])
    used = memory(lab)
    line = (
        f"{lived:.0f} minutes of a session: tab {used['private']:.0f} MB private (scripts {used['scripts']:.0f}), at most"
        f" {peak:.0f} before garbage was collected; {begun['private']:.0f} when the desk was opened, {empty['private']:.0f}"
        " with an empty notebook"
    )
    print(line)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "desk-day.txt").write_text(f"{line}\n")
    lab.shoot("desk-day")
    assert lived >= HOURS * 60
    assert used["private"] - begun["private"] < GROWTH_MB
    assert used["private"] < TAB_MB
