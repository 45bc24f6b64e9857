"""The Sentinel's core: the table of a login, a token's life, the waits."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradealgo.config import BrokerSession
from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.hours import IST, at, ist_date
from tradealgo.domain.state import Beat, Module
from tradealgo.sentinel.core import (
    LONGEST_WAIT_S,
    TRANSITIONS,
    Credentials,
    Event,
    State,
    credentials,
    follow,
    is_denied,
    is_usable,
    token_expiry,
    wait_s,
)
from tradealgo.sentinel.dump import from_row
from tradealgo.sentinel.login import request_token_of


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_is_in_the_table_or_raises(state: State, event: Event) -> None:
    """A pair of the table leads where it says; any other raises and names both."""
    if (state, event) in TRANSITIONS:
        assert follow(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{event} in {state}"):
            follow(state, event)


def test_every_state_can_be_left_and_logged_in_can_be_reached() -> None:
    """No state is a dead end: from each one a path leads to LOGGED_IN."""
    good = {State.LOGGED_IN}
    while more := {s for (s, _), to in TRANSITIONS.items() if to in good} - good:
        good |= more
    assert good == set(State)


def test_a_refused_login_is_not_tried_again_without_a_person() -> None:
    """Wrong credentials lead to a person: a few wrong passwords lock the account."""
    assert follow(State.LOGGING_IN, Event.REFUSED) is State.AWAITING_PERSON
    assert State.LOGGING_IN not in {to for (s, _), to in TRANSITIONS.items() if s is State.AWAITING_PERSON}


@pytest.mark.parametrize(
    ("login", "dies"),
    [
        (dt.datetime(2026, 11, 23, 8, 45), dt.datetime(2026, 11, 24, 6, 0)),
        (dt.datetime(2026, 11, 23, 23, 59), dt.datetime(2026, 11, 24, 6, 0)),
        (dt.datetime(2026, 11, 24, 0, 1), dt.datetime(2026, 11, 25, 6, 0)),
        (dt.datetime(2026, 12, 31, 9, 0), dt.datetime(2027, 1, 1, 6, 0)),
    ],
)
def test_a_token_dies_at_six_of_the_next_indian_day(login: dt.datetime, dies: dt.datetime) -> None:
    """06:00 IST of the day after the login, whatever the hour."""
    created = int(login.replace(tzinfo=IST).timestamp()) * 10**9
    assert token_expiry(created) == int(dies.replace(tzinfo=IST).timestamp()) * 10**9


@given(st.integers(0, 4 * 10**18))
def test_a_token_lives_six_to_thirty_hours(created: int) -> None:
    """For any moment of login, the expiry is at 06:00 IST, six to thirty hours ahead."""
    expires = token_expiry(created)
    assert expires == at(ist_date(expires), dt.time(6, 0))
    assert 6 * 3600 <= (expires - created) / 1e9 <= 30 * 3600


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_the_limit_and_never_beyond(failures: int, chance: float) -> None:
    """Between half of the limit of its failures and the whole, at most LONGEST_WAIT_S."""
    assert 0.1 <= wait_s(failures, chance) <= LONGEST_WAIT_S
    assert wait_s(failures, chance) <= wait_s(failures + 1, chance)
    assert wait_s(failures, chance, 0.4) <= 0.4


def test_a_saved_login_is_usable_only_for_its_app_and_its_day() -> None:
    """None, another app's and an expired one are not."""
    saved = BrokerSession(account="A", user_id="A", api_key="k", access_token="t", created=0, expires=100)
    assert is_usable(saved, "k", 99)
    assert not is_usable(saved, "k", 100)
    assert not is_usable(saved, "other", 99)
    assert not is_usable(None, "k", 99)


def test_a_denied_beat_counts_only_from_those_who_use_the_token_and_only_if_newer() -> None:
    """An old DENIED, from before the login, says nothing of the new token."""
    denied = Beat(module=Module.PRODUCER, pid=1, ts=10, state="DENIED")
    assert is_denied(denied, 9)
    assert not is_denied(denied, 10)
    assert not is_denied(Beat(module=Module.CONSUMER, pid=1, ts=10, state="DENIED"), 9)
    assert not is_denied(Beat(module=Module.PRODUCER, pid=1, ts=10, state="LIVE"), 9)


def test_automatic_login_needs_all_three_and_shows_no_secret() -> None:
    """One missing variable means a person logs in; a repr holds neither password nor secrets."""
    environment = {
        "KITE_USER_ID": "AB1234",
        "KITE_PASSWORD": "pw!",
        "KITE_TOTP_SECRET": "ts!",
        "KITE_API_SECRET": "as!",
    }
    full = credentials(environment)
    assert full.automatic
    assert "!" not in repr(full)
    for name in ("KITE_USER_ID", "KITE_PASSWORD", "KITE_TOTP_SECRET"):
        assert not credentials({k: v for k, v in environment.items() if k != name}).automatic
    assert not Credentials().automatic


def test_the_redirects_request_token_is_found() -> None:
    """Wherever it is among the parameters; empty if there is none."""
    assert request_token_of("http://127.0.0.1:5010/?action=login&status=success&request_token=abc123") == "abc123"
    assert request_token_of("/connect/finish?sess_id=1") == ""


ROW = {
    "instrument_token": 256265, "exchange_token": "1001", "tradingsymbol": "NIFTY 50", "name": "NIFTY 50",
    "last_price": 0.0, "expiry": "", "strike": 0.0, "tick_size": 0.0, "lot_size": 0, "instrument_type": "EQ",
    "segment": "INDICES", "exchange": "NSE",
}  # fmt: skip


def test_dump_rows_become_instruments() -> None:
    """An index is told by its segment; empty expiries, zero ticks and lots get what they mean; unknown kinds are left out."""
    index = from_row(ROW)
    assert index is not None
    assert not index.tradable
    assert (index.expiry, index.tick_size, index.lot_size) == (None, 0.05, 1)
    option = from_row(
        ROW | {"tradingsymbol": "NIFTY26NOV24000CE", "instrument_type": "CE", "segment": "NFO-OPT", "exchange": "NFO",
               "expiry": dt.date(2026, 11, 24), "strike": 24000.0, "tick_size": 0.05, "lot_size": 65}
    )  # fmt: skip
    assert option is not None
    assert (option.key, option.is_option, option.lot_size) == ("NFO:NIFTY26NOV24000CE", True, 65)
    assert from_row(ROW | {"segment": "BOND", "instrument_type": "GB"}) is None
