"""A session's figures as a still: HTML with an inline SVG chart, or plain text. For outputs that are kept, not watched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from tradealgo.domain.hours import ist_text
from tradealgo.domain.state import MtmPoint
from tradealgo.live.view import thin

WIDTH, HEIGHT, EDGE = 760, 200, 8
CHART_POINTS = 400

STYLE = (
    "<style>.ta-still{font:13px/1.45 system-ui,sans-serif;border:1px solid #8884;border-radius:8px;max-width:800px;overflow:hidden}"
    ".ta-still header{display:flex;gap:14px;align-items:center;padding:8px 12px;border-top:4px solid #0b6fae;flex-wrap:wrap}"
    ".ta-still header.live{border-top:10px solid;border-image:repeating-linear-gradient(-45deg,#111 0 12px,#ffc400 12px 24px) 10}"
    ".ta-still .mode{background:#0b6fae;color:#fff;font-weight:700;padding:0 8px;border-radius:3px}"
    ".ta-still header.live .mode{background:#111;color:#ffc400}.ta-still div{padding:4px 12px}"
    ".ta-still table{border-collapse:collapse;margin:4px 12px 10px;font:inherit;font-variant-numeric:tabular-nums}"
    ".ta-still td,.ta-still th{padding:2px 14px 2px 0;text-align:left;font-weight:400}.ta-still th{opacity:.65}"
    ".ta-still .big{font-size:24px;font-weight:650}.ta-still .dim{opacity:.65}</style>"
)


#: What tripped the kill switch, in words.
CAUSES = {
    "MTM": "the loss limit", "PERSON": "a person", "DEAD_MAN": "the dead-man timer", "RECONCILIATION": "a mismatch with the broker",
}  # fmt: skip
#: Ends of orders that call for a reason.
BAD = frozenset({"DENIED", "REJECTED", "UNKNOWN"})


def rupees(value: float | None) -> str:
    """Signed, whole rupees with Indian grouping: -₹12,34,567."""
    if value is None:
        return "–"
    digits = str(abs(round(value)))
    head, tail = digits[:-3], digits[-3:]
    groups = [head[max(0, i - 2) : i] for i in range(len(head), 0, -2)][::-1]
    return ("−" if round(value) < 0 else "") + "₹" + ",".join([*groups, tail])


def words(shot: dict[str, Any]) -> str:
    """The state of trading and of the kill in a few words."""
    if shot["kill"] is None:
        return "not started yet"
    if shot["kill"] == "ARMED":
        closed = ", market closed" if shot["market_open"] is False else ""
        return f"{shot['trading']}{closed}, kill switch armed"
    flat = f", flat in {shot['flat_s']:.2f} s by the broker's own positions" if shot["flat_s"] is not None else ""
    return f"kill switch {shot['kill'].replace('_', ' ')}{flat}, tripped by {CAUSES.get(shot['cause'], 'an order')}"


def text(shot: dict[str, Any]) -> str:
    """A few plain lines."""
    mtm = shot["mtm"]
    lines = [
        f"{shot['mode']} session {shot['session_id']}: {shot['strategy']} {shot['parameters']}, {words(shot)}",
        f"MTM {rupees(mtm and mtm['mtm'])} after charges, kill at {rupees(mtm['limit'] if mtm else -shot['limits']['max_loss'])}",
        f"{shot['orders_count']} orders, {shot['fills_count']} fills, {shot['working_count']} working",
    ]
    lines += [
        f"{p['instrument']}: {p['quantity']} at {p['average_price']:.2f}" for p in shot["positions"] if p["quantity"]
    ]
    return "\n".join(lines)


def picture(shot: dict[str, Any], points: Sequence[MtmPoint], part: str) -> str:
    """The still of a part; of the whole desk unless the part is a table of its own."""
    tables = {
        "positions": ("instrument", "quantity", "average_price", "last_price", "pnl"),
        "orders": ("instrument", "side", "quantity", "filled_quantity", "average_price", "intent", "state"),
        "fills": ("instrument", "side", "quantity", "price"),
        "alerts": ("level", "module", "text"),
    }
    shown = [part] if part in tables else ["positions", "orders"] if part == "desk" else []
    body = "" if part in tables else _figures(shot) + chart(list(points))
    return (
        STYLE
        + f'<div class="ta-still">{_header(shot)}{body}{"".join(_table(n, tables[n], shot[n]) for n in shown)}</div>'
    )


def _header(shot: dict[str, Any]) -> str:
    label = "LIVE · REAL MONEY" if shot["mode"] == "live" else "PAPER"
    when = ist_text(shot["ts_event"], "%d %b %Y %H:%M:%S IST") if shot["ts_event"] else "before the open"
    return (
        f'<header class="{escape(shot["mode"])}"><span class="mode">{label}</span><b>{escape(shot["strategy"])}</b>'
        f'<span>{escape(", ".join(f"{k}={v}" for k, v in shot["parameters"].items()))}</span>'
        f'<span class="dim">{escape(shot["session_id"])}</span><span class="dim">{when}</span><span>{escape(words(shot))}</span></header>'
    )  # fmt: skip


def _figures(shot: dict[str, Any]) -> str:
    mtm = shot["mtm"]
    if mtm is None:
        return '<div class="dim">No MTM yet.</div>'
    rest = " · ".join(f"{name} {rupees(mtm[name])}" for name in ("realised", "unrealised", "charges", "drawdown"))
    return (
        f'<div><span class="big">{rupees(mtm["mtm"])}</span> <span class="dim">MTM after charges · {rest}</span></div>'
    )


def chart(points: list[MtmPoint]) -> str:
    """MTM over time with the kill line, as SVG; empty for fewer than two points."""
    points = thin([p for p in points if p.ts_event], CHART_POINTS)
    if len(points) < 2:
        return ""
    limit, values = points[-1].limit, [p.mtm for p in points]
    low, high = min(limit, *values), max(abs(limit) // 4, *values)
    span = (high - low) or 1
    begin, end = points[0].ts_event, points[-1].ts_event

    def y(value: float) -> float:
        return round(EDGE + (high - value) / span * (HEIGHT - 2 * EDGE), 1)

    def x(index: int) -> float:
        part = (points[index].ts_event - begin) / (end - begin) if end > begin else index / (len(points) - 1)
        return round(part * WIDTH, 1)

    path = " ".join(f"{x(i)},{y(v)}" for i, v in enumerate(values))
    return (
        f'<div><svg viewBox="0 0 {WIDTH} {HEIGHT + 16}" width="100%" role="img" aria-label="MTM over time">'
        f'<line x1="0" x2="{WIDTH}" y1="{y(0)}" y2="{y(0)}" stroke="#8886"/>'
        f'<line x1="0" x2="{WIDTH}" y1="{y(limit)}" y2="{y(limit)}" stroke="#c44e00" stroke-dasharray="6 4"/>'
        f'<text x="4" y="{y(limit) - 4}" fill="#c44e00" font-size="11">kill at {rupees(limit / 100)}</text>'
        f'<polyline points="{path}" fill="none" stroke="#2a8fd0" stroke-width="1.8"/>'
        f'<text x="0" y="{HEIGHT + 12}" font-size="11" fill="#888">{ist_text(begin)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 12}" font-size="11" fill="#888" text-anchor="end">{ist_text(end)}</text></svg></div>'
    )


def _table(name: str, columns: Iterable[str], rows: list[dict[str, Any]]) -> str:
    if not rows:
        return f'<div class="dim">No {name} yet.</div>'
    columns = list(columns)
    head = "".join(f"<th>{'P&amp;L' if c == 'pnl' else c.replace('_', ' ')}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(name, c, row)}</td>" for c in columns) + "</tr>" for row in rows[:20])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(table: str, column: str, row: dict[str, Any]) -> str:
    value = row[column]
    if column == "pnl":
        return rupees(value)
    if column == "quantity" and table == "positions" and not value:
        return "flat"
    if column == "state" and value in BAD and row["text"]:
        return escape(f"{value}: {row['text']}")
    if isinstance(value, float):  # prices; 0 is none
        return f"{value:,.2f}" if value else "–"
    return escape(str(value))
