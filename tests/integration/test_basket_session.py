"""The house strategy as a paper session of real processes: the event backtest's signals and order requests, one by one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tradealgo import Limits, Market, Sizing, attach, backtest, launch, parity
from tradealgo.cli import main
from tradealgo.config import SessionDir
from tradealgo.domain.errors import InvalidInput
from tradealgo.domain.orders import Intent
from tradealgo.domain.state import Module
from tradealgo.live import supervisor
from tradealgo.live.day import day_backtest, day_report
from tradealgo.live.promote import promote, required
from tradealgo.live.session import LiveSession
from tradealgo.research.basket import basket_candles
from tradealgo.research.history import simulated
from tradealgo.strategies import Hybrid, StraddleManager

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

DAY, SEED, SPEED = "2026-11-20", 1, 600.0
#: Generous: the machine may be busy with other work. The day itself takes 39 s.
START_S, DAY_S = 180.0, 240.0
#: Out by 14:30: nine seconds before the close at this speed, in which an exit comes off however busy the machine is. By
#: default it may sell until 14:45 and be asked out at 15:15.
BASKET = Hybrid(lookback=20, enter_until="14:00", exit_at="14:30")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of this file's own; whatever still runs in it at the end is stopped."""
    folder = tmp_path_factory.mktemp("basket-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEALGO_HOME", str(folder))
        patch.delenv("REDIS_URL", raising=False)
        yield folder
        for path in folder.glob("sessions/*"):
            supervisor.stop_session(SessionDir(path))


@pytest.fixture(scope="module")
def session(home: Path) -> LiveSession:
    """The Hybrid's day after another, launched without naming an instrument; nothing is denied for the replay's pace."""
    limits = Limits(stale_price_s=1e6, entry_max_age_s=1e3, option_fat_finger_fraction=10.0)
    return launch(BASKET, market=Market(day=DAY, seed=SEED, speed=SPEED), limits=limits, warm_up=1)


def kill_consumer(session: LiveSession) -> None:
    """kill -9, and wait for the one that the supervisor starts in its place."""
    pid = session.view.beats[Module.CONSUMER].pid
    os.kill(pid, signal.SIGKILL)
    session.wait(until=lambda s: (beat := s.view.beats[Module.CONSUMER]).pid != pid and beat.state == "READY",
                 timeout_s=START_S)  # fmt: skip


def test_a_day_of_the_hybrid_is_its_backtest(session: LiveSession) -> None:
    """Its Consumer is killed -9 twice; every signal and order request is the event backtest's, and comes once."""
    session.wait(timeout_s=START_S)
    for moment in ("10:30", "12:30"):
        session.wait(until=moment, timeout_s=DAY_S)
        kill_consumer(session)
    session.wait(until="15:39", timeout_s=DAY_S)
    candles = basket_candles(BASKET, DAY, SEED)
    test = backtest(BASKET, candles, engine="event", warm_up=simulated("2026-11-19", SEED, [i.key for i in candles]))
    session.wait(until=lambda s: len(s.signals) >= len(test.signal_records), timeout_s=DAY_S)
    found = parity(test, session.signals, session.requests).check()
    assert found.signals == len(session.signals) > 200
    assert found.requests == len(session.requests) >= 8
    assert {r.group_size for r in session.requests if r.intent is Intent.ENTRY} == {2}


def test_people_see_what_it_holds(session: LiveSession) -> None:
    """Status, tables and the desk's snapshot have its options; the books are those of the fills."""
    assert len(session.fills) >= 2
    traded = {f.instrument for f in session.fills}
    assert all(key.startswith("NFO:NIFTY26NOV") for key in traded)
    assert {p["instrument"] for p in session.snapshot()["positions"]} == traded
    signed = {key: sum(f.side.sign * f.quantity for f in session.fills if f.instrument == key) for key in traded}
    assert {p.instrument: p.quantity for p in session.positions} == signed
    run = CliRunner().invoke(main, ["status", session.id])
    assert "Hybrid on NSE:RELIANCE" in run.output
    session.stop()


def test_its_day_promotes_it(session: LiveSession, tmp_path: Path) -> None:
    """Over, held against the backtest of its own candles, and looked at for cheating: it may go live; the report is written."""
    checks, made = promote(session)
    assert all(c.passed for c in checks), checks
    assert made is not None
    assert made.requests >= 8
    assert required(BASKET, 60) == made
    held, place = day_report(session, day_backtest(session), tmp_path)
    assert held.differences == []
    assert (place / "report.html").exists()


def test_a_basket_is_launched_from_the_command_line(home: Path) -> None:
    """With its parameters, and named instruments that may include the index; the kill buys back what it sold. It sells
    anew at each strike that the index moves: an entry whose price a busy machine was late with is denied.
    """
    named = [
        "NSE:NIFTY 50",
        *(f"NFO:NIFTY26NOV{strike}{right}" for strike in (23650, 23700, 23750) for right in ("CE", "PE")),
    ]
    options = [
        "-p",
        "hedge=0",
        "-p",
        "recentre=1",
        "-p",
        "enter_at=09:20",
        "--day",
        DAY,
        "--seed",
        "1",
        "--speed",
        "60",
        "--account",
        "PAPER2",
    ]
    run = CliRunner().invoke(main, ["launch", "StraddleManager", *named, *options, "--json"])
    assert run.exit_code == 0, run.output
    session = attach(json.loads(run.output)["session_id"])
    assert session.manifest.instruments == tuple(named)
    session.wait(until=lambda s: len(s.fills) >= 2, timeout_s=START_S)
    assert {f.instrument for f in session.fills} <= set(named)
    session.kill("the test is over")
    session.wait(state="VERIFIED_FLAT", timeout_s=60)
    session.stop()


def test_a_basket_is_not_sized_by_the_launch(home: Path) -> None:
    """Its targets have their own sizes."""
    with pytest.raises(InvalidInput, match="whose targets say how much"):
        launch(StraddleManager(), sizing=Sizing(lots=1), market=Market(day=DAY), account="PAPER3")
