"""A session in a terminal, with rich."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tradealgo.domain.hours import ist_text
from tradealgo.live.rows import some
from tradealgo.live.session import LiveSession

REFRESH_S = 0.25
_ORDERS_SHOWN = 8


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


def sessions_table(rows: list[dict[str, Any]]) -> Table:
    """A line a session."""
    table = Table(box=None, pad_edge=False)
    for name in ("session", "status", "mode", "account", "state", "MTM", "orders", "alerts"):
        right = name in ("MTM", "orders", "alerts")
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "session")
    for row in rows:
        mtm = "" if row["mtm"] is None else f"{row['mtm']:,.2f}"
        state = row["trading"] if row["kill"] in (None, "ARMED") else row["kill"]
        words = (row["session_id"], row["status"], row["mode"], row["account"], state or "")
        table.add_row(*words, mtm, str(row["orders"]), str(row["alerts"]))
    return table


def summary(session: LiveSession) -> Panel:
    """One session: state, health, positions, the last orders, alerts."""
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
    return Panel(
        Group(*parts), title=f"{'LIVE' if live else 'paper'} · {session.id}", border_style="yellow" if live else "blue"
    )


def _head(session: LiveSession, shot: dict[str, Any]) -> Text:
    words = [session.status, f"{shot['strategy']} on {some(shot['instruments'])}"]
    if shot["ts_event"]:
        words.append(f"exchange {ist_text(shot['ts_event'])}")
    if shot["trading"]:
        words.append(f"{shot['trading']} · kill {shot['kill']}")
    if shot["mtm"]:
        words.append(f"MTM {shot['mtm']['mtm']:,.2f} (limit {shot['mtm']['limit']:,.0f})")
    words.append(f"{shot['orders_count']} orders, {shot['fills_count']} fills")
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
        table.add_column(name.replace("_", " "), justify="right" if isinstance(rows[0][name], (int, float)) else "left")
    for row in rows:
        table.add_row(*(f"{row[n]:,.2f}" if isinstance(row[n], float) else str(row[n]) for n in names))
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
