"""Take the README's pictures from a real paper session: `python docs/images/make.py`. Needs the development group and a Chromium.

The desk in JupyterLab, light and dark, 1366 px wide, and the panel as a phone shows it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "browser"))

from jupyter_desk import TOKEN, Jupyter  # noqa: E402
from lab import FLAGS, Lab, find_chromium, write_notebook  # noqa: E402

CELL = "from tradealgo import attach\n\nsession = attach()\nsession.desk()"
SIZE = {"width": 1366, "height": 1130}
PHONE = {"width": 390, "height": 844}
INSTRUMENTS = ["NSE:INFY", "NSE:RELIANCE", "NSE:TCS"]
#: Exchange time at which the pictures are taken.
AT = "11:00"
COLOURS = 256


def use_theme(jupyter: Jupyter, name: str) -> None:
    """JupyterLab's theme, from the next page on."""
    settings = jupyter.folder / "lab-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    settings.write_text(f'{{"theme": "{name}"}}')


def keep(page: Any, name: str) -> None:
    """A screenshot with few colours: a third of the size, and nobody sees it."""
    from PIL import Image

    path = HERE / f"{name}.png"
    page.screenshot(path=str(path))
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size)


def desk(context: Any, jupyter: Jupyter, theme: str, name: str) -> None:
    """The notebook with the desk, its left side bar closed."""
    use_theme(jupyter, theme)
    lab = Lab(context.new_page(), jupyter)
    lab.open("live.ipynb").run(0)
    lab.page.wait_for_selector(".ta-desk .js-plotly-plot", timeout=20_000)
    lab.page.keyboard.press("Control+b")
    lab.page.wait_for_timeout(4_000)
    lab.page.mouse.move(5, 500)
    keep(lab.page, name)
    lab.page.close()


def pictures(jupyter: Jupyter) -> None:
    """All three."""
    from playwright.sync_api import sync_playwright

    write_notebook(jupyter, "live.ipynb", [CELL])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        context = browser.new_context(viewport=SIZE)
        desk(context, jupyter, "JupyterLab Light", "desk-light")
        desk(context, jupyter, "JupyterLab Dark", "desk-dark")
        phone = browser.new_context(viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True).new_page()
        phone.goto(f"{jupyter.url}/tradealgo/panel?token={TOKEN}")
        phone.wait_for_selector(".ta-kill-button:enabled")
        phone.wait_for_timeout(3_000)
        keep(phone, "panel-phone")
        browser.close()


def main() -> None:
    """A session of its own, in a home of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRADEALGO_HOME"] = f"{folder}/home"
        from tradealgo import launch
        from tradealgo.config import Market
        from tradealgo.strategies.ema_cross import EmaCross

        session = launch(EmaCross(fast=10, slow=30), INSTRUMENTS, market=Market(day="2026-11-20", seed=4, speed=120))
        jupyter = Jupyter(Path(folder), Path(folder) / "home", "lab")
        try:
            session.wait(AT, timeout_s=200)
            pictures(jupyter.wait())
        finally:
            jupyter.stop()
            session.stop()


if __name__ == "__main__":
    main()
