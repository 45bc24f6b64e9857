"""A session's day, looked at once it is over: held against the backtest of the candles that it recorded."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradealgo.config import Mode, session_dirs
from tradealgo.domain.candles import MINUTE_NS
from tradealgo.domain.errors import SessionNotFound, TradeAlgoError
from tradealgo.domain.hours import IST, market_hours
from tradealgo.live.review import review, run_folder
from tradealgo.live.session import LiveSession, attach

if TYPE_CHECKING:
    import pandas as pd

    from tradealgo.domain.instruments import Instrument
    from tradealgo.research.backtest import Backtest
    from tradealgo.research.parity import Parity
    from tradealgo.strategies import Strategy

#: Nothing more comes of a day once its candles have stood still for so long.
STILL_S = 2.0


def newest(session_id: str = "") -> LiveSession:
    """A session by its id or the beginning of it; without, the newest that is running, else the newest of all."""
    with contextlib.suppress(SessionNotFound):
        return attach(session_id or None)
    folders = session_dirs()
    if session_id or not folders:
        return attach(session_id or None)  # raises, saying what there is
    return LiveSession(folders[-1])


def day_of(session: LiveSession) -> dt.date:
    """The day that a session traded."""
    return session.manifest.trading_day


def wait_for_close(session: LiveSession, timeout_s: float = 600.0) -> LiveSession:
    """Wait until the last instrument has stopped trading and its last candle is there; a past session needs no wait.

    Raises TimeoutError.
    """
    session.wait(lambda s: s.is_past or s.instruments is not None, timeout_s=timeout_s)
    day = day_of(session)
    closes = max((market_hours(i, day).close for i in session.instruments or ()), default=0)
    live = session.manifest.mode is Mode.LIVE  # a feed that died before the close must not keep it from coming

    def is_over(s: LiveSession) -> bool:
        return s.is_past or s.view.ts_event >= closes - MINUTE_NS or (live and time.time_ns() >= closes)

    session.wait(is_over, timeout_s=timeout_s)
    count, since = -1, time.monotonic()
    while not session.is_past and time.monotonic() - since < STILL_S:
        if (now := len(session.candles)) != count:
            count, since = now, time.monotonic()
        time.sleep(0.1)
    return session


def end_of_day(session: LiveSession, timeout_s: float = 600.0) -> LiveSession:
    """Wait for the close, and end the session; one whose close doesn't come in time, too, as after a day without a login or of a
    paper day that was begun late: it would hold its account next morning. Not one that is of a later day.

    Raises TimeoutError.
    """
    try:
        return wait_for_close(session, timeout_s)
    finally:
        if session.is_running and day_of(session) <= dt.datetime.now(IST).date():
            session.stop()


def strategy_of(session: LiveSession) -> Strategy:
    """The strategy that a session runs, from the source that it was launched with. Raises BadConfig."""
    from tradealgo.strategies import load

    return load(session.manifest.strategy, session.folder)(**session.manifest.parameters)


def heard_candles(session: LiveSession) -> dict[Instrument, pd.DataFrame]:
    """The candles that a session's strategy heard, by instrument: what its backtest runs over. Raises TradeAlgoError for none."""
    import pandas as pd

    from tradealgo.research.history import COLUMNS

    found, begins = {}, pd.Timestamp(session.manifest.hears_from, tz="UTC")
    if len(table := session.df("candles")):  # once: a basket hears a hundred instruments
        table = table if "start" not in table else table.set_index("start")
        if session.manifest.mode is Mode.LIVE and "partial" in table:
            table = table[~table["partial"].astype(bool)]
        heard = dict(iter(table[table.index >= begins].groupby("instrument", sort=False)))
        found = {i: heard[i.key][COLUMNS].astype("float64") for i in session.instruments or () if i.key in heard}
    if not found:
        raise TradeAlgoError(f"session {session.id} closed no candles: there is nothing to hold it against")
    return found


def day_backtest(session: LiveSession) -> Backtest:
    """The backtest of a session's own strategy, size, candles and warm-up. Raises BadConfig where its files are gone."""
    from tradealgo.consumer.warm_up import read_warm_up
    from tradealgo.research.backtest import backtest
    from tradealgo.strategies import BasketStrategy

    manifest, strategy = session.manifest, strategy_of(session)
    of_kind: dict[str, Any] = {"sizing": manifest.sizing}
    candles: dict[Instrument, Any] = dict(heard_candles(session))
    if isinstance(strategy, BasketStrategy):
        of_kind = {"engine": "event", "limits": manifest.limits}
        candles = {i: candles.get(i, ()) for i in session.instruments or ()}  # it saw those that never traded, too
    keys = {i.key for i in candles}
    earlier = {key: rows for key, rows in read_warm_up(session.folder, manifest).items() if key in keys}
    return backtest(strategy, candles, capital=manifest.capital, interval=manifest.interval, warm_up=earlier, **of_kind)


def left_open(session: LiveSession) -> list[str]:
    """Open positions and working orders as the session's own books have them, in words; none of a clean end."""
    held = [f"{p.quantity:+d} {p.instrument}" for p in session.positions if p.quantity]
    return held + [f"{o.pending_quantity} {o.side} {o.instrument} working" for o in session.view.working_orders]


def fills_against(session: LiveSession, result: Backtest) -> pd.DataFrame:
    """What each of a session's orders filled at, beside the backtest's price, and how much worse it was in rupees."""
    import pandas as pd

    expected: dict[tuple[str, int], float] = {}
    for row in result.orders.itertuples():
        expected[row.instrument, int(row.signal.value)] = row.price
    rows = []
    for order in session.orders:
        if order.filled_quantity:
            price = expected.get((order.instrument, order.start), float("nan"))
            worse = order.side.sign * order.filled_quantity * (order.average_price - price)
            worse = round(worse, 2) + 0.0  # none of it is -0.0
            rows.append((order.instrument, f"{order.side} {order.filled_quantity}", order.average_price, price, worse))
    return pd.DataFrame(rows, columns=["instrument", "order", "filled at", "backtest", "worse by Rs"])


def day_report(session: LiveSession, result: Backtest, folder: str | Path = "") -> tuple[Parity, Path]:
    """Write the day's report, summary and journal into a folder (a new one of `runs/`); the parity, and the folder."""
    place = run_folder(folder)
    day = f"{day_of(session):%a %d %b %Y}"
    return review(session, result, place, title=f"{session.manifest.mode} {session.manifest.account}, {day}"), place
