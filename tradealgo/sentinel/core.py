"""The Sentinel decides here, pure: how long a token lives, what follows what in a login, how long to wait.

A login's states and what leads from one to the next are the table below; an unknown pair raises and changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from tradealgo.config import BrokerSession
from tradealgo.domain.errors import IllegalTransition
from tradealgo.domain.hours import at, ist_date
from tradealgo.domain.state import Beat, Module

TOKEN_DIES_AT = dt.time(6, 0)  # IST, the day after the login (Kite Connect)
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 60.0
#: Automatic logins within so many seconds, after which a person is asked: a login elsewhere with the same app, which ends this
#: one's token as this one ends that one's, would go on for ever.
LOGINS_AT_MOST, LOGINS_WITHIN_S = 3, 3_600.0
LONGEST_PAPER_WAIT_S = 0.4  # the exchange is a process of ours that is still starting


class State(StrEnum):
    CHECKING = "CHECKING"  # is the token that we have still good?
    LOGGING_IN = "LOGGING_IN"
    AWAITING_PERSON = "AWAITING_PERSON"  # the login page is open to a person; the redirect is awaited
    LOADING = "LOADING"  # the day's instruments
    LOGGED_IN = "LOGGED_IN"
    BACKING_OFF = "BACKING_OFF"


class Event(StrEnum):
    TOKEN_GOOD = "TOKEN_GOOD"
    TOKEN_DEAD = "TOKEN_DEAD"
    NEEDS_PERSON = "NEEDS_PERSON"  # no credentials to log in with, or the broker has refused them once
    REFUSED = "REFUSED"  # the broker said no to the credentials
    LOADED = "LOADED"
    FAILED = "FAILED"  # no definitive answer: the network, a 5xx
    WAITED = "WAITED"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CHECKING, Event.TOKEN_GOOD): State.LOADING,
    (State.CHECKING, Event.TOKEN_DEAD): State.LOGGING_IN,
    (State.CHECKING, Event.FAILED): State.BACKING_OFF,
    (State.LOGGING_IN, Event.TOKEN_GOOD): State.LOADING,
    (State.LOGGING_IN, Event.NEEDS_PERSON): State.AWAITING_PERSON,
    # Never tried again by itself, nor later in the session: a few wrong passwords lock the account at the broker.
    (State.LOGGING_IN, Event.REFUSED): State.AWAITING_PERSON,
    (State.LOGGING_IN, Event.FAILED): State.BACKING_OFF,
    (State.AWAITING_PERSON, Event.TOKEN_GOOD): State.LOADING,
    (State.AWAITING_PERSON, Event.FAILED): State.BACKING_OFF,
    (State.LOADING, Event.LOADED): State.LOGGED_IN,
    # A login elsewhere may replace our token at any moment, also in between.
    (State.LOADING, Event.TOKEN_DEAD): State.LOGGING_IN,
    (State.LOADING, Event.FAILED): State.BACKING_OFF,
    (State.LOGGED_IN, Event.TOKEN_DEAD): State.LOGGING_IN,
    # A module was refused, but whether the token is dead couldn't be learnt.
    (State.LOGGED_IN, Event.FAILED): State.BACKING_OFF,
    (State.BACKING_OFF, Event.WAITED): State.CHECKING,
}


def follow(state: State, event: Event) -> State:
    """The next state. Raises IllegalTransition."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"the login can't take {event} in {state}") from None


def token_expiry(created: int) -> int:
    """When a token of a login at `created` dies: 06:00 IST of the next day. UTC nanoseconds."""
    return at(ist_date(created) + dt.timedelta(days=1), TOKEN_DIES_AT)


def is_usable(session: BrokerSession | None, api_key: str, now: int) -> bool:
    """Whether a saved login may still be good: only the broker can say that it is."""
    return session is not None and session.api_key == api_key and now < session.expires


def wait_s(failures: int, chance: float, longest_s: float = LONGEST_WAIT_S) -> float:
    """Seconds before the next try after so many failures in a row; `chance` in [0, 1) spreads its second half."""
    ceiling = min(longest_s, FIRST_WAIT_S * 2 ** min(failures, 30))
    return ceiling * (0.5 + 0.5 * chance)


def is_contested(logins: Sequence[float], now: float) -> bool:
    """Whether so many automatic logins were made lately that somebody else must be ending their tokens. In seconds."""
    return sum(now - made < LOGINS_WITHIN_S for made in logins) >= LOGINS_AT_MOST


def is_denied(beat: Beat, since: int) -> bool:
    """Whether a module says, after `since`, that the broker refused its token."""
    return beat.module in (Module.PRODUCER, Module.GATEKEEPER) and beat.state == "DENIED" and beat.ts > since


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a login needs. Without all of user id, password and TOTP secret a person has to log in."""

    api_secret: str = ""
    user_id: str = ""
    password: str = ""
    totp_secret: str = ""

    def __repr__(self) -> str:
        return f"Credentials(user_id={self.user_id!r}, …)"

    @property
    def automatic(self) -> bool:
        return bool(self.user_id and self.password and self.totp_secret)


def credentials(environment: Mapping[str, str]) -> Credentials:
    """The login of the environment: KITE_API_SECRET, and where TOTP is opted in KITE_USER_ID, KITE_PASSWORD, KITE_TOTP_SECRET."""
    names = ("api_secret", "user_id", "password", "totp_secret")
    return Credentials(**{n: environment.get(f"KITE_{n.upper()}", "") for n in names})
