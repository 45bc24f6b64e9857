"""The Gatekeeper's shell: a flag file kills whatever is in it, and a task that dies ends the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from gate_world import CALL, INFY, SECOND, World

from tradealgo.config import BrokerSession, Manifest, Mode, SessionDir
from tradealgo.domain.orders import Intent, OrderState, Side
from tradealgo.domain.sizing import Sizing
from tradealgo.domain.state import Action, KillState, SessionState, TradingState
from tradealgo.gatekeeper import emergency
from tradealgo.gatekeeper import messages as m
from tradealgo.gatekeeper.emergency import progress
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.kite import Query
from tradealgo.gatekeeper.shell import Shell, _until_ready

CONTENTS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.touch(),
    "half a surrogate pair": lambda path: path.write_text('{"source": "desk", "reason": "stop \\ud83d"}'),
    "deep nesting": lambda path: path.write_text("[" * 100_000),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "much": lambda path: path.write_text('{"reason": "' + "x" * 1_000_000 + '"}'),
}

LOGIN = BrokerSession(account="A", user_id="U", api_key="key", access_token="token", created=0, expires=0)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Of a session whose broker is nowhere."""
    manifest = Manifest(
        session_id="s1", mode=Mode.PAPER, account="NOBODY", strategy="m:C", parameters={}, sizing=Sizing(units=1),
        instruments=(INFY.key,), capital=1e6, rest_url="http://127.0.0.1:9", bus_url="unix:///nowhere",
    )  # fmt: skip
    folder = SessionDir(tmp_path)
    return Shell(folder, manifest, Journal(folder.journal), [INFY, CALL])


@pytest.mark.parametrize("content", CONTENTS)
async def test_a_flag_kills_whatever_is_in_it(shell: Shell, content: str) -> None:
    """The trip is on the disk, and the process lives on."""
    await shell.start()
    CONTENTS[content](shell.folder.kill_flag)
    running = asyncio.create_task(shell.run())
    async with asyncio.timeout(60):
        while not running.done() and progress(shell.folder)[1] == "ARMED":  # noqa: ASYNC110 (another task writes the journal)
            await asyncio.sleep(0.02)
    assert not running.done()
    assert progress(shell.folder)[1] != "ARMED"
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_the_timer_s_end_is_the_process_s_end(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its timer the gate would sit there for ever: it must be started again."""

    def fail() -> None:
        raise RuntimeError("no timer")

    await shell.start()
    monkeypatch.setattr(shell, "look_at_flag", fail)
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(shell.run(), 10)
    assert raised.group_contains(RuntimeError, match="no timer")


@pytest.mark.parametrize(
    ("action", "why"), [(Action.KILL, "the kill switch is CANCELLING"), (Action.HALT, "trading is HALTED")]
)
async def test_an_entry_of_the_batch_that_stops_trading_does_not_leave(
    action: Action, why: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request and a person's word at the same moment: the word is on the disk first, so the entry stays here and is denied."""
    sent: list[object] = []
    world = World(3)
    world.advance(3 * SECOND)
    world.tick_all()
    commands: list[m.Command] = []
    monkeypatch.setattr(world, "perform", commands.extend)
    world.ask(INFY, 10)
    world.say(action)
    (entry,) = [c for c in commands if isinstance(c, m.Call) and c.kind is m.CallKind.PLACE]
    monkeypatch.setattr(shell, "gate", world.gate)
    monkeypatch.setattr(shell.broker, "_refuses", world.gate.refuses)
    monkeypatch.setattr(shell.broker, "_clock", lambda: world.now)
    monkeypatch.setattr(shell.broker, "_login", lambda: LOGIN)
    monkeypatch.setattr(shell.broker._lines, "write", lambda *request: sent.append(request))
    await shell._perform([c for c in commands if isinstance(c, m.Record) or c is entry], [])
    await asyncio.gather(*shell._tasks)
    assert sent == []
    done, _ = shell._queue.get_nowait()
    assert isinstance(done, m.CallDone)
    assert (done.call_id, done.outcome, done.text) == (entry.call_id, m.Outcome.NOT_SENT, f"not sent: {why}")
    world.give(done)
    assert world.gate.book.orders[entry.order.tag].state is OrderState.DENIED


async def test_a_gatekeeper_that_waits_still_says_that_it_lives(shell: Shell) -> None:
    """The broker answers nothing, so the journal doesn't grow: the file's time moves on."""
    await shell.start()
    running = asyncio.create_task(shell.run())
    stamps = set()
    async with asyncio.timeout(60):
        while len(stamps - {0}) < 3:
            await asyncio.sleep(0.05)
            stamps.add(emergency.last_sign(shell.folder))
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_only_a_gatekeeper_without_a_sign_of_life_is_fenced(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times the stall without a record, but alive: left alone. Then no sign any more: taken over."""
    now, looks = [0.0], [0]

    def a_tenth_later(_: float) -> None:
        now[0] += 0.1
        looks[0] += 1
        if looks[0] < 300:  # half a minute; a stall is ten seconds
            os.utime(shell.folder.alive, ns=(looks[0], looks[0]))

    monkeypatch.setattr(emergency, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=a_tenth_later))
    shell.folder.kill_flag.touch()
    shell.folder.alive.touch()
    tripped = SessionState(trading=TradingState.HALTED, kill=KillState.FLATTENING)
    shell.journal.append([m.Record(m.Kind.STATE, tripped)], 1)
    assert emergency.watch(shell.folder) is False
    assert now[0] == pytest.approx(30 + emergency.STALL_S, abs=0.5)


async def test_a_call_or_question_that_breaks_inside_has_an_end(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the client must not leave an order SUBMITTING for ever: its outcome is unknown, and it is looked up."""

    def broken(*_: object) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr(shell.broker, "_login", lambda: LOGIN)
    monkeypatch.setattr(shell.broker._lines, "write", broken)
    made = World().gate.orders.killing("x", INFY.instrument_token, Side.BUY, 1, 1.0)
    order = msgspec.structs.replace(made, intent=Intent.EXIT)
    admitted = 1_800_000_000 * SECOND
    monkeypatch.setattr(shell.broker, "_clock", lambda: admitted)  # which stands: the call is never late
    call = m.Call(call_id=7, kind=m.CallKind.PLACE, order=order, admitted=admitted)
    await shell._perform([call, m.Ask(Query.ORDERS)], [])
    errors = await asyncio.gather(*shell._tasks, return_exceptions=True)
    assert [type(e) for e in errors] == [AttributeError] * 2
    events = [shell._queue.get_nowait()[0] for _ in range(shell._queue.qsize())]
    (done,) = [e for e in events if isinstance(e, m.CallDone)]
    assert (done.call_id, done.outcome, done.ts_sent) == (7, m.Outcome.UNKNOWN, admitted)
    assert [e.query for e in events if isinstance(e, m.QueryFailed)] == [Query.ORDERS]


@pytest.mark.parametrize(("now_s", "until_s"), [(0, 58), (57.5, 0.5), (58, 0), (59, 59), (118.25, 59.75)])
def test_connections_are_opened_two_seconds_before_a_minute_turns(now_s: float, until_s: float) -> None:
    """Of the wall clock, which is what candles close by at the broker."""
    assert _until_ready(int(now_s * SECOND)) == pytest.approx(until_s)


async def test_connections_are_opened_while_ticks_come(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a minute; none at night."""
    opened: list[int] = []

    async def be_ready() -> None:
        opened.append(shell.gate.book.ts_event)

    monkeypatch.setattr(shell.broker, "be_ready", be_ready)
    monkeypatch.setattr(shell, "clock", lambda: 58 * SECOND)
    task = asyncio.create_task(shell._be_ready())
    for ts_event in (0, 0, 7, 7, 9, 9):
        shell.gate.book.ts_event = ts_event
        for _ in range(5):
            await asyncio.sleep(0)
    task.cancel()
    assert opened == [7, 9]
