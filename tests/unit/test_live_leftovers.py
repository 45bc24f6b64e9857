"""What an ended session left at the broker, as its journal has it: a live launch on that account is refused."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.orders import Fill, Intent, Order, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import KillState, SessionState, TradingState
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.messages import Kind, Record
from tradealgo.live import session as session_module
from tradealgo.live import supervisor
from tradealgo.live.launch import start
from tradealgo.live.leftovers import check_leftovers, is_killing, kill_state, left_open
from tradealgo.live.session import LiveSession

ACCOUNT = "AB1234"
DAY_NS = 86_400 * 10**9


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    return tmp_path


def manifest(name: str, mode: Mode = Mode.LIVE, account: str = ACCOUNT) -> Manifest:
    return Manifest(
        session_id=name, mode=mode, account=account, strategy="m:C", parameters={}, sizing=Sizing(lots=1),
        instruments=("NSE:INFY",), capital=1e6, bus_url="unix:///nowhere/bus.sock",
    )  # fmt: skip


def fill(side: Side, quantity: int = 75) -> Record:
    return Record(Kind.FILL, Fill(
        trade_id=f"{side}{quantity}", tag="T1", order_id="1", instrument_token=1, instrument="NSE:INFY", side=side,
        quantity=quantity, price=100.0, ts_event=1,
    ))  # fmt: skip


def order(state: OrderState) -> Record:
    return Record(Kind.ORDER, Order(
        tag="T2", request_id="r", session_id="old", instrument_token=1, instrument="NSE:INFY", side=Side.BUY,
        quantity=10, price=100.0, intent=Intent.ENTRY, state=state,
    ))  # fmt: skip


def said(kill: KillState) -> Record:
    return Record(Kind.STATE, SessionState(trading=TradingState.HALTED, kill=kill))


def session(home: Path, *records: Record, ts: int = 0, **changes: object) -> SessionDir:
    """An ended session that journaled these."""
    folder = SessionDir(home / "sessions" / "old")
    folder.write_manifest(manifest("old", **changes))  # type: ignore[arg-type]
    journal = Journal(folder.journal)
    for record in records:
        journal.append([record], ts or time.time_ns())
    journal.close()
    return folder


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ((fill(Side.BUY),), ["+75 NSE:INFY"]),
        ((fill(Side.SELL), fill(Side.BUY, 25)), ["-50 NSE:INFY"]),
        ((fill(Side.BUY), fill(Side.SELL)), []),
        ((order(OrderState.SUBMITTING), order(OrderState.UNKNOWN)), ["1 working order in NSE:INFY"]),
        ((order(OrderState.OPEN), order(OrderState.CANCELLED)), []),
        ((fill(Side.BUY), said(KillState.CANCELLING)), ["+75 NSE:INFY"]),
        ((fill(Side.BUY), order(OrderState.OPEN), said(KillState.LOCKED)), []),
        ((fill(Side.BUY), said(KillState.LOCKED), said(KillState.ARMED), fill(Side.SELL)), ["-75 NSE:INFY"]),
        ((), []),
    ],
)
def test_the_journals_end_says_what_is_open(home: Path, records: tuple[Record, ...], words: list[str]) -> None:
    """Net fills and working orders since the broker was last verified flat."""
    assert left_open(session(home, *records), time.time_ns()) == words


def test_a_launch_on_the_account_is_refused_with_the_mend(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of the new session is made."""
    session(home, fill(Side.BUY))
    monkeypatch.setattr(supervisor, "start", lambda *_: pytest.fail("it was started"))
    with pytest.raises(LeaseHeld, match=r"session old ended today and left \+75 NSE:INFY on account AB1234: make it "
                                        r"flat with `tradealgo kill old`"):  # fmt: skip
        start(manifest("new"), None)
    assert [p.name for p in (home / "sessions").iterdir()] == ["old"]


@pytest.mark.parametrize(
    "changes",
    [{"ts": time.time_ns() - DAY_NS}, {"mode": Mode.PAPER}, {"account": "CD5678"}],
    ids=["ts", "mode", "account"],
)
def test_what_does_not_bind_the_account(home: Path, changes: dict[str, object]) -> None:
    """Yesterday's (the broker squared it off), a paper session's (its exchange is gone), another account's."""
    session(home, fill(Side.BUY), **changes)  # type: ignore[arg-type]
    check_leftovers(ACCOUNT, time.time_ns())


def test_a_journal_that_cannot_be_read_is_not_taken_for_flat(home: Path) -> None:
    """The sentence says why nobody knows."""
    session(home).journal.write_bytes(b"not a database" * 100)
    with pytest.raises(LeaseHeld, match=r"its journal can't be read \(file is not a database\)"):
        check_leftovers(ACCOUNT, time.time_ns())


def test_a_kill_is_under_way_until_locked(home: Path) -> None:
    """From the flag on, through each state; a re-arm ends it."""
    folder = session(home)
    assert (kill_state(folder), is_killing(folder)) == (KillState.ARMED, False)
    folder.kill_flag.write_text("{}")
    assert is_killing(folder)
    journal = Journal(folder.journal)
    for state in list(KillState)[1:]:
        journal.append([said(state)], 1)
        assert kill_state(folder) is state
        assert is_killing(folder) == (state is not KillState.LOCKED)
    folder.kill_flag.unlink()
    journal.append([said(KillState.ARMED)], 1)
    journal.close()
    assert not is_killing(folder)


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> list[KillState]:
    """Where the kill stood each time a session's processes were stopped; none are there."""
    states: list[KillState] = []
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(supervisor, "stop_session", lambda folder: states.append(kill_state(folder)))
    return states


def test_a_stop_waits_for_a_kill_under_way(home: Path, stopped_at: list[KillState]) -> None:
    """Processes end once it is LOCKED, and not in the middle."""
    folder = session(home, fill(Side.BUY), said(KillState.CANCELLING))

    def lock() -> None:
        journal = Journal(folder.journal)
        journal.append([said(KillState.LOCKED)], time.time_ns())
        journal.close()

    timer = threading.Timer(0.5, lock)
    timer.start()
    LiveSession(folder).stop()
    timer.join()
    assert stopped_at == [KillState.LOCKED]


def test_a_stop_before_the_kill_is_done_says_so(
    home: Path, stopped_at: list[KillState], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits no longer than it says, and names the mend."""
    monkeypatch.setattr(session_module, "KILL_DONE_S", 0.2)
    LiveSession(session(home, said(KillState.FLATTENING))).stop()
    assert stopped_at == [KillState.FLATTENING]
    assert (
        "(FLATTENING after 0.2 s): positions may be open; `tradealgo kill old` goes on with it"
        in capsys.readouterr().err
    )


def test_a_stop_without_a_kill_waits_for_nothing(
    home: Path, stopped_at: list[KillState], capsys: pytest.CaptureFixture[str]
) -> None:
    """ARMED or LOCKED long ago."""
    LiveSession(session(home, fill(Side.BUY))).stop()
    assert stopped_at == [KillState.ARMED]
    assert not capsys.readouterr().err
