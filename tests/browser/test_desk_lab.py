"""The desk as a widget, what JupyterLab asks before a live kernel goes away, and what a day on one tab costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_desk import Jupyter, WrittenSession
from lab import ARTEFACTS, Lab, find_chromium, write_notebook

from tradealgo.desk.widgets import MIME

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

#: Times real time.
SPEED = 240
HOURS = 6.0
TAB_MB = 300
MINUTE_MB = 2.0


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


def memory(lab: Lab) -> dict[str, float]:
    """The tab in MB, its garbage collected: its own process's private and resident memory, the scripts' heap."""
    page = lab.page.context.new_cdp_session(lab.page)
    page.send("HeapProfiler.collectGarbage")
    processes = lab.page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    tabs = [psutil.Process(p["id"]).memory_full_info() for p in processes if p["type"] == "renderer"]
    page.send("Performance.enable")
    heap = next(m["value"] for m in page.send("Performance.getMetrics")["metrics"] if m["name"] == "JSHeapUsedSize")
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


@pytest.mark.skipif(not os.environ.get("TRADEALGO_SOAK"), reason="six hours at speed: set TRADEALGO_SOAK=1")
def test_a_day_on_one_tab_stays_light(lab: Lab, jupyterlab: Jupyter, day: WrittenSession) -> None:
    """The tab stays under 300 MB, and under 2 MB a minute even at many times the pace of a real day."""
    heard = {"bytes": 0}

    def listen(socket: Any) -> None:
        if "/tradealgo/stream" in socket.url:
            socket.on("framereceived", lambda data: heard.update(bytes=heard["bytes"] + len(data)))

    lab.page.on("websocket", listen)
    lab.open(shown(jupyterlab, day), kernel=False)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    begun = memory(lab)
    wait_s = HOURS * 3600 / SPEED
    lab.page.wait_for_timeout(wait_s * 1000)
    session = f"window.__tradealgo.models.get({day.id!r})"
    points = lab.page.evaluate(f"{session}.mtmCount")
    first, last = lab.page.evaluate(f"(x => [x[0], x.at(-1)])({session}.mtm.x)")
    minutes = (last - first) / 60_000
    used = memory(lab)
    rate = heard["bytes"] / minutes / 1e6
    line = (
        f"{minutes:.0f} minutes of a session in {wait_s:.0f} s, {points} points: tab {used['private']:.0f} MB private"
        f" ({used['resident']:.0f} resident, scripts {used['scripts']:.0f}), {begun['private']:.0f} at the start; {rate:.3f} MB a minute of the session"
    )
    print(line)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "desk-day.txt").write_text(f"{line}\n")
    lab.shoot("desk-day")
    assert minutes > HOURS * 60 * 0.5
    assert used["private"] < TAB_MB
    assert rate < MINUTE_MB
