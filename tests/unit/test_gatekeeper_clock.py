"""The Gatekeeper's clock: what comes later has the later time, whatever becomes of the machine's clock."""

from __future__ import annotations

from pathlib import Path

from gate_world import INFY
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.config import Manifest, Mode, SessionDir
from tradealgo.domain.sizing import Sizing
from tradealgo.gatekeeper.clock import Clock
from tradealgo.gatekeeper.journal import Journal
from tradealgo.gatekeeper.messages import Kind, Note, Record
from tradealgo.gatekeeper.shell import Shell

SECOND = 1_000_000_000
T0 = 1_800_000_000 * SECOND


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self) -> None:
        self.steady, self.wall = 5 * SECOND, T0

    def clock(self, after: int = 0) -> Clock:
        return Clock(after, lambda: self.wall, lambda: self.steady)

    def run(self, ns: int, step: int = 0) -> None:
        self.steady += ns
        self.wall += ns + step


@given(st.lists(st.tuples(st.integers(1, 10 * SECOND), st.sampled_from((0, 0, 1, -1, -60, 60, 3_600))), max_size=40))
def test_time_goes_on(moves: list[tuple[int, int]]) -> None:
    """However the wall clock is set: it never stands nor goes back, and never falls behind the wall."""
    machine = Machine()
    clock = machine.clock()
    before = clock()
    for ns, seconds in moves:
        machine.run(ns + 2, seconds * SECOND)
        now = clock()
        assert now > before
        assert now >= machine.wall
        before = now


def test_it_comes_back_to_the_wall() -> None:
    """A minute back is made up for in four."""
    machine = Machine()
    clock = machine.clock()
    assert clock() == T0
    machine.run(SECOND, -60 * SECOND)
    assert clock() == T0 + 3 * SECOND // 4
    for _ in range(240):
        machine.run(SECOND)
        clock()
    assert clock() == machine.wall


def test_a_restart_does_not_go_back() -> None:
    """The wall clock was set back while the process was away: it goes on from the journal's last instant."""
    machine = Machine()
    clock = machine.clock(after=T0 + 60 * SECOND)
    machine.run(1_000)
    assert clock() > T0 + 60 * SECOND


def test_the_shell_goes_on_from_its_journal_and_the_broker_has_its_clock(tmp_path: Path) -> None:
    """One clock for what the core decides and for when the broker was asked; the journal gives its beginning."""
    folder = SessionDir(tmp_path)
    manifest = Manifest(
        session_id="s1", mode=Mode.PAPER, account="NOBODY", strategy="m:C", parameters={}, sizing=Sizing(units=1),
        instruments=(INFY.key,), capital=1e6, rest_url="http://127.0.0.1:9", bus_url="unix:///nowhere",
    )  # fmt: skip
    future = 4_000_000_000 * SECOND
    Journal(folder.journal).append([Record(Kind.NOTE, Note(code="X", text="late"))], future)
    shell = Shell(folder, manifest, Journal(folder.journal), [INFY])
    assert shell.clock() >= future
    assert shell.broker._clock is shell.clock
