"""Instruments that go silent: each is judged by how often it usually ticks."""

from __future__ import annotations

import numpy as np

from tradealgo.producer.liveness import Liveness

BUSY, ILLIQUID = 257, 513


def run(liveness: Liveness, seconds: range, every: dict[int, int]) -> list[list[int]]:
    """Each instrument ticks every so many seconds; what was overdue, second by second."""
    found = []
    for second in seconds:
        ticking = [token for token, gap in every.items() if second % gap == 0]
        if ticking:
            liveness.saw(np.array(ticking, np.uint32))
        found.append(liveness.at(float(second)))
    return found


def test_an_illiquid_instrument_raises_no_alarm() -> None:
    """One that ticks once a minute may be silent for minutes."""
    liveness = Liveness([BUSY, ILLIQUID])
    assert not any(run(liveness, range(1, 900), {BUSY: 1, ILLIQUID: 60}))
    assert not any(run(liveness, range(900, 1_300), {BUSY: 1}))


def test_a_busy_instrument_that_goes_silent_is_named() -> None:
    """After ten of its usual gaps, while the other ticks on; and no more once it is back."""
    liveness = Liveness([ILLIQUID, BUSY])
    run(liveness, range(1, 600), {BUSY: 1, ILLIQUID: 60})
    silent = run(liveness, range(600, 620), {ILLIQUID: 60})
    assert silent[8] == []
    assert silent[12] == [BUSY]
    assert run(liveness, range(620, 622), {BUSY: 1})[-1] == []


def test_what_is_not_known_yet_is_not_overdue() -> None:
    """An instrument that has hardly ticked has no usual gap."""
    liveness = Liveness([BUSY, ILLIQUID])
    assert not any(run(liveness, range(1, 100), {ILLIQUID: 90}))


def test_a_gap_of_the_feed_is_nobodys_silence() -> None:
    """After a reconnect all begin anew."""
    liveness = Liveness([BUSY])
    run(liveness, range(1, 100), {BUSY: 1})
    liveness.restart(500.0)
    assert liveness.at(501.0) == []
    assert liveness.at(520.0) == [BUSY]


def test_foreign_tokens_are_ignored() -> None:
    """Ticks of instruments that weren't asked for change nothing."""
    liveness = Liveness([BUSY])
    run(liveness, range(1, 30), {BUSY: 1, 99: 1, 10**6: 1})
    assert run(liveness, range(30, 60), {10**6: 1})[-1] == [BUSY]
