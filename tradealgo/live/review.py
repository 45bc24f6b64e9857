"""After a session: what it did, held against the backtest of the same candles; a summary, a report, its journal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradealgo.config import Market
from tradealgo.domain.candles import SECOND_NS
from tradealgo.domain.errors import BadCandles, TradeAlgoError
from tradealgo.domain.hours import ist_text
from tradealgo.domain.shown import many
from tradealgo.live.rows import Link

if TYPE_CHECKING:
    from tradealgo.live.session import LiveSession
    from tradealgo.research.backtest import Backtest
    from tradealgo.research.parity import Parity

#: What the quickstart trades unless it is given a file.
SHARES = ("NSE:RELIANCE", "NSE:INFY", "NSE:TCS", "NSE:HDFCBANK", "NSE:ICICIBANK")

#: The course's folder, and that of `make lab`'s copy.
NOTEBOOKS = ("notebooks", "mine")


def run_name() -> str:
    """A run's name: the time in India, by which its session's id begins too."""
    return ist_text(time.time_ns(), "%Y%m%d-%H%M%S")


def run_folder(path: str | Path = "") -> Path:
    """Where a run's files go: `path`, else a new `runs/<time>` here, or beside the notebooks' folder from within it."""
    here = Path.cwd()
    here = here.parent if here.name in NOTEBOOKS else here
    folder = Path(path or here / "runs" / run_name()).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def choose_market(
    folder: Path, *, data: str, day: str, seed: int, speed: float, symbol: str = ""
) -> tuple[Market, list[str], str]:
    """What to play: a simulated day of five shares, or a file's day.

    An index can't be traded, so an index file is played as its month's future. `day` is ISO; of a file, empty is its
    last one. `symbol` says what a file is of, or which of its several instruments to take; see `symbol_of`.

    Returns:
        The market, the instruments' keys, and a few words on what was read and mended.
    """
    if not data:
        return Market(day=day or "2026-11-20", seed=seed, speed=speed), list(SHARES), f"simulated day, seed {seed}"
    from tradealgo.research.history import as_traded, days_of, read_candles, repairs_of, write_market

    name = symbol_of(Path(data), symbol)
    frame = read_candles(data, symbol=symbol or None)
    replay = as_traded(frame, name, day or days_of(frame)[-1])
    file = write_market(folder / "market.parquet", [replay])
    date = days_of(replay.candles)[0].isoformat()
    text = (
        f"{Path(data).name}: {len(frame):,} candles of {name}; {date} as {replay.instrument.key}\n{repairs_of(frame)}"
    )
    return Market(day=date, file=str(file), seed=seed, speed=speed), [replay.instrument.key], text


def symbol_of(path: Path, symbol: str = "") -> str:
    """What a candle file is of: `symbol`, else its symbol column, else the index or share that its name begins with.

    Raises:
        BadCandles: none of them says it, or the file holds several instruments and not this one.
    """
    from tradealgo.research.candle_files import read_raw
    from tradealgo.research.history import known

    _, name = read_raw(path, symbol or None)
    if symbol or name != (stem := path.name.split(".")[0]):
        return name
    found = known(stem)
    if found is None:
        raise BadCandles(
            f"{path.name} doesn't say which share or index it is of: name it after that, as infy.csv or nifty_2022.csv,"
            f" or give the symbol: make demo DATA={path.name} SYMBOL=INFY"
        )
    return found


def session_parity(result: Backtest, session: LiveSession) -> Parity:
    """Hold a session against a backtest, over the candles that it had heard of each instrument when it ended.

    Raises TradeAlgoError for a session that gave no signals.
    """
    from tradealgo.research.parity import parity
    from tradealgo.strategies import BasketStrategy

    if isinstance(result.strategy, BasketStrategy):
        # It hears whole minutes, and signals only on what it holds: the newest minute may not have been whole
        return parity(result, session.signals, session.requests, max((c.start for c in session.candles), default=0))
    last: dict[int, int] = {}
    for record in session.signals:
        last[record.instrument_token] = max(record.start, last.get(record.instrument_token, 0))
    missing = [i.key for i in result.instruments if i.instrument_token not in last]
    if missing:
        raise TradeAlgoError(f"session {session.id} gave no signal on {', '.join(missing)}: nothing to compare")
    until = min(last.values()) + session.manifest.interval * SECOND_NS
    return parity(result, session.signals, session.requests, until)


def kill_text(session: LiveSession) -> str:
    """`kill: VERIFIED_FLAT in 0.41 s`, or what the kill switch says otherwise."""
    state = session.state
    if state is None:
        return "kill: no word from the Gatekeeper"
    if not state.ts_flat:
        return f"kill: {state.kill}"
    return f"kill: VERIFIED_FLAT in {(state.ts_flat - state.ts_tripped) / 1e9:.2f} s ({state.reason or state.cause})"


def summary_lines(session: LiveSession, held: Parity, result: Backtest) -> list[str]:
    """What the demo prints."""
    points, fills = session.mtm, session.fills
    lines = [f"session: {session.id}, {len(session.candles)} candles, {len(session.orders)} orders, {len(fills)} fills"]
    if points:
        last = points[-1]
        lines.append(
            f"trades:  {_round_trips(session)} round trips, P&L Rs {last.mtm / 100:,.2f} after charges"
            f" of Rs {last.charges / 100:,.2f} (backtest by then: Rs {_backtest_pnl(session, result):,.2f})"
        )
    if filled := fills_text(session, result):
        lines.append(f"fills:   {filled}")
    latency = session.latency()
    if len(latency):
        whole = latency.loc["tick to order"]
        lines.append(
            f"latency: tick to order p50 {whole.p50_ms:.2f} ms, p99 {whole.p99_ms:.2f} ms over {whole['count']:.0f}"
        )
    return [*lines, held.text, kill_text(session)]


def profit_text(session: LiveSession, result: Backtest) -> str:
    """What session and backtest made, and why they differ; empty for a session that was never marked to market."""
    if not (points := session.mtm):
        return ""
    made = f"the session made Rs {points[-1].mtm / 100:+,.2f} after charges, the backtest by then Rs {_backtest_pnl(session, result):+,.2f}"
    filled = fills_text(session, result)
    return f"{made}; {filled}" if filled else made


def fills_text(session: LiveSession, result: Backtest) -> str:
    """How much worse the session's orders filled than the backtest's, as money and as slippage; empty if they share none."""
    expected = {(row.instrument, int(row.signal.value)): row.price for row in result.orders.itertuples()}
    pairs = [
        (o.side.sign * o.filled_quantity, o.average_price, price)
        for o in session.orders
        if o.filled_quantity and (price := expected.get((o.instrument, o.start)))
    ]
    turnover = sum(abs(units) * price for units, _, price in pairs)
    if not turnover:
        return ""
    worse = sum(units * (paid - price) for units, paid, price in pairs)
    part = worse / turnover
    text = (
        f"{many(len(pairs), 'order')} filled Rs {abs(worse):,.2f} {'worse' if worse >= 0.0 else 'better'} than in the backtest, which takes the "
        f"open and no spread: {abs(part) * 1e4:.1f} basis points of Rs {turnover:,.0f}"
    )
    return f"{text}, as slippage={part:.5f} would" if part >= 1e-5 else text


def _backtest_pnl(session: LiveSession, result: Backtest) -> float:
    """Rupees that the backtest was up, open positions at the last price, when the session was killed or ended."""
    import pandas as pd

    state = session.state
    tripped = state.ts_tripped if state is not None else 0
    lived = [p.ts_event for p in session.mtm if not tripped or p.ts <= tripped]
    by_then = result.equity[: pd.Timestamp(max(lived, default=0), tz="UTC")]
    return float(by_then.iloc[-1]) - result.capital if len(by_then) else 0.0


def _round_trips(session: LiveSession) -> int:
    """How often a position came back to zero."""
    held: dict[int, int] = {}
    trips = 0
    for fill in session.fills:
        held[fill.instrument_token] = held.get(fill.instrument_token, 0) + fill.side.sign * fill.quantity
        trips += not held[fill.instrument_token]
    return trips


def _orders_table(session: LiveSession) -> Any:
    """Each order in a line: exchange time of its candle, what was wanted, what came of it."""
    import pandas as pd

    rows = [
        {
            "candle": ist_text(o.start, "%H:%M") if o.start else "",
            "order": f"{o.side} {o.quantity} {o.instrument}",
            "for": o.intent.value,
            "limit": o.price,
            "filled": o.filled_quantity,
            "average": o.average_price,
            "state": o.state.value,
            "why": o.reason,
        }
        for o in session.orders
    ]
    return pd.DataFrame(rows).set_index("order") if rows else "no orders"


def mtm_figure(session: LiveSession) -> Any:
    """The session's mark-to-market by the exchange's time, with the kill switch's line: a plotly Figure."""
    import pandas as pd
    import plotly.graph_objects as go

    from tradealgo.research.history import INDIA

    points = [p for p in session.mtm if p.ts_event]  # before the first tick there is no time to show
    when = pd.to_datetime([p.ts_event for p in points], utc=True).tz_convert(INDIA).tz_localize(None)
    figure = go.Figure(go.Scatter(x=when, y=[p.mtm / 100 for p in points], name="MTM", line={"color": "#0072B2"}))
    if points:
        figure.add_hline(
            y=points[-1].limit / 100, line={"color": "#D55E00", "dash": "dash"}, annotation_text="kill switch"
        )
    figure.update_layout(
        height=320, margin={"t": 30, "l": 70, "r": 20, "b": 30}, template="plotly_white", hovermode="x unified",
        yaxis={"title": "MTM after charges, Rs", "tickformat": ",.0f"}, xaxis={"hoverformat": "%H:%M:%S IST"},
    )  # fmt: skip
    return figure


def report_link(folder: Path) -> Link:
    """The run's report, as a cell shows it: its path from the notebook."""
    return Link(os.path.relpath(folder / "report.html"))


def _backtest_figures(result: Backtest) -> list[tuple[str, Any]]:
    """One figure an instrument; of a basket, which watches hundreds, the whole and those that it traded."""
    from tradealgo.strategies import BasketStrategy

    if not isinstance(result.strategy, BasketStrategy):
        return [(f"Backtest: {i.key}", result.plot(i.key)) for i in result.instruments]
    traded = [r.instrument.key for r in result.runs if len(r.orders)]
    return [("Backtest", result.plot()), *((f"Backtest: {key}", result.plot(key)) for key in traded)]


def _copy_database(source: Path, target: Path) -> None:
    """All of it: what was written last is in a file beside it until that one is full, or its writer ends."""
    target.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as there,
            contextlib.closing(sqlite3.connect(target)) as here,
        ):
            there.backup(here)
    except sqlite3.Error:  # damaged, say: what there is, as it is
        shutil.copy2(source, target)


def review(session: LiveSession, result: Backtest, folder: Path, *, title: str = "TradeAlgo session") -> Parity:
    """Write `summary.json`, `report.html` and copies of the journal and the record into `folder`; returns the parity."""
    from tradealgo.research import stats
    from tradealgo.research.report import write_report

    held = session_parity(result, session)
    lines = summary_lines(session, held, result)
    sections = [
        ("Summary", "\n".join(lines)),
        ("Parity with the backtest", held),
        ("Session: mark-to-market", mtm_figure(session)),
        ("Session: tick to order, milliseconds by hop", session.latency()),
        ("Session: orders", _orders_table(session)),
        ("Backtest: figures", stats.shown(result.stats())),
        *_backtest_figures(result),
    ]
    write_report(folder / "report.html", title, sections)
    for name, source in (("journal.db", session.folder.journal), ("record.db", session.folder.record)):
        if source.exists():
            _copy_database(source, folder / name)
    (folder / "summary.json").write_text(json.dumps({"session": session.id, "lines": lines}, indent=1))
    return held
