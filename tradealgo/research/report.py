"""`write_report`: one HTML file with figures and tables that opens anywhere, offline."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --text: #1c2530; --muted: #5f6b7a; --page: #fbfbfa; --card: #fff; --line: #e3e5e8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e8ee; --muted: #98a3b3; --page: #14181d; --card: #1b2128; --line: #2d3540; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto; max-width: 1100px; padding: 24px; }
h1 { font-size: 24px; margin: 8px 0 20px; } h2 { font-size: 17px; margin: 0 0 12px; } p { margin: 6px 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin: 0 0 18px; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { border: 0; border-bottom: 1px solid var(--line); padding: 4px 14px 4px 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--muted); font-weight: 600; }
pre { font-size: 13px; white-space: pre-wrap; margin: 0; }
"""

#: Plotly can't follow CSS: figures are redrawn in the colours of the page, also when the reader's preference changes.
_THEME = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function paint() {
  const ink = dark.matches ? '#e4e8ee' : '#1c2530', line = dark.matches ? '#2d3540' : '#e3e5e8';
  for (const figure of document.querySelectorAll('.plotly-graph-div')) {
    const change = {paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', 'font.color': ink};
    for (const name of Object.keys(figure._fullLayout || {}))
      if (/^[xy]axis[0-9]*$/.test(name)) { change[name + '.gridcolor'] = line; change[name + '.zerolinecolor'] = line; }
    Plotly.relayout(figure, change);
  }
}
dark.addEventListener('change', paint); addEventListener('load', paint);
"""


def write_report(path: str | Path, title: str, sections: Iterable[tuple[str, Any]]) -> Path:
    """Write a self-contained report; plotly's script comes from the installed wheel, so nothing loads from a network.

    Args:
        sections: (heading, content) each; content is a plotly Figure, a DataFrame or Series, a string (text; `<…>` is
            shown as it is), anything with `_repr_html_`, or a list of these.

    Returns:
        The file's path.
    """
    from plotly.offline import get_plotlyjs

    body = "\n".join(f"<section><h2>{html.escape(h)}</h2>{_html(c)}</section>" for h, c in sections)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n<script>{_THEME}</script></body></html>\n"
    )
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def _html(content: Any) -> str:
    if isinstance(content, (list, tuple)):
        return "".join(_html(c) for c in content)
    if hasattr(content, "to_plotly_json") and hasattr(content, "to_html"):
        return content.to_html(  # a drag zooms and a double click goes back: a bar of buttons would lie on the title
            full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True}
        )
    if hasattr(content, "to_frame"):
        return content.to_frame("").to_html(header=False, border=0)
    if hasattr(content, "columns") and hasattr(content, "to_html"):
        return content.to_html(border=0, float_format=lambda x: f"{x:,.2f}", max_rows=200)
    if not isinstance(content, str) and hasattr(content, "_repr_html_"):
        return content._repr_html_()
    return "".join(f"<p>{html.escape(t)}</p>" for t in str(content).splitlines() if t.strip())
