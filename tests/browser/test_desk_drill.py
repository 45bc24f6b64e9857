"""The kill drill: whatever the kernel, the page or the notebook is at, the kill reaches the session and is seen to."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jupyter_desk import TOKEN, Jupyter
from lab import ARTEFACTS, Lab, find_chromium, write_notebook

from tradealgo.config import Market
from tradealgo.desk.widgets import MIME
from tradealgo.domain.state import KillCause, KillState
from tradealgo.live.launch import launch
from tradealgo.live.session import LiveSession
from tradealgo.strategies.ema_cross import EmaCross

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: put one on PATH, or its path in CHROMIUM"),
]

SHOW = "from tradealgo.live.session import attach\nsession = attach({id!r})\nsession.desk()"
#: From the page's asking (the button has been held long enough) until the Gatekeeper's own stamp of the trip.
REACHES_S = 0.3
PRESSES = 3
FLAT_S = 3.0
GAP_MS = 1_000
MINUTE_MB = 2.0
#: How long the cell of the chart's test is busy, and how long the chart is watched after the kernel's restart.
BUSY_S, RESTART_S = 30, 5


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[LiveSession]:
    """A paper session of real processes, over real sockets, that has traded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEALGO_HOME", str(home))
        strategy = EmaCross(fast=2, slow=5)
        session = launch(strategy, ["NSE:INFY", "NSE:RELIANCE"], market=Market(day="2026-11-20", speed=30))
        try:
            session.wait(lambda s: s.fills, timeout_s=90)
            yield session
        finally:
            session.stop()


def arm(session: LiveSession) -> None:
    """Re-arm the session if the last drill left it locked."""
    deadline = time.monotonic() + 20
    while session.state is None or session.state.kill is not KillState.ARMED:
        if session.state is not None and session.state.kill is KillState.LOCKED:
            session.rearm("next drill")
        assert time.monotonic() < deadline, f"the session can't be armed: {session.state}"
        time.sleep(0.3)


def take_position(session: LiveSession) -> None:
    """Give it a moment to have something that a kill must close."""
    deadline = time.monotonic() + 5
    while not any(p.quantity for p in session.positions) and time.monotonic() < deadline:
        time.sleep(0.1)


def drill(session: LiveSession, case: str, press: Callable[[], float]) -> None:
    """Press: the Gatekeeper trips within REACHES_S, and is flat within FLAT_S. A slow press is repeated: then medians of PRESSES count."""
    took = [reached(session, press())]
    while (took[0][0] >= REACHES_S or took[0][1] >= FLAT_S) and len(took) < PRESSES:
        arm(session)
        take_position(session)
        took.append(reached(session, press()))
    line = f"kill drill, {case}: reached the Gatekeeper in {', '.join(f'{trip * 1000:.0f}' for trip, _ in took)} ms"
    print(line)
    ARTEFACTS.mkdir(exist_ok=True)
    with open(ARTEFACTS / "kill-drill.txt", "a") as file:
        file.write(f"{line}\n")
    assert statistics.median(trip for trip, _ in took) < REACHES_S, line
    assert statistics.median(flat for _, flat in took) < FLAT_S, took


def reached(session: LiveSession, asked: float) -> tuple[float, float]:
    """Seconds from the page's asking until the Gatekeeper tripped, and until it was flat by the broker's own word."""
    session.wait(state="VERIFIED_FLAT", timeout_s=15)
    state = session.state
    assert state is not None
    assert state.cause is KillCause.PERSON
    assert asked - 0.01 < state.ts_tripped / 1e9
    session.wait(lambda s: not any(p.quantity for p in s.positions), timeout_s=15)  # once the trades are listed
    return state.ts_tripped / 1e9 - asked, state.ts_flat / 1e9 - asked


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


#: The plot is drawn first, empty; the day so far follows in the stream's first message.
HISTORY = "document.querySelector('.js-plotly-plot').data[0].x.length > 20"
BUSY = {"busy": "import time\nend = time.time() + 20\nwhile time.time() < end: pass", "GIL held": "n = 3**60_000_000"}


@pytest.mark.parametrize("trouble", ["idle", "busy", "GIL held", "stopped", "killed", "shut down"])
def test_the_kill_works_whatever_the_kernel_does(
    lab: Lab, jupyterlab: Jupyter, session: LiveSession, trouble: str
) -> None:
    """The widget's button reaches the Gatekeeper at once, and the page shows it verified flat."""
    arm(session)
    name = write_notebook(
        jupyterlab, f"{trouble.replace(' ', '-')}.ipynb", [SHOW.format(id=session.id), BUSY.get(trouble, "1")]
    )
    lab.open(name).run(0)
    lab.page.wait_for_selector(".ta-kill-button:enabled", timeout=20_000)
    take_position(session)
    stopped = kernel_trouble(lab, trouble)
    try:
        press = lab.hold_hotkey if trouble == "killed" else partial(lab.hold, ".ta-kill-button:enabled")
        drill(session, trouble, press)
        lab.page.wait_for_selector(".ta-kill[data-tone='good']", timeout=15_000)
    finally:
        if stopped:
            os.kill(stopped, signal.SIGCONT)
    lab.shoot(f"kill-{trouble.replace(' ', '-')}")


def test_the_hotkey_works_under_a_modal_dialog(lab: Lab, jupyterlab: Jupyter, session: LiveSession) -> None:
    """The restart dialog blocks every button of the page, but not the hotkey."""
    arm(session)
    lab.open(write_notebook(jupyterlab, "dialog.ipynb", [SHOW.format(id=session.id)])).run(0)
    take_position(session)
    lab.menu("Kernel", "Restart Kernel…")
    lab.page.wait_for_selector(".jp-Dialog")
    drill(session, "restart dialog open", lab.hold_hotkey)
    lab.page.wait_for_selector(".ta-overlay:has-text('Verified flat')", timeout=15_000)
    lab.shoot("kill-under-dialog")


def test_two_tabs_show_the_same_kill(lab: Lab, browser: Any, jupyterlab: Jupyter, session: LiveSession) -> None:
    """Killed from the top bar of a tab whose widget's cell is deleted; the panel in another tab shows it too."""
    arm(session)
    lab.open(write_notebook(jupyterlab, "tabs.ipynb", [SHOW.format(id=session.id), "1"])).run(0)
    lab.page.wait_for_selector(".ta-kill-button:enabled", timeout=20_000)
    panel = lab.page.context.new_page()
    panel.set_viewport_size({"width": 390, "height": 844})
    panel.goto(f"{jupyterlab.url}/tradealgo/panel#{session.id}")
    panel.wait_for_selector(".ta-kill-button:enabled")
    lab.page.bring_to_front()
    lab.page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").first.click()
    lab.menu("Edit", "Delete Cell")  # the keys, D twice, count only within a second
    lab.page.wait_for_selector(".ta-desk", state="detached")
    take_position(session)
    drill(session, "cell deleted, two tabs", partial(lab.hold, ".ta-top-kill:enabled"))
    panel.wait_for_selector(".ta-kill[data-tone='good']", timeout=15_000)
    lab.page.wait_for_selector(".ta-top .good:has-text('LOCKED')", timeout=15_000)


def test_a_reloaded_page_has_its_history_without_a_kernel(lab: Lab, jupyterlab: Jupyter, session: LiveSession) -> None:
    """Saved, its kernel gone, the page opened again: the desk is back, with the whole day."""
    arm(session)
    name = write_notebook(jupyterlab, "again.ipynb", [SHOW.format(id=session.id)])
    lab.open(name).run(0)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.keyboard.press("Control+s")
    lab.wait_for(lambda: MIME in (jupyterlab.work / name).read_text(), "the notebook's file")
    lab.jupyter.http("DELETE", f"/api/kernels/{lab.kernel_id()}", token=TOKEN)
    lab.open(name, kernel=False)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.wait_for_function(HISTORY, timeout=10_000)


#: Looks at the chart's line 50 times a second: how often it changed, and the longest time in milliseconds that it didn't.
WATCH = """async seconds => {
    const line = document.querySelector('.ta-tail-mtm'), began = performance.now(), seen = [];
    let drawn = line.getAttribute('d'), last = began;
    while (performance.now() - began < seconds * 1000) {
        await new Promise(done => setTimeout(done, 20));
        const now = performance.now();
        if (line.getAttribute('d') !== drawn) { drawn = line.getAttribute('d'); seen.push(now - last); last = now; }
    }
    return {updates: seen.length, gap: Math.max(...seen, performance.now() - last)};
}"""


def watched(lab: Lab, session: LiveSession) -> tuple[float, float, float, float]:
    """Through a busy cell and a restart: the longest gaps of the chart in either (ms), MB a minute, and points a second."""
    points = f"window.__tradealgo.models.get({session.id!r}).mtm.x.length"
    before = lab.page.evaluate(points)
    lab.run(1, wait=False)
    lab.page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    heard, began = lab.heard, time.monotonic()
    busy = lab.page.evaluate(WATCH, BUSY_S - 1)["gap"]
    lab.jupyter.http("POST", f"/api/kernels/{lab.kernel_id()}/restart", token=TOKEN)
    restart = lab.page.evaluate(WATCH, RESTART_S)["gap"]
    minute = (lab.heard - heard) / (time.monotonic() - began) * 60 / 1e6
    after = lab.page.evaluate(points)
    print(
        f"chart: {after - before} points; longest gap busy {busy:.0f} ms, restart {restart:.0f} ms;"
        f" traffic {minute:.2f} MB a minute"
    )
    return busy, restart, minute, (after - before) / (BUSY_S - 1 + RESTART_S)


def test_the_chart_moves_through_a_busy_cell_and_a_restart(lab: Lab, jupyterlab: Jupyter, session: LiveSession) -> None:
    """At 5 points a second and more, without a gap, under MINUTE_MB of traffic a minute. A gap is looked at again: then medians count."""
    arm(session)
    lab.open(
        write_notebook(
            jupyterlab,
            "moves.ipynb",
            [SHOW.format(id=session.id), f"import time\nend = time.time() + {BUSY_S}\nwhile time.time() < end: pass"],
        )
    ).run(0)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.wait_for_function(HISTORY, timeout=10_000)
    take_position(session)
    looks = [watched(lab, session)]
    while max(looks[0][:2]) >= GAP_MS and len(looks) < PRESSES:
        lab.wait_connected()
        looks.append(watched(lab, session))
    lab.shoot("desk-light")
    busy, restart, minute, rate = (statistics.median(each) for each in zip(*looks, strict=True))
    assert 0 < minute < MINUTE_MB
    assert busy < GAP_MS
    assert restart < GAP_MS
    assert rate > 5
