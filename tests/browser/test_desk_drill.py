"""The kill drill: whatever the kernel, the page or the notebook is at, the kill reaches the session and is seen to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_desk import TOKEN, Jupyter, WrittenSession
from lab import FLAGS, VIEWPORT, Lab, find_chromium, write_notebook

from tradealgo.bus.codec import decode
from tradealgo.bus.keys import Stream, stream_key
from tradealgo.bus.redis_bus import connect_blocking

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on PATH, or its path in CHROMIUM"),
]

SHOW = "from tradealgo.live.session import attach\nsession = attach({id!r})\nsession.desk()"
REACHES_S = 0.3
FLAT_S = 3.0


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Jupyter]:
    jupyter = Jupyter(tmp_path_factory.mktemp("jupyterlab"), home, "lab")
    try:
        yield jupyter.wait()
    finally:
        jupyter.stop()


@pytest.fixture(scope="module")
def session(home: Path, bus_url: str) -> Iterator[WrittenSession]:
    written = WrittenSession(home, bus_url)
    yield written
    written.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def lab(browser: Any, jupyterlab: Jupyter) -> Iterator[Lab]:
    """A fresh tab; afterwards no request has left loopback, and no script has failed."""
    context = browser.new_context(viewport=VIEWPORT)
    lab = Lab(context.new_page(), jupyterlab)
    yield lab
    context.close()
    for kernel in jupyterlab.http("GET", "/api/kernels", token=TOKEN)[1]:
        jupyterlab.http("DELETE", f"/api/kernels/{kernel['id']}", token=TOKEN)
    assert not lab.strange
    assert not lab.errors


def arm(jupyter: Jupyter, session: WrittenSession) -> None:
    """Wait until the session is armed, re-arming it if the last drill left it locked."""
    deadline = time.monotonic() + 20
    while True:
        status, shot = jupyter.http("GET", f"/tradealgo/status?session={session.id}", token=TOKEN)
        if status == 200 and shot.get("kill") == "ARMED":
            return
        if status == 200 and shot.get("kill") == "LOCKED":
            body = {"session": session.id, "reason": "next drill"}
            jupyter.http("POST", "/tradealgo/control/rearm", body, token=TOKEN)
        assert time.monotonic() < deadline, f"the session can't be armed: {shot}"
        time.sleep(0.2)


def tripped_at(session: WrittenSession, bus_url: str) -> float:
    """When the Gatekeeper last said that the kill tripped (wall clock, s)."""
    with connect_blocking(bus_url) as client:
        rows: Any = client.xrevrange(stream_key(session.id, Stream.STATE), count=20)
    return max(decode(Stream.STATE, fields).ts_tripped for _, fields in rows) / 1e9


def kernel_trouble(lab: Lab, trouble: str) -> int:
    """Bring the kernel into a state; the pid of one that is to be continued afterwards, else 0."""
    pid = lab.kernel_pid()
    if trouble in ("busy", "GIL held"):
        lab.run(1, wait=False)
        lab.page.wait_for_timeout(500)
    elif trouble == "stopped":
        os.kill(pid, signal.SIGSTOP)
        return pid
    elif trouble == "killed":
        os.kill(pid, signal.SIGKILL)
    elif trouble == "shut down":
        lab.jupyter.http("DELETE", f"/api/kernels/{lab.kernel_id()}", token=TOKEN)
        lab.page.wait_for_timeout(500)
    return 0


BUSY = {"busy": "import time\ntime.sleep(20)", "GIL held": "n = 3**60_000_000"}


@pytest.mark.parametrize("trouble", ["idle", "busy", "GIL held", "stopped", "killed", "shut down"])
def test_the_kill_works_whatever_the_kernel_does(
    lab: Lab, jupyterlab: Jupyter, session: WrittenSession, bus_url: str, trouble: str
) -> None:
    """The widget's button reaches the Gatekeeper at once, and the page shows it verified flat."""
    arm(jupyterlab, session)
    name = write_notebook(
        jupyterlab, f"{trouble.replace(' ', '-')}.ipynb", [SHOW.format(id=session.id), BUSY.get(trouble, "1")]
    )
    lab.open(name).run(0)
    lab.page.wait_for_selector(".ta-kill-button:enabled", timeout=20_000)
    stopped = kernel_trouble(lab, trouble)
    try:
        press = lab.hold_hotkey() if trouble == "killed" else lab.hold(".ta-kill-button")
        lab.page.wait_for_selector(".ta-kill[data-tone='good']", timeout=FLAT_S * 1000)
        shown = time.time() - press
    finally:
        if stopped:
            os.kill(stopped, signal.SIGCONT)
    lab.shoot(f"kill-{trouble.replace(' ', '-')}")
    assert shown < FLAT_S
    assert tripped_at(session, bus_url) - press < REACHES_S


def test_the_hotkey_works_under_a_modal_dialog(
    lab: Lab, jupyterlab: Jupyter, session: WrittenSession, bus_url: str
) -> None:
    """The restart dialog blocks every button of the page, but not the hotkey."""
    arm(jupyterlab, session)
    lab.open(write_notebook(jupyterlab, "dialog.ipynb", [SHOW.format(id=session.id)])).run(0)
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.wait_for_selector(".jp-Dialog")
    press = lab.hold_hotkey()
    lab.page.wait_for_selector(".ta-overlay:has-text('Verified flat')", timeout=FLAT_S * 1000)
    lab.shoot("kill-under-dialog")
    assert tripped_at(session, bus_url) - press < REACHES_S


def test_two_tabs_show_the_same_kill(
    lab: Lab, browser: Any, jupyterlab: Jupyter, session: WrittenSession, bus_url: str
) -> None:
    """Killed from the top bar of a tab whose widget's cell is deleted; the panel in another tab shows it too."""
    arm(jupyterlab, session)
    lab.open(write_notebook(jupyterlab, "tabs.ipynb", [SHOW.format(id=session.id), "1"])).run(0)
    lab.page.wait_for_selector(".ta-kill-button:enabled", timeout=20_000)
    panel = lab.page.context.new_page()
    panel.set_viewport_size({"width": 390, "height": 844})
    panel.goto(f"{jupyterlab.url}/tradealgo/panel#{session.id}")
    panel.wait_for_selector(".ta-kill-button:enabled")
    lab.page.bring_to_front()
    lab.page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").first.click()
    lab.page.keyboard.press("d")
    lab.page.keyboard.press("d")
    lab.page.wait_for_selector(".ta-desk", state="detached")
    press = lab.hold(".ta-top-kill")
    panel.wait_for_selector(".ta-kill[data-tone='good']", timeout=FLAT_S * 1000)
    lab.page.wait_for_selector(".ta-top .good:has-text('LOCKED')", timeout=FLAT_S * 1000)
    assert tripped_at(session, bus_url) - press < REACHES_S


def test_a_reloaded_page_has_its_history_without_a_kernel(
    lab: Lab, jupyterlab: Jupyter, session: WrittenSession
) -> None:
    """Saved, its kernel gone, the page opened again: the desk is back, with the whole day."""
    arm(jupyterlab, session)
    name = write_notebook(jupyterlab, "again.ipynb", [SHOW.format(id=session.id)])
    lab.open(name).run(0)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.keyboard.press("Control+s")
    lab.page.wait_for_timeout(1000)
    lab.jupyter.http("DELETE", f"/api/kernels/{lab.kernel_id()}", token=TOKEN)
    lab.open(name, kernel=False)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    points = lab.page.evaluate("document.querySelector('.js-plotly-plot').data[0].x.length")
    assert points > 240


def test_the_chart_moves_through_a_busy_cell_and_a_restart(
    lab: Lab, jupyterlab: Jupyter, session: WrittenSession
) -> None:
    """At 5 points a second and more, no gap over 1 s."""
    arm(jupyterlab, session)
    lab.open(write_notebook(jupyterlab, "moves.ipynb", [SHOW.format(id=session.id), "import time\ntime.sleep(6)"])).run(
        0
    )
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    watch = """async seconds => {
        const plot = document.querySelector('.js-plotly-plot'), began = performance.now(), seen = [];
        let points = plot.data[0].x.length, last = began;
        while (performance.now() - began < seconds * 1000) {
            await new Promise(done => setTimeout(done, 20));
            const now = performance.now();
            if (plot.data[0].x.length !== points) { points = plot.data[0].x.length; seen.push(now - last); last = now; }
        }
        return {updates: seen.length, gap: Math.max(...seen, performance.now() - last)};
    }"""
    before = lab.page.evaluate("document.querySelector('.js-plotly-plot').data[0].x.length")
    lab.run(1, wait=False)
    busy = lab.page.evaluate(watch, 5)
    lab.jupyter.http("POST", f"/api/kernels/{lab.kernel_id()}/restart", token=TOKEN)
    restart = lab.page.evaluate(watch, 5)
    after = lab.page.evaluate("document.querySelector('.js-plotly-plot').data[0].x.length")
    lab.shoot("desk-light")
    assert busy["gap"] < 1000
    assert restart["gap"] < 1000
    assert (after - before) / 10 > 5
