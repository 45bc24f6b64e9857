"""The literal tables: every pair of state and event has its answer, and done means done unless a fact says otherwise."""

from __future__ import annotations

import itertools

import pytest

from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.limits import Limits
from tradealgo.domain.order_machine import TABLE, OrderEvent, next_state
from tradealgo.domain.orders import DONE_STATES, WORKING_STATES, OrderState
from tradealgo.domain.state import KillState
from tradealgo.gatekeeper.breaker import TABLE as BREAKER_TABLE
from tradealgo.gatekeeper.breaker import Breaker, BreakerEvent, BreakerState
from tradealgo.gatekeeper.kill import TABLE as KILL_TABLE
from tradealgo.gatekeeper.kill import KillEvent, next_kill_state

S, E = OrderState, OrderEvent
SECOND = 10**9
#: What the broker may report of an order that it has.
REPORTS = (E.SEEN, E.PARTIAL, E.FILL, E.CANCEL, E.REJECT)

#: The table, read by rows: which events each state takes. A pair that is missing here must raise.
LEGAL = {
    S.NEW: {E.JOURNAL, E.DENY},
    S.JOURNALED: {E.SEND, E.DENY, E.ACCEPT, *REPORTS},
    S.SUBMITTING: {E.ACCEPT, E.LOSE, E.UNSENT, *REPORTS},
    S.UNKNOWN: {E.ACCEPT, E.LOSE, E.EXPIRE, *REPORTS},
    S.OPEN: {E.ACCEPT, E.LOSE, E.EXPIRE, E.ASK_CANCEL, E.ASK_MODIFY, E.SETTLE, *REPORTS},
    S.PARTIALLY_FILLED: {E.ACCEPT, E.LOSE, E.EXPIRE, E.ASK_CANCEL, E.ASK_MODIFY, E.SETTLE, *REPORTS},
    S.CANCEL_PENDING: {E.ACCEPT, E.LOSE, E.EXPIRE, E.ASK_CANCEL, E.SETTLE, *REPORTS},
    S.MODIFY_PENDING: {E.ACCEPT, E.LOSE, E.EXPIRE, E.ASK_CANCEL, E.SETTLE, *REPORTS},
    S.FILLED: {E.ACCEPT, E.LOSE, E.SETTLE, E.SEEN, E.PARTIAL, E.FILL, E.CANCEL},
    S.CANCELLED: {E.ACCEPT, E.LOSE, E.SETTLE, *REPORTS},
    S.REJECTED: {E.ACCEPT, E.LOSE, E.SETTLE, *REPORTS},
    S.DENIED: {E.ACCEPT, *REPORTS},
    S.EXPIRED: {E.ACCEPT, *REPORTS},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(OrderState, OrderEvent)))
def test_each_pair_is_decided(state: OrderState, event: OrderEvent) -> None:
    """Legal pairs give a state, all others raise."""
    if event in LEGAL[state]:
        assert next_state(state, event) in OrderState
    else:
        with pytest.raises(IllegalTransition, match=state.value):
            next_state(state, event)


def next_by_rule(state: OrderState, event: OrderEvent) -> OrderState:
    """Where a legal pair leads, by what the event means."""
    given_up = {S.DENIED, S.EXPIRED}
    match event:
        case E.FILL:
            return S.FILLED
        case E.PARTIAL:  # a fact, but what is pending or done stays so
            stays = state in {S.CANCEL_PENDING, S.MODIFY_PENDING, S.FILLED, S.CANCELLED}
            return state if stays else S.PARTIALLY_FILLED
        case E.SEEN | E.ACCEPT:  # it is there, which is news only of one that wasn't known to be
            return S.OPEN if state in {S.JOURNALED, S.SUBMITTING, S.UNKNOWN, S.OPEN, *given_up} else state
        case E.LOSE:
            return S.UNKNOWN if state is S.SUBMITTING else state
        case E.REJECT if state in {S.PARTIALLY_FILLED, S.CANCELLED}:
            return S.CANCELLED
        case E.REJECT:
            return state if state in given_up else S.REJECTED
        case E.CANCEL:
            return state if state in {S.FILLED, S.REJECTED, *given_up} else S.CANCELLED
        case E.SETTLE:
            return S.OPEN if state in {S.CANCEL_PENDING, S.MODIFY_PENDING} else state
    return {
        E.JOURNAL: S.JOURNALED, E.DENY: S.DENIED, E.SEND: S.SUBMITTING, E.UNSENT: S.JOURNALED,
        E.ASK_CANCEL: S.CANCEL_PENDING, E.ASK_MODIFY: S.MODIFY_PENDING, E.EXPIRE: S.EXPIRED,
    }[event]  # fmt: skip


def test_each_row_leads_where_its_event_says() -> None:
    """The table's rows against the meaning of the events, one by one."""
    assert {pair: next_by_rule(*pair) for pair in TABLE} == TABLE


def test_a_kill_goes_its_way() -> None:
    """Forward by what is done and proven, back only by what is found, armed again only from LOCKED."""
    k, e = KillState, KillEvent
    way = [k.ARMED, k.TRIPPED, k.CANCELLING, k.FLATTENING, k.VERIFIED_FLAT, k.LOCKED, k.ARMED]
    steps = [e.TRIP, e.BEGIN, e.NONE_WORKING, e.PROVEN_FLAT, e.LOCK, e.REARM]
    expected = {(before, event): after for before, event, after in zip(way, steps, way[1:], strict=False)}
    expected |= {(state, e.TRIP): state for state in k if state is not k.ARMED}
    expected |= {(state, e.FOUND_WORKING): k.CANCELLING for state in (k.FLATTENING, k.VERIFIED_FLAT, k.LOCKED)}
    assert expected == KILL_TABLE


def test_each_row_of_the_breaker() -> None:
    """A failure keeps it open or opens it, but for CLOSED, which counts; success closes after a trial only."""
    s, e = BreakerState, BreakerEvent
    expected = {(state, e.FAIL): s.CLOSED if state is s.CLOSED else s.OPEN for state in s}
    expected |= {(state, e.SUCCEED): s.CLOSED if state is s.TRYING else state for state in s}
    expected |= {(s.CLOSED, e.TRIP): s.OPEN, (s.HALF_OPEN, e.TRY): s.TRYING}
    expected |= {(state, e.COOLED): s.HALF_OPEN for state in (s.OPEN, s.TRYING)}
    assert expected == BREAKER_TABLE


def test_a_fill_always_counts() -> None:
    """Whatever was said before, a whole fill of an order that may be at the broker leads to FILLED."""
    for state in set(OrderState) - {S.NEW}:
        assert next_state(state, E.FILL) is S.FILLED


def test_done_orders_come_back_only_by_facts() -> None:
    """A done state is left only for what the broker's book shows: never by our own calls, never from FILLED."""
    for (state, event), after in TABLE.items():
        if state in DONE_STATES and after not in DONE_STATES:
            assert event in {E.SEEN, E.ACCEPT, E.PARTIAL}
            assert state in {S.DENIED, S.EXPIRED, S.REJECTED}


def test_nothing_is_sent_twice_by_the_table() -> None:
    """Only JOURNALED is sent, and only a call that never took effect leads back to it."""
    assert [s for (s, e) in TABLE if e is E.SEND] == [S.JOURNALED]
    back = {(s, e) for (s, e), after in TABLE.items() if after is S.JOURNALED}
    assert back == {(S.NEW, E.JOURNAL), (S.SUBMITTING, E.UNSENT)}


def test_a_lost_answer_leaves_only_by_the_broker() -> None:
    """UNKNOWN ends by what the broker shows or by confirmed absence; a second loss changes nothing."""
    out = {e for (s, e), after in TABLE.items() if s is S.UNKNOWN and after is not S.UNKNOWN}
    assert out == {E.ACCEPT, E.EXPIRE, *REPORTS}
    assert S.UNKNOWN in WORKING_STATES


@pytest.mark.parametrize(("state", "event"), list(itertools.product(KillState, KillEvent)))
def test_kill_pairs(state: KillState, event: KillEvent) -> None:
    """Every pair is in the table or raises; the only way to ARMED is REARM from LOCKED."""
    if (state, event) not in KILL_TABLE:
        with pytest.raises(IllegalTransition, match=state.value):
            next_kill_state(state, event)
        return
    after = next_kill_state(state, event)
    if after is KillState.ARMED:
        assert (state, event) == (KillState.LOCKED, KillEvent.REARM)
    if event is KillEvent.TRIP and state is not KillState.ARMED:
        assert after is state, "a second trip changes nothing"


def test_flat_is_said_only_when_proven() -> None:
    """VERIFIED_FLAT has one way in."""
    ways = [pair for pair, after in KILL_TABLE.items() if after is KillState.VERIFIED_FLAT]
    assert set(ways) == {
        (KillState.FLATTENING, KillEvent.PROVEN_FLAT),
        (KillState.VERIFIED_FLAT, KillEvent.TRIP),
    }


def test_breaker_opens_cools_tries_and_closes() -> None:
    """Five failures in a minute; then one trial after the cool-down decides."""
    breaker = Breaker(Limits())
    for number in range(4):
        breaker.fail(number * SECOND)
    assert breaker.passes
    breaker.fail(4 * SECOND)
    assert breaker.state is BreakerState.OPEN
    breaker.succeed(5 * SECOND)  # sent before: no proof
    breaker.tick(63 * SECOND)
    assert not breaker.passes
    breaker.tick(64 * SECOND)
    assert breaker.passes
    breaker.trial(65 * SECOND)
    assert not breaker.passes
    breaker.fail(66 * SECOND)
    assert breaker.state is BreakerState.OPEN
    breaker.tick(126 * SECOND)
    breaker.trial(127 * SECOND)
    breaker.succeed(128 * SECOND)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures == 0


def test_breaker_forgets_old_failures() -> None:
    """Four, a minute, and four more: closed."""
    breaker = Breaker(Limits())
    for at in (0, 1, 2, 3, 64, 65, 66, 67):
        breaker.fail(at * SECOND)
    assert breaker.passes


def test_breaker_table_has_no_way_out_of_open_but_time() -> None:
    """Only COOLED leads from OPEN to anything else."""
    out = {(s, e) for (s, e), after in BREAKER_TABLE.items() if s is BreakerState.OPEN and after is not s}
    assert {e.value for _, e in out} == {"COOLED"}
