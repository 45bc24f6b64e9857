"""What an ended session left at the broker, as its journal has it: a live launch on that account is refused."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import msgspec
import pytest
from ended_session import ACCOUNT, BOUGHT, DAY_NS, fill, manifest, order, said, session

from tradealgo import running
from tradealgo.config import Mode, SessionDir
from tradealgo.domain.errors import LeaseHeld
from tradealgo.domain.hours import ist_date
from tradealgo.domain.orders import OrderState, Side
from tradealgo.domain.state import KillCause, KillState, SessionState, TradingState
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.lease import Lease
from tradealgo.gatekeeper.messages import Kind, Record
from tradealgo.live import leftovers, supervisor
from tradealgo.live.day import end_of_day
from tradealgo.live.launch import _check_lease, start
from tradealgo.live.leftovers import check_leftovers, check_loss, is_killing, kill_state, left_open
from tradealgo.live.session import LiveSession, attach


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own."""
    monkeypatch.setenv("TRADEALGO_HOME", str(tmp_path))
    return tmp_path


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
        ((BOUGHT,), ["+75 NSE:INFY"]),
        ((order(OrderState.CANCELLED, filled_quantity=4),), ["+4 NSE:INFY"]),
        ((BOUGHT, fill(Side.BUY, 25), fill(Side.BUY, 50), BOUGHT), ["+75 NSE:INFY"]),
        ((fill(Side.BUY), BOUGHT), ["+75 NSE:INFY"]),
        ((BOUGHT, said(KillState.LOCKED), fill(Side.BUY)), []),
        ((), []),
    ],
)
def test_the_journals_end_says_what_is_open(home: Path, records: tuple[Record, ...], words: list[str]) -> None:
    """What has filled, by the order's word or the trade's, and working orders, since the broker was last verified flat."""
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


def test_earlier_days_are_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch looks at the journals of all days, and a year of them would take minutes."""
    folder = session(home, fill(Side.BUY), ts=time.time_ns() - 2 * DAY_NS)
    monkeypatch.setattr(leftovers, "read", lambda *_, **__: pytest.fail("it was read"))
    assert left_open(folder, time.time_ns()) == []


def tripped(cause: KillCause, kill: KillState = KillState.LOCKED, days_ago: int = 0) -> Record:
    return Record(Kind.STATE, SessionState(
        trading=TradingState.HALTED, kill=kill, cause=cause, reason="MTM Rs -20,100", ts_flat=1,
        ts_tripped=time.time_ns() - days_ago * DAY_NS,
    ))  # fmt: skip


def test_a_launch_after_the_days_loss_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new session would have a whole limit, past the questions that a re-arm asks; whoever means it says so."""
    session(home, tripped(KillCause.MTM))
    words = rf"the loss limit of account {ACCOUNT} tripped today in session old \(MTM Rs -20,100\).*after_loss=True"
    with pytest.raises(LeaseHeld, match=words):
        start(manifest("new"), None)
    monkeypatch.setattr(supervisor, "start", lambda *_: 1)
    assert start(manifest("new"), None, after_loss=True).id == "new"


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (tripped(KillCause.PERSON), {}),
        (tripped(KillCause.MTM, days_ago=2), {}),
        (tripped(KillCause.MTM), {"account": "ZZ0000"}),
        (tripped(KillCause.MTM), {"mode": Mode.PAPER}),
        (said(KillState.ARMED), {}),
    ],
)
def test_what_is_no_loss_of_the_account_and_day(home: Path, record: Record, changes: dict[str, object]) -> None:
    """Somebody's kill, another day, another account, a paper session's, one that was re-armed."""
    session(home, record, **changes)
    check_loss(ACCOUNT, time.time_ns())


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


def test_a_lease_without_a_supervisor_names_its_session(home: Path) -> None:
    """And the command that ends it."""
    lease = Lease(ACCOUNT, "old", str(home))
    lease.acquire()
    try:
        with pytest.raises(LeaseHeld, match="end its session with `tradealgo stop old`, and launch again"):
            _check_lease(ACCOUNT)
    finally:
        lease.release()
    _check_lease(ACCOUNT)


@pytest.mark.parametrize(("mode", "gone"), [(Mode.PAPER, True), (Mode.LIVE, False)])
def test_a_kill_waits_for_no_look_that_fails(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, gone: bool
) -> None:
    """An ended paper account has nothing to make flat; who can't find out goes on with the kill."""
    folder = session(home, mode=mode)
    assert running.account_is_gone(folder) is gone

    def fail(_: SessionDir) -> None:
        raise PermissionError

    monkeypatch.setattr(running, "processes", fail)
    assert not running.account_is_gone(folder)
    monkeypatch.undo()
    folder.manifest.write_bytes(b"{")
    assert not running.account_is_gone(folder)


def test_a_session_of_another_day_is_not_attached_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thursday's, which nobody ended, runs on Friday morning: it enters nothing any more."""
    old = msgspec.structs.replace(manifest("old"), day="2026-11-19")
    SessionDir(home / "sessions" / "old").write_manifest(old)
    monkeypatch.setattr(supervisor, "is_running", lambda folder: True)
    monkeypatch.setattr(supervisor, "start", lambda *_: pytest.fail("it was started"))
    with pytest.raises(
        LeaseHeld, match=r"still held by session old, which is of Thu 19 Nov .* attach\('old'\)\.stop\(\)"
    ):
        start(msgspec.structs.replace(manifest("new"), day="2026-11-20"), None)


def test_a_session_that_is_being_stopped_is_not_attached_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers to the last: a launch waits for its end, and starts another."""
    SessionDir(home / "sessions" / "old").write_manifest(manifest("old"))
    left = iter((True, True, False))
    monkeypatch.setattr(supervisor, "is_running", lambda _: next(left))
    monkeypatch.setattr(supervisor, "is_stopping", lambda _: True)
    monkeypatch.setattr(supervisor, "start", lambda *_: 1)
    assert start(manifest("new"), None).id == "new"
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT_S", 0.0)
    with pytest.raises(LeaseHeld, match="session old is still being stopped: launch again when it has ended"):
        start(manifest("newer"), None)


def test_attaching_reads_no_candles(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session that runs has heard its own."""
    old = msgspec.structs.replace(manifest("old"), warm_up="of 10:00", warm_up_days=3)
    SessionDir(home / "sessions" / "old").write_manifest(old)
    monkeypatch.setattr(supervisor, "is_running", lambda folder: True)
    again = msgspec.structs.replace(old, session_id="new", warm_up="")
    assert start(again, None, lambda: pytest.fail("they were read")).id == "old"


@pytest.mark.parametrize(("days", "ends"), [(-1, True), (0, True), (1, False)])
def test_a_close_that_does_not_come_ends_the_session_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, days: int, ends: bool
) -> None:
    """A day without a login: next morning the account must be free. A session launched for tomorrow stays."""
    of = ist_date(time.time_ns()) + dt.timedelta(days=days)
    SessionDir(home / "sessions" / "old").write_manifest(msgspec.structs.replace(manifest("old"), day=of.isoformat()))
    stopped: list[str] = []
    monkeypatch.setattr(supervisor, "is_running", lambda _: True)
    monkeypatch.setattr(LiveSession, "stop", lambda self: stopped.append(self.id))
    with pytest.raises(TimeoutError):
        end_of_day(attach("old"), timeout_s=0)
    assert stopped == ["old"] * ends
