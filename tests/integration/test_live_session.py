"""A paper session of real processes: launched, watched, attached to from elsewhere, killed, stopped, read as past."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from tradealgo import Limits, Market, Sizing, attach, launch, running
from tradealgo.cli import main
from tradealgo.config import SessionDir, token_file
from tradealgo.domain.errors import InvalidInput, LeaseHeld, SessionNotFound
from tradealgo.domain.state import KillState, Module, TradingState
from tradealgo.live import supervisor
from tradealgo.live.leftovers import kill_state
from tradealgo.live.session import LiveSession
from tradealgo.process import ASIDE
from tradealgo.strategies import EmaCross

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

#: Generous: the machine may be busy with other work. What is waited for takes seconds.
START_S = 180
MARKET = Market(day="2026-11-20", seed=3, speed=120)
INSTRUMENTS = ["NSE:INFY", "NFO:NIFTY26NOVFUT"]


def started(**changes: object) -> LiveSession:
    """The session of these tests, or with a changed argument one that differs from it."""
    arguments: dict[str, object] = {"market": MARKET, "sizing": Sizing(lots=1), "account": "PAPER1"}
    return launch(EmaCross(fast=3, slow=8), INSTRUMENTS, **(arguments | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of this file's own; whatever still runs in it at the end is stopped."""
    folder = tmp_path_factory.mktemp("live-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEALGO_HOME", str(folder))
        patch.setenv("KITE_API_SECRET", "must-not-reach-a-paper-session")
        patch.delenv("REDIS_URL", raising=False)
        yield folder
        for path in folder.glob("sessions/*"):
            supervisor.stop_session(SessionDir(path))


@pytest.fixture(scope="module")
def session(home: Path) -> LiveSession:
    """One session for the tests of this file, which go through its life in order."""
    began = time.monotonic()
    found = started()
    assert time.monotonic() - began < 30  # a second or two on a machine of its own
    return found


def test_it_runs_and_trades(session: LiveSession) -> None:
    """All modules get ready, the bell rings, candles close, orders fill, MTM moves, the books agree with the fills."""
    session.wait(timeout_s=START_S)
    assert session.status == "RUNNING"
    assert session.folder.path.stat().st_mode & 0o077 == 0  # nobody else on this machine reads books and strategy
    traded = set(INSTRUMENTS)
    session.wait(lambda s: len(s.fills) >= 4 and {f.instrument for f in s.fills} == traded, timeout_s=START_S)
    assert session.state is not None
    assert (session.state.trading, session.state.kill) == (TradingState.ACTIVE, KillState.ARMED)
    view = session.view  # of one moment: each look at the session reads what is new
    assert view.mtm
    assert len(view.signals) >= len(view.requests) >= len(view.orders) >= 4
    positions, fills = session.positions, list(session._view.fills)
    signed = {key: sum(f.side.sign * f.quantity for f in fills if f.instrument == key) for key in INSTRUMENTS}
    assert {p.instrument: p.quantity for p in positions} == signed


def test_its_tables_are_what_people_read(session: LiveSession) -> None:
    """DataFrames by name, one instrument's rows, a sentence for a wrong name; a cell shows it all."""
    orders = session.df("orders")
    assert {"instrument", "side", "state", "ts_sent"} <= set(orders.columns)
    candles = session.df("candles", "NSE:INFY")
    assert set(candles["instrument"]) == {"NSE:INFY"}
    assert str(candles.index[0]) == "2026-11-20 09:15:00+05:30"
    assert candles.index.is_monotonic_increasing
    assert session.df("mtm")["limit"].iloc[-1] == -20_000
    with pytest.raises(InvalidInput, match="no table 'ordres'"):
        session.df("ordres")
    assert session.id in repr(session)
    assert "EmaCross" in session._repr_html_()
    assert "NSE:INFY" in session.fills._repr_html_()
    latency = session.latency()
    assert latency.loc["tick to order", "count"] >= 4
    assert 0 < latency.loc["tick to order", "p50_ms"] < 10_000
    assert "opening bell" in session.logs("monitor", 1_000)
    with pytest.raises(InvalidInput, match=r"no log of 'gatekeper': expected one of .*gatekeeper"):
        session.logs("gatekeper")


def test_a_paper_session_has_no_broker_secret(session: LiveSession) -> None:
    """What the launching kernel holds is in no process's environment, and the token is readable by this user alone."""
    assert token_file("PAPER1").stat().st_mode & 0o077 == 0
    if not sys.platform.startswith("linux"):
        return
    for process in running.processes(session.folder):
        assert "must-not-reach" not in Path(f"/proc/{process.pid}/environ").read_text()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux knows processes that wait for a free core")
def test_what_no_order_waits_for_gives_way(session: LiveSession) -> None:
    """The paper exchange, the Recorder, the Monitor and the Sentinel never take the core from one that sent them something."""
    found = {
        m: os.sched_getscheduler(int((session.folder.pids / f"{m}.pid").read_text())) for m in Module if m != "bus"
    }
    assert {m for m, policy in found.items() if policy == os.SCHED_BATCH} == ASIDE
    assert set(found.values()) == {os.SCHED_BATCH, os.SCHED_OTHER}


def test_the_same_launch_again_attaches(session: LiveSession, capsys: pytest.CaptureFixture[str]) -> None:
    """Re-running the cell gives the running session, and says so."""
    assert started().id == session.id
    assert f"attached to {session.id}, which is running already" in capsys.readouterr().out


def test_another_launch_on_the_account_is_refused(session: LiveSession) -> None:
    """It names the session that runs, what differs, and the ways out."""
    with pytest.raises(LeaseHeld) as caught:
        started(capital=2_000_000, limits=Limits(max_loss_fraction=0.01))
    text = str(caught.value)
    assert session.id in text
    assert "differs in capital, limits" in text
    assert f"attach('{session.id}')" in text


def test_another_process_attaches_and_sees_it_whole(session: LiveSession) -> None:
    """A kernel that knows nothing but the home finds the session, with its orders from the beginning."""
    script = "from tradealgo import attach; s = attach(); print(s.id, len(s.orders), s.orders[0].tag, s.status)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found, orders, tag, status = run.stdout.split()
    assert (found, tag, status) == (session.id, session.orders[0].tag, "RUNNING")
    assert int(orders) >= 4


def test_the_command_line_shows_the_same(session: LiveSession) -> None:
    """`tradealgo status --json` lists it; an unknown session is one sentence and an exit code."""
    run = tradealgo("status", "--json")
    (row,) = json.loads(run.stdout)
    assert (row["session_id"], row["status"], row["kill"]) == (session.id, "RUNNING", "ARMED")
    run = tradealgo("status", "nosuch")
    assert run.returncode == 1
    assert run.stderr.strip() == f"tradealgo: there is no session 'nosuch': there are {session.id}"


def tradealgo(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tradealgo.cli", *words],
        capture_output=True, text=True, timeout=240, env=os.environ | environment,
    )  # fmt: skip


def test_an_order_is_explained_in_words(session: LiveSession) -> None:
    """`tradealgo explain TAG` tells the chain from request to fill."""
    run = tradealgo("explain", session.orders[0].tag)
    assert run.returncode == 0, run.stderr
    assert session.orders[0].instrument in run.stdout
    assert session.orders[0].tag in run.stdout


def test_a_killed_module_comes_back(session: LiveSession) -> None:
    """kill -9 of the Consumer: the supervisor starts it again, the Monitor tells, and candles go on without a gap."""
    old = supervisor.states(session.folder)[Module.CONSUMER].pid
    os.kill(old, signal.SIGKILL)
    session.wait(lambda s: supervisor.states(s.folder)[Module.CONSUMER].pid not in (0, old), timeout_s=START_S)
    count = len(session.candles)
    session.wait(lambda s: len(s.candles) > count + 4, timeout_s=START_S)
    starts = session.df("candles", "NSE:INFY").index
    assert not starts.has_duplicates
    assert set(starts.to_series().diff().dropna().dt.total_seconds()) == {60.0}


def test_a_kill_is_verified_flat_and_locked(session: LiveSession) -> None:
    """From the command line: the flag, the bus and the signal are reached, the broker says flat, nothing is held."""
    run = tradealgo("kill", "--reason", "drill")
    assert run.returncode == 0, run.stderr
    assert "kill asked (flag, bus, signal)" in run.stdout
    assert "VERIFIED_FLAT in" in run.stdout
    session.wait(state="LOCKED", timeout_s=30)
    assert session.state is not None
    assert session.state.ts_flat > session.state.ts_tripped
    assert not session.view.working_orders
    session.wait(lambda s: all(p.quantity == 0 for p in s.positions), timeout_s=30)  # once the trades are listed
    assert session.folder.kill_flag.exists()
    session.wait(lambda s: "needed no help" in s.logs("emergency"), timeout_s=60)


def test_a_rearm_needs_a_reason_and_trading_goes_on(session: LiveSession) -> None:
    """Without one it is refused; with one the kill is ARMED again and the flag gone."""
    with pytest.raises(InvalidInput, match="a re-arm needs a reason"):
        session.rearm("  ")
    session.rearm("the drill is over")
    session.wait(lambda s: s.state.kill is KillState.ARMED, timeout_s=30)
    assert not session.folder.kill_flag.exists()
    session.wait(lambda s: s.state.trading is TradingState.ACTIVE, timeout_s=30)
    again = CliRunner().invoke(main, ["rearm", session.id, "--reason", "once more"])
    assert again.output == f"{session.id}: nothing to re-arm, it is ARMED and trading is ACTIVE\n"
    CliRunner().invoke(main, ["kill", session.id, "--halt-only"])
    session.wait(state="HALTED", timeout_s=30)
    resumed = CliRunner().invoke(main, ["rearm", session.id, "--reason", "it was a false alarm"])
    assert resumed.output == f"{session.id}: ARMED, trading ACTIVE\n"


def test_stop_leaves_no_process_and_a_readable_past(session: LiveSession) -> None:
    """All processes end, sockets go, and a new object reads everything from the record."""
    pids = [p.pid for p in running.processes(session.folder)]
    assert len(pids) >= 9  # supervisord and eight programs
    fills = list(session.fills)
    session.stop()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not session.folder.has_sockets
    past = attach(session.id)
    assert past.status == "PAST"
    assert list(past.fills)[: len(fills)] == fills
    assert "past, as recorded" in repr(past)
    assert past.state is not None
    assert not past.view.open_alerts
    assert [p.instrument for p in past.positions]
    assert past.df("candles", "NSE:INFY").index.is_monotonic_increasing
    with pytest.raises(SessionNotFound, match=f"no session is running: past sessions are {session.id}"):
        attach()


def test_a_kill_while_the_gatekeeper_hangs_is_finished_for_it(home: Path) -> None:
    """SIGSTOP: it neither reads the bus nor the flag. The watcher ends it, takes the lease over and makes flat."""
    session = started(account="PAPER4")
    with contextlib.closing(Stopped(session)):
        session.wait(lambda s: any(p.quantity for p in s.positions), timeout_s=START_S)
        os.kill(supervisor.states(session.folder)[Module.GATEKEEPER].pid, signal.SIGSTOP)
        assert session.kill("drill")["watched"]
        session.wait(state="VERIFIED_FLAT", timeout_s=120)
        session.wait(lambda s: all(p.quantity == 0 for p in s.positions), timeout_s=30)
        assert "does not answer: ending it" in session.logs("emergency")


def test_a_strategy_of_a_script_travels_as_source_and_its_error_is_seen(home: Path, tmp_path: Path) -> None:
    """A class from a file runs in the session; it raises for one instrument, which alone is stopped and alerted."""
    script = tmp_path / "mine.py"
    script.write_text(
        "from tradealgo.strategies import FLAT, LONG, Candle, Signal, Strategy\n\n"
        "class Fragile(Strategy):\n"
        '    """Breaks on the future, whose prices are above 10,000."""\n\n'
        "    def setup(self) -> None:\n        self.seen = 0\n\n"
        "    def on_candle(self, candle: Candle) -> Signal:\n"
        "        self.seen += 1\n"
        "        if candle.close > 10_000 and self.seen > 2:\n"
        "            raise ValueError('boom')\n"
        "        return LONG if self.seen % 4 < 2 else FLAT\n"
    )
    words = ("launch", f"{script}:Fragile", *INSTRUMENTS, "--day", MARKET.day, "--speed", "120", "--account", "PAPER2")
    run = tradealgo(*words, "--json")
    assert run.returncode == 0, run.stderr
    session = attach(json.loads(run.stdout)["session_id"])
    with contextlib.closing(Stopped(session)):
        session.wait(lambda s: [a for a in s.alerts if a.code.startswith("strategy_raised")], timeout_s=START_S)
        (alert,) = [a for a in session.alerts if a.code.startswith("strategy_raised")]
        assert "NFO:NIFTY26NOVFUT is stopped" in alert.text
        assert "boom" in alert.text
        signals = len(session.df("signals", "NSE:INFY"))
        session.wait(lambda s: len(s.df("signals", "NSE:INFY")) > signals + 2, timeout_s=START_S)
        assert len(session.df("signals", "NFO:NIFTY26NOVFUT")) == 2
        assert "class Fragile" in session.folder.strategy_source.read_text()
        os.kill(supervisor.states(session.folder)[Module.GATEKEEPER].pid, signal.SIGSTOP)
        session.kill("drill")
        session.stop()  # sees the kill through, which only the emergency process can finish now
        assert kill_state(session.folder) is KillState.LOCKED
        assert not running.emergencies(session.folder)


class Stopped:
    """Stops a session at the end of a block."""

    def __init__(self, session: LiveSession) -> None:
        self.session = session

    def close(self) -> None:
        self.session.stop()


def test_a_kill_needs_neither_the_tmpdir_of_the_launch_nor_a_supervisor(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service, a notebook and ssh have each their TMPDIR; kill -9 of supervisord leaves the modules, which trade on.

    `status`, `kill` and `stop` without an id find the session all the same, and a launch attaches; doctor names it.
    """
    slow = Market(day=MARKET.day, seed=MARKET.seed, speed=30)  # its day outlasts the test
    session = started(account="PAPER3", market=slow)
    folder = session.folder
    with contextlib.closing(Stopped(session)):
        session.wait(timeout_s=START_S)
        session.wait(state="ACTIVE", timeout_s=START_S)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert (attach().id, attach().status) == (session.id, "RUNNING")
        assert started(account="PAPER3", market=slow).id == session.id
        assert "which is running already" in capsys.readouterr().out
        run = tradealgo("kill", "--reason", "panic", "--timeout", "120", TMPDIR=str(tmp_path))
        assert run.returncode == 0, run.stderr
        assert f"{session.id}: VERIFIED_FLAT" in run.stdout
        session.wait(state="LOCKED", timeout_s=60)
        session.rearm("the drill is over")
        session.wait(lambda s: s.state.kill is KillState.ARMED, timeout_s=60)
        (daemon,) = [p for p in running.processes(folder) if "supervisor.supervisord" in p.info["cmdline"]]
        daemon.kill()
        daemon.wait(10)
        assert not supervisor.is_running(folder)
        assert running.processes(folder)
        run = tradealgo("doctor")
        assert f"processes of {session.id} run without a supervisor" in run.stdout
        assert (session.status, session.is_past) == ("UNSUPERVISED", False)
        assert "running, its supervisor is gone: a module that dies is not started again" in repr(session)
        run = tradealgo("status")
        assert "UNSUPERVISED" in run.stdout
        assert f"{session.id} runs, but its supervisor is gone" in run.stdout
        with pytest.raises(LeaseHeld, match=f"end its session with `tradealgo stop {session.id}`"):
            started(account="PAPER3", market=slow)
        away = folder.sockets_path.rename(f"{folder.sockets_path}-away")  # as those of a service whose /tmp is its own
        run = tradealgo("kill", "--reason", "panic", "--timeout", "120")
        away.rename(folder.sockets_path)
        assert run.returncode == 0, run.stderr
        assert f"{session.id}: kill asked (flag, signal)" in run.stdout
        assert f"{session.id}: VERIFIED_FLAT" in run.stdout
        run = tradealgo("stop")
        assert run.returncode == 0, run.stderr
        assert f"{session.id}: stopped" in run.stdout
        assert not running.processes(folder)
