"""A LiveSession: one object that mirrors a running session, and asks things of it. It owns nothing.

    session = attach()
    session.orders, session.mtm[-1], session.df("fills")
    session.kill("drill")

Each look reads what is new on the bus; there is no thread, so nothing happens to it while a cell is busy. The
processes live on whatever becomes of this object or its kernel. After the session has ended, its record is shown.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
import redis

from tradealgo import control, running
from tradealgo.bus.keys import Stream, instruments_key
from tradealgo.bus.redis_bus import BlockingBus, connect_blocking
from tradealgo.config import Mode, SessionDir, home, session_dirs
from tradealgo.domain.candles import ClosedCandle
from tradealgo.domain.errors import BadConfig, BusUnavailable, InvalidInput, SessionNotFound, TradeAlgoError
from tradealgo.domain.hours import IST, ist_text
from tradealgo.domain.instruments import Instrument, InstrumentBook
from tradealgo.domain.orders import Fill, Order, OrderRequest, Verdict
from tradealgo.domain.portfolio import Position
from tradealgo.domain.signals import SignalRecord
from tradealgo.domain.state import Action, Alert, Beat, Control, KillState, Module, MtmPoint, SessionState, TradingState
from tradealgo.gatekeeper.journal import JournalError
from tradealgo.live import leftovers, supervisor
from tradealgo.live.rows import Rows, Text, some
from tradealgo.live.snapshot import SILENT_S, positions_frame
from tradealgo.live.view import SessionView
from tradealgo.monitor.rules import READY_STATES

if TYPE_CHECKING:
    import pandas as pd

POLL_S = 0.05
#: How long `stop` waits for the Gatekeeper to say that nothing new leaves.
STOP_SAID_S = 3.0
#: How long `stop` waits for a kill that is under way.
KILL_DONE_S = 30.0

#: Of a session whose supervisor died alone, and whose other processes go on.
UNSUPERVISED = "its supervisor is gone: a module that dies is not started again"

_KILL_ORDER = list(KillState)


class LiveSession:
    """A session of this home, running or past. Made by `launch` and `attach`."""

    def __init__(self, folder: SessionDir) -> None:
        self.folder = folder
        self.manifest = folder.read_manifest()
        self.id = self.manifest.session_id
        self._view = SessionView(self.manifest)
        self._bus: BlockingBus | None = None
        self._book: InstrumentBook | None = None
        self._past = False

    # ------------------------------------------------------------------------------------------ looking

    @property
    def view(self) -> SessionView:
        """The session as it is now."""
        self.refresh()
        return self._view

    def refresh(self) -> bool:
        """Read what is new. False if the bus can't be reached, and the view stays as it was or is that of the record."""
        if self._past:
            return False
        try:
            bus = self._connected()
            while entries := bus.read(self._view.cursors, keep_bad=True):
                for entry in entries:
                    self._view.apply(entry)
            self._read_instruments(bus)
        except (redis.RedisError, BadConfig):
            self._bus = None
            if not supervisor.is_running(self.folder):
                self._past = not running.processes(self.folder)
                if self._past or not self._view.beats:  # it may run where its sockets are out of reach from here
                    self._read_record()
            return False
        return True

    def _connected(self) -> BlockingBus:
        if self._bus is None:
            client = connect_blocking(self.manifest.resolved_bus_url(), socket_timeout=10, socket_connect_timeout=2)
            self._bus = BlockingBus(client, self.id)
        return self._bus

    def _read_instruments(self, bus: BlockingBus) -> None:
        if self._book is None and (data := bus.client.get(instruments_key(self.id))) is not None:
            self._book = InstrumentBook(msgspec.msgpack.decode(cast(bytes, data), type=list[Instrument]))

    def _read_record(self) -> None:
        """Build the view anew from the Recorder's rows."""
        from tradealgo.live.past import recorded

        self._view, book = recorded(self.folder, self.manifest)
        self._book = book or self._book

    @property
    def is_running(self) -> bool:
        """Whether its processes are there now, supervised or not."""
        return supervisor.is_running(self.folder) or bool(running.processes(self.folder))

    @property
    def is_past(self) -> bool:
        """Whether what is shown is the record of a session that has ended."""
        return self._past or not self.is_running

    @property
    def status(self) -> str:
        """STARTING, RUNNING, UNSUPERVISED (it runs, but a module that dies is not started again) or PAST."""
        if self.is_past:
            return "PAST"
        if not supervisor.is_supervised(self.folder):
            return "UNSUPERVISED"
        return "RUNNING" if not self.waiting_for else "STARTING"

    @property
    def waiting_for(self) -> list[str]:
        """The modules that aren't ready, each with what it says; empty once all work."""
        beats = self.view.beats
        said = {m: beats[m].state if m in beats else "no sign yet" for m in READY_STATES}
        return [f"{m.value} ({word})" for m, word in said.items() if word not in READY_STATES[m]]

    @property
    def clock(self) -> dt.datetime | None:
        """The exchange's time, as far as the session has heard of it (IST); None before the first tick."""
        ts = self.view.ts_event
        return dt.datetime.fromtimestamp(ts / 1e9, IST) if ts else None

    @property
    def instruments(self) -> InstrumentBook | None:
        """The instruments as the broker's dump has them; None until the Sentinel has logged in."""
        self.refresh()
        return self._book

    @property
    def state(self) -> SessionState | None:
        """Trading and kill state, as the Gatekeeper said last; None before its first word."""
        return self.view.state

    @property
    def mtm(self) -> Rows[MtmPoint]:
        """Mark-to-market figures, in paise (`.df()`: rupees)."""
        return self._rows(Stream.MTM, self.view.mtm)

    @property
    def positions(self) -> Rows[Position]:
        """All instruments that traded, flat ones included, marked at the last price; values in paise (`.df()`: rupees)."""
        view = self.view
        book = self._book
        return Rows(view.portfolio(book).positions() if book is not None else [], positions_frame)

    @property
    def orders(self) -> Rows[Order]:
        """Each order as it is now."""
        return self._rows(Stream.ORDERS, self.view.orders.values())

    @property
    def fills(self) -> Rows[Fill]:
        return self._rows(Stream.FILLS, self.view.fills)

    @property
    def signals(self) -> Rows[SignalRecord]:
        """One a candle."""
        return self._rows(Stream.SIGNALS, self.view.signals)

    @property
    def requests(self) -> Rows[OrderRequest]:
        """What the strategy asked for, sized."""
        return self._rows(Stream.REQUESTS, self.view.requests)

    @property
    def verdicts(self) -> Rows[Verdict]:
        """What the Gatekeeper said to each request."""
        return self._rows(Stream.VERDICTS, self.view.verdicts)

    @property
    def candles(self) -> Rows[ClosedCandle]:
        return self._rows(Stream.CANDLES, self.view.candles)

    @property
    def alerts(self) -> Rows[Alert]:
        return self._rows(Stream.ALERTS, self.view.alerts)

    @property
    def health(self) -> Rows[Beat]:
        """The last heartbeat of each module. Its own figures are in a row's `figures`; the table has the lag of them."""
        from tradealgo.journal.frames import health_frame

        return Rows(self.view.beats.values(), health_frame)

    def _rows(self, stream: Stream, items: Any) -> Rows[Any]:
        return Rows(items, lambda rows: self._frame(stream, rows))

    def _frame(self, stream: Stream, rows: list[Any]) -> pd.DataFrame:
        from tradealgo.journal.frames import frame

        table = frame(stream, rows)
        if "instrument" not in table and "instrument_token" in table and self._book is not None:
            names = {i.instrument_token: i.key for i in self._book}
            table.insert(0, "instrument", table["instrument_token"].map(names))
        return table

    def df(self, name: str, instrument: str | None = None) -> pd.DataFrame:
        """Anything of the session as a DataFrame: "orders", "fills", "positions", "mtm", "candles", "signals", "requests",
        "verdicts", "alerts", "health", "state", "control".

        Args:
            instrument: only the rows of this one, as in `df("candles", "NSE:INFY")`.

        Raises:
            InvalidInput: a name that isn't one of these.
            UnknownInstrument: no such instrument in the session.
        """
        from tradealgo.journal.frames import recorded_stream

        rows: dict[str, Callable[[], Rows[Any]]] = {
            "positions": lambda: self.positions,
            "state": lambda: self._rows(Stream.STATE, [s for s in (self.state,) if s is not None]),
            "control": lambda: self._rows(Stream.CONTROL, self.view.controls),
        }
        if name not in rows and name not in _ROW_NAMES:
            recorded_stream(name)  # raises for what is no stream
            raise InvalidInput(f"{name!r} is not kept in a session's view: expected one of {', '.join(_NAMES)}")
        table = (rows[name]() if name in rows else getattr(self, name)).df()
        if instrument is None:
            return table
        if "instrument" not in table or self.instruments is None:
            raise InvalidInput(f"{name!r} has no instruments to choose from")
        return table[table["instrument"] == self._book.find(instrument).key]  # type: ignore[union-attr]

    def snapshot(self) -> dict[str, Any]:
        """The desk's figures, JSON-able, in rupees."""
        view = self.view
        return view.snapshot(now=time.time_ns(), book=self._book) | {"past": self._past}

    def latency(self) -> pd.DataFrame:
        """Milliseconds from tick to order, hop by hop, of all orders sent: count, p50, p90, p99, max.

        From `candle` (the closing tick received until the candle is closed) to `broker` (sent until acknowledged);
        `tick to order` is the whole way until the order left.
        """
        from tradealgo.live.latency import latency_frame

        return latency_frame(self.view.orders.values())

    def logs(self, module: str | Module, lines: int = 50) -> Text:
        """The end of a module's log. Raises InvalidInput for a module that the session hasn't."""
        names = sorted(p.stem for p in self.folder.logs.glob("*.log"))
        if str(module) not in names:
            raise InvalidInput(f"no log of {str(module)!r}: expected one of {', '.join(names) or 'none yet'}")
        text = (self.folder.logs / f"{module}.log").read_text(errors="replace")
        return Text("\n".join(text.splitlines()[-lines:]))

    # ------------------------------------------------------------------------------------------ waiting

    def wait(
        self, until: Callable[[LiveSession], Any] | str | None = None, *, state: str | None = None, timeout_s: float = 60.0
    ) -> LiveSession:  # fmt: skip
        """Wait until something holds; returns the session.

        Args:
            until: a function of the session, or an exchange time such as "15:10". Without either: until all modules work.
            state: a trading state, a kill state (or one beyond it), or a status: "ACTIVE", "VERIFIED_FLAT", "RUNNING".

        Raises:
            TimeoutError: it didn't hold in time; says what the session was at.
            TradeAlgoError: the session ended while waiting.
        """
        holds = self._condition(until, state)
        deadline = time.monotonic() + timeout_s
        while not holds(self):
            if self._has_ended() and not holds(self):
                raise TradeAlgoError(f"session {self.id} ended before {_wanted(until, state)}; see session.logs(…)")
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{_wanted(until, state)} did not come within {timeout_s:g} s: the session is {self._words()}"
                )
            time.sleep(POLL_S)
        return self

    def _has_ended(self) -> bool:
        """Whether nothing changes any more: neither its processes run nor an emergency process, which finishes a kill."""
        return (self._past or not self.is_running) and not running.emergencies(self.folder)

    def _kill_now(self) -> KillState | None:
        """As the Gatekeeper said last; by its journal, which a kill still writes, where the bus is gone, hangs or takes nothing."""
        now = self.state
        heard = max((beat.ts for beat in self._view.beats.values()), default=0)
        if self._bus is None or time.time_ns() - heard > SILENT_S * 1e9:
            with contextlib.suppress(sqlite3.Error, JournalError):
                return leftovers.kill_state(self.folder)
        return now.kill if now is not None else None

    def _condition(self, until: Any, state: str | None) -> Callable[[LiveSession], Any]:
        if callable(until):
            return until
        if isinstance(until, str):
            time_of_day = _time_of_day(until)
            return lambda s: (clock := s.clock) is not None and clock.time() >= time_of_day
        if state is None or state == "RUNNING":
            return lambda s: not s.waiting_for
        if state in _KILL_ORDER:
            rank = _KILL_ORDER.index(KillState(state))
            return lambda s: (now := s._kill_now()) is not None and _KILL_ORDER.index(now) >= rank
        if state in list(TradingState):
            return lambda s: (now := s.state) is not None and now.trading == state
        known = ", ".join([*TradingState, *KillState, "RUNNING"])
        raise InvalidInput(f"there is no state {state!r}: expected one of {known}")

    # ------------------------------------------------------------------------------------------ asking

    def kill(self, reason: str = "", source: str = "notebook") -> dict[str, Any]:
        """Trip the kill switch: cancel all, flatten, verify, lock. Returns what was reached; `wait(state="VERIFIED_FLAT")`
        says when it is done. Raises SessionNotFound for a paper session that has ended, and its account with it."""
        leftovers.check_account_lives(self.folder)
        return self._ask(Action.KILL, reason, source)

    def halt(self, reason: str = "", source: str = "notebook") -> dict[str, Any]:
        """Cancel what works and enter nothing more; positions stay."""
        return self._ask(Action.HALT, reason, source)

    def resume(self, reason: str = "", source: str = "notebook") -> dict[str, Any]:
        """Back from a halt."""
        return self._ask(Action.RESUME, reason, source)

    def rearm(self, reason: str, source: str = "notebook", *, force: bool = False) -> dict[str, Any]:
        """Trade again after a kill. Raises BadConfig without a reason."""
        return self._ask(Action.REARM, reason, source, force=force)

    def settle(self, order: str, reason: str, source: str = "notebook", *, found: str = "") -> dict[str, Any]:
        """Say what became of an order that an alert asks about, by its tag: it isn't at the broker, or is `found` there."""
        return self._ask(Action.SETTLE, reason, source, order=order, found=found)

    def _ask(self, action: Action, reason: str, source: str, **more: Any) -> dict[str, Any]:
        try:
            return control.request(self.folder, Control(action=action, source=source, reason=reason, **more))
        except BusUnavailable:
            if running.has_ended(self.folder):
                raise BusUnavailable(f"session {self.id} has ended: {action} needs one that runs") from None
            raise

    def stop(self, source: str = "notebook") -> LiveSession:
        """End the session: nothing new leaves, positions stay as they are (to be flat first, `kill`), processes stop.

        A kill that is under way is waited for, KILL_DONE_S at most; if it isn't LOCKED by then, stderr says so.
        The record stays, and this object shows it.
        """
        if self.is_running:
            self._see_kill_through()
            self._say_stop(source)
        supervisor.stop_session(self.folder)
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        self._past = True
        self._read_record()
        return self

    def _see_kill_through(self) -> None:
        deadline = time.monotonic() + KILL_DONE_S
        while leftovers.is_killing(self.folder):
            if time.monotonic() > deadline:
                print(
                    f"session {self.id} is stopped before its kill is done ({leftovers.kill_state(self.folder)} after "
                    f"{KILL_DONE_S:g} s): positions may be open; `tradealgo kill {self.id}` goes on with it",
                    file=sys.stderr,
                )
                return
            time.sleep(POLL_S)

    def _say_stop(self, source: str) -> None:
        try:
            self._ask(Action.STOP, "", source)
        except TradeAlgoError:
            return  # no bus: the supervisor stops it all the same
        deadline = time.monotonic() + STOP_SAID_S
        while (now := self.state) is not None and now.trading is not TradingState.HALTED:
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_S)

    def desk(self) -> Any:
        """All of it on one screen, in JupyterLab: MTM, price, positions, orders, health, alerts, kill switch."""
        from tradealgo.desk import desk

        return desk(self)

    # ------------------------------------------------------------------------------------------ showing

    def __repr__(self) -> str:
        return f"LiveSession {self.id}: {self._words()}"

    def _words(self) -> str:
        return ", ".join(f"{name} {value}" if name else value for name, value in self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        view, manifest = self.view, self.manifest
        status = "past, as recorded" if self._past else self.status.lower()
        if status == "unsupervised":
            status = f"running, {UNSUPERVISED}"
        facts = [("", status), ("", f"{manifest.mode} account {manifest.account}")]
        parameters = ", ".join(f"{k}={v}" for k, v in manifest.parameters.items() if v)
        facts.append(("", f"{manifest.strategy.rpartition(':')[2]}({parameters}) on {some(manifest.instruments)}"))
        if waiting := [] if self._past else self.waiting_for:
            facts.append(("waiting for", " and ".join(waiting)))
        if view.ts_event:
            facts.append(("exchange time", ist_text(view.ts_event)))
        if view.state is not None:
            facts.append(("trading", f"{view.state.trading}, kill {view.state.kill}"))
        if view.mtm:
            facts.append(("MTM", f"Rs {view.mtm[-1].mtm / 100:,.2f}"))
        facts.append(("orders", f"{len(view.orders)}, fills {len(view.fills)}"))
        if alerts := view.open_alerts:
            facts.append(("alerts", "; ".join(a.text for a in alerts[-3:])))
        return facts

    def _repr_html_(self) -> str:
        colour = "#b45309" if self.manifest.mode == "live" else "#2563eb"
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(n)}</td><td style='text-align:left'>{html.escape(v)}</td></tr>"
            for n, v in self._facts()
        )
        head = f"<b style='color:{colour}'>{self.manifest.mode.upper()}</b> <b>{html.escape(self.id)}</b>"
        return f"<div style='border-left:4px solid {colour};padding-left:8px'>{head}<table>{rows}</table></div>"


#: The names of `df` that are properties of the same name, and all of them.
_ROW_NAMES = ("orders", "fills", "mtm", "candles", "signals", "requests", "verdicts", "alerts", "health")
_NAMES = (*_ROW_NAMES, "positions", "state", "control")


def _time_of_day(text: str) -> dt.time:
    try:
        return dt.time.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"until={text!r}: expected an exchange time such as '15:10', or a function") from None


def _wanted(until: Any, state: str | None) -> str:
    if isinstance(until, str):
        return f"exchange time {until}"
    return state or ("what until= asks for" if until else "RUNNING")


def attach(session_id: str | None = None) -> LiveSession:
    """A session of this home: by id or the beginning of one, past ones too; without, the newest that is running, a live
    one before any on paper.

    Raises SessionNotFound, which lists what there is.
    """
    folders = session_dirs()[::-1]
    if session_id is None:
        if found := supervisor.running_sessions(folders):
            return min(map(LiveSession, found), key=lambda s: s.manifest.mode is not Mode.LIVE)
        raise SessionNotFound(f"no session is running: {_there_is(folders, 'past sessions are')}")
    found = [f for f in folders if f.path.name.startswith(session_id)]
    exact = [f for f in found if f.path.name == session_id]
    if len(exact or found) == 1:
        return LiveSession((exact or found)[0])
    problem = f"{len(found)} sessions begin with" if found else "there is no session"
    raise SessionNotFound(f"{problem} {session_id!r}: {_there_is(found or folders)}")


def _there_is(folders: list[SessionDir], are: str = "there are", most: int = 5) -> str:
    if not folders:
        return f"none was ever launched in {home()}; launch() starts one"
    names = ", ".join(f.path.name for f in folders[:most])
    return f"{are} {names}" + (f" and {len(folders) - most} older" if len(folders) > most else "")
