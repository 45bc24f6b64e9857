"""A session in a terminal, with rich."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tradealgo.domain.hours import ist_text
from tradealgo.domain.shown import many
from tradealgo.live.rows import some
from tradealgo.live.session import LiveSession

REFRESH_S = 0.25
_ORDERS_SHOWN = 8
#: Columns of the list of sessions: to the right, and those that a narrow terminal does without.
FIGURES = ("MTM", "orders", "alerts")
LEAST_USED = ("orders", "account", "status", "alerts")
#: What is read by a program, or kept in a file, has lines as long as they come.
UNCUT = 1_000


def session_row(session: LiveSession) -> dict[str, Any]:
    """What a list of sessions says of one. MTM in rupees."""
    view, manifest = session.view, session.manifest
    return {
        "session_id": session.id,
        "status": session.status,
        "mode": manifest.mode.value,
        "account": manifest.account,
        "strategy": manifest.strategy.rpartition(":")[2],
        "instruments": list(manifest.instruments),
        "trading": view.state.trading.value if view.state else None,
        "kill": view.state.kill.value if view.state else None,
        "mtm": view.mtm[-1].mtm / 100 if view.mtm else None,
        "orders": len(view.orders),
        "fills": len(view.fills),
        "alerts": len(view.open_alerts),
    }


def sessions_text(rows: list[dict[str, Any]], width: int | None = None) -> str:
    """A line a session, under a heading. Nothing is cut: what is too wide loses columns, those of least use first."""
    columns = {
        "session": [r["session_id"] for r in rows],
        "status": [r["status"] for r in rows],
        "mode": [r["mode"] for r in rows],
        "account": [r["account"] for r in rows],
        "state": [(r["trading"] if r["kill"] in (None, "ARMED") else r["kill"]) or "" for r in rows],
        "MTM": ["" if r["mtm"] is None else f"{r['mtm']:,.2f}" for r in rows],
        "orders": [str(r["orders"]) for r in rows],
        "alerts": [str(r["alerts"]) for r in rows],
    }
    padded = {name: _padded(name, cells) for name, cells in columns.items()}
    for name in LEAST_USED:
        if width is not None and sum(len(cells[0]) + 2 for cells in padded.values()) - 2 > width:
            del padded[name]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded.values(), strict=True))


def _padded(name: str, cells: list[str]) -> list[str]:
    """A column with its heading, figures to the right."""
    width = max(len(text) for text in (name, *cells))
    return [text.rjust(width) if name in FIGURES else text.ljust(width) for text in (name, *cells)]


def summary(session: LiveSession, *, expand: bool = True) -> Panel:
    """One session: state, health, positions, the last orders, alerts; over the whole width, or as wide as it needs."""
    shot = session.snapshot()
    parts: list[Any] = [_head(session, shot), _health(shot)]
    if shot["positions"]:
        parts.append(
            _table("positions", shot["positions"], ("instrument", "quantity", "average_price", "last_price", "pnl"))
        )
    if shot["orders"]:
        names = ("instrument", "side", "quantity", "filled_quantity", "price", "average_price", "state", "text")
        parts.append(_table("last orders", shot["orders"][:_ORDERS_SHOWN], names))
    parts += [Text(f"{a['level']} {a['module']}: {a['text']}", style="red") for a in shot["alerts"]]
    live = session.manifest.mode == "live"
    title = f"{'LIVE' if live else 'paper'} · {session.id}"
    return Panel(Group(*parts), title=title, border_style="yellow" if live else "blue", expand=expand)


def _head(session: LiveSession, shot: dict[str, Any]) -> Text:
    words = [session.status, f"{shot['strategy']} on {some(shot['instruments'])}"]
    if shot["ts_event"]:
        words.append(f"exchange {ist_text(shot['ts_event'])}")
    if shot["trading"]:
        words.append(f"{shot['trading']} · kill {shot['kill']}")
    if shot["mtm"]:
        words.append(f"MTM {shot['mtm']['mtm']:,.2f} (limit {shot['mtm']['limit']:,.0f})")
    words += [f"{many(shot['orders_count'], 'order')}, {many(shot['fills_count'], 'fill')}"]
    return Text("  ".join(words))


def _health(shot: dict[str, Any]) -> Text:
    text = Text()
    for module, beat in shot["health"].items():
        text.append(f"{module} ", style="dim")
        text.append(f"{beat['state']}  ", style="red" if beat["silent"] and not shot["past"] else "green")
    return text


def _table(title: str, rows: list[dict[str, Any]], names: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        justify: Any = "right" if isinstance(rows[0][name], (int, float)) else "left"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold")  # a figure is never cut
    for row in rows:
        # The broker's words are no markup of rich's, whatever brackets are in them
        table.add_row(*(f"{row[n]:,.2f}" if isinstance(row[n], float) else Text(str(row[n])) for n in names))
    return table


def watch(session: LiveSession) -> None:
    """Show it as it goes, until Ctrl-C or its end."""
    with Live(summary(session), refresh_per_second=1 / REFRESH_S) as live:
        try:
            while not session.is_past:
                time.sleep(REFRESH_S)
                live.update(summary(session))
        except KeyboardInterrupt:
            live.update(summary(session))


def follow_file(path: Path) -> None:
    """Print a log's lines as they come, until Ctrl-C."""
    file = open(path, errors="replace")  # noqa: SIM115
    file.seek(0, os.SEEK_END)
    try:
        while True:
            if line := file.readline():
                print(line, end="", flush=True)
            elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:  # the supervisor rotated it
                file.close()
                file = open(path, errors="replace")  # noqa: SIM115
            else:
                time.sleep(0.2)
    except KeyboardInterrupt:
        file.close()
