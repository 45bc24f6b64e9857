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
    """After twenty of its usual gaps, while the other ticks on; and no more once it is back."""
    liveness = Liveness([ILLIQUID, BUSY])
    run(liveness, range(1, 600), {BUSY: 1, ILLIQUID: 60})
    silent = run(liveness, range(600, 630), {ILLIQUID: 60})
    assert silent[17] == []
    assert silent[22] == [BUSY]
    assert run(liveness, range(630, 632), {BUSY: 1})[-1] == []


def test_strikes_that_tick_at_random_raise_hardly_an_alarm() -> None:
    """40 healthy strikes, each with ticks at random every 2 to 60 s, for a day: at most two alarms are false."""
    chance = np.random.default_rng(1)
    tokens = np.arange(1, 41)
    mean = np.exp(chance.uniform(np.log(2), np.log(60), len(tokens)))
    liveness, silent, alarms = Liveness(tokens.tolist()), set[int](), 0
    for second in range(1_000, 23_500):
        liveness.saw(tokens[chance.random(len(tokens)) < 1 / mean])
        before, silent = silent, set(liveness.at(float(second)))
        alarms += len(silent - before)
    assert alarms <= 2


def test_what_is_not_known_yet_is_not_overdue() -> None:
    """An instrument that has hardly ticked has no usual gap."""
    liveness = Liveness([BUSY, ILLIQUID])
    assert not any(run(liveness, range(1, 600), {BUSY: 1, ILLIQUID: 90}))


def test_one_that_never_ticks_is_named_after_five_minutes() -> None:
    """Its subscription was lost, or it isn't traded; a tick ends it."""
    liveness = Liveness([BUSY, ILLIQUID])
    silent = run(liveness, range(1, 330), {BUSY: 1})
    assert silent[298] == []
    assert silent[305] == [ILLIQUID]
    assert run(liveness, range(330, 331), {BUSY: 1, ILLIQUID: 1}) == [[]]


def test_a_gap_of_the_feed_is_nobodys_silence() -> None:
    """After a reconnect all begin anew."""
    liveness = Liveness([BUSY])
    run(liveness, range(1, 100), {BUSY: 1})
    liveness.restart(500.0)
    assert liveness.at(501.0) == []
    assert liveness.at(519.0) == []
    assert liveness.at(521.0) == [BUSY]


def test_while_nobody_ticks_nobody_is_silent_and_nobody_is_back() -> None:
    """The whole feed is mute: whoever was silent before stays so until it ticks; the others begin anew."""
    liveness = Liveness([BUSY, ILLIQUID])
    run(liveness, range(1, 100), {BUSY: 1, ILLIQUID: 1})
    run(liveness, range(100, 130), {ILLIQUID: 1})
    for second in range(130, 300):
        assert liveness.at(float(second), False) == [BUSY]
    assert run(liveness, range(300, 310), {ILLIQUID: 1})[-1] == [BUSY]
    assert run(liveness, range(310, 312), {BUSY: 1, ILLIQUID: 1})[-1] == []


def test_foreign_tokens_are_ignored() -> None:
    """Ticks of instruments that weren't asked for change nothing."""
    liveness = Liveness([BUSY])
    run(liveness, range(1, 30), {BUSY: 1, 99: 1, 10**6: 1})
    assert run(liveness, range(30, 60), {10**6: 1})[-1] == [BUSY]
