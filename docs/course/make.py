"""Run the course's notebooks and write what they show as Markdown with pictures: `python docs/course/make.py [NUMBER …]`.

Needs the development group and a Chromium. Nothing leaves the machine: plotly's script comes from the installed wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
WIDTH = 860
#: Longer text is cut: the page shows what kind of answer comes.
LINES = 24
COLOURS = 128
#: A progress bar's line: nothing to read once it is done.
PROGRESS = re.compile(r"\d%\|.*\|")


def executed(path: Path) -> Any:
    """The notebook with its outputs, run in a home of its own. Raises nbclient's CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    if not any(c.get("outputs") for c in notebook.cells):
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return notebook


def page_of(data: dict[str, Any]) -> str:
    """HTML of an output that is a picture: a plotly figure, or a still of the desk; empty for any other."""
    import plotly.io

    if figure := data.get("application/vnd.plotly.v1+json"):
        return plotly.io.to_html({"data": figure["data"], "layout": figure["layout"]}, validate=False)
    html = data.get("text/html", "")
    return html if "ta-still" in html else ""


def shot(browser: Any, html: str, path: Path) -> None:
    """Draw HTML in the browser, and keep the picture: its colours are few, and the file a third of the size."""
    from PIL import Image

    page = browser.new_page(viewport={"width": WIDTH, "height": 600})
    page.set_content(f"<body style='margin:6px;background:#fff'>{html}</body>")
    page.wait_for_timeout(400)
    drawn = page.locator(".js-plotly-plot, .ta-still").first
    drawn.screenshot(path=str(path))
    page.close()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def said(output: Any) -> str:
    """An output's plain text."""
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip().splitlines()
    lines = [line for line in lines if not PROGRESS.search(line)]
    return "\n".join([*lines[:LINES], *(["…"] if len(lines) > LINES else [])])


def markdown(notebook: Any, name: str, browser: Any) -> str:
    """The notebook as Markdown; its pictures beside it."""
    parts, count = [], 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if html := page_of(output.get("data", {})):
                count += 1
                shot(browser, html, HERE / f"{name}-{count}.png")
                parts.append(f"![what the cell shows]({name}-{count}.png)")
            elif text := said(output):
                parts.append(f"```\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def main(wanted: list[str]) -> None:
    """Each wanted notebook, by its number or the path of an executed copy; without any, all."""
    from playwright.sync_api import sync_playwright

    found = [Path(w) for w in wanted if w.endswith(".ipynb")]
    found += [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if not wanted or p.name[:2] in wanted]
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        os.environ["TRADEALGO_HOME"] = home
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for path in found:
            for old in HERE.glob(f"{path.stem}-*.png"):
                old.unlink()
            (HERE / f"{path.stem}.md").write_text(markdown(executed(path), path.stem, browser))
            print(HERE / f"{path.stem}.md")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
