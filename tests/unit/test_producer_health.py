"""Feed health, back-off and shards: pure, every pair of the table."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.domain.errors import IllegalTransition, InvalidInput
from tradealgo.producer.backoff import full_jitter
from tradealgo.producer.health import OPEN, TABLE, Event, Feed, FeedHealth, quiet_after, worst
from tradealgo.producer.subscriptions import guests, shards, subscribe

SECOND = 1_000_000_000


def health_in(state: Feed) -> FeedHealth:
    health = FeedHealth()
    health.state = state
    return health


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in Feed for e in Event])
def test_every_pair_is_in_the_table_or_refused(state: Feed, event: Event) -> None:
    """A known pair leads where the table says; any other raises and changes nothing."""
    health = health_in(state)
    if (state, event) in TABLE:
        assert health.on(event, 1) is TABLE[state, event]
    else:
        with pytest.raises(IllegalTransition, match=event.value):
            health.on(event, 1)
        assert health.state is state


def test_every_state_is_reached_and_left() -> None:
    """No state is a dead end, nor unreachable."""
    assert {new for (old, _), new in TABLE.items() if new is not old} == set(Feed)
    assert {old for (old, _), new in TABLE.items() if new is not old} == set(Feed)


def test_silence_of_ticks_is_quiet_and_of_frames_is_stalled() -> None:
    """Heartbeats alone keep the socket alive, but the feed is QUIET; without them it is STALLED."""
    health = FeedHealth()
    health.on(Event.OPENED, 0)
    assert health.on(Event.TICKS, SECOND) is Feed.LIVE
    health.on(Event.FRAME, 5 * SECOND)
    assert health.at(5 * SECOND) is Feed.LIVE
    assert health.at(7 * SECOND) is Feed.QUIET
    assert health.at(12 * SECOND) is Feed.QUIET
    assert health.at(13 * SECOND) is Feed.STALLED
    assert health.on(Event.FRAME, 14 * SECOND) is Feed.QUIET
    assert health.on(Event.TICKS, 15 * SECOND) is Feed.LIVE


def test_before_the_open_no_ticks_are_no_stall() -> None:
    """A socket that only ever brings heartbeats stays QUIET."""
    health = FeedHealth()
    health.on(Event.OPENED, 0)
    for second in range(0, 600, 2):
        health.on(Event.FRAME, second * SECOND)
        assert health.at(second * SECOND + SECOND) is Feed.QUIET


def test_a_closed_feed_notices_no_silence() -> None:
    """Time does nothing to a connection that isn't open."""
    for state in set(Feed) - OPEN:
        assert health_in(state).at(10**18) is state


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ([], Feed.CONNECTING),
        ([Feed.LIVE, Feed.QUIET], Feed.LIVE),
        ([Feed.QUIET, Feed.QUIET], Feed.QUIET),
        ([Feed.LIVE, Feed.STALLED], Feed.STALLED),
        ([Feed.LIVE, Feed.BACKING_OFF, Feed.DENIED], Feed.DENIED),
    ],
)
def test_the_whole_feed_is_as_its_worst_connection(states: list[Feed], whole: Feed) -> None:
    """One dead connection shows, however well the others do."""
    assert worst(states) is whole


def test_full_jitter_is_bounded_and_doubles() -> None:
    """The wait lies in [0, base * 2^n), never above the cap."""
    assert full_jitter(0, 0.0) == 0.0
    assert [full_jitter(n, 0.5, base_s=1, cap_s=8) for n in range(6)] == [0.5, 1, 2, 4, 4, 4]
    assert full_jitter(10_000, 0.999) < 30


@pytest.mark.parametrize(
    ("n", "sizes"), [(1, [1]), (3_000, [3_000]), (3_001, [1_001, 1_000, 1_000]), (9_000, [3_000] * 3)]
)
def test_shards_are_balanced_and_hold_each_token_once(n: int, sizes: list[int]) -> None:
    """One connection as long as it does, else all three, filled alike."""
    parts = shards([*range(1, n + 1), 1])
    assert [len(p) for p in parts] == sizes
    assert sorted(itertools.chain(*parts)) == list(range(1, n + 1))


def test_guests_go_where_there_is_room() -> None:
    """A dead connection's instruments are dealt over the others; what finds no room stays out; nobody gets its own."""
    homes = [[1, 2, 3, 4], [5, 6], [7]]
    assert guests(homes, set(), 4) == [[], [], []]
    assert guests(homes, {0}, 4) == [[], [2, 4], [1, 3]]
    assert guests(homes, {0, 1}, 4) == [[], [], [1, 5, 2]]
    assert guests(homes, {0, 1, 2}, 4) == [[], [], []]
    assert guests([[1, 2], [3, 4], [5, 6]], {1}, 2) == [[], [], []]


@given(st.lists(st.integers(1, 40), min_size=2, max_size=3), st.data())
def test_guests_fill_all_room_and_no_more(sizes: list[int], data: st.DataObject) -> None:
    """Each orphan has one host at most, no host is over its limit, and none is left out while there is room."""
    tokens = iter(range(1, 200))
    homes = [[next(tokens) for _ in range(size)] for size in sizes]
    down, room = data.draw(st.sets(st.integers(0, len(homes) - 1))), data.draw(st.integers(max(sizes), 80))
    shares = guests(homes, down, room)
    moved = list(itertools.chain(*shares))
    orphans = {t for n in down for t in homes[n]}
    free = sum(room - len(home) for n, home in enumerate(homes) if n not in down)
    assert len(moved) == len(set(moved)) == min(len(orphans), free)
    assert set(moved) <= orphans
    assert all(not share or n not in down for n, share in enumerate(shares))
    assert all(len(home) + len(share) <= room for home, share in zip(homes, shares, strict=True))


@pytest.mark.parametrize(("speed", "wall_s"), [(1, 4), (4, 1), (8, 0.5), (600, 0.5)])
def test_quiet_is_counted_in_the_feeds_time(speed: float, wall_s: float) -> None:
    """Five seconds of the feed, less what the telling takes, and never shorter on the wall than is asked for."""
    assert quiet_after(speed) == int(wall_s * 1e9)
    assert quiet_after(speed, 1) == int(4e9 / speed)


@pytest.mark.parametrize(("tokens", "words"), [(range(9_001), "9,001 instruments"), ([], "no instruments")])
def test_what_the_sockets_cannot_carry_is_refused(tokens: list[int], words: str) -> None:
    """The sentence says how many there are and what to do."""
    with pytest.raises(InvalidInput, match=words):
        shards(list(tokens))


def test_subscription_asks_for_full_mode() -> None:
    """Candles need the exchange's time, which only full mode carries."""
    assert [json.loads(m) for m in subscribe([1, 2])] == [
        {"a": "subscribe", "v": [1, 2]},
        {"a": "mode", "v": ["full", [1, 2]]},
    ]
