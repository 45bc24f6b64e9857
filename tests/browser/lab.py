"""JupyterLab in a real Chromium, driven as a person drives it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from jupyter_desk import TOKEN, Jupyter

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
VIEWPORT = {"width": 1366, "height": 900}


def find_chromium() -> str | None:
    """CHROMIUM, or a Chromium or Chrome on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next((p for n in names if (p := shutil.which(n))), None)


def write_notebook(jupyter: Jupyter, name: str, cells: list[str], kernel: str = "tradealgo-research") -> str:
    """A notebook in the server's folder."""
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    notebook = nbformat.v4.new_notebook(metadata=metadata, cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(notebook, jupyter.work / name)
    return name


class Lab:
    """One tab with JupyterLab."""

    def __init__(self, page: Any, jupyter: Jupyter) -> None:
        self.page, self.jupyter = page, jupyter
        self.strange: list[str] = []
        self.errors: list[str] = []
        self.heard = 0
        own = (jupyter.url, jupyter.url.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else self.strange.append(r.url))
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("websocket", self._listen)

    def _listen(self, socket: Any) -> None:
        """Count the bytes of the desk's stream, unpacked: the wire, which is compressed, has fewer."""
        if not socket.url.startswith(self.jupyter.url.replace("http", "ws")):
            self.strange.append(socket.url)
        if "/tradealgo/stream" in socket.url:
            socket.on("framereceived", self._hear)

    def _hear(self, data: str | bytes) -> None:
        self.heard += len(data)

    def open(self, notebook: str, kernel: bool = True) -> Lab:
        """Open a notebook, alone in its workspace; with `kernel`, wait until one is idle."""
        self.page.goto(
            f"{self.jupyter.url}/lab/workspaces/{notebook.split('.')[0]}/tree/{notebook}?token={TOKEN}&reset"
        )
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        if kernel:
            self.wait_connected()
        return self

    def wait_connected(self, timeout_s: float = 60) -> None:
        """Wait until a kernel is there, idle, and this page is connected to it: JupyterLab itself says idle before."""
        deadline = time.monotonic() + timeout_s
        while True:
            status, kernels = self.jupyter.http("GET", "/api/kernels", token=TOKEN)
            if status == 200 and any(k["connections"] and k["execution_state"] == "idle" for k in kernels):
                return
            assert time.monotonic() < deadline, f"no idle kernel: {kernels}"
            self.page.wait_for_timeout(100)

    def wait_for(self, holds: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
        """Wait until something is so, outside the page or in it, while the page goes on."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.page.wait_for_timeout(50)

    def run(self, cell: int, wait: bool = True) -> None:
        """Run one cell. JupyterLab may drop what is run while it still connects to the kernel: then once more."""
        prompt = self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-InputPrompt")
        for _ in range(6):
            prompt.click()
            self.page.keyboard.press("Control+Enter")
            self.page.wait_for_timeout(300)
            started = "*" in prompt.inner_text()
            if not wait and started:
                return
            deadline = time.monotonic() + 60
            while "*" in prompt.inner_text() and time.monotonic() < deadline:
                self.page.wait_for_timeout(50)
            if any(c.isdigit() for c in prompt.inner_text()):
                return
        raise AssertionError(f"cell {cell} does not run: its prompt says {prompt.inner_text()!r}")

    def menu(self, *path: str) -> None:
        """Choose from the menu bar."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
        for item in path[1:]:
            self.page.locator(".lm-Menu-itemLabel", has_text=item).first.click()

    def kernel_id(self) -> str:
        """Of the newest kernel."""
        return self.jupyter.http("GET", "/api/kernels", token=TOKEN)[1][-1]["id"]

    def kernel_pid(self) -> int:
        """The process of this server's newest kernel."""
        import psutil

        kernels = [p for p in psutil.Process(self.jupyter.process.pid).children(recursive=True) if _is_kernel(p)]
        return max(kernels, key=lambda p: p.create_time()).pid

    def hold(self, selector: str) -> float:
        """Press a hold-to-confirm button until it acts; when the page asked for the kill (wall clock, s)."""
        button = self.page.locator(selector).first
        button.scroll_into_view_if_needed()
        button.hover()
        before = time.time() * 1000 - 1
        self.page.mouse.down()
        asked = self._asked(before)
        self.page.mouse.up()
        return asked

    def hold_hotkey(self) -> float:
        """Hold Ctrl+Alt+K until it acts; when the page asked for the kill (wall clock, s)."""
        return self.hold_keys("Control", "Alt", "k")

    def hold_keys(self, *keys: str) -> float:
        """Hold some keys until the page asks for a kill; when it did (wall clock, s)."""
        before = time.time() * 1000 - 1
        for key in keys:
            self.page.keyboard.down(key)
        asked = self._asked(before)
        for key in reversed(keys):
            self.page.keyboard.up(key)
        return asked

    def _asked(self, before: float) -> float:
        new = "before => window.__tradealgo.last?.at > before && window.__tradealgo.last.at"
        return self.page.wait_for_function(new, arg=before, timeout=10_000).json_value() / 1000

    def shoot(self, name: str) -> None:
        """Keep a screenshot among the artefacts."""
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(ARTEFACTS / f"{name}.png"))


def _is_kernel(process: Any) -> bool:
    try:
        return "ipykernel_launcher" in " ".join(process.cmdline())
    except Exception:  # it went away meanwhile
        return False
